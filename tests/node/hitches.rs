//! Pods that do not begin: `Ready` says why within half a minute.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::jobs::world;
use crate::world::{World, message, stands};

async fn hitch(change: impl FnOnce(&mut Value), account: bool) -> (World, String) {
    let world = world(change).await;
    if !account {
        let accounts = world.own::<ServiceAccount>();
        accounts.delete("landfall-runner", &DeleteParams::default()).await.unwrap();
    }
    let began = Instant::now();
    world.deployment("web", json!({"source": {"inline": {"main.tf": ""}}})).await;
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
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_service_account_that_is_not_there_is_told() {
    let (world, said) = hitch(|_| {}, false).await;
    assert!(said.contains("FailedCreate") && said.contains("landfall-runner"), "{said}");
    world.controller.stop().await;
}
