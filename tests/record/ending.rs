use kube::api::DeleteParams;
use landfall::api::OrganizationDomain;
use landfall::dns::RecordType;
use serde_json::json;

use crate::harness::{User, kubectl, namespace, wait_until};
use crate::world::{At, PLENTY, World, message};

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_to_stay_stays_and_an_event_tells_so() {
    let world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("www", json!({"deletionPolicy": "Retain"})).await;
    world.ready("www").await;
    world.delete("www").await;
    world.gone("www").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);
    let events = || {
        let mut ask = kubectl(User::Admin);
        ask.args([
            "get",
            "events",
            "-n",
            &world.namespace,
            "-o",
            "jsonpath={range .items[*]}{.reason} {.message};{end}",
        ]);
        String::from_utf8(ask.output().unwrap().stdout).unwrap()
    };
    wait_until(PLENTY, "the Event", async || {
        events().contains("RecordKept") && events().contains("spec.deletionPolicy is Retain")
    })
    .await;
    let kept = "SELECT details ->> 'why' || ' ' || (details ->> 'data') FROM landfall.activity_log WHERE action = 'record.kept'";
    assert_eq!(world.ask::<String>(kept).await, ["spec.deletionPolicy is Retain [\"192.0.2.1\"]"]);
    let standing = "SELECT fqdn FROM landfall.v_kept_record_sets";
    assert_eq!(world.ask::<String>(standing).await, std::slice::from_ref(&owner));
    // Another object of this installation goes on with it.
    world.record("again", json!({"values": ["192.0.2.2"]})).await;
    world.ready("again").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.2"]);
    wait_until(PLENTY, "no set without an object", async || world.ask::<String>(standing).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_whose_object_lost_its_finalizer_by_hand_is_on_record() {
    let mut world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("www", json!({})).await;
    world.ready("www").await;
    world
        .without_controller(async |world| {
            world.bare("www").await;
            world.delete("www").await;
        })
        .await;
    let standing = "SELECT fqdn || ': ' || why FROM landfall.v_kept_record_sets";
    let expected =
        [format!("{owner}: its object is gone, and its finalizer was taken off before the set was taken away")];
    wait_until(PLENTY, "the set to be told", async || world.ask::<String>(standing).await == expected).await;
    let told = "SELECT details ->> 'fqdn' FROM landfall.activity_log WHERE action = 'record.kept'";
    assert_eq!(world.ask::<String>(told).await, std::slice::from_ref(&owner));
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_whose_namespace_is_watched_no_more_is_on_record_until_it_is_again() {
    let other = namespace().await;
    let mut world = World::beside(At::PowerDns, std::slice::from_ref(&other), |_| {}).await;
    let (ours, owner) = (world.namespace.clone(), world.name("www"));
    world.domain("example", &world.fqdn, json!({})).await;
    world.proved("example").await;
    world.record("www", json!({})).await;
    world.ready("www").await;
    world.installed(|installation| installation.watch_namespaces = vec![other.clone()]).await;
    let standing = "SELECT fqdn || ': ' || why FROM landfall.v_kept_record_sets";
    let expected = [format!("{owner}: its namespace is watched no more")];
    wait_until(PLENTY, "the set to be told", async || world.ask::<String>(standing).await == expected).await;
    world.installed(|installation| installation.watch_namespaces = vec![ours, other]).await;
    wait_until(PLENTY, "the set to have its object again", async || world.ask::<String>(standing).await.is_empty())
        .await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_record_is_not_written_and_its_deletion_waits_where_it_would_write() {
    let world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("never", json!({"name": "never", "suspend": true})).await;
    world.told("never", "Ready", "False", "Suspended").await;
    assert_eq!(world.stands(&world.name("never"), RecordType::A).await, None);
    world.delete("never").await;
    world.gone("never").await;

    world.record("www", json!({})).await;
    world.ready("www").await;
    world.patch("www", json!({"suspend": true, "values": ["192.0.2.9"]})).await;
    world.told("www", "Ready", "False", "Suspended").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);
    world.delete("www").await;
    wait_until(PLENTY, "the deletion to wait", async || {
        let object = world.api::<landfall::api::DnsRecord>().get("www").await.unwrap();
        message(&object, "Ready").contains("the deletion waits: spec.suspend")
    })
    .await;
    world.patch("www", json!({"suspend": false})).await;
    world.gone("www").await;
    assert_eq!(world.stands(&owner, RecordType::A).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_waits_for_its_records() {
    let world = World::new(At::PowerDns).await;
    world.record("www", json!({})).await;
    world.ready("www").await;
    let domains = world.api::<OrganizationDomain>();
    domains.delete("example", &DeleteParams::default()).await.unwrap();
    wait_until(PLENTY, "the deletion to wait", async || {
        let conditions = domains.get("example").await.unwrap().status.unwrap().conditions;
        conditions.iter().any(|c| c.type_ == "Ready" && c.reason == "InUse" && c.message.contains("www"))
    })
    .await;
    world.delete("www").await;
    world.gone("www").await;
    assert_eq!(world.stands(&world.name("www"), RecordType::A).await, None);
    wait_until(PLENTY, "the domain to be gone", async || domains.get_opt("example").await.unwrap().is_none()).await;
}
