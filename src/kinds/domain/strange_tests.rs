//! Strange objects with strange findings: each is decided on, and told, without a panic.

use super::super::super::Domain;
use super::*;
use crate::kinds::objects::{Dice, any};
use crate::kinds::strange::each_is_decided_on_and_told;

const REASONS: [Reason; 6] = [
    Reason::Verified,
    Reason::RecordNotFound,
    Reason::ContentMismatch,
    Reason::ResolverUnavailable,
    Reason::ClaimedElsewhere,
    Reason::PendingVerification,
];

fn any_time(dice: &mut Dice) -> Timestamp {
    at(*dice.pick(&[-100_000_000_000, 0, NOW - 1, NOW, NOW + 1, 200_000_000_000]))
}

fn any_fact(dice: &mut Dice) -> DomainFact {
    use DomainState::{Degraded, Pending, Unverified, Verified};
    let state = *dice.pick(&[Pending, Verified, Degraded, Unverified]);
    let mut fact = fact(standing(state, *dice.pick(&REASONS), None));
    fact.standing.checked_at = dice.chance(70).then(|| any_time(dice));
    fact.standing.missed_since = dice.chance(50).then(|| any_time(dice));
    fact.since = any_time(dice);
    if dice.chance(10) {
        fact.subject.organization = Organization("other".into());
    }
    fact
}

fn any_found(dice: &mut Dice) -> Found {
    let verdict = match dice.below(3) {
        0 => Verdict::Proved,
        1 => Verdict::Missing(Reason::ContentMismatch),
        _ => Verdict::Undecided("\u{0}\u{202e}".repeat(5000)),
    };
    found(verdict, &["\u{0}", ""], ServerAnswer::Unreachable)
}

fn any_seen(dice: &mut Dice) -> Seen {
    let mut seen = seen(dice.chance(80).then(|| any_fact(dice)));
    if dice.chance(15) {
        seen.name = canonical("co.uk");
    }
    if dice.chance(20) {
        seen.taken = asked(any_time(dice).as_second());
    }
    if dice.chance(20) {
        seen.home = Some(if dice.chance(70) { Ok(home("z")) } else { Err((Reason::ZoneNotFound, "\u{0}".into())) });
        let zone: &&str = dice.pick(&["z", "y"]);
        seen.published = published(zone, any_time(dice).as_second());
    }
    let own = (0..dice.below(3)).map(|n| format!("DnsRecord r-{n}")).collect();
    seen.in_use = InUse { own, others: *dice.pick(&[0, 0, 1, usize::MAX / 2]) };
    seen
}

/// As the watch reads it: from text, with what the API server adds.
fn any_object(seed: u64, dice: &mut Dice) -> Option<OrganizationDomain> {
    let mut strange = any("OrganizationDomain", &format!("strange-{seed}"), dice);
    let meta = strange.get_mut("metadata")?.as_object_mut()?;
    meta.insert("uid".into(), json!(Uuid::nil()));
    meta.insert("finalizers".into(), json!(if dice.chance(95) { vec!["landfall.dev/finalizer"] } else { vec![] }));
    if dice.chance(30) {
        meta.insert("deletionTimestamp".into(), json!("2026-01-01T00:00:00Z"));
    }
    serde_json::from_str(&strange.to_string()).ok()
}

#[test]
fn every_strange_object_is_decided_on_and_told() {
    let outcomes = |dice: &mut Dice, seen: &Seen| {
        let looked = seen.fact.clone().map(|fact| Box::new((fact, any_found(dice))));
        vec![Done::Nothing, Done::Looked(looked)]
    };
    let steps = each_is_decided_on_and_told::<Domain>(any_object, any_seen, outcomes, at(NOW));
    assert_eq!(steps.len(), 9, "{steps:?}");
}
