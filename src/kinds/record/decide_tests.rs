#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::kinds::record::tests::{claim_of, object_with, seen, set_of, written};

const POLICIES: [&str; 4] = ["Sync", "UpsertOnly", "CreateOnly", "Observe"];
const ADOPTIONS: [&str; 3] = ["Never", "IfIdentical", "Always"];
const DRIFTS: [&str; 2] = ["Repair", "Report"];
const DELETIONS: [&str; 2] = ["Delete", "Retain"];

/// What happened: what stands at the name, whose it is, and what is known of it.
const EVENTS: [&str; 10] = [
    "absent",
    "same",
    "spec changed",
    "spec changed and drifted",
    "spec changed and deleted outside",
    "drifted",
    "deleted outside",
    "foreign",
    "nobody's, same",
    "nobody's, other",
];

/// Policy, adoption, drift, event, and what follows; `*` is any. The first row that fits counts.
const TABLE: &[(&str, &str, &str, &str, &str)] = &[
    ("*", "*", "*", "same", "rest"),
    ("Observe", "*", "*", "nobody's, same", "rest"),
    ("Observe", "*", "*", "*", "tell"),
    ("*", "*", "*", "foreign", "not owned"),
    ("*", "*", "*", "absent", "write"),
    ("*", "*", "Repair", "deleted outside", "repair"),
    ("*", "*", "Report", "deleted outside", "tell"),
    ("CreateOnly", "*", "*", "spec changed", "tell"),
    ("*", "*", "*", "spec changed", "write"),
    // The newer word counts, whatever somebody else did to the older one.
    ("CreateOnly", "*", "*", "spec changed and drifted", "tell"),
    ("*", "*", "*", "spec changed and drifted", "write"),
    ("*", "*", "*", "spec changed and deleted outside", "write"),
    ("CreateOnly", "*", "*", "drifted", "tell"),
    ("*", "*", "Repair", "drifted", "repair"),
    ("*", "*", "Report", "drifted", "tell"),
    ("*", "Never", "*", "nobody's, same", "not owned"),
    ("*", "*", "*", "nobody's, same", "write"),
    ("CreateOnly", "*", "*", "nobody's, other", "not owned"),
    ("*", "Always", "*", "nobody's, other", "write"),
    ("*", "*", "*", "nobody's, other", "not owned"),
];

/// What follows under any circumstance, before the table is asked.
const CIRCUMSTANCES: [&str; 5] = ["plain", "suspended", "unverified", "conflict", "unreachable"];

fn expected(policy: &str, adoption: &str, drift: &str, event: &str) -> &'static str {
    let fits = |cell: &str, value: &str| cell == "*" || cell == value;
    let row =
        TABLE.iter().find(|(p, a, d, e, _)| fits(p, policy) && fits(a, adoption) && fits(d, drift) && fits(e, event));
    row.unwrap_or_else(|| panic!("no row for {policy} {adoption} {drift} {event}")).4
}

fn happened(event: &str, seen: &mut Seen) {
    let set = set_of(&["192.0.2.1"]);
    let other = set_of(&["192.0.2.66"]);
    let stands = |set: Option<RecordSet>, whose: Whose| Ok(Look { set, whose, beside: vec![], delegation: None });
    let foreign = Whose::Another("external-dns's".into());
    seen.fact = Some(written(&set));
    seen.look = match event {
        "absent" => {
            seen.fact = None;
            stands(None, Whose::Nobody)
        }
        "same" => stands(Some(set), Whose::Ours),
        "spec changed" => {
            seen.fact = Some(written(&other));
            stands(Some(other), Whose::Ours)
        }
        "spec changed and drifted" => {
            seen.fact = Some(written(&set_of(&["192.0.2.77"])));
            stands(Some(other), Whose::Ours)
        }
        "spec changed and deleted outside" => {
            seen.fact = Some(written(&other));
            stands(None, Whose::Nobody)
        }
        "drifted" => stands(Some(other), Whose::Ours),
        "deleted outside" => stands(None, Whose::Nobody),
        "foreign" => {
            seen.fact = None;
            stands(Some(other), foreign)
        }
        "nobody's, same" => {
            seen.fact = None;
            stands(Some(set), Whose::Nobody)
        }
        "nobody's, other" => {
            seen.fact = None;
            stands(Some(other), Whose::Nobody)
        }
        other => panic!("{other}"),
    };
}

fn told(step: &Step) -> &'static str {
    match step {
        Step::Rest(Verdict::Programmed) => "rest",
        Step::Rest(Verdict::Drifted(_)) => "tell",
        Step::Rest(Verdict::Unprogrammed(r)) if r.reason == Reason::NotOwned => "not owned",
        Step::Rest(Verdict::Unprogrammed(r)) if r.reason == Reason::Contended => "contended",
        Step::Rest(Verdict::Unprogrammed(r)) if r.reason == Reason::Suspended => "suspended",
        Step::Rest(Verdict::Unprogrammed(r)) if r.reason == Reason::Conflict => "conflict",
        Step::Rest(Verdict::Unprogrammed(r)) if r.reason == Reason::Timeout => "unreachable",
        Step::Rest(Verdict::Unaccepted(r)) if r.reason == Reason::DomainNotVerified => "unverified",
        Step::Write { repair: false } => "write",
        Step::Write { repair: true } => "repair",
        Step::Claim => "claim",
        Step::Yield => "yield",
        Step::GiveWay => "give way",
        Step::Remove => "remove",
        Step::Leave { heir: Some(_), .. } => "bequeath",
        Step::Leave { kept: Some(_), .. } => "keep",
        Step::Leave { .. } => "leave",
        Step::Hold(_) => "hold",
        other => panic!("{other:?}"),
    }
}

fn each(mut check: impl FnMut([&'static str; 5], Value)) {
    for policy in POLICIES {
        for adoption in ADOPTIONS {
            for drift in DRIFTS {
                for deletion in DELETIONS {
                    for event in EVENTS {
                        let spec =
                            json!({"policy": policy, "adoption": adoption, "drift": drift, "deletionPolicy": deletion});
                        check([policy, adoption, drift, deletion, event], spec);
                    }
                }
            }
        }
    }
}

#[test]
fn every_policy_adoption_drift_and_event() {
    let mut count = 0;
    each(|[policy, adoption, drift, deletion, event], spec| {
        for circumstance in CIRCUMSTANCES {
            let (mut object, mut seen) = (object_with(spec.clone(), false), seen());
            happened(event, &mut seen);
            let observes = policy == "Observe";
            if observes && let Some(fact) = &mut seen.fact {
                fact.asks = false;
            }
            let expected = match circumstance {
                "suspended" => {
                    object.spec.suspend = true;
                    if observes { expected(policy, adoption, drift, event) } else { "suspended" }
                }
                "unverified" => {
                    seen.gate = Err(Refusal::new(Reason::DomainNotVerified, "x"));
                    if seen.asks() { "yield" } else { "unverified" }
                }
                "conflict" => {
                    seen.rivals = vec![claim_of("older", 1)];
                    match (observes, seen.fact.is_some()) {
                        (true, _) => expected(policy, adoption, drift, event),
                        (false, true) => "conflict",
                        (false, false) => "claim",
                    }
                }
                "unreachable" => {
                    seen.look = Err(Refusal::new(Reason::Timeout, "x"));
                    "unreachable"
                }
                _ => expected(policy, adoption, drift, event),
            };
            let step = decide(&object, &seen, Timestamp::UNIX_EPOCH);
            assert_eq!(
                told(&step),
                expected,
                "{policy} {adoption} {drift} {deletion} {event} {circumstance}: {step:?}"
            );
            count += 1;
        }
    });
    assert_eq!(count, 4 * 3 * 2 * 2 * 10 * 5);
}

#[test]
fn every_deletion() {
    let mut count = 0;
    each(|[policy, _, _, deletion, event], spec| {
        for circumstance in [
            "plain",
            "suspended",
            "unverified",
            "unreachable",
            "lost",
            "heir",
            "other type",
            "older",
            "yielded",
            "other cluster",
        ] {
            let (mut object, mut seen) = (object_with(spec.clone(), true), seen());
            happened(event, &mut seen);
            let (known, deletes) = (seen.fact.is_some(), policy == "Sync" && deletion == "Delete");
            let ours = matches!(&seen.look, Ok(look) if look.set.is_some() && look.whose == Whose::Ours);
            match circumstance {
                "suspended" => object.spec.suspend = true,
                "unverified" => seen.gate = Err(Refusal::new(Reason::DomainNotVerified, "x")),
                "unreachable" => seen.look = Err(Refusal::new(Reason::Timeout, "x")),
                "lost" => {
                    seen.look = Err(Refusal::new(Reason::SecretNotFound, "x"));
                    seen.lost = Some("x".into());
                }
                "heir" => seen.rivals = vec![claim_of("younger", 9)],
                "other type" => {
                    let cname = RecordClaim { kind: "CNAME".into(), ..claim_of("younger", 9) };
                    seen.rivals = vec![cname];
                }
                "older" => seen.rivals = vec![claim_of("older", 1)],
                "yielded" => {
                    seen.rivals = vec![claim_of("younger", 9)];
                    if let Some(fact) = &mut seen.fact {
                        fact.asks = false;
                    }
                }
                "other cluster" => {
                    let mut claim = claim_of("younger", 9);
                    claim.subject.cluster = Uuid::from_u128(9);
                    seen.rivals = vec![claim];
                }
                _ => {}
            }
            let expected = match circumstance {
                _ if !known => "leave",
                "heir" => "bequeath",
                // The set is another's, who has it already.
                "older" | "yielded" => "leave",
                _ if !deletes => "keep",
                "unverified" | "lost" => "keep",
                "unreachable" => "hold",
                "suspended" if ours => "hold",
                _ if ours => "remove",
                _ => "leave",
            };
            let step = decide(&object, &seen, Timestamp::UNIX_EPOCH);
            assert_eq!(told(&step), expected, "{policy} {deletion} {event} {circumstance}: {step:?}");
            count += 1;
        }
    });
    assert_eq!(count, 4 * 3 * 2 * 2 * 10 * 10);
}

#[test]
fn of_several_the_oldest_has_the_set_and_a_cname_stands_alone() {
    let name = |claim: &RecordClaim| claim.subject.name.clone();
    let ours = claim_of("ours", 5);
    let (older, oldest, younger) = (claim_of("older", 4), claim_of("oldest", 3), claim_of("younger", 6));
    assert_eq!(winner(&ours, &[older.clone(), oldest.clone(), younger.clone()]).map(name), Some("oldest".into()));
    assert_eq!(winner(&ours, std::slice::from_ref(&younger)), None);
    let of = |kind: &str, claim: &RecordClaim| RecordClaim { kind: kind.into(), ..claim.clone() };
    assert_eq!(winner(&ours, &[of("TXT", &older)]), None, "other types stand side by side");
    assert_eq!(winner(&ours, &[of("CNAME", &older)]).map(name), Some("older".into()));
    assert_eq!(winner(&of("CNAME", &ours), &[of("TXT", &older)]).map(name), Some("older".into()));
    // Made in the same second: the uid decides, and for both of them alike.
    let (mut a, mut b) = (claim_of("a", 5), claim_of("b", 5));
    (a.subject.uid, b.subject.uid) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(
        (winner(&a, std::slice::from_ref(&b)), winner(&b, std::slice::from_ref(&a)).map(name)),
        (None, Some("a".into()))
    );
}

#[test]
fn a_winner_is_named_to_who_may_know_it() {
    let words = |change: fn(&mut RecordClaim)| {
        let mut seen = seen();
        let mut older = claim_of("older", 1);
        change(&mut older);
        seen.rivals = vec![older];
        seen.fact = Some(written(&set_of(&["192.0.2.1"])));
        match decide(&object_with(json!({}), false), &seen, Timestamp::UNIX_EPOCH) {
            Step::Rest(Verdict::Unprogrammed(refusal)) => refusal.message,
            other => panic!("{other:?}"),
        }
    };
    assert!(words(|_| {}).starts_with("DnsRecord \"older\" is older and asks for www.example.com A"));
    let elsewhere = words(|claim| claim.subject.namespace = "secretive".into());
    assert!(elsewhere.contains("another namespace") && !elsewhere.contains("secretive"), "{elsewhere}");
    let far = words(|claim| claim.subject.cluster = Uuid::from_u128(9));
    assert!(far.contains("another cluster") && !far.contains("older\""), "{far}");
}

#[test]
fn after_three_repairs_in_ten_minutes_it_is_left_alone() {
    let object = object_with(json!({}), false);
    for (repairs, expected) in [(0, "repair"), (2, "repair"), (3, "contended"), (9, "contended")] {
        let mut seen = seen();
        happened("drifted", &mut seen);
        seen.fact.as_mut().unwrap().repairs = repairs;
        assert_eq!(told(&decide(&object, &seen, Timestamp::UNIX_EPOCH)), expected, "{repairs}");
    }
}

#[test]
fn what_is_not_put_down_is_put_down_and_a_spec_that_became_bad_can_still_go() {
    let mut seen = seen();
    happened("same", &mut seen);
    seen.fact = None;
    assert_eq!(told(&decide(&object_with(json!({}), false), &seen, Timestamp::UNIX_EPOCH)), "write");
    happened("same", &mut seen);
    seen.set = Err(Refusal::new(Reason::InvalidRecord, "x"));
    assert_eq!(told(&decide(&object_with(json!({}), true), &seen, Timestamp::UNIX_EPOCH)), "remove");
    assert_eq!(told(&decide(&object_with(json!({}), false), &seen, Timestamp::UNIX_EPOCH)), "yield");
    seen.fact.as_mut().unwrap().asks = false;
    let step = decide(&object_with(json!({}), false), &seen, Timestamp::UNIX_EPOCH);
    assert!(matches!(step, Step::Rest(Verdict::Unaccepted(r)) if r.reason == Reason::InvalidRecord));
}

#[test]
fn a_cname_stands_alone_and_below_a_delegation_nobody_is_answered() {
    use crate::dns::{Name, RecordType};
    let told = |kind: &str, value: &str, beside: &[&str], delegation: Option<&str>| {
        let kind: RecordType = kind.parse().unwrap();
        let mut seen = seen();
        let owner = Name::parse("www.example.com").unwrap();
        seen.set = Ok(RecordSet::from_spec(owner, kind, 300, &[value.to_owned()]).unwrap());
        let beside = beside.iter().map(|word| (*word).to_owned()).collect();
        let delegation = delegation.map(|name| Name::parse(name).unwrap());
        seen.look = Ok(Look { set: None, whose: Whose::Nobody, beside, delegation });
        match decide(&object_with(json!({}), false), &seen, Timestamp::UNIX_EPOCH) {
            Step::Write { .. } => None,
            Step::Rest(Verdict::Unprogrammed(refusal)) => Some(refusal.reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told("A", "192.0.2.1", &["TXT", "SSHFP"], None), None);
    assert_eq!(told("A", "192.0.2.1", &["CNAME"], None), Some(Reason::Conflict));
    assert_eq!(told("CNAME", "a.example.", &["SSHFP"], None), Some(Reason::Conflict));
    assert_eq!(told("CNAME", "a.example.", &[], None), None);
    assert_eq!(told("A", "192.0.2.1", &["NS"], Some("www.example.com")), Some(Reason::OutsideDomain));
    assert_eq!(told("A", "192.0.2.1", &[], Some("example.com")), Some(Reason::OutsideDomain));
    assert_eq!(told("NS", "ns.example.", &[], Some("www.example.com")), None);
}

#[test]
fn commands_go_before_all_but_the_end() {
    let mut seen = seen();
    let command = |verb| Command { verb, value: "1".into(), by: "alice".into() };
    seen.command = Some(command(Verb::Reconcile));
    let object = object_with(json!({}), false);
    assert!(matches!(decide(&object, &seen, Timestamp::UNIX_EPOCH), Step::Take(_)));
    seen.objection = Some("no gate".into());
    assert!(matches!(decide(&object, &seen, Timestamp::UNIX_EPOCH), Step::Discard { why: Discarded::Gate(_), .. }));
    seen.objection = None;
    seen.command = Some(command(Verb::Approve));
    assert!(matches!(
        decide(&object, &seen, Timestamp::UNIX_EPOCH),
        Step::Discard { why: Discarded::Pointless(_), .. }
    ));
    assert!(matches!(decide(&object_with(json!({}), true), &seen, Timestamp::UNIX_EPOCH), Step::Leave { .. }));
}

proptest! {
    /// Claims of one name: those that win can all stand, and whoever loses does so to an older one that wins.
    #[test]
    fn those_that_win_can_all_stand(of in prop::collection::vec((0_i64..4, 0_usize..4), 1..9)) {
        let kinds = ["A", "TXT", "CNAME", "MX"];
        let claims: Vec<RecordClaim> = of.iter().zip(1_u128..).map(|((second, kind), number)| {
            let mut claim = claim_of("x", *second);
            claim.subject.uid = Uuid::from_u128(number);
            RecordClaim { kind: kinds[*kind].into(), ..claim }
        }).collect();
        let over = |claim: &RecordClaim| {
            let others: Vec<RecordClaim> = claims.iter().filter(|c| c.subject.uid != claim.subject.uid).cloned().collect();
            winner(claim, &others).cloned()
        };
        let winners: Vec<&RecordClaim> = claims.iter().filter(|claim| over(claim).is_none()).collect();
        prop_assert!(!winners.is_empty());
        for (place, one) in winners.iter().enumerate() {
            for other in &winners[place + 1..] {
                prop_assert!(one.kind != other.kind && one.kind != "CNAME" && other.kind != "CNAME");
            }
        }
        for loser in &claims {
            if let Some(winner) = over(loser) {
                prop_assert!(winners.contains(&&winner) && rank(&winner) < rank(loser));
            }
        }
    }
}

#[test]
fn a_loser_makes_room_for_a_set_that_cannot_stand_beside_its_own() {
    let object = object_with(json!({}), false);
    let mut seen = seen();
    happened("same", &mut seen);
    let older = claim_of("older", 1);
    seen.rivals = vec![RecordClaim { kind: "CNAME".into(), ..older.clone() }];
    assert_eq!(told(&decide(&object, &seen, Timestamp::UNIX_EPOCH)), "give way");
    seen.look = Err(Refusal::new(Reason::Timeout, "x"));
    assert_eq!(told(&decide(&object, &seen, Timestamp::UNIX_EPOCH)), "unreachable");
    seen.rivals = vec![older];
    assert_eq!(told(&decide(&object, &seen, Timestamp::UNIX_EPOCH)), "conflict", "the older one writes over it");
    seen.fact.as_mut().unwrap().written = None;
    seen.rivals[0].kind = "CNAME".into();
    assert_eq!(told(&decide(&object, &seen, Timestamp::UNIX_EPOCH)), "conflict", "nothing of it stands");
}

#[test]
fn who_does_not_ask_any_more_asks_again_by_writing() {
    let object = object_with(json!({}), false);
    let mut seen = seen();
    happened("same", &mut seen);
    seen.fact.as_mut().unwrap().asks = false;
    assert_eq!(told(&decide(&object, &seen, Timestamp::UNIX_EPOCH)), "write");
    seen.rivals = vec![claim_of("older", 1)];
    assert_eq!(told(&decide(&object, &seen, Timestamp::UNIX_EPOCH)), "claim");
    seen.rivals.clear();
    seen.fact.as_mut().unwrap().asks = true;
    assert_eq!(told(&decide(&object_with(json!({"policy": "Observe"}), false), &seen, Timestamp::UNIX_EPOCH)), "yield");
}
