//! The activity chain under load, and its fence.

use landfall::Error;
use landfall::ledger::{NewIntent, Outcome};
use serde_json::json;

use crate::world::{World, event};

#[tokio::test]
async fn events_are_numbered_without_a_gap() {
    let world = World::new().await;
    let subject = world.subject("acme");
    for number in 1..=5 {
        assert_eq!(world.ledger.record(event(&subject, number)).await.unwrap(), number);
    }
}

#[tokio::test]
async fn a_deposed_leader_writes_nothing() {
    let world = World::new().await;
    let subject = world.subject("acme");
    let old = world.writer().await;
    let new = world.writer().await;
    assert_eq!(new.epoch(), old.epoch() + 1);
    assert!(matches!(old.begin(&subject.organization).await.err(), Some(Error::Deposed(_))));
    assert!(matches!(old.record(event(&subject, 1)).await, Err(Error::Deposed(_))));
    let intent = NewIntent {
        subjects: vec![subject.clone()],
        call: "test.call",
        why: "a test".into(),
        approved_by: None,
        details: json!({}),
    };
    assert!(matches!(old.intend(intent.clone()).await, Err(Error::Deposed(_))));
    assert_eq!(new.record(event(&subject, 1)).await.unwrap(), 1);
    let intent = new.intend(intent).await.unwrap();
    assert!(matches!(old.conclude(intent, Outcome::Done, json!({})).await, Err(Error::Deposed(_))));
    new.conclude(intent, Outcome::Done, json!({})).await.unwrap();
    assert_eq!(new.record(event(&subject, 2)).await.unwrap(), 4);
}
