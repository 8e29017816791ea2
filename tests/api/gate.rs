//! The gate's own copy of the policies against what the API server made of them.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use landfall::access::{Gate, Standing};
use landfall::api::TerraformDeployment;
use landfall::reconcile::watch;
use serde_json::json;

use crate::harness::{User, install, wait_until};
use crate::world::{DIGEST, World, command};

#[tokio::test]
async fn the_installed_policies_are_found_whole_and_a_later_command_is_obeyed() {
    let world = World::new().await;
    let client = User::Controller.client().await;
    grant_controller(&world).await;
    let api: Api<TerraformDeployment> = Api::namespaced(client.clone(), &world.namespace);
    let gate = Gate::embedded().unwrap();
    let standing = gate.standing(&client, &api, "web").await.unwrap();
    assert!(matches!(standing, Standing::Whole(_)), "{standing:?}");
    assert_eq!(world.annotations().await, json!({}), "the proof leaves nothing");
    // What was proved once is not tried again: this object does not exist.
    assert_eq!(gate.standing(&client, &api, "none").await.unwrap(), standing);

    wait_until(Duration::from_secs(60), "a command to be later than the policies", async || {
        let clear =
            json!({"metadata": {"annotations": {"landfall.dev/approve": null, "landfall.dev/command-by": null}}});
        world.patch(User::Alice, clear).await.unwrap();
        world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
        let mut web = api.get("web").await.unwrap();
        watch::slim(&mut web);
        let given = watch::annotated_at(&web, "landfall.dev/approve");
        assert!(given.is_some());
        standing.objection(Some(given), jiff::Timestamp::now()).is_none()
    })
    .await;
}

async fn grant_controller(world: &World) {
    crate::harness::grant(&world.namespace, User::Controller, &["landfall-controller"]).await;
}

/// A kind that no policy guards stands for an API server that does not enforce them yet.
#[tokio::test]
async fn policies_that_are_installed_and_not_enforced_are_no_gate() {
    install().await;
    let (client, namespace) = (User::Admin.client().await, crate::harness::namespace().await);
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let object = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    let gate = Gate::embedded().unwrap();
    for _ in 0..2 {
        let Standing::Flawed(flaw) = gate.standing(&client, &api, "x").await.unwrap() else {
            panic!("proved by nothing")
        };
        assert_eq!(flaw.object, "ValidatingAdmissionPolicy/landfall-commands");
    }
    assert_eq!(api.get("x").await.unwrap().metadata.annotations, None);
}

#[tokio::test]
async fn a_gate_that_cannot_be_seen_is_an_error_and_not_an_answer() {
    let world = World::new().await;
    let client = User::Carol.client().await;
    let api: Api<TerraformDeployment> = Api::namespaced(client.clone(), &world.namespace);
    assert!(Gate::embedded().unwrap().standing(&client, &api, "web").await.is_err());
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_of_no_organization() {
    let client = User::Admin.client().await;
    let answer = landfall::access::organization(&client, uuid::Uuid::nil(), "vanished").await;
    let error = answer.unwrap_err();
    assert!(error.class() == landfall::Class::Transient && error.to_string().contains("\"vanished\""), "{error}");
}

/// A status says nothing of annotations, and must not cost them their owner: a command's time is read there.
#[tokio::test]
async fn a_status_that_is_written_leaves_commands_their_time() {
    let world = World::new().await;
    world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
    let client = User::Admin.client().await;
    let api: Api<TerraformDeployment> = Api::namespaced(client.clone(), &world.namespace);
    let read = async || {
        let mut web = api.get("web").await.unwrap();
        watch::slim(&mut web);
        web
    };
    let before = read().await;
    let status = json!({"phase": "Pending", "conditions": []});
    let written = landfall::reconcile::patch::status(&client, &before, &status).await.unwrap();
    assert_eq!(written, landfall::reconcile::patch::Written::Changed);
    let given = |web: &TerraformDeployment| watch::annotated_at(web, "landfall.dev/approve");
    assert!(given(&before).is_some());
    assert_eq!(given(&read().await), given(&before));
}
