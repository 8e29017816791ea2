//! What is to be revoked, and when.

use super::*;
use crate::api::RevocationReason;
use crate::ledger::{Revocation, RevocationState};

fn revocation(fact: &CertificateFact, reason: RevocationReason, by: Option<&str>) -> Revocation {
    Revocation {
        fact: fact.clone(),
        reason,
        asked_by: by.map(str::to_owned),
        state: RevocationState::Asked,
        intent: None,
        failures: 0,
        cause: None,
        message: None,
        retry_at: None,
        ended_at: None,
    }
}

/// As one that a CA by ACME issued, whoever made it.
fn ordered(more: Value) -> World {
    let mut world = World::issued(more);
    world.fact().id = Uuid::from_u128(1);
    world
}

impl World {
    fn fact(&mut self) -> &mut CertificateFact {
        self.seen.facts.current.as_mut().unwrap()
    }

    fn wish(&mut self, reason: RevocationReason, by: Option<&str>) {
        let fact = self.fact().clone();
        self.seen.revocations = vec![revocation(&fact, reason, by)];
    }

    fn one(&mut self) -> &mut Revocation {
        self.seen.revocations.first_mut().unwrap()
    }

    fn leave(&mut self) {
        self.object.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    }

    /// The next certificate, which is not the one that was in use.
    fn follow(&mut self, now: i64, why: Why) {
        self.issue(now, why);
        self.fact().id = Uuid::from_u128(2);
    }
}

#[test]
fn one_in_use_is_followed_with_another_key_and_then_revoked() {
    let mut world = ordered(json!({"privateKey": {"rotationPolicy": "Never"}}));
    world.wish(RevocationReason::Superseded, Some("alice"));
    assert_eq!(world.decide(1), Step::Issue(Why::Recalled));
    world.spec(json!({"suspend": true}));
    assert_eq!(world.rests(1).1, Some(Reason::Suspended));
    world.spec(json!({"privateKey": {"rotationPolicy": "Never"}}));
    let key = world.fact().certificate.public_key.clone();
    world.follow(1, Why::Recalled);
    assert_ne!(world.fact().certificate.public_key, key, "another key, whatever the spec says of renewals");
    assert_eq!(world.decide(2), Step::Revoke(Uuid::from_u128(1)));
    // Nothing that the object lacks otherwise stands before it.
    world.seen.gate = Err(refusal(Reason::DomainNotVerified));
    assert_eq!(world.decide(2), Step::Revoke(Uuid::from_u128(1)));
    world.seen.gate = Ok(Vec::new());
    world.one().retry_at = Some(at(60));
    assert_eq!(world.rests(2), (Some(at(60)), None));
    assert_eq!(world.decide(60), Step::Revoke(Uuid::from_u128(1)));
    world.one().state = RevocationState::Revoked;
    assert!(matches!(world.decide(60), Step::Rest { .. }));
}

#[test]
fn a_key_that_is_lost_is_used_no_more_whichever_certificate_it_was_told_of() {
    for (reason, followed) in [(RevocationReason::KeyCompromise, true), (RevocationReason::Superseded, false)] {
        let mut world = ordered(json!({"privateKey": {"rotationPolicy": "Never"}}));
        world.wish(reason, Some("alice"));
        // The next has the same key.
        world.one().fact.id = Uuid::from_u128(7);
        world.one().retry_at = Some(at(HOUR));
        let step = world.decide(1);
        assert_eq!(step == Step::Issue(Why::Recalled), followed, "{step:?}");
        assert_eq!(keeps_key(&world.object.spec, &world.seen), !followed);
    }
}

#[test]
fn what_has_ended_is_not_revoked() {
    let mut world = ordered(json!({}));
    world.wish(RevocationReason::Superseded, Some("alice"));
    let why = "it ended by itself";
    assert_eq!(world.decide(91 * DAY), Step::GiveUp { certificate: Uuid::from_u128(1), why });
    world.leave();
    assert_eq!(world.decide(91 * DAY), Step::GiveUp { certificate: Uuid::from_u128(1), why });
}

#[test]
fn a_command_names_a_certificate_of_a_ca_that_can_be_told() {
    let mut world = ordered(json!({}));
    let serial = world.serial();
    let ask = |world: &mut World, value: String| {
        let command = Command { verb: Verb::Revoke, value, by: "alice".into() };
        world.seen.command = Some(command.clone());
        match world.decide(1) {
            Step::Take(taken) if taken == command => String::new(),
            Step::Discard { why: commands::Refusal::Pointless(why), .. } => why,
            step => panic!("{step:?}"),
        }
    };
    let good = format!("{serial},superseded");
    assert!(ask(&mut world, good.clone()).contains("is on record"), "nothing was found");
    world.seen.named = world.seen.facts.current.clone();
    assert!(ask(&mut world, serial.clone()).contains("write a serial number"));
    assert!(ask(&mut world, format!("{serial},cACompromise")).contains("write a serial number"));
    assert!(ask(&mut world, good.clone()).contains("spec.issuer.selfSigned"));
    let named = |world: &mut World, issuer: &str| {
        world.seen.named.as_mut().unwrap().certificate.terms.issuer = issuer.into();
    };
    for issuer in ["ca", "imported"] {
        named(&mut world, issuer);
        assert!(ask(&mut world, good.clone()).contains(&format!("spec.issuer.{issuer}")));
    }
    named(&mut world, "acme");
    assert_eq!(ask(&mut world, good.clone()), "");
    world.wish(RevocationReason::Superseded, Some("alice"));
    assert_eq!(ask(&mut world, format!("{serial},keyCompromise")), "", "another reason");
    world.one().state = RevocationState::Revoked;
    assert!(ask(&mut world, good.clone()).contains("is revoked already"));
    world.seen.revocations.clear();
    world.seen.named.as_mut().unwrap().certificate.not_after = at(0);
    assert!(ask(&mut world, good).contains("has ended by itself"));
}

#[test]
fn an_object_that_goes_has_its_certificate_revoked_where_the_spec_says_so() {
    let on_delete = json!({"revokeOnDelete": true});
    let mut world = ordered(on_delete.clone());
    world.leave();
    assert_eq!(world.decide(1), Step::LetGo, "there is no CA");
    world.fact().certificate.terms.issuer = "acme".into();
    assert_eq!(world.decide(91 * DAY), Step::LetGo, "it has ended");
    let id = Uuid::from_u128(1);
    assert_eq!(world.decide(1), Step::Recall(id));
    world.wish(RevocationReason::CessationOfOperation, None);
    assert_eq!(world.decide(1), Step::Revoke(id), "nobody waits for the next one");
    world.one().retry_at = Some(at(60));
    world.one().failures = 100;
    assert_eq!(world.rests(1), (Some(at(60)), None), "however long");
    world.spec(json!({"revokeOnDelete": true, "suspend": true}));
    world.leave();
    assert_eq!(world.rests(60).1, Some(Reason::Suspended));
    world.spec(json!({}));
    world.leave();
    let why = "spec.revokeOnDelete was switched off";
    assert_eq!(world.decide(1), Step::GiveUp { certificate: id, why });
    world.one().state = RevocationState::GivenUp;
    assert_eq!(world.decide(1), Step::LetGo);
    world.spec(on_delete);
    world.leave();
    world.one().state = RevocationState::Revoked;
    assert_eq!(world.decide(1), Step::LetGo);
}

#[test]
fn what_a_person_wants_revoked_is_tried_before_the_object_goes_and_not_for_ever() {
    let mut world = ordered(json!({}));
    world.wish(RevocationReason::KeyCompromise, Some("alice"));
    world.leave();
    assert_eq!(world.decide(1), Step::Revoke(Uuid::from_u128(1)));
    world.one().failures = 8;
    assert!(matches!(world.decide(1), Step::GiveUp { .. }));
}
