//! A namespace goes to another organization, and what its deployments built does not.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::wait_until;
use crate::world::{PLENTY, World, message};

async fn label(world: &World, organization: Value) {
    let api: Api<Namespace> = Api::all(world.client.clone());
    let labels = json!({"metadata": {"labels": {"landfall.dev/organization": organization}}});
    api.patch(&world.namespace, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
}

fn spec(resources: u32) -> Value {
    let module = format!("resource \"terraform_data\" \"a\" {{ count = {resources} }}");
    json!({"source": {"inline": {"main.tf": module}}, "approval": "Automatic", "deletionPolicy": "Destroy"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relabelled_namespace_stops_its_deployments_until_it_is_labelled_back() {
    let world = World::new().await;
    for name in ["web", "leaving"] {
        world.deployment(name, spec(1)).await;
        world.ready(name, "Applied").await;
    }
    const RUNS: &str = "SELECT count(*) FROM terraform_runs";
    let runs = world.count(RUNS).await;

    label(&world, json!("newcorp")).await;
    let said = message(&world.ready("web", "StateFound").await);
    assert!(said.contains("organization ns:") && said.contains("label the namespace back"), "{said}");
    world.deployment("web", spec(2)).await;
    world.delete("leaving").await;
    world.ready("web", "StateFound").await;
    world.ready("leaving", "StateFound").await;
    for (events, organization) in [("object.left", "ns:%"), ("object.joined", "newcorp")] {
        let told = format!(
            "SELECT count(*) FROM activity_log WHERE action = '{events}' AND organization_id LIKE '{organization}'
             AND object_kind = 'TerraformDeployment'"
        );
        wait_until(PLENTY, events, async || world.count(&told).await == 2).await;
    }
    let moved = "SELECT count(*) FROM terraform_deployments WHERE organization_id = 'newcorp'";
    assert_eq!(world.count(moved).await, 2);
    assert_eq!(world.count(RUNS).await, runs, "nothing was planned, applied or destroyed");

    label(&world, Value::Null).await;
    world.gone("leaving").await;
    let applied = world.ready("web", "Applied").await;
    assert_eq!(applied.status.unwrap().state.unwrap().resources, 2);
    world.controller.stop().await;
}

/// A namespace never vanishes from around its objects, unless somebody forces it to.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_a_namespace_that_vanished_stays_whose_it_was() {
    let world = World::new().await;
    label(&world, json!("acme")).await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": ""}}, "suspend": true})).await;
    let ours = "SELECT count(*) FROM terraform_deployments WHERE name = 'web' AND organization_id = 'acme'";
    wait_until(PLENTY, "the row", async || world.count(ours).await == 1).await;
    world.until("web", "the finalizer", |o| o.metadata.finalizers.is_some()).await;

    let api: Api<Namespace> = Api::all(world.client.clone());
    let mut namespace = api.delete(&world.namespace, &Default::default()).await.unwrap().left().unwrap();
    namespace.spec.get_or_insert_default().finalizers = Some(Vec::new());
    let path = format!("/api/v1/namespaces/{}/finalize", world.namespace);
    let request = http::Request::put(path).body(serde_json::to_vec(&namespace).unwrap()).unwrap();
    world.client.request::<Value>(request).await.unwrap();
    wait_until(PLENTY, "the namespace to be gone", async || api.get_opt(&world.namespace).await.unwrap().is_none())
        .await;

    // All that the API server still permits there is to delete.
    world.delete("web").await;
    let followed = format!("{ours} AND deletion_requested_at IS NOT NULL AND deleted_at IS NULL");
    wait_until(PLENTY, "the mirror to follow", async || world.count(&followed).await == 1).await;
    world.controller.stop().await;
}
