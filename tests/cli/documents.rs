//! The pages say what is true: each query of theirs runs as the auditor that they tell of and finds something, links lead
//! somewhere, and no command is without its words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use landfall::api::Reason;
use landfall::ledger::{Approval, CredentialFact, Heard, MirrorRow, ObjectKind, Subject, Writer};
use landfall::run::protocol::{ResourceAction, ResourceEvent};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::world::{World, apply, planned};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The fenced blocks of this language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(top().join(page)).unwrap();
    let (mut found, mut open) = (Vec::new(), None);
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(word)) => open = Some((word == language, String::new())),
            (Some(_), Some(_)) => found.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, block)| block)),
            (Some((_, block)), None) => *block += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    found
}

/// The text outside of fenced and indented blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let outside = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && !line.starts_with("    ")
    });
    outside.collect()
}

/// Where links lead: what stands between `](` and `)`.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).join("\n");
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The anchors that headings get.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    headings.map(anchor).collect()
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> =
        ["README.md", "CHANGELOG.md", "tests/testbed/README.md"].map(|page| top().join(page)).into();
    let docs = std::fs::read_dir(top().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|e| e == "md")));
    pages
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.with_file_name("").join(path) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            let known =
                anchor.is_empty() || anchors(&std::fs::read_to_string(&target).unwrap()).iter().any(|a| a == anchor);
            assert!(known, "{}: {link}: no such heading", page.display());
        }
    }
}

/// The rooms that a text of Rust names, by `crate::room` or `crate::{room, …}`.
fn rooms(text: &str) -> BTreeSet<String> {
    let named = text.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(list) => list.split_once('}').map_or("", |(list, _)| list).split(',').collect(),
        None => vec![rest],
    });
    let word =
        |text: &str| text.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    named.map(word).filter(|word| !["", "error"].contains(&word.as_str()) && word.to_lowercase() == *word).collect()
}

/// The code below a path, without comments.
fn sources(path: &Path) -> String {
    if path.is_dir() {
        return std::fs::read_dir(path).unwrap().map(|entry| sources(&entry.unwrap().path())).collect();
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn each_room_uses_those_that_the_map_of_the_house_lets_it_use() {
    let page = std::fs::read_to_string(top().join("docs/architecture.md")).unwrap();
    let table: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `src/"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let name = |path: &str| path.trim_start_matches("src/").trim_end_matches(".rs").to_owned();
    let all: BTreeSet<String> = table.iter().map(|row| name(row[1])).collect();
    for entry in std::fs::read_dir(top().join("src")).unwrap() {
        let entry = name(entry.unwrap().file_name().to_str().unwrap());
        assert!(all.contains(&entry) || ["lib", "main", "error"].contains(&entry.as_str()), "src/{entry} is on no map");
    }
    for row in &table {
        let may: BTreeSet<String> = match row[3] {
            "everything" => all.clone(),
            list => list.split(", ").map(str::to_owned).collect(),
        };
        let path = top().join(row[1]);
        let used = rooms(&(sources(&path) + &sources(&path.with_extension(""))));
        let own = name(row[1]);
        let wrong: Vec<_> =
            used.iter().filter(|room| all.contains(*room) && **room != own && !may.contains(*room)).collect();
        assert!(wrong.is_empty(), "{} uses {wrong:?}, which docs/architecture.md does not let it use", row[1]);
    }
}

fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_landfall")).args(words).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// All commands that `--help` shows below these words, those of groups among them.
fn commands(words: &[&str]) -> Vec<String> {
    let text = help(words);
    let Some((_, list)) = text.split_once("Commands:\n") else { return vec![words.join(" ")] };
    let names =
        list.lines().take_while(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").flat_map(|name| commands(&[words, &[name]].concat())).collect()
}

#[test]
fn every_command_shows_an_example_and_stands_in_the_page_of_commands() {
    let page = std::fs::read_to_string(top().join("docs/commands.md")).unwrap();
    let all = commands(&[]);
    assert!(all.len() > 10, "{all:?}");
    for command in all {
        let words: Vec<&str> = command.split(' ').collect();
        let text = help(&words);
        let example = format!("landfall {command}");
        let shown = text.split_once("Examples:").is_some_and(|(_, examples)| examples.contains(&example));
        assert!(shown, "`{example} --help` has no example");
        assert!(page.contains(&format!("`{example}")), "docs/commands.md lacks `{example}`");
    }
}

fn mirrored(subject: &Subject, resource_version: &str) -> MirrorRow {
    MirrorRow {
        subject: subject.clone(),
        generation: 1,
        resource_version: resource_version.into(),
        object: json!({"metadata": {}, "spec": {}, "status": {"phase": "Applied"}}),
        field_manager: Some("kubectl".into()),
    }
}

async fn credential(writer: &Writer, deployment: &Subject) {
    let subject =
        Subject { kind: ObjectKind::CloudCredential, uid: Uuid::now_v7(), name: "aws".into(), ..deployment.clone() };
    writer.put_references(deployment, std::slice::from_ref(&subject)).await.unwrap();
    let fact = CredentialFact {
        subject,
        state: "Valid".into(),
        reason: "Valid".into(),
        account: Some("123456789012".into()),
        principal: None,
        secret_digest: None,
        checked_at: Timestamp::now(),
        succeeded_at: Some(Timestamp::now()),
    };
    writer.put_credential_fact(&fact).await.unwrap();
}

/// The world of the commands; and a deployment that went while its resources stayed, a run that died, an approval that
/// nobody used, a credential.
async fn world() -> World {
    let world = World::filled().await;
    let web = world.ledger.run(world.apply).await.unwrap().unwrap().subject;
    let writer = world.ledger.lead(web.cluster, "me").await.unwrap();
    credential(&writer, &web).await;
    let (plan, digest) = planned(&writer, &web).await;
    let died = apply(&writer, &web, plan, &digest, Approval::Automatic).await;
    let begun = ResourceEvent {
        address: "t.c".into(),
        resource_type: "t".into(),
        provider: None,
        id: None,
        what: ResourceAction::CreateStarted,
    };
    writer.put_resources(died, 0, &[begun]).await.unwrap().unwrap();
    let dead = writer.run(died).await.unwrap().unwrap();
    writer.interrupt(&dead, Reason::Interrupted, None, Heard::All).await.unwrap();
    let (_, digest) = planned(&writer, &web).await;
    writer.record_approval(&web, &digest, "alice").await.unwrap();
    let kind = ObjectKind::TerraformDeployment;
    writer.mirror_relist(kind, None, &[mirrored(&web, "500")], Some("500")).await.unwrap();
    writer.mirror_delete(kind, web.uid, Timestamp::now()).await.unwrap();
    world
}

#[tokio::test]
async fn every_query_of_the_pages_runs_as_an_auditor_and_finds_something() {
    let world = world().await;
    let (_, url) = world.database.login("landfall_auditor").await;
    let mut auditor = PgConnection::connect(&url).await.unwrap();
    for (page, least) in [("docs/ledger.md", 8), ("docs/installation.md", 1), ("README.md", 1)] {
        let queries = blocks(page, "sql");
        assert!(queries.len() >= least, "{page} has {} queries", queries.len());
        for query in queries {
            let rows = sqlx::raw_sql(AssertSqlSafe(query.clone())).fetch_all(&mut auditor).await;
            let rows = rows.unwrap_or_else(|error| panic!("{page}: {error}\n{query}"));
            assert!(!rows.is_empty(), "{page}: the query finds nothing:\n{query}");
        }
    }
}
