//! The way of a run that goes well, also when the run API does not.

use std::time::Duration;

use landfall::api::Change;
use landfall::run::plan;
use landfall::run::protocol::{ResourceAction, RunKind, RunPhase};
use landfall::terraform::snapshot;
use landfall::terraform::source::Module;
use tokio::time::sleep;

use crate::harness::env;
use crate::world::{MODULE, World, engines, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_made_applied_and_destroyed_and_each_state_is_acknowledged() {
    for engine in engines() {
        let world = World::new(engine).await;
        let plan = world.planned(0).await;
        world.succeeded(plan).await;
        assert!(world.done().is_empty(), "a plan changes nothing");
        let artifacts = world.api.look(plan, |run| run.artifacts.clone());
        assert_eq!(plan::summary(&artifacts["plan-json"]).unwrap().add, 2);
        assert!(plan::engine_version(&artifacts["plan-json"]).unwrap().unwrap().starts_with("1."));

        let apply = world.apply(plan, |_| ());
        world.succeeded(apply).await;
        assert_eq!(world.done(), [format!("{apply} sha256:of-the-plan")]);
        assert_eq!(world.state()["outputs"]["first"]["value"], "one");
        assert!(world.api.ledger().lock.is_none());
        world.api.look(apply, |run| {
            assert_eq!(run.phases, [RunPhase::Init, RunPhase::Apply, RunPhase::Finishing]);
            let log = String::from_utf8(run.log.clone()).unwrap();
            assert!(log.contains("successfully initialized") && log.contains("Apply complete!"), "{log}");
            let created: Vec<_> = run.resources.iter().filter(|e| e.what == ResourceAction::Created).collect();
            assert_eq!(created.len(), 2, "{created:?}");
            assert!(created[0].id.is_some(), "{created:?}");
        });
        let folder = world.run_folder(apply);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while folder.exists() {
            assert!(std::time::Instant::now() < end, "a run that ended well leaves {folder:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }

        let plan = world.plan(&[("main.tf", MODULE)], |spec| spec.change = Change::Destroy);
        world.succeeded(plan).await;
        let json = world.api.look(plan, |run| run.artifacts["plan-json"].clone());
        assert_eq!(plan::summary(&json).unwrap().destroy, 2);
        world.succeeded(world.apply(plan, |_| ())).await;
        assert_eq!(world.state()["resources"], serde_json::json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_while_the_run_api_is_away_for_twenty_seconds() {
    goes_on_while_it_answers(503).await;
}

/// As a ledger does that is being restored, or has lost a right.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_while_the_run_api_fails_for_twenty_seconds() {
    goes_on_while_it_answers(500).await;
}

async fn goes_on_while_it_answers(status: u16) {
    let world = World::new(engines()[0]).await;
    let apply = world.apply(world.planned(3).await, |_| ());
    world.in_mid_apply(apply).await;
    let before = world.api.ledger().states.len();
    world.api.answers(status);
    sleep(Duration::from_secs(20)).await; // the outage itself
    assert!(world.local.is_child(apply), "{}", world.runner_log(apply));
    assert_eq!(world.api.ledger().states.len(), before);
    assert!(world.api.turned_away() > 0);
    world.api.set_away(false);
    world.succeeded(apply).await;
    assert_eq!(world.state()["resources"].as_array().unwrap().len(), 2);
    assert_eq!(world.done().len(), 1);
    assert!(world.api.ledger().lock.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_applied_before_the_ledger_has_answered() {
    let world = World::new(engines()[0]).await;
    let plan = world.planned(0).await;
    world.api.set_away(true);
    let apply = world.apply(plan, |_| ());
    until("the runner has asked", || world.api.turned_away() > 2).await;
    assert!(world.done().is_empty());
    world.api.set_away(false);
    world.succeeded(apply).await;
    assert_eq!(world.done().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_waits_for_a_lock_that_another_holds() {
    let world = World::new(engines()[0]).await;
    let held = br#"{"ID":"another","Operation":"OperationTypeApply","Who":"somebody","Version":"1","Created":"2026-01-01T00:00:00Z"}"#;
    world.api.ledger().lock = Some((None, held.to_vec().into()));
    let plan = world.plan(&[("main.tf", MODULE)], |_| ());
    until("the plan has begun", || world.api.look(plan, |run| run.phases.contains(&RunPhase::Plan))).await;
    sleep(Duration::from_secs(3)).await; // so long the other holds it
    assert!(
        world.local.is_child(plan),
        "the engine did not wait: {:?}",
        world.api.look(plan, |run| run.result.clone())
    );
    world.api.ledger().lock = None;
    world.succeeded(plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_lock_file_is_kept_with_the_plan_and_carried_forward() {
    let module = "terraform {\n  required_providers {\n    time = {\n      source = \"hashicorp/time\"\n    }\n  }\n}\nresource \"time_static\" \"now\" {}\n";
    for engine in engines() {
        let world = World::new(engine).await;
        let unknown = |spec: &mut landfall::run::protocol::RunSpec| spec.variables.clear();
        let plan = world.plan(&[("main.tf", module)], unknown);
        world.succeeded(plan).await;
        let artifacts = world.api.look(plan, |run| run.artifacts.clone());
        let lock = String::from_utf8(artifacts["lock-file"].clone()).unwrap();
        assert!(lock.contains("hashicorp/time"), "{lock}");
        let to = tempfile::tempdir().unwrap();
        snapshot::unpack(&artifacts["snapshot"], to.path()).unwrap();
        assert!(to.path().join("main.tf").exists());
        assert!(
            !to.path().join(".terraform/providers").exists()
                && !to.path().join("zzzz_landfall_override.tf.json").exists()
        );
        world.succeeded(world.apply(plan, unknown)).await;

        // A lock file with another checksum, carried forward, is obeyed: init refuses the provider.
        let mut carried = artifacts.clone();
        let wrong = lock
            .split('"')
            .map(|part| if part.starts_with("h1:") { "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" } else { part });
        carried.insert("lock-file".into(), wrong.collect::<Vec<_>>().join("\"").into_bytes());
        let mut spec = world.spec(RunKind::Plan);
        spec.variables.clear();
        let run = world.start(&spec, carried);
        let result = world.not_succeeded(run).await;
        assert!(result.message.unwrap().contains("checksum"), "the lock file was not carried forward");
    }
    assert!(!env("PROVIDER_MIRROR").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_the_module_no_longer_admits_is_not_carried_forward() {
    let module = |version: &str| {
        format!(
            "terraform {{\n  required_providers {{\n    time = {{\n      source  = \"hashicorp/time\"\n      version = \"{version}\"\n    }}\n  }}\n}}\nresource \"time_static\" \"now\" {{}}\n"
        )
    };
    for engine in engines() {
        let world = World::new(engine).await;
        let plan = world.plan(&[("main.tf", &module(">= 0.1.0"))], |spec| spec.variables.clear());
        world.succeeded(plan).await;
        let lock = String::from_utf8(world.api.look(plan, |run| run.artifacts["lock-file"].clone())).unwrap();
        let older: String = lock
            .lines()
            .map(|line| {
                if line.trim().starts_with("version") { "  version = \"0.1.0\"\n".into() } else { format!("{line}\n") }
            })
            .collect();
        let again = |files: &[(&str, &str)]| {
            let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
            let mut spec = world.spec(RunKind::Plan);
            spec.variables.clear();
            let snapshot = Module { files }.to_tar().unwrap();
            world.start(&spec, [("snapshot".into(), snapshot), ("lock-file".into(), older.clone().into_bytes())].into())
        };
        let run = again(&[("main.tf", &module("> 0.1.0"))]);
        world.succeeded(run).await;
        let found = String::from_utf8(world.api.look(run, |run| run.artifacts["lock-file"].clone())).unwrap();
        let version = |text: &str| text.lines().find(|line| line.trim().starts_with("version")).map(str::to_owned);
        assert_eq!(version(&found), version(&lock), "the newest that the module admits");

        // What the module itself brings is the author's to change.
        let run = again(&[("main.tf", &module("> 0.1.0")), (".terraform.lock.hcl", &older)]);
        let message = world.not_succeeded(run).await.message.unwrap();
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(message.contains("does not match configured"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_engine_warns_of_before_its_json_spoils_no_plan() {
    let world = World::with_shim("[ $1 = show ] && printf '\\nWarning: {no} such file\\n'; exec {engine} \"$@\"").await;
    let plan = world.planned(0).await;
    world.succeeded(plan).await;
    let json = world.api.look(plan, |run| run.artifacts["plan-json"].clone());
    assert_eq!(plan::summary(&json).unwrap().add, 2);

    let world = World::with_shim("[ $1 = show ] && { echo 'nothing to show'; exit 0; }; exec {engine} \"$@\"").await;
    let result = world.not_succeeded(world.plan(&[("main.tf", MODULE)], |_| ())).await;
    assert!(result.message.unwrap().contains("show -json gave no JSON: nothing to show"));
}
