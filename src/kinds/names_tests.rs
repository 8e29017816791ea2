#![allow(clippy::unwrap_used)]

use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::api::Organization;
use crate::ledger::{DomainStanding, DomainState, ObjectKind};

const NOW: i64 = 100_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn subject(organization: &str, cluster: u128, namespace: &str, uid: u128) -> Subject {
    Subject {
        organization: Organization(organization.into()),
        cluster: Uuid::from_u128(cluster),
        kind: ObjectKind::OrganizationDomain,
        uid: Uuid::from_u128(uid),
        namespace: namespace.into(),
        name: "d".into(),
    }
}

/// Proved an hour ago, by namespace `shop` of cluster 1.
fn domain(fqdn: &str) -> DomainFact {
    DomainFact {
        subject: subject("acme", 1, "shop", fqdn.bytes().map(u128::from).sum()),
        fqdn: fqdn.into(),
        registrable: fqdn.into(),
        token: String::new(),
        terms: crate::api::DomainTerms::default(),
        since: Timestamp::UNIX_EPOCH,
        standing: DomainStanding {
            state: DomainState::Verified,
            reason: Reason::Verified,
            verified_at: Some(now() - SignedDuration::from_hours(1)),
            missed_since: None,
            checked_at: None,
            asked_at: None,
        },
    }
}

trait Variants: Sized {
    fn state(self, state: DomainState) -> Self;
    fn by(self, organization: &str, cluster: u128, namespace: &str) -> Self;
    fn terms(self, terms: Value) -> Self;
    fn seen_hours_ago(self, hours: i64) -> Self;
    fn numbered(self, uid: u128) -> Self;
}

impl Variants for DomainFact {
    fn state(mut self, state: DomainState) -> Self {
        self.standing.state = state;
        if state == DomainState::Pending {
            self.standing.verified_at = None;
        }
        self
    }

    fn by(mut self, organization: &str, cluster: u128, namespace: &str) -> Self {
        self.subject = subject(organization, cluster, namespace, self.subject.uid.as_u128());
        self
    }

    fn terms(mut self, terms: Value) -> Self {
        let mut all = serde_json::to_value(&self.terms).unwrap();
        all.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
        self.terms = serde_json::from_value(all).unwrap();
        self
    }

    fn seen_hours_ago(mut self, hours: i64) -> Self {
        self.standing.verified_at = Some(now() - SignedDuration::from_hours(hours));
        self
    }

    fn numbered(mut self, uid: u128) -> Self {
        self.subject.uid = Uuid::from_u128(uid);
        self
    }
}

fn strict() -> Value {
    json!({"policy": {"allowWildcard": false, "allowApex": false}})
}

fn open_to(names: &[&str]) -> Value {
    json!({"allowedNamespaces": {"names": names}})
}

/// What namespace `shop` of cluster 1 is told that asks for a name without naming a domain: the domain, or the reason.
fn ask(name: &str, domains: &[DomainFact]) -> Result<String, Reason> {
    let labels = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
    let own = subject("acme", 1, "shop", 77);
    let who = Asker { subject: &own, labels: &labels, by: None };
    let Ok(name) = Name::parse(name) else { return Err(Reason::InvalidRecord) };
    let found = permit(&name, who, domains, now());
    if let Err(refusal) = &found {
        assert!(refusal.message.starts_with(name.as_str()), "{refusal:?}");
    }
    found.map(|d| d.fqdn.clone()).map_err(|refusal| refusal.reason)
}

/// A proof for `*.example.com` is of `example.com`: the policy speaks of what is wanted, and not of the way to it.
#[test]
fn a_proof_goes_by_the_domain_that_permits_whatever_its_policy_says_of_the_bare_name() {
    let unproved = domain("www.example.com").state(DomainState::Pending);
    let domains = [domain("example.com").terms(strict()), unproved];
    let labels = BTreeMap::new();
    let own = subject("acme", 1, "shop", 77);
    let who = Asker { subject: &own, labels: &labels, by: None };
    for name in ["example.com", "www.example.com"] {
        let found = holding(&Name::parse(name).unwrap(), who, &domains, now());
        assert_eq!(
            found.map(|holding| holding.domain.fqdn.clone()).map_err(|r| r.reason).as_deref(),
            Ok("example.com"),
            "{name}"
        );
    }
}

#[test]
fn names_within_a_proved_domain_may_and_look_alikes_do_not() {
    let domains = [domain("example.com")];
    for name in [
        "example.com",
        "www.example.com",
        "WWW.eXample.COM",
        "www.example.com.",
        "a.b.c.d.example.com",
        "*.example.com",
        "*.dev.example.com",
        "_dmarc.example.com",
        "_25._tcp.mail.example.com",
        "xn--bcher-kva.example.com",
        "bücher.example.com",
        "example.com.example.com",
        "evilexample.com.example.com",
    ] {
        assert_eq!(ask(name, &domains).as_deref(), Ok("example.com"), "{name}");
    }
    for name in [
        "evilexample.com",
        "xexample.com",
        "ample.com",
        "www-example.com",
        "*.evilexample.com",
        "example.com.evil.org",
        "example.com-evil.net",
        "www.example.com.br",
        "example.co",
        "example.comm",
        "example.org",
        "com",
        "*.com",
        "localhost",
        "ехample.com",
        "exámple.com",
        "xn--example-9uf.com",
        "example。com.evil.org",
        "moc.elpmaxe",
        "_.com",
    ] {
        assert_eq!(ask(name, &domains), Err(Reason::DomainNotVerified), "{name}");
    }
    for name in
        ["a.*.example.com", "*", "**.example.com", "w*.example.com", "", ".", "a..example.com", "a b.example.com"]
    {
        assert!(ask(name, &domains).is_err(), "{name:?}");
    }
    // The dot of East Asia is a dot.
    assert_eq!(ask("www。example。com", &domains).as_deref(), Ok("example.com"));
}

#[test]
fn only_a_proof_that_stands_and_is_young_counts() {
    use DomainState::{Degraded, Pending, Unverified, Verified};
    for (state, expected) in [
        (Verified, Ok("example.com")),
        (Degraded, Ok("example.com")),
        (Pending, Err(Reason::DomainNotVerified)),
        (Unverified, Err(Reason::DomainNotVerified)),
    ] {
        let found = ask("www.example.com", &[domain("example.com").state(state)]);
        assert_eq!(found.as_deref().map_err(|reason| *reason), expected, "{state:?}");
    }
    let aged = |hours, reverify: &str, grace: &str| {
        let terms = json!({"verification": {"reverifyAfter": reverify, "grace": grace}});
        ask("www.example.com", &[domain("example.com").terms(terms).seen_hours_ago(hours)]).is_ok()
    };
    // A day between looks, a week of grace, an hour for a look that is late.
    assert!(aged(24 + 168, "24h", "168h") && !aged(24 + 168 + 1, "24h", "168h"));
    assert!(aged(0, "1m", "0s") && !aged(2, "1m", "0s"));
    // What was written before there were limits is cut to them: a week, and thirty days.
    assert!(aged(168 + 720, "99999h", "99999h") && !aged(168 + 720 + 1, "99999h99999h", "99999h99999h99999h"));
    // A clock that was ahead makes no proof worthless.
    assert!(aged(-5, "24h", "168h"));
}

#[test]
fn the_nearest_domain_decides_and_one_that_was_lost_closes_what_lies_below_it() {
    use DomainState::{Degraded, Pending, Unverified};
    let child = || domain("a.example.com").terms(strict());
    let rows = [
        (child(), "www.a.example.com", Ok("a.example.com")),
        (child(), "a.example.com", Err(Reason::OutsideDomain)),
        (child(), "*.a.example.com", Err(Reason::OutsideDomain)),
        (child(), "*.b.a.example.com", Err(Reason::OutsideDomain)),
        (child(), "aa.example.com", Ok("example.com")),
        // A wildcard above a child is the parent's, as the zone is.
        (child(), "*.example.com", Ok("example.com")),
        (child().state(Degraded), "*.a.example.com", Err(Reason::OutsideDomain)),
        (child().state(Unverified), "www.a.example.com", Err(Reason::DomainNotVerified)),
        (child().state(Unverified), "*.a.example.com", Err(Reason::DomainNotVerified)),
        (child().state(Unverified), "www.example.com", Ok("example.com")),
        (child().seen_hours_ago(1000), "www.a.example.com", Err(Reason::DomainNotVerified)),
        // Whoever asks for a domain and proves nothing closes nothing.
        (child().state(Pending), "www.a.example.com", Ok("example.com")),
        (child().by("acme", 1, "other").state(Pending), "a.example.com", Ok("example.com")),
        // The child is another namespace's, another cluster's.
        (child().by("acme", 1, "other"), "www.a.example.com", Err(Reason::RefNotPermitted)),
        (child().by("acme", 2, "shop"), "www.a.example.com", Err(Reason::RefNotPermitted)),
        // Another organization's objects mean nothing here, however long their names.
        (child().by("other", 1, "shop"), "www.a.example.com", Ok("example.com")),
        (child().by("other", 1, "shop").state(Unverified), "*.a.example.com", Ok("example.com")),
    ];
    for (child, name, expected) in rows {
        for domains in [[child.clone(), domain("example.com")], [domain("example.com"), child.clone()]] {
            let found = ask(name, &domains);
            assert_eq!(found.as_deref().map_err(|reason| *reason), expected, "{name} {child:?}");
        }
    }
    let lost = [domain("example.com").state(Unverified), domain("a.example.com")];
    assert_eq!(ask("www.a.example.com", &lost).as_deref(), Ok("a.example.com"), "a parent closes nothing");
    assert_eq!(ask("www.example.com", &lost), Err(Reason::DomainNotVerified));
}

#[test]
fn others_need_to_be_admitted_and_only_within_a_cluster() {
    let rows = [
        (domain("example.com").by("acme", 1, "infra"), Err(Reason::RefNotPermitted)),
        (domain("example.com").by("acme", 1, "infra").terms(open_to(&["shop"])), Ok(())),
        (
            domain("example.com").by("acme", 1, "infra").terms(open_to(&["shop-2", "sho", ""])),
            Err(Reason::RefNotPermitted),
        ),
        (
            domain("example.com")
                .by("acme", 1, "infra")
                .terms(json!({"allowedNamespaces": {"selector": {"matchLabels": {"tier": "gold"}}}})),
            Ok(()),
        ),
        // The namesake of another cluster, its labels too, are other people's.
        (domain("example.com").by("acme", 2, "shop"), Err(Reason::RefNotPermitted)),
        (domain("example.com").by("acme", 2, "infra").terms(open_to(&["shop"])), Err(Reason::RefNotPermitted)),
        (
            domain("example.com").by("acme", 2, "infra").terms(json!({"allowedNamespaces": {"selector": {}}})),
            Err(Reason::RefNotPermitted),
        ),
        (domain("example.com").by("other", 1, "shop"), Err(Reason::DomainNotVerified)),
        (domain("example.com").by("other", 1, "infra").terms(open_to(&["shop"])), Err(Reason::DomainNotVerified)),
    ];
    for (domain, expected) in rows {
        assert_eq!(ask("www.example.com", std::slice::from_ref(&domain)).map(drop), expected, "{domain:?}");
    }
}

#[test]
fn of_several_equal_domains_the_own_comes_first_and_the_strictest_policy_counts() {
    let own = |uid| domain("example.com").numbered(uid);
    let other_cluster = |uid| own(uid).by("acme", 2, "shop");
    let infra = |uid| own(uid).by("acme", 1, "infra").terms(open_to(&["shop"]));
    let shut = |uid| own(uid).by("acme", 1, "infra");
    let chosen = |domains: &[DomainFact], name: &str| {
        let (labels, asker) = (BTreeMap::new(), subject("acme", 1, "shop", 77));
        let who = Asker { subject: &asker, labels: &labels, by: None };
        permit(&Name::parse(name).unwrap(), who, domains, now()).map(|d| d.subject.uid.as_u128()).map_err(|r| r.reason)
    };
    for (one, another) in [(1, 2), (2, 1)] {
        let rows = [
            ([own(one), other_cluster(another)], Ok(one)),
            ([own(one), infra(another)], Ok(one)),
            ([own(one), shut(another)], Ok(one)),
            ([infra(one), other_cluster(another)], Ok(one)),
            ([infra(one), shut(another)], Ok(one)),
            ([own(one).state(DomainState::Unverified), infra(another)], Ok(another)),
            ([own(one).seen_hours_ago(1000), infra(another)], Ok(another)),
            ([shut(one), other_cluster(another)], Err(Reason::RefNotPermitted)),
        ];
        for ([first, second], expected) in rows {
            assert_eq!(chosen(&[first.clone(), second.clone()], "www.example.com"), expected);
            assert_eq!(chosen(&[second, first], "www.example.com"), expected);
        }
        // No second object loosens the first one's policy, in whatever namespace; another cluster's policy is its own.
        let apex = |domains: [DomainFact; 2]| chosen(&domains, "example.com");
        assert_eq!(apex([own(one), infra(another).terms(strict())]), Err(Reason::OutsideDomain));
        assert_eq!(apex([own(one).terms(strict()), infra(another)]), Err(Reason::OutsideDomain));
        assert_eq!(apex([own(one), other_cluster(another).terms(strict())]), Ok(one));
    }
}

#[test]
fn who_refers_to_a_domain_has_the_name_by_that_one_alone() {
    let own = domain("example.com").numbered(1);
    let infra = own.clone().by("acme", 1, "infra").numbered(2);
    let child = domain("a.example.com").numbered(3);
    let by = |name: &str, domain: &DomainFact, domains: &[DomainFact]| {
        let (labels, asker) = (BTreeMap::new(), subject("acme", 1, "shop", 77));
        let who = Asker { subject: &asker, labels: &labels, by: Some(&domain.subject) };
        let found = permit(&Name::parse(name).unwrap(), who, domains, now());
        found.map(|d| d.subject.uid.as_u128()).map_err(|refusal| refusal.reason)
    };
    let all = [own.clone(), infra.clone(), child.clone()];
    assert_eq!(by("www.example.com", &own, &all), Ok(1));
    assert_eq!(by("www.example.com", &infra, &all), Err(Reason::RefNotPermitted), "though its own would do");
    assert_eq!(by("www.a.example.com", &own, &all), Err(Reason::OutsideDomain));
    assert_eq!(by("www.a.example.com", &child, &all), Ok(3));
    assert_eq!(by("www.example.com", &child, &all), Err(Reason::OutsideDomain));
    let lost = [own.clone(), child.state(DomainState::Unverified)];
    assert_eq!(by("www.a.example.com", &own, &lost), Err(Reason::DomainNotVerified));
}
