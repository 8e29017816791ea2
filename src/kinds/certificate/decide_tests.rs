#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::issuers::{Material, Request};
use super::super::observe::{Former, wanted};
use super::super::standing::REPAIRS;
use super::*;
use crate::api::{FINALIZER, Organization};
use crate::ledger::{CertificateFacts, NewCertificate, ObjectKind, Subject, Taken};
use crate::pki::{Chain, Key};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn object(more: Value) -> Certificate {
    let mut spec = json!({"dnsNames": ["www.example.com"], "secretName": "web-tls", "issuer": {"selfSigned": {}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let meta = json!({"name": "web", "namespace": "shop", "uid": Uuid::nil(), "finalizers": [FINALIZER]});
    serde_json::from_value(
        json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "Certificate", "metadata": meta, "spec": spec}),
    )
    .unwrap()
}

/// An object, its Secret and its ledger, and the steps done as `act` does them.
struct World {
    object: Certificate,
    seen: Seen,
}

impl World {
    fn new(more: Value) -> Self {
        let object = object(more);
        let material = Material::SelfSigned;
        let seen = Seen {
            subject: Subject {
                organization: Organization("acme".into()),
                cluster: Uuid::nil(),
                kind: ObjectKind::Certificate,
                uid: Uuid::nil(),
                namespace: "shop".into(),
                name: "web".into(),
            },
            wanted: wanted(&object.spec, &material),
            gate: Ok(Vec::new()),
            material,
            secret: Held::None,
            delivery: None,
            repairs: 0,
            former: None,
            last_serial: None,
            removing: None,
            facts: CertificateFacts::default(),
            order: None,
            command: None,
            named: None,
            revocations: Vec::new(),
            objection: None,
            taken: Vec::new(),
        };
        Self { object, seen }
    }

    /// One that was issued at `at(0)`.
    fn issued(more: Value) -> Self {
        let mut world = Self::new(more);
        assert_eq!(world.decide(0), Step::Issue(Why::First));
        world.issue(0, Why::First);
        world
    }

    fn spec(&mut self, more: Value) {
        self.object = object(more);
        self.seen.wanted = wanted(&self.object.spec, &self.seen.material);
    }

    fn decide(&self, now: i64) -> Step {
        decide(&self.object, &self.seen, at(now))
    }

    /// Puts a pair into the Secret, and the ledger's row.
    fn issue(&mut self, now: i64, why: Why) {
        let wanted = self.seen.wanted.clone().unwrap();
        let keep =
            stored(&self.seen).and_then(|s| s.key.clone().ok()).filter(|_| keeps_key(&self.object.spec, &self.seen));
        let request = Request {
            names: &wanted.names,
            domains: &[],
            algorithm: wanted.algorithm,
            keep: keep.as_ref(),
            life: wanted.life,
        };
        let made = issuers::make(&self.seen.material, &request, at(now)).unwrap();
        let chain = Chain::read(made.chain.as_bytes()).unwrap();
        let leaf = chain.leaf();
        let certificate = NewCertificate {
            subject: self.seen.subject.clone(),
            secret: "web-tls".into(),
            why: why.words().into(),
            terms: wanted.terms,
            issuer: leaf.issuer.clone(),
            serial: leaf.serial.clone(),
            fingerprint: leaf.fingerprint.clone(),
            public_key: leaf.public.digest(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            chain: made.chain.clone(),
            roots: made.roots.clone(),
            made_at: at(now),
        };
        self.seen.facts.current = Some(CertificateFact {
            id: Uuid::nil(),
            certificate,
            intent: None,
            window: None,
            page: None,
            ask_at: None,
            restoring: None,
        });
        self.hold(made.key, &made.chain, made.roots.as_deref());
    }

    fn hold(&mut self, key: Key, chain: &str, roots: Option<&str>) {
        self.seen.secret = Held::Ours(Box::new(Stored {
            version: "1".into(),
            key: Ok(key),
            chain: Chain::read(chain.as_bytes()),
            certificate: chain.as_bytes().to_vec(),
            roots: roots.map(|roots| roots.as_bytes().to_vec()),
        }));
    }

    fn stored(&mut self) -> &mut Stored {
        match &mut self.seen.secret {
            Held::Ours(stored) => stored,
            _ => panic!("nothing stands in the Secret"),
        }
    }

    fn serial(&self) -> String {
        self.seen.facts.current.as_ref().unwrap().certificate.serial.clone()
    }

    fn rests(&self, now: i64) -> (Option<Timestamp>, Option<Reason>) {
        match self.decide(now) {
            Step::Rest { until, refused } => (until, refused.map(|refusal| refusal.reason)),
            step => panic!("{step:?}"),
        }
    }
}

fn refusal(reason: Reason) -> Refusal {
    Refusal { reason, message: String::new() }
}

static OTHER: LazyLock<Key> = LazyLock::new(|| Key::make(crate::pki::Algorithm::EcdsaP256).unwrap());

#[test]
fn at_the_end_it_is_let_go() {
    let mut world = World::new(json!({}));
    world.object.metadata.finalizers = None;
    world.object.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert_eq!(world.decide(0), rest(None));
    world.object.metadata.finalizers = Some(vec![FINALIZER.into()]);
    assert_eq!(world.decide(0), Step::LetGo);
}

#[test]
fn what_was_issued_rests_until_its_renewal_and_no_restart_changes_that() {
    let world = World::issued(json!({}));
    let (until, refused) = world.rests(0);
    let left = at(90 * DAY).duration_since(until.unwrap()).as_secs() / DAY;
    assert!((30..=34).contains(&left) && refused.is_none(), "{left} days");
    assert_eq!(world.rests(50 * DAY), (until, None), "it follows from the certificate alone");
    assert_eq!(decide(&world.object, &world.seen, until.unwrap()), Step::Issue(Why::Due));
    let manual = World::issued(json!({"renewal": {"policy": "Manual"}}));
    assert!(matches!(manual.decide(100 * DAY), Step::Rest { .. }));
}

#[test]
fn another_spec_another_ca_a_lost_key_ask_for_another_certificate() {
    for more in [
        json!({"dnsNames": ["www.example.com", "example.com"]}),
        json!({"dnsNames": ["example.com"]}),
        json!({"privateKey": {"size": 384}}),
        json!({"privateKey": {"algorithm": "RSA"}}),
        json!({"duration": "720h"}),
    ] {
        let mut world = World::issued(json!({}));
        world.spec(more.clone());
        assert_eq!(world.decide(1), Step::Issue(Why::Spec), "{more}");
    }
    for more in [json!({"dnsNames": ["WWW.Example.com.", "www.example.com"]}), json!({"privateKey": {"size": 256}})] {
        let mut world = World::issued(json!({}));
        world.spec(more.clone());
        assert!(matches!(world.decide(1), Step::Rest { .. }), "{more} is the same");
    }
    let mut world = World::issued(json!({"dnsNames": ["www.example.com", "example.com"]}));
    world.spec(json!({"dnsNames": ["example.com", "www.example.com"]}));
    assert!(matches!(world.decide(1), Step::Rest { .. }), "their order is nothing");
    let mut world = World::issued(json!({}));
    world.seen.facts.current.as_mut().unwrap().certificate.terms.signer = Some("former".into());
    world.seen.wanted.as_mut().unwrap().terms.signer = Some("present".into());
    assert_eq!(world.decide(1), Step::Issue(Why::Signer));
    world.seen.wanted.as_mut().unwrap().terms.signer = None;
    assert!(matches!(world.decide(1), Step::Rest { .. }), "a CA that cannot be read is not another one");
    let mut world = World::issued(json!({}));
    world.stored().key = Ok(OTHER.clone());
    assert_eq!(world.decide(1), Step::Issue(Why::Key));
    world.stored().key = Key::read(b"");
    assert_eq!(world.decide(1), Step::Issue(Why::Key));
    world.seen.secret = Held::None;
    assert_eq!(world.decide(1), Step::Issue(Why::Key));
}

#[test]
fn what_is_damaged_around_a_sound_key_is_put_right_without_another_certificate() {
    let damage: [fn(&mut Stored); 4] = [
        |s| s.certificate = b"x".to_vec(),
        |s| s.certificate.push(b'\n'),
        |s| s.roots = None,
        |s| s.roots = Some(Vec::new()),
    ];
    for change in damage {
        let mut world = World::issued(json!({}));
        change(world.stored());
        assert_eq!(world.decide(1), Step::Restore);
        // Also where nothing may be issued.
        world.seen.gate = Err(refusal(Reason::DomainNotVerified));
        world.spec(json!({"duration": "720h"}));
        assert_eq!(world.decide(1), Step::Restore);
        world.spec(json!({"suspend": true}));
        assert!(matches!(world.decide(1), Step::Rest { .. }), "nothing is written while it is suspended");
    }
}

#[test]
fn who_changes_the_secret_as_often_as_it_is_written_is_left_alone() {
    let mut world = World::issued(json!({}));
    world.stored().certificate.push(b'\n');
    world.seen.repairs = REPAIRS - 1;
    assert_eq!(world.decide(1), Step::Restore);
    world.seen.repairs = REPAIRS;
    assert_eq!(world.rests(1), (Some(at(601)), Some(Reason::Contended)));
    world.stored().key = Ok(OTHER.clone());
    assert_eq!(world.rests(1), (Some(at(601)), Some(Reason::Contended)));
    world.spec(json!({"duration": "720h"}));
    assert_eq!(world.decide(1), Step::Issue(Why::Spec), "another spec is another certificate");
}

#[test]
fn a_repair_whose_end_is_not_known_is_settled_by_what_stands_in_the_secret() {
    let mut world = World::issued(json!({}));
    world.seen.facts.current.as_mut().unwrap().restoring = Some(crate::ledger::IntentId(Uuid::nil()));
    assert_eq!(world.decide(1), Step::SettleRestore { landed: true });
    world.stored().certificate.push(b'\n');
    assert_eq!(world.decide(1), Step::SettleRestore { landed: false });
    world.seen.secret = Held::None;
    assert_eq!(world.decide(1), Step::SettleRestore { landed: false });
}

#[test]
fn another_name_of_the_secret_moves_the_pair_and_then_the_former_goes() {
    let renamed = || {
        let mut world = World::issued(json!({"privateKey": {"rotationPolicy": "Never"}}));
        let Held::Ours(stored) = std::mem::replace(&mut world.seen.secret, Held::None) else { panic!("no Secret") };
        world.seen.former = Some(Former { name: "web-tls".into(), stored });
        world
    };
    let mut world = renamed();
    assert_eq!(world.decide(1), Step::Carry);
    assert!(keeps_key(&world.object.spec, &world.seen), "the key that stands there");
    world.spec(json!({"privateKey": {"rotationPolicy": "Never"}, "duration": "720h"}));
    assert_eq!(world.decide(1), Step::Issue(Why::Spec));
    world.spec(json!({"suspend": true}));
    assert_eq!(world.rests(1).1, Some(Reason::Suspended));
    let mut world = renamed();
    world.seen.gate = Err(refusal(Reason::DomainNotVerified));
    assert_eq!(world.rests(1).1, Some(Reason::DomainNotVerified));
    let mut world = renamed();
    world.seen.former.as_mut().unwrap().stored.key = Ok(OTHER.clone());
    assert_eq!(world.decide(1), Step::Issue(Why::Key), "lost, indeed");
    let mut world = World::issued(json!({}));
    world.seen.former = renamed().seen.former;
    assert_eq!(world.decide(1), Step::Remove("web-tls".into()));
    // It is of one Secret, whatever others there are.
    let intent = crate::ledger::IntentId(Uuid::nil());
    for landed in [true, false] {
        world.seen.removing = Some(Removing { intent, landed });
        assert_eq!(world.decide(1), Step::SettleRemoval { intent, landed });
    }
}

#[test]
fn what_an_older_ledger_has_forgotten_is_taken_in_where_the_object_was_said_to_have_it() {
    for policy in ["Always", "Never"] {
        let mut world = World::issued(json!({"privateKey": {"rotationPolicy": policy}}));
        let known = world.seen.facts.current.clone();
        world.issue(70 * DAY, Why::Due);
        let last = world.serial();
        world.seen.facts.current = known;
        let expected = if policy == "Always" { Step::Issue(Why::Key) } else { Step::Issue(Why::Due) };
        assert_eq!(world.decide(71 * DAY), expected, "anyone could have put it there");
        world.seen.last_serial = Some(last);
        assert_eq!(world.decide(71 * DAY), Step::TakeIn);
        world.seen.gate = Err(refusal(Reason::DomainNotVerified));
        assert_eq!(world.rests(71 * DAY).1, Some(Reason::DomainNotVerified));
    }
}

#[test]
fn nothing_is_issued_without_leave() {
    for reason in [Reason::DomainNotVerified, Reason::RefNotPermitted] {
        let mut world = World::new(json!({}));
        world.seen.gate = Err(refusal(reason));
        assert_eq!(world.rests(0), (None, Some(reason)));
    }
    let mut world = World::new(json!({}));
    world.seen.secret = Held::Foreign(String::new());
    assert_eq!(world.rests(0), (None, Some(Reason::SecretNotOwned)));
    let mut world = World::new(json!({}));
    world.seen.material = Material::Ca(Err(refusal(Reason::CaUnavailable)));
    assert_eq!(world.rests(0), (None, Some(Reason::CaUnavailable)));
    assert_eq!(World::new(json!({"suspend": true})).rests(0), (None, Some(Reason::Suspended)));
    for name in ["com", "a_b.example.com", "exa mple.com", "*", "*.com", "192.0.2.1.", "a..b", "a.*.example.com"] {
        let (_, reason) = World::new(json!({"dnsNames": [name]})).rests(0);
        assert_eq!(reason, Some(Reason::CertificateInvalid), "{name}");
    }
}

#[test]
fn a_certificate_that_stands_is_kept_when_the_next_one_is_refused() {
    let mut world = World::issued(json!({}));
    world.seen.gate = Err(refusal(Reason::DomainNotVerified));
    assert_eq!(world.rests(DAY).1, Some(Reason::DomainNotVerified), "it is said long before");
    let (until, reason) = world.rests(80 * DAY);
    assert_eq!(
        (until, reason),
        (Some(at(83 * DAY - 60)), Some(Reason::DomainNotVerified)),
        "until the notice of seven days"
    );
}

#[test]
fn a_delivery_whose_end_is_not_known_is_settled_before_all_else() {
    let mut world = World::issued(json!({}));
    let made = world.seen.facts.current.take();
    world.seen.facts.open = made.clone();
    world.seen.gate = Err(refusal(Reason::DomainNotVerified));
    assert_eq!(world.decide(1), Step::Settle { landed: true });
    world.stored().certificate = b"x".to_vec();
    assert_eq!(world.decide(1), Step::Settle { landed: true }, "the key is there, and the rest is put right");
    let there = std::mem::replace(&mut world.seen.secret, Held::None);
    world.seen.delivery = Some(there);
    assert_eq!(world.decide(1), Step::Settle { landed: true }, "it stands where it was put");
    world.seen.delivery = Some(Held::None);
    assert_eq!(world.decide(1), Step::Settle { landed: false });
    world.seen.delivery = None;
    assert_eq!(world.decide(1), Step::Settle { landed: false });
    world.object.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert_eq!(world.decide(1), Step::Settle { landed: false });
}

#[test]
fn what_stands_in_the_secret_and_in_no_ledger_is_taken_in_where_it_suits() {
    let mut world = World::issued(json!({}));
    world.seen.facts.current = None;
    assert_eq!(world.decide(1), Step::TakeIn);
    assert_eq!(world.decide(91 * DAY), Step::Issue(Why::First), "it has expired");
    world.spec(json!({"privateKey": {"size": 384}}));
    assert_eq!(world.decide(1), Step::Issue(Why::First));
    // The former organization's certificate is not this one's: its names must be.
    let mut world = World::issued(json!({}));
    world.seen.subject.organization = Organization("other".into());
    assert_eq!(world.decide(1), Step::TakeIn);
    world.seen.gate = Err(refusal(Reason::DomainNotVerified));
    assert_eq!(world.rests(1).1, Some(Reason::DomainNotVerified));
    // One that lives longer than would be issued.
    let mut world = World::issued(json!({"duration": "2161h"}));
    (world.seen.facts.current, world.seen.wanted) = (None, World::new(json!({})).seen.wanted);
    assert_eq!(world.decide(1), Step::Issue(Why::First));
}

#[test]
fn a_key_stays_where_it_is_asked_to_and_fits() {
    let mut world = World::issued(json!({"privateKey": {"rotationPolicy": "Never"}}));
    let key = |world: &World| world.seen.facts.current.as_ref().unwrap().certificate.public_key.clone();
    let (first, serial) = (key(&world), world.serial());
    world.issue(DAY, Why::Due);
    assert!(key(&world) == first && world.serial() != serial);
    world.spec(json!({"privateKey": {"rotationPolicy": "Never", "size": 384}}));
    world.issue(2 * DAY, Why::Spec);
    assert_ne!(key(&world), first, "another algorithm");
    world.spec(json!({}));
    let mut second = World::issued(json!({}));
    let first = key(&second);
    second.issue(DAY, Why::Due);
    assert_ne!(key(&second), first, "always is the default");
}

#[test]
fn commands_are_taken_or_taken_away() {
    let mut world = World::issued(json!({}));
    let command = |verb| Command { verb, value: "1".into(), by: "alice".into() };
    world.seen.command = Some(command(Verb::Reconcile));
    assert_eq!(world.decide(1), Step::Take(command(Verb::Reconcile)));
    world.seen.objection = Some("no gate".into());
    assert!(matches!(world.decide(1), Step::Discard { why: commands::Refusal::Gate(_), .. }));
    world.seen.objection = None;
    for verb in [Verb::Approve, Verb::Cancel, Verb::Retry, Verb::Revoke] {
        world.seen.command = Some(command(verb));
        assert!(matches!(world.decide(1), Step::Discard { why: commands::Refusal::Pointless(_), .. }));
    }
}

#[test]
fn a_renewal_that_a_person_asks_for_is_of_the_certificate_in_use_and_once() {
    let mut world = World::issued(json!({"renewal": {"policy": "Manual"}}));
    let command = |value: String| Command { verb: Verb::Renew, value, by: "alice".into() };
    let serial = world.serial();
    world.seen.command = Some(command("5f3a".into()));
    assert!(matches!(world.decide(1), Step::Discard { why: commands::Refusal::Pointless(_), .. }));
    world.seen.command = Some(command(serial.clone()));
    assert_eq!(world.decide(1), Step::Take(command(serial.clone())));
    world.seen.command = None;
    world.seen.taken = vec![Taken { command: "renew".into(), value: serial.clone(), by: "alice".into(), at: at(1) }];
    assert_eq!(world.decide(2), Step::Issue(Why::Asked));
    world.issue(2, Why::Asked);
    assert!(world.serial() != serial && matches!(world.decide(3), Step::Rest { .. }));
}

#[test]
fn what_is_brought_is_written_down_once_and_watched_to_its_end() {
    let issuer = json!({"issuer": {"imported": {"secretRef": {"name": "web-tls"}}}});
    let mut world = World::issued(json!({}));
    let (made, secret) =
        (world.seen.facts.current.take().unwrap(), std::mem::replace(&mut world.seen.secret, Held::None));
    world.seen.material = Material::Imported;
    world.spec(issuer);
    assert_eq!(world.decide(0), rest(None), "there is none");
    world.seen.secret = secret;
    assert_eq!(world.decide(0), Step::TakeIn);
    let terms = world.seen.wanted.clone().unwrap().terms;
    world.seen.facts.current =
        Some(CertificateFact { certificate: NewCertificate { terms, ..made.certificate }, ..made });
    assert_eq!(world.rests(0), (Some(at(60 * DAY - 60)), None), "until the first notice, at a third of its life");
    assert_eq!(world.rests(85 * DAY), (Some(at(90 * DAY - 60)), None), "its end");
    assert_eq!(world.rests(91 * DAY), (None, None));
    world.stored().key = Ok(OTHER.clone());
    assert_eq!(world.rests(0), (None, None), "a wrong pair waits for another");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Two lives and more, looked at when it said, or now and then before that; each outage of the issuer is shorter than what
    /// is left at a renewal, less a quarter.
    #[test]
    fn no_certificate_ever_has_less_than_a_quarter_of_its_life_left_while_the_issuer_works(
        hours in prop::sample::select(vec![1_i64, 24, 144, 240, 241, 1080, 2160]),
        looks in prop::collection::vec((0..1000_i64, any::<bool>()), 40),
    ) {
        let mut world = World::issued(json!({"duration": format!("{hours}h")}));
        let (life, mut now) = (hours * HOUR, 0);
        for (early, restarts) in looks {
            let current = world.seen.facts.current.clone().unwrap().certificate;
            let left = current.not_after.duration_since(at(now)).as_secs();
            prop_assert!(left * 4 >= life, "{left} s of {life} s are left");
            let serial = world.serial();
            match world.decide(now) {
                Step::Issue(why) => {
                    prop_assert_eq!(why, Why::Due);
                    world.issue(now, why);
                    prop_assert_ne!(world.serial(), serial);
                }
                Step::Rest { until: Some(until), refused: None } => {
                    prop_assert!(until > at(now) && until <= current.not_after);
                    let wait = until.duration_since(at(now)).as_secs() + 1;
                    now += if restarts { (wait * early / 1000).max(1) } else { wait };
                }
                step => prop_assert!(false, "{:?}", step),
            }
        }
        prop_assert!(now > 0);
    }
}

#[path = "revoking_tests.rs"]
mod revoking_tests;
#[path = "strange_tests.rs"]
mod strange;
#[path = "unwanted_tests.rs"]
mod unwanted;
