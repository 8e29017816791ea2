//! The decisions of a deployment, each as a sentence; here is the world in which they are taken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::act::Outcome;
use super::decide::{Step, Untaken, decide, pause};
use super::history::History;
use super::inputs::Inputs;
use super::observe::{FoundState, Observed, Ownership};
use super::outputs::Outputs;
use super::report::report;
use super::standing::Wait;
use super::turns::{Candidate, Rank, Turn};
use crate::api::Organization;
use crate::api::{
    ApprovalMode, Change, DeletionPolicy, DeploymentPhase, EngineKind, FINALIZER, Guardrails, PlanSummary, Reason,
    TerraformDeployment,
};
use crate::ledger::runs::{Limit, Others, Past, Run, UnderWay};
use crate::ledger::states::StateHead;
use crate::ledger::{ApprovalRow, Taken};
use crate::ledger::{ObjectKind, Subject};
use crate::reconcile::Report;
use crate::reconcile::commands::{Command, Refusal, Verb};
use crate::run::protocol::{Limits, RunKind, RunPhase};
use crate::terraform::executor::{Liveness, Placement};

mod endings;
mod failures;
mod gate;
mod placed;
mod running;
mod seen;
mod strange;
mod way;

const GENERATION: i64 = 3;
const ALIVE: Liveness = Liveness::Alive { holds: false };
const LIMITS: Limits = Limits { init: 300, plan: 600, apply: 3600, grace: 300 };

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn ago(minutes: i64) -> Timestamp {
    now() - SignedDuration::from_mins(minutes)
}

fn object() -> TerraformDeployment {
    let mut object: TerraformDeployment = serde_json::from_value(json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "TerraformDeployment",
        "metadata": {"name": "web", "namespace": "team-a", "generation": GENERATION},
        "spec": {"source": {"inline": {"main.tf": ""}}},
    }))
    .unwrap();
    object.metadata.finalizers = Some(vec![FINALIZER.into()]);
    object
}

/// Its outputs go to a Secret.
fn publishing(mut object: TerraformDeployment) -> TerraformDeployment {
    object.spec.outputs = Some(serde_json::from_value(json!({"secretName": "theirs"})).unwrap());
    object
}

fn leaving(policy: DeletionPolicy) -> TerraformDeployment {
    let mut object = object();
    object.metadata.deletion_timestamp = Some(Time(now()));
    object.spec.deletion_policy = policy;
    object
}

fn subject() -> Subject {
    Subject {
        organization: Organization("acme".into()),
        cluster: Uuid::nil(),
        kind: ObjectKind::TerraformDeployment,
        uid: Uuid::nil(),
        namespace: "team-a".into(),
        name: "web".into(),
    }
}

fn run(kind: RunKind, phase: RunPhase, minutes_ago: i64) -> Run {
    Run {
        id: Uuid::now_v7(),
        subject: subject(),
        kind,
        change: Change::Apply,
        phase,
        generation: GENERATION,
        attempt: 0,
        plan: None,
        digest: None,
        facts: json!({"inputDigest": "same"}),
        summary: None,
        has_changes: None,
        state_serial: None,
        state_lineage: None,
        intent: None,
        holder: None,
        engine: EngineKind::OpenTofu,
        engine_version: None,
        handed_over: 0,
        limits: LIMITS,
        cancel_requested_at: None,
        terminated_at: None,
        requested_by: (None, "controller".into()),
        created_at: ago(minutes_ago),
        started_at: None,
        phase_at: ago(minutes_ago),
        applying_at: None,
        finished_at: phase.is_final().then(|| ago(minutes_ago)),
        exit_code: None,
        reason: None,
        message: None,
        read_at: now(),
    }
}

fn plan(minutes_ago: i64) -> Run {
    let mut plan = run(RunKind::Plan, RunPhase::Succeeded, minutes_ago);
    plan.digest = Some(format!("sha256:{:064x}", plan.id.as_u128()));
    plan.summary = Some(PlanSummary { add: 2, ..PlanSummary::default() });
    plan.has_changes = Some(true);
    plan.state_serial = Some(0);
    plan
}

fn apply_of(plan: &Run, phase: RunPhase, minutes_ago: i64) -> Run {
    let mut apply = run(RunKind::Apply, phase, minutes_ago);
    apply.plan = Some(plan.id);
    apply.digest.clone_from(&plan.digest);
    apply
}

fn destroying(mut run: Run) -> Run {
    run.change = Change::Destroy;
    run
}

fn approved() -> Option<ApprovalRow> {
    Some(ApprovalRow { by: "alice".into(), at: ago(1), consumed_at: None, consumed_by: None })
}

fn state(resources: u32) -> Option<StateHead> {
    Some(StateHead {
        serial: 4,
        lineage: "l".into(),
        sha256: "s".into(),
        resources,
        run: Uuid::nil(),
        written_at: ago(5),
        holder_uid: Some(Uuid::nil()),
    })
}

fn taken(command: &str, value: &str, at: Timestamp) -> Vec<Taken> {
    vec![Taken { command: command.into(), value: value.into(), by: "alice".into(), at }]
}

/// A world in which nothing is in the way; runs newest first.
fn world(runs: Vec<Run>) -> Observed {
    Observed {
        subject: subject(),
        command: None,
        gate: None,
        history: History(runs),
        past: Past::default(),
        liveness: Liveness::Absent,
        hitch: None,
        yields: false,
        outdated: false,
        placement: Ok(Placement::default()),
        under_way: UnderWay::default(),
        candidate: Candidate { organization: subject().organization, credential: None, rank: Rank::New },
        turn: Turn::Now,
        inputs: Ok(Inputs {
            digest: "same".into(),
            spec_digest: "spec".into(),
            snapshot: Vec::new(),
            variables: [].into(),
            sensitive: [].into(),
            variables_hmac: String::new(),
            credential: None,
            engine: EngineKind::OpenTofu,
        }),
        state: None,
        former_run: None,
        found_state: None,
        regressed: None,
        leftovers: Vec::new(),
        elsewhere: None,
        others: None,
        approval: None,
        taken: Vec::new(),
        ceiling: None,
        outputs: Ownership::NotWanted,
        values: Outputs::new(),
        hidden: Vec::new(),
        former_outputs: None,
        outputs_version: None,
    }
}

/// Every place is taken.
const FULL: Turn = Turn::Later { limit: Limit::Runs, ahead: 2 };

fn next(object: &TerraformDeployment, seen: &Observed) -> Step {
    decide(object, seen)
}

/// What is told of an object that rests.
fn reported(object: &TerraformDeployment, seen: &Observed) -> Report {
    report(object, seen, &next(object, seen), Ok(&Outcome::Rested), now())
}

fn reason(step: &Step) -> Reason {
    match step {
        Step::Rest(standing) => standing.reason,
        other => panic!("rested was expected: {other:?}"),
    }
}

fn plans(step: &Step) -> bool {
    matches!(step, Step::Plan { .. })
}
