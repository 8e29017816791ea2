//! Many changes in one call, of which the provider takes all or none: finds those that are refused, and has the rest made.

use super::dns::{Outcome, Trouble};
use crate::api::Reason;

/// Calls for one lot of changes. Halving finds one bad change among 200 with 17.
pub(super) const CALLS: usize = 18;

/// What a call for a group came to.
#[derive(Debug)]
pub(super) enum Reply {
    /// All of them are made.
    Done,
    /// Nothing is made. These are settled; the others may be asked for again.
    Settled(Vec<(usize, Outcome)>),
    /// Nothing is made, because of at least one of them; the provider's text.
    Refused(String),
    /// Nothing is known of any.
    Trouble(Trouble),
}

/// The changes by number, what came of each, and which group is next.
#[derive(Debug)]
pub(super) struct Isolation {
    /// For each change its unit: those of one are made together or not at all.
    units: Vec<usize>,
    outcomes: Vec<Option<Outcome>>,
    groups: Vec<Vec<usize>>,
    calls: usize,
}

impl Isolation {
    /// These groups of changes, each with calls of its own. A unit lies side by side within one group.
    pub(super) fn new(units: Vec<usize>, mut groups: Vec<Vec<usize>>) -> Self {
        groups.retain(|group| !group.is_empty());
        groups.reverse();
        Self { outcomes: vec![None; units.len()], units, calls: CALLS * groups.len(), groups }
    }

    /// Settles one change without a call, and with it those that cannot be made without it.
    pub(super) fn put(&mut self, change: usize, outcome: Outcome) {
        if outcome != Outcome::Applied {
            let message = "not tried: another change of this name, which it belongs together with, is not made";
            let partners: Vec<usize> =
                (0..self.units.len()).filter(|other| self.unit(*other) == self.unit(change)).collect();
            for partner in partners {
                self.place(partner, || Outcome::Unsettled(Trouble::new(Reason::Progressing, message)));
            }
        }
        if let Some(place) = self.outcomes.get_mut(change) {
            *place = Some(outcome);
        }
        let outcomes = &self.outcomes;
        let open = |change: &usize| outcomes.get(*change).is_some_and(Option::is_none);
        for group in &mut self.groups {
            group.retain(open);
        }
        self.groups.retain(|group| !group.is_empty());
    }

    /// The group to ask for next; `None` when all is settled or no more calls are left.
    pub(super) fn next(&mut self) -> Option<Vec<usize>> {
        self.calls = self.calls.checked_sub(1)?;
        self.groups.pop()
    }

    /// Takes in what came of it.
    pub(super) fn settle(&mut self, mut group: Vec<usize>, reply: Reply) {
        match reply {
            Reply::Done => group.into_iter().for_each(|change| self.put(change, Outcome::Applied)),
            Reply::Settled(found) => {
                found.into_iter().for_each(|(change, outcome)| self.put(change, outcome));
                group.retain(|change| self.outcomes.get(*change).is_some_and(Option::is_none));
                self.groups.extend((!group.is_empty()).then_some(group));
            }
            Reply::Refused(text) => match self.middle(&group) {
                None => group.into_iter().for_each(|change| self.put(change, Outcome::Rejected(text.clone()))),
                Some(middle) => {
                    let behind = group.split_off(middle);
                    self.groups.extend([behind, group]);
                }
            },
            Reply::Trouble(trouble) => {
                let rest: Vec<usize> = std::mem::take(&mut self.groups).into_iter().flatten().collect();
                let untried = Trouble { may_have_landed: false, ..trouble.clone() };
                rest.into_iter().for_each(|change| self.put(change, Outcome::Unsettled(untried.clone())));
                group.into_iter().for_each(|change| self.put(change, Outcome::Unsettled(trouble.clone())));
            }
        }
    }

    /// One outcome for each change.
    pub(super) fn outcomes(self) -> Vec<Outcome> {
        let message = "not tried: too many changes of this lot are refused, each by itself; the next pass goes on";
        let rest = || Outcome::Unsettled(Trouble::new(Reason::Progressing, message));
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(rest)).collect()
    }

    fn unit(&self, change: usize) -> Option<usize> {
        self.units.get(change).copied()
    }

    fn place(&mut self, change: usize, outcome: impl FnOnce() -> Outcome) {
        if let Some(place) = self.outcomes.get_mut(change) {
            place.get_or_insert_with(outcome);
        }
    }

    /// Where a group is cut in two between units, as near to its middle as may be; `None` where it is one unit.
    fn middle(&self, group: &[usize]) -> Option<usize> {
        let cuts = group.iter().zip(group.iter().skip(1)).zip(1..);
        let between = cuts.filter(|((a, b), _)| self.unit(**a) != self.unit(**b)).map(|(_, place)| place);
        between.min_by_key(|place: &usize| place.abs_diff(group.len() / 2))
    }
}

#[cfg(test)]
#[path = "isolation_tests.rs"]
mod tests;
