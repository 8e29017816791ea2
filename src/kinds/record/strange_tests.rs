//! Strange objects with strange findings: each is decided on, and told, without a panic.
#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::super::Record;
use super::super::act::Done;
use super::super::observe::Seen;
use super::{claim_of, seen, set_of, written};
use crate::api::{DnsRecord, Reason};
use crate::kinds::Refusal;
use crate::kinds::objects::{Dice, any};
use crate::kinds::strange::each_is_decided_on_and_told;
use crate::ledger::RecordClaim;
use crate::zones::{Answers, Effect, Look, Whose};

fn any_reason(dice: &mut Dice) -> Refusal {
    let reasons = [Reason::Timeout, Reason::DomainNotVerified, Reason::InvalidRecord, Reason::RateLimited];
    Refusal::new(*dice.pick(&reasons), "\u{0}\u{202e}".repeat(2000))
}

fn any_seen(dice: &mut Dice) -> Seen {
    let mut seen = seen();
    let values = [set_of(&["192.0.2.1"]), set_of(&["192.0.2.66"])];
    let whose = [Whose::Nobody, Whose::Ours, Whose::Another("\u{0}".into())];
    let set = dice.chance(70).then(|| dice.pick(&values).clone());
    let beside = if dice.chance(20) { vec!["CNAME".to_owned()] } else { Vec::new() };
    seen.look = Ok(Look { set, whose: dice.pick(&whose).clone(), beside, delegation: None });
    if dice.chance(60) {
        let mut fact = written(dice.pick(&values));
        fact.repairs = *dice.pick(&[0, 3, u32::MAX]);
        seen.fact = Some(fact);
    }
    if dice.chance(30) {
        let kind = (*dice.pick(&["A", "CNAME"])).to_owned();
        seen.rivals = vec![RecordClaim { kind, ..claim_of("other", *dice.pick(&[1, 9])) }];
    }
    if dice.chance(15) {
        seen.gate = Err(any_reason(dice));
    }
    if dice.chance(15) {
        seen.set = Err(any_reason(dice));
    }
    if dice.chance(15) {
        seen.look = Err(any_reason(dice));
    }
    if dice.chance(20) {
        seen.heard = Some(Answers { servers: Vec::new(), trouble: Some("\u{0}".into()) });
    }
    seen
}

/// As the watch reads it: from text, with what the API server adds.
fn any_object(seed: u64, dice: &mut Dice) -> Option<DnsRecord> {
    let mut strange = any("DnsRecord", &format!("strange-{seed}"), dice);
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
    let outcomes = |dice: &mut Dice, _: &Seen| {
        let effects = [Effect::Unchanged, Effect::Rejected("\u{0}".repeat(5000)), Effect::Changed(None)];
        vec![Done::Nothing, Done::Written { heard: None, kept: None }, Done::asked(dice.pick(&effects).clone())]
    };
    let now = Timestamp::from_second(1_000_000).unwrap();
    let steps = each_is_decided_on_and_told::<Record>(any_object, any_seen, outcomes, now);
    assert_eq!(steps.len(), 8, "{steps:?}");
}
