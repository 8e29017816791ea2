use landfall::dns::RecordType;
use serde_json::json;

use crate::harness::wait_until;
use crate::world::{At, PLENTY, World, condition, message};

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_is_put_right_or_told_at_powerdns() {
    drift(At::PowerDns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_is_put_right_or_told_at_knot() {
    drift(At::Knot).await;
}

async fn drift(at: At) {
    let world = World::new(at).await;
    let owner = world.name("www");
    let values = async || world.values(&owner, RecordType::A).await;
    world.record("www", json!({})).await;
    world.ready("www").await;

    world.outside(&owner, RecordType::A, &["192.0.2.66"]).await;
    world.look("www").await;
    wait_until(PLENTY, "the repair", async || values().await == ["192.0.2.1"]).await;
    world.ready("www").await;
    world.outside(&owner, RecordType::A, &[]).await;
    world.look("www").await;
    wait_until(PLENTY, "the set again", async || values().await == ["192.0.2.1"]).await;
    let repairs = "SELECT cardinality(repaired_at)::bigint FROM landfall.record_sets WHERE gone_at IS NULL";
    wait_until(PLENTY, "two repairs on record", async || world.ask::<i64>(repairs).await == [2]).await;

    world.patch("www", json!({"drift": "Report"})).await;
    world.ready("www").await;
    world.outside(&owner, RecordType::A, &["192.0.2.66"]).await;
    world.look("www").await;
    let object = world.told("www", "Drifted", "True", "Drifted").await;
    assert_eq!(condition(&object, "Ready").unwrap().status, "True");
    assert!(message(&object, "Drifted").contains("192.0.2.66"), "{}", message(&object, "Drifted"));
    assert_eq!(object.status.unwrap().observed, ["192.0.2.66"]);
    assert_eq!(values().await, ["192.0.2.66"], "it is left so");

    world.patch("www", json!({"drift": "Repair"})).await;
    world.ready("www").await;
    assert_eq!(values().await, ["192.0.2.1"]);
    world.outside(&owner, RecordType::A, &["192.0.2.67"]).await;
    world.look("www").await;
    world.told("www", "Ready", "False", "Contended").await;
    assert_eq!(values().await, ["192.0.2.67"], "after three repairs it is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_says_what_may_be_done() {
    let world = World::new(At::PowerDns).await;
    let stands = async |left: &str| world.values(&world.name(left), RecordType::A).await;
    world.outside(&world.name("observed"), RecordType::A, &["192.0.2.1"]).await;
    world.record("observed", json!({"name": "observed", "policy": "Observe", "ttl": 60})).await;
    world.ready("observed").await;
    world.patch("observed", json!({"values": ["192.0.2.9"]})).await;
    world.told("observed", "Drifted", "True", "Drifted").await;
    world.record("created", json!({"name": "created", "policy": "CreateOnly"})).await;
    world.record("upserted", json!({"name": "upserted", "policy": "UpsertOnly"})).await;
    world.ready("created").await;
    world.ready("upserted").await;
    world.patch("created", json!({"values": ["192.0.2.9"]})).await;
    world.patch("upserted", json!({"values": ["192.0.2.9"]})).await;
    world.told("created", "Drifted", "True", "Drifted").await;
    world.told("upserted", "Programmed", "True", "Programmed").await;
    for name in ["observed", "created", "upserted"] {
        world.delete(name).await;
        world.gone(name).await;
    }
    assert_eq!(stands("observed").await, ["192.0.2.1"]);
    assert_eq!(stands("created").await, ["192.0.2.1"]);
    assert_eq!(stands("upserted").await, ["192.0.2.9"]);
}
