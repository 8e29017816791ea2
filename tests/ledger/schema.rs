//! Migrations and their roles.

use landfall::ledger::{self, Keyring, Ledger};

use crate::database;
use crate::world::World;

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
    assert!(error.contains("GRANT landfall_writer"), "{error}");
    let (_, url) = world.database.login("landfall_writer").await;
    Ledger::connect(&url, Keyring::for_test()).await.unwrap();
}
