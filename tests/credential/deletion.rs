use kube::api::{Api, DeleteParams, PostParams};
use landfall::api::TerraformDeployment;
use serde_json::json;

use crate::harness::{self, env};
use crate::world::{PLENTY, World, message};

#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_waits_while_a_deployment_refers_to_the_credential() {
    let world = World::new().await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.deployment("web", "pdns").await;
    let object = world.condition("pdns", PLENTY, "InUse", "True", "InUse").await;
    assert!(
        message(&object, "InUse").ends_with("refer to it: TerraformDeployment web"),
        "{}",
        message(&object, "InUse")
    );
    world.delete("pdns").await;
    let object = world.condition("pdns", PLENTY, "Ready", "False", "InUse").await;
    assert!(
        message(&object, "Ready").contains("the deletion waits: TerraformDeployment web;"),
        "{}",
        message(&object, "Ready")
    );
    assert_eq!(object.status.unwrap().used_by, Some(1));
    // What waits for it needs a key that is right, whoever rotates it meanwhile.
    world.secret("pdns", json!({"api_key": "wrong"})).await;
    world.valid("pdns", PLENTY, "False", "InvalidCredentials").await;
    world.secret("pdns", json!({"api_key": env("PDNS_API_KEY")})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let object = world.condition("pdns", PLENTY, "Ready", "False", "InUse").await;
    assert_eq!(object.status.unwrap().used_by, Some(1));
    let deployments = world.api::<TerraformDeployment>();
    harness::wait_until(PLENTY, "the deployment to be deleted", async || {
        // Its own controller may hold it for a moment; this test is not about that.
        let clear = json!({"metadata": {"finalizers": null}});
        let _ = deployments.delete("web", &DeleteParams::default()).await;
        let _ = deployments.patch("web", &Default::default(), &kube::api::Patch::Merge(&clear)).await;
        deployments.get_opt("web").await.unwrap().is_none()
    })
    .await;
    world.gone("pdns").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_of_other_namespaces_are_counted_and_not_named() {
    let other = harness::namespace().await;
    let watched = other.clone();
    let world = World::with(|v| v["watchNamespaces"].as_array_mut().unwrap().push(json!(watched))).await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    let spec = json!({"credentialRef": {"name": "pdns", "namespace": world.namespace}, "suspend": true,
                      "source": {"inline": {"main.tf": ""}}});
    let object = serde_json::from_value(harness::deployment("secretive", spec)).unwrap();
    let api: Api<TerraformDeployment> = Api::namespaced(world.client.clone(), &other);
    api.create(&PostParams::default(), &object).await.unwrap();
    let object = world.condition("pdns", PLENTY, "InUse", "True", "InUse").await;
    assert!(message(&object, "InUse").ends_with("1 in other namespaces"), "{}", message(&object, "InUse"));
    assert!(!serde_json::to_string(&object.status).unwrap().contains("secretive"));
}
