//! What users see of a step: status, conditions, Events, and how long to rest.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;

use super::act::Outcome;
use super::announce::events;
use super::decide::{Step, phase_of};
use super::history::LastApplied;
use super::observe::{Observed, REFUSED};
use super::outputs;
use super::standing::{Standing, Wait};
use crate::api::{
    ApprovalStatus, Change, DeploymentPhase, PlanStatus, Reason, RunStatus, StateStatus, TerraformDeployment,
    TerraformDeploymentStatus,
};
use crate::ledger::runs::Run;
use crate::reconcile::{Next, Report, commands, conditions};
use crate::run::protocol::{RunKind, RunPhase};
use crate::{Class, Error};

/// How soon a runner that was not started is started again.
const AGAIN: Duration = Duration::from_secs(15);

/// The report of a step.
pub(super) fn report(
    object: &TerraformDeployment,
    seen: &Observed,
    step: &Step,
    outcome: Result<&Outcome, &Error>,
    now: Timestamp,
) -> Report {
    if matches!(outcome, Ok(Outcome::Released)) {
        return Report::silent(Next::AwaitChange);
    }
    let mut status = facts(object, seen);
    let phase = match outcome {
        Err(error) => phase_after(step, error),
        Ok(Outcome::Hindered(standing, _)) => standing.phase,
        Ok(_) => phase_of(step),
    };
    status.phase = phase.or(status.phase).or(Some(DeploymentPhase::Pending));
    let standing = match (step, outcome) {
        (_, Err(error)) if error.is_fleeting() => None,
        (_, Err(error)) => Some(failing(error)),
        (_, Ok(Outcome::Hindered(standing, _))) => Some(standing.clone()),
        (Step::Rest(standing) | Step::Stop { standing, .. }, _) => Some(standing.clone()),
        (Step::Plan { .. } | Step::Apply { .. }, _) => Some(Standing::starting()),
        _ => None,
    };
    if let Some(standing) = &standing {
        status.observed_generation = object.metadata.generation;
        judge(object, seen, &mut status, standing, now);
    }
    let next = match (&standing, outcome) {
        // Room in a quota tells nobody.
        (_, Err(error)) if error.reason() == Reason::RunnerNotStarted => Next::After(AGAIN),
        (_, Err(error)) if error.class() != Class::Terminal => Next::Backoff,
        (Some(_), Err(_)) => Next::After(Duration::from_secs(600)),
        (Some(standing), Ok(_)) => match standing.wait {
            Wait::AtMost(rest) => Next::After(Duration::try_from(rest).unwrap_or(Duration::from_secs(600))),
            Wait::Turn => Next::After(net(object.metadata.uid.as_deref().unwrap_or_default())),
        },
        (None, _) => Next::Now,
    };
    let events = events(object.status.as_ref(), &status, standing.as_ref(), &seen.history);
    let report = events.into_iter().fold(Report::new(&status, next), Report::announce);
    match outcome {
        Ok(Outcome::Told(event)) => report.announce(event.clone()),
        Ok(Outcome::Done | Outcome::Released | Outcome::Rested | Outcome::Hindered(..)) | Err(_) => report,
    }
}

/// How long one that waits for its turn rests, should nobody call it: 30 to 45 s, by the object's uid, so that those that wait
/// do not look together.
fn net(uid: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    Duration::from_secs(30) + Duration::from_millis(hasher.finish() % 15_000)
}

/// The report where looking failed: what was known stays, and `Ready` says why if it is more than a mishap of the API server.
pub(super) fn unobserved(object: &TerraformDeployment, error: &Error, now: Timestamp) -> Report {
    let mut status = object.status.clone().unwrap_or_default();
    if error.is_fleeting() {
        return Report::new(&status, Next::Backoff);
    }
    let generation = object.metadata.generation;
    conditions::set(&mut status.conditions, "Ready", false, error.reason(), error.to_string(), generation, now);
    Report::new(&status, Next::Backoff)
}

fn failing(error: &Error) -> Standing {
    Standing::blocked(error.reason(), error.to_string())
}

/// The phase where a step was not done. What may pass by itself changes nothing.
fn phase_after(step: &Step, error: &Error) -> Option<DeploymentPhase> {
    match step {
        _ if error.class() == Class::Transient => None,
        Step::Plan { .. } => Some(DeploymentPhase::Pending),
        Step::Apply { .. } => Some(DeploymentPhase::AwaitingApproval),
        _ => None,
    }
}

/// Everything in status that only retells what the ledger knows.
fn facts(object: &TerraformDeployment, seen: &Observed) -> TerraformDeploymentStatus {
    let mut status = object.status.clone().unwrap_or_default();
    status.last_handled = commands::handled(&seen.taken);
    status.last_handled.retain(|word, _| word != REFUSED || seen.refused_approval().is_some());
    if seen.elsewhere.is_some() {
        // The rest stays as it was under the other organization.
        return status;
    }
    let plan = seen.history.newest_plan(super::wanted_change(object));
    status.plan = plan.and_then(plan_status);
    status.last_run = seen.history.0.first().map(run_status);
    // What was acknowledged stays as the evidence for as long as the ledger is behind it.
    if seen.regressed.is_none() {
        status.state = seen.state.as_ref().map(|s| StateStatus {
            serial: s.serial,
            lineage: s.lineage.clone(),
            sha256: s.sha256.clone(),
            resources: s.resources,
        });
    }
    // One of an older plan says nothing of this one.
    status.approval = seen.approval.as_ref().zip(plan).map(|(approval, plan)| ApprovalStatus {
        digest: plan.digest.clone().unwrap_or_default(),
        by: approval.by.clone(),
        at: format!("{:.0}", approval.at),
        run_id: approval.consumed_by.map(|run| run.to_string()),
    });
    if seen.history.active().is_none() && !super::is_retained(object) {
        status.outputs = outputs::for_status(&seen.values);
    }
    status
}

fn plan_status(plan: &Run) -> Option<PlanStatus> {
    Some(PlanStatus {
        digest: plan.digest.clone()?,
        run_id: plan.id.to_string(),
        created_at: format!("{:.0}", plan.created_at),
        kind: plan.change,
        summary: plan.summary.clone().unwrap_or_default(),
    })
}

fn run_status(run: &Run) -> RunStatus {
    let kind = match (run.kind, run.change) {
        (RunKind::Plan, _) => "Plan",
        (RunKind::Apply, Change::Apply) => "Apply",
        (RunKind::Apply, Change::Destroy) => "Destroy",
    };
    let phase = match run.phase {
        RunPhase::Pending => "Pending",
        RunPhase::Claimed | RunPhase::Init | RunPhase::Plan | RunPhase::Apply | RunPhase::Finishing => "Running",
        RunPhase::Succeeded => "Succeeded",
        RunPhase::Failed => "Failed",
        RunPhase::Cancelled => "Cancelled",
        RunPhase::Interrupted => "Interrupted",
    };
    RunStatus {
        id: run.id.to_string(),
        kind: kind.to_owned(),
        phase: phase.to_owned(),
        started_at: run.started_at.map(|t| format!("{t:.0}")),
        finished_at: run.finished_at.map(|t| format!("{t:.0}")),
        exit_code: run.exit_code,
    }
}

fn judge(
    object: &TerraformDeployment,
    seen: &Observed,
    status: &mut TerraformDeploymentStatus,
    standing: &Standing,
    now: Timestamp,
) {
    let generation = object.metadata.generation;
    let list = &mut status.conditions;
    let mut set = |kind: &str, truth: bool, reason: Reason, message: &str| {
        conditions::set(list, kind, truth, reason, message, generation, now);
    };
    set("Ready", standing.ready, standing.reason, &standing.message);
    if let Some(plan) = seen.history.newest_plan(super::wanted_change(object)) {
        let current = plan.generation == generation.unwrap_or_default();
        let (counts, run, of) = (super::standing::counts(plan), plan.id, plan.generation);
        if current {
            set("Planned", true, Reason::Planned, &format!("{counts}; by run {run}"));
        } else {
            let message = format!("run {run} planned generation {of} of the spec; Ready says when a new plan comes");
            set("Planned", false, standing.reason, &message);
        }
    }
    match seen.history.last_applied(seen.past.needs_a_person) {
        Some(LastApplied::Run(run)) => {
            let done = run.phase == RunPhase::Succeeded;
            let reason = if done { Reason::Applied } else { super::standing::failure_reason(run) };
            set("Applied", done, reason, &super::standing::ended(run));
        }
        Some(LastApplied::InOrder(plan)) => {
            let message = format!("plan run {} found nothing left to change", plan.id);
            set("Applied", true, Reason::NoChanges, &message);
        }
        None => {}
    }
    let asked = standing.action_required;
    if asked {
        set("ActionRequired", true, standing.reason, &standing.message);
    }
    if standing.working {
        set("Reconciling", true, standing.reason, &standing.message);
    }
    let stalled = !standing.ready && matches!(standing.reason.class(), Class::Terminal)
        || standing.reason == Reason::RetriesExhausted;
    if stalled {
        set("Stalled", true, standing.reason, &standing.message);
    }
    for (kind, present) in [("ActionRequired", asked), ("Reconciling", standing.working), ("Stalled", stalled)] {
        if !present {
            conditions::clear(&mut status.conditions, kind);
        }
    }
}
