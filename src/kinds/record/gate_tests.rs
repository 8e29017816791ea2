#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::kinds::record::tests::{domain, object_with};
use crate::ledger::{DomainState, ObjectKind, Subject};

fn ask(domain: &DomainFact, domains: &[DomainFact], spec: serde_json::Value) -> Result<String, Reason> {
    let (labels, object) = (BTreeMap::new(), object_with(spec, false));
    let own = Subject { kind: ObjectKind::DnsRecord, ..domain.subject.clone() };
    let who = Asker { subject: &own, labels: &labels, by: None };
    let found = name(&object, domain, who, domains, Timestamp::UNIX_EPOCH);
    found.map(|n| n.to_string()).map_err(|refusal| refusal.reason)
}

/// Names that look as if they lay in example.com or should not be asked for.
#[test]
fn no_trick_leads_out_of_the_domain() {
    let own = domain("example.com", DomainState::Verified);
    let all = [own.clone()];
    let ask = |text: &str, kind: &str| ask(&own, &all, json!({"name": text, "type": kind}));
    for (text, found) in [
        ("www", "www.example.com"),
        ("WWW", "www.example.com"),
        ("@", "example.com"),
        ("*", "*.example.com"),
        ("*.dev", "*.dev.example.com"),
        ("bücher", "xn--bcher-kva.example.com"),
        ("xn--bcher-kva", "xn--bcher-kva.example.com"),
        ("evil", "evil.example.com"),
        ("_dmarc", "_dmarc.example.com"),
        // A look-alike of another domain is a name below this one, and of nobody else.
        ("example.org", "example.org.example.com"),
        ("exаmple", "xn--exmple-4nf.example.com"),
    ] {
        assert_eq!(ask(text, "A").as_deref(), Ok(found), "{text}");
    }
    for text in [
        "",
        ".",
        "www.",
        "www.example.com",
        "example.com",
        "a.example.com.",
        "..",
        "a..b",
        ".a",
        "*a",
        "a.*",
        "a.*.b",
        "**",
        "a b",
        "a@b",
        "a/b",
        "a\\.b",
        "-a",
        "a-",
        "evil.com.",
        "www\u{0}",
        "\u{202e}moc",
        "a\u{3002}\u{3002}b",
        "xn--a",
    ] {
        assert_eq!(ask(text, "A"), Err(Reason::InvalidRecord), "{text:?}");
    }
    for (text, kind) in [
        ("_acme-challenge", "TXT"),
        ("_acme-challenge.www", "TXT"),
        ("_ACME-challenge", "TXT"),
        ("_landfall-challenge", "TXT"),
        ("www._landfall-a", "TXT"),
        ("_landfall-cname", "TXT"),
        ("a._landfall-probe", "A"),
        ("_acme-challenge", "CNAME"),
        ("_acme-challenge", "NS"),
        ("@", "NS"),
        ("_acme-challenge", "A"),
        ("a._acme-challenge", "TXT"),
        ("*._acme-challenge.www", "CNAME"),
        ("_landfall-challenge", "CNAME"),
        ("_landfall-challenge.dev", "NS"),
        ("x._landfall-challenge.dev", "A"),
    ] {
        assert_eq!(ask(text, kind), Err(Reason::InvalidRecord), "{text} {kind}");
    }
    for text in ["_acme", "acme-challenge", "_acme-challenges", "x_acme-challenge", "_landfall", "landfall-challenge"] {
        assert!(ask(text, "TXT").is_ok(), "{text}");
    }
}

#[test]
fn a_guest_of_a_domain_has_nothing_with_which_it_could_be_proved() {
    let mut fact = domain("example.com", DomainState::Verified);
    fact.terms.allowed_namespaces = serde_json::from_value(json!({"names": ["guest"]})).unwrap();
    let ask = |namespace: &str, name_: &str, kind: &str| {
        let (labels, object) = (BTreeMap::new(), object_with(json!({"name": name_, "type": kind}), false));
        let own = Subject { namespace: namespace.into(), ..fact.subject.clone() };
        let who = Asker { subject: &own, labels: &labels, by: None };
        let found = name(&object, &fact, who, std::slice::from_ref(&fact), Timestamp::UNIX_EPOCH);
        found.map(drop).map_err(|refusal| refusal.reason)
    };
    let home = fact.subject.namespace.clone();
    for (name, kind, guest) in [
        ("www", "A", true),
        ("www", "CNAME", true),
        ("www", "TXT", true),
        ("*", "A", true),
        ("*.dev", "MX", true),
        ("*", "TXT", false),
        ("*.dev", "TXT", false),
        ("*", "CNAME", false),
        ("*.dev", "CNAME", false),
        ("dev", "NS", false),
        ("*.dev", "NS", false),
    ] {
        assert_eq!(ask(&home, name, kind), Ok(()), "{name} {kind}");
        assert_eq!(ask("guest", name, kind), if guest { Ok(()) } else { Err(Reason::OutsideDomain) }, "{name} {kind}");
    }
}

#[test]
fn the_nearest_proved_domain_says_what_may_stand_there() {
    let (own, child) = (domain("example.com", DomainState::Verified), domain("dev.example.com", DomainState::Verified));
    let all = [child.clone(), own.clone()];
    let text = |name: &str| json!({"name": name});
    assert_eq!(ask(&own, &all, text("www.dev")), Err(Reason::OutsideDomain));
    assert_eq!(ask(&own, &all, text("dev")), Err(Reason::OutsideDomain));
    assert_eq!(ask(&own, &all, text("evildev")).as_deref(), Ok("evildev.example.com"));
    assert_eq!(ask(&child, &all, text("www")).as_deref(), Ok("www.dev.example.com"));
    let lost = [domain("dev.example.com", DomainState::Unverified), own.clone()];
    assert_eq!(ask(&own, &lost, text("www.dev")), Err(Reason::DomainNotVerified));
}

#[test]
fn a_domain_must_hold_and_its_policy_permit() {
    for (state, holds) in [
        (DomainState::Pending, false),
        (DomainState::Unverified, false),
        (DomainState::Verified, true),
        (DomainState::Degraded, true),
    ] {
        let fact = domain("example.com", state);
        let expected = if holds { Ok("www.example.com".to_owned()) } else { Err(Reason::DomainNotVerified) };
        assert_eq!(ask(&fact, std::slice::from_ref(&fact), json!({"name": "www"})), expected);
    }
    let mut fact = domain("example.com", DomainState::Verified);
    (fact.terms.policy.allow_wildcard, fact.terms.policy.allow_apex) = (false, false);
    for (name, permitted) in [("@", false), ("*", false), ("*.dev", false), ("www", true)] {
        assert_eq!(ask(&fact, std::slice::from_ref(&fact), json!({"name": name})).is_ok(), permitted, "{name}");
    }
}
