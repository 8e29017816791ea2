//! A managed domain proves itself, and leaves nothing behind.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use landfall::api::CloudCredential;
use serde_json::{Value, json};

use crate::harness::{self, env, wait_until};
use crate::wire::Wire;
use crate::world::{PLENTY, World, condition, fresh, set, standing};

async fn credential(world: &World, name: &str) {
    credential_at(world, name, &env("PDNS_URL")).await;
}

async fn credential_at(world: &World, name: &str, endpoint: &str) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"api_key": env("PDNS_API_KEY")}});
    secrets.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
    let spec = json!({"powerdns": {"secretRef": {"name": name}, "endpoint": endpoint}});
    let object = serde_json::from_value(harness::credential(name, spec)).unwrap();
    credentials(world).create(&PostParams::default(), &object).await.unwrap();
}

fn credentials(world: &World) -> Api<CloudCredential> {
    Api::namespaced(world.client.clone(), &world.namespace)
}

fn managed(credential: &str) -> Value {
    json!({"dns": {"mode": "Managed", "credentialRef": {"name": credential}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_domain_sets_its_own_challenge_beside_others_and_takes_it_away() {
    let world = World::new().await;
    let (fqdn, ns) = (fresh("PDNS_ZONE"), world.namespace.as_str());
    let owner = format!("_landfall-challenge.{fqdn}");
    set(&owner, &["somebody-else".into()]).await;
    // Without its credential it waits, and says so.
    world.domain(ns, "main", &fqdn, managed("pdns")).await;
    let waits = async || {
        let object = world.api(ns).get("main").await.unwrap();
        condition(&object, "Ready").is_some_and(|c| c.reason == "CredentialNotReady")
    };
    wait_until(PLENTY, "CredentialNotReady", waits).await;
    credential(&world, "pdns").await;
    let object = world.verified(ns, "main", "True", "Verified").await;
    let status = object.status.clone().unwrap();
    assert_eq!(status.zone.unwrap().name, env("PDNS_ZONE"));
    let value = status.challenge.unwrap().value;
    assert_eq!(standing(&owner).await, ["somebody-else".to_owned(), value.clone()].into());
    assert_eq!(condition(&object, "Ready").unwrap().reason, "Ready");

    // On record before it was made.
    let intents = "SELECT call || ' ' || outcome FROM landfall.intents ORDER BY created_at";
    assert_eq!(world.ask::<String>(intents).await, ["powerdns.patch_zone Done"]);

    // The credential waits for the domain.
    let api = credentials(&world);
    let used = async || {
        let status = api.get("pdns").await.unwrap().status.unwrap();
        status.conditions.iter().any(|c| c.type_ == "InUse" && c.message.contains("OrganizationDomain main"))
    };
    wait_until(PLENTY, "InUse", used).await;
    api.delete("pdns", &DeleteParams::default()).await.unwrap();
    world.delete(ns, "main").await;
    assert_eq!(standing(&owner).await, ["somebody-else".to_owned()].into());
    wait_until(PLENTY, "the credential to go", async || api.get_opt("pdns").await.unwrap().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_somebody_took_away_is_set_again_and_one_that_is_not_managed_any_more_goes() {
    let mut world = World::new().await;
    let (fqdn, ns) = (fresh("PDNS_ZONE"), world.namespace.clone());
    let owner = format!("_landfall-challenge.{fqdn}");
    credential(&world, "pdns").await;
    world.domain(&ns, "main", &fqdn, managed("pdns")).await;
    world.verified(&ns, "main", "True", "Verified").await;
    set(&owner, &[]).await;
    world.later(26 * 3600, true).await;
    wait_until(PLENTY, "the challenge to stand again", async || standing(&owner).await.len() == 1).await;
    world.later(2 * 3600, true).await;
    world.verified(&ns, "main", "True", "Verified").await;
    let spec = json!({"spec": {"dns": {"mode": "External", "credentialRef": null}}});
    world.patch(harness::User::Admin, "main", spec).await;
    wait_until(PLENTY, "the challenge to go", async || standing(&owner).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_the_credential_does_not_have_is_said() {
    let world = World::new().await;
    let ns = world.namespace.as_str();
    credential(&world, "pdns").await;
    world.domain(ns, "main", &fresh("KNOT_ZONE"), managed("pdns")).await;
    let said = async || {
        let object = world.api(ns).get("main").await.unwrap();
        condition(&object, "Ready").is_some_and(|c| c.reason == "ZoneNotFound")
    };
    wait_until(PLENTY, "ZoneNotFound", said).await;
    world.delete(ns, "main").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_whose_provider_is_gone_keeps_nothing_from_going_and_is_on_record() {
    let wire = Wire::to(&env("PDNS_URL")).await;
    let endpoint = wire.url(&env("PDNS_URL")).trim_end_matches('/').to_owned();
    let permitted = endpoint.clone();
    let mut world = World::of(Vec::new(), move |v| v["allowedEndpoints"] = json!([permitted])).await;
    let (fqdn, ns) = (fresh("PDNS_ZONE"), world.namespace.clone());
    let owner = format!("_landfall-challenge.{fqdn}");
    credential_at(&world, "pdns", &endpoint).await;
    world.domain(&ns, "main", &fqdn, managed("pdns")).await;
    world.verified(&ns, "main", "True", "Verified").await;
    wire.cut();
    world.api(&ns).delete("main", &DeleteParams::default()).await.unwrap();
    let waits = "SELECT (published -> 'leavingSince' IS NOT NULL)::text FROM landfall.domain_verifications";
    wait_until(PLENTY, "an attempt in vain", async || world.ask::<String>(waits).await == ["true"]).await;
    assert!(world.api(&ns).get_opt("main").await.unwrap().is_some());
    world.later(601, true).await;
    wait_until(PLENTY, "the domain to go", async || world.api(&ns).get_opt("main").await.unwrap().is_none()).await;
    let left = "SELECT details ->> 'name' FROM landfall.activity_log WHERE action = 'domain.challenge_left'";
    assert_eq!(world.ask::<String>(left).await, std::slice::from_ref(&owner));
    assert_eq!(standing(&owner).await.len(), 1);
}

/// A guest of a credential that is limited to the guest's own names proves none of its owner's with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_proves_no_domain_but_those_that_it_is_limited_to() {
    let world = World::new().await;
    let (fqdn, ns) = (fresh("PDNS_ZONE"), world.namespace.as_str());
    credential(&world, "pdns").await;
    let limit = Patch::Merge(json!({"spec": {"allowedDomains": [format!("guest.{fqdn}")]}}));
    credentials(&world).patch("pdns", &PatchParams::default(), &limit).await.unwrap();
    world.domain(ns, "main", &fqdn, managed("pdns")).await;
    let said = async || {
        let object = world.api(ns).get("main").await.unwrap();
        condition(&object, "Ready")
            .is_some_and(|c| c.reason == "RefNotPermitted" && c.message.contains("allowedDomains"))
    };
    wait_until(PLENTY, "RefNotPermitted", said).await;
    assert!(standing(&format!("_landfall-challenge.{fqdn}")).await.is_empty());
    world.domain(ns, "guest", &format!("guest.{fqdn}"), managed("pdns")).await;
    world.verified(ns, "guest", "True", "Verified").await;
    world.delete(ns, "guest").await;
    world.delete(ns, "main").await;
}
