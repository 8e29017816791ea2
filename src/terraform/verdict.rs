//! How a run ends by what became of its engine. Pure.

use super::engine::{Ended, How, Stopped};
use super::layout::Step;
use crate::Error;
use crate::api::{Change, Reason};
use crate::run::protocol::{Limits, RunPhase};

/// Why the runner is to stop before its work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) cause: Cause,
    pub(super) words: String,
}

impl Stop {
    /// A cancel.
    pub(super) fn person() -> Self {
        Self { cause: Cause::Person, words: "cancelled on request".to_owned() }
    }
}

/// Who wants it to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A person, by `landfall.dev/cancel`.
    Person,
    /// The machine, or the controller because the run is overdue. Nobody gave the run up: a plan is tried again, and what
    /// an apply was at is for a person to look at.
    Signal,
    /// The ledger, which has given the run up already.
    GivenUp,
    /// The ledger, which will not take a state of this run.
    StateRefused,
}

/// Why a run ended badly.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) phase: RunPhase,
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) code: Option<i32>,
}

impl Failure {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { phase: RunPhase::Failed, reason, message: message.into(), code: None }
    }

    /// Stopped in good order. `otherwise` is the reason of the step where nobody meant the run itself.
    pub(super) fn stopped(stop: &Stop, otherwise: Reason) -> Self {
        let words = stop.words.clone();
        match stop.cause {
            Cause::Person => Self { phase: RunPhase::Cancelled, ..Self::new(Reason::Cancelled, words) },
            Cause::Signal => Self::new(otherwise, words),
            Cause::GivenUp => Self::new(Reason::Interrupted, words),
            // What it built may stand in that state alone.
            Cause::StateRefused => Self { phase: RunPhase::Interrupted, ..Self::new(Reason::StateRegressed, words) },
        }
    }

    /// The engine, or a plugin of it, was cut off while it changed the world: what it had begun is for nobody to know.
    fn interrupted(message: String) -> Self {
        let message =
            format!("{message}; what it had begun is not known: see the inventory, the next plan needs a person");
        Self { phase: RunPhase::Interrupted, ..Self::new(Reason::Interrupted, message) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

/// What is known about a step when it is over.
pub(super) struct Facts<'a> {
    pub(super) step: Step,
    pub(super) change: Change,
    pub(super) limits: Limits,
    /// The first error that the engine wrote.
    pub(super) words: Option<String>,
    /// The engine finds the module itself at fault: the same again would end the same.
    pub(super) unfit: bool,
    /// Why nobody knows all that it did, if so.
    pub(super) unknown: Option<String>,
    /// Why the backend could not serve it, if so.
    pub(super) trouble: Option<Reason>,
    /// Why it was asked to stop, if so.
    pub(super) stop: Option<&'a Stop>,
}

/// The reason of a step that failed and said nothing better.
pub(super) fn reason_of(step: Step, change: Change) -> Reason {
    match (step, change) {
        (Step::Init, _) => Reason::InitFailed,
        (Step::Plan, _) => Reason::PlanFailed,
        (Step::Apply, Change::Apply) => Reason::ApplyFailed,
        (Step::Apply, Change::Destroy) => Reason::DestroyFailed,
    }
}

/// Success, or the reason in the contract's words with the engine's first error.
pub(super) fn judge(ended: &Ended, facts: &Facts<'_>) -> Result<(), Failure> {
    let otherwise = reason_of(facts.step, facts.change);
    let stop = || facts.stop.map_or_else(|| Failure::new(otherwise, "stopped"), |s| Failure::stopped(s, otherwise));
    let failure = match (ended.how, ended.stopped) {
        (How::Code(0), _) => return Ok(()), // also when it was asked to stop: it was faster
        (How::Signal(signal), stopped) if facts.step == Step::Apply => {
            Failure::interrupted(cut_off(signal, stopped, facts))
        }
        (_, Some(Stopped::Asked)) if facts.stop.is_some_and(|stop| stop.cause == Cause::StateRefused) => stop(),
        (How::Code(_), stopped) if facts.step == Step::Apply && facts.unknown.is_some() => {
            Failure::interrupted(not_told(stopped, facts))
        }
        (How::Code(_), Some(Stopped::Asked))
            if facts.step == Step::Apply && facts.stop.is_some_and(|stop| stop.cause == Cause::Signal) =>
        {
            cut_short(facts)
        }
        (_, Some(Stopped::Asked)) => stop(),
        (_, Some(Stopped::Late)) => Failure::new(Reason::Timeout, late(facts)),
        (how, None) => {
            let silent = || format!("{} ended with {how} and said nothing", facts.step.word());
            let words = match (&facts.words, how) {
                (Some(words), How::Signal(_)) => format!("{} ended with {how}: {words}", facts.step.word()),
                (Some(words), _) => words.clone(),
                (None, _) => silent(),
            };
            let unfit = facts.unfit.then_some(Reason::SourceInvalid);
            Failure::new(facts.trouble.or(unfit).or_else(|| stale(&words)).unwrap_or(otherwise), words)
        }
    };
    Err(Failure { code: ended.how.code(), ..failure })
}

fn cut_off(signal: i32, stopped: Option<Stopped>, facts: &Facts<'_>) -> String {
    let grace = facts.limits.grace;
    let cause = match stopped {
        None => {
            return format!(
                "the engine was ended in mid-apply by {}, which Landfall did not send",
                How::Signal(signal)
            );
        }
        Some(Stopped::Late) => late(facts),
        Some(Stopped::Asked) => facts.stop.map_or_else(|| "stopped".to_owned(), |stop| stop.words.clone()),
    };
    format!("{cause}. The engine did not stop within {grace} s and was killed in mid-apply")
}

/// The engine ended in good order, in the middle of its work, and nobody wished it.
fn cut_short(facts: &Facts<'_>) -> Failure {
    let words = facts.stop.map(|stop| stop.words.as_str()).unwrap_or_default();
    let message = format!("{words} in mid-apply; the state says what was done, the next plan needs a person");
    Failure { phase: RunPhase::Interrupted, ..Failure::new(Reason::Interrupted, message) }
}

/// The engine ended in good order, and there is something that it could not tell.
fn not_told(stopped: Option<Stopped>, facts: &Facts<'_>) -> String {
    let unknown = facts.unknown.as_deref().unwrap_or_default();
    match (stopped, facts.stop) {
        (Some(Stopped::Late), _) => format!("{}. {unknown}", late(facts)),
        (Some(Stopped::Asked), Some(stop)) => format!("{}. {unknown}", stop.words),
        (Some(Stopped::Asked) | None, _) => unknown.to_owned(),
    }
}

fn stale(words: &str) -> Option<Reason> {
    let stale = ["Saved plan is stale", "Saved plan does not match the given state"];
    stale.iter().any(|sentence| words.contains(sentence)).then_some(Reason::StalePlan)
}

fn late(facts: &Facts<'_>) -> String {
    let (field, seconds) = match (facts.step, facts.change) {
        (Step::Init, _) => ("init", facts.limits.init),
        (Step::Plan, _) => ("plan", facts.limits.plan),
        (Step::Apply, Change::Destroy) => ("destroy", facts.limits.apply),
        (Step::Apply, Change::Apply) => ("apply", facts.limits.apply),
    };
    format!(
        "{field} took longer than {seconds} s and was stopped: raise spec.timeouts.{field}, or see the log for what it waited for"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { init: 1, plan: 2, apply: 3, grace: 4 };

    fn judged(step: Step, how: How, stopped: Option<Stopped>, stop: Option<Cause>) -> (RunPhase, Reason) {
        judged_with(None, step, how, stopped, stop)
    }

    fn judged_with(
        unknown: Option<String>,
        step: Step,
        how: How,
        stopped: Option<Stopped>,
        stop: Option<Cause>,
    ) -> (RunPhase, Reason) {
        let stop = stop.map(|cause| Stop { cause, words: "asked".into() });
        let facts = Facts {
            step,
            change: Change::Apply,
            limits: LIMITS,
            words: None,
            unfit: false,
            unknown,
            trouble: None,
            stop: stop.as_ref(),
        };
        let failure = judge(&Ended { how, stopped, cut: None }, &facts).unwrap_err();
        (failure.phase, failure.reason)
    }

    #[test]
    fn an_unfit_module_is_told_from_one_that_was_stopped_or_not_served() {
        let judged = |how, stopped, trouble| {
            let facts = Facts {
                step: Step::Plan,
                change: Change::Apply,
                limits: LIMITS,
                words: None,
                unfit: true,
                unknown: None,
                trouble,
                stop: None,
            };
            judge(&Ended { how, stopped, cut: None }, &facts).unwrap_err().reason
        };
        assert_eq!(judged(How::Code(1), None, None), Reason::SourceInvalid);
        assert_eq!(judged(How::Code(1), Some(Stopped::Late), None), Reason::Timeout);
        assert_eq!(judged(How::Code(1), None, Some(Reason::LedgerUnavailable)), Reason::LedgerUnavailable);
    }

    #[test]
    fn only_a_cancelled_run_is_cancelled_and_only_a_cut_apply_is_interrupted() {
        use {Cause as C, How as H, Reason as R, RunPhase as P, Step as S, Stopped as T};
        let asked = Some(T::Asked);
        for (step, how, stopped, cause, phase, reason) in [
            (S::Plan, H::Code(1), None, None, P::Failed, R::PlanFailed),
            (S::Init, H::Signal(9), None, None, P::Failed, R::InitFailed),
            (S::Plan, H::Signal(11), None, None, P::Failed, R::PlanFailed),
            (S::Apply, H::Signal(9), None, None, P::Interrupted, R::Interrupted),
            (S::Apply, H::Code(1), None, None, P::Failed, R::ApplyFailed),
            (S::Plan, H::Code(1), asked, Some(C::Person), P::Cancelled, R::Cancelled),
            (S::Plan, H::Signal(9), asked, Some(C::Person), P::Cancelled, R::Cancelled),
            (S::Apply, H::Code(1), asked, Some(C::Person), P::Cancelled, R::Cancelled),
            (S::Apply, H::NotStarted, asked, Some(C::Person), P::Cancelled, R::Cancelled),
            (S::Apply, H::Signal(9), asked, Some(C::Person), P::Interrupted, R::Interrupted),
            (S::Plan, H::Signal(9), asked, Some(C::Signal), P::Failed, R::PlanFailed),
            (S::Apply, H::Code(1), asked, Some(C::Signal), P::Interrupted, R::Interrupted),
            (S::Apply, H::NotStarted, asked, Some(C::Signal), P::Failed, R::ApplyFailed),
            (S::Apply, H::Signal(9), asked, Some(C::Signal), P::Interrupted, R::Interrupted),
            (S::Apply, H::Code(1), asked, Some(C::StateRefused), P::Interrupted, R::StateRegressed),
            (S::Apply, H::Code(1), Some(T::Late), None, P::Failed, R::Timeout),
            (S::Apply, H::Signal(9), Some(T::Late), None, P::Interrupted, R::Interrupted),
            (S::Plan, H::Signal(9), Some(T::Late), None, P::Failed, R::Timeout),
        ] {
            assert_eq!(judged(step, how, stopped, cause), (phase, reason), "{step:?} {how:?} {stopped:?} {cause:?}");
        }
    }

    #[test]
    fn an_apply_that_cannot_tell_all_that_it_did_is_interrupted_however_well_its_engine_ended() {
        use {Cause as C, How as H, Reason as R, RunPhase as P, Step as S, Stopped as T};
        for (step, stopped, cause, phase, reason) in [
            (S::Apply, None, None, P::Interrupted, R::Interrupted),
            (S::Apply, Some(T::Late), None, P::Interrupted, R::Interrupted),
            (S::Apply, Some(T::Asked), Some(C::Person), P::Interrupted, R::Interrupted),
            (S::Apply, Some(T::Asked), Some(C::Signal), P::Interrupted, R::Interrupted),
            (S::Apply, Some(T::Asked), Some(C::StateRefused), P::Interrupted, R::StateRegressed),
            (S::Plan, None, None, P::Failed, R::PlanFailed),
        ] {
            let found = judged_with(Some("no answer".into()), step, H::Code(1), stopped, cause);
            assert_eq!(found, (phase, reason), "{step:?} {stopped:?} {cause:?}");
        }
    }
}
