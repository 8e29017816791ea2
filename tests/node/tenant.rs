//! A module that looks around in its pod, and whoever has its pod's token.

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::api::PostParams;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::jobs::world;
use crate::world::World;

/// All that it can read goes to its outputs.
const MODULE: &str = r#"
locals {
  usual = ["/var/run/secrets/kubernetes.io/serviceaccount/token", "/etc/landfall/landfall.yaml", "/etc/landfall/keys/k1",
           "/root/.kube/config", "/etc/shadow"]
}
output "usual" { value = [for path in local.usual : path if can(file(path))] }
output "environments" { value = { for path in fileset("/proc", "*/environ") : path => try(file("/proc/${path}"), "closed") } }
output "commands" { value = { for path in fileset("/proc", "*/cmdline") : path => try(file("/proc/${path}"), "closed") } }
"#;

const SLOW: &str = "resource \"time_sleep\" \"a\" { create_duration = \"600s\" }";

async fn attach(world: &World, run: &str, token: &str) -> StatusCode {
    let settings = world.controller.home.installation.executor.job.as_ref().unwrap();
    let data = world.own::<Secret>().get("landfall-run-api").await.unwrap().data.unwrap();
    let ca = reqwest::Certificate::from_pem_bundle(&data["ca.crt"].0).unwrap();
    let client = Client::builder().tls_certs_only(ca).build().unwrap();
    let url = settings.url.join(&format!("runs/{run}/attach")).unwrap();
    let body = json!({"tokenSha256": "0".repeat(64)});
    client.post(url).bearer_auth(token).json(&body).send().await.unwrap().status()
}

/// A token as the kubelet gets it for a pod.
async fn token(world: &World, account: &str, pod: &Pod, audience: &str) -> String {
    let bound = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    };
    let spec =
        TokenRequestSpec { audiences: vec![audience.into()], bound_object_ref: Some(bound), expiration_seconds: None };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts = world.own::<ServiceAccount>();
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    made.status.unwrap().token
}

fn run_of(pod: &Pod) -> String {
    pod.metadata.labels.as_ref().unwrap()["landfall.dev/run"].clone()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_module_finds_no_key_and_cannot_look_into_its_runner() {
    let world = world(|_| {}).await;
    // Reads while it is planned: whatever it finds stands in its outputs when it is applied.
    world.deployment("curious", json!({"source": {"inline": {"main.tf": MODULE}}, "approval": "Automatic"})).await;
    let applied = world.ready("curious", "Applied").await;
    let found: Value = json!(applied.status.unwrap().outputs);
    assert_eq!(found["usual"], json!([]), "{found:#}");
    // Of the pod's own processes alone: pause, runner, engine and its providers.
    let mut runner = None;
    for (path, text) in found["commands"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        let ours = ["/pause", "landfall\0runner", "tofu", "terraform-provider"].iter().any(|word| text.contains(word));
        assert!(ours || text.is_empty() || text == "closed", "{path}: {text:?}");
        if text.starts_with("landfall\0runner") {
            runner = path.strip_suffix("/cmdline");
        }
    }
    let runner = runner.expect("the runner is seen");
    assert_eq!(found["environments"][format!("{runner}/environ")], "closed", "{found:#}");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn the_token_of_a_pod_takes_no_other_run_and_its_own_only_once() {
    let world = world(|_| {}).await;
    for name in ["one", "two"] {
        world.deployment(name, json!({"source": {"inline": {"main.tf": SLOW}}, "approval": "Automatic"})).await;
        world.until(name, "an apply", |o| json!(o.status)["phase"] == "Applying").await;
    }
    let pods = world.applying_pods(2).await;
    let (one, two) = (&pods[0], &pods[1]);
    let audience = "landfall.dev/runs";
    let good = token(&world, "landfall-runner", one, audience).await;
    assert_eq!(attach(&world, &run_of(one), &good).await, StatusCode::CONFLICT, "its own, by another than its runner");
    assert_eq!(attach(&world, &run_of(two), &good).await, StatusCode::CONFLICT, "another's, which is taken too");
    assert_eq!(attach(&world, &Uuid::now_v7().to_string(), &good).await, StatusCode::UNAUTHORIZED, "nobody's");
    for pod in &pods {
        world.command_on_run(pod, "cancel").await;
    }
    world.nothing_left().await;
    world.controller.stop().await;
}
