//! A module that looks around in its pod.

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
  environments = fileset("/proc", "*/environ")
  memory       = fileset("/proc", "*/mem")
}
output "usual" { value = [for path in local.usual : path if can(file(path))] }
output "environments" { value = { for path in local.environments : path => try(file("/proc/${path}"), "closed") } }
output "memory" { value = [for path in local.memory : path if can(file("/proc/${path}"))] }
output "commands" { value = { for path in fileset("/proc", "*/cmdline") : path => try(file("/proc/${path}"), "closed") } }
output "runs" { value = fileset("/work", "**") }
output "identity" { value = try(file("/var/run/landfall/token"), "none") }
"#;

async fn attach(world: &World, run: &str, token: &str) -> StatusCode {
    let settings = world.controller.home.installation.executor.job.as_ref().unwrap();
    let data = world.own::<k8s_openapi::api::core::v1::Secret>().get("landfall-run-api").await.unwrap().data.unwrap();
    let ca = reqwest::Certificate::from_pem_bundle(&data["ca.crt"].0).unwrap();
    let client = Client::builder().tls_certs_only(ca).build().unwrap();
    let url = settings.url.join(&format!("runs/{run}/attach")).unwrap();
    let body = json!({"tokenSha256": "0".repeat(64)});
    client.post(url).bearer_auth(token).json(&body).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_module_reaches_no_key_no_other_run_and_nobody_elses_anything() {
    let world = world(|_| {}).await;
    // Reads while it is planned: whatever it finds stands in its outputs when it is applied.
    world.deployment("curious", json!({"source": {"inline": {"main.tf": MODULE}}, "approval": "Automatic"})).await;
    let applied = world.ready("curious", "Applied").await;
    let found: Value = json!(applied.status.unwrap().outputs);
    assert_eq!(found["usual"], json!([]), "{found:#}");
    assert_eq!(found["memory"], json!([]), "{found:#}");
    for (path, text) in found["environments"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        for word in ["DATABASE_URL", "LANDFALL_CONFIG", "KUBECONFIG", "postgres://"] {
            assert!(!text.contains(word), "{path}: {text}");
        }
    }
    // Of the pod's own processes alone: pause, runner, engine and its providers.
    for (path, text) in found["commands"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        let ours = ["/pause", "landfall\0runner", "tofu", "terraform-provider"].iter().any(|word| text.contains(word));
        assert!(ours || text.is_empty() || text == "closed", "{path}: {text:?}");
    }

    // The token of its pod opens no other run, and not even its own a second time.
    let token = found["identity"].as_str().unwrap();
    assert!(token.split('.').count() == 3, "{token}");
    let runs: Vec<String> = {
        let mut connection = world.database.superuser().await;
        sqlx::query_scalar("SELECT run_id::text FROM terraform_runs").fetch_all(&mut connection).await.unwrap()
    };
    world.deployment("other", json!({"source": {"inline": {"main.tf": ""}}})).await;
    for run in runs.iter().cloned().chain([Uuid::now_v7().to_string()]) {
        let said = attach(&world, &run, token).await;
        assert!([StatusCode::UNAUTHORIZED, StatusCode::GONE, StatusCode::CONFLICT].contains(&said), "{run}: {said}");
    }
    world.controller.stop().await;
}
