//! Runs at the point where a test begins.

use landfall::Error;
use landfall::api::{Change, EngineKind, Reason};
use landfall::ledger::{
    Actor, ApplyRun, Approval, ApprovalTaken, Finish, Heard, Ledger, NewApplyRun, NewPlanRun, PlanRun, Room, Subject,
    Writer, state_key,
};
use landfall::run::protocol::{Artifact, ProcessIdentity, Progress, RunKind, RunPhase, RunResult, RunSpec, SecretText};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

pub(crate) const PLAN_JSON: &str = r#"{"format_version":"1.2","terraform_version":"1.12.6","resource_changes":[{"address":"t.a","mode":"managed","change":{"actions":["create"]}}]}"#;

pub(crate) const NO_CHANGES: &str = r#"{"format_version":"1.2","resource_changes":[]}"#;

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

pub(crate) fn facts() -> Value {
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

pub(crate) async fn actions(world: &World) -> Vec<String> {
    sqlx::query_scalar("SELECT action FROM activity_log ORDER BY seq").fetch_all(world.ledger.pool()).await.unwrap()
}
