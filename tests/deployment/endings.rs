//! Retain, adoption, Destroy, cancel, suspend.

use std::os::unix::fs::PermissionsExt;

use kube::api::{Patch, PatchParams};
use landfall::api::TerraformDeployment;
use serde_json::json;

use crate::harness::env;
use crate::world::{World, digest, message, status};

const DATA: &str = "resource \"terraform_data\" \"a\" {}";

#[tokio::test(flavor = "multi_thread")]
async fn retain_keeps_the_state_and_only_its_lineage_adopts_it() {
    let world = World::new().await;
    let spec = |more| {
        let mut spec = json!({"source": {"inline": {"main.tf": DATA}}, "approval": "Automatic"});
        spec.as_object_mut().unwrap().extend(serde_json::Map::clone(&more));
        spec
    };
    world.deployment("web", spec(serde_json::Map::new())).await;
    let lineage = world.ready("web", "Applied").await.status.unwrap().state.unwrap().lineage;
    world.delete("web").await;
    world.gone("web").await;
    world.deployment("web", spec(serde_json::Map::new())).await;
    let said = message(&world.ready("web", "StateFound").await);
    assert!(said.contains(&lineage), "{said}");
    let adopt = json!({"state": {"adopt": lineage}});
    world.deployment("web", spec(adopt.as_object().unwrap().clone())).await;
    let adopted = world.ready("web", "NoChanges").await;
    assert_eq!(adopted.status.unwrap().state.unwrap().lineage, lineage);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_waits_for_an_approved_plan_and_leaves_the_record() {
    let world = World::new().await;
    let spec = json!({"source": {"inline": {"main.tf": DATA}}, "deletionPolicy": "Destroy"});
    world.deployment("web", spec).await;
    let built = digest(&world.ready("web", "ApprovalRequired").await);
    world.command("web", "approve", &built).await;
    world.ready("web", "Applied").await;
    world.delete("web").await;
    let end = world.plan_after("web", &built).await;
    world.command("web", "approve", &end).await;
    world.gone("web").await;
    let tombstones = "SELECT count(*) FROM terraform_deployments WHERE name = 'web' AND deleted_at IS NOT NULL";
    let buried = async || world.count(tombstones).await == 1;
    crate::harness::wait_until(crate::world::PLENTY, "the tombstone", buried).await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE change = 'Destroy'").await, 2);
    assert_eq!(world.count("SELECT count(*) FROM resource_inventory WHERE gone_at IS NULL").await, 0);
    let given = "SELECT count(*) FROM activity_log WHERE action = 'approval.given' AND actor = 'alice'";
    assert_eq!(world.count(given).await, 2);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_changed_while_the_object_is_let_go_is_too_late_or_obeyed() {
    let world = World::new().await;
    let names: Vec<String> = (0..4).map(|n| format!("web{n}")).collect();
    for name in &names {
        let spec = json!({"source": {"inline": {"main.tf": DATA}}, "approval": "Automatic"});
        world.deployment(name, spec).await;
    }
    for name in &names {
        world.ready(name, "Applied").await;
    }
    let api = world.api::<TerraformDeployment>();
    let mut obeyed = 0;
    for name in &names {
        world.delete(name).await;
        let destroy = Patch::Merge(json!({"spec": {"deletionPolicy": "Destroy"}}));
        obeyed += i64::from(api.patch(name, &PatchParams::default(), &destroy).await.is_ok());
    }
    for name in &names {
        world.gone(name).await;
    }
    let destroyed =
        "SELECT count(*) FROM terraform_runs WHERE change = 'Destroy' AND kind = 'Apply' AND phase = 'Succeeded'";
    let judged = "SELECT count(DISTINCT object_uid) FROM activity_log
                  WHERE action = 'deployment.released' AND details->>'deletionPolicy' = 'Destroy'";
    let destroyed = world.count(destroyed).await;
    assert_eq!(destroyed, world.count(judged).await, "who is let go as destroyed has been");
    // The API server checks the version that takes the last finalizer off, and deletes under the uid alone: what it takes
    // between the two is gone with the object. Rarely, so not twice.
    assert!((obeyed - 1..=obeyed).contains(&destroyed), "{destroyed} destroyed, {obeyed} in time");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_module_has_the_engine_forget_is_counted_as_lost_and_named_as_living_on() {
    let world = World::new().await;
    let removed = "removed {\n  from = terraform_data.a\n  lifecycle {\n    destroy = false\n  }\n}\n";
    let spec = |module: &str, limit: u32| {
        json!({"source": {"inline": {"main.tf": module}}, "approval": "Automatic", "deletionPolicy": "Destroy",
            "guardrails": {"maxDestroy": limit}})
    };
    world.deployment("web", spec(DATA, 0)).await;
    world.ready("web", "Applied").await;
    world.deployment("web", spec(removed, 0)).await;
    let said = message(&world.ready("web", "GuardrailBreached").await);
    assert!(said.contains("forgets 1 of 1 resources"), "{said}");
    world.deployment("web", spec(removed, 1)).await;
    world.ready("web", "Applied").await;
    let forgotten = "SELECT count(*) FROM v_resources WHERE address = 'terraform_data.a' AND standing = 'Forgotten'
                     AND resource_id IS NOT NULL AND gone_at IS NULL";
    assert_eq!(world.count(forgotten).await, 1);
    world.delete("web").await;
    world.gone("web").await;
    assert_eq!(world.count(forgotten).await, 1, "it still lives, whatever became of the object");
    world.controller.stop().await;
}

/// With the module that it calls gone as well: the snapshot has both.
#[tokio::test(flavor = "multi_thread")]
async fn destroy_goes_on_with_the_stored_module_when_its_source_is_gone() {
    let (world, called) = (World::new().await, tempfile::tempdir().unwrap());
    std::fs::write(called.path().join("main.tf"), DATA).unwrap();
    let packed = called.path().join("x.tar.gz");
    let mut tar = std::process::Command::new("tar");
    assert!(tar.arg("-C").arg(called.path()).arg("-czf").arg(&packed).arg("main.tf").status().unwrap().success());
    let module = format!("module \"x\" {{ source = \"{}\" }}", packed.display());
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"main.tf": module}});
    world.put::<k8s_openapi::api::core::v1::ConfigMap>("web", map).await;
    let spec =
        json!({"source": {"configMapRef": {"name": "web"}}, "approval": "Automatic", "deletionPolicy": "Destroy"});
    world.deployment("web", spec).await;
    world.ready("web", "Applied").await;
    assert_eq!(world.count("SELECT count(*) FROM v_resources WHERE address = 'module.x.terraform_data.a'").await, 1);
    let maps = world.api::<k8s_openapi::api::core::v1::ConfigMap>();
    maps.delete("web", &kube::api::DeleteParams::default()).await.unwrap();
    std::fs::remove_dir_all(called.path()).unwrap();
    world.delete("web").await;
    world.gone("web").await;
    assert_eq!(world.count("SELECT count(*) FROM resource_inventory WHERE gone_at IS NULL").await, 0);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_apply_ends_and_leaves_no_lock() {
    let world = World::new().await;
    let slow = "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"exec sleep 300\" }\n}";
    world.deployment("web", json!({"source": {"inline": {"main.tf": slow}}, "approval": "Automatic"})).await;
    let phase = "SELECT count(*) FROM terraform_runs WHERE kind = 'Apply' AND phase = 'Apply'";
    let applying = async || world.count(phase).await == 1;
    crate::harness::wait_until(crate::world::PLENTY, "the apply", applying).await;
    let ledger = world.until("web", "the apply in status", |o| {
        o.status.as_ref().and_then(|s| s.last_run.as_ref()).is_some_and(|r| r.kind == "Apply")
    });
    let run = ledger.await.status.unwrap().last_run.unwrap().id;
    world.command("web", "cancel", &run).await;
    world.ready("web", "Cancelled").await;
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock_id IS NOT NULL").await, 0, "no lock stands");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_deployment_plans_nothing_until_it_goes_on() {
    let world = World::new().await;
    let spec = |suspend| json!({"source": {"inline": {"main.tf": DATA}}, "suspend": suspend});
    world.deployment("web", spec(true)).await;
    world.ready("web", "Suspended").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs").await, 0);
    world.deployment("web", spec(false)).await;
    world.ready("web", "ApprovalRequired").await;
    world.controller.stop().await;
}

/// An engine that takes its time over each plan.
fn slow_planner(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("engine");
    let script = format!("#!/bin/sh\n[ \"$1\" != plan ] || exec sleep 300\nexec {} \"$@\"\n", env("TOFU"));
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_takes_too_long_is_stopped_and_names_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(&[], |value| value["engines"]["OpenTofu"] = json!(slow_planner(folder.path()))).await;
    let spec = json!({"source": {"inline": {"main.tf": DATA}}, "timeouts": {"plan": "1s"}, "retry": {"limit": 0}});
    world.deployment("web", spec).await;
    let said = message(&world.ready("web", "RetriesExhausted").await);
    assert!(said.contains("Timeout") && said.contains("spec.timeouts.plan"), "{said}");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_takes_too_long_is_stopped_and_names_its_limit() {
    let world = World::new().await;
    let slow = "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"exec sleep 300\" }\n}";
    let spec = json!({"source": {"inline": {"main.tf": slow}}, "approval": "Automatic", "timeouts": {"apply": "2s"},
        "retry": {"limit": 0}});
    world.deployment("web", spec).await;
    let said = message(&world.ready("web", "RetriesExhausted").await);
    assert!(said.contains("Timeout") && said.contains("spec.timeouts.apply"), "{said}");
    assert_eq!(world.count("SELECT count(*) FROM state_keys WHERE lock_id IS NOT NULL").await, 0, "no lock stands");
    world.controller.stop().await;
}

/// As after a key was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_does_not_open_does_not_hold_what_is_to_be_retained() {
    let world = World::new().await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": DATA}}, "approval": "Automatic"})).await;
    world.ready("web", "Applied").await;
    let spoil = "WITH spoilt AS (UPDATE terraform_states SET sealed = 'x' RETURNING 1) SELECT count(*) FROM spoilt";
    assert!(world.count(spoil).await > 0);
    world.delete("web").await;
    world.gone("web").await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_run_left_holds_a_destroy_until_a_person_has_looked() {
    let world = World::new().await;
    let spec = json!({"source": {"inline": {"main.tf": DATA}}, "approval": "Automatic", "deletionPolicy": "Destroy"});
    world.deployment("web", spec).await;
    world.ready("web", "Applied").await;
    let lost = "WITH lost AS (INSERT INTO resource_inventory
                  (entry_id, organization_id, cluster_id, deployment_uid, address, type, standing, run_id)
                SELECT gen_random_uuid(), organization_id, cluster_id, deployment_uid, 't.lost', 't', 'Leftover', run_id
                FROM terraform_runs WHERE kind = 'Apply' RETURNING 1) SELECT count(*) FROM lost";
    assert_eq!(world.count(lost).await, 1);
    world.delete("web").await;
    let held = world.ready("web", "Interrupted").await;
    let last = held.status.clone().unwrap().last_run.unwrap().id;
    let said = message(&held);
    assert!(said.contains("t.lost") && said.contains(&last), "{said}");
    let discarded = "SELECT count(*) FROM activity_log WHERE action = 'command.discarded'";
    world.command("web", "retry", &uuid::Uuid::nil().to_string()).await;
    crate::harness::wait_until(crate::world::PLENTY, "the wrong id", async || world.count(discarded).await == 1).await;
    let why = "and the newest run is another";
    let told = |o: &landfall::api::TerraformDeployment| {
        status(o).last_handled.get("discarded").is_some_and(|said| said.contains(why))
    };
    world.until("web", "the discard in status", told).await;
    world.ready("web", "Interrupted").await;
    world.command("web", "retry", &last).await;
    world.gone("web").await;
    let told = "SELECT count(*) FROM activity_log
                WHERE action = 'deployment.released' AND details @> '{\"resourcesKept\": 0, \"leftovers\": 1}'";
    assert_eq!(world.count(told).await, 1);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_that_a_person_asked_for_is_theirs() {
    let world = World::new().await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": DATA}}})).await;
    let first = digest(&world.ready("web", "ApprovalRequired").await);
    world.command("web", "reconcile", "now").await;
    world.plan_after("web", &first).await;
    let by_alice =
        "SELECT count(*) FROM activity_log WHERE action = 'plan.started' AND actor = 'alice' AND actor_kind = 'user'";
    assert_eq!(world.count(by_alice).await, 1);
    world.controller.stop().await;
}
