//! Plan, approval, apply and destroy, each as a Job.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod, Secret};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::jobs::world;
use crate::world::{World, digest, message};

const MODULE: &str = r#"
variable "token" { type = string }
resource "terraform_data" "a" { triggers_replace = sha256(var.token) }
output "said" { value = "hello" }
"#;

fn spec() -> Value {
    json!({
        "source": {"inline": {"main.tf": MODULE}},
        "variablesFrom": [{"secretKeyRef": {"name": "web", "key": "token"}, "as": "token"}],
        "deletionPolicy": "Destroy",
    })
}

/// All that the cluster shows of runs, as text.
async fn shown(world: &World) -> String {
    let all = ListParams::default();
    let jobs = world.own::<Job>().list(&all).await.unwrap().items;
    let pods = world.own::<Pod>().list(&all).await.unwrap().items;
    let events = world.own::<Event>().list(&all).await.unwrap().items;
    json!([jobs, pods, events]).to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_deployment_is_planned_applied_and_destroyed_by_jobs_and_none_is_left() {
    let world = world(|_| {}).await;
    world.secret("web", json!({"token": "canary-of-the-node"})).await;
    world.deployment("web", spec()).await;
    let planned = world.ready("web", "ApprovalRequired").await;
    assert!(message(&planned).starts_with("1 to add"), "{}", message(&planned));
    assert!(!shown(&world).await.contains("canary-of-the-node"));

    world.command("web", "approve", &digest(&planned)).await;
    let applied = world.ready("web", "Applied").await;
    assert_eq!(json!(applied.status.unwrap().outputs), json!({"said": "hello"}));
    let seen = shown(&world).await;
    assert!(seen.contains("landfall-run-") && !seen.contains("canary-of-the-node"));
    let claimed = "SELECT count(*) FROM activity_log WHERE action = 'run.claimed' AND details->>'podUid' IS NOT NULL";
    assert_eq!(world.count(claimed).await, 2, "each run was taken by a pod");
    let own = world.names::<Secret>().await;
    assert_eq!(own, ["landfall-run-api"], "a run leaves no Secret");

    world.delete("web").await;
    let leaving = world.plan_after("web", &digest(&planned)).await;
    world.command("web", "approve", &leaving).await;
    world.gone("web").await;
    world.nothing_left().await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_controller_that_is_killed_in_mid_apply_finds_the_job_and_its_result() {
    let world = world(|_| {}).await;
    let module = "resource \"time_sleep\" \"a\" { create_duration = \"8s\" }";
    world.deployment("slow", json!({"source": {"inline": {"main.tf": module}}, "approval": "Automatic"})).await;
    world.until("slow", "an apply", |o| json!(o.status)["phase"] == "Applying").await;
    let pod = world.applying_pod().await;
    let home = world.controller.kill().await;
    let world = World {
        controller: home.start().await,
        namespace: world.namespace,
        client: world.client,
        database: world.database,
    };
    world.ready("slow", "Applied").await;
    let runs =
        "SELECT count(*) FROM terraform_runs WHERE kind = 'Apply' AND phase = 'Succeeded' AND holder->>'podUid' = ";
    assert_eq!(world.count(&format!("{runs}'{}'", pod.metadata.uid.unwrap())).await, 1);
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs").await, 2);
    world.controller.stop().await;
}
