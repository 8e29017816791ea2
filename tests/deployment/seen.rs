//! What people see beside the story: who is woken, what a second approval is told, Events.

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use landfall::api::CloudCredential;
use serde_json::json;

use crate::bad_input::PLAN_FAILS;
use crate::harness::{credential, env, wait_until};
use crate::world::{PLENTY, World, digest, stands};

const DATA: &str = "resource \"terraform_data\" \"a\" {}";

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_wakes_the_deployments_that_wait_for_it() {
    let world = World::new().await;
    let names: Vec<String> = (0..3).map(|n| format!("web{n}")).collect();
    for name in &names {
        let spec = json!({"source": {"inline": {"main.tf": DATA}}, "credentialRef": {"name": name}});
        world.deployment(name, spec).await;
    }
    for name in &names {
        world.ready(name, "CredentialNotReady").await;
        let spec = json!({"powerdns": {"secretRef": {"name": name}, "endpoint": env("PDNS_URL")}});
        world.put::<CloudCredential>(name, credential(name, spec)).await;
        world.secret(name, json!({"api_key": env("PDNS_API_KEY")})).await;
    }
    for name in &names {
        world.ready(name, "ApprovalRequired").await;
    }
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_approval_hears_of_the_first_and_is_not_refused() {
    let world = World::new().await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": DATA}}})).await;
    let plan = digest(&world.ready("web", "ApprovalRequired").await);
    world.command("web", "approve", &format!("sha256:{}", "0".repeat(64))).await;
    world.ready("web", "ApprovalStale").await;
    world.command("web", "approve", &plan).await;
    let applied = world.ready("web", "Applied").await.status.unwrap();
    let approval = applied.approval.unwrap();
    assert_eq!(approval.run_id, applied.last_run.map(|run| run.id));
    assert_eq!(json!(applied.last_handled), json!({"approve": plan}), "the refusal is past");
    world.command("web", "approve", &plan).await;
    let object = world.until("web", "no annotation", |o| stands(o, "Applied") && o.metadata.annotations.is_none());
    assert_eq!(json!(object.await.status.unwrap().last_handled), json!({"approve": plan}));
    let taken = "SELECT count(*) FROM activity_log WHERE action = 'command.taken'";
    assert_eq!(world.count(taken).await, 2, "the same command again is nothing new");
    let refused = "SELECT count(*) FROM activity_log WHERE action = 'approval.refused'";
    assert_eq!(world.count(refused).await, 1);
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs").await, 2);
    world.controller.stop().await;
}

/// Reasons of the Warnings about a deployment, sorted.
async fn warnings(world: &World, name: &str) -> Vec<String> {
    let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
    let of = |e: &Event| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name);
    let warning = |e: &Event| e.type_.as_deref() == Some("Warning");
    let mut found: Vec<_> = events.items.into_iter().filter(|e| of(e) && warning(e)).filter_map(|e| e.reason).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_an_event_once_however_often_it_is_looked_at() {
    let mut world = World::new().await;
    let spec = json!({"source": {"inline": {"main.tf": PLAN_FAILS}}, "retry": {"limit": 0}});
    world.deployment("fails", spec).await;
    world.deployment("lacks", json!({"source": {"configMapRef": {"name": "none"}}})).await;
    let all = [("fails", vec!["PlanFailed", "RetriesExhausted"]), ("lacks", vec!["SourceNotFound"])];
    for (name, reasons) in &all {
        world.ready(name, reasons.last().unwrap()).await;
        let told = async || warnings(&world, name).await == *reasons;
        wait_until(PLENTY, "the Events", told).await;
    }
    // Everything is looked at again by a controller that has no memory of having told.
    let home = world.controller.stop().await;
    world.controller = home.start().await;
    let looked = async || {
        let done = "landfall_reconciles_total{kind=\"TerraformDeployment\",result=\"Done\"} ";
        let text = world.controller.metrics.text();
        text.lines().filter_map(|line| line.strip_prefix(done)?.parse::<u64>().ok()).sum::<u64>() >= 2
    };
    wait_until(PLENTY, "another look", looked).await;
    for (name, reasons) in &all {
        assert_eq!(warnings(&world, name).await, *reasons);
    }
    world.controller.stop().await;
}
