//! When a run under way should have ended: each runner keeps its own time, and a runner that hangs keeps none.

use std::time::Duration;

use jiff::SignedDuration;

use super::decide::CLAIM_LIFE;
use crate::ledger::runs::Run;
use crate::run::protocol::{DELIVERY, Limits, RunPhase};

/// What is to be done about a run that should have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// What its runner has not delivered would go with its pod: a person is told, and it is waited for.
    Wait,
    /// It is told to stop.
    Terminate,
    /// It was told to stop long enough ago: its processes are killed.
    Kill,
    /// It is killed again, which has not helped for as long.
    KillInVain,
}

impl Measure {
    pub(super) fn kills(self) -> bool {
        matches!(self, Self::Kill | Self::KillInVain)
    }
}

/// A run that should have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overdue {
    /// What is to be done.
    pub(super) measure: Measure,
    /// What it has exceeded.
    pub(super) why: String,
}

/// Past all that its runner may take, a run is told to stop, and again at each look: who put that on record may have died
/// before it was sent. When that has not helped for as long again, it is killed. All by Postgres's clock.
///
/// `remains`: for how long only what its engine had started was left of it. The grace that an engine has to stop, it has, too;
/// then it is killed, since there is nobody to be told.
///
/// `may_deliver`: whether what its runner has not delivered is nowhere else, and may still come. An apply is waited for then, as
/// long as its runner tries: one that the run API does not hear looks like one that hangs.
pub(super) fn overdue(run: &Run, remains: Option<Duration>, may_deliver: bool) -> Option<Overdue> {
    let limits = run.limits;
    if let Some(alone) = remains.filter(|alone| alone.as_secs() >= limits.grace) {
        let why = format!("runner and engine are gone, and what they had started lives on for {} s", alone.as_secs());
        return Some(Overdue { measure: Measure::Kill, why });
    }
    // What a runner needs to stop its engine, to kill it, and to tell the rest.
    let margin = seconds(limits.grace.saturating_add(30));
    if let Some(told) = run.terminated_at {
        let why = format!("it was told to stop at {told:.0} and lives on");
        let passed = run.read_at.duration_since(told);
        let measure = match () {
            () if passed > margin.saturating_mul(2) => Measure::KillInVain,
            () if passed > margin => Measure::Kill,
            () => Measure::Terminate,
        };
        return Some(Overdue { measure, why });
    }
    let exceeded = |since: jiff::Timestamp, allowed: SignedDuration, what: String| {
        let passed = run.read_at.duration_since(since);
        let late = passed > allowed.saturating_add(margin);
        late.then(|| (passed, format!("{} s have passed since {what}", passed.as_secs())))
    };
    let cancelled = run.cancel_requested_at.and_then(|at| exceeded(at, SignedDuration::ZERO, "its cancel".to_owned()));
    if let Some((_, why)) = cancelled {
        return Some(Overdue { measure: Measure::Terminate, why });
    }
    let allowed = allowed(run.phase, limits);
    let (passed, why) = exceeded(run.phase_at, allowed, format!("it entered {:?}", run.phase))?;
    let tries = matches!(run.phase, RunPhase::Apply | RunPhase::Finishing) && passed <= end(allowed, margin);
    Some(Overdue { measure: if tries && may_deliver { Measure::Wait } else { Measure::Terminate }, why })
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

/// When a runner has given up to deliver.
fn end(allowed: SignedDuration, margin: SignedDuration) -> SignedDuration {
    allowed.saturating_add(margin).saturating_add(seconds(DELIVERY.as_secs()))
}

fn seconds(count: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(count).unwrap_or(i64::MAX))
}
