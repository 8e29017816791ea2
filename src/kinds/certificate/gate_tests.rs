#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::api::Organization;
use crate::ledger::{DomainStanding, DomainState, ObjectKind};

fn subject(namespace: &str) -> Subject {
    Subject {
        organization: Organization("acme".into()),
        cluster: Uuid::nil(),
        kind: ObjectKind::OrganizationDomain,
        uid: Uuid::nil(),
        namespace: namespace.into(),
        name: "d".into(),
    }
}

fn domain(fqdn: &str, state: DomainState, terms: Value) -> DomainFact {
    let mut all = json!({"dns": {"mode": "External"}, "policy": {"allowWildcard": true, "allowApex": true}});
    all.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
    DomainFact {
        subject: subject("shop"),
        fqdn: fqdn.into(),
        registrable: fqdn.into(),
        token: String::new(),
        terms: serde_json::from_value(all).unwrap(),
        since: Timestamp::UNIX_EPOCH,
        standing: DomainStanding {
            state,
            reason: Reason::Verified,
            verified_at: None,
            missed_since: None,
            checked_at: None,
            asked_at: None,
        },
    }
}

fn ask(name: &str, domains: &[DomainFact], namespace: &str) -> Result<(), (Reason, String)> {
    let name = Name::parse(name).unwrap();
    check(&[name], domains, &subject(namespace), &BTreeMap::new()).map_err(|refusal| (refusal.reason, refusal.message))
}

#[test]
fn names_within_a_proved_domain_may() {
    for state in [DomainState::Verified, DomainState::Degraded] {
        let domains = [domain("example.com", state, json!({}))];
        for name in
            ["example.com", "www.example.com", "*.example.com", "a.b.c.EXAMPLE.com.", "xn--bcher-kva.example.com"]
        {
            assert_eq!(ask(name, &domains, "shop"), Ok(()), "{name} {state:?}");
        }
    }
}

#[test]
fn tricks_of_names_do_not() {
    let domains = [domain("example.com", DomainState::Verified, json!({}))];
    for name in [
        "evilexample.com",
        "example.com.evil.org",
        "com",
        "*.com",
        "example.co",
        "example.org",
        "xexample.com",
        "www.example.com.br",
        "example.com-evil.net",
        "ехample.com",
        "exámple.com",
        "www-example.com",
        "*.evilexample.com",
        "example.comm",
        "ample.com",
    ] {
        let (reason, message) = ask(name, &domains, "shop").unwrap_err();
        assert!(
            reason == Reason::DomainNotVerified && message.contains("make an OrganizationDomain"),
            "{name}: {message}"
        );
    }
}

#[test]
fn a_domain_that_is_not_proved_is_none() {
    for state in [DomainState::Pending, DomainState::Unverified] {
        let (reason, message) = ask("www.example.com", &[domain("example.com", state, json!({}))], "shop").unwrap_err();
        assert!(reason == Reason::DomainNotVerified && message.contains("whose proof is missing"), "{message}");
    }
    // What is proved above it counts as long as it is not.
    let both = [
        domain("a.example.com", DomainState::Pending, json!({})),
        domain("example.com", DomainState::Verified, json!({})),
    ];
    assert_eq!(ask("www.a.example.com", &both, "shop"), Ok(()));
}

#[test]
fn the_most_specific_proved_domain_says_what_may_be() {
    let strict = json!({"policy": {"allowWildcard": false, "allowApex": false}});
    let both = [
        domain("example.com", DomainState::Verified, json!({})),
        domain("a.example.com", DomainState::Verified, strict),
    ];
    assert_eq!(ask("www.a.example.com", &both, "shop"), Ok(()));
    for (name, words) in [("*.a.example.com", "is a wildcard"), ("a.example.com", "is the domain itself")] {
        let (_, message) = ask(name, &both, "shop").unwrap_err();
        assert!(message.contains(words) && message.contains("a.example.com"), "{message}");
    }
    assert_eq!(ask("*.example.com", &both, "shop"), Ok(()));
}

#[test]
fn other_namespaces_clusters_and_organizations_need_to_be_admitted() {
    let open = [domain("example.com", DomainState::Verified, json!({"allowedNamespaces": {"names": ["web"]}}))];
    assert_eq!(ask("www.example.com", &open, "web"), Ok(()));
    assert_eq!(ask("www.example.com", &open, "other").unwrap_err().0, Reason::RefNotPermitted);
    let closed = domain("example.com", DomainState::Verified, json!({}));
    let away = Subject { cluster: Uuid::max(), ..subject("shop") };
    let elsewhere = [DomainFact { subject: away, ..closed.clone() }];
    assert_eq!(ask("www.example.com", &elsewhere, "shop").unwrap_err().0, Reason::RefNotPermitted);
    let theirs = Subject { organization: Organization("other".into()), ..subject("shop") };
    let foreign = [DomainFact { subject: theirs, ..closed }];
    assert_eq!(ask("www.example.com", &foreign, "shop").unwrap_err().0, Reason::DomainNotVerified);
}

#[test]
fn one_name_that_may_not_is_enough() {
    let domains = [domain("example.com", DomainState::Verified, json!({}))];
    let names = ["www.example.com", "www.example.org"].map(|name| Name::parse(name).unwrap());
    let refusal = check(&names, &domains, &subject("shop"), &BTreeMap::new()).unwrap_err();
    assert!(refusal.message.starts_with("spec.dnsNames: www.example.org"), "{refusal:?}");
}
