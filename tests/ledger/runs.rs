//! Runs: what is created once, claimed once, ended once.

use landfall::Error;
use landfall::api::{Change, Reason};
use landfall::ledger::{Actor, Approval, Finish, Heard, Refusal, Standing, Stopping};
use landfall::run::protocol::{Artifact, Holder, PodIdentity, Progress, RunPhase};
use serde_json::json;
use uuid::Uuid;

use crate::given::{PLAN_JSON, actions, apply_of, applying, holder, interrupt, new_plan, planned, result};
use crate::world::World;

#[tokio::test]
async fn a_deployment_has_one_run_at_a_time() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let tries = (0..10).map(|_| new_plan(&writer, &subject, Change::Apply, "s"));
    let results = futures::future::join_all(tries).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert!(results.iter().filter_map(|r| r.as_ref().err()).all(|e| e.reason() == Reason::Progressing), "{results:?}");
}

#[tokio::test]
async fn a_run_is_claimed_by_one_process_which_may_ask_again() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = new_plan(&writer, &subject, Change::Apply, "s3cret").await.unwrap();
    assert!(world.ledger.authorize_run(id, &[1; 32]).await.unwrap().is_some());
    assert_eq!(world.ledger.authorize_run(id, &[9; 32]).await.unwrap(), None);
    assert_eq!(world.ledger.authorize_run(Uuid::now_v7(), &[1; 32]).await.unwrap(), None);
    assert!(writer.hand_over(id, Some(&[3; 32])).await.unwrap());
    assert!(world.ledger.authorize_run(id, &[3; 32]).await.unwrap().is_some());

    let (one, two) = (holder(1), holder(2));
    let (first, second) = tokio::join!(world.ledger.claim(id, &one), world.ledger.claim(id, &two));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.is_ok() != second.is_ok());
    let winner = if first.is_ok() { &one } else { &two };
    let again = world.ledger.claim(id, winner).await.unwrap().unwrap();
    assert_eq!(again.environment["TOKEN"].expose(), "s3cret");
    assert!(!writer.hand_over(id, Some(&[4; 32])).await.unwrap(), "a claimed run keeps its token");

    assert_eq!(writer.run_spec(id).await.unwrap().unwrap().id, id);
    let end = result(RunPhase::Failed);
    assert_eq!(world.ledger.finish(id, &end).await.unwrap(), Ok(Finish::Recorded));
    assert_eq!(world.ledger.finish(id, &end).await.unwrap(), Ok(Finish::Same));
    assert!(matches!(world.ledger.finish(id, &result(RunPhase::Cancelled)).await.unwrap(), Err(Refusal::Conflict(_))));
    assert!(matches!(world.ledger.claim(id, winner).await.unwrap(), Err(Refusal::Ended)));
    let wiped: bool = sqlx::query_scalar("SELECT inputs IS NULL FROM run_secrets WHERE run_id = $1")
        .bind(id)
        .fetch_one(world.ledger.pool())
        .await
        .unwrap();
    assert!(wiped && writer.run_spec(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_pod_takes_a_run_with_the_token_of_its_runner_and_nothing_else_in_it_or_beside_it_does() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = new_plan(&writer, &subject, Change::Apply, "s3cret").await.unwrap();
    let pod = |uid: &str| PodIdentity { pod: "landfall-run-x".into(), pod_uid: uid.into() };
    let attach = async |pod: &PodIdentity, token: u8| world.ledger.attach(id, pod, &[token; 32]).await.unwrap();

    let spec = attach(&pod("one"), 7).await.unwrap();
    assert_eq!(spec.environment["TOKEN"].expose(), "s3cret");
    assert!(attach(&pod("one"), 7).await.is_ok(), "an answer that was lost is given again");
    assert!(matches!(attach(&pod("one"), 8).await, Err(Refusal::Conflict(_))), "another token of the same pod");
    assert!(matches!(attach(&pod("two"), 7).await, Err(Refusal::Conflict(_))), "another pod of the same name");
    assert!(matches!(world.ledger.claim(id, &holder(1)).await.unwrap(), Err(Refusal::Conflict(_))));
    assert!(world.ledger.authorize_run(id, &[7; 32]).await.unwrap().is_some());
    assert_eq!(world.ledger.authorize_run(id, &[1; 32]).await.unwrap(), None, "the one of the run's beginning");
    let run = writer.run(id).await.unwrap().unwrap();
    assert_eq!((run.phase, run.holder), (RunPhase::Claimed, Some(Holder::Pod(pod("one")))));

    assert_eq!(world.ledger.finish(id, &result(RunPhase::Failed)).await.unwrap(), Ok(Finish::Recorded));
    assert!(matches!(attach(&pod("one"), 7).await, Err(Refusal::Ended)));
    let missing = world.ledger.attach(Uuid::now_v7(), &pod("one"), &[7; 32]).await.unwrap();
    assert!(matches!(missing, Err(Refusal::NotFound)));
}

#[tokio::test]
async fn a_plan_without_its_files_has_no_digest() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = new_plan(&writer, &subject, Change::Apply, "s").await.unwrap();
    writer.claim(id, &holder(1)).await.unwrap().unwrap();
    writer.put_artifact(id, Artifact::PlanJson, PLAN_JSON.as_bytes()).await.unwrap().unwrap();
    let refused = writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap();
    assert_eq!(refused, Err(Refusal::Conflict("plan was not put; a plan that succeeded has it".into())));
    writer.put_artifact(id, Artifact::Plan, b"p").await.unwrap().unwrap();
    writer.put_artifact(id, Artifact::PlanJson, b"no plan").await.unwrap().unwrap();
    assert_eq!(writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap(), Ok(Finish::Recorded));
    let run = writer.run(id).await.unwrap().unwrap();
    assert_eq!((run.phase, run.reason, run.digest), (RunPhase::Failed, Some(Reason::PlanFailed), None));
    assert!(matches!(writer.put_artifact(id, Artifact::Plan, b"other").await.unwrap(), Err(Refusal::Ended)));
    assert_eq!(writer.put_artifact(id, Artifact::Plan, b"p").await.unwrap(), Ok(()));
}

#[tokio::test]
async fn the_counts_of_a_plan_come_from_its_json_and_not_from_the_runner() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let (plan, _) = planned(&writer, &subject, Change::Apply).await;
    let run = writer.run(plan).await.unwrap().unwrap();
    assert_eq!((run.summary.unwrap().add, run.has_changes), (1, Some(true)));
    assert_eq!(run.engine_version.as_deref(), Some("1.12.6"));
}

#[tokio::test]
async fn a_phase_never_goes_back_and_a_plan_never_applies() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = new_plan(&writer, &subject, Change::Apply, "s").await.unwrap();
    let set = async |phase| writer.set_phase(id, &Progress { phase }).await.unwrap();
    assert!(set(RunPhase::Init).await.is_err(), "not claimed");
    writer.claim(id, &holder(1)).await.unwrap().unwrap();
    assert_eq!(set(RunPhase::Plan).await, Ok(()));
    assert_eq!(set(RunPhase::Plan).await, Ok(()));
    for phase in [RunPhase::Init, RunPhase::Apply, RunPhase::Succeeded, RunPhase::Pending] {
        assert!(matches!(set(phase).await, Err(Refusal::Conflict(_))), "{phase:?}");
    }
}

#[tokio::test]
async fn a_deposed_leader_begins_nothing_and_ends_nothing() {
    let world = World::new().await;
    let (old, subject) = (world.writer().await, world.subject("acme"));
    let (plan, digest) = planned(&old, &subject, Change::Apply).await;
    let other = world.subject("acme");
    let running = new_plan(&old, &other, Change::Apply, "s").await.unwrap();
    let _new = world.writer().await;
    let deposed = |e: &Error| matches!(e, Error::Deposed(_));
    assert!(deposed(&new_plan(&old, &world.subject("acme"), Change::Apply, "s").await.unwrap_err()));
    assert!(deposed(&old.create_apply_run(apply_of(&subject, plan, &digest, Approval::Automatic)).await.unwrap_err()));
    assert!(deposed(&old.record_approval(&subject, &digest, "alice").await.unwrap_err()));
    assert!(deposed(&interrupt(&old, running).await.unwrap_err()));
    assert!(deposed(&old.request_cancel(running, &Actor::User("alice".into())).await.unwrap_err()));
    assert!(deposed(&old.claim_state(&subject, "k", None).await.unwrap_err()));
    assert!(deposed(&old.recover_state(running, b"{}").await.unwrap_err()));
    assert!(deposed(&old.put_resources(running, 0, &[]).await.unwrap_err()));
    assert!(deposed(&old.append_log(running, 0, b"x").await.unwrap_err()));
    assert!(deposed(&old.hand_over(running, Some(&[9; 32])).await.unwrap_err()));
    // A change of leader disturbs no run.
    world.ledger.claim(running, &holder(1)).await.unwrap().unwrap();
    assert_eq!(world.ledger.finish(running, &result(RunPhase::Failed)).await.unwrap(), Ok(Finish::Recorded));
}

#[tokio::test]
async fn a_run_that_was_never_claimed_is_cancelled_at_once_and_another_one_is_told() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let alice = Actor::User("alice".into());
    let id = new_plan(&writer, &subject, Change::Apply, "s").await.unwrap();
    assert!(writer.request_cancel(id, &alice).await.unwrap());
    assert_eq!(writer.run(id).await.unwrap().unwrap().phase, RunPhase::Cancelled);
    assert!(!writer.request_cancel(id, &alice).await.unwrap());
    assert!(matches!(writer.claim(id, &holder(1)).await.unwrap(), Err(Refusal::Ended)));

    let id = new_plan(&writer, &subject, Change::Apply, "s").await.unwrap();
    writer.claim(id, &holder(1)).await.unwrap().unwrap();
    assert!(!writer.control(id).await.unwrap().unwrap().cancel);
    assert!(writer.request_cancel(id, &alice).await.unwrap());
    assert!(writer.request_cancel(id, &alice).await.unwrap());
    assert!(writer.control(id).await.unwrap().unwrap().cancel);
    let seen = actions(&world).await;
    assert_eq!(seen.iter().filter(|a| *a == "run.cancel-requested").count(), 1);
    // A signal that came before the word: what a person has cancelled is not made again.
    assert_eq!(writer.finish(id, &result(RunPhase::Failed)).await.unwrap(), Ok(Finish::Recorded));
    let ended = writer.run(id).await.unwrap().unwrap();
    assert_eq!((ended.phase, ended.reason), (RunPhase::Cancelled, Some(Reason::Cancelled)));
}

#[tokio::test]
async fn a_command_is_taken_once_however_often_its_annotation_is_seen() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    for (value, by) in [("1", "alice"), ("1", "alice"), ("2", "alice"), ("2", "bob"), ("1", "alice")] {
        writer.record_command(&subject, "reconcile", value, by).await.unwrap();
    }
    assert_eq!(actions(&world).await, ["command.taken"; 4]);
    let taken = world.ledger.commands(&subject).await.unwrap();
    assert_eq!(taken.iter().map(|t| (t.command.as_str(), t.value.as_str())).collect::<Vec<_>>(), [("reconcile", "1")]);
    writer.record_command(&subject, "retry", "x", "alice").await.unwrap();
    writer.record_command(&subject, "reconcile", "1", "alice").await.unwrap();
    assert_eq!(actions(&world).await, ["command.taken"; 6], "given again after another one");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM commands").fetch_one(world.ledger.pool()).await.unwrap();
    assert_eq!(rows, 2, "one row for each word");
}

#[tokio::test]
async fn the_chain_tells_the_story_of_a_deployment_with_its_actors() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = applying(&writer, &subject).await;
    writer.lock(id, &json!({"ID": "l"})).await.unwrap().unwrap();
    writer.put_state(id, Some("l"), crate::states::state(1, "lineage", 1).as_bytes()).await.unwrap().unwrap();
    writer.unlock(id, Some("l")).await.unwrap().unwrap();
    assert_eq!(writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap(), Ok(Finish::Recorded));
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT actor_kind, action FROM activity_log ORDER BY seq")
        .fetch_all(world.ledger.pool())
        .await
        .unwrap();
    let story: Vec<String> = rows.iter().map(|(kind, action)| format!("{kind} {action}")).collect();
    assert_eq!(
        story,
        [
            "controller state.claimed",
            "field-manager-unverified plan.started",
            "runner run.claimed",
            "runner plan.created",
            "controller intent.made",
            "controller apply.started",
            "runner run.claimed",
            "runner apply.running",
            "runner state.written",
            "runner intent.concluded",
            "runner apply.succeeded",
        ]
    );
    let live = world.ledger.inventory(subject.uid).await.unwrap();
    assert_eq!((live.len(), live[0].standing), (1, Standing::Managed));
    let run = world.ledger.run(id).await.unwrap().unwrap();
    assert_eq!((run.state_serial, run.applying_at.is_some()), (Some(1), true));
    assert_eq!(world.ledger.runs_of(subject.uid, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_run_that_no_runner_takes_counts_its_hand_overs_and_fails_with_its_message() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = new_plan(&writer, &subject, Change::Apply, "s").await.unwrap();
    for _ in 0..3 {
        assert!(writer.hand_over(id, Some(&[3; 32])).await.unwrap());
    }
    let run = writer.run(id).await.unwrap().unwrap();
    assert_eq!(run.handed_over, 3);
    assert!(writer.fail_unclaimed(&run, Reason::PlanFailed, "none took it".into()).await.unwrap());
    assert!(!writer.fail_unclaimed(&run, Reason::PlanFailed, "none took it".into()).await.unwrap());
    let run = writer.run(id).await.unwrap().unwrap();
    let told = (run.phase, run.reason, run.message.as_deref());
    assert_eq!(told, (RunPhase::Failed, Some(Reason::PlanFailed), Some("none took it")));

    let id = new_plan(&writer, &subject, Change::Apply, "s").await.unwrap();
    writer.claim(id, &holder(1)).await.unwrap().unwrap();
    let run = writer.run(id).await.unwrap().unwrap();
    assert!(
        !writer.fail_unclaimed(&run, Reason::PlanFailed, "x".into()).await.unwrap(),
        "a run that was taken goes on"
    );
}

#[tokio::test]
async fn a_run_is_not_given_up_for_the_death_of_another_process_than_its_own() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = new_plan(&writer, &subject, Change::Apply, "s").await.unwrap();
    let seen = writer.run(id).await.unwrap().unwrap();
    writer.claim(id, &holder(1)).await.unwrap().unwrap();
    assert!(
        !writer.interrupt(&seen, Reason::Interrupted, None, Heard::All).await.unwrap(),
        "a runner has taken it since"
    );
    let seen = writer.run(id).await.unwrap().unwrap();
    assert_eq!(seen.phase, RunPhase::Claimed);
    assert!(writer.interrupt(&seen, Reason::Interrupted, Some("its last words".into()), Heard::All).await.unwrap());
    let run = writer.run(id).await.unwrap().unwrap();
    assert_eq!((run.phase, run.message.as_deref()), (RunPhase::Interrupted, Some("its last words")));
}

#[tokio::test]
async fn a_run_that_is_stopped_and_then_killed_is_on_record_once_each() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = new_plan(&writer, &subject, Change::Apply, "s").await.unwrap();
    for (kill, expected) in
        [(false, Stopping::New), (false, Stopping::Known), (true, Stopping::New), (true, Stopping::Known)]
    {
        assert_eq!(writer.record_stop(id, kill, "it hangs").await.unwrap(), expected, "{kill}");
        assert!(writer.run(id).await.unwrap().unwrap().terminated_at.is_some());
    }
    interrupt(&writer, id).await.unwrap();
    assert_eq!(writer.record_stop(id, true, "it hangs").await.unwrap(), Stopping::Ended);
    let seen = actions(&world).await;
    assert_eq!(seen.iter().filter(|a| *a == "run.terminated").count(), 1, "{seen:?}");
    assert_eq!(seen.iter().filter(|a| *a == "run.killed").count(), 1, "{seen:?}");
}
