//! When a run under way should have ended: each runner keeps its own time, and a runner that hangs keeps none.

use std::time::Duration;

use jiff::SignedDuration;

use super::decide::CLAIM_LIFE;
use crate::ledger::runs::Run;
use crate::run::protocol::{Limits, RunPhase};

/// What is to be done about a run that should have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overdue {
    /// It was told to stop long enough ago: its processes are killed.
    pub(super) kill: bool,
    /// What it has exceeded.
    pub(super) why: String,
}

/// Past all that its runner may take, a run is told to stop, and again at each look: who put that on record may have died
/// before it was sent. When that has not helped for as long again, it is killed. All by Postgres's clock.
///
/// `remains`: for how long only what its engine had started was left of it. The grace that an engine has to stop, it has, too;
/// then it is killed, since there is nobody to be told.
pub(super) fn overdue(run: &Run, remains: Option<Duration>) -> Option<Overdue> {
    let limits = run.limits;
    if let Some(alone) = remains.filter(|alone| alone.as_secs() >= limits.grace) {
        let why = format!("runner and engine are gone, and what they had started lives on for {} s", alone.as_secs());
        return Some(Overdue { kill: true, why });
    }
    // What a runner needs to stop its engine, to kill it, and to tell the rest.
    let margin = seconds(limits.grace.saturating_add(30));
    if let Some(told) = run.terminated_at {
        let why = format!("it was told to stop at {told:.0} and lives on");
        return Some(Overdue { kill: run.read_at.duration_since(told) > margin, why });
    }
    let entered = (run.phase_at, allowed(run.phase, limits), format!("it entered {:?}", run.phase));
    let cancelled = run.cancel_requested_at.map(|at| (at, SignedDuration::ZERO, "its cancel".to_owned()));
    let exceeded = |(since, allowed, what): (jiff::Timestamp, SignedDuration, String)| {
        let passed = run.read_at.duration_since(since);
        let late = passed > allowed.saturating_add(margin);
        late.then(|| Overdue { kill: false, why: format!("{} s have passed since {what}", passed.as_secs()) })
    };
    cancelled.and_then(exceeded).or_else(|| exceeded(entered))
}

/// How long a runner may take for a phase by its own time, its calls of the run API included.
fn allowed(phase: RunPhase, limits: Limits) -> SignedDuration {
    let calls = limits.patience().saturating_mul(2);
    match phase {
        RunPhase::Pending => CLAIM_LIFE,
        RunPhase::Claimed | RunPhase::Init => seconds(limits.init.saturating_add(calls)),
        RunPhase::Plan => seconds(limits.plan.saturating_mul(2).saturating_add(calls)),
        RunPhase::Apply => seconds(limits.apply),
        RunPhase::Finishing | RunPhase::Succeeded | RunPhase::Failed | RunPhase::Cancelled | RunPhase::Interrupted => {
            seconds(calls)
        }
    }
}

fn seconds(count: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(count).unwrap_or(i64::MAX))
}
