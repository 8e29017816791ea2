//! Of two organizations that prove the same, one holds it.

use serde_json::json;

use crate::harness::namespace;
use crate::world::{World, condition, fresh, set};

#[tokio::test(flavor = "multi_thread")]
async fn a_later_claimant_waits_until_the_holder_has_gone() {
    let theirs = namespace().await;
    let mut world = World::watching(vec![theirs.clone()]).await;
    let ours = &*world.namespace.clone();
    let fqdn = fresh("PDNS_ZONE");
    let below = format!("dev.{fqdn}");
    world.domain(ours, "main", &fqdn, json!({})).await;
    world.prove(ours, "main").await;
    world.verified(ours, "main", "True", "Verified").await;

    // Both prove at once: the values stand side by side.
    world.domain(&theirs, "same", &fqdn, json!({})).await;
    world.domain(&theirs, "below", &below, json!({})).await;
    let mut values = Vec::new();
    for (namespace, name) in [(ours, "main"), (theirs.as_str(), "same")] {
        values.push(world.prove(namespace, name).await);
    }
    set(&format!("_landfall-challenge.{fqdn}"), &values).await;
    world.prove(&theirs, "below").await;
    for name in ["same", "below"] {
        let object = world.verified(&theirs, name, "False", "ClaimedElsewhere").await;
        let ready = condition(&object, "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "ClaimedElsewhere"));
        assert!(!ready.message.contains(ours), "who holds it is not told: {}", ready.message);
    }
    // The holder's own parts are its own.
    world.domain(ours, "part", &format!("a.{below}"), json!({})).await;
    world.prove(ours, "part").await;
    world.verified(ours, "part", "True", "Verified").await;

    // Hours later they are looked at hourly, and all the same have it as soon as it is free.
    world.later(20 * 3600, true).await;
    let looked = "SELECT count(*) FROM landfall.domain_verifications WHERE checked_at > now() + interval '19 hours'";
    crate::harness::wait_until(crate::world::PLENTY, "both to be looked at", async || {
        world.ask::<i64>(looked).await == [2]
    })
    .await;
    world.delete(ours, "main").await;
    world.verified(&theirs, "same", "False", "ClaimedElsewhere").await;
    world.delete(ours, "part").await;
    world.verified(&theirs, "same", "True", "Verified").await;
    world.verified(&theirs, "below", "True", "Verified").await;
    let refused = "SELECT count(*) FROM landfall.activity_log WHERE action = 'domain.refused'";
    assert_eq!(world.ask::<i64>(refused).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_finalizer_was_taken_by_hand_leaves_no_claim() {
    let mut world = World::new().await;
    let (fqdn, ns) = (fresh("KNOT_ZONE"), world.namespace.clone());
    world.domain(&ns, "main", &fqdn, json!({})).await;
    world.prove(&ns, "main").await;
    world.verified(&ns, "main", "True", "Verified").await;
    let home = world.controller.take().unwrap().stop().await;
    let bare = json!({"metadata": {"finalizers": null}});
    let api = world.api(&ns);
    api.patch("main", &Default::default(), &kube::api::Patch::Merge(&bare)).await.unwrap();
    world.delete(&ns, "main").await;
    world.controller = Some(home.start().await);
    let claims = "SELECT release_reason FROM landfall.domain_claims";
    let released = async || {
        let found: Vec<Option<String>> = world.ask(claims).await;
        found == [Some("ObservedAbsent".to_owned())]
    };
    crate::harness::wait_until(crate::world::PLENTY, "the claim to be released", released).await;
}
