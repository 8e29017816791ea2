//! Runs: what is created once, claimed once, ended once.

use landfall::Error;
use landfall::api::{Change, EngineKind, Organization, Reason};
use landfall::ledger::{
    Actor, ApplyRun, Approval, ApprovalTaken, Finish, Heard, Ledger, Limit, NewApplyRun, NewPlanRun, Obstacle, Others,
    PlanRun, Refusal, Room, Standing, Stopping, Subject, Writer, state_key,
};
use landfall::run::protocol::{
    Artifact, Holder, PodIdentity, ProcessIdentity, Progress, ResourceAction, ResourceEvent, RunKind, RunPhase,
    RunResult, RunSpec, SecretText,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

pub(crate) const PLAN_JSON: &str = r#"{"format_version":"1.2","terraform_version":"1.12.6","resource_changes":[{"address":"t.a","mode":"managed","change":{"actions":["create"]}}]}"#;

pub(crate) async fn interrupt(writer: &Writer, id: Uuid) -> landfall::Result<bool> {
    let run = writer.run(id).await?.unwrap();
    writer.interrupt(&run, Reason::Interrupted, None, Heard::All).await
}

pub(crate) fn spec(id: Uuid, kind: RunKind, change: Change, secret: &str) -> RunSpec {
    RunSpec {
        id,
        kind,
        change,
        engine: EngineKind::OpenTofu,
        plan_digest: None,
        environment: [("TOKEN".into(), SecretText::new(secret))].into(),
        variables: [("v".into(), SecretText::new(Value::String(secret.into()).to_string()))].into(),
        sensitive: ["v".into()].into(),
        hidden: Vec::new(),
        limits: landfall::run::protocol::Limits { init: 1, plan: 1, apply: 1, grace: 1 },
    }
}

pub(crate) fn holder(pid: i32) -> ProcessIdentity {
    ProcessIdentity { pid, start_time: 7, boot_id: "boot".into() }
}

fn facts() -> Value {
    json!({"variablesHmac": "hmac-sha256:00", "credential": null})
}

/// A plan to be made, with room for it.
pub(crate) fn plan_run(subject: &Subject, change: Change, secret: &str) -> NewPlanRun {
    let id = Uuid::now_v7();
    NewPlanRun {
        id,
        room: Room::of(100),
        subject: subject.clone(),
        change,
        generation: 1,
        attempt: 0,
        engine: EngineKind::OpenTofu,
        facts: facts(),
        requested_by: Actor::FieldManager("kubectl".into()),
        token_hash: [1; 32],
        inputs: spec(id, RunKind::Plan, change, secret),
        snapshot: secret.into(),
    }
}

pub(crate) async fn new_plan(writer: &Writer, subject: &Subject, change: Change, secret: &str) -> Result<Uuid, Error> {
    let new = plan_run(subject, change, secret);
    let id = new.id;
    writer.create_plan_run(new).await.map(|run| {
        assert_eq!(run, PlanRun::Created);
        id
    })
}

pub(crate) fn result(phase: RunPhase) -> RunResult {
    RunResult { phase, reason: None, message: None, exit_code: Some(0) }
}

pub(crate) async fn enter(ledger: &Ledger, run: Uuid, phase: RunPhase) {
    let progress = Progress { phase };
    ledger.set_phase(run, &progress).await.unwrap().unwrap();
}

/// A plan run from its creation to its digest.
pub(crate) async fn planned(writer: &Writer, subject: &Subject, change: Change) -> (Uuid, String) {
    plan_of(writer, subject, change, PLAN_JSON).await
}

pub(crate) async fn plan_of(writer: &Writer, subject: &Subject, change: Change, json: &str) -> (Uuid, String) {
    let id = new_plan(writer, subject, change, "s3cret").await.unwrap();
    writer.claim(id, &holder(1)).await.unwrap().unwrap();
    enter(writer, id, RunPhase::Plan).await;
    for artifact in Artifact::ALL {
        writer.put_artifact(id, artifact, json.as_bytes()).await.unwrap().unwrap();
    }
    assert_eq!(writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap(), Ok(Finish::Recorded));
    let run = writer.run(id).await.unwrap().unwrap();
    (id, run.digest.unwrap())
}

pub(crate) fn apply_of(subject: &Subject, plan: Uuid, digest: &str, approval: Approval) -> NewApplyRun {
    let id = Uuid::now_v7();
    NewApplyRun {
        id,
        room: Room::of(100),
        subject: subject.clone(),
        plan,
        digest: digest.into(),
        approval,
        generation: 1,
        attempt: 0,
        requested_by: Actor::Controller("me".into()),
        token_hash: [2; 32],
        inputs: spec(id, RunKind::Apply, Change::Apply, "s3cret"),
    }
}

/// An apply that has been let at the world, unattended.
pub(crate) async fn applying(writer: &Writer, subject: &Subject) -> Uuid {
    writer.claim_state(subject, &state_key(subject), None).await.unwrap();
    let (plan, digest) = planned(writer, subject, Change::Apply).await;
    begun_apply(writer, apply_of(subject, plan, &digest, Approval::Automatic)).await
}

/// An apply that a person approved and that has been let at the world.
pub(crate) async fn approved(writer: &Writer, subject: &Subject) -> Uuid {
    writer.claim_state(subject, &state_key(subject), None).await.unwrap();
    let (plan, digest) = planned(writer, subject, Change::Apply).await;
    assert_eq!(writer.record_approval(subject, &digest, "alice").await.unwrap(), ApprovalTaken::Recorded);
    begun_apply(writer, apply_of(subject, plan, &digest, Approval::Person)).await
}

async fn begun_apply(writer: &Writer, new: NewApplyRun) -> Uuid {
    let id = new.id;
    assert_eq!(writer.create_apply_run(new).await.unwrap(), ApplyRun::Created);
    writer.claim(id, &holder(2)).await.unwrap().unwrap();
    enter(writer, id, RunPhase::Apply).await;
    id
}

async fn actions(world: &World) -> Vec<String> {
    sqlx::query_scalar("SELECT action FROM activity_log ORDER BY seq").fetch_all(world.ledger.pool()).await.unwrap()
}

#[tokio::test]
async fn of_many_who_would_apply_one_plan_exactly_one_does() {
    let world = World::new().await;
    let writer = world.writer().await;
    for (name, approval) in [("one", Approval::Person), ("two", Approval::Automatic)] {
        let subject = Subject { name: name.into(), ..world.subject("acme") };
        let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
        writer.record_approval(&subject, &digest, "alice").await.unwrap();
        let tries = (0..20).map(|_| writer.create_apply_run(apply_of(&subject, plan, &digest, approval)));
        let results: Vec<_> = futures::future::join_all(tries).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results.iter().filter(|r| **r == ApplyRun::Created).count(), 1, "{results:?}");
        assert_eq!(results.iter().filter(|r| **r == ApplyRun::AlreadyApplied).count(), 19, "{results:?}");
        let active = world.ledger.active_runs(world.cluster).await.unwrap();
        assert!(interrupt(&writer, active[0].id).await.unwrap());
        let intents: i64 = sqlx::query_scalar("SELECT count(*) FROM intents WHERE outcome = 'Failed'")
            .fetch_one(world.ledger.pool())
            .await
            .unwrap();
        assert!(intents > 0, "an apply that never began has changed nothing");
    }
}

#[tokio::test]
async fn an_approval_is_used_up_by_one_apply_and_a_second_one_hears_of_it() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
    let apply = || apply_of(&subject, plan, &digest, Approval::Person);
    assert_eq!(writer.create_apply_run(apply()).await.unwrap(), ApplyRun::NotApproved);
    assert_eq!(writer.record_approval(&subject, &digest, "alice").await.unwrap(), ApprovalTaken::Recorded);
    let again = writer.record_approval(&subject, &digest, "bob").await.unwrap();
    assert!(matches!(&again, ApprovalTaken::Already { by, .. } if by == "alice"), "{again:?}");
    let other = format!("sha256:{}", "0".repeat(64));
    assert_eq!(writer.record_approval(&subject, &other, "alice").await.unwrap(), ApprovalTaken::Stale);
    assert_eq!(
        writer.create_apply_run(apply_of(&subject, plan, &other, Approval::Automatic)).await.unwrap(),
        ApplyRun::NotApproved
    );
    assert_eq!(writer.create_apply_run(apply()).await.unwrap(), ApplyRun::Created);
    assert_eq!(writer.create_apply_run(apply()).await.unwrap(), ApplyRun::AlreadyApplied);
    let again = writer.record_approval(&subject, &digest, "alice").await.unwrap();
    let row = world.ledger.approval(&subject.organization, &digest).await.unwrap().unwrap();
    assert!(row.by == "alice" && row.consumed_by.is_some());
    assert_eq!(again, ApprovalTaken::Applied(row.consumed_by.unwrap()));
    let seen = actions(&world).await;
    let count = |action: &str| seen.iter().filter(|a| *a == action).count();
    assert_eq!((count("approval.given"), count("approval.refused"), count("apply.started")), (1, 1, 1), "{seen:?}");
}

#[tokio::test]
async fn an_approval_for_an_older_plan_is_refused() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let (old, old_digest) = planned(&writer, &subject, Change::Apply).await;
    writer.record_approval(&subject, &old_digest, "alice").await.unwrap();
    let (_, new_digest) = planned(&writer, &subject, Change::Apply).await;
    assert_ne!(old_digest, new_digest, "the same input, another plan");
    assert_eq!(writer.record_approval(&subject, &old_digest, "alice").await.unwrap(), ApprovalTaken::Stale);
    let apply = apply_of(&subject, old, &old_digest, Approval::Person);
    assert_eq!(writer.create_apply_run(apply).await.unwrap(), ApplyRun::Superseded);
    planned(&writer, &subject, Change::Destroy).await;
    assert_eq!(writer.record_approval(&subject, &new_digest, "alice").await.unwrap(), ApprovalTaken::Recorded);
}

#[tokio::test]
async fn another_deployment_cannot_use_the_plan_or_its_approval() {
    let world = World::new().await;
    let (writer, subject, thief) = (world.writer().await, world.subject("acme"), world.subject("acme"));
    let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
    writer.record_approval(&subject, &digest, "alice").await.unwrap();
    assert_eq!(writer.record_approval(&thief, &digest, "alice").await.unwrap(), ApprovalTaken::Stale);
    for approval in [Approval::Person, Approval::Automatic] {
        let apply = apply_of(&thief, plan, &digest, approval);
        assert_eq!(writer.create_apply_run(apply).await.unwrap(), ApplyRun::Superseded);
    }
}

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
async fn a_result_after_the_run_was_given_up_is_recorded_and_changes_nothing() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = applying(&writer, &subject).await;
    let event = |what, id: Option<&str>| ResourceEvent {
        address: "t.a".into(),
        resource_type: "t".into(),
        provider: None,
        id: id.map(Into::into),
        what,
    };
    let events = [event(ResourceAction::CreateStarted, None), event(ResourceAction::Created, Some("i-1"))];
    for _ in 0..2 {
        assert_eq!(writer.put_resources(id, 0, &events).await.unwrap(), Ok(()));
    }
    assert!(interrupt(&writer, id).await.unwrap());
    assert!(!interrupt(&writer, id).await.unwrap());
    for _ in 0..2 {
        assert_eq!(writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap(), Ok(Finish::Late));
    }
    let run = writer.run(id).await.unwrap().unwrap();
    assert_eq!((run.phase, run.reason), (RunPhase::Interrupted, Some(Reason::Interrupted)));
    let outcome: String =
        sqlx::query_scalar("SELECT outcome FROM intents").fetch_one(world.ledger.pool()).await.unwrap();
    assert_eq!(outcome, "Done", "its own runner told it, if late");
    let left = world.ledger.inventory(subject.uid).await.unwrap();
    assert_eq!((left.len(), left[0].id.as_deref(), left[0].standing), (1, Some("i-1"), Standing::Leftover));
    let seen = actions(&world).await;
    assert_eq!(seen.iter().filter(|a| *a == "run.late-result").count(), 1, "{seen:?}");
    assert_eq!(writer.put_resources(id, 2, &events).await.unwrap(), Err(Refusal::Ended));
}

/// What an auditor is told of intents without a known end: the deployment's name and the outcome.
async fn unknown(world: &World) -> Vec<String> {
    sqlx::query_scalar("SELECT o.name FROM intents i JOIN intent_objects o USING (intent_id) WHERE i.outcome IS NULL OR i.outcome = 'Unknown' ORDER BY i.created_at")
        .fetch_all(world.ledger.pool())
        .await
        .unwrap()
}

pub(crate) const NO_CHANGES: &str = r#"{"format_version":"1.2","resource_changes":[]}"#;

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_the_next_plan_that_finds_nothing_to_change() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let other = Subject { name: "other".into(), ..world.subject("acme") };
    for subject in [&subject, &other] {
        let id = applying(&writer, subject).await;
        assert!(interrupt(&writer, id).await.unwrap());
    }
    planned(&writer, &subject, Change::Apply).await;
    assert_eq!(unknown(&world).await, ["web", "other"], "a plan that would change something says nothing");
    let found = plan_of(&writer, &subject, Change::Apply, NO_CHANGES).await;
    assert_eq!(unknown(&world).await, ["other"]);
    let (outcome, by): (String, String) =
        sqlx::query_as("SELECT outcome, outcome_details ->> 'run' FROM intents WHERE outcome = 'Settled'")
            .fetch_one(world.ledger.pool())
            .await
            .unwrap();
    assert_eq!((outcome.as_str(), by), ("Settled", found.0.to_string()));
    let told: serde_json::Value = sqlx::query_scalar(
        "SELECT details FROM activity_log WHERE action = 'intent.concluded' AND object_name = 'web' ORDER BY seq DESC LIMIT 1",
    )
    .fetch_one(world.ledger.pool())
    .await
    .unwrap();
    assert_eq!((&told["outcome"], &told["details"]["run"]), (&json!("Settled"), &json!(found.0)), "{told}");
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_the_next_apply_that_succeeds() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let dead = applying(&writer, &subject).await;
    assert!(interrupt(&writer, dead).await.unwrap());
    let failed = approved(&writer, &subject).await;
    writer.finish(failed, &result(RunPhase::Failed)).await.unwrap().unwrap();
    assert_eq!(unknown(&world).await, ["web"], "an apply that failed says nothing");
    let id = approved(&writer, &subject).await;
    writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    assert!(unknown(&world).await.is_empty());
    // What is settled stays so, whatever the dead run's runner tells afterwards.
    assert_eq!(writer.finish(dead, &result(RunPhase::Failed)).await.unwrap(), Ok(Finish::Late));
    let outcomes: Vec<String> = sqlx::query_scalar("SELECT outcome FROM intents ORDER BY created_at")
        .fetch_all(world.ledger.pool())
        .await
        .unwrap();
    assert_eq!(outcomes, ["Settled", "Failed", "Done"]);
}

#[tokio::test]
async fn an_apply_whose_cancel_was_acknowledged_does_not_begin() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
    let new = apply_of(&subject, plan, &digest, Approval::Automatic);
    let id = new.id;
    writer.create_apply_run(new).await.unwrap();
    writer.claim(id, &holder(2)).await.unwrap().unwrap();
    enter(&writer, id, RunPhase::Init).await;
    assert!(writer.request_cancel(id, &Actor::User("alice".into())).await.unwrap());
    let progress = Progress { phase: RunPhase::Apply };
    assert_eq!(writer.set_phase(id, &progress).await.unwrap(), Err(Refusal::Cancelled));
    assert_eq!(writer.run(id).await.unwrap().unwrap().applying_at, None);
    writer.finish(id, &result(RunPhase::Cancelled)).await.unwrap().unwrap();
    assert!(unknown(&world).await.is_empty());
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

/// A run of a deployment of its own. Twenty who ask at once may find no connection for a while.
async fn begun(writer: &Writer, subject: &Subject, room: Room) -> PlanRun {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match try_begin(writer, subject, room).await {
            Err(Error::Ledger(_)) if std::time::Instant::now() < end => {}
            other => return other.unwrap(),
        }
    }
}

async fn try_begin(writer: &Writer, subject: &Subject, room: Room) -> Result<PlanRun, Error> {
    writer.create_plan_run(NewPlanRun { room, ..plan_run(subject, Change::Apply, "s") }).await
}

#[tokio::test]
async fn of_many_who_begin_at_once_no_more_do_than_there_are_places() {
    let world = World::new().await;
    let writer = world.writer().await;
    let room = Room::of(4);
    let subjects: Vec<_> = (0..20).map(|n| world.subject(&format!("org-{n}"))).collect();
    let results = futures::future::join_all(subjects.iter().map(|s| begun(&writer, s, room))).await;
    assert_eq!(results.iter().filter(|r| **r == PlanRun::Created).count(), 4, "{results:?}");
    let full = |r: &&PlanRun| matches!(r, PlanRun::Hindered(Obstacle::NoPlace { limit: Limit::Runs, .. }));
    assert_eq!(results.iter().filter(full).count(), 16, "{results:?}");
    // An apply needs a place, too.
    let active = world.ledger.active_runs(world.cluster).await.unwrap();
    let (first, rest) = active.split_first().unwrap();
    interrupt(&writer, first.id).await.unwrap();
    let (plan, digest) = planned(&writer, &first.subject, Change::Apply).await;
    let apply =
        || NewApplyRun { room: Room::of(rest.len()), ..apply_of(&first.subject, plan, &digest, Approval::Automatic) };
    let hindered = writer.create_apply_run(apply()).await.unwrap();
    assert!(matches!(hindered, ApplyRun::Hindered(Obstacle::NoPlace { limit: Limit::Runs, .. })), "{hindered:?}");
    interrupt(&writer, rest[0].id).await.unwrap();
    assert_eq!(writer.create_apply_run(apply()).await.unwrap(), ApplyRun::Created);
}

#[tokio::test]
async fn of_many_who_begin_at_once_only_one_organization_may_where_it_must_be_one() {
    let world = World::new().await;
    let writer = world.writer().await;
    let room = Room { one_organization: true, ..Room::of(100) };
    let subjects: Vec<_> = (0..20).map(|n| world.subject(&format!("org-{}", n % 2))).collect();
    let results = futures::future::join_all(subjects.iter().map(|s| begun(&writer, s, room))).await;
    let created = results.iter().filter(|r| **r == PlanRun::Created).count();
    assert_eq!(created, 10, "{results:?}");
    let active = world.ledger.active_runs(world.cluster).await.unwrap();
    assert!(active.iter().all(|run| run.subject.organization == active[0].subject.organization));
    let refused = PlanRun::Hindered(Obstacle::Others(Others { deployments: 0, organizations: 1 }));
    assert_eq!(results.iter().filter(|r| **r == refused).count(), 10, "{results:?}");
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

#[tokio::test]
async fn a_plan_that_may_no_longer_be_applied_is_marked_so_that_another_one_follows() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let (old, digest) = planned(&writer, &subject, Change::Apply).await;
    planned(&writer, &subject, Change::Apply).await;
    for _ in 0..2 {
        let apply = apply_of(&subject, old, &digest, Approval::Automatic);
        assert_eq!(writer.create_apply_run(apply).await.unwrap(), ApplyRun::Superseded);
    }
    let run = writer.run(old).await.unwrap().unwrap();
    assert_eq!((run.phase, run.reason), (RunPhase::Succeeded, Some(Reason::StalePlan)));
    let seen = actions(&world).await;
    assert_eq!(seen.iter().filter(|a| *a == "plan.superseded").count(), 1, "{seen:?}");
}

#[tokio::test]
async fn a_run_does_not_begin_while_the_state_stands_under_another_organization() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = applying(&writer, &subject).await;
    writer.lock(id, &json!({"ID": "l"})).await.unwrap().unwrap();
    writer.put_state(id, Some("l"), crate::states::state(1, "lineage", 1).as_bytes()).await.unwrap().unwrap();
    writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    let moved = Subject { organization: Organization("newcorp".into()), ..subject.clone() };
    let elsewhere = PlanRun::Hindered(Obstacle::StateElsewhere(subject.organization.clone()));
    let room = Room::of(100);
    assert_eq!(begun(&writer, &moved, room).await, elsewhere);
    assert_eq!(world.ledger.state_elsewhere(&moved).await.unwrap(), Some(subject.organization.clone()));
    let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
    let apply = apply_of(&moved, plan, &digest, Approval::Automatic);
    assert_eq!(writer.create_apply_run(apply).await.unwrap(), ApplyRun::Superseded, "nor with the plan made there");
}

#[tokio::test]
async fn an_id_that_is_a_secret_is_not_in_the_inventory() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = applying(&writer, &subject).await;
    writer.lock(id, &json!({"ID": "l"})).await.unwrap().unwrap();
    let bytes = crate::states::state(1, "a", 1)
        .replace("\"id\":\"0\"", "\"id\":\"key-s3cret\"")
        .replace("\"index_key\":0", "\"index_key\":\"s3cret\"");
    writer.put_state(id, Some("l"), bytes.as_bytes()).await.unwrap().unwrap();
    writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    let found = &writer.inventory(subject.uid).await.unwrap()[0];
    assert_eq!((found.address.as_str(), found.id.as_deref()), ("t.a[\"«redacted»\"]", Some("key-«redacted»")));
}
