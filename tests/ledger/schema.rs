//! Migrations and their roles.

use landfall::ledger::{self, Keyring, Ledger};

use sqlx::{Connection, Executor, PgConnection};

use crate::database;
use crate::world::{World, event};

#[tokio::test]
async fn migrating_twice_and_at_once_is_a_no_op() {
    let url = database::empty().await;
    let (first, second) = tokio::join!(ledger::migrate(&url), ledger::migrate(&url));
    first.unwrap();
    second.unwrap();
    ledger::migrate(&url).await.unwrap();
    Ledger::connect(&url, Keyring::for_test()).await.unwrap();
}

#[tokio::test]
async fn databases_of_one_server_can_be_migrated_at_once() {
    let urls = [database::empty().await, database::empty().await, database::empty().await, database::empty().await];
    let results = futures::future::join_all(urls.iter().map(|url| ledger::migrate(url))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[tokio::test]
async fn a_database_without_the_schema_is_refused_with_the_next_action() {
    let url = database::empty().await;
    let error = Ledger::connect(&url, Keyring::for_test()).await.unwrap_err().to_string();
    assert!(error.contains("landfall migrate"), "{error}");
}

#[tokio::test]
async fn a_login_outside_the_writers_is_refused_with_the_next_action() {
    let world = World::new().await;
    let (_, url) = world.database.login("landfall_reader").await;
    let error = Ledger::connect(&url, Keyring::for_test()).await.unwrap_err().to_string();
    assert!(error.contains("GRANT landfall_writer") && !error.contains("at line"), "{error}");
    let (_, url) = world.database.login("landfall_writer").await;
    Ledger::connect(&url, Keyring::for_test()).await.unwrap();
}

#[tokio::test]
async fn a_migrator_needs_no_superuser_and_keeps_org_access() {
    let world = World::new().await;
    let (_, url) = world.database.login("landfall_migrator").await;
    ledger::migrate(&url).await.unwrap();
    world.ledger.record(event(&world.subject("acme"), 1)).await.unwrap();
    let mut migrator = PgConnection::connect(&url).await.unwrap();
    migrator.execute("INSERT INTO landfall.org_access VALUES ('anna', 'acme')").await.unwrap();
    migrator.execute("DELETE FROM landfall.org_access").await.unwrap();
}

#[tokio::test]
async fn others_cannot_migrate_and_are_told_who_can() {
    let world = World::new().await;
    let (_, url) = world.database.login("landfall_writer").await;
    let error = ledger::migrate(&url).await.unwrap_err().to_string();
    assert!(error.contains("landfall_migrator"), "{error}");
}

#[tokio::test]
async fn plain_names_work_in_a_migrated_database() {
    let url = database::empty().await;
    ledger::migrate(&url).await.unwrap();
    let mut person = PgConnection::connect(&url).await.unwrap();
    person.execute("SELECT * FROM activity_log").await.unwrap();
}
