use landfall::dns::RecordType;
use serde_json::json;

use crate::world::{At, World, message};

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_claims_is_left_alone_or_adopted_as_the_spec_says_at_powerdns() {
    adoption(At::PowerDns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_claims_is_left_alone_or_adopted_as_the_spec_says_at_knot() {
    adoption(At::Knot).await;
}

async fn adoption(at: At) {
    let world = World::new(at).await;
    let owner = world.name("www");
    world.outside(&owner, RecordType::A, &["192.0.2.66"]).await;
    let before = world.intents().await;
    world.record("www", json!({})).await;
    let object = world.told("www", "Ready", "False", "NotOwned").await;
    assert!(message(&object, "Ready").contains("spec.adoption"), "{}", message(&object, "Ready"));
    assert_eq!(object.status.unwrap().observed, ["192.0.2.66"]);
    world.patch("www", json!({"adoption": "IfIdentical"})).await;
    world.told("www", "Ready", "False", "NotOwned").await;
    assert_eq!(world.intents().await, before, "nothing was written");

    world.patch("www", json!({"adoption": "IfIdentical", "values": ["192.0.2.66"], "ttl": 60})).await;
    world.ready("www").await;
    world.patch("www", json!({"adoption": "Never", "values": ["192.0.2.1"]})).await;
    world.ready("www").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"], "it is ours now");

    let other = world.name("other");
    world.outside(&other, RecordType::A, &["192.0.2.66"]).await;
    world.record("other", json!({"name": "other", "adoption": "Always"})).await;
    world.ready("other").await;
    assert_eq!(world.values(&other, RecordType::A).await, ["192.0.2.1"]);
}

/// What another controller says is its own is never taken, whatever the spec says.
#[tokio::test(flavor = "multi_thread")]
async fn what_external_dns_has_is_never_taken() {
    let world = World::new(At::Knot).await;
    let owner = world.name("www");
    world.outside(&owner, RecordType::A, &["192.0.2.66"]).await;
    let registry = "heritage=external-dns,external-dns/owner=other,external-dns/resource=ingress/a/b";
    world.outside(&world.name("a-www"), RecordType::Txt, &[registry]).await;
    let before = world.intents().await;
    world.record("www", json!({"adoption": "Always"})).await;
    world.told("www", "Ready", "False", "NotOwned").await;
    world.delete("www").await;
    world.gone("www").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.66"]);
    assert_eq!(world.intents().await, before, "nothing was written");
}
