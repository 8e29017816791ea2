use landfall::api::NameserverAnswer;
use landfall::dns::RecordType;
use serde_json::json;

use crate::harness::wait_until;
use crate::world::{At, PLENTY, World, condition, message};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_answered_changed_in_place_and_gone_with_its_object_at_powerdns() {
    a_life(At::PowerDns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_answered_changed_in_place_and_gone_with_its_object_at_knot() {
    a_life(At::Knot).await;
}

async fn a_life(at: At) {
    let world = World::new(at).await;
    let owner = world.name("www");
    world.record("www", json!({"values": ["192.0.2.1", "192.0.2.2"]})).await;
    let object = world.told("www", "Propagated", "True", "Propagated").await;
    for kind in ["Accepted", "Programmed", "Ready"] {
        assert_eq!(condition(&object, kind).unwrap().status, "True", "{kind}");
    }
    let status = object.status.unwrap();
    assert_eq!((status.fqdn.as_deref(), status.effective_ttl), (Some(owner.as_str()), Some(300)));
    assert_eq!(status.observed, ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(status.nameservers.len(), 1);
    assert_eq!(status.nameservers[0].answer, NameserverAnswer::Current);
    assert!(status.provider.is_some());

    // A second look costs no write.
    let before = world.intents().await;
    world.look("www").await;
    assert_eq!(world.intents().await, before);

    world.patch("www", json!({"values": ["192.0.2.3"], "ttl": 60})).await;
    world.told("www", "Propagated", "True", "Propagated").await;
    let standing = world.stands(&owner, RecordType::A).await.unwrap();
    assert_eq!((standing.set.ttl(), world.values(&owner, RecordType::A).await), (60, vec!["192.0.2.3".to_owned()]));

    let row = format!("SELECT type || ' ' || ttl || ' ' || ready FROM landfall.dns_records WHERE fqdn = '{owner}'");
    wait_until(PLENTY, "the mirror", async || world.ask::<String>(&row).await == ["A 60 True"]).await;
    let fact = format!("SELECT data ->> 0 FROM landfall.record_sets WHERE fqdn = '{owner}' AND gone_at IS NULL");
    assert_eq!(world.ask::<String>(&fact).await, ["192.0.2.3"]);
    let intents = "SELECT count(*) FROM landfall.activity_log WHERE object_name = 'www' AND action = 'intent.made'";
    assert_eq!(world.ask::<i64>(intents).await, [2]);

    world.delete("www").await;
    world.gone("www").await;
    assert_eq!(world.stands(&owner, RecordType::A).await, None);
    assert_eq!(world.ask::<i64>(intents).await, [3]);
    assert!(world.ask::<String>(&fact).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_became_bad_is_told_and_its_object_takes_the_set_along() {
    let world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("www", json!({})).await;
    world.ready("www").await;
    world.patch("www", json!({"values": ["192.0.2.1", "not an address"]})).await;
    let object = world.told("www", "Accepted", "False", "InvalidRecord").await;
    assert!(condition(&object, "Ready").unwrap().message.starts_with("spec.values[1]: "));
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"], "what stands stays");
    world.delete("www").await;
    world.gone("www").await;
    assert_eq!(world.stands(&owner, RecordType::A).await, None);
}

/// What stands below a delegation answers nobody: who has a set there is told, and told when it is so no more.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_a_delegated_part_says_so_until_the_delegation_goes() {
    let world = World::new(At::PowerDns).await;
    world.record("before", json!({"name": "before.part"})).await;
    world.ready("before").await;
    world.record("part", json!({"name": "part", "type": "NS", "values": ["ns1.elsewhere.test."]})).await;
    world.ready("part").await;
    world.record("after", json!({"name": "after.part"})).await;
    for name in ["before", "after"] {
        let object = world.told(name, "Programmed", "False", "OutsideDomain").await;
        assert!(message(&object, "Ready").contains("is delegated to other servers"), "{}", message(&object, "Ready"));
    }
    world.delete("part").await;
    world.gone("part").await;
    for name in ["before", "after"] {
        world.ready(name).await;
    }
}

/// To whom a part is delegated may not be there yet: the servers of the zone above have the delegation, and they are asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_delegation_is_asked_of_the_zone_above() {
    for at in [At::PowerDns, At::Knot] {
        let world = World::new(at).await;
        world.record("part", json!({"name": "part", "type": "NS", "values": ["ns1.elsewhere.test."]})).await;
        let object = world.told("part", "Propagated", "True", "Propagated").await;
        let status = object.status.unwrap();
        assert_eq!((status.nameservers.len(), status.nameservers[0].answer), (1, NameserverAnswer::Current));
    }
}
