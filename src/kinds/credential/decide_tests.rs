#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::act::Done;
use super::*;
use crate::api::Organization;
use crate::kinds::in_use::InUse;
use crate::ledger::{ObjectKind, Subject, Taken};
use crate::providers::{Denial, Doubt};
use crate::reconcile::Next;

#[path = "strange_tests.rs"]
mod strange;

const NOW: i64 = 100_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn object(meta: Value, spec: Value) -> CloudCredential {
    let mut value = json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "CloudCredential",
        "metadata": {"name": "c", "namespace": "n", "uid": "u", "generation": 1, "finalizers": ["landfall.dev/finalizer"]},
        "spec": {"aws": {"secretRef": {"name": "s"}, "region": "eu-central-1"}},
    });
    for (part, more) in [("metadata", meta), ("spec", spec)] {
        value.get_mut(part).unwrap().as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    serde_json::from_value(value).unwrap()
}

fn plain_object() -> CloudCredential {
    object(json!({}), json!({}))
}

fn subject() -> Subject {
    Subject {
        organization: Organization("acme".into()),
        cluster: Uuid::nil(),
        kind: ObjectKind::CloudCredential,
        uid: Uuid::nil(),
        namespace: "n".into(),
        name: "c".into(),
    }
}

/// A Secret of digest `a`, and nothing known.
fn seen() -> Seen {
    Seen {
        subject: subject(),
        proof: Proof::Present { version: "1".into(), digest: "a".into() },
        bytes: None,
        attempt: None,
        facts: Facts::Known(None),
        in_use: InUse::default(),
        command: None,
        gate: None,
        taken: Vec::new(),
    }
}

fn fact(state: &str, reason: Reason, checked: i64, succeeded: Option<i64>) -> Facts {
    Facts::Known(Some(Box::new(CredentialFact {
        subject: subject(),
        state: state.into(),
        reason: reason.as_str().into(),
        account: Some("1".into()),
        principal: None,
        secret_digest: Some("a".into()),
        checked_at: at(checked),
        succeeded_at: succeeded.map(at),
    })))
}

fn account(account: &str) -> Finding {
    let identity = Identity { account: Some(account.into()), principal: None };
    Finding::Asked(ProbeResult::Valid { identity, capabilities: vec!["terraform".into()], zones: vec![] })
}

fn refused() -> Finding {
    Finding::Asked(ProbeResult::Invalid(Denial { message: "wrong".into() }))
}

fn expired() -> Finding {
    Finding::Asked(ProbeResult::Expired(Denial { message: "old".into() }))
}

fn away(reason: Reason) -> Finding {
    Finding::Asked(ProbeResult::Unknown(Doubt { reason, message: "away".into(), retry_after: None }))
}

/// The last of several attempts on the Secret of digest `a`, one a second up to now.
fn attempts(findings: &[Finding]) -> Option<Attempt> {
    let first = NOW - i64::try_from(findings.len()).unwrap() + 1;
    (first..)
        .zip(findings)
        .fold(None, |last, (second, finding)| Some(Attempt::after(last.as_ref(), "a", finding.clone(), at(second))))
}

fn word(step: &Step) -> String {
    match step {
        Step::Record(verdict) => format!("Record {} {}", verdict.state(), verdict.reason),
        Step::Rest { until } => match until {
            Some(until) => format!("Rest {}", until.as_second() - NOW),
            None => "Rest".into(),
        },
        other => format!("{other:?}"),
    }
}

fn step(object: &CloudCredential, seen: &Seen) -> String {
    word(&decide(object, seen, at(NOW)))
}

#[test]
fn a_deletion_waits_for_users_and_for_nothing_else() {
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let ours = object(deleted.clone(), json!({}));
    assert_eq!(step(&ours, &seen()), "LetGo");
    assert_eq!(step(&object(deleted.clone(), json!({"suspend": true})), &seen()), "LetGo");
    for in_use in [InUse { own: vec!["web".into()], others: 0 }, InUse { own: vec![], others: 1 }] {
        assert_eq!(step(&ours, &Seen { in_use, ..seen() }), "Probe", "who uses it needs what works");
    }
    let mut foreign = deleted;
    foreign.as_object_mut().unwrap().insert("finalizers".into(), json!(["other"]));
    assert_eq!(step(&object(foreign, json!({})), &seen()), "Rest");
}

/// What drops the last reference does not wake the credential.
#[test]
fn a_held_deletion_looks_again() {
    let seen = Seen { in_use: InUse { own: vec!["web".into()], others: 0 }, ..seen() };
    let object = object(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({}));
    let rest = Step::Rest { until: Some(at(NOW + 3600)) };
    let report = super::super::report::report(&object, &seen, &rest, Ok(&Done::Nothing), at(NOW));
    assert_eq!(report.next, Next::After(Duration::from_secs(30)));
    let mut shown = object;
    shown.status = Some(serde_json::from_value(report.status.clone().unwrap()).unwrap());
    let later = super::super::report::report(&shown, &seen, &rest, Ok(&Done::Nothing), at(NOW + 30));
    assert_eq!(later.status, report.status, "nothing is written while nothing changes");
}

#[test]
fn what_is_asked_and_when() {
    let missing = Proof::Missing { reason: Reason::SecretNotFound, message: String::new() };
    let changed = Proof::Present { version: "2".into(), digest: "b".into() };
    let good = || fact("Valid", Reason::Valid, NOW - 1, Some(NOW - 1));
    let bad = || fact("Invalid", Reason::InvalidCredentials, NOW - 1, None);
    let cases: Vec<(&str, Seen, &str)> = vec![
        ("nothing is known", seen(), "Probe"),
        ("the ledger is away", Seen { facts: Facts::Away, ..seen() }, "Probe"),
        ("the Secret is missing", Seen { proof: missing.clone(), ..seen() }, "Record Invalid SecretNotFound"),
        ("it was proved before a restart", Seen { facts: good(), ..seen() }, "Rest"),
        ("it was refused before a restart", Seen { facts: bad(), ..seen() }, "Rest"),
        (
            "nobody could ask before a restart",
            Seen { facts: fact("Unknown", Reason::Timeout, NOW - 1, None), ..seen() },
            "Probe",
        ),
        ("proved too long ago", Seen { facts: fact("Valid", Reason::Valid, NOW - 700, None), ..seen() }, "Probe"),
        ("the Secret changed while nobody ran", Seen { facts: good(), proof: changed.clone(), ..seen() }, "Probe"),
        ("proved just now", Seen { attempt: attempts(&[account("1")]), ..seen() }, "Record Valid Valid"),
        ("and recorded", Seen { attempt: attempts(&[account("1")]), facts: good(), ..seen() }, "Rest"),
        ("and the ledger is away", Seen { attempt: attempts(&[account("1")]), facts: Facts::Away, ..seen() }, "Rest"),
        (
            "another Secret since",
            Seen { attempt: attempts(&[account("1")]), facts: good(), proof: changed, ..seen() },
            "Probe",
        ),
        ("refused once", Seen { attempt: attempts(&[refused()]), ..seen() }, "Rest 6"),
        ("refused once after a success", Seen { attempt: attempts(&[refused()]), facts: good(), ..seen() }, "Rest 6"),
        (
            "refused twice",
            Seen { attempt: attempts(&[refused(), refused()]), facts: good(), ..seen() },
            "Record Invalid InvalidCredentials",
        ),
        (
            "expired, said twice",
            Seen { attempt: attempts(&[expired(), expired()]), ..seen() },
            "Record Invalid Expired",
        ),
        ("away at once", Seen { attempt: attempts(&[away(Reason::Timeout)]), ..seen() }, "Record Unknown Timeout"),
        (
            "away after a success",
            Seen { attempt: attempts(&[away(Reason::Timeout)]), facts: good(), ..seen() },
            "Record StaleOk StaleOk",
        ),
        (
            "away after our own success",
            Seen { attempt: attempts(&[account("1"), away(Reason::RateLimited)]), ..seen() },
            "Record StaleOk StaleOk",
        ),
        (
            "away after a refusal",
            Seen { attempt: attempts(&[away(Reason::Timeout)]), facts: bad(), ..seen() },
            "Rest 5",
        ),
        (
            "another account, none expected",
            Seen { attempt: attempts(&[account("2")]), facts: good(), ..seen() },
            "Record Valid Valid",
        ),
    ];
    for (case, seen, expected) in cases {
        let found = step(&plain_object(), &seen);
        let rests_about_as_long = expected == "Rest" && found.starts_with("Rest 6");
        assert!(
            found == expected || rests_about_as_long && found.len() == "Rest 600".len(),
            "{case}: {found}, not {expected}"
        );
    }
}

#[test]
fn the_grace_ends() {
    let object = object(json!({}), json!({"probe": {"interval": "10m", "graceAfterLastSuccess": "1h"}}));
    let verdict = |succeeded| {
        let seen = Seen { facts: fact("Valid", Reason::Valid, succeeded, Some(succeeded)), ..seen() };
        let attempt = attempts(&[away(Reason::ProviderUnavailable)]);
        let verdict = verdict(&object.spec, &seen, attempt.as_ref(), at(NOW));
        (verdict.truth, verdict.reason)
    };
    assert_eq!(verdict(NOW - 3599), (Truth::True, Reason::StaleOk));
    assert_eq!(verdict(NOW - 3600), (Truth::Unknown, Reason::ProviderUnavailable));
}

#[test]
fn the_last_success_stands_no_longer_than_its_grace() {
    let object = object(json!({}), json!({"probe": {"interval": "10h", "graceAfterLastSuccess": "1h"}}));
    let attempt = attempts(&[away(Reason::ProviderUnavailable)]).map(|a| Attempt { doubts: 20, ..a });
    let facts = fact("StaleOk", Reason::StaleOk, NOW, Some(NOW - 3590));
    let seen = Seen { attempt, facts, ..seen() };
    assert_eq!(step(&object, &seen), "Rest 10");
}

#[test]
fn another_account_than_the_expected_one_is_a_mismatch_without_a_new_call() {
    let expecting = |account: &str| object(json!({}), json!({"expectedAccount": account}));
    let asked = Seen { attempt: attempts(&[account("1")]), ..seen() };
    assert_eq!(step(&expecting("2"), &asked), "Record Invalid AccountMismatch");
    assert_eq!(step(&expecting("1"), &asked), "Record Valid Valid");
    // After a restart, from the ledger alone; also when the field was put right.
    let recalled = Seen { facts: fact("Valid", Reason::Valid, NOW - 1, None), ..seen() };
    assert_eq!(step(&expecting("2"), &recalled), "Record Invalid AccountMismatch");
    let recalled = Seen { facts: fact("Invalid", Reason::AccountMismatch, NOW - 1, None), ..seen() };
    assert_eq!(step(&expecting("1"), &recalled), "Record Valid Valid");
}

#[test]
fn a_suspended_credential_is_never_asked_for() {
    let object = object(json!({}), json!({"suspend": true}));
    for seen in [seen(), Seen { facts: fact("Valid", Reason::Valid, 0, Some(0)), ..seen() }] {
        assert_eq!(step(&object, &seen), "Rest");
    }
}

#[test]
fn an_idle_credential_is_recorded_once_an_hour() {
    let recorded = |ago| {
        let facts = fact("Valid", Reason::Valid, NOW - ago, Some(NOW - ago));
        step(&plain_object(), &Seen { attempt: attempts(&[account("1")]), facts, ..seen() })
    };
    assert!(recorded(3599).starts_with("Rest"));
    assert_eq!(recorded(3600), "Record Valid Valid");
}

#[test]
fn the_interval_is_stretched_by_a_twentieth_at_most() {
    for uid in ["", "a", "0b7e", "another"] {
        let stretched = jittered(Duration::from_secs(600), uid);
        assert!((600.0..=630.0).contains(&stretched.as_secs_f64()), "{uid}: {stretched:?}");
    }
}

fn asked(second: i64) -> Vec<Taken> {
    vec![Taken { command: "reconcile".into(), value: "now".into(), by: "alice".into(), at: at(second) }]
}

#[test]
fn a_person_who_asks_gets_one_probe_whatever_the_clocks_say() {
    let facts = fact("Valid", Reason::Valid, NOW - 5, Some(NOW - 5));
    let attempt = attempts(&[account("1")]);
    let quiet = Seen { attempt: attempt.clone(), facts: facts.clone(), ..seen() };
    assert!(step(&plain_object(), &quiet).starts_with("Rest"));
    for second in [NOW - 50, NOW, NOW + 50] {
        let wish = Seen { attempt: attempt.clone(), facts: facts.clone(), taken: asked(second), ..seen() };
        assert_eq!(step(&plain_object(), &wish), "Probe", "asked at {second}");
        let done = attempt.clone().map(|a| Attempt { asked: Some(at(second)), ..a });
        let after = Seen { attempt: done, ..wish };
        assert!(step(&plain_object(), &after).starts_with("Rest"), "asked at {second}");
    }
    // A process that has not probed yet goes by the ledger.
    let recalled = |second| Seen { facts: facts.clone(), taken: asked(second), ..seen() };
    assert_eq!(step(&plain_object(), &recalled(NOW - 1)), "Probe");
    assert!(step(&plain_object(), &recalled(NOW - 9)).starts_with("Rest"), "that was answered");
    let suspended = object(json!({}), json!({"suspend": true}));
    assert!(step(&suspended, &recalled(NOW - 1)).starts_with("Rest"), "suspended is suspended");
}

#[test]
fn a_command_is_taken_while_the_gate_stands_and_never_holds_up_a_probe() {
    let command = |verb| Command { verb, value: "now".into(), by: "alice".into() };
    let given = |verb| Seen { command: Some(command(verb)), ..seen() };
    assert_eq!(decide(&plain_object(), &given(Verb::Reconcile), at(NOW)), Step::Take(command(Verb::Reconcile)));
    assert!(matches!(decide(&plain_object(), &given(Verb::Approve), at(NOW)), Step::Discard { .. }));
    let open = Seen { gate: Some("a policy is missing".into()), ..given(Verb::Reconcile) };
    assert!(matches!(decide(&plain_object(), &open, at(NOW)), Step::Discard { .. }));
    let away = Seen { facts: Facts::Away, ..given(Verb::Reconcile) };
    assert_eq!(step(&plain_object(), &away), "Probe");
}
