//! Which certificate is to be revoked, when, and what people are told of it.

use jiff::Timestamp;

use super::Refusal;
use super::decide::Step;
use super::observe::Seen;
use super::standing::known;
use crate::acme::{Cause, Pace};
use crate::api::{Certificate, CertificateRevocation, CertificateStatus, Reason, RevocationReason};
use crate::ledger::{CertificateFact, Revocation, RevocationState};
use crate::reconcile::conditions::{self, whole_seconds};

/// After so many attempts in vain, an object that goes takes the wish of a person with it, and that is put on record.
const ATTEMPTS: u32 = 8;

/// What a command names: serial number and reason.
pub(super) fn named(value: &str) -> Option<(&str, RevocationReason)> {
    let (serial, reason) = value.split_once(',')?;
    Some((serial, RevocationReason::parse(reason)?))
}

/// The certificate and the reason that a command names, or why it is not to be obeyed.
pub(super) fn asked<'a>(
    value: &str,
    seen: &'a Seen,
    now: Timestamp,
) -> Result<(&'a CertificateFact, RevocationReason), String> {
    let (serial, reason) = named(value).ok_or("write a serial number, a comma and a reason, as in 5f3a,superseded")?;
    let fact = seen.named.as_ref().filter(|fact| fact.certificate.serial == serial).ok_or_else(|| {
        let current = known(seen).map_or("none", |fact| fact.certificate.serial.as_str());
        format!(
            "no certificate of this object with the serial number {serial:?} is on record; that in use is {current}"
        )
    })?;
    let next = match fact.certificate.terms.issuer.as_str() {
        "acme" => "",
        "ca" => "nobody but the keeper of that CA can list it; landfall.dev/renew replaces it here",
        "imported" => "ask whoever issued it, and bring another pair into its Secret",
        _ => "take it away wherever it is trusted; landfall.dev/renew replaces it here",
    };
    let done = seen.revocations.iter().find(|one| one.fact.id == fact.id && one.state == RevocationState::Revoked);
    match done {
        _ if !next.is_empty() => {
            let issuer = &fact.certificate.terms.issuer;
            Err(format!("serial {serial} is of spec.issuer.{issuer}, where no CA is told of a revocation: {next}"))
        }
        Some(_) => Err(format!("serial {serial} is revoked already")),
        None if fact.certificate.not_after <= now => Err(format!("serial {serial} has ended by itself")),
        None => Ok((fact, reason)),
    }
}

/// Whether the certificate in use must be followed by another, with another key, before what is asked for can be done.
pub(super) fn must_follow(seen: &Seen, fact: &CertificateFact) -> bool {
    let lost = |one: &Revocation| {
        one.reason == RevocationReason::KeyCompromise && one.fact.certificate.public_key == fact.certificate.public_key
    };
    open(seen).any(|one| one.fact.id == fact.id || lost(one))
}

/// What is to be done at the CA, before all else.
pub(super) fn next(object: &Certificate, seen: &Seen, now: Timestamp) -> Option<Step> {
    let in_use = known(seen).map(|fact| fact.id);
    if let Some(over) = open(seen).find(|one| one.fact.certificate.not_after <= now) {
        return Some(Step::GiveUp { certificate: over.fact.id, why: "it ended by itself" });
    }
    let free = open(seen).filter(|one| Some(one.fact.id) != in_use && !object.spec.suspend);
    first_due(free, now)
}

/// When something is to be done of itself.
pub(super) fn next_look(seen: &Seen, now: Timestamp) -> Option<Timestamp> {
    open(seen).filter_map(|one| one.retry_at).filter(|at| *at > now).min()
}

/// What is to be done before the object goes: nobody serves the certificate in use any more, so none has to follow it.
pub(super) fn at_the_end(object: &Certificate, seen: &Seen, now: Timestamp) -> Option<Step> {
    let give_up = |one: &Revocation, why| Some(Step::GiveUp { certificate: one.fact.id, why });
    for one in open(seen) {
        match &one.asked_by {
            _ if one.fact.certificate.not_after <= now => return give_up(one, "it ended by itself"),
            None if !object.spec.revoke_on_delete => return give_up(one, "spec.revokeOnDelete was switched off"),
            Some(_) if one.failures >= ATTEMPTS => return give_up(one, "its object went, and the CA was in the way"),
            _ => {}
        }
    }
    if let Some(fact) = known(seen).filter(|fact| object.spec.revoke_on_delete && is_to_go(seen, fact, now)) {
        return Some(Step::Recall(fact.id));
    }
    if object.spec.suspend {
        let why = "spec.suspend is true: nothing is revoked; set it or spec.revokeOnDelete to false";
        let refused = Refusal { reason: Reason::Suspended, message: why.into() };
        return open(seen).next().map(|_| Step::Rest { until: None, refused: Some(refused) });
    }
    let waits = || next_look(seen, now).map(|at| Step::Rest { until: Some(at), refused: None });
    first_due(open(seen), now).or_else(waits)
}

/// Whether a certificate lives, is a CA's that can be told, and is not on the list yet.
fn is_to_go(seen: &Seen, fact: &CertificateFact, now: Timestamp) -> bool {
    let listed = seen.revocations.iter().any(|one| one.fact.id == fact.id);
    fact.certificate.terms.issuer == "acme" && fact.certificate.not_after > now && !listed
}

fn open(seen: &Seen) -> impl Iterator<Item = &Revocation> {
    seen.revocations.iter().filter(|one| one.is_open())
}

fn first_due<'a>(mut all: impl Iterator<Item = &'a Revocation>, now: Timestamp) -> Option<Step> {
    all.find(|one| one.retry_at.is_none_or(|at| at <= now)).map(|one| Step::Revoke(one.fact.id))
}

/// The condition `Revoked`, and what was revoked last.
pub(super) fn show(status: &mut CertificateStatus, object: &Certificate, seen: &Seen, now: Timestamp) {
    let generation = object.metadata.generation;
    let done = seen.revocations.iter().find(|one| one.state == RevocationState::Revoked);
    let time = |one: &Revocation| whole_seconds(one.ended_at.unwrap_or(now)).to_string();
    status.revocation = done.map(|one| CertificateRevocation {
        serial_number: one.fact.certificate.serial.clone(),
        reason: one.reason.as_str().to_owned(),
        time: time(one),
    });
    let all = &mut status.conditions;
    match (open(seen).next(), done) {
        (Some(one), _) => {
            let Refusal { reason, message } = pending(object, seen, one);
            conditions::set(all, "Revoked", false, reason, message, generation, now);
        }
        (None, Some(one)) => {
            let message = format!("serial {} is revoked: {}", one.fact.certificate.serial, one.reason.as_str());
            conditions::set(all, "Revoked", true, Reason::Revoked, message, generation, now);
        }
        (None, None) => conditions::clear(all, "Revoked"),
    }
}

/// Why one that is to be revoked is not yet.
fn pending(object: &Certificate, seen: &Seen, one: &Revocation) -> Refusal {
    let serial = &one.fact.certificate.serial;
    let leaving = object.metadata.deletion_timestamp.is_some();
    let in_use = !leaving && known(seen).is_some_and(|fact| fact.id == one.fact.id);
    let (reason, words) = match (&one.cause, &one.message) {
        _ if object.spec.suspend => (Reason::Suspended, "waits: spec.suspend is true".to_owned()),
        _ if in_use => (Reason::Progressing, "waits until the Secret holds the next certificate".to_owned()),
        (Some(cause), Some(message)) => (reason_of(cause), format!("is not done: {message}")),
        _ => (Reason::Progressing, "is under way".to_owned()),
    };
    let way_out = match (leaving, &one.asked_by) {
        (true, None) => "; the deletion waits for it, set spec.revokeOnDelete to false to let the object go without it",
        _ => "",
    };
    Refusal { reason, message: format!("the revocation of serial {serial} ({}) {words}{way_out}", one.reason.as_str()) }
}

fn reason_of(cause: &str) -> Reason {
    match Cause::parse(cause) {
        Some(Cause::RateLimited) => Reason::RateLimited,
        Some(Cause::EndpointNotAllowed) => Reason::EndpointNotAllowed,
        Some(cause) if cause.pace() == Pace::Late => Reason::RevocationRefused,
        _ => Reason::CaUnavailable,
    }
}
