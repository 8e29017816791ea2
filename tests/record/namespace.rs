//! A whole namespace goes, and its Secrets go first. The bed has no controller that empties namespaces: the tests do it in the
//! worst order.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::DeleteParams;
use landfall::api::{CloudCredential, DnsRecord, OrganizationDomain};
use landfall::dns::RecordType;
use serde_json::json;

use crate::harness::wait_until;
use crate::world::{At, PLENTY, World, message};

/// Deletes the namespace and the Secret of its credential, and waits until that is seen.
async fn without_secret(world: &World) {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    world.api::<Secret>().delete("dns", &DeleteParams::default()).await.unwrap();
    wait_until(PLENTY, "the Secret to be missed", async || {
        let status = world.api::<CloudCredential>().get("dns").await.unwrap().status.unwrap_or_default();
        status.conditions.iter().any(|c| c.type_ == "Valid" && c.reason == "SecretNotFound")
    })
    .await;
}

async fn all_gone(world: &World) {
    world.gone("www").await;
    let (domains, credentials) = (world.api::<OrganizationDomain>(), world.api::<CloudCredential>());
    wait_until(PLENTY, "the domain to be gone", async || domains.get_opt("example").await.unwrap().is_none()).await;
    wait_until(PLENTY, "the credential to be gone", async || credentials.get_opt("dns").await.unwrap().is_none()).await;
}

const KEPT: &str = "SELECT details ->> 'why' FROM landfall.activity_log WHERE action = 'record.kept'";

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_with_its_sets_though_its_secrets_go_first() {
    let world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("www", json!({})).await;
    world.ready("www").await;
    without_secret(&world).await;
    world.delete("www").await;
    wait_until(PLENTY, "the deletion to wait", async || {
        let object = world.api::<DnsRecord>().get("www").await.unwrap();
        message(&object, "Ready").starts_with("the deletion waits: ")
    })
    .await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"], "the credential itself is not deleted yet");

    world.api::<OrganizationDomain>().delete("example", &DeleteParams::default()).await.unwrap();
    world.api::<CloudCredential>().delete("dns", &DeleteParams::default()).await.unwrap();
    all_gone(&world).await;
    assert_eq!(world.stands(&owner, RecordType::A).await, None);
    assert_eq!(world.ask::<String>(KEPT).await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_whose_way_went_with_its_namespace_stays_on_record() {
    let mut world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("www", json!({})).await;
    world.ready("www").await;
    without_secret(&world).await;
    // What the former one has opened is not known to the next.
    world.restart().await;
    world.delete("www").await;
    world.api::<OrganizationDomain>().delete("example", &DeleteParams::default()).await.unwrap();
    world.api::<CloudCredential>().delete("dns", &DeleteParams::default()).await.unwrap();
    all_gone(&world).await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);
    let why =
        format!("the Secret of CloudCredential \"dns\" is gone for good, with its namespace {:?}", world.namespace);
    assert_eq!(world.ask::<String>(KEPT).await, [why]);
    assert_eq!(world.ask::<String>("SELECT fqdn FROM landfall.v_kept_record_sets").await, [owner]);
}
