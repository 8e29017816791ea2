//! When a run under way should have ended: each runner keeps its own time, and a runner that hangs keeps none.

use jiff::{SignedDuration, Timestamp};

use super::decide::CLAIM_LIFE;
use crate::ledger::runs::Run;
use crate::run::protocol::{DELIVERY, Limits, RunPhase};
use crate::terraform::executor::Liveness;

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
/// What remains of it has the grace that an engine has to stop; then it is killed, since there is nobody to be told. Of a pod without
/// its runner nothing remains that is waited for. An apply whose runner holds what is nowhere else is waited for as long as its runner tries: one that the run API does
/// not hear looks like one that hangs.
///
/// What it says does not change from look to look, for it stands in the status.
pub(super) fn overdue(run: &Run, liveness: Liveness) -> Option<Overdue> {
    let limits = run.limits;
    let margin = margin(limits);
    match liveness {
        Liveness::Remains(alone) => {
            let why = "runner and engine are gone, and what they had started lives on".to_owned();
            return (alone.as_secs() >= limits.grace).then_some(Overdue { measure: Measure::Kill, why });
        }
        Liveness::Shell { late } => {
            let vain = late.is_some_and(|late| late > margin);
            let measure = if vain { Measure::KillInVain } else { Measure::Kill };
            return Some(Overdue { measure, why: "its runner is gone, and its pod goes on".to_owned() });
        }
        Liveness::Alive { .. } | Liveness::Absent => {}
    }
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
    let passed = |since: Timestamp| run.read_at.duration_since(since);
    if let Some(at) = run.cancel_requested_at.filter(|at| passed(*at) > margin) {
        return Some(Overdue { measure: Measure::Terminate, why: format!("its cancel was requested at {at:.0}") });
    }
    let (since, allowed) = (run.phase_at, allowed(run.phase, limits).saturating_add(margin));
    let given_up = allowed.saturating_add(seconds(DELIVERY.as_secs()));
    let holds =
        liveness == Liveness::Alive { holds: true } && matches!(run.phase, RunPhase::Apply | RunPhase::Finishing);
    let measure = if holds && passed(since) <= given_up { Measure::Wait } else { Measure::Terminate };
    (passed(since) > allowed).then(|| Overdue { measure, why: format!("it entered {:?} at {since:.0}", run.phase) })
}

/// What a runner needs to stop its engine, to kill it, and to tell the rest.
pub(super) fn margin(limits: Limits) -> SignedDuration {
    seconds(limits.grace.saturating_add(30))
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
