//! What a deployment does next. Reads as its documentation: endings, commands, the run under way, what is missing,
//! then towards the module: plan, gate, apply, outputs.

use jiff::SignedDuration;
use uuid::Uuid;

use super::history::{Current, Progress};
use super::inputs;
use super::observe::{Observed, Ownership};
use super::overdue::{self, Measure, Overdue};
use super::standing::Standing;
use super::turns::Turn;
use crate::api::{ApprovalMode, Change, DeletionPolicy, DeploymentPhase, Reason, TerraformDeployment};
use crate::ledger::runs::Run;
use crate::reconcile::commands::{Command, Refusal, Verb};
use crate::reconcile::finalizer;
use crate::run::plan::guardrail;
use crate::run::protocol::{RunKind, RunPhase};
use crate::terraform::executor::{Liveness, NOT_STARTED};

/// A waiting plan older than this is made anew.
pub(super) const PLAN_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// A run that no runner has claimed for so long is given up.
pub(super) const CLAIM_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// A plan that has not begun for so long gives its place to others that wait for one. An apply keeps its own: its approval would go.
const YIELDS: SignedDuration = SignedDuration::from_mins(2);
/// So often in a row at most.
const YIELDED: u32 = 20;
/// A run is handed to so many runners at most.
const HAND_OVERS: i32 = 3;
/// How often a settled deployment looks again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// No pause is longer, seconds; `maxBackoff` may say so.
const LONGEST_PAUSE: u64 = 30 * 24 * 3600;

/// Why a run that no runner has taken is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untaken {
    /// All runners that it was handed to ended first: a wrong program, an engine that is not there.
    Refused,
    /// The spec names another service account than the plan's by now.
    Misplaced,
    /// Its pod does not begin, and others wait for its place.
    Yielded,
    /// Its object is deleted.
    Deleted,
}

/// One step, with at most one effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Move a command from its annotations to the ledger.
    Take(Command),
    /// Take a command away that is not to be obeyed.
    Discard {
        /// The command.
        command: Command,
        /// Why not.
        why: Refusal,
    },
    /// Make a plan.
    Plan {
        /// Build or destroy.
        change: Change,
        /// Number of this attempt since the last success or change, from 0.
        attempt: i32,
    },
    /// Apply the plan that this run made.
    Apply {
        /// The plan's run.
        plan: Uuid,
        /// Build or destroy.
        change: Change,
        /// Who approved; `None` under `Automatic`.
        approved_by: Option<String>,
    },
    /// Hand a committed run to the executor.
    Start(Uuid),
    /// End a run that no runner has taken.
    GiveUp(Uuid, Untaken),
    /// Take in what a dead run left behind, then give it up.
    Recover(Uuid),
    /// End a run that should have ended by itself.
    Stop {
        /// The run.
        run: Uuid,
        /// Not by telling its runner, which did not help, but by killing its processes.
        kill: bool,
        /// What it has exceeded.
        standing: Standing,
    },
    /// Write the outputs' Secret.
    PublishOutputs,
    /// Delete the Secret that has outputs and that the spec does not name any more.
    RemoveOutputs(String),
    /// Let the object go.
    Release,
    /// Nothing to do now.
    Rest(Standing),
}

/// Decides the next step.
pub(super) fn decide(object: &TerraformDeployment, seen: &Observed) -> Step {
    let deleting = object.metadata.deletion_timestamp.is_some();
    if deleting && !finalizer::is_set(object) {
        return Step::Rest(Standing::gone(object.spec.deletion_policy));
    }
    match (&seen.command, &seen.gate) {
        (Some(command), None) => return obey(command, object, seen),
        (Some(command), Some(why)) => {
            return Step::Discard { command: command.clone(), why: Refusal::Gate(why.clone()) };
        }
        (None, _) => {}
    }
    if let Some(run) = seen.history.active() {
        // What builds is not wanted any more. What destroys is what the deletion waits for.
        let retained = object.spec.deletion_policy == DeletionPolicy::Retain;
        let unwanted = deleting && (run.change == Change::Apply || retained);
        return match under_way(run, object, seen) {
            _ if unwanted && run.phase == RunPhase::Pending => Step::GiveUp(run.id, Untaken::Deleted),
            Step::Rest(standing) if unwanted => Step::Rest(standing.before_deletion()),
            step => step,
        };
    }
    if deleting {
        return ending(object, seen);
    }
    match seen.former_run {
        Some((run, Liveness::Absent)) => return Step::Recover(run),
        Some((run, _)) => return Step::Rest(Standing::former(run)),
        None => {}
    }
    match hindrance(object, seen) {
        Some(standing) => Step::Rest(standing),
        None => towards(Change::Apply, object, seen),
    }
}

/// An approval of what is not applied, whoever approves it, is none: no approval lies ready for the day when a limit is raised.
fn obey(command: &Command, object: &TerraformDeployment, seen: &Observed) -> Step {
    let change = super::wanted_change(object);
    let breached = || {
        let plan = seen.history.newest_plan(change).filter(|_| seen.history.waits(change))?;
        breach(change, object, seen, plan).filter(|_| plan.digest.as_deref() == Some(&command.value))
    };
    let pointless = match command.verb {
        Verb::Approve => object.never_applied().map(str::to_owned).or_else(breached),
        _ => None,
    };
    let command = command.clone();
    match pointless {
        Some(why) => Step::Discard { command, why: Refusal::Pointless(why) },
        None => Step::Take(command),
    }
}

fn under_way(run: &Run, object: &TerraformDeployment, seen: &Observed) -> Step {
    let waited = run.read_at.duration_since(run.created_at);
    match (run.phase, seen.liveness) {
        // It was committed for the organization that the namespace was of then.
        (RunPhase::Pending, Liveness::Absent) if run.subject.organization != seen.subject.organization => {
            Step::Recover(run.id)
        }
        (RunPhase::Pending, _) if run.kind == RunKind::Plan && waited > YIELDS && seen.yields => {
            Step::GiveUp(run.id, Untaken::Yielded)
        }
        (RunPhase::Pending, Liveness::Absent) if waited > CLAIM_LIFE => Step::Recover(run.id),
        (RunPhase::Pending, Liveness::Absent) if run.handed_over >= HAND_OVERS => {
            Step::GiveUp(run.id, Untaken::Refused)
        }
        (RunPhase::Pending, Liveness::Absent) => begin(run, object, seen),
        (_, Liveness::Absent) => Step::Recover(run.id),
        _ => match overdue::overdue(run, seen.liveness) {
            Some(Overdue { measure: Measure::Wait, why }) => Step::Rest(Standing::undelivered(run, &why)),
            Some(Overdue { measure, why }) => {
                let why = [Some(why), seen.hitch.clone()].into_iter().flatten().collect::<Vec<_>>().join("; ");
                let standing = Standing::overdue(run, measure, &why);
                Step::Stop { run: run.id, kill: measure.kills(), standing }
            }
            None if seen.outdated => begin(run, object, seen),
            None => Step::Rest(match &seen.hitch {
                Some(why) => Standing::not_started(run, &format!("{why}{NOT_STARTED}")),
                None => Standing::running(run),
            }),
        },
    }
}

/// A run that no runner has taken. An account is a matter of the plan; how else its pod stands may have been mended since.
fn begin(run: &Run, object: &TerraformDeployment, seen: &Observed) -> Step {
    if seen.history.service_account(run) != inputs::service_account(object) {
        return Step::GiveUp(run.id, Untaken::Misplaced);
    }
    match &seen.placement {
        Ok(_) => Step::Start(run.id),
        Err((reason, message)) => Step::Rest(Standing { reason: *reason, ..Standing::not_started(run, message) }),
    }
}

fn ending(object: &TerraformDeployment, seen: &Observed) -> Step {
    // A state that another object left is not ours to destroy; with none at all, an apply of ours may still have built.
    let nothing_left = match &seen.state {
        Some(state) => state.resources == 0 || state.holder_uid != Some(seen.subject.uid),
        None => !seen.past.applied,
    };
    match object.spec.deletion_policy {
        DeletionPolicy::Retain => Step::Release,
        DeletionPolicy::Destroy if nothing_left && seen.regressed.is_none() && seen.elsewhere.is_none() => {
            release(object, seen)
        }
        DeletionPolicy::Destroy => match hindrance(object, seen) {
            Some(standing) => Step::Rest(standing),
            None => towards(Change::Destroy, object, seen),
        },
    }
}

/// All that the state knows is destroyed. What no state knows is for a person to look for, who says so by a retry after the
/// last run that may have left something.
fn release(object: &TerraformDeployment, seen: &Observed) -> Step {
    if seen.leftovers.is_empty() {
        return Step::Release;
    }
    let applied = seen.history.0.iter().find(|r| r.kind == RunKind::Apply).map(|r| r.phase_at);
    let since = applied.max(object.metadata.deletion_timestamp.as_ref().map(|time| time.0));
    let confirmed = seen.taken("retry").is_some_and(|(_, at)| Some(at) > since);
    if confirmed { Step::Release } else { Step::Rest(Standing::leftovers(&seen.leftovers, seen.history.0.first())) }
}

/// What must be mended before any run beside its inputs, the first of it.
fn hindrance(object: &TerraformDeployment, seen: &Observed) -> Option<Standing> {
    if object.spec.suspend {
        return Some(Standing::blocked(Reason::Suspended, "spec.suspend is true; set it to false to go on"));
    }
    if let Some(other) = &seen.elsewhere {
        return Some(Standing::elsewhere(other));
    }
    if let Some(why) = &seen.regressed {
        return Some(Standing::regressed(why));
    }
    if let Some(run) = seen.history.state_refused(seen.asked_again()) {
        let message = run.message.as_deref().unwrap_or("the ledger refused a state of the last apply");
        return Some(Standing::attention(Reason::StateRegressed, message));
    }
    if let Some(found) = &seen.found_state {
        let adopt = object.spec.state.as_ref().and_then(|s| s.adopt.as_deref());
        let wrong = adopt.map(|other| format!(", and spec.state.adopt names another, {other}")).unwrap_or_default();
        return Some(Standing::attention(
            Reason::StateFound,
            format!(
                "a state of lineage {} (serial {}) stands under this name, left by a former object{wrong}; \
                 set spec.state.adopt to that lineage to go on with it",
                found.lineage, found.serial
            ),
        ));
    }
    None
}

/// The newest run built, and its outputs' Secret is not what it left.
fn unpublished(seen: &Observed) -> bool {
    let newest = seen.history.0.first();
    let built = newest
        .is_some_and(|run| (run.kind, run.change, run.phase) == (RunKind::Apply, Change::Apply, RunPhase::Succeeded));
    built && seen.outputs == Ownership::Stale
}

fn towards(change: Change, object: &TerraformDeployment, seen: &Observed) -> Step {
    let inputs = match seen.inputs.as_ref().and_then(|inputs| seen.placement.as_ref().map(|_| inputs)) {
        Ok(inputs) => inputs,
        // What is applied is there for others, whatever the next plan lacks.
        Err(_) if change == Change::Apply && unpublished(seen) => return Step::PublishOutputs,
        Err((reason, message)) => return Step::Rest(Standing::blocked(*reason, message)),
    };
    let current = Current {
        change,
        generation: object.metadata.generation.unwrap_or_default(),
        input_digest: &inputs.digest,
        spec_digest: &inputs.spec_digest,
        serial: seen.state.as_ref().map_or(0, |s| s.serial),
        lineage: seen.state.as_ref().map(|s| s.lineage.as_str()),
        asked_again: seen.asked_again(),
    };
    match seen.history.progress(&current) {
        Progress::Nothing => plan_when_free(change, 0, object, seen),
        Progress::Stopped(run) => Step::Rest(Standing::stopped(run)),
        Progress::Failed { run, failures, yields } => again(change, object, seen, run, (failures, yields)),
        Progress::Waiting(plan) => gate(change, object, seen, plan),
        Progress::Settled { .. } if change == Change::Destroy => release(object, seen),
        Progress::Settled { plan, applied } => settled(object, seen, plan, applied),
    }
}

fn plan_when_free(change: Change, attempt: i32, object: &TerraformDeployment, seen: &Observed) -> Step {
    if let Some(why) = not_owned(change, object, seen) {
        return Step::Rest(Standing::blocked(Reason::OutputsSecretNotOwned, why));
    }
    no_room(seen).map_or(Step::Plan { change, attempt }, Step::Rest)
}

/// Why the outputs could not be published, known before anything is changed.
fn not_owned(change: Change, object: &TerraformDeployment, seen: &Observed) -> Option<String> {
    let outputs = object.spec.outputs.as_ref()?;
    let foreign = change == Change::Apply && seen.outputs == Ownership::Foreign;
    foreign.then(|| {
        let name = &outputs.secret_name;
        format!("spec.outputs.secretName: Secret {name:?} exists and is not of this object; name another or remove it")
    })
}

/// Why no run may begin, although nothing is wrong with the object. Asked last: what its own people can mend comes first.
fn no_room(seen: &Observed) -> Option<Standing> {
    match &seen.others {
        Some(others) => Some(Standing::others(others)),
        None => match seen.turn {
            Turn::Now => None,
            Turn::Later { limit, ahead } => Some(Standing::queued(limit, Some(ahead))),
        },
    }
}

fn again(
    change: Change,
    object: &TerraformDeployment,
    seen: &Observed,
    run: &Run,
    (failures, yields): (u32, u32),
) -> Step {
    if run.reason == Some(Reason::SourceInvalid) {
        return Step::Rest(Standing::unfit(run));
    }
    let attempts = failures.saturating_add(yields);
    if failures > object.spec.retry.limit || yields > YIELDED {
        return Step::Rest(Standing::exhausted(run, attempts));
    }
    let longest = object.spec.retry.max_backoff.get().map_or(3600, |d| d.as_secs());
    let now = run.read_at;
    let due = run.phase_at.saturating_add(pause(attempts, longest, run.id)).unwrap_or(now);
    if now < due {
        return Step::Rest(Standing::failed(run, attempts, due, due.duration_since(now)));
    }
    plan_when_free(change, i32::try_from(attempts).unwrap_or(i32::MAX), object, seen)
}

/// The pause after so many failures: 5 s doubled each time, up to `longest`, of which the run's id takes off up to a half,
/// so that deployments that failed together do not come back together.
pub(super) fn pause(failures: u32, longest: u64, run: Uuid) -> SignedDuration {
    let full = 5u64
        .saturating_mul(1u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX))
        .min(longest)
        .min(LONGEST_PAUSE);
    let millis = full.saturating_mul(1000);
    let spread = u64::try_from(run.as_u128() & 0xffff).unwrap_or(0);
    let off = millis / 2 * spread / 0x1_0000;
    SignedDuration::from_millis(i64::try_from(millis.saturating_sub(off)).unwrap_or(i64::MAX / 1_000_000))
}

/// Between a waiting plan and its apply.
fn gate(change: Change, object: &TerraformDeployment, seen: &Observed, plan: &Run) -> Step {
    let mode = object.spec.approval;
    if let Some(why) = not_owned(change, object, seen) {
        return Step::Rest(Standing::held(Reason::OutputsSecretNotOwned, why));
    }
    if mode == ApprovalMode::PlanOnly && change == Change::Apply {
        return Step::Rest(Standing::planned(plan, LOOK_AGAIN));
    }
    if let Some(why) = breach(change, object, seen, plan) {
        return Step::Rest(Standing { action_required: true, ..Standing::held(Reason::GuardrailBreached, why) });
    }
    let unattended = mode == ApprovalMode::Automatic && !seen.past.needs_a_person;
    if let (true, Some(why)) = (unattended, &seen.gate) {
        let message = format!("spec.approval is Automatic, and the gate that guards it is not whole: {why}");
        return Step::Rest(Standing::held(Reason::GateNotInstalled, message));
    }
    let approved_by = seen.approval.as_ref().map(|a| a.by.clone());
    if !unattended && approved_by.is_none() {
        return Step::Rest(Standing::awaiting(plan, seen.stale_approval(plan), seen.past.needs_a_person));
    }
    no_room(seen).map_or(Step::Apply { plan: plan.id, change, approved_by }, Step::Rest)
}

/// The object's own limit counts for plans that build; deleting under `Destroy` is consent to destroy all of it. The
/// installation's ceiling counts for both.
fn breach(change: Change, object: &TerraformDeployment, seen: &Observed, plan: &Run) -> Option<String> {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let none = IntOrString::Int(0);
    let own = object.spec.guardrails.as_ref().and_then(|g| g.max_destroy.as_ref());
    let own = match (change, object.spec.approval) {
        (Change::Destroy, _) => None,
        (Change::Apply, ApprovalMode::Automatic) => Some(own.unwrap_or(&none)),
        (Change::Apply, ApprovalMode::Manual | ApprovalMode::PlanOnly) => own,
    };
    let summary = plan.summary.clone().unwrap_or_default();
    let resources = seen.state.as_ref().map_or(0, |s| s.resources);
    let breach = guardrail(own, seen.ceiling.as_ref(), resources, &summary).err()?;
    Some(format!("{breach}; change the module or the limit, and a new plan follows"))
}

fn settled(object: &TerraformDeployment, seen: &Observed, plan: &Run, applied: Option<&Run>) -> Step {
    if let Some(why) = not_owned(Change::Apply, object, seen) {
        return Step::Rest(Standing::unfinished(applied, Reason::OutputsSecretNotOwned, why));
    }
    match (&seen.outputs, &seen.former_outputs) {
        (_, Some(former)) => Step::RemoveOutputs(former.clone()),
        (Ownership::Stale, None) => Step::PublishOutputs,
        (Ownership::Fresh | Ownership::NotWanted | Ownership::Foreign, None) => {
            Step::Rest(Standing::settled(plan, applied, object.spec.approval, LOOK_AGAIN))
        }
    }
}

/// Phase of the object while a step is taken.
pub(super) fn phase_of(step: &Step) -> Option<DeploymentPhase> {
    match step {
        Step::Plan { .. } => Some(DeploymentPhase::Planning),
        Step::Apply { change: Change::Apply, .. } => Some(DeploymentPhase::Applying),
        Step::Apply { change: Change::Destroy, .. } => Some(DeploymentPhase::Destroying),
        Step::Rest(standing) | Step::Stop { standing, .. } => standing.phase,
        Step::Take(_)
        | Step::Discard { .. }
        | Step::Start(_)
        | Step::GiveUp(..)
        | Step::Recover(_)
        | Step::PublishOutputs
        | Step::RemoveOutputs(_)
        | Step::Release => None,
    }
}
