//! Kills, cancels, timeouts, and a ledger that refuses.

use std::process::Stdio;
use std::time::Instant;

use landfall::api::Reason;
use landfall::run::protocol::{ResourceAction, RunKind, RunPhase, RunSpec};
use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

use crate::harness::{engine_of, env, plugin_of};
use crate::world::{MODULE, World, engines, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_runner_is_killed_finishes_and_recovery_finds_its_state() {
    for engine in engines() {
        let world = World::new(engine).await;
        world.succeeded(world.apply(world.planned(0).await, |_| ())).await;
        let lineage = world.state()["lineage"].clone();
        let serial = world.state()["serial"].as_i64().unwrap();
        let changed = MODULE.replace("\"second\" {", "\"second\" {\n  triggers_replace = \"again\"");
        let plan = world.plan(&[("main.tf", &changed)], |spec| {
            spec.variables.insert("pause".into(), landfall::run::protocol::SecretText::new("4"));
        });
        world.succeeded(plan).await;
        let apply = world.apply(plan, |_| ());
        world.in_mid_apply(apply).await;
        let holder = world.local.claimed_by(apply).unwrap();
        kill_process(Pid::from_raw(holder.pid).unwrap(), Signal::KILL).unwrap();
        until("the runner is reaped", || !world.local.is_child(apply)).await;
        assert!(world.local.lives(&holder).unwrap(), "its engine lives");
        assert!(world.api.ledger().lock.is_some());
        world.gone(apply).await;

        let spec = world.api.look(apply, |run| run.spec.clone());
        let found = world.local.recover(apply, Some(&spec)).unwrap();
        let last: serde_json::Value =
            serde_json::from_slice(&found.states.last().expect("no errored.tfstate").bytes).unwrap();
        assert_eq!(last["lineage"], lineage);
        assert!(last["serial"].as_i64().unwrap() > serial);
        assert_eq!(last["resources"].as_array().unwrap().len(), 2);
        let made = |e: &&landfall::run::protocol::ResourceEvent| e.what == ResourceAction::Created;
        assert_eq!(found.resources.iter().flatten().filter(made).count(), 1, "{:?}", found.resources);
        let log = String::from_utf8(found.log).unwrap();
        let sent = world.api.look(apply, |run| String::from_utf8(run.log.clone()).unwrap());
        assert!(log.starts_with(&sent) && log.contains("errored.tfstate"), "{log}");
        assert!(world.local.recover(apply, None).unwrap().log.is_empty());
        world.local.cleanup(apply).unwrap();
        assert!(!world.run_folder(apply).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_only_the_spool_has_is_recovered() {
    let world = World::new(engines()[0]).await;
    let apply = world.apply(world.planned(2).await, |_| ());
    world.in_mid_apply(apply).await;
    world.api.set_away(true);
    let spool = world.run_folder(apply).join("spool/000001.tfstate");
    until("the engine wrote its state", || spool.exists()).await;
    let holder = world.local.claimed_by(apply).unwrap();
    kill_process(Pid::from_raw(holder.pid).unwrap(), Signal::KILL).unwrap();
    world.gone(apply).await;
    let found = world.local.recover(apply, None).unwrap();
    assert_eq!(found.states.first().unwrap().bytes, std::fs::read(spool).unwrap());
    assert!(world.api.ledger().states.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_apply_keeps_its_state_and_gives_its_lock_back() {
    for engine in engines() {
        let world = World::new(engine).await;
        let apply = world.apply(world.planned(60).await, |_| ());
        world.in_mid_apply(apply).await;
        let (asked, holder) = (Instant::now(), world.local.claimed_by(apply).unwrap());
        world.api.look(apply, |run| run.cancel = true);
        let result = world.not_succeeded(apply).await;
        assert_eq!((result.phase, result.reason), (RunPhase::Cancelled, Some(Reason::Cancelled)));
        assert!(!world.local.lives(&holder).unwrap(), "what its provisioner had started is gone, too");
        assert!(asked.elapsed().as_secs() < 30, "{:?}", asked.elapsed());
        let resources = world.state()["resources"].to_string();
        assert!(resources.contains("first"), "{resources}");
        assert!(world.api.ledger().lock.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_was_cancelled_before_it_began_starts_no_engine() {
    let world = World::new(engines()[0]).await;
    let plan = world.planned(0).await;
    let states = world.api.ledger().states.len();
    let apply = world.apply(plan, |_| ());
    world.api.look(apply, |run| run.cancel_at_apply = true);
    let result = world.not_succeeded(apply).await;
    assert_eq!((result.phase, result.reason), (RunPhase::Cancelled, Some(Reason::Cancelled)), "{result:?}");
    assert_eq!(world.api.ledger().states.len(), states, "nothing was applied");
    assert!(world.api.ledger().lock.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_terminated_ends_gracefully() {
    let world = World::new(engines()[0]).await;
    let apply = world.apply(world.planned(60).await, |_| ());
    world.in_mid_apply(apply).await;
    world.local.terminate(apply).unwrap();
    let result = world.not_succeeded(apply).await;
    // Nobody cancelled it: what it left half done is for a person to look at.
    assert_eq!((result.phase, result.reason), (RunPhase::Interrupted, Some(Reason::Interrupted)));
    assert!(result.message.unwrap().contains("SIGTERM"));
    assert!(world.state()["resources"].to_string().contains("first") && world.api.ledger().lock.is_none());

    for (step, reason) in [("init", Reason::InitFailed), ("plan", Reason::PlanFailed)] {
        let slow = format!("[ \"$1\" = {step} ] && touch {{folder}}/begun && exec sleep 60\nexec {{engine}} \"$@\"");
        let world = World::with_shim(&slow).await;
        let plan = world.plan(&[("main.tf", MODULE)], |_| ());
        until("the step has begun", || world.folder.path().join("begun").exists()).await;
        world.local.terminate(plan).unwrap();
        let result = world.not_succeeded(plan).await;
        assert_eq!((result.phase, result.reason), (RunPhase::Failed, Some(reason)), "{result:?}");
        assert!(result.message.unwrap().contains("SIGTERM"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_in_mid_apply_interrupts_its_run() {
    for engine in engines() {
        let world = World::new(engine).await;
        let apply = world.apply(world.planned(60).await, |_| ());
        world.in_mid_apply(apply).await;
        let holder = world.local.claimed_by(apply).unwrap();
        kill_process(engine_of(holder.pid, "apply"), Signal::KILL).unwrap();
        let result = world.not_succeeded(apply).await;
        assert_eq!((result.phase, result.reason), (RunPhase::Interrupted, Some(Reason::Interrupted)), "{result:?}");
        let message = result.message.unwrap();
        assert!(message.contains("SIGKILL") && message.contains("person"), "{message}");
        assert!(!world.local.lives(&holder).unwrap(), "what the engine had started is gone, too");
        let events = world.api.look(apply, |run| run.resources.clone());
        let of = |address: &str| events.iter().filter(|e| e.address == address).map(|e| e.what).collect::<Vec<_>>();
        assert_eq!(of("terraform_data.first"), [ResourceAction::CreateStarted, ResourceAction::Created]);
        assert_eq!(of("terraform_data.second"), [ResourceAction::CreateStarted]);
    }
}

/// A provider that takes five minutes for a create, which it gives up when it is told to.
const SLOW: &str = "terraform {\n  required_providers {\n    time = { source = \"hashicorp/time\" }\n  }\n}\n\
    variable \"world\" {}\nresource \"terraform_data\" \"first\" {}\n\
    resource \"time_sleep\" \"long\" {\n  depends_on      = [terraform_data.first]\n  create_duration = \"300s\"\n}\n";

/// Starts an apply of that, and waits until the create is under way.
async fn in_mid_create(world: &World, change: impl FnOnce(&mut RunSpec)) -> Uuid {
    let plan = world.plan(&[("main.tf", SLOW)], |_| ());
    world.succeeded(plan).await;
    let apply = world.apply(plan, change);
    let of_long = || {
        let events = world.api.look(apply, |run| run.resources.clone());
        events.iter().filter(|e| e.address == "time_sleep.long").map(|e| e.what).collect::<Vec<_>>()
    };
    until("the create is under way", || of_long() == [ResourceAction::CreateStarted]).await;
    apply
}

/// The provider gives the call up and says that it failed. Whether something was made by then, nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_stopped_in_the_middle_of_a_create_is_interrupted_whoever_stopped_it() {
    for (engine, how) in
        engines().into_iter().flat_map(|e| ["SIGTERM", "spec.timeouts.apply", "cancel"].map(|h| (e, h)))
    {
        let world = World::new(engine).await;
        let apply = in_mid_create(&world, |spec| {
            if how == "spec.timeouts.apply" {
                spec.limits.apply = 20;
            }
        })
        .await;
        match how {
            "SIGTERM" => world.local.terminate(apply).unwrap(),
            "cancel" => world.api.look(apply, |run| run.cancel = true),
            _ => {}
        }
        let result = world.not_succeeded(apply).await;
        assert_eq!((result.phase, result.reason), (RunPhase::Interrupted, Some(Reason::Interrupted)), "{result:?}");
        assert_eq!(result.exit_code, Some(1), "the engine ended in good order");
        let message = result.message.unwrap();
        for part in [how, "time_sleep.long", "person"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let state = world.state()["resources"].to_string();
        assert!(state.contains("first") && !state.contains("long"), "no state knows it: {state}");
        assert!(world.api.ledger().lock.is_none());
    }
}

/// The engine tells of it and ends with exit code 1, as it does where a provider says no.
#[tokio::test(flavor = "multi_thread")]
async fn a_providers_plugin_that_dies_in_the_middle_of_a_create_interrupts_the_run() {
    for engine in engines() {
        let world = World::new(engine).await;
        let apply = in_mid_create(&world, |_| ()).await;
        let engine = engine_of(world.local.claimed_by(apply).unwrap().pid, "apply");
        kill_process(plugin_of(engine, "time"), Signal::KILL).unwrap();
        let result = world.not_succeeded(apply).await;
        assert_eq!((result.phase, result.reason), (RunPhase::Interrupted, Some(Reason::Interrupted)), "{result:?}");
        assert_eq!(result.exit_code, Some(1), "it is no engine that a signal ended");
        let message = result.message.unwrap();
        // The one where the engine sees the connection go, the other where it sees the process go first.
        assert!(["did not respond", "Request cancelled"].iter().any(|words| message.contains(words)), "{message}");
        for part in ["time_sleep.long", "person"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let state = world.state()["resources"].to_string();
        assert!(state.contains("first") && !state.contains("long"), "no state knows it: {state}");
        assert!(world.api.ledger().lock.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_before_the_apply_has_only_failed() {
    for (step, reason) in [("init", Reason::InitFailed), ("plan", Reason::PlanFailed)] {
        let script = format!("[ \"$1\" = {step} ] && kill -SEGV $$\nexec {{engine}} \"$@\"");
        let world = World::with_shim(&script).await;
        let result = world.not_succeeded(world.plan(&[("main.tf", MODULE)], |_| ())).await;
        assert_eq!((result.phase, result.reason), (RunPhase::Failed, Some(reason)), "{result:?}");
        assert!(result.message.unwrap().contains("SIGSEGV"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_will_not_stop_in_mid_apply_is_killed_and_interrupts_its_run() {
    let deaf = "if [ \"$1\" = apply ]; then trap '' INT; touch {folder}/begun; sleep 300; fi\nexec {engine} \"$@\"";
    for cancelled in [true, false] {
        let world = World::with_shim(deaf).await;
        let plan = world.planned(0).await;
        let apply =
            world.apply(plan, |spec| (spec.limits.apply, spec.limits.grace) = (if cancelled { 120 } else { 10 }, 1));
        until("the apply has begun", || world.folder.path().join("begun").exists()).await;
        if cancelled {
            world.api.look(apply, |run| run.cancel = true);
        }
        let holder = world.local.claimed_by(apply).unwrap();
        let result = world.not_succeeded(apply).await;
        assert_eq!((result.phase, result.reason), (RunPhase::Interrupted, Some(Reason::Interrupted)), "{result:?}");
        let message = result.message.unwrap();
        let cause = if cancelled { "cancelled" } else { "spec.timeouts.apply" };
        assert!(message.contains(cause) && message.contains("killed"), "{message}");
        assert!(!world.local.lives(&holder).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_that_takes_too_long_is_stopped_and_named() {
    let world = World::new(engines()[0]).await;
    let apply = world.apply(world.planned(120).await, |spec| spec.limits.apply = 20);
    let result = world.not_succeeded(apply).await;
    assert_eq!((result.phase, result.reason), (RunPhase::Failed, Some(Reason::Timeout)));
    assert!(result.message.unwrap().contains("spec.timeouts.apply"));
    assert!(world.state()["resources"].to_string().contains("first") && world.api.ledger().lock.is_none());

    for step in ["init", "plan"] {
        let world = World::with_shim(&format!("[ \"$1\" = {step} ] && exec sleep 60\nexec {{engine}} \"$@\"")).await;
        let plan = world.plan(&[("main.tf", MODULE)], |spec| match step {
            "init" => spec.limits.init = 2,
            _ => spec.limits.plan = 2,
        });
        let result = world.not_succeeded(plan).await;
        assert_eq!(result.reason, Some(Reason::Timeout), "{result:?}");
        assert!(result.message.unwrap().contains(&format!("spec.timeouts.{step}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_runner_of_the_same_run_leaves_without_touching_anything() {
    let world = World::new(engines()[0]).await;
    let plan = world.planned(5).await;
    let artifacts = world.api.look(plan, |run| run.artifacts.clone());
    let spec = world.spec(RunKind::Apply);
    let token = world.api.create(spec.clone(), artifacts);
    world.local.start(spec.id, world.engine, &token).unwrap();
    world.in_mid_apply(spec.id).await;

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), token.expose()).unwrap();
    let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args([
            "runner",
            "--run",
            &spec.id.to_string(),
            "--api",
            world.url.as_str(),
            "--engine-binary",
            &env("TOFU"),
            "--dir",
        ])
        .arg(folder.path())
        .stderr(Stdio::null())
        .status()
        .await
        .unwrap();
    assert_eq!(second.code(), Some(3));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["token"]);
    world.succeeded(spec.id).await;
    assert_eq!(world.done().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_the_ledger_refuses_stays_in_the_spool() {
    let world = World::new(engines()[0]).await;
    let apply = world.apply(world.planned(0).await, |_| ());
    world.api.ledger().refuse_states = true;
    let result = world.not_succeeded(apply).await;
    assert_eq!((result.phase, result.reason), (RunPhase::Interrupted, Some(Reason::StateRegressed)), "{result:?}");
    let found = world.local.recover(apply, None).unwrap();
    let kept = found.states.first().unwrap();
    assert!(String::from_utf8_lossy(&kept.bytes).contains("terraform_data"));
    let message = result.message.unwrap();
    for part in ["serial 1", "does not hold the lock", kept.path.to_str().unwrap(), &format!("retry: {apply}")] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(world.api.ledger().lock.is_some(), "the lock stands until the state is settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_not_given_back_is_a_reason_of_its_own() {
    let world = World::new(engines()[0]).await;
    let held = br#"{"ID":"another","Operation":"OperationTypeApply","Who":"somebody","Version":"1","Created":"2026-01-01T00:00:00Z"}"#;
    world.api.ledger().lock = Some((None, held.to_vec().into()));
    let result = world.not_succeeded(world.plan(&[("main.tf", MODULE)], |_| ())).await;
    assert_eq!(result.reason, Some(Reason::StateLocked), "{result:?}");
    assert!(result.message.unwrap().contains("somebody"));
    assert!(world.api.ledger().lock.is_some(), "another's lock is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_its_engine_says_which_is_missing() {
    let world = World::with_shim("exit 0").await;
    std::fs::remove_file(world.folder.path().join("shim")).unwrap();
    let result = world.not_succeeded(world.plan(&[("main.tf", MODULE)], |_| ())).await;
    assert_eq!(result.reason, Some(Reason::EngineNotFound));
    assert!(result.message.unwrap().contains("/shim"));
}
