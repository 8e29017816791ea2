//! The gate's own copy of the policies against what the API server made of them.

use landfall::access::Gate;

use crate::harness::{User, install};

#[tokio::test]
async fn the_installed_policies_are_found_intact_by_the_controller() {
    install().await;
    let client = User::Controller.client().await;
    assert_eq!(Gate::embedded().unwrap().flaw(&client).await.unwrap(), None);
}

#[tokio::test]
async fn a_gate_that_cannot_be_seen_is_an_error_and_not_an_answer() {
    install().await;
    assert!(Gate::embedded().unwrap().flaw(&User::Carol.client().await).await.is_err());
}
