//! What users see of a record.

use std::time::Duration;

use jiff::Timestamp;

use super::act::{Done, refusal};
use super::decide::{Step, Verdict};
use super::observe::Seen;
use crate::api::{DnsRecord, DnsRecordStatus, NameserverAnswer, NameserverSeen, Reason, RecordProvider};
use crate::dns::RecordSet;
use crate::kinds::Refusal;
use crate::reconcile::backoff::share;
use crate::reconcile::conditions::{self, Truth};
use crate::reconcile::{Announcement, Next, RECORD_KEPT, Report, commands};
use crate::zones::{Answers, Effect, Said};
use crate::{Class, Error, Result};

/// How often a set is looked at that nobody speaks of.
const DRIFT: Duration = Duration::from_secs(600);
/// How often a record is looked at that may not have its set.
const UNACCEPTED: Duration = Duration::from_secs(3600);

pub(super) fn report(
    object: &DnsRecord,
    seen: &Seen,
    step: &Step,
    outcome: Result<&Done, &Error>,
    now: Timestamp,
) -> Report {
    match outcome {
        Ok(Done::Told(event)) => return Report::silent(Next::Now).announce(event.clone()),
        Ok(Done::Claimed | Done::Lost) => return Report::silent(Next::Now),
        Ok(Done::Asked { effect, .. }) if *step == Step::GiveWay && refusal(effect).is_none() => {
            return Report::silent(Next::Now);
        }
        Ok(Done::Finalizer) => return Report::silent(Next::AwaitChange),
        Ok(Done::Left(told)) => {
            let report = Report::silent(Next::Now);
            return told.iter().fold(report, |report, event| report.announce(event.clone()));
        }
        _ => {}
    }
    let mut status = object.status.clone().unwrap_or_default();
    status.last_handled = commands::handled(&seen.taken);
    let before = conditions::get(&status.conditions, "Ready").cloned();
    let verdict = verdict(step, outcome);
    let shown = Shown { generation: object.metadata.generation, now };
    match &verdict {
        Told::Leaving(refusal) => shown.set(&mut status, "Ready", false, refusal.reason, &*refusal.message),
        Told::Verdict(verdict) => {
            show_facts(&mut status, seen, outcome);
            shown.verdict(&mut status, object, verdict);
            shown.propagation(&mut status, seen, verdict, outcome);
        }
        Told::Error(error) => shown.error(&mut status, error),
    }
    let kept = match outcome {
        Ok(Done::Asked { kept: Some(words), .. } | Done::Written { kept: Some(words), .. }) => Some(&**words),
        _ => None,
    };
    shown.kept(&mut status, kept);
    status.observed_generation = object.metadata.generation;
    conditions::follow_ready(&mut status.conditions, now);
    let report = Report::new(&status, next(object, seen, step, outcome, &status, now));
    let report = kept.iter().fold(report, |report, words| report.announce(Announcement::of(&RECORD_KEPT, *words)));
    let report = repaired(step, seen, outcome).into_iter().fold(report, Report::announce);
    let turned = conditions::get(&status.conditions, "Ready");
    let words = (Reason::Progressing, Reason::Ready);
    report.announce_turn(before.as_ref(), turned, words, "Program")
}

pub(super) fn unobserved(object: &DnsRecord, error: &Error, now: Timestamp) -> Report {
    let mut status = object.status.clone().unwrap_or_default();
    Shown { generation: object.metadata.generation, now }.error(&mut status, error);
    conditions::follow_ready(&mut status.conditions, now);
    Report::new(&status, Next::Backoff)
}

/// What is to be told.
enum Told<'a> {
    Verdict(Verdict),
    Leaving(Refusal),
    Error(&'a Error),
}

fn verdict<'a>(step: &Step, outcome: Result<&Done, &'a Error>) -> Told<'a> {
    match (step, outcome) {
        (_, Err(error)) => Told::Error(error),
        (Step::Remove, Ok(Done::Asked { effect, .. })) => {
            let going = Refusal::new(Reason::Progressing, "the set is taken away");
            Told::Leaving(refusal(effect).as_ref().map_or(going, waits))
        }
        (Step::Hold(refusal), _) => Told::Leaving(waits(refusal)),
        (_, Ok(Done::Asked { effect, .. })) => {
            Told::Verdict(refusal(effect).map_or(Verdict::Programmed, Verdict::Unprogrammed))
        }
        (Step::Rest(verdict), _) => Told::Verdict(verdict.clone()),
        _ => Told::Verdict(Verdict::Programmed),
    }
}

/// With the way out, for who cannot or will not mend the cause.
fn waits(refusal: &Refusal) -> Refusal {
    let words = format!(
        "the deletion waits: {}; mend that, or let spec.deletionPolicy be Retain, which leaves the set at the provider",
        refusal.message
    );
    Refusal::new(refusal.reason, words)
}

/// What was found, whatever is made of it.
fn show_facts(status: &mut DnsRecordStatus, seen: &Seen, outcome: Result<&Done, &Error>) {
    if let Ok(gated) = &seen.gate {
        status.fqdn = Some(gated.owner.as_str().to_owned());
    }
    if let Some(place) = &seen.place {
        status.provider = Some(RecordProvider { zone_id: place.zone.id.clone() });
    }
    let stands = match (outcome, &seen.look, &seen.set) {
        (Ok(Done::Written { .. }), _, Ok(set)) => Some(set),
        (_, Ok(look), _) => look.set.as_ref(),
        _ => return,
    };
    status.observed = stands.map(values).unwrap_or_default();
    status.effective_ttl = stands.map(RecordSet::ttl);
}

/// What somebody else had made of the set, which was put right.
fn repaired(step: &Step, seen: &Seen, outcome: Result<&Done, &Error>) -> Option<Announcement> {
    let (Step::Write { repair: true }, Ok(Done::Written { .. }), Ok(look)) = (step, outcome, &seen.look) else {
        return None;
    };
    let words = match &look.set {
        Some(set) => {
            format!("somebody else had made it {}, ttl {}; it was put right", values(set).join(", "), set.ttl())
        }
        None => "somebody else had taken the set away; it was put right".to_owned(),
    };
    Some(Announcement::warning(Reason::Drifted, "Repair", words))
}

fn values(set: &RecordSet) -> Vec<String> {
    use crate::access::text;
    set.values().iter().map(|value| text::cap(&text::plain(&value.to_spec()), 4096)).collect()
}

/// Sets conditions of one generation at one time.
struct Shown {
    generation: Option<i64>,
    now: Timestamp,
}

impl Shown {
    fn set(
        &self,
        status: &mut DnsRecordStatus,
        kind: &str,
        truth: impl Into<Truth>,
        reason: Reason,
        message: impl Into<String>,
    ) {
        conditions::set(&mut status.conditions, kind, truth, reason, message, self.generation, self.now);
    }

    fn verdict(&self, status: &mut DnsRecordStatus, object: &DnsRecord, verdict: &Verdict) {
        match verdict {
            Verdict::Unaccepted(refusal) => {
                self.set(status, "Accepted", false, refusal.reason, &*refusal.message);
                self.set(status, "Ready", false, refusal.reason, &*refusal.message);
                // Nobody looks any more whether what was written stands.
                conditions::clear(&mut status.conditions, "Programmed");
                conditions::clear(&mut status.conditions, "Drifted");
                return;
            }
            _ => self.set(status, "Accepted", true, Reason::Accepted, "the domain is proved, and the values are good"),
        }
        match verdict {
            Verdict::Unprogrammed(refusal) => {
                let suspended = refusal.reason == Reason::Suspended;
                let stands = conditions::get(&status.conditions, "Programmed")
                    .is_some_and(|c| c.status == "True" && c.observed_generation == self.generation);
                if !(suspended && stands) {
                    self.set(status, "Programmed", false, refusal.reason, &*refusal.message);
                    match refusal.reason {
                        Reason::Contended => self.set(status, "Drifted", true, refusal.reason, &*refusal.message),
                        _ => conditions::clear(&mut status.conditions, "Drifted"),
                    }
                }
                let ready = suspended && stands;
                self.set(status, "Ready", ready, refusal.reason, &*refusal.message);
            }
            Verdict::Drifted(found) => {
                self.set(status, "Programmed", false, Reason::Drifted, &**found);
                self.set(status, "Drifted", true, Reason::Drifted, &**found);
                self.set(status, "Ready", true, Reason::Drifted, &**found);
            }
            Verdict::Programmed | Verdict::Unaccepted(_) => {
                let words = match object.spec.policy {
                    crate::api::RecordPolicy::Observe => "the set stands as the spec says",
                    _ => "the provider has the set as the spec says",
                };
                self.set(status, "Programmed", true, Reason::Programmed, words);
                self.set(status, "Drifted", false, Reason::Programmed, words);
                self.set(status, "Ready", true, Reason::Ready, words);
            }
        }
    }

    /// What the authoritative servers say. After a write what they said before counts no more.
    fn propagation(
        &self,
        status: &mut DnsRecordStatus,
        seen: &Seen,
        verdict: &Verdict,
        outcome: Result<&Done, &Error>,
    ) {
        let heard = match outcome {
            Ok(Done::Written { heard: None, .. }) => {
                let words = "written; the authoritative servers are asked next";
                return self.set(status, "Propagated", false, Reason::Progressing, words);
            }
            Ok(Done::Written { heard, .. }) => heard,
            _ => &seen.heard,
        };
        match (heard, &seen.set, verdict) {
            (Some(heard), Ok(set), _) => {
                status.nameservers = nameservers(heard, set);
                let (truth, reason, words) = propagated(heard, &status.nameservers);
                self.set(status, "Propagated", truth, reason, words);
            }
            (_, _, Verdict::Programmed) => {}
            _ => {
                status.nameservers = Vec::new();
                conditions::clear(&mut status.conditions, "Propagated");
            }
        }
    }

    /// What was written elsewhere and stays there. That is told until the spec changes.
    fn kept(&self, status: &mut DnsRecordStatus, words: Option<&str>) {
        if let Some(words) = words {
            return self.set(status, "Kept", true, Reason::SetKept, words);
        }
        if conditions::get(&status.conditions, "Kept").is_some_and(|c| c.observed_generation != self.generation) {
            conditions::clear(&mut status.conditions, "Kept");
        }
    }

    /// An error of ours says nothing about the set: what was known stays.
    fn error(&self, status: &mut DnsRecordStatus, error: &Error) {
        let ready = conditions::get(&status.conditions, "Ready").is_some_and(|c| c.status == "True");
        let away = error.is_fleeting() || error.reason() == Reason::LedgerUnavailable;
        if error.is_fleeting() || (ready && away) {
            return;
        }
        self.set(status, "Ready", false, error.reason(), error.to_string());
    }
}

fn nameservers(heard: &Answers, set: &RecordSet) -> Vec<NameserverSeen> {
    let mut all: Vec<NameserverSeen> = heard
        .servers
        .iter()
        .map(|server| {
            let answer = match &server.answer {
                Said::Values { values, .. } => {
                    let mut values = values.clone();
                    values.sort_unstable();
                    values.dedup();
                    if values == set.values() { NameserverAnswer::Current } else { NameserverAnswer::Stale }
                }
                Said::NoData | Said::NoName => NameserverAnswer::Stale,
                Said::Nothing(_) => NameserverAnswer::Unreachable,
            };
            NameserverSeen { host: crate::access::text::cap(&server.host, 253), answer }
        })
        .collect();
    all.sort_by(|a, b| (&a.host, a.answer as u8).cmp(&(&b.host, b.answer as u8)));
    all.truncate(64);
    all
}

fn propagated(heard: &Answers, servers: &[NameserverSeen]) -> (Truth, Reason, String) {
    let count = |answer| servers.iter().filter(|server| server.answer == answer).count();
    let (current, stale) = (count(NameserverAnswer::Current), count(NameserverAnswer::Stale));
    let silent = count(NameserverAnswer::Unreachable);
    match (current, stale, silent) {
        (0, 0, _) => {
            let why = heard.trouble.clone().unwrap_or_else(|| format!("none of {silent} servers answers"));
            (
                Truth::Unknown,
                Reason::ResolverUnavailable,
                format!("the authoritative servers could not be asked: {why}"),
            )
        }
        (_, 0, 0) => (Truth::True, Reason::Propagated, format!("{current} of {current} authoritative servers have it")),
        (_, 0, _) => (
            Truth::True,
            Reason::Propagated,
            format!("the {current} authoritative servers that answer have it; {silent} do not answer"),
        ),
        _ => (
            Truth::False,
            Reason::Progressing,
            format!("{current} of {} authoritative servers have it", current + stale + silent),
        ),
    }
}

/// When to look again.
fn next(
    object: &DnsRecord,
    seen: &Seen,
    step: &Step,
    outcome: Result<&Done, &Error>,
    status: &DnsRecordStatus,
    now: Timestamp,
) -> Next {
    let unmade = match (step, outcome) {
        (_, Err(error)) if error.class() == Class::Terminal => return Next::AwaitChange,
        (_, Err(_)) => return Next::Backoff,
        (_, Ok(Done::Written { heard: None, .. })) => return Next::Now,
        (_, Ok(Done::Asked { effect: Effect::Trouble(trouble), .. })) => Some((trouble.reason, trouble.retry_after)),
        (_, Ok(Done::Asked { effect, .. })) => match refusal(effect) {
            None => return Next::Now,
            Some(refusal) => Some((refusal.reason, None)),
        },
        (Step::Hold(refusal) | Step::Rest(Verdict::Unprogrammed(refusal)), _) => Some((refusal.reason, seen.rest)),
        // Most of what it waits for wakes it; the label of a namespace does not.
        (Step::Rest(Verdict::Unaccepted(_)), _) => return Next::After(UNACCEPTED),
        _ => None,
    };
    match unmade {
        Some((_, Some(rest))) => Next::After(rest.max(Duration::from_secs(1))),
        Some((Reason::Contended, None)) if matches!(outcome, Ok(Done::Nothing)) => Next::After(DRIFT / 5),
        Some((Reason::ProviderRejected | Reason::NotOwned | Reason::Conflict | Reason::Suspended, None)) => {
            Next::After(jittered(object))
        }
        // Zones are made by others, and soon, where an object waits for one.
        Some((reason, None)) if reason == Reason::ZoneNotFound || reason.class() == Class::Transient => Next::Backoff,
        Some(_) => Next::After(jittered(object)),
        None => Next::After(patience(status, now).unwrap_or_else(|| jittered(object))),
    }
}

/// While the authoritative servers do not have it: soon at first, then later and later.
fn patience(status: &DnsRecordStatus, now: Timestamp) -> Option<Duration> {
    let propagated = conditions::get(&status.conditions, "Propagated").filter(|c| c.status != "True")?;
    let age = now.duration_since(propagated.last_transition_time.0).as_secs();
    Some(Duration::from_secs(match age {
        ..3 => 1,
        3..10 => 2,
        10..60 => 5,
        60..600 => 30,
        _ => 600,
    }))
}

/// Up to a tenth more, by the object's uid: records made together are not looked at together for ever.
fn jittered(object: &DnsRecord) -> Duration {
    DRIFT + DRIFT / 10_000 * u32::from(share(&object.metadata.uid))
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
