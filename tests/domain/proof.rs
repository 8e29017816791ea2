//! A domain is proved where its zone is served, and nowhere else.

use landfall::api::ServerAnswer;
use serde_json::json;

use crate::harness::{User, assign, env, grant, kubectl, wait_until};
use crate::world::{PLENTY, World, condition, fresh, set};

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_proved_by_the_record_that_its_status_names_at_either_server() {
    let world = World::new().await;
    for (name, zone, server) in [("pdns", "PDNS_ZONE", "PDNS_DNS"), ("knot", "KNOT_ZONE", "KNOT_DNS")] {
        let (fqdn, ns) = (fresh(zone), world.namespace.as_str());
        world.domain(ns, name, &fqdn.to_uppercase(), json!({"usage": "Platform"})).await;
        let object = world.verified(ns, name, "False", "RecordNotFound").await;
        let status = object.status.clone().unwrap();
        assert_eq!(status.fqdn.as_deref(), Some(fqdn.as_str()));
        assert_eq!(status.registrable_domain, Some(env(zone)));
        let challenge = status.challenge.unwrap();
        assert_eq!(challenge.name, format!("_landfall-challenge.{fqdn}"));
        let token = challenge.value.strip_prefix("landfall-verification=").unwrap();
        assert!(token.len() == 32, "160 bits: {token}");
        let message = condition(&object, "Ready").unwrap().message;
        assert!(message.contains(&challenge.name) && message.contains(&challenge.value), "{message}");
        let found = status.verification.unwrap();
        assert_eq!(
            (found.nameservers[0].host.clone(), found.nameservers[0].answer),
            (env(server), ServerAnswer::Absent)
        );

        set(&challenge.name, &["v=other".into()]).await;
        let object = world.verified(ns, name, "False", "ContentMismatch").await;
        assert_eq!(object.status.unwrap().verification.unwrap().seen, ["v=other"]);
        set(&challenge.name, &["v=other".into(), challenge.value.clone()]).await;
        let object = world.verified(ns, name, "True", "Verified").await;
        assert_eq!(condition(&object, "Ready").unwrap().reason, "Ready");
        let found = object.status.unwrap().verification.unwrap();
        assert_eq!(found.nameservers[0].answer, ServerAnswer::Present);
        assert!(found.verified_at.is_some() && found.next_check_at.is_some(), "{found:?}");

        let fact = format!("SELECT state FROM landfall.domain_verifications WHERE fqdn = '{fqdn}'");
        assert_eq!(world.ask::<String>(&fact).await, ["Verified"]);
        let claim = format!("SELECT name FROM landfall.domain_claims WHERE fqdn = '{fqdn}' AND released_at IS NULL");
        assert_eq!(world.ask::<String>(&claim).await, [name]);
        let row = format!("SELECT ready || ' ' || usage FROM landfall.organization_domains WHERE fqdn = '{fqdn}'");
        wait_until(PLENTY, "the mirror", async || world.ask::<String>(&row).await == ["True Platform"]).await;
    }
    let told = "SELECT string_agg(action, ' ' ORDER BY seq) FROM landfall.activity_log WHERE object_name = 'knot' AND action LIKE 'domain.%'";
    assert_eq!(world.ask::<String>(told).await, ["domain.challenged domain.claimed domain.verified"]);
    let events = async || {
        let output =
            kubectl(User::Admin).args(["get", "events", "-n", &world.namespace, "-o", "jsonpath={..reason}"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    wait_until(PLENTY, "an Event", async || events().await.contains("Verified")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wildcard_says_of_any_name_proves_nothing() {
    let world = World::new().await;
    for (name, zone) in [("pdns", "PDNS_ZONE"), ("knot", "KNOT_ZONE")] {
        let (fqdn, ns) = (fresh(zone), world.namespace.as_str());
        world.domain(ns, name, &fqdn, json!({})).await;
        let object = world.verified(ns, name, "False", "RecordNotFound").await;
        let challenge = object.status.unwrap().challenge.unwrap();
        set(&format!("*.{fqdn}"), std::slice::from_ref(&challenge.value)).await;
        let object = world.verified(ns, name, "False", "WildcardAnswer").await;
        let message = condition(&object, "Ready").unwrap().message;
        assert!(message.contains("wildcard") && message.contains(&challenge.name), "{message}");
        let claims = format!("SELECT count(*) FROM landfall.domain_claims WHERE fqdn = '{fqdn}'");
        assert_eq!(world.ask::<i64>(&claims).await, [0]);
        set(&format!("*.{fqdn}"), &["of all".into()]).await;
        set(&challenge.name, &[challenge.value]).await;
        world.verified(ns, name, "True", "Verified").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_suffix_is_refused_and_no_server_is_asked() {
    let world = World::new().await;
    let ns = world.namespace.as_str();
    world.domain(ns, "suffix", "co.uk", json!({})).await;
    let object = world.verified(ns, "suffix", "False", "PublicSuffix").await;
    assert_eq!(object.status.unwrap().challenge, None);
    world.domain(ns, "odd", "xn--a-ecp.example", json!({})).await;
    world.verified(ns, "odd", "False", "DomainInvalid").await;
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM landfall.domain_verifications").await, [0]);
    world.delete(ns, "suffix").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_operate_asks_for_a_look_and_is_on_record() {
    let world = World::new().await;
    let (fqdn, ns) = (fresh("PDNS_ZONE"), world.namespace.as_str());
    world.domain(ns, "main", &fqdn, json!({})).await;
    world.prove(ns, "main").await;
    world.verified(ns, "main", "True", "Verified").await;
    // It is not looked at again before tomorrow.
    set(&format!("_landfall-challenge.{fqdn}"), &[]).await;
    grant(ns, User::Alice, &["landfall-operator"]).await;
    let annotations = json!({"landfall.dev/reconcile": "now", "landfall.dev/command-by": User::Alice.name()});
    world.patch(User::Alice, "main", json!({"metadata": {"annotations": annotations}})).await;
    let object = world.verified(ns, "main", "True", "Degraded").await;
    assert_eq!(condition(&object, "Ready").unwrap().status, "True", "the grace has begun");
    let handled = async || {
        let status = world.api(ns).get("main").await.unwrap().status.unwrap();
        status.last_handled.get("reconcile").is_some_and(|value| value == "now")
    };
    wait_until(PLENTY, "lastHandled", handled).await;
    let by = "SELECT actor FROM landfall.activity_log WHERE action = 'command.taken'";
    assert_eq!(world.ask::<String>(by).await, [User::Alice.name()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_to_another_organization_takes_no_proof_along() {
    let world = World::new().await;
    let (fqdn, ns) = (fresh("PDNS_ZONE"), world.namespace.as_str());
    world.domain(ns, "main", &fqdn, json!({})).await;
    let old = world.prove(ns, "main").await;
    world.verified(ns, "main", "True", "Verified").await;
    assign(ns, "newcorp").await;
    let object = world.verified(ns, "main", "False", "ContentMismatch").await;
    let new = object.status.unwrap().challenge.unwrap().value;
    assert_ne!(new, old);
    let claims = "SELECT count(*) FROM landfall.domain_claims WHERE released_at IS NULL";
    assert_eq!(world.ask::<i64>(claims).await, [0]);
    world.prove(ns, "main").await;
    world.verified(ns, "main", "True", "Verified").await;
    let holder = "SELECT organization_id FROM landfall.domain_claims WHERE released_at IS NULL";
    assert_eq!(world.ask::<String>(holder).await, ["newcorp"]);
}
