//! Strange objects in strange worlds: the loop that the kinds' tests share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::objects::Dice;
use crate::Error;
use crate::api::Reason;
use crate::reconcile::Kind;

const SEEDS: u64 = 1000;

/// Decides on each object that can be read and tells it, whatever came of the step. The names of the steps that were taken.
pub(super) fn each_is_decided_on_and_told<K: Kind>(
    object: impl Fn(u64, &mut Dice) -> Option<K::Object>,
    seen: impl Fn(&mut Dice) -> K::Observed,
    outcomes: impl Fn(&mut Dice, &K::Observed) -> Vec<K::Outcome>,
    now: Timestamp,
) -> BTreeSet<String> {
    let (mut read, mut steps) = (0, BTreeSet::new());
    for seed in 0..SEEDS {
        // The last one that is shown is the one that failed.
        eprintln!("seed {seed}");
        let mut dice = Dice::new(seed);
        let Some(object) = object(seed, &mut dice) else { continue };
        read += 1;
        for _ in 0..4 {
            let seen = seen(&mut dice);
            let step = K::decide(&object, &seen, now);
            steps.insert(format!("{step:?}").split(['(', ' ']).next().unwrap().to_owned());
            let error = Error::condition(Reason::LedgerUnavailable, "\u{0}");
            let outcomes = outcomes(&mut dice, &seen);
            for outcome in outcomes.iter().map(Ok).chain([Err(&error)]) {
                let report = K::report(&object, &seen, &step, outcome, now);
                assert!(report.status.is_some() || outcome.is_ok(), "{step:?}");
            }
        }
    }
    assert!(read > 300, "{read} of {SEEDS} could be read: too few to tell anything");
    steps
}
