#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::dns::Data;

fn set(number: usize, last: u8) -> RecordSet {
    let owner = Name::presented(&format!("n{number}.example.com")).unwrap();
    RecordSet::gathered(owner, RecordType::A, vec![(60, Data::A([192, 0, 2, last].into()))]).unwrap()
}

fn gone(number: usize) -> Risk {
    Risk::of(Some(&set(number, 1)), None).unwrap()
}

fn replaced(number: usize) -> Risk {
    Risk::of(Some(&set(number, 1)), Some(&set(number, 2))).unwrap()
}

fn all(of: fn(usize) -> Risk, numbers: std::ops::Range<usize>) -> Vec<Risk> {
    numbers.map(of).collect()
}

#[test]
fn only_what_takes_something_away_is_a_risk() {
    assert_eq!(Risk::of(None, Some(&set(1, 1))), None);
    assert_eq!(Risk::of(Some(&set(1, 1)), Some(&set(1, 1))), None);
    assert!(gone(1).goes() && !replaced(1).goes());
    for risk in [gone(1), replaced(2)] {
        assert_eq!(Risk::read(&risk.line()), Some(risk));
    }
    assert_eq!(Risk::read("www.example.com A"), None);
}

#[test]
fn a_large_part_of_a_zone_is_held() {
    // Sets of ours, how many go, how many are replaced, how many are said to be leaving; whether it is held.
    for (owned, go, change, leaving, held) in [
        (9, 9, 0, 9, false),
        (10, 3, 0, 3, false),
        (10, 4, 0, 4, true),
        (10, 2, 2, 2, true),
        (10, 0, 4, 0, true),
        (200, 200, 0, 200, true),
        (200, 60, 0, 60, false),
        (200, 61, 0, 61, true),
        (200, 1, 0, 61, true),
        (200, 0, 1, 61, false),
        (1000, 8, 0, 1000, true),
    ] {
        let risks = [all(gone, 0..go), all(replaced, 500..500 + change)].concat();
        let mut guard = Guard::default();
        assert_eq!(guard.judge(Instant::now(), owned, leaving, &risks), !held, "{owned} {go} {change} {leaving}");
        assert_eq!((guard.held().len(), guard.owned()), (if held { go + change } else { 0 }, owned));
    }
}

#[test]
fn what_comes_bit_by_bit_counts_together_for_ten_minutes() {
    let (mut guard, start) = (Guard::default(), Instant::now());
    for number in 0..30 {
        assert!(guard.judge(start, 100 - number, 1, &[gone(number)]), "{number}");
        guard.made(start, &gone(number), number % 2 == 0);
    }
    assert!(!guard.judge(start, 70, 1, &[gone(30)]));
    assert!(!guard.judge(start, 70, 0, &[replaced(31)]));
    let later = start + WINDOW + FORGOTTEN;
    assert!(guard.judge(later, 70, 1, &[gone(30)]));
}

#[test]
fn what_is_let_pass_is_exactly_that_and_once() {
    let (mut guard, now) = (Guard::default(), Instant::now());
    assert!(!guard.judge(now, 20, 20, &all(gone, 0..8)));
    let seen: Vec<Risk> = guard.held().cloned().collect();
    assert!(!guard.judge(now, 20, 20, &all(gone, 5..20)));
    assert_eq!(guard.held().len(), 20, "it grows");
    assert!(guard.judge(now, 20, 0, &[replaced(30)]), "what only changes is not held for what goes");
    guard.release(now, seen.iter(), "alice");
    assert_eq!(guard.held().len(), 12, "what came later waits");
    assert_eq!((guard.approver(&gone(0)), guard.approver(&gone(8))), (Some("alice"), None));
    assert!(!guard.judge(now, 20, 20, &all(gone, 0..20)));
    for number in 0..8 {
        assert!(guard.judge(now, 20 - number, 20 - number, &[gone(number)]), "{number}");
        guard.made(now, &gone(number), false);
        assert!(guard.approver(&gone(number)).is_some(), "it may be tried again");
        guard.made(now, &gone(number), true);
    }
    // It was for these changes alone.
    assert!(!guard.judge(now, 20, 20, &all(gone, 0..8)));
}

#[test]
fn what_nobody_wishes_any_more_is_held_no_longer() {
    let (mut guard, start) = (Guard::default(), Instant::now());
    assert!(!guard.judge(start, 20, 20, &all(gone, 0..20)));
    let (first, second) = (gone(0), gone(1));
    guard.wished(&[(&first.owner, first.kind), (&second.owner, second.kind)].into(), std::slice::from_ref(&second));
    assert_eq!(guard.held().len(), 19, "the first is wanted otherwise now");
    let later = start + FORGOTTEN;
    guard.forget(later);
    assert!(guard.is_idle());
    assert!(guard.judge(later, 20, 1, &[gone(1)]));
}

proptest! {
    /// However the deletions of a whole zone come, no more than the share of it goes unasked.
    #[test]
    fn never_more_than_the_share_goes(owned in 10usize..200, cuts in proptest::collection::vec(1usize..40, 1..60)) {
        let (mut guard, now) = (Guard::default(), Instant::now());
        let (mut left, mut next) = (owned, 0);
        for cut in cuts {
            let risks = all(gone, next..(next + cut).min(owned));
            next = (next + cut).min(owned);
            if guard.judge(now, left, risks.len(), &risks) {
                risks.iter().for_each(|risk| guard.made(now, risk, true));
                left -= risks.len();
            }
        }
        prop_assert!((owned - left) * 100 <= owned * SHARE);
    }
}
