//! Deployments that wait for others: each in its turn, woken by what it waits for.

use std::path::Path;

use landfall::api::TerraformDeployment;
use serde_json::{Value, json};

use crate::bad_input::PLAN_FAILS;
use crate::harness::{assign, namespace, wait_until};
use crate::world::{PLENTY, World, message, stands};

/// How long a place may stay free, seconds: far less than the rest of one that nobody calls.
const SOON: f64 = 15.0;

/// A module whose apply notes its name and goes on until `gate` is there.
fn module(world: &Path, name: &str, gate: &str) -> Value {
    let dir = world.display();
    json!({"inline": {"main.tf": format!(
        "resource \"terraform_data\" \"a\" {{\n  provisioner \"local-exec\" {{\n    command = \"echo {name} >> {dir}/order; \
         while [ ! -e {dir}/{gate} ]; do sleep 0.05; done\"\n  }}\n}}\n"
    )}})
}

fn order(world: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(world.join("order")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn queued(object: &TerraformDeployment) -> bool {
    stands(object, "Progressing") && message(object).contains("executor.maxRuns")
}

fn output() -> Value {
    json!({"inline": {"main.tf": "output \"a\" { value = 1 }"}})
}

async fn seconds(world: &World, query: &'static str) -> f64 {
    sqlx::query_scalar(query).fetch_one(&mut world.database.superuser().await).await.unwrap()
}

/// The longest time for which the only place was free.
async fn idle(world: &World) -> f64 {
    let query = "SELECT max(extract(epoch FROM created_at - before))::float8
                 FROM (SELECT created_at, lag(finished_at) OVER (ORDER BY created_at) AS before FROM terraform_runs) AS r";
    seconds(world, query).await
}

/// How long after the last event of theirs the last plan was begun.
async fn since(world: &World) -> f64 {
    let query = "SELECT extract(epoch FROM max(at) FILTER (WHERE action = 'plan.started')
                                         - max(at) FILTER (WHERE object_name = 'theirs'))::float8 FROM activity_log";
    seconds(world, query).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_place_is_woken_when_one_is_free_the_oldest_first() {
    let one = |settings: &mut Value| settings["executor"]["maxRuns"] = json!(1);
    let (world, files) = (World::with(&[], one).await, tempfile::tempdir().unwrap());
    let first = json!({"source": module(files.path(), "first", "gate"), "approval": "Automatic"});
    world.deployment("first", first).await;
    wait_until(PLENTY, "the first apply", async || order(files.path()).len() == 1).await;
    let names = ["f", "e", "d", "c", "b"];
    for name in names {
        world.deployment(name, json!({"source": output()})).await;
        world.until(name, "its turn", queued).await;
    }
    std::fs::write(files.path().join("gate"), "").unwrap();
    for name in names {
        world.ready(name, "ApprovalRequired").await;
    }
    assert!(idle(&world).await < SOON, "they were not woken: {} s", idle(&world).await);
    let query = "SELECT string_agg(name, '' ORDER BY created_at) FROM terraform_runs WHERE name <> 'first'";
    let ran: String = sqlx::query_scalar(query).fetch_one(&mut world.database.superuser().await).await.unwrap();
    assert_eq!(ran, names.concat());
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_goes_while_it_waits_holds_nobody_up() {
    let one = |settings: &mut Value| settings["executor"]["maxRuns"] = json!(1);
    let (world, files) = (World::with(&[], one).await, tempfile::tempdir().unwrap());
    let first = json!({"source": module(files.path(), "first", "gate"), "approval": "Automatic"});
    world.deployment("first", first).await;
    wait_until(PLENTY, "the first apply", async || order(files.path()).len() == 1).await;
    for name in ["leaves", "rests", "stays"] {
        world.deployment(name, json!({"source": output()})).await;
        world.until(name, "its turn", queued).await;
    }
    world.delete("leaves").await;
    world.gone("leaves").await;
    world.deployment("rests", json!({"source": output(), "suspend": true})).await;
    world.ready("rests", "Suspended").await;
    std::fs::write(files.path().join("gate"), "").unwrap();
    world.ready("stays", "ApprovalRequired").await;
    assert!(idle(&world).await < SOON, "it was not woken: {} s", idle(&world).await);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_other_organization_goes_those_that_it_kept_from_running_are_woken() {
    let other = namespace().await;
    let world = World::with(&[&other], |_| {}).await;
    assign(&world.namespace, "acme").await;
    let beside = world.beside(&other);
    beside.deployment("theirs", json!({"source": output(), "suspend": true})).await;
    beside.ready("theirs", "Suspended").await;
    let names = ["a", "b", "c"];
    for name in names {
        world.deployment(name, json!({"source": output()})).await;
        world.ready(name, "ExecutorNotPermitted").await;
    }
    assign(&other, "acme").await;
    for name in names {
        world.ready(name, "ApprovalRequired").await;
    }
    let waited = since(&world).await;
    assert!(waited < SOON, "they were not woken: {waited} s");

    assign(&other, None).await;
    let back = "SELECT count(*) FROM terraform_deployments WHERE name = 'theirs' AND organization_id <> 'acme'";
    wait_until(PLENTY, "the mirror to follow", async || world.count(back).await == 1).await;
    world.deployment("late", json!({"source": output()})).await;
    world.ready("late", "ExecutorNotPermitted").await;
    beside.delete("theirs").await;
    world.ready("late", "ApprovalRequired").await;
    let waited = since(&world).await;
    assert!(waited < SOON, "it was not woken: {waited} s");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_for_which_limit_and_what_is_new_goes_before_a_retry() {
    let one = |settings: &mut Value| settings["executor"]["maxRunsPerOrganization"] = json!(1);
    let (world, files) = (World::with(&[], one).await, tempfile::tempdir().unwrap());
    let retry = json!({"limit": 30, "maxBackoff": "5s"});
    world.deployment("again", json!({"source": {"inline": {"main.tf": PLAN_FAILS}}, "retry": retry})).await;
    world.ready("again", "PlanFailed").await;
    let first = json!({"source": module(files.path(), "first", "gate"), "approval": "Automatic"});
    world.deployment("first", first).await;
    wait_until(PLENTY, "the first apply", async || order(files.path()).len() == 1).await;
    let next = |object: &TerraformDeployment| {
        stands(object, "Progressing")
            && message(object).contains("its organization's executor.maxRunsPerOrganization")
            && message(object).ends_with("it is the next")
    };
    world.until("again", "its turn", next).await;
    world.deployment("new", json!({"source": output()})).await;
    world.until("new", "its turn, before the retry", next).await;
    std::fs::write(files.path().join("gate"), "").unwrap();
    world.ready("new", "ApprovalRequired").await;
    let query = "SELECT name FROM terraform_runs
                 WHERE created_at > (SELECT created_at FROM terraform_runs WHERE name = 'first' AND kind = 'Apply')
                 ORDER BY created_at LIMIT 1";
    let ran: String = sqlx::query_scalar(query).fetch_one(&mut world.database.superuser().await).await.unwrap();
    assert_eq!(ran, "new");
    let told = |line: &str| world.controller.metrics.text().lines().any(|told| told.starts_with(line));
    for line in [
        "landfall_runs_total{kind=\"Apply\",phase=\"Succeeded\"} 1",
        "landfall_run_seconds_count{kind=\"Plan\"} ",
        "landfall_queue_seconds_bucket{le=",
        "landfall_ledger_lag_seconds{writer=\"TerraformDeployment\"} 0",
    ] {
        wait_until(PLENTY, line, async || told(line)).await;
    }
    // Its retries would leave a runner behind that waits for the controller.
    world.delete("again").await;
    world.gone("again").await;
    world.controller.stop().await;
}
