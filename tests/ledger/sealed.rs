//! What a dump of the database gives away.

use std::process::Command;

use base64::Engine as _;
use landfall::api::Change;
use landfall::ledger::state_key;
use landfall::run::protocol::{Artifact, RunPhase};
use serde_json::json;
use sqlx::Executor;

use crate::database::Database;
use crate::given::{applying, holder, new_plan, result};
use crate::world::World;

/// With everything in it that a search for plain text stumbles over.
const CANARY: &str = "cänary-\"${x}\"\n-7f3a91d0";

/// Each form in which the canary could stand in a dump.
fn forms() -> Vec<(&'static str, String)> {
    let json = serde_json::Value::String(CANARY.into()).to_string();
    let json = json.trim_matches('"').to_owned();
    let twice = serde_json::Value::String(json.clone()).to_string();
    let copy = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n");
    let mut forms = vec![
        ("raw", copy(CANARY)),
        ("JSON", copy(&json)),
        ("JSON in JSON", copy(twice.trim_matches('"'))),
        ("its end", "7f3a91d0".into()),
        ("hex", hex::encode(CANARY)),
        ("JSON in hex", hex::encode(&json)),
    ];
    for shift in 0..3 {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{}{CANARY}", "a".repeat(shift)));
        forms.push(("base64", text.get(4..text.len() - 4).unwrap().to_owned()));
        // In a bytea column base64 is hex again.
        forms.push(("base64 in hex", hex::encode(text.get(4..text.len() - 4).unwrap())));
    }
    forms
}

fn found(dump: &str) -> Vec<&'static str> {
    let mut found: Vec<_> =
        forms().into_iter().filter(|(_, text)| dump.contains(text.as_str())).map(|(name, _)| name).collect();
    found.dedup();
    found
}

fn dump(database: &Database) -> String {
    let newest =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin/pg_dump"));
    let program = newest.filter(|path| path.exists()).max().unwrap_or_else(|| "pg_dump".into());
    // The parameters after the question mark are sqlx's own.
    let url = database.url.split('?').next().unwrap();
    let output = Command::new(program).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_secret_of_a_run_stands_nowhere_in_a_dump() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    // A run that is live: its inputs are still there.
    let live = new_plan(&writer, &subject, Change::Apply, CANARY).await.unwrap();
    writer.claim(live, &holder(1)).await.unwrap().unwrap();
    for artifact in Artifact::ALL {
        writer.put_artifact(live, artifact, CANARY.as_bytes()).await.unwrap().unwrap();
    }
    writer.append_log(live, 0, format!("token = {CANARY}").as_bytes()).await.unwrap().unwrap();
    // And one that has ended, with a state.
    let other = world.subject("globex");
    let run = applying(&writer, &other).await;
    writer.lock(run, &json!({"ID": "l"})).await.unwrap().unwrap();
    let state = json!({"version": 4, "serial": 1, "lineage": "a", "outputs": {"token": {"value": CANARY, "type": "string",
        "sensitive": true}}, "resources": [{"mode": "managed", "type": "t", "name": "a", "provider": "p",
        "instances": [{"attributes": {"id": "i-1", "token": CANARY}}]}]});
    writer.put_state(run, None, state.to_string().as_bytes()).await.unwrap().unwrap();
    writer.finish(run, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    // And an order at a CA, with an account.
    crate::acme::sealed(&writer, &other, CANARY).await;
    let bytes = writer.state_bytes(&other.organization, &state_key(&other), None).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains("7f3a91d0"), "the right key opens it");

    let dump = dump(&world.database);
    assert!(dump.contains("run_artifacts") && dump.contains("acme_keys") && dump.contains("i-1"), "the dump has rows");
    assert_eq!(found(&dump), [""; 0]);
}

#[tokio::test]
async fn the_search_finds_what_is_not_sealed_in_each_form() {
    let database = Database::fresh().await;
    let mut admin = database.superuser().await;
    admin.execute("CREATE TABLE plain (a text, b jsonb, c bytea, d text, e bytea, f text)").await.unwrap();
    let json = json!({"v": CANARY});
    sqlx::query("INSERT INTO plain VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(CANARY)
        .bind(&json)
        .bind(CANARY.as_bytes())
        .bind(base64::engine::general_purpose::STANDARD.encode(CANARY))
        .bind(json.to_string().as_bytes())
        .bind(serde_json::Value::String(json.to_string()).to_string())
        .execute(&mut admin)
        .await
        .unwrap();
    let found = found(&dump(&database));
    assert_eq!(found, ["raw", "JSON", "JSON in JSON", "its end", "hex", "JSON in hex", "base64"]);
}
