#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::act::Done;
use super::super::look::Found;
use super::super::name::canonical;
use super::*;
use crate::api::{Condition, DomainServer, Organization, ServerAnswer};
use crate::dns::{Name, Zone};
use crate::kinds::in_use::InUse;
use crate::ledger::{ObjectKind, Subject, Taken};
use crate::reconcile::{Next, Report};

#[path = "strange_tests.rs"]
mod strange;

const NOW: i64 = 10_000_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn object(meta: Value, spec: Value) -> OrganizationDomain {
    let mut value = json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "OrganizationDomain",
        "metadata": {"name": "d", "namespace": "n", "uid": "u", "generation": 1, "finalizers": ["landfall.dev/finalizer"]},
        "spec": {"domain": "example.com"},
    });
    for (part, more) in [("metadata", meta), ("spec", spec)] {
        value.get_mut(part).unwrap().as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    serde_json::from_value(value).unwrap()
}

fn plain() -> OrganizationDomain {
    object(json!({}), json!({}))
}

fn subject(organization: &str) -> Subject {
    Subject {
        organization: Organization(organization.into()),
        cluster: Uuid::nil(),
        kind: ObjectKind::OrganizationDomain,
        uid: Uuid::nil(),
        namespace: "n".into(),
        name: "d".into(),
    }
}

fn standing(state: DomainState, reason: Reason, checked: Option<i64>) -> DomainStanding {
    DomainStanding {
        state,
        reason,
        verified_at: state.holds().then(|| at(NOW - 2 * DAY)),
        missed_since: (state == DomainState::Degraded).then(|| at(NOW - DAY)),
        checked_at: checked.map(at),
        asked_at: None,
    }
}

fn fact(standing: DomainStanding) -> DomainFact {
    DomainFact {
        subject: subject("acme"),
        fqdn: "example.com".into(),
        registrable: "example.com".into(),
        token: "t".repeat(32),
        terms: plain().spec.terms(),
        since: at(NOW - 10 * HOUR),
        standing,
    }
}

fn seen(fact: Option<DomainFact>) -> Seen {
    Seen {
        subject: subject("acme"),
        name: canonical("example.com"),
        fact,
        freed: false,
        published: None,
        home: None,
        account: None,
        held: None,
        in_use: InUse::default(),
        command: None,
        gate: None,
        taken: Vec::new(),
    }
}

fn asked(second: i64) -> Vec<Taken> {
    vec![Taken { command: "reconcile".into(), value: "x".into(), by: "alice".into(), at: at(second) }]
}

fn step(object: &OrganizationDomain, seen: &Seen) -> String {
    format!("{:?}", decide(object, seen, at(NOW))).split([' ', '(']).next().unwrap().to_owned()
}

#[test]
fn what_is_done_and_when() {
    use DomainState::{Degraded, Pending, Unverified, Verified};
    use Reason::{ClaimedElsewhere, RecordNotFound, ResolverUnavailable};
    let known = |state, reason, checked| seen(Some(fact(standing(state, reason, checked))));
    let verified = |ago| known(Verified, Reason::Verified, Some(NOW - ago));
    let command = |verb| Some(Command { verb, value: "x".into(), by: "alice".into() });
    let foreign = Seen { subject: subject("other"), ..verified(1) };
    let renamed = Seen { name: canonical("example.org"), ..verified(1) };
    let cases: Vec<(&str, Seen, &str)> = vec![
        ("nothing is known", seen(None), "Begin"),
        ("the namespace went to another organization", foreign, "Begin"),
        ("the ledger's row is of another name", renamed, "Begin"),
        ("the name is none", Seen { name: canonical("co.uk"), ..seen(None) }, "Refuse"),
        ("never looked at", known(Pending, Reason::PendingVerification, None), "Look"),
        (
            "pending for ten hours, looked at 50 minutes ago",
            known(Pending, RecordNotFound, Some(NOW - 50 * 60)),
            "Rest",
        ),
        (
            "pending for ten hours, looked at 65 minutes ago",
            known(Pending, RecordNotFound, Some(NOW - 65 * 60)),
            "Look",
        ),
        ("claimed elsewhere, a minute ago", known(Pending, ClaimedElsewhere, Some(NOW - 60)), "Rest"),
        ("free since", Seen { freed: true, ..known(Pending, ClaimedElsewhere, Some(NOW - 60)) }, "Look"),
        ("claimed elsewhere, an hour ago", known(Pending, ClaimedElsewhere, Some(NOW - 65 * 60)), "Look"),
        ("proved 23 hours ago", verified(23 * HOUR), "Rest"),
        ("proved 26 hours ago", verified(26 * HOUR), "Look"),
        ("proved, no answer 50 minutes ago", known(Verified, ResolverUnavailable, Some(NOW - 50 * 60)), "Rest"),
        ("proved, no answer 65 minutes ago", known(Verified, ResolverUnavailable, Some(NOW - 65 * 60)), "Look"),
        ("missing, an hour ago", known(Degraded, RecordNotFound, Some(NOW - 65 * 60)), "Look"),
        ("missing, a minute ago", known(Degraded, RecordNotFound, Some(NOW - 60)), "Rest"),
        ("lost, an hour ago", known(Unverified, RecordNotFound, Some(NOW - 65 * 60)), "Look"),
        ("a person asks", Seen { taken: asked(NOW - 5), ..verified(10) }, "Look"),
        ("a person's clock is ahead of ours", Seen { taken: asked(NOW + 500), ..verified(10) }, "Look"),
        ("a command waits", Seen { command: command(Verb::Reconcile), ..verified(1) }, "Take"),
        ("a command of another kind", Seen { command: command(Verb::Approve), ..verified(1) }, "Discard"),
        (
            "the gate is open",
            Seen { command: command(Verb::Reconcile), gate: Some("no".into()), ..verified(1) },
            "Discard",
        ),
    ];
    for (what, seen, expected) in cases {
        assert_eq!(step(&plain(), &seen), expected, "{what}");
    }
    let mut answered = verified(10);
    answered.taken = asked(NOW + 500);
    answered.fact.as_mut().unwrap().standing.asked_at = Some(at(NOW + 500));
    assert_eq!(step(&plain(), &answered), "Rest", "a command is answered by one look, whatever the clocks say");
    let spec = |more| object(json!({}), more);
    assert_eq!(step(&spec(json!({"policy": {"allowApex": false}})), &verified(1)), "Tell");
    assert_eq!(step(&spec(json!({"suspend": true})), &verified(100 * HOUR)), "Look", "a look is no effect");
    assert_eq!(step(&spec(json!({"suspend": true})), &verified(HOUR)), "Rest");
    let hourly = spec(json!({"verification": {"reverifyAfter": "1h"}}));
    assert_eq!(step(&hourly, &verified(2 * HOUR)), "Tell");
    let mut told = verified(2 * HOUR);
    told.fact.as_mut().unwrap().terms = hourly.spec.terms();
    assert_eq!(step(&hourly, &told), "Look");
}

#[test]
fn a_deletion_waits_for_records_and_for_nothing_else() {
    let deleted = object(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({}));
    for fact in [None, Some(fact(standing(DomainState::Verified, Reason::Verified, None)))] {
        assert_eq!(step(&deleted, &seen(fact.clone())), "LetGo");
        let looks = fact.is_some();
        let used = Seen { in_use: InUse { own: vec![], others: 1 }, ..seen(fact) };
        assert_eq!(step(&deleted, &used), if looks { "Look" } else { "Hold" });
    }
    // While it waits its proof grows old as any.
    let checked = |ago| seen(Some(fact(standing(DomainState::Verified, Reason::Verified, Some(NOW - ago)))));
    for (ago, expected) in [(26 * HOUR, "Look"), (HOUR, "Hold")] {
        let used = Seen { in_use: InUse { own: vec![], others: 1 }, ..checked(ago) };
        assert_eq!(step(&deleted, &used), expected);
    }
    let bad = Seen { name: canonical("co.uk"), command: None, ..seen(None) };
    assert_eq!(step(&deleted, &bad), "LetGo");
    let gone = object(json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["other"]}), json!({}));
    assert_eq!(step(&gone, &seen(None)), "Rest");
}

fn home(zone: &str) -> Home {
    let credential = Subject { kind: ObjectKind::CloudCredential, ..subject("acme") };
    Home { credential, zone: Zone { id: zone.into(), name: Name::parse("example.com").unwrap() } }
}

fn published(zone: &str, second: i64) -> Option<DomainPublished> {
    let home = home(zone);
    Some(DomainPublished {
        credential: home.credential,
        zone_id: home.zone.id,
        zone_name: home.zone.name.as_str().into(),
        at: Some(at(second)),
        leaving_since: None,
    })
}

fn unwritten() -> Option<DomainPublished> {
    published("z", NOW).map(|published| DomainPublished { at: None, ..published })
}

#[test]
fn the_challenge_of_a_managed_domain_is_set_where_it_belongs_and_taken_from_where_it_does_not() {
    use DomainState::{Pending, Verified};
    let known = |state, reason, checked| seen(Some(fact(standing(state, reason, checked))));
    let new = || known(Pending, Reason::PendingVerification, None);
    let proved = || known(Verified, Reason::Verified, Some(NOW - HOUR));
    let overdue = || known(Verified, Reason::Verified, Some(NOW - 2 * DAY));
    let missed = || known(Pending, Reason::RecordNotFound, Some(NOW - 1));
    let at_home = |seen: Seen| Seen { home: Some(Ok(home("z"))), ..seen };
    let lost = |seen: Seen| Seen { home: Some(Err((Reason::CredentialNotReady, String::new()))), ..seen };
    let by_us = |seen: Seen, zone, second| Seen { published: published(zone, second), ..seen };
    let foreign = |seen: Seen| Seen { subject: subject("other"), ..seen };
    let spec = json!({"dns": {"mode": "Managed", "credentialRef": {"name": "pdns"}}});
    let managed = object(json!({}), spec.clone());
    let of = |seen: Seen| {
        let mut seen = seen;
        if let Some(fact) = seen.fact.as_mut() {
            fact.terms = managed.spec.terms();
        }
        seen
    };
    for (what, seen, expected) in [
        ("not set yet", at_home(new()), "Publish"),
        ("no way to the zone", lost(new()), "Look"),
        ("set", by_us(at_home(new()), "z", NOW), "Look"),
        ("set, and proved", by_us(at_home(proved()), "z", NOW - DAY), "Rest"),
        ("about to be set", Seen { published: unwritten(), ..at_home(proved()) }, "Publish"),
        ("set, and missed since", by_us(at_home(missed()), "z", NOW - DAY), "Publish"),
        ("missed, and set since", by_us(at_home(missed()), "z", NOW), "Rest"),
        ("proved by hand, managed since", at_home(proved()), "Publish"),
        ("the same, and a look is due", at_home(overdue()), "Look"),
        ("set in another zone", by_us(at_home(proved()), "y", NOW), "Withdraw"),
        ("set, and the zone is not known now", by_us(lost(proved()), "z", NOW), "Rest"),
        ("managed no more", by_us(proved(), "z", NOW), "Withdraw"),
        ("of another organization by now", foreign(by_us(at_home(proved()), "z", NOW)), "Withdraw"),
    ] {
        assert_eq!(step(&managed, &of(seen)), expected, "{what}");
    }
    let waiting = of(by_us(lost(proved()), "z", NOW));
    assert_eq!(decide(&managed, &waiting, at(NOW)), Step::Rest { until: Some(at(NOW + 60)) });
    let deleted = object(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), spec);
    assert_eq!(step(&deleted, &by_us(proved(), "z", NOW)), "Withdraw");
    assert_eq!(step(&deleted, &proved()), "LetGo");
}

#[test]
fn a_managed_domain_without_its_zone_is_not_ready_and_stays_proved() {
    let known = fact(standing(DomainState::Verified, Reason::Verified, Some(NOW)));
    let lost = Some(Err((Reason::ZoneNotFound, "no zone".to_owned())));
    let seen = Seen { home: lost, ..seen(Some(known)) };
    let report = told(&plain(), &seen, &Step::Rest { until: None }, &Done::Nothing, NOW);
    assert_eq!(
        (condition(&report, "Ready").reason, condition(&report, "Ready").status),
        ("ZoneNotFound".into(), "False".into())
    );
    assert_eq!(condition(&report, "Verified").status, "True");
}

#[test]
fn a_domain_that_is_not_proved_is_looked_at_eagerly_first_and_hourly_at_last() {
    let spec = plain().spec;
    let rest = |passed: i64| {
        let mut fact = fact(standing(DomainState::Pending, Reason::RecordNotFound, Some(NOW)));
        fact.since = at(NOW - passed);
        due(&spec, &fact, None).duration_since(at(NOW)).as_secs()
    };
    assert!((5..=6).contains(&rest(0)), "{}", rest(0));
    assert!((60..=63).contains(&rest(600)), "{}", rest(600));
    assert!((3600..=3780).contains(&rest(100 * DAY)), "{}", rest(100 * DAY));
}

#[test]
fn the_end_of_the_grace_is_not_missed_by_an_hour() {
    let spec = object(json!({}), json!({"verification": {"grace": "24h10m"}})).spec;
    let fact = fact(standing(DomainState::Degraded, Reason::RecordNotFound, Some(NOW)));
    assert_eq!(due(&spec, &fact, None), at(NOW + 600));
}

fn after(before: &DomainStanding, verdict: &Verdict, now: i64) -> DomainStanding {
    judge(&plain().spec, before, verdict, None, at(now))
}

#[test]
fn what_follows_from_a_look() {
    use DomainState::{Degraded, Pending, Unverified, Verified};
    use Reason::{ContentMismatch, RecordNotFound, ResolverUnavailable};
    let missing = Verdict::Missing(RecordNotFound);
    let other = Verdict::Missing(ContentMismatch);
    let silence = Verdict::Undecided("no answer".into());
    let of = |state: DomainState| DomainStanding {
        verified_at: state.holds().then(|| at(NOW - DAY - HOUR)),
        ..standing(state, RecordNotFound, Some(NOW - HOUR))
    };
    let week = 7 * DAY;
    for (before, verdict, now, state, reason) in [
        (Pending, &Verdict::Proved, NOW, Verified, Reason::Verified),
        (Pending, &missing, NOW, Pending, RecordNotFound),
        (Pending, &other, NOW + 100 * week, Pending, ContentMismatch),
        (Pending, &silence, NOW, Pending, ResolverUnavailable),
        (Verified, &Verdict::Proved, NOW, Verified, Reason::Verified),
        (Verified, &missing, NOW, Degraded, RecordNotFound),
        (Verified, &silence, NOW + week - 1, Verified, ResolverUnavailable),
        (Verified, &silence, NOW + week, Unverified, ResolverUnavailable),
        (Degraded, &Verdict::Proved, NOW, Verified, Reason::Verified),
        (Degraded, &other, NOW + 6 * DAY - 1, Degraded, ContentMismatch),
        (Degraded, &other, NOW + 6 * DAY, Unverified, ContentMismatch),
        (Degraded, &silence, NOW + week - 1, Degraded, ResolverUnavailable),
        (Degraded, &silence, NOW + week, Unverified, ResolverUnavailable),
        (Degraded, &other, NOW + week, Unverified, ContentMismatch),
        (Unverified, &Verdict::Proved, NOW, Verified, Reason::Verified),
        (Unverified, &missing, NOW, Unverified, RecordNotFound),
        (Unverified, &silence, NOW, Unverified, ResolverUnavailable),
    ] {
        let found = after(&of(before), verdict, now);
        assert_eq!((found.state, found.reason), (state, reason), "{before:?} {verdict:?}");
        assert_eq!(found.checked_at, Some(at(now)));
    }
    let first = after(&of(Verified), &missing, NOW);
    assert_eq!(first.missed_since, Some(at(NOW)));
    let second = after(&first, &missing, NOW + HOUR);
    assert_eq!(second.missed_since, Some(at(NOW)), "the grace is counted from the first");
    assert_eq!(after(&second, &Verdict::Proved, NOW + HOUR).missed_since, None);
    let strict = object(json!({}), json!({"verification": {"grace": "0s"}})).spec;
    let fresh = standing(Verified, Reason::Verified, Some(NOW));
    let fresh = DomainStanding { verified_at: Some(at(NOW)), ..fresh };
    let once = judge(&strict, &fresh, &missing, None, at(NOW + HOUR));
    assert_eq!(once.state, Degraded, "once is not enough, whatever the grace");
    assert_eq!(judge(&strict, &once, &missing, None, at(NOW + HOUR + 600)).state, Degraded, "nor is twice at once");
    assert_eq!(judge(&strict, &once, &missing, None, at(NOW + 2 * HOUR)).state, Unverified);
    let silent = judge(&strict, &once, &silence, None, at(NOW + 2 * HOUR));
    assert_eq!(
        judge(&strict, &silent, &missing, None, at(NOW + 4 * HOUR)).state,
        Degraded,
        "the look before told nothing"
    );
}

#[test]
fn after_the_grace_looks_are_an_hour_apart_so_that_two_can_count() {
    let spec = object(json!({}), json!({"verification": {"reverifyAfter": "1m", "grace": "1h"}})).spec;
    let of = |reason| fact(standing(DomainState::Degraded, reason, Some(NOW)));
    assert!(due(&spec, &of(Reason::RecordNotFound), None) >= at(NOW + HOUR));
}

proptest! {
    /// However often nobody answers: no state changes before the proof is too old, and the first miss stays where it was.
    #[test]
    fn silence_changes_no_state_but_makes_no_proof_younger(
        state in prop::sample::select(vec![DomainState::Pending, DomainState::Verified, DomainState::Degraded, DomainState::Unverified]),
        gaps in prop::collection::vec(1i64..40 * DAY, 1..20),
    ) {
        let before = standing(state, Reason::RecordNotFound, Some(NOW - 1));
        let (mut now, mut found) = (NOW, before.clone());
        for gap in gaps {
            now += gap;
            found = after(&found, &Verdict::Undecided("SERVFAIL".into()), now);
        }
        let old = state.holds() && now >= NOW + 6 * DAY + HOUR;
        let expected = if old { DomainState::Unverified } else { state };
        prop_assert_eq!((found.state, found.missed_since, found.verified_at), (expected, before.missed_since, before.verified_at));
    }

    /// A domain is lost by looks that found the record missing at the beginning and twice at the end of the grace, with none
    /// between that found it; or when the last that found it is too long ago.
    #[test]
    fn a_domain_is_lost_only_after_the_grace_without_the_record(
        looks in prop::collection::vec((1i64..3 * DAY, 0u8..3), 1..40),
    ) {
        let mut found = standing(DomainState::Verified, Reason::Verified, Some(NOW));
        let (mut now, mut first_miss, mut proved, mut last) = (NOW, None, NOW - 2 * DAY, (0, NOW));
        for (gap, look) in looks {
            now += gap;
            let verdict = match look {
                0 => Verdict::Proved,
                1 => Verdict::Missing(Reason::RecordNotFound),
                _ => Verdict::Undecided(String::new()),
            };
            let before = found.state;
            found = after(&found, &verdict, now);
            match look {
                0 => (first_miss, proved) = (None, now),
                1 => first_miss = first_miss.or(Some(now)),
                _ => {}
            }
            let twice = look == 1 && last.0 == 1 && now - last.1 >= HOUR;
            let lost = first_miss.is_some_and(|first| twice && now >= first + 7 * DAY) || now >= proved + 8 * DAY + HOUR;
            last = (look, now);
            let expected = match (look, before) {
                (0, _) => DomainState::Verified,
                (_, DomainState::Unverified) => DomainState::Unverified,
                _ if lost => DomainState::Unverified,
                (1, _) => DomainState::Degraded,
                _ => before,
            };
            prop_assert_eq!(found.state, expected);
        }
    }
}

fn found(verdict: Verdict, seen: &[&str], answer: ServerAnswer) -> Found {
    let servers = vec![DomainServer { host: "ns1.example.com".into(), answer }];
    Found { verdict, seen: seen.iter().map(|s| (*s).to_owned()).collect(), servers }
}

fn told(object: &OrganizationDomain, seen: &Seen, step: &Step, done: &Done, now: i64) -> Report {
    super::super::report::report(object, seen, step, Ok(done), at(now))
}

fn condition(report: &Report, kind: &str) -> Condition {
    let conditions = report.status.as_ref().unwrap().get("conditions").unwrap().as_array().unwrap().clone();
    let all = conditions.into_iter().map(|c| serde_json::from_value::<Condition>(c).unwrap());
    all.into_iter().find(|c| c.type_ == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// The same object with the status of a report.
fn with_status(object: &OrganizationDomain, report: &Report) -> OrganizationDomain {
    let status = serde_json::from_value(report.status.clone().unwrap()).unwrap();
    OrganizationDomain { status: Some(status), ..object.clone() }
}

#[test]
fn users_see_what_to_set_and_what_stands_there() {
    use DomainState::{Degraded, Pending, Unverified, Verified};
    let missing = |reason| Verdict::Missing(reason);
    let silence = || Verdict::Undecided("no authoritative server answered: ns1.example.com: SERVFAIL".into());
    let set = "set TXT _landfall-challenge.example.com to \"landfall-verification=tttt";
    for (state, reason, verdict, truth, shown, ready, parts) in [
        (
            Pending,
            Reason::RecordNotFound,
            missing(Reason::RecordNotFound),
            "False",
            "RecordNotFound",
            "RecordNotFound",
            vec![set],
        ),
        (
            Pending,
            Reason::ContentMismatch,
            missing(Reason::ContentMismatch),
            "False",
            "ContentMismatch",
            "ContentMismatch",
            vec![set, "other values"],
        ),
        (
            Pending,
            Reason::ResolverUnavailable,
            silence(),
            "False",
            "ResolverUnavailable",
            "ResolverUnavailable",
            vec!["SERVFAIL", set],
        ),
        (
            Pending,
            Reason::ClaimedElsewhere,
            Verdict::Proved,
            "False",
            "ClaimedElsewhere",
            "ClaimedElsewhere",
            vec!["another organization"],
        ),
        (Verified, Reason::Verified, Verdict::Proved, "True", "Verified", "Ready", vec!["have the challenge"]),
        (Verified, Reason::ResolverUnavailable, silence(), "True", "Verified", "Ready", vec!["SERVFAIL"]),
        (
            Degraded,
            Reason::RecordNotFound,
            missing(Reason::RecordNotFound),
            "True",
            "Degraded",
            "Degraded",
            vec![set, "1970-04-25T17:46:40Z", "1970-05-02T17:46:40Z"],
        ),
        (
            Unverified,
            Reason::RecordNotFound,
            missing(Reason::RecordNotFound),
            "False",
            "Unverified",
            "Unverified",
            vec![set],
        ),
    ] {
        let known = fact(standing(state, reason, Some(NOW)));
        let looked = Done::Looked(Some(Box::new((known.clone(), found(verdict, &["other"], ServerAnswer::Different)))));
        let seen = seen(Some(known));
        let report = told(&plain(), &seen, &Step::Look, &looked, NOW);
        let verified = condition(&report, "Verified");
        assert_eq!((verified.status.as_str(), verified.reason.as_str()), (truth, shown));
        assert_eq!(condition(&report, "Ready").reason, ready);
        for part in parts {
            assert!(verified.message.contains(part), "{part}: {}", verified.message);
        }
        let status = report.status.clone().unwrap();
        assert_eq!(status.pointer("/challenge/name").unwrap(), "_landfall-challenge.example.com");
        assert_eq!(status.pointer("/verification/seen").unwrap(), &json!(["other"]));
        assert_eq!(status.pointer("/verification/nameservers/0/answer").unwrap(), "Different");
        assert_eq!((status.pointer("/fqdn").unwrap(), report.next), (&json!("example.com"), Next::Now));
        assert_eq!(report.events.len(), 1, "{:?}", report.events);

        // A later look at the object that asks nobody writes the same, to the letter.
        let object = with_status(&plain(), &report);
        let again = told(&object, &seen, &Step::Rest { until: Some(at(NOW + 9)) }, &Done::Nothing, NOW + 1);
        assert_eq!(again.status, report.status, "{state:?} {reason:?}");
        assert_eq!((again.events.len(), again.next), (0, Next::After(Duration::from_secs(8))));
    }
}

#[test]
fn a_domain_that_waits_is_written_hourly() {
    let report_at = |object: &OrganizationDomain, now: i64| {
        let known = fact(standing(DomainState::Pending, Reason::RecordNotFound, Some(now)));
        let looked = (known.clone(), found(Verdict::Missing(Reason::RecordNotFound), &[], ServerAnswer::Absent));
        told(object, &seen(Some(known)), &Step::Look, &Done::Looked(Some(Box::new(looked))), now)
    };
    let first = report_at(&plain(), NOW);
    let object = with_status(&plain(), &first);
    for later in [5, 60, HOUR - 1] {
        assert_eq!(report_at(&object, NOW + later).status, first.status, "{later}");
    }
    assert_ne!(report_at(&object, NOW + HOUR).status, first.status);
}

#[test]
fn what_is_no_domain_shows_no_challenge() {
    let seen = Seen { name: canonical("co.uk"), ..seen(None) };
    let step = decide(&plain(), &seen, at(NOW));
    let report = told(&plain(), &seen, &step, &Done::Nothing, NOW);
    assert_eq!(condition(&report, "Ready").reason, "PublicSuffix");
    assert!(report.status.as_ref().unwrap().get("challenge").is_none());
    assert_eq!(report.next, Next::AwaitChange);
}

#[test]
fn the_challenge_of_another_organization_is_not_shown() {
    let moved = Seen {
        subject: subject("other"),
        ..seen(Some(fact(standing(DomainState::Verified, Reason::Verified, Some(NOW)))))
    };
    let report = told(&plain(), &moved, &Step::Begin, &Done::Written, NOW);
    assert!(report.status.as_ref().unwrap().get("challenge").is_none());
    assert_eq!(condition(&report, "Verified").reason, "PendingVerification");
}
