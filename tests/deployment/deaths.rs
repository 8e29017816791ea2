//! Runner, engine and controller die in mid-apply. Applies are counted in the world, never in our tables.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

use crate::controller::Controller;
use crate::harness::{engine_of, plugin_of, wait_until};
use crate::world::{PLENTY, World, condition, digest, message};

/// Two files in the world, and between them a provisioner that notes the apply and takes its time.
pub(crate) fn module(world: &Path, pause: u32) -> Value {
    let dir = world.display();
    json!({"inline": {"main.tf": format!(
        "terraform {{\n  required_providers {{\n    local = {{ source = \"hashicorp/local\" }}\n  }}\n}}\n\
         resource \"local_file\" \"first\" {{\n  filename = \"{dir}/first\"\n  content  = \"1\"\n}}\n\
         resource \"terraform_data\" \"count\" {{\n  depends_on = [local_file.first]\n  provisioner \"local-exec\" {{\n\
         command = \"echo $LANDFALL_RUN_ID $LANDFALL_PLAN_DIGEST >> {dir}/applies; sleep {pause}\"\n  }}\n}}\n\
         resource \"local_file\" \"last\" {{\n  depends_on = [terraform_data.count]\n  filename = \"{dir}/last\"\n  content  = \"2\"\n}}\n"
    )}})
}

/// How often each plan was applied, as the world tells.
pub(crate) fn applies(world: &Path) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for line in std::fs::read_to_string(world.join("applies")).unwrap_or_default().lines() {
        *count.entry(line.split(' ').nth(1).unwrap().to_owned()).or_default() += 1;
    }
    count
}

/// Waits until the world says that an apply is under way, and answers its runner's pid.
pub(crate) async fn runner(controller: &Controller, world: &Path) -> Pid {
    wait_until(PLENTY, "the apply in the world", async || !applies(world).is_empty()).await;
    let line = std::fs::read_to_string(world.join("applies")).unwrap();
    let run = line.split(' ').next().unwrap();
    let folder = controller.home.installation.executor.work_dir.join(run);
    let holder: Value = serde_json::from_slice(&std::fs::read(folder.join("holder.json")).unwrap()).unwrap();
    Pid::from_raw(i32::try_from(holder["pid"].as_i64().unwrap()).unwrap()).unwrap()
}

pub(crate) async fn whole<C>(world: &World<C>, files: &Path) {
    assert!(applies(files).values().all(|count| *count == 1), "a plan was applied twice: {:?}", applies(files));
    for file in ["first", "last"] {
        assert!(files.join(file).exists(), "{file} is in the spec and not in the world");
    }
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock IS NOT NULL").await, 0, "a lock stands");
    assert_eq!(world.count("SELECT count(*) FROM intents WHERE outcome IS NULL").await, 0, "an intent is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_outlives_its_runner_loses_nothing() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": module(files.path(), 3), "approval": "Automatic"})).await;
    kill_process(runner(&world.controller, files.path()).await, Signal::KILL).unwrap();
    world.ready("web", "NoChanges").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_states WHERE recovered").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE phase = 'Interrupted'").await, 1);
    whole(&world, files.path()).await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_engine_died_its_leftovers_are_named_and_a_person_decides() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": module(files.path(), 3), "approval": "Automatic"})).await;
    kill_process_group(runner(&world.controller, files.path()).await, Signal::KILL).unwrap();
    let waiting = world.ready("web", "Interrupted").await;
    let named = "SELECT count(*) FROM v_resources WHERE address = 'local_file.first' AND standing = 'Leftover'";
    assert_eq!(world.count(named).await, 1, "the file that no state knows is named");
    assert_eq!(applies(files.path()).len(), 1, "nothing is applied although approval is Automatic");
    world.command("web", "approve", &digest(&waiting)).await;
    world.ready("web", "Applied").await;
    assert_eq!(applies(files.path()).len(), 2);
    whole(&world, files.path()).await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_alone_leaves_what_a_run_that_died_leaves() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": module(files.path(), 60), "approval": "Automatic"})).await;
    let runner = runner(&world.controller, files.path()).await;
    kill_process(engine_of(runner.as_raw_nonzero().get(), "apply"), Signal::KILL).unwrap();
    let waiting = world.ready("web", "Interrupted").await;
    let applied = condition(&waiting, "Applied").unwrap();
    assert!(applied.reason == "Interrupted" && applied.message.contains("SIGKILL"), "{applied:?}");
    assert_eq!(world.count("SELECT count(*) FROM intents WHERE outcome = 'Unknown'").await, 1);
    let left = "SELECT count(*) FROM v_resources WHERE address = 'terraform_data.count' AND standing = 'Leftover'";
    assert_eq!(world.count(left).await, 1, "what was being made is named");
    assert_eq!(applies(files.path()).len(), 1, "nothing is applied although approval is Automatic");
    let short = json!({"source": module(files.path(), 0), "approval": "Automatic"});
    world.deployment("web", short).await;
    let next = world.until("web", "a plan of the new module", |o| {
        o.status.as_ref().is_some_and(|s| s.observed_generation == o.metadata.generation)
            && digest(o) != digest(&waiting)
            && condition(o, "Ready").is_some_and(|c| c.reason == "Interrupted")
    });
    world.command("web", "approve", &digest(&next.await)).await;
    world.ready("web", "Applied").await;
    whole(&world, files.path()).await;
    world.controller.stop().await;
}

/// An entry that notes the apply, and a create that a provider's plugin is long at.
fn slow_create(world: &Path, seconds: u32) -> Value {
    let dir = world.display();
    json!({"inline": {"main.tf": format!(
        "terraform {{\n  required_providers {{\n    time = {{ source = \"hashicorp/time\" }}\n  }}\n}}\n\
         resource \"terraform_data\" \"count\" {{\n  provisioner \"local-exec\" {{\n\
         command = \"echo $LANDFALL_RUN_ID $LANDFALL_PLAN_DIGEST >> {dir}/applies\"\n  }}\n}}\n\
         resource \"time_sleep\" \"long\" {{\n  depends_on = [terraform_data.count]\n  create_duration = \"{seconds}s\"\n}}\n"
    )}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_plugin_was_creating_is_not_created_again_before_a_person_says_so() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": slow_create(files.path(), 300), "approval": "Automatic"})).await;
    let runner = runner(&world.controller, files.path()).await;
    let begun = "SELECT count(*) FROM v_resources WHERE address = 'time_sleep.long' AND standing = 'Creating'";
    wait_until(PLENTY, "the create to be under way", async || world.count(begun).await == 1).await;
    let plugin = plugin_of(engine_of(runner.as_raw_nonzero().get(), "apply"), "time");
    kill_process(plugin, Signal::KILL).unwrap();
    let waiting = world.ready("web", "Interrupted").await;
    let left = "SELECT count(*) FROM v_resources WHERE address = 'time_sleep.long' AND standing = 'Leftover'";
    assert_eq!(world.count(left).await, 1, "what was being made is named");
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE kind = 'Apply'").await, 1, "it is not repeated");

    // Cut down to what the state has, the module has nothing to change; that does not tell what the plugin made.
    let less = slow_create(files.path(), 1)["inline"]["main.tf"].as_str().unwrap().to_owned();
    let less = less.split("resource \"time_sleep\"").next().unwrap().to_owned();
    world.deployment("web", json!({"source": {"inline": {"main.tf": less}}, "approval": "Automatic"})).await;
    world.ready("web", "NoChanges").await;
    world.deployment("web", json!({"source": slow_create(files.path(), 1), "approval": "Automatic"})).await;
    let next = world.until("web", "a plan of the whole module", |o| {
        o.status.as_ref().is_some_and(|s| s.observed_generation == o.metadata.generation)
            && digest(o) != digest(&waiting)
            && condition(o, "Ready").is_some_and(|c| c.reason == "Interrupted")
    });
    world.command("web", "approve", &digest(&next.await)).await;
    world.ready("web", "Applied").await;
    assert!(applies(files.path()).values().all(|count| *count == 1));
    assert_eq!(world.count(left).await, 1, "the inventory still names what nobody has looked for");
    let settled = "SELECT count(*) FROM terraform_runs WHERE phase = 'Interrupted' AND settled_by IS NOT NULL";
    assert_eq!(world.count(settled).await, 1);
    world.controller.stop().await;
}

/// Nobody hears any more what a provisioner does, and its session would keep the run under way until the phase's limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_provisioner_that_outlives_runner_and_engine_is_ended_and_the_run_recovered() {
    let hasty = |settings: &mut Value| settings["executor"]["stopGraceSeconds"] = json!(2);
    let (world, files) = (World::with(&[], hasty).await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": module(files.path(), 300), "approval": "Automatic"})).await;
    let runner = runner(&world.controller, files.path()).await;
    for dead in [runner, engine_of(runner.as_raw_nonzero().get(), "apply")] {
        kill_process(dead, Signal::KILL).unwrap();
    }
    world.ready("web", "Interrupted").await;
    let killed = "SELECT count(*) FROM activity_log WHERE action = 'run.killed' AND details->>'why' LIKE '%runner and engine are gone%'";
    assert_eq!(world.count(killed).await, 1);
    let left = "SELECT count(*) FROM v_resources WHERE address = 'terraform_data.count' AND standing = 'Leftover'";
    assert_eq!(world.count(left).await, 1, "what was being made is named");
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock IS NOT NULL").await, 0, "a lock stands");
    world.controller.stop().await;
}

/// Under `Automatic` too: a timeout in mid-create is no failure that is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_created_when_its_time_was_up_is_a_leftover() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    let spec = json!({"source": slow_create(files.path(), 300), "approval": "Automatic", "timeouts": {"apply": "20s"}});
    world.deployment("web", spec).await;
    let waiting = world.ready("web", "Interrupted").await;
    let applied = condition(&waiting, "Applied").unwrap();
    assert!(
        applied.message.contains("spec.timeouts.apply") && applied.message.contains("time_sleep.long"),
        "{applied:?}"
    );
    let left = "SELECT count(*) FROM v_resources WHERE address = 'time_sleep.long' AND standing = 'Leftover'";
    assert_eq!(world.count(left).await, 1, "what was being made is named");
    assert_eq!(world.count("SELECT count(*) FROM intents WHERE outcome = 'Unknown'").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE kind = 'Apply'").await, 1, "it is not repeated");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_the_ledger_refuses_is_kept_and_waits_for_a_person() {
    let (mut world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": module(files.path(), 5), "approval": "Automatic"})).await;
    runner(&world.controller, files.path()).await;
    let cut = "UPDATE state_keys SET lock = NULL, lock_id = NULL, lock_run = NULL";
    sqlx::query(cut).execute(&mut world.database.superuser().await).await.unwrap();
    let waiting = world.ready("web", "StateRegressed").await;
    let said = message(&waiting);
    let kept = said.split("kept as ").nth(1).and_then(|rest| rest.split(". ").next()).unwrap().to_owned();
    let serial = serde_json::from_slice::<Value>(&std::fs::read(&kept).unwrap()).unwrap()["serial"].clone();
    assert!(said.contains(&format!("serial {serial} (")) && said.contains("landfall state list"), "{said}");
    assert_eq!(
        world.count("SELECT count(*) FROM v_resources WHERE standing = 'Leftover'").await,
        3,
        "all that it made"
    );

    let home = world.controller.stop().await;
    world.controller = home.start().await;
    let run = waiting.status.unwrap().last_run.unwrap().id;
    world.command("web", "retry", &run).await;
    let next = world.ready("web", "Interrupted").await;
    assert!(Path::new(&kept).exists(), "neither a restart nor the next plan removes it");
    assert_eq!(applies(files.path()).len(), 1);
    world.command("web", "approve", &digest(&next)).await;
    world.ready("web", "Applied").await;
    whole(&world, files.path()).await;
    world.controller.stop().await;
}

/// Its own timers stand still with it, so the controller's must count.
#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_hangs_past_its_limits_is_ended_and_recovered() {
    let (world, files) = (
        World::with(&[], |settings| settings["executor"]["stopGraceSeconds"] = json!(1)).await,
        tempfile::tempdir().unwrap(),
    );
    let spec = json!({"source": module(files.path(), 300), "approval": "Automatic", "timeouts": {"apply": "20s"}});
    world.deployment("web", spec).await;
    kill_process(runner(&world.controller, files.path()).await, Signal::STOP).unwrap();
    let told = "SELECT count(*) FROM activity_log WHERE action = 'run.terminated'";
    wait_until(PLENTY, "the runner to be told to stop", async || world.count(told).await == 1).await;
    world.ready("web", "Interrupted").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE phase = 'Interrupted'").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock IS NOT NULL").await, 0, "a lock stands");
    assert_eq!(world.count("SELECT count(*) FROM intents WHERE outcome = 'Unknown'").await, 1);
    assert_eq!(world.count(told).await, 1, "told once");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_without_its_controller_and_the_next_one_finds_it() {
    let (mut world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": module(files.path(), 3), "approval": "Automatic"})).await;
    runner(&world.controller, files.path()).await;
    let home = world.controller.kill().await;
    world.controller = home.start().await;
    world.ready("web", "Applied").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE phase = 'Interrupted'").await, 0);
    whole(&world, files.path()).await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_told_to_end_does_so_within_seconds_and_its_run_is_found_again() {
    let (world, files) = (World::spawned(|_| {}).await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": module(files.path(), 20), "approval": "Automatic"})).await;
    wait_until(PLENTY, "the apply in the world", async || !applies(files.path()).is_empty()).await;
    let World { namespace, client, database, controller } = world;
    let began = std::time::Instant::now();
    let (status, home) = controller.terminate().await;
    assert!(status.success() && began.elapsed().as_secs() < 15, "{status} after {:?}", began.elapsed());
    let leases: Api<Lease> = Api::namespaced(client.clone(), &home.namespace);
    let lease = leases.get("landfall-controller").await.unwrap().spec.unwrap();
    assert_eq!(lease.holder_identity, None, "the Lease is free at once");
    assert!(!files.path().join("last").exists(), "the run is still under way");
    let world = World { namespace, client, database, controller: home.spawn().await };
    world.ready("web", "Applied").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE phase = 'Interrupted'").await, 0);
    whole(&world, files.path()).await;
    let (status, _) = world.controller.terminate().await;
    assert!(status.success(), "{status}");
}
