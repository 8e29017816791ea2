//! Pods that go in the middle of their run.

use k8s_openapi::api::core::v1::Pod;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::wait_until;
use crate::jobs::{PLENTY, world};
use crate::runners::runners;
use crate::world::{condition, digest, message, stands};

const SLOW: &str = "resource \"terraform_data\" \"first\" {}\n\
    resource \"time_sleep\" \"a\" {\n  create_duration = \"600s\"\n  depends_on = [terraform_data.first]\n}";

/// Kills the runner of this pod from outside, as a node does that has no memory left.
fn kill_runner(pod: &Pod) {
    let run = &pod.metadata.labels.as_ref().unwrap()["landfall.dev/run"];
    let runners = runners(run.parse().unwrap());
    assert_eq!(runners.len(), 1, "{runners:?}");
    kill_process(Pid::from_raw(runners[0]).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn an_apply_whose_pod_is_killed_is_interrupted_and_a_person_goes_on() {
    let world = world(|_| {}).await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": SLOW}}, "approval": "Automatic"})).await;
    world.until("web", "a resource on record", |o| json!(o.status)["phase"] == "Applying").await;
    let built = "SELECT count(*) FROM resource_inventory WHERE address = 'terraform_data.first'";
    wait_until(PLENTY, "the first resource", async || world.count(built).await == 1).await;
    kill_runner(&world.applying_pod().await);

    let stopped = world.ready("web", "Interrupted").await;
    assert_eq!(condition(&stopped, "ActionRequired").unwrap().status, "True", "{}", message(&stopped));
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE kind = 'Apply'").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock_run IS NOT NULL").await, 0, "no lock is left");

    let quick = SLOW.replace("600s", "1s");
    world.deployment("web", json!({"source": {"inline": {"main.tf": quick}}, "approval": "Automatic"})).await;
    let old = digest(&stopped);
    let again = world.until("web", "another plan", |o| stands(o, "Interrupted") && digest(o) != old).await;
    world.command("web", "approve", &digest(&again)).await;
    world.ready("web", "Applied").await;
    world.nothing_left().await;
    world.controller.stop().await;
}

/// Twenty million strings, which the plan does not know yet.
const LARGE: &str = "resource \"terraform_data\" \"first\" {\n  input = 1000\n}\n\
    resource \"terraform_data\" \"large\" {\n  input = length(flatten([for a in range(terraform_data.first.output) : \
    [for b in range(1000) : [for c in range(20) : \"${a}-${b}-${c}\"]]]))\n}";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn an_apply_that_takes_more_memory_than_it_may_is_interrupted() {
    let world = world(|_| {}).await;
    let runner = json!({"resources": {"limits": {"memory": "256Mi"}}});
    let source = json!({"inline": {"main.tf": LARGE}});
    world.deployment("web", json!({"source": source, "approval": "Automatic", "runner": runner})).await;
    world.ready("web", "Interrupted").await;
    let mut sql = world.database.superuser().await;
    let said: Vec<String> = sqlx::query_scalar("SELECT message FROM terraform_runs WHERE kind = 'Apply'")
        .fetch_all(&mut sql)
        .await
        .unwrap();
    // Of the pod's processes the kernel takes the largest, or all of them.
    assert!(said.len() == 1 && said[0].contains("want of memory"), "{said:?}");
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock_run IS NOT NULL").await, 0, "no lock is left");
    world.nothing_left().await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_cancel_ends_the_engine_and_its_pod() {
    let world = world(|_| {}).await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": SLOW}}, "approval": "Automatic"})).await;
    let run = world.applying_pod().await.metadata.labels.unwrap()["landfall.dev/run"].clone();
    world.command("web", "cancel", &run).await;
    // Whether its provider had begun by then is chance.
    let ended =
        format!("SELECT count(*) FROM terraform_runs WHERE phase IN ('Cancelled', 'Interrupted') AND run_id = '{run}'");
    wait_until(PLENTY, "its end", async || world.count(&ended).await == 1).await;
    world.nothing_left().await;
    assert_eq!(
        world.count("SELECT count(*) FROM terraform_runs WHERE kind = 'Apply'").await,
        1,
        "it is not begun again"
    );
    world.controller.stop().await;
}
