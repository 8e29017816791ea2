//! Two organizations, and fewer places than runs that wait for one.

use futures::future::join_all;
use landfall::api::TerraformDeployment;
use serde_json::json;

use crate::harness::{assign, namespace, wait_until};
use crate::jobs::{PLENTY, world_with};
use crate::world::message;

const WAITING: i64 = 16;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn an_organization_with_many_runs_keeps_another_from_no_place() {
    let other = namespace().await;
    let world = world_with(&[&other], |_| {}).await;
    assign(&world.namespace, "many").await;
    assign(&other, "one").await;
    let spec = json!({"source": {"inline": {"main.tf": "output \"a\" { value = 1 }"}}});
    let names: Vec<String> = (0..WAITING).map(|number| format!("many{number}")).collect();
    join_all(names.iter().map(|name| world.deployment(name, spec.clone()))).await;
    let runs = "SELECT count(*) FROM terraform_runs";
    wait_until(PLENTY, "all places to be taken", async || world.count(runs).await >= 4).await;
    let (begun, beside) = (world.count(runs).await, world.beside(&other));
    let deployments = beside.api::<TerraformDeployment>();
    assert!(begun + 4 < WAITING, "{begun} have begun: too few still wait");
    // Pods that have ended stay for a while; a place is taken by a run that has not.
    assert!(world.count(&format!("{runs} WHERE finished_at IS NULL")).await <= 4, "executor.maxRuns");
    beside.deployment("one", spec).await;
    let known = "SELECT count(*) FROM terraform_runs WHERE name = 'one'";
    let begun_or_queued = async || {
        message(&deployments.get("one").await.unwrap()).contains("waits for one of") || world.count(known).await > 0
    };
    wait_until(PLENTY, "the other organization's to be seen", begun_or_queued).await;
    let seen = world.count(runs).await;
    assert!(seen + 4 < WAITING, "all have begun before the other organization's was seen");
    beside.ready("one", "ApprovalRequired").await;
    let before = format!("{runs} WHERE created_at < (SELECT created_at FROM terraform_runs WHERE name = 'one')");
    let before = world.count(&before).await;
    // All places may have become free at once then, with others on their way into them.
    assert!(before <= seen + 4, "{seen} runs had begun when it was seen, and {} more before its own", before - seen);
    for name in names {
        world.ready(&name, "ApprovalRequired").await;
    }
    world.nothing_left().await;
    world.controller.stop().await;
}
