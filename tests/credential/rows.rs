use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::harness::{env, wait_until};
use crate::world::{PLENTY, World};

/// The first column of the first row, as text.
async fn ask(connection: &mut PgConnection, query: &str) -> Option<String> {
    let row = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_optional(connection).await.unwrap()?;
    row.get::<Option<String>, _>(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_tells_what_was_found_and_the_mirror_follows_to_the_end() {
    let world = World::new().await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let mut sql = PgConnection::connect(&world.database.url).await.unwrap();
    let row = "SELECT ready || ' ' || namespace || ' ' || (deleted_at IS NULL)::text
               FROM cloud_provider_credentials WHERE name = 'pdns'";
    let expected = format!("True {} true", world.namespace);
    let mut last = None;
    wait_until(PLENTY, "a mirror row that is ready", async || {
        last = ask(&mut sql, row).await;
        last.as_deref() == Some(&expected)
    })
    .await;
    let probed = "SELECT string_agg(details->>'state' || ' ' || actor_kind, ',' ORDER BY seq) FROM activity_log
                  WHERE action = 'credential.probed'";
    // The status comes first: a probe needs no ledger, its record follows.
    wait_until(PLENTY, "the first finding", async || {
        ask(&mut sql, probed).await.as_deref() == Some("Valid controller")
    })
    .await;
    world.secret("pdns", json!({"api_key": "wrong-now"})).await;
    world.valid("pdns", PLENTY, "False", "InvalidCredentials").await;
    wait_until(PLENTY, "the second finding", async || {
        ask(&mut sql, probed).await.as_deref() == Some("Valid controller,Invalid controller")
    })
    .await;
    let manager = "SELECT field_manager FROM cloud_provider_credentials WHERE name = 'pdns'";
    assert!(ask(&mut sql, manager).await.is_some_and(|m| m != "landfall"));
    world.delete("pdns").await;
    world.gone("pdns").await;
    wait_until(PLENTY, "the tombstone", async || ask(&mut sql, row).await.is_some_and(|t| t.ends_with("false"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_while_no_controller_ran_is_buried_by_the_next() {
    let mut world = World::new().await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let mut sql = PgConnection::connect(&world.database.url).await.unwrap();
    let live = "SELECT count(*)::text FROM cloud_provider_credentials WHERE deleted_at IS NULL";
    wait_until(PLENTY, "a live row", async || ask(&mut sql, live).await.as_deref() == Some("1")).await;
    let home = world.controller.take().unwrap().stop().await;
    world.patch("pdns", json!({"metadata": {"finalizers": Value::Null}})).await;
    world.delete("pdns").await;
    world.gone("pdns").await;
    world.controller = Some(home.start().await);
    wait_until(PLENTY, "the tombstone", async || ask(&mut sql, live).await.as_deref() == Some("0")).await;
}
