//! Plan, gate, apply; and what makes a plan anew.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::world::{World, condition, digest, message};

const MODULE: &str = r#"
variable "greeting" { type = string }
variable "token" { type = string }
resource "terraform_data" "a" { input = var.greeting }
resource "terraform_data" "b" { triggers_replace = sha256(var.token) }
output "said" { value = terraform_data.a.output }
output "session" {
  value     = "session ${var.token}"
  sensitive = true
}
"#;

fn spec(engine: &str, greeting: &str) -> Value {
    json!({
        "engine": {"type": engine},
        "source": {"inline": {"main.tf": MODULE}},
        "variables": {"greeting": greeting},
        "variablesFrom": [{"secretKeyRef": {"name": "web", "key": "token"}, "as": "token"}],
        "outputs": {"secretName": "web-outputs"},
    })
}

const RUNS: &str = "SELECT count(*) FROM terraform_runs";

async fn told_with(engine: &str) {
    let world = World::new().await;
    world.secret("web", json!({"token": "first-secret"})).await;
    world.deployment("web", spec(engine, "hello")).await;
    let first = world.ready("web", "ApprovalRequired").await;
    assert!(message(&first).starts_with("2 to add, 0 to change, 0 to destroy"), "{}", message(&first));
    assert_eq!(condition(&first, "ActionRequired").unwrap().status, "True");

    world.command("web", "approve", &format!("sha256:{}", "0".repeat(64))).await;
    world.ready("web", "ApprovalStale").await;
    assert_eq!(world.count(RUNS).await, 1, "a wrong digest starts nothing");

    let first = digest(&first);
    world.command("web", "approve", &first).await;
    let applied = world.ready("web", "Applied").await;
    let status = applied.status.unwrap();
    assert_eq!(status.approval.unwrap().by, "alice");
    assert_eq!(json!(status.outputs), json!({"said": "hello"}), "a sensitive output is not in status");
    let secret = world.api::<Secret>().get("web-outputs").await.unwrap().data.unwrap();
    let values: Vec<_> = secret.iter().map(|(k, v)| (k.as_str(), String::from_utf8_lossy(&v.0))).collect();
    assert_eq!(values, [("said", "hello".into()), ("session", "session first-secret".into())]);

    world.deployment("web", spec(engine, "good evening")).await;
    let second = world.plan_after("web", &first).await;
    let runs = world.count(RUNS).await;
    world.command("web", "approve", &first).await;
    world.ready("web", "ApprovalStale").await;
    assert_eq!(world.count(RUNS).await, runs, "an old digest starts nothing");

    world.command("web", "approve", &second).await;
    let applied = world.ready("web", "Applied").await;
    assert_eq!(json!(applied.status.unwrap().outputs), json!({"said": "good evening"}));
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE kind = 'Apply'").await, 2);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_waits_for_its_own_digest_and_is_applied_once() {
    told_with("OpenTofu").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terraform_tells_the_same_story() {
    if std::env::var("TERRAFORM").is_ok() {
        told_with("Terraform").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_makes_another_plan_and_an_approval_of_the_old_one_is_worthless() {
    let world = World::new().await;
    world.secret("web", json!({"token": "first-secret"})).await;
    world.deployment("web", spec("OpenTofu", "hello")).await;
    let first = digest(&world.ready("web", "ApprovalRequired").await);
    world.secret("web", json!({"token": "second-secret"})).await;
    let second = world.plan_after("web", &first).await;
    let runs = world.count(RUNS).await;
    world.command("web", "approve", &first).await;
    world.ready("web", "ApprovalStale").await;
    assert_eq!(world.count(RUNS).await, runs);
    world.command("web", "approve", &second).await;
    world.ready("web", "Applied").await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_and_guardrails_say_what_becomes_of_a_plan() {
    let world = World::new().await;
    let data = |n: u32| {
        let module = format!("resource \"terraform_data\" \"a\" {{ count = {n} }}");
        json!({"inline": {"main.tf": module}})
    };
    world.deployment("look", json!({"source": data(1), "approval": "PlanOnly"})).await;
    world.deployment("empty", json!({"source": {"inline": {"main.tf": ""}}})).await;
    world.deployment("auto", json!({"source": data(2), "approval": "Automatic"})).await;
    for (name, reason) in [("look", "Planned"), ("empty", "NoChanges"), ("auto", "Applied")] {
        let object = world.ready(name, reason).await;
        assert_eq!(condition(&object, "Ready").unwrap().status, "True", "{name}");
    }
    let destroying = json!({"source": data(1), "approval": "Automatic", "guardrails": {"maxDestroy": 0}});
    world.deployment("auto", destroying).await;
    let held = world.ready("auto", "GuardrailBreached").await;
    assert_eq!(condition(&held, "ActionRequired").unwrap().status, "True");
    assert_eq!(held.status.unwrap().state.unwrap().resources, 2, "nothing was destroyed");
    let allowed = json!({"source": data(1), "approval": "Automatic", "guardrails": {"maxDestroy": 1}});
    world.deployment("auto", allowed).await;
    assert_eq!(world.ready("auto", "Applied").await.status.unwrap().state.unwrap().resources, 1);
    world.controller.stop().await;
}
