//! Where, as whom and with how much a spec has its runs' pods.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use landfall::api::TerraformDeployment;
use serde_json::{Value, json};

use crate::harness::assign;
use crate::jobs::world;
use crate::world::{World, message, stands};

async fn deploy(world: &World, runner: Value) {
    let source = json!({"inline": {"main.tf": "resource \"terraform_data\" \"a\" {}"}});
    world.deployment("web", json!({"source": source, "approval": "Automatic", "runner": runner})).await;
}

async fn does_not_begin(world: &World, why: &str) {
    let told = |o: &TerraformDeployment| stands(o, "RunnerNotStarted") && message(o).contains(why);
    world.until("web", why, told).await;
}

async fn runs(world: &World) -> i64 {
    world.count("SELECT count(*) FROM terraform_runs").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_run_that_no_node_takes_begins_as_soon_as_its_spec_is_mended() {
    let world = world(|_| {}).await;
    deploy(&world, json!({"nodeSelector": {"pool": "none"}})).await;
    does_not_begin(&world, "no node takes pod").await;
    deploy(&world, json!({"resources": {"requests": {"memory": "32Mi"}, "limits": {"memory": "600Mi"}}})).await;
    world.ready("web", "Applied").await;
    assert_eq!(runs(&world).await, 2, "a plan, which went on, and its apply");
    world.nothing_left().await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn runs_have_the_service_account_that_their_organization_may_name() {
    let account = |name: &str, organization: &str| json!({"name": name, "organizations": [organization]});
    let world = world(|job| {
        job["serviceAccounts"] =
            json!([account("ours", "acme"), account("missing", "acme"), account("theirs", "others")]);
        job["ttlSecondsAfterFinished"] = json!(600);
    })
    .await;
    assign(&world.namespace, "acme").await;
    let made: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "ours"}})).unwrap();
    world.own::<ServiceAccount>().create(&Default::default(), &made).await.unwrap();

    deploy(&world, json!({"serviceAccountName": "theirs"})).await;
    let told = world.ready("web", "ExecutorNotPermitted").await;
    assert!(message(&told).contains("spec.runner.serviceAccountName") && message(&told).contains("acme"));
    assert_eq!((runs(&world).await, world.names::<Job>().await), (0, vec![]));

    deploy(&world, json!({"serviceAccountName": "missing"})).await;
    does_not_begin(&world, "serviceaccount \"missing\" not found").await;

    deploy(&world, json!({"serviceAccountName": "ours"})).await;
    world.ready("web", "Applied").await;
    let accounts: Vec<_> = world.pods().await.into_iter().filter_map(|pod| pod.spec?.service_account_name).collect();
    assert_eq!(accounts, ["ours", "ours"], "plan and apply");
    assert_eq!(runs(&world).await, 3, "and the one that did not begin");

    let more = json!({"serviceAccountName": "ours", "resources": {"limits": {"memory": "700Mi"}}});
    deploy(&world, more).await;
    world.ready("web", "Applied").await;
    assert_eq!(runs(&world).await, 3, "with more memory it is the same that was applied");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_run_finds_the_volumes_and_the_cas_of_the_installation() {
    let world = world(|job| {
        job["volumes"] = json!([{"mountPath": "/opt/mirror", "configMap": "mirror"}]);
        job["caBundle"] = json!({"configMap": "cas", "key": "bundle.pem"});
    })
    .await;
    for (name, key, text) in [("mirror", "word", "hello"), ("cas", "bundle.pem", "-----BEGIN CERTIFICATE-----")] {
        let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}, "data": {key: text}})).unwrap();
        world.own::<ConfigMap>().create(&Default::default(), &map).await.unwrap();
    }
    let module = r#"resource "terraform_data" "a" {
      input = [file("/opt/mirror/word"), file("/etc/landfall/ca/ca.crt")]
      lifecycle {
        postcondition {
          condition     = join(" ", self.input) == "hello -----BEGIN CERTIFICATE-----"
          error_message = "other files"
        }
      }
    }"#;
    world.deployment("web", json!({"source": {"inline": {"main.tf": module}}, "approval": "Automatic"})).await;
    world.ready("web", "Applied").await;
    world.controller.stop().await;
}
