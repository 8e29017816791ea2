//! What a domain needs next, and what follows from a look.

use jiff::{SignedDuration, Timestamp};

use super::look::Verdict;
use super::managed::Home;
use super::observe::Seen;
use crate::api::{OrganizationDomain, OrganizationDomainSpec, Reason};
use crate::ledger::{DomainFact, DomainPublished, DomainStanding, DomainState};
use crate::reconcile::backoff::share;
use crate::reconcile::commands::{Command, Refusal, Verb};
use crate::reconcile::finalizer;

/// The shortest and the longest time between looks at a domain that is not proved.
const EAGER: SignedDuration = SignedDuration::from_secs(5);
const PATIENT: SignedDuration = SignedDuration::from_hours(1);

/// The longest time between looks of which a twentieth is half an hour.
const SPREAD: SignedDuration = SignedDuration::from_hours(10);

/// Before the way to a managed domain's zone is looked for again.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is being deleted, and somebody refers to it.
    Hold,
    /// It is being deleted, and nobody does.
    LetGo,
    /// Move a command from its annotations to the ledger.
    Take(Command),
    /// Take a command away that is not to be obeyed.
    Discard {
        /// The command.
        command: Command,
        /// Why not.
        why: Refusal,
    },
    /// Let pass what is held, as a command says that names it.
    Release(Command),
    /// Write the challenge down, before anybody sees it.
    Begin,
    /// Write down what of the spec others go by.
    Tell,
    /// Put the challenge into the zone of a managed domain.
    Publish,
    /// Take the challenge out of a zone where it stands by our hand and belongs no more.
    Withdraw(DomainPublished),
    /// Ask the authoritative servers.
    Look,
    /// The name can be proved by nobody.
    Refuse {
        /// The word in the condition.
        reason: Reason,
        /// Names the rule.
        message: String,
    },
    /// All is done until then, or until something wakes it.
    Rest {
        /// The next look.
        until: Option<Timestamp>,
    },
}

pub(super) fn decide(object: &OrganizationDomain, seen: &Seen, now: Timestamp) -> Step {
    let held = finalizer::is_set(object);
    if let (true, Some(command)) = (held, &seen.command) {
        return commanded(command, seen);
    }
    if object.metadata.deletion_timestamp.is_some() {
        return match (held, seen.in_use.count()) {
            (false, _) => Step::Rest { until: None },
            (true, 0) => match &seen.published {
                Some(published) => Step::Withdraw(published.clone()),
                None => Step::LetGo,
            },
            // The proof of what others use grows old: it is looked at as before.
            (true, _) if seen.current().is_some_and(|fact| due(&object.spec, fact, seen.asked()) <= now) => Step::Look,
            (true, _) => Step::Hold,
        };
    }
    if let Err((reason, message)) = &seen.name {
        return Step::Refuse { reason: *reason, message: message.clone() };
    }
    if let Some(published) = seen.published.as_ref().filter(|p| is_misplaced(object, seen, p)) {
        return Step::Withdraw(published.clone());
    }
    let Some(fact) = seen.current() else { return Step::Begin };
    if fact.terms != object.spec.terms() {
        return Step::Tell;
    }
    let due = if seen.freed { now } else { due(&object.spec, fact, seen.asked()) };
    // A domain that is held is looked at though its zone cannot be reached.
    if wants_publishing(seen, fact) && !(fact.standing.state.holds() && due <= now) {
        return Step::Publish;
    }
    if due <= now {
        return Step::Look;
    }
    // What stands in the way to the zone may go without waking anybody.
    let again = if matches!(seen.home, Some(Err(_))) { later(now, AGAIN) } else { Timestamp::MAX };
    Step::Rest { until: Some(due.min(again)) }
}

/// Whether the challenge that stands by our hand is another one by now, or belongs elsewhere. A zone that is not known at
/// the moment is no reason.
fn is_misplaced(object: &OrganizationDomain, seen: &Seen, published: &DomainPublished) -> bool {
    if object.spec.suspend {
        return false;
    }
    let moved = |home: &Home| home.credential.uid != published.credential.uid || home.zone.id != published.zone_id;
    match &seen.home {
        None => true,
        Some(home) => seen.current().is_none() || home.as_ref().is_ok_and(moved),
    }
}

/// Whether a challenge is to be set: it was not yet, for all that is known, or a look has missed it since.
fn wants_publishing(seen: &Seen, fact: &DomainFact) -> bool {
    let missed = is_miss(fact.standing.reason);
    let since = |p: &DomainPublished| {
        // What was to be taken away and is not any more, may have been.
        p.leaving_since.is_some()
            || p.at.is_none_or(|at| missed && fact.standing.checked_at.is_some_and(|checked| checked > at))
    };
    matches!(seen.home, Some(Ok(_))) && seen.published.as_ref().is_none_or(since)
}

/// Whether the servers were asked, and do not have the challenge.
fn is_miss(reason: Reason) -> bool {
    matches!(reason, Reason::RecordNotFound | Reason::ContentMismatch | Reason::WildcardAnswer)
}

fn commanded(command: &Command, seen: &Seen) -> Step {
    let discard = |why| Step::Discard { command: command.clone(), why };
    match (&seen.gate, command.verb) {
        (Some(why), _) => discard(Refusal::Gate(why.clone())),
        (None, Verb::Reconcile) => Step::Take(command.clone()),
        (None, Verb::Approve) => match &seen.held {
            Some(held) if held.digest == command.value => Step::Release(command.clone()),
            Some(held) => discard(Refusal::Pointless(format!("stale: {} is held now", held.digest))),
            None => discard(Refusal::Pointless("nothing of the domain is held".into())),
        },
        (None, Verb::Cancel | Verb::Retry | Verb::Renew | Verb::Revoke) => {
            discard(Refusal::Pointless("it is no command of an OrganizationDomain".into()))
        }
    }
}

/// When to look next. A domain that is not proved is looked at more and more rarely, a tenth of the time after it was
/// begun; one that is proved, as its spec says; one that could not be looked at or lacks its record, hourly.
pub(super) fn due(spec: &OrganizationDomainSpec, fact: &DomainFact, asked: Option<Timestamp>) -> Timestamp {
    let standing = &fact.standing;
    let Some(checked) = standing.checked_at.filter(|_| asked.is_none() || standing.asked_at == asked) else {
        return Timestamp::MIN;
    };
    let regular = spec.verification.interval();
    let rest = match standing.state {
        DomainState::Pending | DomainState::Unverified => {
            let passed = checked.duration_since(fact.since).as_secs();
            SignedDuration::from_secs(passed / 10).clamp(EAGER, PATIENT)
        }
        DomainState::Verified if standing.reason == Reason::Verified => return jittered(checked, regular, fact),
        DomainState::Degraded if grace_ends(spec, standing).is_some_and(|end| end <= checked) => PATIENT,
        DomainState::Verified | DomainState::Degraded => regular.min(PATIENT),
    };
    let next = jittered(checked, rest, fact);
    match (standing.state, grace_ends(spec, standing)) {
        // The end of the grace is no time to wait beyond, unless the look at it told nothing.
        (DomainState::Degraded, Some(end)) if end > checked => next.min(end),
        _ => next,
    }
}

/// Before this, a domain whose challenge is missing is not lost: the grace has to end, and two looks an hour apart must miss it.
pub(super) fn lost_from(spec: &OrganizationDomainSpec, standing: &DomainStanding) -> Option<Timestamp> {
    let twice = standing.missed_since.map(|since| later(since, PATIENT));
    grace_ends(spec, standing).max(twice)
}

/// What follows from a look at a domain. No answer changes no state, as long as the last proof is not too old.
pub(super) fn judge(
    spec: &OrganizationDomainSpec,
    before: &DomainStanding,
    verdict: &Verdict,
    asked: Option<Timestamp>,
    now: Timestamp,
) -> DomainStanding {
    let looked = DomainStanding { checked_at: Some(now), asked_at: asked, ..before.clone() };
    let reason = match verdict {
        Verdict::Proved => {
            let (state, reason) = (DomainState::Verified, Reason::Verified);
            return DomainStanding { state, reason, verified_at: Some(now), missed_since: None, ..looked };
        }
        Verdict::Undecided(_) => {
            let lost = before.state.holds() && !before.is_young(&spec.verification, now);
            let state = if lost { DomainState::Unverified } else { before.state };
            return DomainStanding { state, reason: Reason::ResolverUnavailable, ..looked };
        }
        Verdict::Missing(reason) => *reason,
    };
    let missed = DomainStanding { reason, missed_since: Some(before.missed_since.unwrap_or(now)), ..looked };
    // The end of the grace is no moment to be unlucky in: the look before, an hour ago or more, must have missed it too.
    let twice = is_miss(before.reason) && before.checked_at.is_some_and(|at| now.duration_since(at) >= PATIENT);
    let ended = twice && grace_ends(spec, &missed).is_none_or(|end| end <= now);
    let ended = ended || !before.is_young(&spec.verification, now);
    match before.state {
        DomainState::Pending | DomainState::Unverified => {
            DomainStanding { missed_since: before.missed_since, ..missed }
        }
        DomainState::Verified | DomainState::Degraded if ended => {
            DomainStanding { state: DomainState::Unverified, ..missed }
        }
        DomainState::Verified | DomainState::Degraded => DomainStanding { state: DomainState::Degraded, ..missed },
    }
}

/// Until when a domain whose record is missing stays the organization's.
pub(super) fn grace_ends(spec: &OrganizationDomainSpec, standing: &DomainStanding) -> Option<Timestamp> {
    standing.missed_since.map(|since| later(since, spec.verification.longest_miss()))
}

/// Up to a twentieth or half an hour later, by the object's uid: domains made together are not looked at together for ever.
fn jittered(at: Timestamp, rest: SignedDuration, fact: &DomainFact) -> Timestamp {
    later(at, rest.saturating_add(rest.min(SPREAD) / 20_000 * i32::from(share(&fact.subject.uid))))
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
