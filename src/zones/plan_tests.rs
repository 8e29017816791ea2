#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use std::time::Instant;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::api::Organization;
use crate::ledger::{ObjectKind, Subject};
use crate::providers::{Contents, Other, Standing};

const CLUSTER: Uuid = Uuid::from_u128(7 << 64);

fn name(text: &str) -> Name {
    Name::presented(text).unwrap()
}

fn zone() -> Zone {
    Zone { id: "z".into(), name: name("example.com") }
}

fn us(marks: bool) -> Ownership {
    Ownership::new(CLUSTER, marks)
}

fn a(owner: &str, last: u8) -> RecordSet {
    let records = vec![(60, Data::A([192, 0, 2, last].into()))];
    RecordSet::gathered(name(owner), RecordType::A, records).unwrap()
}

fn texts(owner: &str, values: &[&str]) -> RecordSet {
    let records = values.iter().map(|v| (60, Data::Txt(v.as_bytes().to_vec()))).collect();
    RecordSet::gathered(name(owner), RecordType::Txt, records).unwrap()
}

fn wish(owner: &str, kind: RecordType, want: Want) -> Wish {
    let subject = Subject {
        organization: Organization("acme".into()),
        cluster: CLUSTER,
        kind: ObjectKind::DnsRecord,
        uid: Uuid::from_u128(1),
        namespace: "shop".into(),
        name: "www".into(),
    };
    Wish { subject, why: "a test".into(), owner: name(owner), kind, want, by: None }
}

/// Who holds what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Ours,
    Nobody,
    Other,
}

/// The zone with this set, held by somebody, at a provider with markers or without.
fn standing(set: Option<RecordSet>, holder: Holder, marks: bool) -> Snapshot {
    let mut sets = Vec::new();
    let other = Ownership::new(Uuid::from_u128(8 << 64), marks);
    let by = match holder {
        Holder::Ours => Some(us(marks)),
        Holder::Other => Some(other),
        Holder::Nobody => None,
    };
    if let (Some(by), false) = (&by, marks) {
        let entry = by.entry(&zone(), &name("www.example.com"), RecordType::A).unwrap();
        sets.push(Standing { set: entry, markers: vec![] });
    }
    let markers = by.and_then(|by| by.marker()).into_iter().collect();
    sets.extend(set.map(|set| Standing { set, markers }));
    Snapshot::new(Contents { sets, others: vec![] }, None, Instant::now())
}

fn planned(snapshot: &Snapshot, marks: bool, wishes: &[Wish]) -> Plan {
    plan(&zone(), snapshot, &us(marks), &wishes.iter().collect::<Vec<_>>())
}

/// `write`, `same`, or the refusal's word.
fn told(plan: &Plan) -> &'static str {
    match (&plan.settled[..], &plan.writes[..]) {
        ([], [_]) => "write",
        ([(0, Effect::Unchanged)], []) => "same",
        ([(0, Effect::NotOwned(_))], []) => "not owned",
        ([(0, Effect::Rejected(_))], []) => "rejected",
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_by_what_stands_whose_it_is_and_what_is_wished() {
    use Adoption::{Always, IfIdentical, Never};
    use Holder::{Nobody, Other, Ours};
    let owner = "www.example.com";
    let (same, differs) = (Some(a(owner, 1)), Some(a(owner, 2)));
    // What stands, whose it is; then for a set with each adoption, and for none.
    for (stands, holder, wanted) in [
        (None, Nobody, ["write", "write", "write", "same"]),
        (same.clone(), Ours, ["same", "same", "same", "write"]),
        (differs.clone(), Ours, ["write", "write", "write", "write"]),
        (same.clone(), Nobody, ["not owned", "write", "write", "not owned"]),
        (differs.clone(), Nobody, ["not owned", "not owned", "write", "not owned"]),
        (same, Other, ["not owned", "not owned", "not owned", "not owned"]),
        (differs, Other, ["not owned", "not owned", "not owned", "not owned"]),
    ] {
        for marks in [true, false] {
            let snapshot = standing(stands.clone(), holder, marks);
            let sets = [Never, IfIdentical, Always].map(|adoption| Want::Set { set: a(owner, 1), adoption });
            for (want, wanted) in sets.into_iter().chain([Want::Gone { leaving: 1 }]).zip(wanted) {
                let plan = planned(&snapshot, marks, &[wish(owner, RecordType::A, want.clone())]);
                assert_eq!(told(&plan), wanted, "{stands:?} {holder:?} {want:?} marks {marks}");
                let Some(write) = plan.writes.first() else { continue };
                assert_eq!(write.change.before(), stands.as_ref(), "under the condition that it is what was read");
                let after = (!matches!(want, Want::Gone { .. })).then(|| a(owner, 1));
                assert_eq!(write.change.after(), after.as_ref());
                assert_eq!(write.change.parts().count(), if marks { 1 } else { 2 });
            }
        }
    }
}

#[test]
fn the_registry_s_entry_comes_and_goes_with_its_set() {
    let owner = "www.example.com";
    let entry = us(false).entry(&zone(), &name(owner), RecordType::A).unwrap();
    let set = |set| wish(owner, RecordType::A, Want::Set { set, adoption: Adoption::Never });
    let gone = || wish(owner, RecordType::A, Want::Gone { leaving: 1 });
    let (ours, nobody) = (Holder::Ours, Holder::Nobody);
    let stands = Some(a(owner, 1));
    // What stands, whose; the wish; the entry before and after.
    for (stands, holder, wish, before, after) in [
        (None, nobody, set(a(owner, 1)), false, true),
        (stands.clone(), ours, set(a(owner, 2)), true, true),
        (None, ours, set(a(owner, 2)), true, true),
        (stands, ours, gone(), true, false),
    ] {
        let plan = planned(&standing(stands, holder, false), false, std::slice::from_ref(&wish));
        let beside = plan.writes[0].change.parts().nth(1).unwrap();
        assert_eq!((beside.before(), beside.after()), (before.then_some(&entry), after.then_some(&entry)), "{wish:?}");
    }
    // Only the entry is left: it goes by itself.
    let plan = planned(&standing(None, ours, false), false, &[gone()]);
    assert_eq!(plan.writes[0].change.before(), Some(&entry));
    assert_eq!((plan.writes[0].change.after(), plan.writes[0].change.parts().count()), (None, 1));
}

#[test]
fn what_no_zone_may_hold_is_refused_without_a_write() {
    let set = |owner: &str, set: RecordSet| wish(owner, set.kind(), Want::Set { set, adoption: Adoption::Always });
    let share = |owner: &str| wish(owner, RecordType::Txt, Want::Share { value: "v".into(), ttl: 60 });
    let alias = |owner: &str| {
        RecordSet::gathered(name(owner), RecordType::Cname, vec![(60, Data::Cname(name("b.example")))]).unwrap()
    };
    let long = format!("{0}.{0}.{0}.{1}.example.com", "a".repeat(63), "b".repeat(48));
    for (marks, wish, word) in [
        (true, set("www.example.org", a("www.example.org", 1)), "does not lie within"),
        (true, set("evilexample.com", a("evilexample.com", 1)), "does not lie within"),
        (true, set("example.com", alias("example.com")), "CNAME"),
        (true, set("www.example.com", a("api.example.com", 1)), "is not of"),
        (true, set("_acme-challenge.example.com", texts("_acme-challenge.example.com", &["v"])), "shared"),
        (true, wish("_acme-challenge.example.com", RecordType::Txt, Want::Gone { leaving: 1 }), "shared"),
        (true, set("x._landfall-a.example.com", texts("x._landfall-a.example.com", &["v"])), "registry"),
        (true, share("www.example.com"), "no name of shared values"),
        (true, share("_acme-challenge.example.org"), "does not lie within"),
        (false, set(&long, a(&long, 1)), "too long"),
    ] {
        let empty = Snapshot::new(Contents::default(), None, Instant::now());
        let plan = planned(&empty, marks, std::slice::from_ref(&wish));
        assert!(plan.writes.is_empty(), "{wish:?}");
        assert!(
            matches!(&plan.settled[..], [(0, Effect::Rejected(rule))] if rule.contains(word)),
            "{:?}",
            plan.settled
        );
    }
}

const SHARED: &str = "_acme-challenge.example.com";

fn share(value: &str) -> Wish {
    wish(SHARED, RecordType::Txt, Want::Share { value: value.into(), ttl: 30 })
}

fn unshare(value: &str) -> Wish {
    wish(SHARED, RecordType::Txt, Want::Unshare { value: value.into() })
}

fn with(values: &[&str]) -> Snapshot {
    let sets = (!values.is_empty()).then(|| Standing { set: texts(SHARED, values), markers: vec![] });
    Snapshot::new(Contents { sets: sets.into_iter().collect(), others: vec![] }, None, Instant::now())
}

#[test]
fn values_of_a_shared_set_are_merged_in_one_write() {
    let plan = planned(&with(&["foreign", "old"]), true, &[share("a"), unshare("old"), share("foreign"), unshare("x")]);
    let mut same: Vec<_> = plan.settled.iter().map(|(number, effect)| (*number, effect.clone())).collect();
    same.sort_by_key(|(number, _)| *number);
    assert_eq!(same, [(2, Effect::Unchanged), (3, Effect::Unchanged)]);
    let [write] = &plan.writes[..] else { panic!("{:?}", plan.writes) };
    assert_eq!((&write.wishes[..], write.shared), (&[0, 1][..], true));
    assert_eq!(write.change.after(), Some(&texts(SHARED, &["a", "foreign"])), "the TTL that stands stays");
    assert_eq!(write.change.parts().count(), 1, "nobody owns it");
    let plan = planned(&with(&["a"]), false, &[unshare("a")]);
    assert_eq!(plan.writes[0].change.after(), None, "the set goes with its last value");
    let plan = planned(&with(&[]), false, &[share("a")]);
    assert_eq!(plan.writes[0].change.after().unwrap().ttl(), 30);
    let odd = Other { name: SHARED.into(), kind: "TXT".into(), why: "TTLs differ".into() };
    let odd = Snapshot::new(Contents { sets: vec![], others: vec![odd] }, None, Instant::now());
    assert_eq!(told(&planned(&odd, true, &[share("a")])), "rejected");
}

proptest! {
    /// Whatever is shared and done with at once: nobody's value is lost, and the second pass writes nothing.
    #[test]
    fn a_merge_keeps_what_others_need_and_is_done_once(
        stands in proptest::collection::btree_set(0u8..6, 0..5),
        asked in proptest::collection::vec((any::<bool>(), 0u8..8), 1..8),
    ) {
        let text = |n: &u8| format!("v{n}");
        let stood: Vec<String> = stands.iter().map(text).collect();
        let before = with(&stood.iter().map(String::as_str).collect::<Vec<_>>());
        let wishes: Vec<Wish> = asked.iter().map(|(s, n)| if *s { share(&text(n)) } else { unshare(&text(n)) }).collect();
        let plan = planned(&before, true, &wishes);
        prop_assert!(plan.writes.len() <= 1);
        let told: usize = plan.settled.len() + plan.writes.iter().map(|w| w.wishes.len()).sum::<usize>();
        prop_assert_eq!(told, wishes.len(), "each wish is settled once");
        let after = plan.writes.first().map_or(before.set(&name(SHARED), RecordType::Txt).cloned(), |w| w.change.after().cloned());
        let has = |n: &u8| after.as_ref().is_some_and(|set| set.values().contains(&Data::Txt(text(n).into_bytes())));
        for n in 0..8 {
            let shared = asked.contains(&(true, n));
            let left = asked.contains(&(false, n));
            prop_assert_eq!(has(&n), shared || (stands.contains(&n) && !left), "value {}", n);
        }
        if !wishes.iter().any(|w| wishes.iter().any(|v| contradicts(w, v))) {
            let sets = after.map(|set| Standing { set, markers: vec![] }).into_iter().collect();
            let again = Snapshot::new(Contents { sets, others: vec![] }, None, Instant::now());
            prop_assert!(planned(&again, true, &wishes).writes.is_empty(), "a second pass writes nothing");
        }
    }
}

fn contradicts(one: &Wish, other: &Wish) -> bool {
    matches!((&one.want, &other.want), (Want::Share { value: a, .. }, Want::Unshare { value: b }) if a == b)
}
