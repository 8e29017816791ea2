//! An object of a name that another one had, which was torn out in mid-apply.

use std::path::Path;

use rustix::process::{Signal, kill_process_group};
use serde_json::{Value, json};

use crate::commanded::alice;
use crate::deaths::runner;
use crate::harness::wait_until;
use crate::orphans::tear_out;
use crate::world::{PLENTY, World, digest, message};

/// A file, then an apply that goes on until the file `go` is there.
pub(crate) fn first(world: &Path) -> Value {
    let dir = world.display();
    let module = format!(
        "terraform {{\n  required_providers {{\n    local = {{ source = \"hashicorp/local\" }}\n  }}\n}}\n\
         resource \"local_file\" \"first\" {{\n  filename = \"{dir}/first\"\n  content  = \"1\"\n}}\n\
         resource \"terraform_data\" \"count\" {{\n  depends_on = [local_file.first]\n  provisioner \"local-exec\" {{\n\
         command = \"echo $LANDFALL_RUN_ID $LANDFALL_PLAN_DIGEST >> {dir}/applies; until [ -e {dir}/go ]; do sleep 0.1; done\"\n\
         }}\n}}\n"
    );
    json!({"source": {"inline": {"main.tf": module}}, "approval": "Automatic"})
}

/// Another module.
fn second(world: &Path) -> Value {
    let dir = world.display();
    let module = format!(
        "terraform {{\n  required_providers {{\n    local = {{ source = \"hashicorp/local\" }}\n  }}\n}}\n\
         resource \"local_file\" \"second\" {{\n  filename = \"{dir}/second\"\n  content  = \"2\"\n}}\n"
    );
    json!({"source": {"inline": {"main.tf": module}}, "approval": "Automatic"})
}

async fn managed(world: &World) -> Vec<String> {
    let query =
        "SELECT standing || ' ' || address FROM v_resources v JOIN terraform_deployments d ON d.uid = v.deployment_uid
                 WHERE v.gone_at IS NULL AND d.deleted_at IS NULL ORDER BY 1";
    sqlx::query_scalar(query).fetch_all(&mut world.database.superuser().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_object_waits_for_the_former_one_s_run_and_takes_nothing_over_unasked() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    let there = |file: &str| files.path().join(file).exists();
    world.deployment("web", first(files.path())).await;
    runner(&world.controller, files.path()).await;
    tear_out(&world, "web").await;
    world.deployment("web", second(files.path())).await;
    let new = world.ready("web", "StateLocked").await;
    let runs = format!(
        "SELECT count(*) FROM terraform_runs WHERE deployment_uid = '{}'",
        new.metadata.uid.as_deref().unwrap_or_default()
    );

    std::fs::write(files.path().join("go"), "").unwrap();
    let said = message(&world.ready("web", "StateFound").await);
    let query = "SELECT lineage FROM state_keys";
    let lineage: String = sqlx::query_scalar(query).fetch_one(&mut world.database.superuser().await).await.unwrap();
    assert!(said.contains(&lineage), "{said}");
    assert_eq!(world.count(&runs).await, 0, "nothing is planned");
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE phase <> 'Succeeded'").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM intents WHERE outcome IS DISTINCT FROM 'Done'").await, 0);
    assert!(there("first") && !there("second"), "what the first built stands, and nothing else");

    let mut adopting = second(files.path());
    adopting["state"] = json!({"adopt": lineage});
    adopting["guardrails"] = json!({"maxDestroy": 2});
    world.deployment("web", adopting).await;
    world.ready("web", "Applied").await;
    assert!(there("second") && !there("first"), "it is the new object's now");
    assert_eq!(managed(&world).await, ["Managed local_file.second"]);
    assert_eq!(world.count("SELECT count(*) FROM resource_inventory WHERE gone_at IS NULL").await, 1, "of nobody else");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_object_s_run_is_cancelled_by_whoever_may_cancel_the_new_one_s() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", first(files.path())).await;
    runner(&world.controller, files.path()).await;
    tear_out(&world, "web").await;
    world.deployment("web", second(files.path())).await;
    let said = message(&world.ready("web", "StateLocked").await);
    let (_, rest) = said.split_once("`landfall cancel --run ").unwrap_or_else(|| panic!("{said}"));
    let (code, out, err) = alice(&world, &["cancel", "tfd/web", "--run", rest.split_once('`').unwrap().0]).await;
    assert!(code == 0 && out.starts_with("alice cancels run"), "{out}{err}");
    world.ready("web", "StateFound").await;
    let cancelled = "SELECT count(*) FROM terraform_runs WHERE kind = 'Apply' AND phase = 'Cancelled'";
    assert_eq!(world.count(cancelled).await, 1);
    let asked = "SELECT count(*) FROM activity_log WHERE action = 'run.cancel-requested' AND actor = 'alice'";
    assert_eq!(world.count(asked).await, 1);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_former_object_s_dead_run_left_needs_a_person_and_is_settled_by_what_follows() {
    let (world, files) = (World::new().await, tempfile::tempdir().unwrap());
    world.deployment("web", first(files.path())).await;
    let runner = runner(&world.controller, files.path()).await;
    tear_out(&world, "web").await;
    world.deployment("web", second(files.path())).await;
    world.ready("web", "StateLocked").await;
    kill_process_group(runner, Signal::KILL).unwrap();

    let waiting = world.ready("web", "Interrupted").await;
    assert!(!files.path().join("second").exists(), "nothing is applied although approval is Automatic");
    assert_eq!(world.count("SELECT count(*) FROM intents WHERE outcome = 'Unknown'").await, 1);
    assert_eq!(managed(&world).await, ["Leftover local_file.first", "Leftover terraform_data.count"]);
    world.command("web", "approve", &digest(&waiting)).await;
    world.ready("web", "Applied").await;
    let outcomes = "SELECT count(*) FROM intents WHERE outcome";
    for (outcome, many) in [("= 'Settled'", 1), ("= 'Done'", 1), ("NOT IN ('Settled', 'Done')", 0), ("IS NULL", 0)] {
        assert_eq!(world.count(&format!("{outcomes} {outcome}")).await, many, "{outcome}");
    }
    let everything = ["Leftover local_file.first", "Leftover terraform_data.count", "Managed local_file.second"];
    let found = async || managed(&world).await == everything;
    wait_until(PLENTY, "the inventory", found).await;
    world.controller.stop().await;
}
