//! What users see of a credential.

use std::time::Duration;

use jiff::Timestamp;

use super::act::Done;
use super::decide::{Step, Verdict, is_held, verdict};
use super::observe::{Facts, Proof, Seen};
use crate::api::{CloudCredential, CloudCredentialStatus, Reason, SecretSeen};
use crate::kinds::in_use::InUse;
use crate::reconcile::conditions::{self, HOURLY, Truth, whole_seconds};
use crate::reconcile::{Announcement, Next, Report, commands};
use crate::{Class, Error, Result};

/// A deployment that refers to another credential now lets go of this one with its next plan, which wakes nobody.
const HELD: Duration = Duration::from_secs(30);

pub(super) fn report(
    object: &CloudCredential,
    seen: &Seen,
    step: &Step,
    outcome: Result<&Done, &Error>,
    now: Timestamp,
) -> Report {
    let attempt = match outcome {
        Ok(Done::Probed(attempt)) => Some(attempt),
        _ => seen.attempt.as_ref(),
    };
    if matches!((step, outcome), (Step::LetGo, Ok(_))) {
        return Report::silent(Next::AwaitChange);
    }
    if let Ok(Done::Told(event)) = outcome {
        return Report::silent(Next::Now).announce(event.clone());
    }
    let mut status = object.status.clone().unwrap_or_default();
    if seen.facts != Facts::Away {
        status.last_handled = commands::handled(&seen.taken);
    }
    let before = conditions::get(&status.conditions, "Valid").cloned();
    let held_before = conditions::get(&status.conditions, "Ready").is_some_and(|c| c.reason == Reason::InUse.as_str());
    let generation = object.metadata.generation;
    let held = is_held(object, &seen.in_use);
    if object.metadata.deletion_timestamp.is_none() || held {
        let verdict = verdict(&object.spec, seen, attempt, now);
        show(&mut status, object, seen, &verdict, held, now);
    }
    show_use(&mut status, &seen.in_use, held, generation, now);
    if let Err(error) = outcome {
        show_error(&mut status, error, generation, now);
    }
    status.observed_generation = generation;
    conditions::follow_ready(&mut status.conditions, now);
    let report = Report::new(&status, next(seen, step, outcome, held, now));
    let turned = conditions::get(&status.conditions, "Valid");
    let words = (Reason::NotProbed, Reason::Valid);
    let report = report.announce_turn(before.as_ref(), turned, words, "Probe");
    match conditions::get(&status.conditions, "Ready") {
        Some(ready) if held && !held_before => {
            report.announce(Announcement::warning(Reason::InUse, "Delete", &*ready.message))
        }
        _ => report,
    }
}

pub(super) fn unobserved(object: &CloudCredential, error: &Error, now: Timestamp) -> Report {
    let mut status = object.status.clone().unwrap_or_default();
    show_error(&mut status, error, object.metadata.generation, now);
    conditions::follow_ready(&mut status.conditions, now);
    Report::new(&status, Next::Backoff)
}

/// When to look again.
fn next(seen: &Seen, step: &Step, outcome: Result<&Done, &Error>, held: bool, now: Timestamp) -> Next {
    let until = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
    match (step, outcome) {
        (_, Err(error)) if error.class() == Class::Terminal => Next::AwaitChange,
        (_, Err(_)) => Next::Backoff,
        (Step::Probe | Step::Record(_) | Step::Take(_) | Step::Discard { .. }, Ok(_)) => Next::Now,
        (Step::Rest { .. }, Ok(_)) if seen.facts == Facts::Away => Next::Backoff,
        (Step::Rest { until: at }, Ok(_)) if held => Next::After(at.map_or(HELD, until).min(HELD)),
        (Step::Rest { until: Some(at) }, Ok(_)) => Next::After(until(*at)),
        (Step::LetGo | Step::Rest { until: None }, Ok(_)) => Next::AwaitChange,
    }
}

fn show(
    status: &mut CloudCredentialStatus,
    object: &CloudCredential,
    seen: &Seen,
    verdict: &Verdict,
    held: bool,
    now: Timestamp,
) {
    let generation = object.metadata.generation;
    let before = (status.identity.clone(), status.secret.clone(), reason_of(status));
    if verdict.identity.is_some() {
        status.identity = verdict.identity.clone();
    }
    if let Some(capabilities) = &verdict.capabilities {
        status.capabilities = capabilities.clone();
    }
    if let Some(zones) = &verdict.zones {
        status.zones = zones.clone();
    }
    match (&seen.proof, verdict.truth) {
        // A relabelled Secret has another version and the same digest: that is no news.
        (Proof::Present { version, digest }, Truth::True)
            if status.secret.as_ref().is_none_or(|s| s.digest != *digest) =>
        {
            status.secret = Some(SecretSeen { resource_version: version.clone(), digest: digest.clone() });
        }
        _ => {}
    }
    conditions::set(&mut status.conditions, "Valid", verdict.truth, verdict.reason, &*verdict.message, generation, now);
    let (reason, message) = match (object.spec.suspend, verdict.truth) {
        (true, _) => (Reason::Suspended, "spec.suspend is true: no probes are made".to_owned()),
        (false, Truth::True) if verdict.reason == Reason::Valid => (Reason::Ready, verdict.message.clone()),
        (false, _) => (verdict.reason, verdict.message.clone()),
    };
    // Of one whose deletion waits, `Ready` says that.
    if !held {
        conditions::set(&mut status.conditions, "Ready", verdict.truth, reason, message, generation, now);
    }
    let changed = before != (status.identity.clone(), status.secret.clone(), reason_of(status));
    move_time(&mut status.last_probe_time, verdict.checked_at, changed);
    move_time(&mut status.last_success_time, verdict.succeeded_at, changed);
}

/// Times move when something else does, else hourly: an idle credential is not written.
fn move_time(shown: &mut Option<String>, at: Option<Timestamp>, changed: bool) {
    let Some(at) = at else { return };
    let old = shown.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    if changed || old.is_none_or(|old| at.duration_since(old) >= HOURLY) {
        *shown = Some(whole_seconds(at).to_string());
    }
}

fn show_use(status: &mut CloudCredentialStatus, in_use: &InUse, held: bool, generation: Option<i64>, now: Timestamp) {
    status.used_by = i64::try_from(in_use.count()).ok();
    if in_use.count() == 0 {
        return conditions::clear(&mut status.conditions, "InUse");
    }
    let message = format!("objects refer to it: {}", in_use.told());
    conditions::set(&mut status.conditions, "InUse", true, Reason::InUse, message, generation, now);
    if held {
        let message =
            format!("the deletion waits: {}; delete them or let them refer to another credential", in_use.told());
        conditions::set(&mut status.conditions, "Ready", false, Reason::InUse, message, generation, now);
    }
}

/// `Valid` stays what it was: an error of ours says nothing about the credential.
fn show_error(status: &mut CloudCredentialStatus, error: &Error, generation: Option<i64>, now: Timestamp) {
    if error.is_fleeting() {
        return;
    }
    let known = conditions::get(&status.conditions, "Valid").is_some_and(|c| c.status == "True");
    if known && error.reason() == Reason::LedgerUnavailable {
        return;
    }
    conditions::set(&mut status.conditions, "Ready", false, error.reason(), error.to_string(), generation, now);
}

fn reason_of(status: &CloudCredentialStatus) -> Option<(String, String)> {
    conditions::get(&status.conditions, "Valid").map(|c| (c.status.clone(), c.reason.clone()))
}
