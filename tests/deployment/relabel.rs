//! A namespace goes to another organization, and what its deployments built does not.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::deaths::{applies, runner};
use crate::former::first;
use crate::harness::{assign, wait_until};
use crate::world::{PLENTY, World, message};

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

    assign(&world.namespace, "newcorp").await;
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

    assign(&world.namespace, None).await;
    world.gone("leaving").await;
    let applied = world.ready("web", "Applied").await;
    assert_eq!(applied.status.unwrap().state.unwrap().resources, 2);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_under_way_when_its_namespace_is_relabelled_ends_for_whom_it_began() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", first(files.path())).await;
    runner(&world.controller, files.path()).await;
    assign(&world.namespace, "newcorp").await;
    let moved = "SELECT count(*) FROM terraform_deployments WHERE organization_id = 'newcorp'";
    wait_until(PLENTY, "the mirror to follow", async || world.count(moved).await == 1).await;
    std::fs::write(files.path().join("go"), "").unwrap();
    let said = message(&world.ready("web", "StateFound").await);
    assert!(said.contains("organization ns:"), "{said}");
    for table in ["terraform_runs", "terraform_states", "intents", "resource_inventory"] {
        let theirs = format!("SELECT count(*) FROM {table} WHERE organization_id = 'newcorp'");
        assert_eq!(world.count(&theirs).await, 0, "{table}");
    }
    assign(&world.namespace, None).await;
    world.ready("web", "Applied").await;
    assert_eq!(applies(files.path()).len(), 1);
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock IS NOT NULL").await, 0, "a lock stands");
    assert_eq!(world.count("SELECT count(*) FROM intents WHERE outcome IS DISTINCT FROM 'Done'").await, 0);
    world.controller.stop().await;
}

/// The test deletes what the namespace controller would: in no order, and before the runs end.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_deleted_in_mid_apply_is_gone_when_its_deployments_have_ended() {
    let (world, kept, destroyed) = (World::new().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    world.deployment("kept", first(kept.path())).await;
    let inline = first(destroyed.path())["source"]["inline"].clone();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "module"}, "data": inline});
    world.put::<ConfigMap>("module", map).await;
    let spec = json!({"source": {"configMapRef": {"name": "module"}}, "approval": "Automatic",
        "deletionPolicy": "Destroy", "outputs": {"secretName": "outputs"}});
    world.deployment("destroyed", spec).await;
    for files in [&kept, &destroyed] {
        runner(&world.controller, files.path()).await;
    }
    let api: Api<Namespace> = Api::all(world.client.clone());
    api.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    world.api::<ConfigMap>().delete("module", &DeleteParams::default()).await.unwrap();
    for (name, files) in [("kept", &kept), ("destroyed", &destroyed)] {
        world.delete(name).await;
        std::fs::write(files.path().join("go"), "").unwrap();
    }
    world.gone("kept").await;
    world.gone("destroyed").await;
    assert!(kept.path().join("first").exists() && !destroyed.path().join("first").exists());
    finalize(&world).await;
    let buried = "SELECT count(*) FROM terraform_deployments WHERE deleted_at IS NOT NULL";
    wait_until(PLENTY, "the mirror to follow", async || world.count(buried).await == 2).await;
    for (what, query) in [
        ("a lock or a key is held", "SELECT count(*) FROM state_keys WHERE lock IS NOT NULL OR holder_uid IS NOT NULL"),
        ("an intent is not done", "SELECT count(*) FROM intents WHERE outcome IS DISTINCT FROM 'Done'"),
        ("a run did not succeed", "SELECT count(*) FROM terraform_runs WHERE phase <> 'Succeeded'"),
        ("a run was after the end", "SELECT count(*) - 6 FROM terraform_runs"),
        ("the inventory is not what was kept", "SELECT count(*) - 2 FROM resource_inventory WHERE gone_at IS NULL"),
    ] {
        assert_eq!(world.count(query).await, 0, "{what}");
    }
    world.controller.stop().await;
}

/// Lets the namespace go, as its controller does when it is empty.
async fn finalize(world: &World) {
    let api: Api<Namespace> = Api::all(world.client.clone());
    let mut namespace = api.get(&world.namespace).await.unwrap();
    namespace.spec.get_or_insert_default().finalizers = Some(Vec::new());
    let path = format!("/api/v1/namespaces/{}/finalize", world.namespace);
    let request = http::Request::put(path).body(serde_json::to_vec(&namespace).unwrap()).unwrap();
    world.client.request::<Value>(request).await.unwrap();
    wait_until(PLENTY, "the namespace to be gone", async || api.get_opt(&world.namespace).await.unwrap().is_none())
        .await;
}

/// A namespace never vanishes from around its objects, unless somebody forces it to.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_a_namespace_that_vanished_stays_whose_it_was() {
    let world = World::new().await;
    assign(&world.namespace, "acme").await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": ""}}, "suspend": true})).await;
    let ours = "SELECT count(*) FROM terraform_deployments WHERE name = 'web' AND organization_id = 'acme'";
    wait_until(PLENTY, "the row", async || world.count(ours).await == 1).await;
    world.until("web", "the finalizer", |o| o.metadata.finalizers.is_some()).await;

    let api: Api<Namespace> = Api::all(world.client.clone());
    api.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    finalize(&world).await;

    // All that the API server still permits there is to delete.
    world.delete("web").await;
    let followed = format!("{ours} AND deletion_requested_at IS NOT NULL AND deleted_at IS NULL");
    wait_until(PLENTY, "the mirror to follow", async || world.count(&followed).await == 1).await;
    world.controller.stop().await;
}
