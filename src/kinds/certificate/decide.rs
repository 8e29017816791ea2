//! What a certificate needs next.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::issuers::{self, Work};
use super::observe::{Held, LATELY, Removing, Seen, Stored, Wanted};
use super::standing::{
    contended, elsewhere, follows, in_hand, is_damaged, keeps_key, known, same_names, stored, suits,
};
use super::{Refusal, renewal, revoking};
use crate::acme::order;
use crate::api::{Certificate, CertificateSpec, Reason, RenewalPolicy};
use crate::ledger::{CertificateFact, IntentId, KEY_LOST, Taken};
use crate::reconcile::commands::{self, Command, Verb};
use crate::reconcile::finalizer;

/// After a certificate was made, its CA is asked when it is to be renewed.
const FIRST_QUESTION: SignedDuration = SignedDuration::from_hours(1);

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is being deleted; the Secret goes with its owner.
    LetGo,
    /// A certificate was on its way into the Secret when its outcome was last heard of.
    Settle {
        /// Whether it stands there.
        landed: bool,
    },
    /// Move a command from its annotations to the ledger.
    Take(Command),
    /// Take a command away that is not to be obeyed.
    Discard {
        /// The command.
        command: Command,
        /// Why not.
        why: commands::Refusal,
    },
    /// Make a certificate and put it into the Secret.
    Issue(Why),
    /// Go one step on with an order at a CA.
    Advance(Box<order::Step>),
    /// Ask the CA when it would have the certificate in use renewed.
    AskRenewal,
    /// Ask the CA to revoke this certificate.
    Revoke(Uuid),
    /// Write down that this certificate is to be revoked, for its object goes.
    Recall(Uuid),
    /// Write down that the CA is not asked any more to revoke this certificate.
    GiveUp {
        /// Which.
        certificate: Uuid,
        /// Why.
        why: &'static str,
    },
    /// A repair of the Secret was under way when its outcome was last heard of.
    SettleRestore {
        /// Whether the Secret is whole.
        landed: bool,
    },
    /// Put the pair in use into the Secret that the spec names now.
    Carry,
    /// Remove a Secret that the spec does not name any more.
    Remove(String),
    /// Such a removal was under way when its outcome was last heard of.
    SettleRemoval {
        /// Of what.
        intent: IntentId,
        /// Whether it is gone.
        landed: bool,
    },
    /// Put back what was damaged around a sound key, from the ledger.
    Restore,
    /// Write down what stands in the Secret.
    TakeIn,
    /// All is done until then, or until something wakes it.
    Rest {
        /// The next look.
        until: Option<Timestamp>,
        /// Why a certificate that is wanted is not issued.
        refused: Option<Refusal>,
    },
}

/// Why a certificate is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There was none.
    First,
    /// The spec asks for another one.
    Spec,
    /// The CA's certificate is another one.
    Signer,
    /// The key is gone or is another one.
    Key,
    /// Its time has come.
    Due,
    /// A person asked for it.
    Asked,
    /// The one in use, or its key, is to be revoked.
    Recalled,
    /// The one that stands is another organization's, of which the namespace was.
    Joined,
}

impl Why {
    /// In the ledger and in Events.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::First => "there was none",
            Self::Spec => "the spec asks for another one",
            Self::Signer => "the CA is another one",
            Self::Key => KEY_LOST,
            Self::Due => "its time has come",
            Self::Asked => "a person asked for it",
            Self::Recalled => "the former one is to be revoked",
            Self::Joined => "the namespace came from another organization, whose the former one is",
        }
    }
}

pub(super) fn decide(object: &Certificate, seen: &Seen, now: Timestamp) -> Step {
    let leaving = object.metadata.deletion_timestamp.is_some();
    if leaving && !finalizer::is_set(object) {
        return rest(None);
    }
    if let Some(open) = &seen.facts.open {
        // By the key alone: what stands around it may have been touched since, and is put right.
        let place = seen.delivery.as_ref().unwrap_or(&seen.secret);
        return Step::Settle { landed: matches!(place, Held::Ours(stored) if stored.has_key_of(open)) };
    }
    if let Some(fact) = seen.facts.current.as_ref().filter(|fact| fact.restoring.is_some()) {
        let landed = stored(seen).is_some_and(|stored| stored.has_key_of(fact) && stored.has_all_of(fact));
        return Step::SettleRestore { landed };
    }
    if let Some(Removing { intent, landed }) = seen.removing {
        return Step::SettleRemoval { intent, landed };
    }
    if leaving {
        return match without_order(seen, rest(None), now) {
            Step::Rest { until: None, .. } => revoking::at_the_end(object, seen, now).unwrap_or(Step::LetGo),
            step => step,
        };
    }
    if let Some(command) = &seen.command {
        return commanded(&object.spec, command, seen, now);
    }
    if let Some(step) = revoking::next(object, seen, now) {
        return step;
    }
    match held_or_brought(object, seen, now) {
        Step::Rest { until, refused } => {
            Step::Rest { until: until.into_iter().chain(revoking::next_look(seen, now)).min(), refused }
        }
        step => step,
    }
}

fn held_or_brought(object: &Certificate, seen: &Seen, now: Timestamp) -> Step {
    match &seen.wanted {
        Ok(wanted) if object.spec.issuer.imported.is_some() => without_order(seen, brought(seen, wanted, now), now),
        Ok(wanted) => kept(&object.spec, seen, wanted, now),
        Err(refusal) => without_order(seen, refused(&object.spec, seen, refusal.clone(), now), now),
    }
}

/// Nobody waits for an order: what is left of one goes, and what stands in DNS for it.
fn without_order(seen: &Seen, step: Step, now: Timestamp) -> Step {
    let Step::Rest { until, refused } = step else { return step };
    let left = seen.order.as_ref().and_then(|order| issuers::acme::left(order, known(seen), now));
    match left {
        None => Step::Rest { until, refused },
        Some(order::Step::Wait(at)) => Step::Rest { until: until.into_iter().chain([at]).min(), refused },
        Some(step) => Step::Advance(Box::new(step)),
    }
}

/// Why there is one to be made where none is known of this organization.
fn first(seen: &Seen) -> Why {
    if seen.facts.current.is_some() { Why::Joined } else { Why::First }
}

fn commanded(spec: &CertificateSpec, command: &Command, seen: &Seen, now: Timestamp) -> Step {
    let discard = |why| Step::Discard { command: command.clone(), why };
    match (&seen.objection, command.verb) {
        (Some(why), _) => discard(commands::Refusal::Gate(why.clone())),
        (None, Verb::Reconcile) => Step::Take(command.clone()),
        (None, Verb::Renew) if spec.issuer.imported.is_some() => {
            discard(commands::Refusal::Pointless("the pair is brought; bring the next one in its Secret".into()))
        }
        (None, Verb::Renew) => match known(seen).map(|fact| fact.certificate.serial.as_str()) {
            Some(serial) if serial == command.value => Step::Take(command.clone()),
            current => {
                let current = current.unwrap_or("none");
                let why = format!("it names the serial number {:?}, and that in use is {current}", command.value);
                discard(commands::Refusal::Pointless(why))
            }
        },
        (None, Verb::Revoke) => match revoking::asked(&command.value, seen, now) {
            Ok(_) => Step::Take(command.clone()),
            Err(why) => discard(commands::Refusal::Pointless(why)),
        },
        (None, Verb::Approve | Verb::Cancel | Verb::Retry) => {
            discard(commands::Refusal::Pointless("it is no command of a Certificate".into()))
        }
    }
}

/// A pair that somebody brings: watched, and written down where it is sound and new.
fn brought(seen: &Seen, wanted: &Wanted, now: Timestamp) -> Step {
    let Some(stored) = stored(seen) else { return rest(None) };
    let (Ok(()), Ok(chain)) = (stored.check(&wanted.terms.names, now), &stored.chain) else {
        // What is not valid yet becomes so by itself.
        let from = stored.chain.as_ref().ok().map(|chain| chain.leaf().not_before).filter(|from| *from > now);
        return Step::Rest { until: from, refused: None };
    };
    let known = known(seen).is_some_and(|fact| {
        fact.certificate.fingerprint == chain.leaf().fingerprint && fact.certificate.terms == wanted.terms
    });
    if !known {
        return Step::TakeIn;
    }
    let life = (chain.leaf().not_before, chain.leaf().not_after);
    Step::Rest { until: renewal::notice(life, now).1.into_iter().chain([life.1]).min(), refused: None }
}

/// A pair that is this object's to issue.
fn kept(spec: &CertificateSpec, seen: &Seen, wanted: &Wanted, now: Timestamp) -> Step {
    if carries(spec, seen, wanted, now) {
        return Step::Carry;
    }
    let why = match &seen.secret {
        Held::Foreign(message) => {
            let refusal = Refusal { reason: Reason::SecretNotOwned, message: message.clone() };
            return without_order(seen, refused(spec, seen, refusal, now), now);
        }
        Held::None if elsewhere(seen).is_some() => Some(Why::Spec),
        Held::None if known(seen).is_some() => Some(Why::Key),
        Held::None => Some(first(seen)),
        Held::Ours(stored) => match known(seen) {
            None if seen.gate.is_ok() && suits(stored, seen, wanted, now) => return Step::TakeIn,
            None => Some(first(seen)),
            // Renewed by a ledger that this one, which was restored, knows nothing of.
            Some(fact) if seen.gate.is_ok() && follows(stored, fact, seen) && suits(stored, seen, wanted, now) => {
                return Step::TakeIn;
            }
            Some(_) if elsewhere(seen).is_some() => Some(Why::Spec),
            Some(fact) => outgrown(spec, stored, fact, wanted, now).or_else(|| asked(seen, fact)),
        },
    };
    if let Some(refusal) = contended(seen).filter(|_| why == Some(Why::Key)) {
        return Step::Rest { until: now.checked_add(LATELY).ok(), refused: Some(refusal) };
    }
    let Some(why) = why else { return without_order(seen, in_use(spec, seen, now), now) };
    if spec.suspend {
        let message = "spec.suspend is true: nothing is issued".to_owned();
        return refused(spec, seen, Refusal { reason: Reason::Suspended, message }, now);
    }
    if let Err(refusal) = &seen.gate {
        return without_order(seen, refused(spec, seen, refusal.clone(), now), now);
    }
    match issuers::next(&seen.material, &request(spec, seen, wanted), now) {
        Work::Make => Step::Issue(why),
        Work::Step(step) => Step::Advance(step),
        Work::Wait(refusal, until) => waits(spec, seen, (refusal, until), now),
    }
}

/// Nothing is to be issued. Where that could not be, it is said before its time comes.
fn in_use(spec: &CertificateSpec, seen: &Seen, now: Timestamp) -> Step {
    match (&seen.gate, whole(spec, seen, now)) {
        (Err(refusal), Step::Rest { until, .. }) if !spec.suspend => {
            Step::Rest { until, refused: Some(refusal.clone()) }
        }
        (Ok(_), Step::Rest { until, refused: None }) if !spec.suspend && unfit(seen).is_some() => {
            Step::Rest { until, refused: unfit(seen) }
        }
        (Ok(_), Step::Rest { until, refused }) => match asks_at(spec, seen) {
            Some(at) if at <= now => Step::AskRenewal,
            at => Step::Rest { until: until.into_iter().chain(at).min(), refused },
        },
        (_, step) => step,
    }
}

/// What is wrong with the CA's Secret.
fn unfit(seen: &Seen) -> Option<Refusal> {
    match &seen.material {
        issuers::Material::Ca(Err(refusal)) => Some(refusal.clone()),
        _ => None,
    }
}

/// When the CA is asked when it would have its certificate renewed. Not in the first hour, so that a CA which wants each renewed at
/// once is not asked for one after the other.
fn asks_at(spec: &CertificateSpec, seen: &Seen) -> Option<Timestamp> {
    let issuers::Material::Acme(ca) = &seen.material else { return None };
    let fact = known(seen).filter(|fact| ca.issued(fact))?;
    if spec.suspend || spec.renewal.policy == RenewalPolicy::Manual {
        return None;
    }
    Some(fact.ask_at.unwrap_or(fact.certificate.made_at.checked_add(FIRST_QUESTION).unwrap_or(Timestamp::MAX)))
}

/// What an issuer is asked for.
pub(super) fn request<'a>(spec: &CertificateSpec, seen: &'a Seen, wanted: &'a Wanted) -> issuers::Request<'a> {
    let keep = in_hand(seen).and_then(|stored| stored.key.as_ref().ok()).filter(|_| keeps_key(spec, seen));
    let domains = seen.gate.as_deref().unwrap_or_default();
    issuers::Request { names: &wanted.names, domains, algorithm: wanted.algorithm, keep, life: wanted.life }
}

/// An issuer waits. What was damaged is put right all the same.
fn waits(
    spec: &CertificateSpec,
    seen: &Seen,
    (refusal, at): (Option<Refusal>, Option<Timestamp>),
    now: Timestamp,
) -> Step {
    match whole(spec, seen, now) {
        Step::Rest { until, .. } => {
            Step::Rest { until: until.into_iter().chain(at).filter(|at| *at > now).min(), refused: refusal }
        }
        step => step,
    }
}

/// Whether another name of the Secret is all that is asked for.
fn carries(spec: &CertificateSpec, seen: &Seen, wanted: &Wanted, now: Timestamp) -> bool {
    let Some((former, fact)) = elsewhere(seen) else { return false };
    let free = seen.gate.is_ok() && !spec.suspend && !matches!(seen.secret, Held::Foreign(_));
    free && outgrown(spec, former, fact, wanted, now).or_else(|| asked(seen, fact)).is_none()
}

/// Why the certificate in use does not do any more.
fn outgrown(
    spec: &CertificateSpec,
    stored: &Stored,
    fact: &CertificateFact,
    wanted: &Wanted,
    now: Timestamp,
) -> Option<Why> {
    let (was, is) = (&fact.certificate.terms, &wanted.terms);
    let same_spec = same_names(&was.names, &is.names)
        && (&was.algorithm, was.life, &was.issuer) == (&is.algorithm, is.life, &is.issuer);
    // While the CA cannot be read, who it is is not known.
    let same_signer = is.signer.is_none() || was.signer == is.signer;
    match (same_spec, same_signer, stored.has_key_of(fact)) {
        (false, ..) => Some(Why::Spec),
        (_, false, _) => Some(Why::Signer),
        (_, _, false) => Some(Why::Key),
        _ => due(spec, fact).is_some_and(|due| due <= now).then_some(Why::Due),
    }
}

/// A person asked for the next one, by the serial number of this one; or for its revocation.
fn asked(seen: &Seen, fact: &CertificateFact) -> Option<Why> {
    let asked = |taken: &&Taken| taken.command == Verb::Renew.word() && taken.value == fact.certificate.serial;
    let recalled = revoking::must_follow(seen, fact).then_some(Why::Recalled);
    recalled.or_else(|| seen.taken.iter().find(asked).map(|_| Why::Asked))
}

/// Nothing is to be issued: what was damaged is put right, and then there is time.
fn whole(spec: &CertificateSpec, seen: &Seen, now: Timestamp) -> Step {
    if is_damaged(seen) && !spec.suspend {
        return match contended(seen) {
            None => Step::Restore,
            Some(refusal) => Step::Rest { until: now.checked_add(LATELY).ok(), refused: Some(refusal) },
        };
    }
    let whole = stored(seen).zip(known(seen)).is_some_and(|(stored, fact)| stored.has_key_of(fact));
    match seen.former.as_ref().filter(|_| whole && !spec.suspend) {
        Some(former) => Step::Remove(former.name.clone()),
        None => Step::Rest { until: next_look(spec, seen, now), refused: None },
    }
}

/// A certificate is wanted and cannot be. What was damaged is put right all the same.
fn refused(spec: &CertificateSpec, seen: &Seen, refusal: Refusal, now: Timestamp) -> Step {
    match whole(spec, seen, now) {
        Step::Rest { until, .. } => Step::Rest { until: until.filter(|at| *at > now), refused: Some(refusal) },
        step => step,
    }
}

/// Renewal, a notice, the end: whatever comes first and is still to come.
fn next_look(spec: &CertificateSpec, seen: &Seen, now: Timestamp) -> Option<Timestamp> {
    let fact = known(seen)?;
    let life = (fact.certificate.not_before, fact.certificate.not_after);
    let all = [due(spec, fact), renewal::notice(life, now).1, Some(life.1)];
    all.into_iter().flatten().filter(|at| *at > now).min()
}

/// When the certificate in use is renewed.
pub(super) fn due(spec: &CertificateSpec, fact: &CertificateFact) -> Option<Timestamp> {
    let certificate = &fact.certificate;
    renewal::due((certificate.not_before, certificate.not_after), &certificate.serial, &spec.renewal, fact.window)
}

fn rest(until: Option<Timestamp>) -> Step {
    Step::Rest { until, refused: None }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
