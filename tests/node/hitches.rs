//! Pods that do not begin: `Ready` says why within half a minute.

use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ResourceQuota, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::harness::wait_until;
use crate::jobs::{PLENTY, world};
use crate::world::{World, message, stands};

async fn hitch(change: impl FnOnce(&mut Value), account: bool) -> (World, String) {
    let world = world(change).await;
    if !account {
        let accounts = world.own::<ServiceAccount>();
        accounts.delete("landfall-runner", &DeleteParams::default()).await.unwrap();
    }
    world.deployment("web", json!({"source": {"inline": {"main.tf": ""}}})).await;
    let runs = "SELECT count(*) FROM terraform_runs";
    wait_until(PLENTY, "a run", async || world.count(runs).await == 1).await;
    let began = Instant::now();
    let told = world.until("web", "why it does not begin", |o| stands(o, "RunnerNotStarted")).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    (world, message(&told))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn an_image_that_is_not_there_is_named() {
    let (world, said) = hitch(|job| job["image"] = json!("landfall.test/nowhere:1"), true).await;
    assert!(said.contains("ErrImageNeverPull") && said.contains("landfall.test/nowhere:1"), "{said}");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_node_that_is_not_there_is_told() {
    let (world, said) = hitch(|job| job["nodeSelector"] = json!({"pool": "none"}), true).await;
    assert!(said.contains("no node takes pod") && said.contains("node affinity/selector"), "{said}");
    // Whatever is left of its pods when it is given up: the scheduler's words are on record.
    let told = "SELECT count(*) FROM terraform_runs WHERE phase = 'Failed' AND message LIKE '%node affinity/selector%'";
    wait_until(PLENTY, "a run that is given up", async || {
        for job in world.names::<Job>().await {
            let _ = world.own::<Job>().delete(&job, &DeleteParams::background()).await;
        }
        world.count(told).await > 0
    })
    .await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_service_account_that_is_not_there_is_told() {
    let (world, said) = hitch(|_| {}, false).await;
    assert!(said.contains("FailedCreate") && said.contains("landfall-runner"), "{said}");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_quota_without_room_is_told_and_the_run_begins_when_there_is_some() {
    let world = world(|_| {}).await;
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}});
    let quotas = world.own::<ResourceQuota>();
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    wait_until(PLENTY, "the quota to count", async || {
        quotas.get("none").await.unwrap().status.is_some_and(|s| s.hard.is_some())
    })
    .await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": ""}}})).await;
    let told = world.until("web", "why it does not begin", |o| stands(o, "RunnerNotStarted")).await;
    assert!(message(&told).contains("exceeded quota"), "{}", message(&told));
    quotas.delete("none", &DeleteParams::default()).await.unwrap();
    world.ready("web", "NoChanges").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs").await, 1, "it was not given up");
    world.controller.stop().await;
}
