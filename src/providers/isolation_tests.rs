#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Plays a provider that takes a group only without `bad`, and names the culprit where `names` is set.
fn play(count: usize, bad: &BTreeSet<usize>, names: bool) -> (Vec<Outcome>, usize) {
    let mut isolation = Isolation::new((0..count).collect(), vec![(0..count).collect()]);
    let mut calls = 0;
    while let Some(group) = isolation.next() {
        calls += 1;
        assert!(!group.is_empty());
        let reply = match group.iter().find(|change| bad.contains(change)) {
            None => Reply::Done,
            Some(one) if names => Reply::Settled(vec![(*one, Outcome::Rejected(format!("bad {one}")))]),
            Some(one) => Reply::Refused(format!("bad {one}")),
        };
        isolation.settle(group, reply);
    }
    (isolation.outcomes(), calls)
}

fn applied(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|o| **o == Outcome::Applied).count()
}

#[test]
fn one_bad_change_among_200_is_found_wherever_it_stands() {
    for bad in 0..200 {
        let (outcomes, calls) = play(200, &BTreeSet::from([bad]), false);
        assert_eq!((applied(&outcomes), &outcomes[bad]), (199, &Outcome::Rejected(format!("bad {bad}"))));
        assert!(calls <= 17, "{bad}: {calls}");
        let (outcomes, calls) = play(200, &BTreeSet::from([bad]), true);
        assert_eq!((applied(&outcomes), calls), (199, 2));
    }
    assert_eq!(play(200, &BTreeSet::new(), false).1, 1);
    assert_eq!(play(0, &BTreeSet::new(), false), (vec![], 0));
}

#[test]
fn many_bad_changes_cost_no_more_calls_and_the_rest_waits() {
    let (outcomes, calls) = play(200, &(0..200).collect(), true);
    assert_eq!((outcomes.len(), calls), (200, CALLS));
    let told = |o: &Outcome| matches!(o, Outcome::Rejected(_));
    assert_eq!(outcomes.iter().filter(|o| told(o)).count(), CALLS);
    assert!(outcomes.iter().filter(|o| !told(o)).all(|o| matches!(o, Outcome::Unsettled(t) if !t.may_have_landed)));
}

#[test]
fn after_trouble_nothing_more_is_asked_and_only_what_was_sent_may_have_landed() {
    let mut isolation = Isolation::new(vec![0, 1, 2], vec![vec![0], vec![1], vec![2]]);
    let group = isolation.next().unwrap();
    assert_eq!(group, [0]);
    isolation.settle(group, Reply::Done);
    let group = isolation.next().unwrap();
    isolation.settle(group, Reply::Trouble(Trouble::new(Reason::Timeout, "no answer").open()));
    assert!(isolation.next().is_none());
    let landed: Vec<_> = isolation
        .outcomes()
        .into_iter()
        .map(|o| match o {
            Outcome::Unsettled(trouble) => Some(trouble.may_have_landed),
            _ => None,
        })
        .collect();
    assert_eq!(landed, [None, Some(true), Some(false)]);
}

#[test]
fn what_belongs_together_is_made_together_or_not_at_all() {
    // 1 and 2 are one; the provider refuses 2, by name or not.
    for names in [true, false] {
        let mut isolation = Isolation::new(vec![0, 1, 1, 3], vec![vec![0, 1, 2, 3]]);
        while let Some(group) = isolation.next() {
            assert_eq!(group.contains(&1), group.contains(&2), "{group:?}");
            let reply = match group.contains(&2) {
                false => Reply::Done,
                true if names => Reply::Settled(vec![(2, Outcome::Rejected("bad".into()))]),
                true => Reply::Refused("bad".into()),
            };
            isolation.settle(group, reply);
        }
        let outcomes = isolation.outcomes();
        assert_eq!((&outcomes[0], &outcomes[3]), (&Outcome::Applied, &Outcome::Applied));
        assert_eq!(outcomes[2], Outcome::Rejected("bad".into()));
        assert!(matches!(outcomes[1], Outcome::Unsettled(_) | Outcome::Rejected(_)), "{:?}", outcomes[1]);
    }
    let mut isolation = Isolation::new(vec![0, 0, 2], vec![vec![0, 1, 2]]);
    isolation.put(0, Outcome::Changed(None));
    assert_eq!(isolation.next(), Some(vec![2]), "a condition that fails holds back its partner");
}

proptest! {
    #[test]
    fn no_good_change_is_rejected_and_no_bad_one_is_made(
        count in 1_usize..60,
        bad in proptest::collection::btree_set(0_usize..60, 0..6),
        names: bool,
    ) {
        let (outcomes, calls) = play(count, &bad, names);
        prop_assert!(calls <= CALLS);
        prop_assert_eq!(outcomes.len(), count);
        for (change, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Outcome::Applied => prop_assert!(!bad.contains(&change)),
                Outcome::Rejected(text) => {
                    prop_assert!(bad.contains(&change));
                    prop_assert_eq!(text, &format!("bad {change}"));
                }
                _ => prop_assert!(calls == CALLS),
            }
        }
    }
}
