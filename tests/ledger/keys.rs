//! Keys of an installation, over its restarts and rotations.

use std::collections::BTreeMap;

use landfall::ledger::{Keyring, Ledger};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::database::Database;

fn ring(ids: &[(&str, u8)], current: &str) -> Keyring {
    let keys: BTreeMap<_, _> = ids.iter().map(|(id, byte)| ((*id).to_owned(), Zeroizing::new([*byte; 32]))).collect();
    Keyring::new(current.to_owned(), keys).unwrap()
}

/// A replica with these keys becomes the leader, and digests.
async fn digest(database: &Database, cluster: Uuid, keys: Keyring) -> String {
    let ledger = Ledger::connect(&database.url, keys).await.unwrap();
    ledger.register_cluster(cluster, "").await.unwrap();
    ledger.lead(cluster, "me").await.unwrap().keys().digest("variable", b"x")
}

async fn kept(database: &Database) -> Vec<(String, Vec<u8>)> {
    sqlx::query_as("SELECT key_id, sealed FROM landfall.digest_keys ORDER BY created_at")
        .fetch_all(&mut database.superuser().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn digests_outlive_restarts_and_rotations() {
    let (database, cluster) = (Database::fresh().await, Uuid::now_v7());
    let digest = async |keys| digest(&database, cluster, keys).await;
    let first = digest(ring(&[("2025", 1)], "2025")).await;
    assert_eq!(digest(ring(&[("2025", 1)], "2025")).await, first, "after a restart");
    assert_eq!(digest(ring(&[("2025", 1), ("2026", 2)], "2026")).await, first, "while both keys are there");
    assert_eq!(digest(ring(&[("2026", 2)], "2026")).await, first, "with the old key retired");
}

#[tokio::test]
async fn another_file_under_a_known_id_makes_no_leader_and_another_installation_may_use_the_id() {
    let (database, cluster) = (Database::fresh().await, Uuid::now_v7());
    let first = digest(&database, cluster, ring(&[("k", 1)], "k")).await;
    for (keys, said) in [
        (ring(&[("k", 2)], "k"), "key \"k\" is not the one that wrapped this value"),
        (ring(&[("other", 2)], "other"), "key \"k\" is not available"),
    ] {
        let ledger = Ledger::connect(&database.url, keys).await.unwrap();
        let Err(error) = ledger.lead(cluster, "me").await else { panic!("a leader with other keys") };
        let error = error.to_string();
        assert!(error.contains(said) && error.contains("put its file back"), "{error}");
        let before = ledger.opens(cluster).await.unwrap_err().to_string();
        assert_eq!(before, error, "a replica that stands by ends at its start");
    }
    assert_ne!(
        digest(&database, Uuid::now_v7(), ring(&[("k", 2)], "k")).await,
        first,
        "another cluster's installation"
    );
    assert_eq!(digest(&database, cluster, ring(&[("k", 1)], "k")).await, first, "nothing has changed");
}

#[tokio::test]
async fn leaders_that_start_at_once_share_one_digest_key() {
    let database = Database::fresh().await;
    let starts = (0..4).map(|_| digest(&database, Uuid::now_v7(), ring(&[("k", 1)], "k")));
    let digests: Vec<String> = futures::future::join_all(starts).await;
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[tokio::test]
async fn who_only_reads_makes_no_key_and_wraps_none_anew() {
    let database = Database::fresh().await;
    let connect = async |keys| Ledger::connect(&database.url, keys).await.unwrap();
    connect(ring(&[("k1", 1)], "k1")).await;
    assert_eq!(kept(&database).await, []);
    digest(&database, Uuid::now_v7(), ring(&[("k1", 1)], "k1")).await;
    let made = kept(&database).await;
    assert_eq!(made.len(), 1);
    connect(ring(&[("k1", 1), ("mine", 9)], "mine")).await;
    connect(ring(&[("mine", 9)], "mine")).await;
    assert_eq!(kept(&database).await, made, "the controller's other replicas may not know these keys");
}
