//! Strange objects with strange findings: each is decided on, and told, without a panic.

use super::*;
use crate::kinds::certificate::Certificate as Kind;
use crate::kinds::certificate::act::Done;
use crate::kinds::objects::{Dice, any};
use crate::kinds::strange::each_is_decided_on_and_told;
use crate::ledger::{AcmeOrder, AcmeStage};

fn any_refusal(dice: &mut Dice) -> Refusal {
    refusal(*dice.pick(&[Reason::DomainNotVerified, Reason::CaUnavailable, Reason::SecretNotOwned, Reason::Suspended]))
}

fn any_fact(dice: &mut Dice, seen: &Seen) -> CertificateFact {
    let mut fact = PAIR.0.clone();
    fact.certificate.subject = seen.subject.clone();
    let times = [Timestamp::MIN, at(0), at(DAY), Timestamp::MAX];
    (fact.certificate.not_before, fact.certificate.not_after) = (*dice.pick(&times), *dice.pick(&times));
    if dice.chance(30) {
        fact.certificate.serial = String::new();
        fact.certificate.public_key = "\u{0}".into();
    }
    if dice.chance(10) {
        fact.certificate.subject.organization = Organization("other".into());
    }
    fact
}

/// A certificate that was issued, and its key.
static PAIR: LazyLock<(CertificateFact, Key)> = LazyLock::new(|| {
    let mut world = World::issued(json!({}));
    let key = world.stored().key.clone().unwrap();
    (world.seen.facts.current.unwrap(), key)
});

fn any_order(dice: &mut Dice, seen: &Seen) -> AcmeOrder {
    let stages = [AcmeStage::Placed, AcmeStage::Presented, AcmeStage::Issued, AcmeStage::Delivered, AcmeStage::Failed];
    AcmeOrder {
        clean_at: *dice.pick(&[None, Some(Timestamp::MAX), Some(Timestamp::MIN)]),
        ..unwanted::order(*dice.pick(&stages), &seen.subject)
    }
}

fn any_seen(dice: &mut Dice) -> Seen {
    let (fact, key) = &*PAIR;
    let mut world = World::new(json!({}));
    if dice.chance(70) {
        world.hold(key.clone(), &fact.certificate.chain, fact.certificate.roots.as_deref());
        let stored = world.stored();
        match dice.below(6) {
            0 => stored.key = Key::read(b""),
            1 => stored.chain = Chain::read(b""),
            2 => stored.certificate = vec![0xff],
            3 => stored.roots = None,
            _ => {}
        }
    } else if dice.chance(30) {
        world.seen.secret = Held::Foreign("\u{202e}".into());
    }
    let mut seen = world.seen;
    if dice.chance(20) {
        seen.material = Material::Ca(Err(any_refusal(dice)));
    }
    if dice.chance(20) {
        seen.gate = Err(any_refusal(dice));
    }
    if dice.chance(20) {
        seen.wanted = Err(any_refusal(dice));
    }
    seen.facts.current = dice.chance(60).then(|| any_fact(dice, &seen));
    seen.facts.open = dice.chance(15).then(|| any_fact(dice, &seen));
    seen.order = dice.chance(30).then(|| any_order(dice, &seen));
    if dice.chance(20) {
        let verb = *dice.pick(&[Verb::Reconcile, Verb::Approve]);
        seen.command = Some(Command { verb, value: "\u{0}".repeat(5000), by: String::new() });
    }
    seen
}

/// As the watch reads it: from text, with what the API server adds.
fn any_object(seed: u64, dice: &mut Dice) -> Option<Certificate> {
    let mut strange = any("Certificate", &format!("strange-{seed}"), dice);
    let meta = strange.get_mut("metadata")?.as_object_mut()?;
    meta.insert("uid".into(), json!(Uuid::nil()));
    meta.insert("finalizers".into(), json!(if dice.chance(95) { vec![FINALIZER] } else { vec![] }));
    if dice.chance(20) {
        meta.insert("deletionTimestamp".into(), json!("2026-01-01T00:00:00Z"));
    }
    serde_json::from_str(&strange.to_string()).ok()
}

#[test]
fn every_strange_object_is_decided_on_and_told() {
    let outcomes = |dice: &mut Dice, seen: &Seen| {
        let fact = Box::new(any_fact(dice, seen));
        vec![Done::Nothing, Done::Issued(fact.clone()), Done::TakenIn(fact), Done::Restored]
    };
    let steps = each_is_decided_on_and_told::<Kind>(any_object, any_seen, outcomes, at(DAY));
    assert_eq!(steps.len(), 9, "{steps:?}");
}
