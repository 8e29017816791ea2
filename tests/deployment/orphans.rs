//! Runs and folders that no object looks after.

use kube::api::{Patch, PatchParams};
use landfall::api::TerraformDeployment;
use rustix::process::{Signal, kill_process, kill_process_group};
use serde_json::json;
use uuid::Uuid;

use crate::deaths::{module, runner, whole};
use crate::harness::wait_until;
use crate::world::{PLENTY, World, message};

/// Takes the object away as one who does not wait for finalizers.
pub(crate) async fn tear_out(world: &World, name: &str) {
    world.delete(name).await;
    let bare = json!({"metadata": {"finalizers": null}});
    let api = world.api::<TerraformDeployment>();
    api.patch(name, &PatchParams::default(), &Patch::Merge(&bare)).await.unwrap();
    world.gone(name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_run_of_a_torn_out_object_is_taken_in_by_the_next_leader() {
    let (mut world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": module(files.path(), 300), "approval": "Automatic"})).await;
    let runner = runner(&world.controller, files.path()).await;
    tear_out(&world, "web").await;
    let runs = "SELECT run_id::text FROM terraform_runs ORDER BY created_at";
    let runs: Vec<String> = sqlx::query_scalar(runs).fetch_all(&mut world.database.superuser().await).await.unwrap();
    let home = world.controller.kill().await;
    let work = home.installation.executor.work_dir.clone();
    let unknown = Uuid::now_v7().to_string();
    for over in [&runs[0], &unknown] {
        std::fs::create_dir_all(work.join(over)).unwrap();
    }
    // Alive, it is left alone: the lock is its own.
    world.controller = home.start().await;
    wait_until(PLENTY, "the sweep of the plan's folder", async || !work.join(&runs[0]).exists()).await;
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock IS NOT NULL").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE phase = 'Apply'").await, 1);

    let home = world.controller.kill().await;
    kill_process(runner, Signal::KILL).unwrap();
    kill_process_group(runner, Signal::KILL).ok();
    world.controller = home.start().await;
    let given_up = "SELECT count(*) FROM terraform_runs WHERE kind = 'Apply' AND phase = 'Interrupted'";
    wait_until(PLENTY, "the end of the run", async || world.count(given_up).await == 1).await;
    wait_until(PLENTY, "the end of its folder", async || !work.join(&runs[1]).exists()).await;
    assert!(work.join(&unknown).exists(), "of a run that the ledger does not know nothing is removed");
    let named = "SELECT count(*) FROM resource_inventory WHERE address = 'local_file.first' AND standing = 'Leftover'";
    assert_eq!(world.count(named).await, 1, "what it made is named");
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock IS NOT NULL").await, 0, "a lock stands");
    assert_eq!(world.count("SELECT count(*) FROM intents WHERE outcome IS NULL").await, 0, "an intent is open");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_run_whose_inputs_do_not_open_is_taken_in_without_its_log() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", json!({"source": module(files.path(), 3), "approval": "Automatic"})).await;
    let runner = runner(&world.controller, files.path()).await;
    let spoiled = "UPDATE run_secrets SET inputs = set_byte(inputs, octet_length(inputs) - 1,
                     (get_byte(inputs, octet_length(inputs) - 1) + 1) % 256) WHERE inputs IS NOT NULL";
    sqlx::query(spoiled).execute(&mut world.database.superuser().await).await.unwrap();
    kill_process(runner, Signal::KILL).unwrap();
    world.ready("web", "NoChanges").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_states WHERE recovered").await, 1);
    whole(&world, files.path()).await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_ends_at_once_is_started_three_times_and_then_named() {
    let mut world = World::new().await;
    let mut home = world.controller.stop().await;
    home.program = "/bin/false".into();
    world.controller = home.start().await;
    let spec = json!({"source": {"inline": {"main.tf": ""}}, "retry": {"limit": 0}});
    world.deployment("web", spec).await;
    let said = message(&world.ready("web", "RetriesExhausted").await);
    assert!(said.contains("PlanFailed") && said.contains("3 times"), "{said}");
    assert_eq!(world.count("SELECT count(*) FROM activity_log WHERE action = 'run.handed-over'").await, 3);
    world.controller.stop().await;
}
