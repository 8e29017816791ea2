use std::time::Duration;

use landfall::Error;
use serde_json::json;

use crate::controller::Home;
use crate::database::Database;
use crate::harness::{env, namespace, wait_until};
use crate::world::{PLENTY, World};

async fn text(address: std::net::SocketAddr, path: &str) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("http://{address}{path}")).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served_and_a_stopped_leader_frees_the_lease() {
    let mut world = World::new().await;
    let address = world.controller().address;
    wait_until(PLENTY, "readiness", async || text(address, "/readyz").await.is_some_and(|(s, _)| s == 200)).await;
    assert_eq!(text(address, "/livez").await.unwrap().0, 200);
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let (_, metrics) = text(address, "/metrics").await.unwrap();
    assert!(metrics.contains("landfall_leading 1"), "{metrics}");
    assert!(metrics.contains(r#"landfall_credential_probes_total{provider="powerdns",result="Valid"} 1"#), "{metrics}");
    let began = std::time::Instant::now();
    world.restart().await;
    world.powerdns("next", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("next", PLENTY, "True", "Valid").await;
    assert!(began.elapsed() < Duration::from_secs(5), "the next leader did not wait: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_the_ledger_has_deposed_ends() {
    let mut world = World::new().await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let mut sql = world.database.superuser().await;
    sqlx::query("UPDATE landfall.clusters SET writer_epoch = writer_epoch + 1").execute(&mut sql).await.unwrap();
    world.secret("pdns", json!({"api_key": "other"})).await;
    let ended = tokio::time::timeout(PLENTY, world.controller.take().unwrap().ended()).await.expect("an end");
    assert!(matches!(ended, Err(Error::Deposed(_))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_one_line() {
    let (watched, database) = (namespace().await, Database::fresh().await);
    let mut home = Home::new(&[watched], &database, |_| {}).await;
    home.database_url = home.database_url.replace(&database.name, "no_such_database");
    let ended = tokio::time::timeout(Duration::from_secs(60), home.start().await.ended()).await.expect("an end");
    let line = ended.unwrap_err().to_string();
    assert!(line.contains("no_such_database") && line.lines().count() == 1, "{line}");
}
