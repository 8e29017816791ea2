//! Strange objects with strange findings: each is decided on, and told, without a panic.

use super::super::super::Credential;
use super::super::super::act::Done;
use super::*;
use crate::kinds::objects::{Dice, any};
use crate::kinds::strange::each_is_decided_on_and_told;

fn any_time(dice: &mut Dice) -> i64 {
    *dice.pick(&[-100_000_000_000, 0, NOW - 1, NOW, NOW + 1, 200_000_000_000])
}

fn any_finding(dice: &mut Dice) -> Finding {
    let reasons = [Reason::RateLimited, Reason::ClockSkew, Reason::ProviderUnavailable, Reason::Timeout];
    match dice.below(6) {
        0 => refused(),
        1 => expired(),
        2 => {
            let who: &&str = dice.pick(&["123456789012", "", "\u{0}"]);
            account(who)
        }
        3 => Finding::NotAsked { reason: Reason::SecretKeyMissing, message: "\u{0}".repeat(5000) },
        _ => Finding::Asked(ProbeResult::Unknown(Doubt {
            reason: *dice.pick(&reasons),
            message: "\u{202e}".into(),
            retry_after: dice.chance(50).then(|| Duration::from_secs(*dice.pick(&[0, 1, u64::MAX]))),
        })),
    }
}

fn any_seen(dice: &mut Dice) -> Seen {
    let mut seen = seen();
    if dice.chance(20) {
        let reason = *dice.pick(&[Reason::SecretNotFound, Reason::NotProbed, Reason::SecretKeyMissing]);
        seen.proof = Proof::Missing { reason, message: String::new() };
    }
    for _ in 0..dice.below(4) {
        let (digest, at) = (*dice.pick(&["a", "a", "b"]), at(any_time(dice)));
        let mut attempt = Attempt::after(seen.attempt.as_ref(), digest, any_finding(dice), at);
        attempt.refusals = *dice.pick(&[attempt.refusals, u32::MAX]);
        attempt.doubts = *dice.pick(&[attempt.doubts, u32::MAX]);
        seen.attempt = Some(attempt);
    }
    let succeeded = dice.chance(50).then(|| any_time(dice));
    seen.facts = match dice.below(4) {
        0 => Facts::Away,
        1 => Facts::Known(None),
        _ => {
            let state = *dice.pick(&["Valid", "StaleOk", "Invalid", "Unknown", ""]);
            fact(state, Reason::InvalidCredentials, any_time(dice), succeeded)
        }
    };
    let own = (0..dice.below(3)).map(|n| format!("web-{n}")).collect();
    seen.in_use = InUse { own, others: *dice.pick(&[0, 0, 1, usize::MAX / 2]) };
    seen
}

/// As the watch reads it: from text, with what the API server adds.
fn any_object(seed: u64, dice: &mut Dice) -> Option<CloudCredential> {
    let mut strange = any("CloudCredential", &format!("strange-{seed}"), dice);
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
        let probed = Attempt::after(seen.attempt.as_ref(), "a", any_finding(dice), at(NOW));
        vec![Done::Nothing, Done::Probed(probed)]
    };
    let steps = each_is_decided_on_and_told::<Credential>(any_object, any_seen, outcomes, at(NOW));
    assert_eq!(steps.len(), 4, "{steps:?}");
}
