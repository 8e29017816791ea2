//! Where a deployment stands when there is nothing to do now: phase, reason, message, and how long to rest.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::overdue::{Measure, margin};
use crate::api::{ApprovalMode, Change, DeletionPolicy, DeploymentPhase, Organization, Reason};
use crate::ledger::runs::{Limit, Obstacle, Others, Run};
use crate::run::protocol::{Holder, RunKind, RunPhase};
use crate::terraform::executor::{job_name, selector};

/// How long to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until something wakes the object, and this long at most.
    AtMost(SignedDuration),
    /// Until it is called, since others hold what it needs; see [`super::queue`].
    Turn,
}

/// Where a deployment stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The phase; `None` keeps the one that was.
    pub phase: Option<DeploymentPhase>,
    /// Whether the world is what the spec says.
    pub ready: bool,
    /// Why.
    pub reason: Reason,
    /// What was found and what to do next.
    pub message: String,
    /// A person must act.
    pub action_required: bool,
    /// Work is under way.
    pub working: bool,
    /// How long to rest.
    pub wait: Wait,
}

/// How often what moves by itself is looked at, beside being woken by it.
pub(super) const GLANCE: SignedDuration = SignedDuration::from_secs(3);
/// How often one is looked at that only a person can bring on.
const SELDOM: SignedDuration = SignedDuration::from_secs(30);

/// Addresses in a message; more are counted.
const NAMED: usize = 10;

const A_WHILE: Wait = Wait::AtMost(SignedDuration::from_mins(10));

impl Standing {
    fn not_ready(phase: Option<DeploymentPhase>, reason: Reason, message: impl Into<String>, wait: Wait) -> Self {
        Self { phase, ready: false, reason, message: message.into(), action_required: false, working: false, wait }
    }

    /// Waits for something that wakes it, before its next plan.
    pub fn blocked(reason: Reason, message: impl Into<String>) -> Self {
        Self::not_ready(Some(DeploymentPhase::Pending), reason, message, A_WHILE)
    }

    /// Waits for a person.
    pub fn attention(reason: Reason, message: impl Into<String>) -> Self {
        Self { action_required: true, ..Self::blocked(reason, message) }
    }

    /// The database is behind what was acknowledged. Nothing wakes the object when it is put right.
    pub fn regressed(why: &str) -> Self {
        let wait = Wait::AtMost(SignedDuration::from_secs(30));
        Self { wait, ..Self::attention(Reason::StateRegressed, why) }
    }

    /// A plan waits, and no approval lets it pass as things stand.
    pub fn held(reason: Reason, message: impl Into<String>) -> Self {
        Self { phase: Some(DeploymentPhase::AwaitingApproval), ..Self::blocked(reason, message) }
    }

    /// Let go already; others hold the object.
    pub fn gone(policy: DeletionPolicy) -> Self {
        let phase = (policy == DeletionPolicy::Destroy).then_some(DeploymentPhase::Destroyed);
        let message = "released by Landfall; another finalizer holds the object";
        Self::not_ready(phase, Reason::Progressing, message, A_WHILE)
    }

    /// All is destroyed but what a run that died may have left. `newest`: the newest run that the namespace's organization
    /// has of it.
    pub fn leftovers(addresses: &[String], newest: Option<&Run>) -> Self {
        let more = addresses.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let named: Vec<&str> = addresses.iter().take(NAMED).map(String::as_str).collect();
        let confirm = match newest {
            Some(run) => format!("landfall.dev/retry: {}", run.id),
            None => "the label of its former organization on the namespace, and a retry there,".to_owned(),
        };
        let message = format!(
            "a run that died may have left what no state knows: {}{more}. Look for it at the provider and clean up; then \
             {confirm} lets the object go, as spec.deletionPolicy: Retain does without",
            named.join(", ")
        );
        Self { phase: Some(DeploymentPhase::Interrupted), ..Self::attention(Reason::Interrupted, message) }
    }

    /// A run is under way.
    pub fn running(run: &Run) -> Self {
        let (phase, what) = match (run.kind, run.change) {
            (RunKind::Plan, Change::Apply) => (DeploymentPhase::Planning, "plan"),
            (RunKind::Plan, Change::Destroy) => (DeploymentPhase::Planning, "destroy plan"),
            (RunKind::Apply, Change::Apply) => (DeploymentPhase::Applying, "apply"),
            (RunKind::Apply, Change::Destroy) => (DeploymentPhase::Destroying, "destroy"),
        };
        let message = format!("{what} run {} is under way ({:?})", run.id, run.phase);
        Self { working: true, ..Self::not_ready(Some(phase), Reason::Progressing, message, Wait::AtMost(GLANCE)) }
    }

    /// The runner of a run does not begin.
    pub fn not_started(run: &Run, why: &str) -> Self {
        let message = format!("run {} does not begin: {why}", run.id);
        Self { reason: Reason::RunnerNotStarted, message, ..Self::running(run) }
    }

    /// The same of an object that is deleted and still builds.
    #[must_use]
    pub fn before_deletion(self) -> Self {
        let message = format!("{}; the deletion waits for its end, and `landfall cancel` stops it", self.message);
        Self { message, ..self }
    }

    /// A run should have ended, and is being stopped.
    pub(super) fn overdue(run: &Run, measure: Measure, why: &str) -> Self {
        let what = if measure.kills() { "its processes are killed" } else { "its runner is told to stop" };
        // A pod that stays when it is to be killed is on a node that does not hear.
        let vain = (measure == Measure::KillInVain && matches!(run.holder, Some(Holder::Pod(_)))).then(|| {
            let pod = format!("`kubectl delete pod --force -l {}` in Landfall's namespace", selector(run.id));
            format!(", which its node does not hear: when that is off for certain, delete the Node, or {pod}")
        });
        let message = format!(
            "run {} ({:?}) should have ended: {why}; {what}{}",
            run.id,
            run.phase,
            vain.as_deref().unwrap_or_default()
        );
        let wait = if vain.is_some() { Wait::AtMost(SELDOM) } else { Wait::AtMost(GLANCE) };
        Self { message, wait, ..Self::running(run) }
    }

    /// An apply should have ended, and what its runner has not delivered would go with its pod.
    pub(super) fn undelivered(run: &Run, why: &str) -> Self {
        let end = match run.cancel_requested_at {
            None => "It is waited for; `landfall cancel` ends it sooner, and what it holds is lost then".to_owned(),
            Some(at) => {
                let margin = margin(run.limits).as_secs();
                format!(
                    "Its cancel was requested at {at:.0}; {margin} s later its pod is ended, and what it holds is lost"
                )
            }
        };
        let message = format!(
            "run {id} ({:?}) should have ended: {why}. Its pod may hold states that it cannot deliver: see the log of Job {} in \
             Landfall's namespace, its node, and its way to the run API. {end}",
            run.phase,
            job_name(run.id),
            id = run.id
        );
        Self { message, action_required: true, wait: Wait::AtMost(SELDOM), ..Self::running(run) }
    }

    /// A run is being started.
    pub fn starting() -> Self {
        Self {
            working: true,
            ..Self::not_ready(None, Reason::Progressing, "a run is being started", Wait::AtMost(GLANCE))
        }
    }

    /// All places for runs that it may have are taken, or others get them first; `ahead` of them, where that is known.
    pub fn queued(limit: Limit, ahead: Option<usize>) -> Self {
        let what = match limit {
            Limit::Runs => "waits for one of the installation's executor.maxRuns places",
            Limit::Organization => "waits for one of its organization's executor.maxRunsPerOrganization places",
            Limit::Credential => "waits for one of its credential's executor.maxRunsPerCredential places",
        };
        let order = match ahead {
            None => String::new(),
            Some(0) => "; it is the next".to_owned(),
            Some(1) => "; 1 goes before it".to_owned(),
            Some(ahead) => format!("; {ahead} go before it"),
        };
        let message = format!("{what}{order}");
        let phase = Some(DeploymentPhase::Pending);
        Self { working: true, ..Self::not_ready(phase, Reason::Progressing, message, Wait::Turn) }
    }

    /// A run of a former object of this name is under way.
    pub fn former(run: Uuid) -> Self {
        let message = format!(
            "run {run} of a former object of this name is under way; what it leaves is looked at when it ends, and \
             `landfall cancel --run {run}` stops it"
        );
        let phase = Some(DeploymentPhase::Pending);
        Self { working: true, ..Self::not_ready(phase, Reason::StateLocked, message, Wait::AtMost(GLANCE)) }
    }

    /// A run may not begin.
    pub fn hindered(obstacle: &Obstacle) -> Self {
        match obstacle {
            Obstacle::NoPlace { limit, .. } => Self::queued(*limit, None),
            Obstacle::Others(others) => Self::others(others),
            Obstacle::StateElsewhere(other) => Self::elsewhere(other),
        }
    }

    /// Deployments of several organizations under `local`.
    pub fn others(others: &Others) -> Self {
        let Others { deployments, organizations } = others;
        let counted = |count, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let there = counted(*deployments, "deployment");
        let of = counted(*organizations, "other organization");
        let message = format!(
            "executor.type local runs deployments of one organization only, and the ledger knows {there} of {of}; \
             remove them or install Landfall with another executor"
        );
        Self { wait: Wait::Turn, ..Self::blocked(Reason::ExecutorNotPermitted, message) }
    }

    /// The namespace went to another organization, and the state did not.
    pub fn elsewhere(other: &Organization) -> Self {
        let message = format!(
            "its state stands under organization {other}, to which the namespace belonged before; \
             label the namespace back, nothing is planned, applied or destroyed until then"
        );
        Self::attention(Reason::StateFound, message)
    }

    /// A person stopped the run.
    pub fn stopped(run: &Run) -> Self {
        let message =
            format!("run {} was cancelled; change the spec, or set landfall.dev/retry to that id, to go on", run.id);
        Self::not_ready(Some(DeploymentPhase::Cancelled), Reason::Cancelled, message, A_WHILE)
    }

    /// The run failed; another attempt is due.
    pub fn failed(run: &Run, failures: u32, due: Timestamp, rest: SignedDuration) -> Self {
        let message = format!(
            "{} (attempt {failures}; the next one at {due:.0})",
            run.message.as_deref().unwrap_or("no message")
        );
        Self::not_ready(Some(DeploymentPhase::Failed), failure_reason(run), message, Wait::AtMost(rest))
    }

    /// The module itself is wrong: the same again would fail the same.
    pub fn unfit(run: &Run) -> Self {
        let message = format!(
            "{} (no retry mends this: a new plan comes when the spec, or a ConfigMap or Secret that it names, changes, or \
             by landfall.dev/retry: {})",
            run.message.as_deref().unwrap_or("the module is not valid"),
            run.id
        );
        Self { phase: Some(DeploymentPhase::Failed), ..Self::attention(failure_reason(run), message) }
    }

    /// No more attempts.
    pub fn exhausted(run: &Run, failures: u32) -> Self {
        let message = format!(
            "{failures} attempts failed; mend the cause, then set landfall.dev/retry to {} or change the spec. The last one: {}: {}",
            run.id,
            failure_reason(run),
            run.message.as_deref().unwrap_or("no message")
        );
        let standing = Self::not_ready(Some(DeploymentPhase::Failed), Reason::RetriesExhausted, message, A_WHILE);
        Self { action_required: true, ..standing }
    }

    /// A current plan under `PlanOnly`.
    pub fn planned(plan: &Run, look_again: SignedDuration) -> Self {
        Self {
            phase: Some(DeploymentPhase::AwaitingApproval),
            ready: true,
            reason: Reason::Planned,
            message: format!("{}; spec.approval is PlanOnly, so it is not applied", counts(plan)),
            action_required: false,
            working: false,
            wait: Wait::AtMost(look_again),
        }
    }

    /// A plan waits for a person.
    pub fn awaiting(plan: &Run, stale: Option<&str>, interrupted: bool) -> Self {
        let digest = plan.digest.as_deref().unwrap_or_default();
        let next = format!("approve it with landfall.dev/approve: {digest}, or `landfall approve`");
        let (reason, message) = match (stale, interrupted) {
            (_, true) => (
                Reason::Interrupted,
                format!(
                    "a run died in mid-apply, so this plan needs a person: {}; look at the inventory, then {next}",
                    counts(plan)
                ),
            ),
            (Some(old), false) => (
                Reason::ApprovalStale,
                format!("the approval of {old} is for another plan than the current one: {}; {next}", counts(plan)),
            ),
            (None, false) => (Reason::ApprovalRequired, format!("{}; {next}", counts(plan))),
        };
        let phase = match reason {
            Reason::Interrupted => DeploymentPhase::Interrupted,
            _ => DeploymentPhase::AwaitingApproval,
        };
        Self { action_required: true, ..Self::not_ready(Some(phase), reason, message, A_WHILE) }
    }

    /// The world is right, but not all that the spec asks for beside it.
    pub fn unfinished(applied: Option<&Run>, reason: Reason, message: impl Into<String>) -> Self {
        let phase = if applied.is_some() { DeploymentPhase::Applied } else { DeploymentPhase::NoChanges };
        Self { phase: Some(phase), ..Self::blocked(reason, message) }
    }

    /// The world is what the spec says.
    pub fn settled(plan: &Run, applied: Option<&Run>, mode: ApprovalMode, look_again: SignedDuration) -> Self {
        let (phase, reason, message) = match applied {
            Some(run) => (DeploymentPhase::Applied, Reason::Applied, format!("{} by run {}", counts(plan), run.id)),
            None if mode == ApprovalMode::PlanOnly => {
                (DeploymentPhase::NoChanges, Reason::Planned, "the plan found nothing to change".to_owned())
            }
            None => (DeploymentPhase::NoChanges, Reason::NoChanges, "the plan found nothing to change".to_owned()),
        };
        Self {
            phase: Some(phase),
            ready: true,
            reason,
            message,
            action_required: false,
            working: false,
            wait: Wait::AtMost(look_again),
        }
    }
}

/// The reason that a run gave, else the one of its kind.
pub(super) fn failure_reason(run: &Run) -> Reason {
    run.reason.unwrap_or(match (run.phase, run.kind, run.change) {
        (RunPhase::Interrupted, _, _) => Reason::Interrupted,
        (_, RunKind::Plan, _) => Reason::PlanFailed,
        (_, RunKind::Apply, Change::Apply) => Reason::ApplyFailed,
        (_, RunKind::Apply, Change::Destroy) => Reason::DestroyFailed,
    })
}

/// How a run ended, and what comes next.
pub(super) fn ended(run: &Run) -> String {
    let what = match (run.kind, run.change) {
        (RunKind::Plan, _) => "plan",
        (RunKind::Apply, Change::Apply) => "apply",
        (RunKind::Apply, Change::Destroy) => "destroy",
    };
    let said = run.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let (how, next) = match (run.phase, run.kind) {
        (RunPhase::Succeeded, _) => ("succeeded", ""),
        (RunPhase::Cancelled, _) => ("was cancelled", "; landfall.dev/retry or a new spec goes on"),
        (RunPhase::Interrupted, RunKind::Plan) => ("died", "; a new one follows"),
        (RunPhase::Interrupted, RunKind::Apply) => {
            ("died", "; what is known of it is in the state and in the inventory, and the next plan needs a person")
        }
        _ => ("failed", "; Ready says what comes next"),
    };
    format!("{what} run {} {how}{said}{next}", run.id)
}

/// What a plan does, in counts.
pub(super) fn counts(plan: &Run) -> String {
    let what = if plan.change == Change::Destroy { "destroy plan: " } else { "" };
    format!("{what}{}", plan.summary.clone().unwrap_or_default())
}
