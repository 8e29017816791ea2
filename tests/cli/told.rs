//! What the reading commands say where there is nothing to read, or somebody asked for something else than was meant.

use serde_json::Value;
use sqlx::Executor;

use crate::world::{World, masked};

const READING: [&[&str]; 4] = [&["runs"], &["logs"], &["plan"], &["state", "list"]];

#[tokio::test]
async fn a_name_that_was_not_meant_is_a_no_that_says_which_was() {
    let world = World::filled().await;
    for command in READING.into_iter().chain([&["history"][..]]) {
        for (arguments, says) in [
            (&["tfd/wbe", "-n", "shop"][..], "of tfd/wbe in namespace shop; did you mean tfd/web?"),
            (&["tfd/web", "-n", "team"], "of tfd/web in namespace team; there is one in shop: say which with -n"),
            (&["tfd/other", "-n", "shop"], "`landfall history` lists what there is"),
        ] {
            let (code, out, err) = world.landfall(&[command, arguments].concat());
            assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{command:?}: {err}");
            assert!(err.contains(says), "{command:?}: {err}");
        }
    }
    let (code, out, err) = world.landfall(&["audit", "verify", "--organization", "acne"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("--organization acne: there is no such chain; did you mean acme?"), "{err}");
}

#[tokio::test]
async fn scripts_get_json_where_there_is_nothing() {
    let world = World::filled().await;
    for command in READING.into_iter().chain([&["history"][..]]) {
        let (code, out, err) = world.landfall(&[command, &["tfd/other", "-n", "shop", "--json"]].concat());
        assert_eq!(code, 1, "{command:?}");
        let empty: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{command:?}: {e}: {out}"));
        assert!(empty == serde_json::json!([]) || empty["run"].is_null(), "{command:?}: {out}");
        assert!(err.contains("nothing is on record"), "{err}");
    }
    let (code, out, _) = world.landfall(&["audit", "verify", "--organization", "none", "--json"]);
    assert_eq!((code, out.as_str()), (1, "[]\n"));
    let (code, out, _) =
        world.landfall(&["history", "tfd/web", "-n", "shop", "--since", "2099-01-01T00:00:00Z", "--json"]);
    assert_eq!((code, out.as_str()), (0, "[]\n"), "known, and nothing happened since");
}

#[tokio::test]
async fn what_is_no_name_of_a_kind_is_wrong_usage() {
    let world = World::filled().await;
    for command in READING.into_iter().chain([&["history"][..]]) {
        let others = if command == ["history"] {
            &["orgdomains", "lcert/"][..]
        } else {
            &["orgdomain/x", "dnsrec/x", "lcert/x"]
        };
        for name in ["pod/web", "tfd/", "tfd/a/b", ""].iter().chain(others) {
            let (code, out, err) = world.landfall(&[command, &[name]].concat());
            assert_eq!((code, out.as_str()), (2, ""), "{command:?} {name}: {err}");
            assert!(err.contains("write tfd/NAME"), "{command:?} {name}: {err}");
        }
        for name in
            [&["tfd/a b"][..], &["tfd/X_Y"], &["tfd/web", "-n", "a b"], &["tfd/web", "--landfall-namespace", ""]]
        {
            let (code, out, err) = world.landfall(&[command, name].concat());
            assert_eq!((code, out.as_str()), (2, ""), "{command:?} {name:?}: {err}");
            assert!(err.contains("is no name"), "{command:?} {name:?}: {err}");
        }
        let (code, _, err) = world.landfall(&[command, &["tfd/web", "--cluster", "abc"]].concat());
        assert_eq!(code, 2);
        assert!(err.contains("\"abc\" is no UUID"), "{err}");
    }
}

#[test]
fn a_mistake_in_landfall_yaml_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("landfall.yaml");
    let whole = "encryption: {current: k, keys: {k: /k}}\n";
    for (text, says) in [
        (None, "name it with --config or LANDFALL_CONFIG"),
        (Some("a: [".to_owned()), "landfall.yaml"),
        (Some("text".to_owned()), "no mapping"),
        (Some(format!("{whole}limit: {{}}\n")), "limit"),
        (Some(format!("{whole}limits: {{concurrency: 0}}\n")), "limits.concurrency: 0 is not from 1 to 256"),
    ] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let mut landfall = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"));
        let output = landfall.arg("controller").env("LANDFALL_CONFIG", &file).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains(says) && err.lines().count() == 1, "{err}");
    }
}

#[test]
fn what_the_environment_says_is_not_asked_for_on_the_command_line() {
    for (command, usage) in [
        (&["logs"][..], "Usage: landfall logs [OPTIONS] <tfd/NAME>"),
        (&["approve"], "Usage: landfall approve [OPTIONS] <tfd/NAME>"),
        (&["state", "list"], "Usage: landfall state list [OPTIONS] <tfd/NAME>"),
    ] {
        let mut landfall = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"));
        landfall.args(command).env("LANDFALL_CONFIG", "x").env("LANDFALL_NAMESPACE", "y");
        let output = landfall.output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.lines().any(|line| line == usage), "{err}");
    }
}

#[tokio::test]
async fn history_tells_which_command_was_meant_for_what() {
    let world = World::filled().await;
    let subject = world.ledger.run(world.apply).await.unwrap().unwrap().subject;
    let writer = world.ledger.lead(subject.cluster, "me").await.unwrap();
    writer.record_command(&subject, "approve", &world.digest, "alice").await.unwrap();
    writer.record_command(&subject, "cancel", "r1", "bob").await.unwrap();
    writer.discard_command(&subject, ("retry", "r\u{0}2", "eve"), "it names another").await.unwrap();
    let (_, out, _) = world.landfall(&["history", "tfd/web", "-n", "shop", "--limit", "3"]);
    assert_eq!(
        masked(&out),
        "TIME WHO WHAT OBJECT DETAILS\n\
         TIME alice command.taken tfd/shop/web approve DIGEST\n\
         TIME bob command.taken tfd/shop/web cancel r1\n\
         TIME controller command.discarded tfd/shop/web retry r\\u{0}2 by=eve why=it names another\n"
    );
    let told = world.ledger.commands(&subject).await.unwrap();
    let discarded = told.iter().find(|t| t.command == landfall::ledger::DISCARDED).unwrap();
    assert!(discarded.value.ends_with("Z retry r\\u{0}2 by eve: it names another"), "{}", discarded.value);
}

#[tokio::test]
async fn a_role_that_sees_nothing_is_told_why() {
    let world = World::filled().await;
    let (_, url) = world.database.login("landfall_reader").await;
    for command in READING.into_iter().filter(|c| !["logs", "plan"].contains(&c[0])).chain([&["history"][..]]) {
        let (code, _, err) = world.landfall_as(&url, &[command, &["tfd/web", "-n", "shop"]].concat());
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("org_access"), "{err}");
    }
    for command in ["logs", "plan"] {
        let (code, _, err) = world.landfall_as(&url, &[command, "tfd/web", "-n", "shop"]);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("the controller's role (a member of landfall_writer) and keys"), "{err}");
        assert!(!err.contains("GRANT") && !err.contains("at line") && err.lines().count() == 1, "{err}");
    }
    for command in [&["audit", "verify"][..], &["audit", "verify", "--organization", "acme"], &["audit", "anchors"]] {
        let (code, _, err) = world.landfall_as(&url, command);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("org_access"), "{err}");
    }
    let (code, out, err) = world.landfall_as(&url, &["history", "--json"]);
    assert_eq!((code, out.as_str()), (0, "[]\n"));
    assert!(err.contains("org_access") && err.lines().count() == 1, "{err}");
}

#[tokio::test]
async fn a_role_without_rights_and_a_database_without_tables_say_what_to_do() {
    let world = World::filled().await;
    let (role, url) = world.database.login("landfall_reader").await;
    let mut admin = world.database.superuser().await;
    admin.execute(sqlx::AssertSqlSafe(format!("REVOKE landfall_reader FROM \"{role}\""))).await.unwrap();
    let empty = crate::database::empty().await;
    for (url, code, says) in [(&url, 1, "landfall_reader or landfall_auditor"), (&empty, 1, "`landfall migrate`")] {
        for command in
            READING.into_iter().filter(|c| !["logs", "plan"].contains(&c[0])).map(|c| [c, &["tfd/web"]].concat())
        {
            let (found, _, err) = world.landfall_as(url, &command);
            assert_eq!(found, code, "{command:?}: {err}");
            assert!(err.contains(says) && err.lines().count() == 1, "{command:?}: {err}");
        }
    }
}

#[tokio::test]
async fn the_clusters_own_id_is_looked_for_where_landfall_is_installed() {
    let world = World::filled().await;
    crate::world::fill(&world.ledger).await;
    let asked = &["runs", "tfd/web", "-n", "shop"][..];
    for (more, place) in [(&[][..], "landfall-system"), (&["--landfall-namespace", "ours"], "ours")] {
        let (code, _, err) = world.landfall(&[asked, more].concat());
        assert_eq!(code, 2);
        assert!(err.contains(&format!("there is no ConfigMap {place}/landfall-cluster")), "{err}");
    }
}
