//! What users see of a certificate.

use std::time::Duration;

use jiff::Timestamp;

use super::act::Done;
use super::decide::{Step, due};
use super::observe::{Held, Seen};
use super::standing::{known, stored};
use super::{Refusal, renewal, revoking};
use crate::api::{
    AcmeChallengeStatus, AcmeStatus, Certificate, CertificateStatus, Condition, Reason, RenewalInfoStatus,
    RenewalPolicy, RenewalWindow,
};
use crate::ledger::{AcmeChallenge, AcmeStage, CertificateFact};
use crate::reconcile::conditions::{self, whole_seconds};
use crate::reconcile::{Announcement, Next, Report, commands};
use crate::{Class, Error, Result};

/// A domain that is proved wakes its certificates; this is for the case that it is missed.
const REFUSED: Duration = Duration::from_secs(3600);
/// Timers of years are no timers: clocks are put, and machines sleep.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn report(
    object: &Certificate,
    seen: &Seen,
    step: &Step,
    outcome: Result<&Done, &Error>,
    now: Timestamp,
) -> Report {
    match (step, outcome) {
        (Step::LetGo, Ok(_)) => return Report::silent(Next::AwaitChange),
        (
            Step::Settle { .. }
            | Step::SettleRestore { .. }
            | Step::SettleRemoval { .. }
            | Step::Remove(_)
            | Step::Advance(_)
            | Step::AskRenewal,
            Ok(_),
        )
        | (Step::Revoke(_) | Step::Recall(_) | Step::GiveUp { .. }, Ok(_)) => return Report::silent(Next::Now),
        (_, Err(error)) if error.is_fleeting() => return Report::silent(Next::Backoff),
        (_, Ok(Done::Told(event))) => return Report::silent(Next::Now).announce(event.clone()),
        _ => {}
    }
    let mut status = object.status.clone().unwrap_or_default();
    let before = status.clone();
    status.last_handled = commands::handled(&seen.taken);
    status.observed_generation = object.metadata.generation;
    let fact = match outcome {
        Ok(Done::Issued(fact) | Done::TakenIn(fact)) => Some(fact.as_ref()),
        _ => known(seen),
    };
    show_fact(&mut status, object, fact);
    revoking::show(&mut status, object, seen, now);
    status.acme = object.spec.issuer.acme.as_ref().and_then(|_| shown(seen, fact));
    let told = Told::of(object, seen, step, outcome, now);
    told.show(&mut status, object, now);
    conditions::follow_ready(&mut status.conditions, now);
    announce(Report::new(&status, next(step, outcome, now)), (&before, &status), outcome, told.notice)
}

pub(super) fn unobserved(object: &Certificate, error: &Error, now: Timestamp) -> Report {
    let mut status = object.status.clone().unwrap_or_default();
    let end = status.not_after.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    let ready = conditions::get(&status.conditions, "Ready").is_some_and(|c| c.status == "True");
    // What stood in the Secret stands there still, for all that is known, as long as it lives.
    let lives = ready && end.is_some_and(|end| now < end);
    if !(error.is_fleeting() || lives && error.class() == Class::Transient) {
        let generation = object.metadata.generation;
        conditions::set(&mut status.conditions, "Ready", false, error.reason(), error.to_string(), generation, now);
    }
    conditions::follow_ready(&mut status.conditions, now);
    Report::new(&status, Next::Backoff)
}

/// When to look again.
fn next(step: &Step, outcome: Result<&Done, &Error>, now: Timestamp) -> Next {
    let until = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LONGEST);
    match (step, outcome) {
        (_, Err(error)) if error.class() == Class::Terminal => Next::AwaitChange,
        (_, Err(_)) => Next::Backoff,
        (Step::Rest { until: at, refused: Some(_) }, Ok(_)) => Next::After(at.map_or(REFUSED, until).min(REFUSED)),
        (Step::Rest { until: Some(at), .. }, Ok(_)) => Next::After(until(*at)),
        (Step::Rest { until: None, .. }, Ok(_)) => Next::AwaitChange,
        _ => Next::Now,
    }
}

fn show_fact(status: &mut CertificateStatus, object: &Certificate, fact: Option<&CertificateFact>) {
    let text = |at: Timestamp| whole_seconds(at).to_string();
    let certificate = fact.map(|fact| &fact.certificate);
    status.not_before = certificate.map(|c| text(c.not_before));
    status.not_after = certificate.map(|c| text(c.not_after));
    status.serial_number = certificate.map(|c| c.serial.clone());
    status.fingerprint_sha256 = certificate.map(|c| c.fingerprint.clone());
    status.issuer = certificate.map(|c| c.issuer.clone());
    status.dns_names = certificate.map(|c| c.terms.names.clone()).unwrap_or_default();
    let renewed = fact.filter(|_| object.spec.issuer.imported.is_none());
    status.renewal_time = renewed.and_then(|fact| due(&object.spec, fact)).map(text);
}

/// What is known of the CA: of the last order, and of when the CA would have the certificate renewed.
fn shown(seen: &Seen, fact: Option<&CertificateFact>) -> Option<AcmeStatus> {
    let order = seen.order.as_ref().filter(|order| order.subject.organization == seen.subject.organization);
    let state = |one: &AcmeChallenge| {
        order.map(|order| match order.stage {
            AcmeStage::Prepared | AcmeStage::Placing | AcmeStage::Placed | AcmeStage::Presenting => "Pending",
            // Where the domain's owner writes the zone, it is his to present.
            AcmeStage::Presented if one.place.is_none() => "Pending",
            AcmeStage::Presented => "Presented",
            AcmeStage::Responding | AcmeStage::Validating => "Validating",
            AcmeStage::Finalizing | AcmeStage::Issued | AcmeStage::Delivered => "Valid",
            AcmeStage::Failed | AcmeStage::Abandoned => "Failed",
        })
    };
    let challenges = order.map(|order| order.challenges.as_slice()).unwrap_or_default();
    let challenge = |one: &AcmeChallenge| AcmeChallengeStatus {
        domain: one.identifier.clone(),
        kind: "Dns01".to_owned(),
        state: state(one).unwrap_or_default().to_owned(),
    };
    let text = |at: Timestamp| whole_seconds(at).to_string();
    let ari = fact.and_then(|fact| {
        let (start, end) = fact.window?;
        let window = RenewalWindow { start: text(start), end: text(end) };
        Some(RenewalInfoStatus { window, explanation_url: fact.page.clone() })
    });
    let status = AcmeStatus {
        order_url: order.and_then(|order| order.url.clone()),
        account: order.and_then(|order| order.account_url.clone()),
        challenges: challenges.iter().map(challenge).collect(),
        ari,
    };
    (status != AcmeStatus::default()).then_some(status)
}

/// What the conditions say.
struct Told {
    /// Whether the Secret holds a valid pair for the names, and what to say of it.
    ready: bool,
    reason: Reason,
    message: String,
    /// Why a certificate that is wanted is not issued.
    hindered: Option<Refusal>,
    /// Days of the notice that applies.
    notice: Option<i32>,
}

impl Told {
    fn of(object: &Certificate, seen: &Seen, step: &Step, outcome: Result<&Done, &Error>, now: Timestamp) -> Self {
        let hindered = match (step, outcome) {
            (_, Err(error)) => Some(Refusal { reason: error.reason(), message: error.to_string() }),
            (Step::Rest { refused, .. }, _) => refused.clone(),
            _ => None,
        };
        let fact = match outcome {
            Ok(Done::Issued(fact) | Done::TakenIn(fact)) => Some(fact.as_ref()),
            Ok(Done::Restored) => known(seen),
            _ => None,
        };
        if let Some(fact) = fact {
            return Self::valid(object, fact, hindered, now);
        }
        let flaw = match (sound(object, seen, now), known(seen)) {
            (Ok(()), Some(fact)) => return Self::valid(object, fact, hindered, now),
            (Ok(()), None) => {
                Refusal { reason: Reason::Issuing, message: "what stands in the Secret is not on record yet".into() }
            }
            (Err(flaw), _) => flaw,
        };
        let why = hindered.clone().or_else(|| issuing(seen)).unwrap_or(flaw);
        Self { ready: false, reason: why.reason, message: why.message, hindered, notice: None }
    }

    fn valid(object: &Certificate, fact: &CertificateFact, hindered: Option<Refusal>, now: Timestamp) -> Self {
        let certificate = &fact.certificate;
        let end = whole_seconds(certificate.not_after);
        let alone = object.spec.issuer.imported.is_some() || object.spec.renewal.policy == RenewalPolicy::Manual;
        let notice = renewal::notice((certificate.not_before, certificate.not_after), now).0;
        let (reason, message) = match notice.filter(|_| alone || hindered.is_some()) {
            Some(days) if object.spec.issuer.imported.is_some() => {
                (Reason::ExpiresSoon, format!("it ends at {end}, in less than {days} days; bring the next one"))
            }
            Some(days) => {
                (Reason::ExpiresSoon, format!("it ends at {end}, in less than {days} days, and nothing renews it"))
            }
            None if object.spec.suspend => {
                (Reason::Suspended, format!("spec.suspend is true: nothing is issued; it ends at {end}"))
            }
            None => (Reason::Issued, format!("valid until {end}, issued by {}", certificate.issuer)),
        };
        Self { ready: true, reason, message, hindered, notice }
    }

    fn show(&self, status: &mut CertificateStatus, object: &Certificate, now: Timestamp) {
        let generation = object.metadata.generation;
        let all = &mut status.conditions;
        conditions::set(all, "Ready", self.ready, self.reason, &*self.message, generation, now);
        match &self.hindered {
            Some(why) if why.reason != Reason::Suspended => {
                conditions::set(all, "Issuing", false, why.reason, &*why.message, generation, now);
            }
            _ => conditions::clear(all, "Issuing"),
        }
    }
}

/// How far the certificate is that is being made.
fn issuing(seen: &Seen) -> Option<Refusal> {
    let far = match seen.order.as_ref()?.stage {
        AcmeStage::Prepared | AcmeStage::Placing => "the CA is asked for an order",
        AcmeStage::Placed => "the CA says what is to be proved",
        AcmeStage::Presenting => "the proofs are put into DNS",
        AcmeStage::Presented => "the proofs are in DNS, and its servers are asked for them",
        AcmeStage::Responding | AcmeStage::Validating => "the CA looks at the proofs in DNS",
        AcmeStage::Finalizing => "the names are proved, and the CA issues",
        AcmeStage::Issued => "it is put into the Secret",
        AcmeStage::Delivered | AcmeStage::Failed | AcmeStage::Abandoned => return None,
    };
    let message = format!("there is no valid certificate yet, and one is being issued: {far}");
    Some(Refusal { reason: Reason::Issuing, message })
}

/// Whether what stands in the Secret serves these names now.
fn sound(object: &Certificate, seen: &Seen, now: Timestamp) -> Result<(), Refusal> {
    let wanted = seen.wanted.as_ref().map_err(Clone::clone)?;
    let stored = stored(seen).ok_or_else(|| match &seen.secret {
        Held::Foreign(message) => Refusal { reason: Reason::SecretNotOwned, message: message.clone() },
        _ => {
            let name = super::observe::secret_name(&object.spec);
            let next = if object.spec.issuer.imported.is_some() { "; create it" } else { " yet" };
            Refusal { reason: Reason::SecretNotFound, message: format!("there is no Secret {name:?}{next}") }
        }
    })?;
    stored.check(&wanted.terms.names, now).map_err(|flaw| Refusal { reason: flaw.reason, message: flaw.message })
}

/// An Event for what was done, and one when `Ready` or `Issuing` say something that somebody should know.
fn announce(
    report: Report,
    (before, after): (&CertificateStatus, &CertificateStatus),
    outcome: Result<&Done, &Error>,
    notice: Option<i32>,
) -> Report {
    let report = match outcome {
        Ok(Done::Issued(fact)) => {
            let c = &fact.certificate;
            let message = format!("serial {} until {}, as {}", c.serial, whole_seconds(c.not_after), c.why);
            report.announce(Announcement::normal(Reason::Issued, "Issue", message))
        }
        Ok(Done::Restored) => {
            let message = "what stood around the key in the Secret was damaged, and was put right";
            report.announce(Announcement::normal(Reason::Issued, "Restore", message))
        }
        Ok(Done::TakenIn(fact)) => {
            let message = format!("serial {} stood in the Secret", fact.certificate.serial);
            report.announce(Announcement::normal(Reason::Issued, "Find", message))
        }
        _ => report,
    };
    let news = ["Ready", "Issuing", "Revoked"].into_iter().filter_map(|kind| {
        let (old, new) = (conditions::get(&before.conditions, kind), conditions::get(&after.conditions, kind)?);
        (old.map(key) != Some(key(new))).then_some(new)
    });
    let mut warned: Vec<&str> = Vec::new();
    news.fold(report, |report, condition| match warning(condition, notice) {
        Some(event) if !warned.contains(&condition.message.as_str()) => {
            warned.push(&condition.message);
            report.announce(event)
        }
        _ => report,
    })
}

/// The notice of 14 days is news after that of 30, and so is the revocation of another one.
fn key(condition: &Condition) -> (&str, &str, &str) {
    let told = [Reason::ExpiresSoon.as_str(), Reason::Revoked.as_str()].contains(&condition.reason.as_str());
    let message = if told { condition.message.as_str() } else { "" };
    (&condition.status, &condition.reason, message)
}

fn warning(condition: &Condition, notice: Option<i32>) -> Option<Announcement> {
    let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == condition.reason)?;
    if reason == Reason::Revoked {
        return Some(Announcement::normal(reason, "Revoke", &*condition.message));
    }
    let quiet = matches!(reason, Reason::Issued | Reason::Suspended) || reason.class() == Class::Transient;
    // Events of one reason and action are counted as one.
    let action = match notice.filter(|_| reason == Reason::ExpiresSoon) {
        Some(..=7) => "NoticeOf7Days",
        Some(..=14) => "NoticeOf14Days",
        Some(_) => "NoticeOf30Days",
        None => "Reconcile",
    };
    (!quiet).then(|| Announcement::warning(reason, action, &*condition.message))
}
