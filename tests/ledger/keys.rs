//! Keys of an installation, over its restarts and rotations.

use std::collections::BTreeMap;

use landfall::ledger::{Keyring, Ledger};
use zeroize::Zeroizing;

use crate::database::Database;

fn ring(ids: &[(&str, u8)], current: &str) -> Keyring {
    let keys: BTreeMap<_, _> = ids.iter().map(|(id, byte)| ((*id).to_owned(), Zeroizing::new([*byte; 32]))).collect();
    Keyring::new(current.to_owned(), keys).unwrap()
}

#[tokio::test]
async fn digests_outlive_restarts_and_rotations() {
    let database = Database::fresh().await;
    let digest = async |keys| Ledger::connect(&database.url, keys).await.unwrap().keys().digest("variable", b"x");
    let first = digest(ring(&[("2025", 1)], "2025")).await;
    assert_eq!(digest(ring(&[("2025", 1)], "2025")).await, first, "after a restart");
    assert_eq!(digest(ring(&[("2025", 1), ("2026", 2)], "2026")).await, first, "while both keys are there");
    assert_eq!(digest(ring(&[("2026", 2)], "2026")).await, first, "with the old key retired");
    assert_ne!(digest(ring(&[("2026", 3)], "2026")).await, first, "another installation in the same database");
}

#[tokio::test]
async fn replicas_that_start_at_once_share_one_digest_key() {
    let database = Database::fresh().await;
    let starts = (0..4).map(|_| Ledger::connect(&database.url, ring(&[("k", 1)], "k")));
    let digests: Vec<String> = futures::future::join_all(starts)
        .await
        .into_iter()
        .map(|ledger| ledger.unwrap().keys().digest("p", b"x"))
        .collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}
