//! What the runs so far say, newest first.

use jiff::Timestamp;
use uuid::Uuid;

use super::decide::PLAN_LIFE;
use crate::api::{Change, Organization, Reason};
use crate::ledger::runs::Run;
use crate::run::protocol::{RunKind, RunPhase};

/// Runs of one deployment, newest first.
#[derive(Clone, Debug, Default)]
pub struct History(pub Vec<Run>);

/// What a plan must match to be current.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// Build or destroy.
    pub change: Change,
    /// Generation of the object.
    pub generation: i64,
    /// Digest of all inputs.
    pub input_digest: &'a str,
    /// Digest of the spec but for how pods stand.
    pub spec_digest: &'a str,
    /// Serial of the newest state, 0 for none.
    pub serial: i64,
    /// Its lineage.
    pub lineage: Option<&'a str>,
    /// When a person last asked for a reconcile or a retry.
    pub asked_again: Option<Timestamp>,
}

/// How far the runs have come towards what is wanted now.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress<'a> {
    /// No run speaks of what is wanted now.
    Nothing,
    /// A person stopped the newest run.
    Stopped(&'a Run),
    /// The newest run failed, as did so many in a row.
    Failed {
        /// The newest.
        run: &'a Run,
        /// Failures in a row.
        failures: u32,
        /// Runs among them that gave their place to others and are no failures.
        yields: u32,
    },
    /// A current plan that has not been applied.
    Waiting(&'a Run),
    /// The world is what the plan says.
    Settled {
        /// The plan.
        plan: &'a Run,
        /// Its apply; `None` where there was nothing to change.
        applied: Option<&'a Run>,
    },
}

/// How the last apply stands now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LastApplied<'a> {
    /// As it ended.
    Run(&'a Run),
    /// It did not end well, and a later plan found the world in order.
    InOrder(&'a Run),
}

impl History {
    /// What counts towards the spec while the namespace is of this organization: its own runs, and whatever is still under
    /// way. What died is remembered elsewhere, see [`crate::ledger::runs::Past`].
    pub fn within(organization: &Organization, runs: Vec<Run>) -> Self {
        let counts = |run: &Run| !run.phase.is_final() || run.subject.organization == *organization;
        Self(runs.into_iter().filter(counts).collect())
    }

    /// The run under way.
    pub fn active(&self) -> Option<&Run> {
        self.0.iter().find(|r| !r.phase.is_final())
    }

    /// The newest plan of this change that ended well.
    pub fn newest_plan(&self, change: Change) -> Option<&Run> {
        self.0.iter().find(|r| r.kind == RunKind::Plan && r.change == change && r.phase == RunPhase::Succeeded)
    }

    /// Whether the newest run of this change is a plan that could be applied.
    pub fn waits(&self, change: Change) -> bool {
        let newest = self.0.iter().find(|r| r.change == change);
        newest.is_some_and(|r| r.kind == RunKind::Plan && r.phase == RunPhase::Succeeded && !finds_nothing(r))
    }

    /// Whether the next run is for something new: the newest of this change was for another generation, or somebody `asked`
    /// for one since, or it is a plan that waits to be applied. Else it repeats what was tried, or planned, before.
    pub fn is_new(&self, change: Change, generation: i64, asked: Option<Timestamp>) -> bool {
        let Some(newest) = self.0.iter().find(|r| r.change == change) else { return true };
        newest.generation != generation
            || asked.is_some_and(|asked| asked > newest.created_at)
            || (self.waits(change) && !is_stale(newest))
    }

    /// The apply of a plan.
    pub fn apply_of(&self, plan: Uuid) -> Option<&Run> {
        self.0.iter().find(|r| r.kind == RunKind::Apply && r.plan == Some(plan))
    }

    /// How the newest apply that is over stands now. `unsettled`: one that died has not been answered for, and no plan makes
    /// that good.
    pub fn last_applied(&self, unsettled: bool) -> Option<LastApplied<'_>> {
        let (at, run) = self.0.iter().enumerate().find(|(_, r)| r.kind == RunKind::Apply && r.phase.is_final())?;
        let later = self.0.iter().take(at).find(|r| r.change == run.change && finds_nothing(r));
        let stands = run.phase == RunPhase::Succeeded || (unsettled && run.phase == RunPhase::Interrupted);
        let in_order = later.filter(|_| !stands).map(LastApplied::InOrder);
        Some(in_order.unwrap_or(LastApplied::Run(run)))
    }

    /// The newest apply, where it left a state that the ledger refused and nobody has said since how to go on. What it
    /// built may stand in that state alone: only a person can tell what is right.
    pub fn state_refused(&self, asked_again: Option<Timestamp>) -> Option<&Run> {
        let newest = self.0.iter().find(|r| r.kind == RunKind::Apply)?;
        let refused = newest.phase == RunPhase::Interrupted && newest.reason == Some(Reason::StateRegressed);
        (refused && asked_again.is_none_or(|asked| asked <= newest.phase_at)).then_some(newest)
    }

    /// How far the runs have come.
    pub fn progress(&self, current: &Current<'_>) -> Progress<'_> {
        let Some(newest) = self.0.iter().find(|r| r.change == current.change) else { return Progress::Nothing };
        if !self.speaks_of(newest, current) {
            return Progress::Nothing;
        }
        match newest.phase {
            RunPhase::Cancelled => Progress::Stopped(newest),
            RunPhase::Failed => self.failed(newest, current),
            RunPhase::Interrupted if newest.kind == RunKind::Plan => self.failed(newest, current),
            RunPhase::Succeeded => self.succeeded(newest, current),
            RunPhase::Interrupted
            | RunPhase::Pending
            | RunPhase::Claimed
            | RunPhase::Init
            | RunPhase::Plan
            | RunPhase::Apply
            | RunPhase::Finishing => Progress::Nothing,
        }
    }

    fn succeeded<'a>(&'a self, newest: &'a Run, current: &Current<'_>) -> Progress<'a> {
        if newest.kind == RunKind::Apply {
            return match newest.plan.and_then(|id| self.plan(id)) {
                Some(plan) => Progress::Settled { plan, applied: Some(newest) },
                None => Progress::Nothing,
            };
        }
        if is_stale(newest) {
            return self.failed(newest, current);
        }
        if newest.state_serial.unwrap_or(0) != current.serial || newest.state_lineage.as_deref() != current.lineage {
            return Progress::Nothing;
        }
        if finds_nothing(newest) {
            return Progress::Settled { plan: newest, applied: None };
        }
        let age = newest.read_at.duration_since(newest.created_at);
        if age > PLAN_LIFE { Progress::Nothing } else { Progress::Waiting(newest) }
    }

    /// The service account that a run's spec named; an apply has its plan's.
    pub fn service_account(&self, run: &Run) -> Option<&str> {
        let plan = run.plan.map_or_else(|| self.plan(run.id), |plan| self.plan(plan));
        plan.and_then(|plan| fact(plan, "serviceAccount"))
    }

    fn plan(&self, id: Uuid) -> Option<&Run> {
        self.0.iter().find(|r| r.id == id)
    }

    /// Whether a run was made for what is wanted now: an apply speaks through its plan.
    fn speaks_of(&self, run: &Run, current: &Current<'_>) -> bool {
        let plan = match run.kind {
            RunKind::Plan => Some(run),
            RunKind::Apply => run.plan.and_then(|id| self.plan(id)),
        };
        let fits = plan.is_some_and(|p| {
            // How pods stand makes nothing of what was done another thing; what failed may do better with it.
            let same = p.generation == current.generation
                || (run.phase == RunPhase::Succeeded && fact(p, "specDigest") == Some(current.spec_digest));
            p.change == current.change && same && input_digest(p) == Some(current.input_digest)
        });
        fits && current.asked_again.is_none_or(|asked| asked <= run.created_at)
    }

    fn failed<'a>(&'a self, run: &'a Run, current: &Current<'_>) -> Progress<'a> {
        let (mut failures, mut yields) = (0u32, 0u32);
        for run in self.0.iter().filter(|r| r.change == current.change) {
            let passed = run.phase == RunPhase::Succeeded && (run.kind == RunKind::Apply || finds_nothing(run));
            if passed || !self.speaks_of(run, current) {
                break;
            }
            match run.phase {
                RunPhase::Failed if run.reason == Some(Reason::RunnerNotStarted) => yields = yields.saturating_add(1),
                RunPhase::Failed | RunPhase::Interrupted => failures = failures.saturating_add(1),
                _ if is_stale(run) => failures = failures.saturating_add(1),
                _ => {}
            }
        }
        Progress::Failed { run, failures, yields }
    }
}

/// Whether the ledger found that a finished plan may no longer be applied.
fn is_stale(run: &Run) -> bool {
    run.phase == RunPhase::Succeeded && run.reason == Some(Reason::StalePlan)
}

/// Digest of the inputs that a plan was made of.
pub(super) fn input_digest(plan: &Run) -> Option<&str> {
    fact(plan, "inputDigest")
}

fn fact<'a>(plan: &'a Run, name: &str) -> Option<&'a str> {
    plan.facts.get(name)?.as_str()
}

/// Whether a plan ended well and found nothing to do, outputs included.
pub(super) fn finds_nothing(run: &Run) -> bool {
    run.kind == RunKind::Plan && run.phase == RunPhase::Succeeded && run.has_changes == Some(false)
}
