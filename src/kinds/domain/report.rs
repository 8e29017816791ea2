//! What users see of a domain.

use std::time::Duration;

use jiff::Timestamp;

use super::act::Done;
use super::decide::{Step, due, lost_from};
use super::held;
use super::look::{Found, Verdict};
use super::name::{Canonical, challenge_value};
use super::observe::Seen;
use crate::api::{
    DnsMode, DomainChallenge, DomainFound, OrganizationDomain, OrganizationDomainSpec, OrganizationDomainStatus,
    Reason, ZoneSeen,
};
use crate::ledger::{DomainFact, DomainState};
use crate::reconcile::conditions::{self, HOURLY, Truth, whole_seconds};
use crate::reconcile::{Announcement, Next, Report, commands};
use crate::{Class, Error, Result};

/// The same for the last referrer's end.
const HELD: Duration = Duration::from_secs(30);

pub(super) fn report(
    object: &OrganizationDomain,
    seen: &Seen,
    step: &Step,
    outcome: Result<&Done, &Error>,
    now: Timestamp,
) -> Report {
    if matches!((step, outcome), (Step::LetGo, Ok(_))) {
        return Report::silent(Next::AwaitChange);
    }
    if let Ok(Done::Told(event)) = outcome {
        return Report::silent(Next::Now).announce(event.clone());
    }
    let mut status = object.status.clone().unwrap_or_default();
    status.last_handled = commands::handled(&seen.taken);
    let before = conditions::get(&status.conditions, "Verified").cloned();
    let held_before = conditions::get(&status.conditions, "Ready").is_some_and(|c| c.reason == Reason::InUse.as_str());
    let held = *step == Step::Hold;
    if object.metadata.deletion_timestamp.is_none() {
        match (&seen.name, outcome) {
            (Err((reason, message)), _) => refuse(&mut status, object, *reason, message, now),
            (Ok(name), Ok(Done::Looked(Some(looked)))) => {
                show(&mut status, object, name, Some(&looked.0), Some(&looked.1), now);
            }
            (Ok(name), _) => show(&mut status, object, name, seen.current(), None, now),
        }
    }
    show_home(&mut status, object, seen, now);
    show_use(&mut status, seen, held, object.metadata.generation, now);
    let was_held = status.held.is_some();
    held::show(&mut status, object, seen.held.as_ref(), now);
    if let Err(error) = outcome {
        show_error(&mut status, error, object.metadata.generation, now);
    }
    status.observed_generation = object.metadata.generation;
    conditions::follow_ready(&mut status.conditions, now);
    let report = Report::new(&status, next(step, outcome, now));
    let turned = conditions::get(&status.conditions, "Verified");
    let words = (Reason::PendingVerification, Reason::Verified);
    let report = held::announce(report.announce_turn(before.as_ref(), turned, words, "Look"), was_held, &status);
    match conditions::get(&status.conditions, "Ready") {
        Some(ready) if held && !held_before => {
            report.announce(Announcement::warning(Reason::InUse, "Delete", &*ready.message))
        }
        _ => report,
    }
}

pub(super) fn unobserved(object: &OrganizationDomain, error: &Error, now: Timestamp) -> Report {
    let mut status = object.status.clone().unwrap_or_default();
    show_error(&mut status, error, object.metadata.generation, now);
    conditions::follow_ready(&mut status.conditions, now);
    Report::new(&status, Next::Backoff)
}

/// When to look at the object again.
fn next(step: &Step, outcome: Result<&Done, &Error>, now: Timestamp) -> Next {
    let until = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
    match (step, outcome) {
        (_, Err(error)) if error.class() == Class::Terminal => Next::AwaitChange,
        (_, Err(_)) => Next::Backoff,
        (
            Step::Begin
            | Step::Tell
            | Step::Publish
            | Step::Withdraw(_)
            | Step::Look
            | Step::Take(_)
            | Step::Release(_)
            | Step::Discard { .. },
            Ok(_),
        ) => Next::Now,
        (Step::Rest { until: Some(at) }, Ok(_)) => Next::After(until(*at)),
        (Step::Hold, Ok(_)) => Next::After(HELD),
        (Step::LetGo | Step::Refuse { .. } | Step::Rest { until: None }, Ok(_)) => Next::AwaitChange,
    }
}

fn refuse(
    status: &mut OrganizationDomainStatus,
    object: &OrganizationDomain,
    reason: Reason,
    message: &str,
    now: Timestamp,
) {
    (status.fqdn, status.registrable_domain, status.challenge, status.verification) = (None, None, None, None);
    for kind in ["Verified", "Ready"] {
        conditions::set(&mut status.conditions, kind, false, reason, message, object.metadata.generation, now);
    }
}

fn show(
    status: &mut OrganizationDomainStatus,
    object: &OrganizationDomain,
    name: &Canonical,
    fact: Option<&DomainFact>,
    found: Option<&Found>,
    now: Timestamp,
) {
    status.fqdn = Some(name.fqdn.as_str().to_owned());
    status.registrable_domain = Some(name.registrable.as_str().to_owned());
    status.challenge = fact.map(|fact| DomainChallenge {
        kind: "TXT".into(),
        name: name.challenge.as_str().to_owned(),
        value: challenge_value(&fact.token),
    });
    status.verification = fact.map(|fact| {
        let shown = status.verification.take().unwrap_or_default();
        verification(shown, &object.spec, fact, found)
    });
    let (truth, reason) = standing(fact);
    let generation = object.metadata.generation;
    let old = conditions::get(&status.conditions, "Verified").filter(|c| {
        found.is_none()
            && (c.status.as_str(), c.reason.as_str()) == (truth.as_str(), reason.as_str())
            && c.observed_generation == generation
    });
    // Only a look knows the details; they stand until another one.
    let message = match (old, fact) {
        (Some(old), _) => old.message.clone(),
        (None, Some(fact)) => message(&object.spec, name, fact, found, reason),
        (None, None) => "the challenge is being written down".to_owned(),
    };
    conditions::set(&mut status.conditions, "Verified", truth, reason, &*message, generation, now);
    let (reason, message) = match (object.spec.suspend, reason) {
        (true, _) => (Reason::Suspended, "spec.suspend is true: nothing is written; looks go on".to_owned()),
        (false, Reason::Verified) => (Reason::Ready, message),
        (false, reason) => (reason, message),
    };
    conditions::set(&mut status.conditions, "Ready", truth, reason, message, generation, now);
}

/// The `Verified` condition's status and reason. What was proved is true until the grace has ended.
fn standing(fact: Option<&DomainFact>) -> (Truth, Reason) {
    let Some(fact) = fact else { return (Truth::False, Reason::PendingVerification) };
    match (fact.standing.state, fact.standing.reason) {
        (DomainState::Verified, _) => (Truth::True, Reason::Verified),
        (DomainState::Degraded, _) => (Truth::True, Reason::Degraded),
        (_, Reason::ClaimedElsewhere) => (Truth::False, Reason::ClaimedElsewhere),
        (DomainState::Unverified, _) => (Truth::False, Reason::Unverified),
        (DomainState::Pending, reason) => (Truth::False, reason),
    }
}

fn message(
    spec: &OrganizationDomainSpec,
    name: &Canonical,
    fact: &DomainFact,
    found: Option<&Found>,
    reason: Reason,
) -> String {
    let fqdn = &name.fqdn;
    let set = format!("set TXT {} to \"{}\"", name.challenge, challenge_value(&fact.token));
    let told = match found.map(|found| &found.verdict) {
        Some(Verdict::Undecided(why)) => Some(why.as_str()),
        _ => None,
    };
    let at = |time: Option<Timestamp>| time.map_or_else(String::new, |at| format!(" {}", whole_seconds(at)));
    match reason {
        Reason::Verified => match told {
            Some(why) => format!("the challenge of {fqdn} was found; the last look told nothing: {why}"),
            None => format!("the authoritative servers of {fqdn} have the challenge"),
        },
        Reason::Degraded => format!(
            "the challenge of {fqdn} is missing since{}; {set} before{}, or the domain is lost",
            at(fact.standing.missed_since),
            at(lost_from(spec, &fact.standing)),
        ),
        Reason::Unverified => format!(
            "the challenge of {fqdn} was last found{}, and the grace has ended{}; {set} to prove it again",
            at(fact.standing.verified_at),
            told.map_or_else(String::new, |why| format!(" without an answer ({why})")),
        ),
        Reason::ClaimedElsewhere => {
            format!(
                "another organization has proved {fqdn}, a parent or a part of it first; it is free when theirs is gone"
            )
        }
        Reason::WildcardAnswer => format!(
            "a wildcard answers at {} with what it says of any name, which proves nothing; {set}, and take the value from the wildcard",
            name.challenge
        ),
        Reason::ContentMismatch => format!("other values stand at {}; {set}, others may stay", name.challenge),
        Reason::ResolverUnavailable => {
            format!(
                "the authoritative servers of {fqdn} do not tell: {}; {set} if it is not yet so",
                told.unwrap_or("no answer")
            )
        }
        _ => format!("the authoritative servers of {fqdn} have no challenge; {set}"),
    }
}

/// Times move when something else does, else hourly: a domain that waits is not written at every look.
fn verification(
    mut shown: DomainFound,
    spec: &OrganizationDomainSpec,
    fact: &DomainFact,
    found: Option<&Found>,
) -> DomainFound {
    let before =
        (shown.missing_since.clone(), shown.seen.clone(), shown.nameservers.clone(), shown.verified_at.is_some());
    let text = |at: Timestamp| whole_seconds(at).to_string();
    if let Some(found) = found {
        (shown.seen, shown.nameservers) = (found.seen.clone(), found.servers.clone());
    }
    let standing = &fact.standing;
    shown.missing_since = standing.missed_since.map(text);
    let parsed = |time: &Option<String>| time.as_ref().and_then(|t| t.parse::<Timestamp>().ok());
    let stale = match (parsed(&shown.last_checked_at), standing.checked_at) {
        (Some(old), Some(new)) => new.duration_since(old) >= HOURLY || new < old,
        (None, new) => new.is_some(),
        (Some(_), None) => true,
    };
    let changed = before
        != (shown.missing_since.clone(), shown.seen.clone(), shown.nameservers.clone(), standing.verified_at.is_some());
    if changed || stale {
        shown.verified_at = standing.verified_at.map(text);
        shown.last_checked_at = standing.checked_at.map(text);
    }
    // Of a domain that is not proved it moves with every look.
    let held = standing.state.holds();
    let next = held.then(|| due(spec, fact, standing.asked_at)).filter(|at| *at > Timestamp::MIN).map(text);
    if changed || stale || next.is_some() != shown.next_check_at.is_some() {
        shown.next_check_at = next;
    }
    shown
}

/// The zone of a managed domain; without one, nothing more can be written for it.
fn show_home(status: &mut OrganizationDomainStatus, object: &OrganizationDomain, seen: &Seen, now: Timestamp) {
    match &seen.home {
        Some(Ok(home)) => {
            let (id, name) = (home.zone.id.clone(), home.zone.name.as_str().to_owned());
            status.zone = Some(ZoneSeen { id, name });
        }
        Some(Err((reason, message))) => {
            let generation = object.metadata.generation;
            conditions::set(&mut status.conditions, "Ready", false, *reason, &**message, generation, now);
        }
        None if object.spec.dns.mode == DnsMode::External => status.zone = None,
        None => {}
    }
}

fn show_use(status: &mut OrganizationDomainStatus, seen: &Seen, held: bool, generation: Option<i64>, now: Timestamp) {
    if seen.in_use.count() == 0 {
        return conditions::clear(&mut status.conditions, "InUse");
    }
    let users = seen.in_use.told();
    let message = format!("objects refer to it: {users}");
    conditions::set(&mut status.conditions, "InUse", true, Reason::InUse, message, generation, now);
    if held {
        let message = format!("the deletion waits: {users}; delete them first");
        conditions::set(&mut status.conditions, "Ready", false, Reason::InUse, message, generation, now);
    }
}

/// `Verified` stays what it was: an error of ours says nothing about the domain.
fn show_error(status: &mut OrganizationDomainStatus, error: &Error, generation: Option<i64>, now: Timestamp) {
    if error.is_fleeting() {
        return;
    }
    let known = conditions::get(&status.conditions, "Verified").is_some_and(|c| c.status == "True");
    if known && error.reason() == Reason::LedgerUnavailable {
        return;
    }
    conditions::set(&mut status.conditions, "Ready", false, error.reason(), error.to_string(), generation, now);
}
