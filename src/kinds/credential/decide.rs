//! What a credential needs next, and what is known of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::observe::{Facts, Proof, Seen};
use crate::api::{CloudCredential, CloudCredentialSpec, DurationText, Identity, Reason, ZoneSeen};
use crate::kinds::in_use::InUse;
use crate::ledger::CredentialFact;
use crate::providers::{Attempt, Finding, ProbeResult, Provider};
use crate::reconcile::backoff::share;
use crate::reconcile::commands::{Command, Refusal, Verb};
use crate::reconcile::conditions::{HOURLY, Truth};
use crate::reconcile::finalizer;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
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
    /// Ask the provider.
    Probe,
    /// Put what is known into the ledger.
    Record(Verdict),
    /// All is done until then, or until something wakes it.
    Rest {
        /// The next probe.
        until: Option<Timestamp>,
    },
}

/// What is known of a credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The `Valid` condition.
    pub truth: Truth,
    /// Its reason.
    pub reason: Reason,
    /// Its message.
    pub message: String,
    /// Whose it is.
    pub identity: Option<Identity>,
    /// What it can serve; `None` where this process has not asked.
    pub capabilities: Option<Vec<String>>,
    /// The zones of DNS that it can change; `None` where this process has not asked.
    pub zones: Option<Vec<ZoneSeen>>,
    /// When the provider was last asked.
    pub checked_at: Option<Timestamp>,
    /// When it last said yes.
    pub succeeded_at: Option<Timestamp>,
    /// Whether it stands; a first refusal does not.
    pub settled: bool,
}

impl Verdict {
    /// The word in the ledger.
    pub fn state(&self) -> &'static str {
        match (self.truth, self.reason) {
            (Truth::True, Reason::StaleOk) => "StaleOk",
            (Truth::True, _) => "Valid",
            (Truth::False, _) => "Invalid",
            (Truth::Unknown, _) => "Unknown",
        }
    }

    /// When it ceases to hold by itself: the end of the grace.
    fn stands_until(&self, spec: &CloudCredentialSpec) -> Option<Timestamp> {
        let at = self.succeeded_at.filter(|_| self.reason == Reason::StaleOk)?;
        Some(later(at, grace(spec)))
    }
}

pub(super) fn decide(object: &CloudCredential, seen: &Seen, now: Timestamp) -> Step {
    if object.metadata.deletion_timestamp.is_some() && !is_held(object, &seen.in_use) {
        return if finalizer::is_set(object) { Step::LetGo } else { Step::Rest { until: None } };
    }
    if let (Some(command), Facts::Known(_)) = (&seen.command, &seen.facts) {
        return commanded(command, seen);
    }
    let due = due(object, seen);
    if due.is_some_and(|due| due <= now) {
        return Step::Probe;
    }
    let verdict = verdict(&object.spec, seen, seen.attempt.as_ref(), now);
    match &seen.facts {
        Facts::Known(fact)
            if verdict.settled
                && (moved(fact.as_deref(), seen) || is_news(fact.as_deref(), &verdict, digest_of(&seen.proof))) =>
        {
            Step::Record(verdict)
        }
        _ => Step::Rest { until: due.into_iter().chain(verdict.stands_until(&object.spec)).min() },
    }
}

/// Whether its deletion waits for who refers to it. They need what works until then: it is probed, and obeys.
pub(super) fn is_held(object: &CloudCredential, in_use: &InUse) -> bool {
    object.metadata.deletion_timestamp.is_some() && finalizer::is_set(object) && in_use.count() > 0
}

fn commanded(command: &Command, seen: &Seen) -> Step {
    let discard = |why| Step::Discard { command: command.clone(), why };
    match (&seen.gate, command.verb) {
        (Some(why), _) => discard(Refusal::Gate(why.clone())),
        (None, Verb::Reconcile) => Step::Take(command.clone()),
        (None, Verb::Approve | Verb::Cancel | Verb::Retry | Verb::Renew | Verb::Revoke) => {
            discard(Refusal::Pointless("it is no command of a CloudCredential".into()))
        }
    }
}

/// When to ask the provider; `None` where there is nothing to ask with.
fn due(object: &CloudCredential, seen: &Seen) -> Option<Timestamp> {
    let (Proof::Present { digest, .. }, false) = (&seen.proof, object.spec.suspend) else { return None };
    let provider = Provider::of(&object.spec)?;
    let interval = jittered(interval(&object.spec), object.metadata.uid.as_deref().unwrap_or_default());
    let asked = seen.asked();
    let due = match (matching(seen.attempt.as_ref(), digest), known(&seen.facts, digest)) {
        (Some(attempt), _) if asked.is_some() && attempt.asked != asked => Timestamp::MIN,
        (None, Some(fact)) if asked.is_some_and(|asked| asked > fact.checked_at) => Timestamp::MIN,
        (Some(attempt), _) => attempt.due(interval, provider.patience()),
        // How often the provider did not answer is not known any more: it is asked at once.
        (None, Some(fact)) if !matches!(fact.state.as_str(), "Unknown" | "StaleOk") => later(fact.checked_at, interval),
        (None, _) => Timestamp::MIN,
    };
    Some(due)
}

/// What is known of the credential, if `attempt` was the last.
pub(super) fn verdict(spec: &CloudCredentialSpec, seen: &Seen, attempt: Option<&Attempt>, now: Timestamp) -> Verdict {
    let digest = match &seen.proof {
        Proof::Missing { reason, message } => {
            let truth = if *reason == Reason::NotProbed { Truth::Unknown } else { Truth::False };
            return plain(truth, *reason, message.clone());
        }
        Proof::Present { digest, .. } => digest,
    };
    let fact = known(&seen.facts, digest);
    let Some(attempt) = matching(attempt, digest) else {
        return fact.map_or_else(|| plain_unsettled("no probe has been made yet"), |fact| recalled(spec, fact, now));
    };
    let succeeded_at = attempt.succeeded_at.max(fact.and_then(|f| f.succeeded_at));
    let mut verdict = match &attempt.finding {
        Finding::NotAsked { reason, message } => plain(Truth::False, *reason, message.clone()),
        Finding::Asked(ProbeResult::Valid { identity, capabilities, zones }) => {
            let mut verdict = of_identity(spec, identity.clone());
            verdict.capabilities = Some(capabilities.clone());
            verdict.zones = Some(zones.clone());
            verdict
        }
        Finding::Asked(ProbeResult::Unknown(doubt)) => match fact {
            Some(fact) if fact.state == "Invalid" => recalled(spec, fact, now),
            _ => stale(spec, succeeded_at, doubt.reason, &doubt.message, identity_of(fact), now),
        },
        Finding::Asked(
            denied @ (ProbeResult::Invalid(denial) | ProbeResult::Insufficient(denial) | ProbeResult::Expired(denial)),
        ) => match fact {
            _ if attempt.refusals > 1 => plain(Truth::False, denied.reason(), denial.message.clone()),
            Some(fact) => Verdict { settled: false, ..recalled(spec, fact, now) },
            None => plain_unsettled("the provider refused it once; it is asked again before that is believed"),
        },
    };
    verdict.checked_at = Some(attempt.at);
    verdict.succeeded_at = succeeded_at;
    verdict
}

/// The provider could not be asked: the last success stands for a while.
fn stale(
    spec: &CloudCredentialSpec,
    succeeded_at: Option<Timestamp>,
    reason: Reason,
    message: &str,
    identity: Option<Identity>,
    now: Timestamp,
) -> Verdict {
    let grace = grace(spec);
    match succeeded_at {
        Some(at) if now < later(at, grace) => {
            let message = format!(
                "{message}; the last success stands until {}",
                crate::reconcile::conditions::whole_seconds(later(at, grace))
            );
            Verdict { identity, ..plain(Truth::True, Reason::StaleOk, message) }
        }
        _ => Verdict { identity, ..plain(Truth::Unknown, reason, message.into()) },
    }
}

/// What the ledger knows, for a process that has not asked yet.
fn recalled(spec: &CloudCredentialSpec, fact: &CredentialFact, now: Timestamp) -> Verdict {
    let reason = Reason::ALL.iter().copied().find(|r| r.as_str() == fact.reason).unwrap_or(Reason::NotProbed);
    let identity = identity_of(Some(fact));
    let mut verdict = match fact.state.as_str() {
        "Valid" => of_identity(spec, identity.unwrap_or_default()),
        // Whether the account is the expected one is asked of the spec, which may have changed.
        "Invalid" if reason == Reason::AccountMismatch => of_identity(spec, identity.unwrap_or_default()),
        "Invalid" => {
            let message = format!("{} As found by the last probe.", reason.meaning());
            Verdict { identity, ..plain(Truth::False, reason, message) }
        }
        "StaleOk" => stale(
            spec,
            fact.succeeded_at,
            Reason::ProviderUnavailable,
            Reason::StaleOk.meaning().trim_end_matches('.'),
            identity,
            now,
        ),
        _ => Verdict { identity, ..plain(Truth::Unknown, reason, reason.meaning().into()) },
    };
    verdict.checked_at = Some(fact.checked_at);
    verdict.succeeded_at = fact.succeeded_at;
    verdict
}

fn of_identity(spec: &CloudCredentialSpec, identity: Identity) -> Verdict {
    let verdict = match (&spec.expected_account, &identity.account) {
        (Some(expected), found) if found.as_ref() != Some(expected) => {
            let found = found.as_deref().unwrap_or("none");
            let message = format!(
                "spec.expectedAccount is {expected:?}, but the provider says {found:?}; correct the field or the Secret"
            );
            plain(Truth::False, Reason::AccountMismatch, message)
        }
        _ => plain(Truth::True, Reason::Valid, "the provider accepted the credential".into()),
    };
    Verdict { identity: Some(identity), ..verdict }
}

/// Whether the namespace went to another organization since.
fn moved(fact: Option<&CredentialFact>, seen: &Seen) -> bool {
    fact.is_some_and(|fact| fact.subject.organization != seen.subject.organization)
}

/// Whether the ledger should hear of it: something else is known, or an hour has passed.
fn is_news(fact: Option<&CredentialFact>, verdict: &Verdict, digest: Option<&str>) -> bool {
    let Some(fact) = fact else { return true };
    let identity = verdict.identity.clone().unwrap_or_default();
    let known =
        (fact.state.as_str(), fact.reason.as_str(), &fact.account, &fact.principal, fact.secret_digest.as_deref());
    if known != (verdict.state(), verdict.reason.as_str(), &identity.account, &identity.principal, digest) {
        return true;
    }
    let hour_passed = |at: Timestamp| at.duration_since(fact.checked_at) >= HOURLY;
    verdict.checked_at.is_some_and(hour_passed)
}

pub(super) fn digest_of(proof: &Proof) -> Option<&str> {
    match proof {
        Proof::Present { digest, .. } => Some(digest),
        Proof::Missing { .. } => None,
    }
}

fn plain(truth: Truth, reason: Reason, message: String) -> Verdict {
    let (identity, capabilities, zones, checked_at, succeeded_at) = (None, None, None, None, None);
    Verdict { truth, reason, message, identity, capabilities, zones, checked_at, succeeded_at, settled: true }
}

fn plain_unsettled(message: &str) -> Verdict {
    Verdict { settled: false, ..plain(Truth::Unknown, Reason::NotProbed, message.into()) }
}

fn matching<'a>(attempt: Option<&'a Attempt>, digest: &str) -> Option<&'a Attempt> {
    attempt.filter(|a| a.digest == digest)
}

fn known<'a>(facts: &'a Facts, digest: &str) -> Option<&'a CredentialFact> {
    match facts {
        Facts::Known(Some(fact)) if fact.secret_digest.as_deref() == Some(digest) => Some(fact),
        Facts::Known(_) | Facts::Away => None,
    }
}

fn identity_of(fact: Option<&CredentialFact>) -> Option<Identity> {
    let fact = fact?;
    Some(Identity { account: fact.account.clone(), principal: fact.principal.clone() })
}

fn interval(spec: &CloudCredentialSpec) -> Duration {
    read(&spec.probe.interval, Duration::from_secs(600)).max(Duration::from_secs(1))
}

fn grace(spec: &CloudCredentialSpec) -> Duration {
    read(&spec.probe.grace_after_last_success, Duration::from_secs(86_400))
}

fn read(text: &DurationText, otherwise: Duration) -> Duration {
    text.get().unwrap_or(otherwise)
}

/// Up to a twentieth more, by the object's uid: credentials made together are not probed together for ever.
fn jittered(interval: Duration, uid: &str) -> Duration {
    interval + interval / 20_000 * u32::from(share(&uid))
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
