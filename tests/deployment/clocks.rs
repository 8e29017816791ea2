//! A controller whose clock is wrong: what Postgres wrote is judged by Postgres's own.

use jiff::SignedDuration;
use serde_json::json;

use crate::bad_input::PLAN_FAILS;
use crate::deaths::module;
use crate::harness::wait_until;
use crate::world::{PLENTY, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_fast_gives_no_run_up_and_finds_none_late() {
    let (world, files) = (World::with_clock(SignedDuration::from_mins(11)).await, tempfile::tempdir().unwrap());
    // Longer than a run under way goes without a look.
    let timeouts = json!({"init": "30s", "plan": "30s", "apply": "30s"});
    let spec = json!({"source": module(files.path(), 5), "approval": "Automatic", "timeouts": timeouts});
    world.deployment("web", spec).await;
    world.ready("web", "Applied").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE phase <> 'Succeeded'").await, 0, "given up");
    let told = "SELECT count(*) FROM activity_log WHERE action IN ('run.terminated', 'run.killed')";
    assert_eq!(world.count(told).await, 0, "told to stop");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_slow_puts_no_attempt_off() {
    let world = World::with_clock(SignedDuration::from_mins(-11)).await;
    let source = json!({"inline": {"main.tf": PLAN_FAILS}});
    world.deployment("web", json!({"source": source})).await;
    let attempts = "SELECT count(*) FROM terraform_runs WHERE phase = 'Failed'";
    wait_until(PLENTY, "a second attempt", async || world.count(attempts).await >= 2).await;
    world.controller.stop().await;
}
