use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::harness::{env, wait_until};
use crate::wire::Wire;
use crate::world::{PLENTY, World};

/// A connection that cannot be had is waited for, for five seconds each time.
const SLOW: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_away_probes_go_on_deletions_wait_and_the_ledger_catches_up() {
    let mut world = World::new().await;
    let mut home = world.controller.take().unwrap().stop().await;
    let wire = Wire::to(&home.database_url).await;
    home.database_url = wire.url(&home.database_url);
    world.controller = Some(home.start().await);
    for name in ["stays", "goes"] {
        world.powerdns(name, &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
        world.valid(name, PLENTY, "True", "Valid").await;
    }
    wire.cut();
    world.secret("stays", json!({"api_key": "wrong-now"})).await;
    world.delete("goes").await;
    world.valid("stays", SLOW, "False", "InvalidCredentials").await;
    assert!(world.get("goes").await.metadata.deletion_timestamp.is_some(), "the finalizer holds");
    wire.mend();
    world.gone("goes").await;
    let mut sql = PgConnection::connect(&world.database.url).await.unwrap();
    let query = "SELECT (SELECT string_agg(name || ' ' || state, ',' ORDER BY name) FROM landfall.provider_health WHERE gone_at IS NULL)
                 || ' ' || (SELECT string_agg(name || ' ' || (deleted_at IS NULL)::text, ',' ORDER BY name)
                            FROM landfall.cloud_provider_credentials)";
    let mut last: Option<String> = None;
    wait_until(SLOW, "the ledger to catch up", async || {
        last = sqlx::query_scalar(query).fetch_one(&mut sql).await.unwrap();
        last.as_deref() == Some("stays Invalid goes false,stays true")
    })
    .await;
}
