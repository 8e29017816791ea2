#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;

use serde_json::json;

use super::*;
use crate::dns::Data;
use crate::kinds::record::tests::{object_with, seen, set_of};
use crate::zones::{Heard, Look, Whose};

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn heard(answers: &[(&str, Said)]) -> Answers {
    let address = SocketAddr::from(([127, 0, 0, 1], 53));
    let server = |(host, answer): &(&str, Said)| Heard { host: (*host).to_owned(), address, answer: answer.clone() };
    Answers { servers: answers.iter().map(server).collect(), trouble: None }
}

fn values(addresses: &[&str]) -> Said {
    let values = addresses.iter().map(|a| Data::A(a.parse().unwrap())).collect();
    Said::Values { values, ttl: 300 }
}

fn told(seen: &Seen, step: &Step, outcome: Result<&Done, &Error>) -> (DnsRecordStatus, Next) {
    let report = report(&object_with(json!({}), false), seen, step, outcome, now());
    (serde_json::from_value(report.status.unwrap()).unwrap(), report.next)
}

fn condition(status: &DnsRecordStatus, kind: &str) -> (String, String) {
    let found = conditions::get(&status.conditions, kind).unwrap();
    (found.status.clone(), found.reason.clone())
}

fn is(status: &DnsRecordStatus, kind: &str, truth: &str, reason: &str) {
    assert_eq!(condition(status, kind), (truth.to_owned(), reason.to_owned()), "{kind}");
}

#[test]
fn accepted_programmed_and_propagated_are_told_apart() {
    let mut seen = seen();
    let set = set_of(&["192.0.2.1"]);
    let write = Step::Write { repair: false };
    let (status, next) = told(&seen, &write, Ok(&Done::Written { heard: None, kept: None }));
    for (kind, truth, reason) in [
        ("Accepted", "True", "Accepted"),
        ("Programmed", "True", "Programmed"),
        ("Propagated", "False", "Progressing"),
        ("Drifted", "False", "Programmed"),
        ("Ready", "True", "Ready"),
    ] {
        is(&status, kind, truth, reason);
    }
    assert_eq!((status.observed, status.effective_ttl, next), (vec!["192.0.2.1".to_owned()], Some(300), Next::Now));

    seen.look = Ok(Look { set: Some(set), whose: Whose::Ours, beside: vec![], delegation: None });
    let rest = Step::Rest(Verdict::Programmed);
    for (answers, truth, reason, table, next) in [
        (vec![("a", values(&["192.0.2.1"])), ("b", values(&["192.0.2.1"]))], "True", "Propagated", "CC", None),
        (vec![("a", values(&["192.0.2.1"])), ("b", values(&["192.0.2.9"]))], "False", "Progressing", "CS", Some(1)),
        (vec![("a", Said::NoName), ("b", Said::NoData)], "False", "Progressing", "SS", Some(1)),
        (
            vec![("a", values(&["192.0.2.1"])), ("b", Said::Nothing("SERVFAIL".into()))],
            "True",
            "Propagated",
            "CU",
            None,
        ),
        (vec![("a", values(&["192.0.2.1", "192.0.2.2"]))], "False", "Progressing", "S", Some(1)),
        (vec![("a", Said::Nothing("timeout".into()))], "Unknown", "ResolverUnavailable", "U", Some(1)),
        (vec![], "Unknown", "ResolverUnavailable", "", Some(1)),
    ] {
        let written = Done::Written { heard: Some(heard(&answers)), kept: None };
        seen.heard = None;
        let at_once = told(&seen, &write, Ok(&written));
        seen.heard = Some(heard(&answers));
        let (status, after) = told(&seen, &rest, Ok(&Done::Nothing));
        assert_eq!(at_once, (status.clone(), after), "it makes no difference who asked");
        is(&status, "Propagated", truth, reason);
        is(&status, "Ready", "True", "Ready");
        let letter = |s: &NameserverSeen| match s.answer {
            NameserverAnswer::Current => 'C',
            NameserverAnswer::Stale => 'S',
            NameserverAnswer::Unreachable => 'U',
        };
        assert_eq!(status.nameservers.iter().map(letter).collect::<String>(), table);
        match (next, after) {
            (Some(seconds), after) => assert_eq!(after, Next::After(Duration::from_secs(seconds))),
            (None, Next::After(rest)) => assert!((DRIFT..=DRIFT * 11 / 10).contains(&rest)),
            (None, other) => unreachable!("{other:?}"),
        }
    }
}

#[test]
fn each_effect_has_its_reason() {
    let seen = seen();
    for (effect, reason) in [
        (Effect::NotOwned("external-dns's".into()), "NotOwned"),
        (Effect::Rejected("no such thing".into()), "ProviderRejected"),
        (Effect::Changed(None), "Contended"),
    ] {
        let (status, _) = told(&seen, &Step::Write { repair: false }, Ok(&Done::asked(effect)));
        is(&status, "Programmed", "False", reason);
        is(&status, "Ready", "False", reason);
        is(&status, "Accepted", "True", "Accepted");
    }
}

#[test]
fn what_is_not_accepted_says_so_alone_and_what_is_drifted_stays_ready() {
    let seen = seen();
    let refusal = Refusal::new(Reason::DomainNotVerified, "x");
    let (status, next) = told(&seen, &Step::Rest(Verdict::Unaccepted(refusal)), Ok(&Done::Nothing));
    is(&status, "Accepted", "False", "DomainNotVerified");
    is(&status, "Ready", "False", "DomainNotVerified");
    assert!(conditions::get(&status.conditions, "Programmed").is_none());
    assert_eq!(next, Next::After(UNACCEPTED));
    let (status, _) = told(&seen, &Step::Rest(Verdict::Drifted("192.0.2.9".into())), Ok(&Done::Nothing));
    is(&status, "Drifted", "True", "Drifted");
    is(&status, "Ready", "True", "Drifted");
}

#[test]
fn a_set_that_stays_elsewhere_is_told_until_the_spec_changes() {
    let step = Step::Write { repair: false };
    let kept = Done::Asked { effect: Effect::Unchanged, kept: Some("www stays in zone a".into()) };
    let (status, _) = told(&seen(), &step, Ok(&kept));
    is(&status, "Kept", "True", "SetKept");
    is(&status, "Ready", "True", "Ready");
    let mut object = object_with(json!({}), false);
    object.status = Some(status);
    let rest = Step::Rest(Verdict::Programmed);
    let next = |object: &DnsRecord| -> DnsRecordStatus {
        let report = report(object, &seen(), &rest, Ok(&Done::Nothing), now());
        serde_json::from_value(report.status.unwrap()).unwrap()
    };
    is(&next(&object), "Kept", "True", "SetKept");
    object.metadata.generation = Some(2);
    assert!(conditions::get(&next(&object).conditions, "Kept").is_none());
}

/// With Postgres away what is known stands, and a record that is not ready says why.
#[test]
fn an_error_of_ours_takes_nothing_back() {
    let error = Error::condition(Reason::LedgerUnavailable, "away");
    let (good, _) = told(&seen(), &Step::Write { repair: false }, Ok(&Done::Written { heard: None, kept: None }));
    let mut object = object_with(json!({}), false);
    object.status = Some(good.clone());
    let kept: DnsRecordStatus = serde_json::from_value(unobserved(&object, &error, now()).status.unwrap()).unwrap();
    assert_eq!(kept, good);
    object.status = None;
    let told: DnsRecordStatus = serde_json::from_value(unobserved(&object, &error, now()).status.unwrap()).unwrap();
    is(&told, "Ready", "False", "LedgerUnavailable");
}
