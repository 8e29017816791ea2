//! Whose turn it is: the order in which those that wait get the places for runs. Pure.
//!
//! Places go round. A free one goes to the organization with the fewest runs; of several to the one whose last run was begun
//! longest ago, then to who waits longest. Inside an organization what a person has just approved goes first, then what is new,
//! then retries and plans that are made anew. Whoever is kept by a limit of its organization or credential keeps nobody else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use uuid::Uuid;

use crate::api::Organization;
use crate::ledger::runs::{Limit, Room, UnderWay};

/// What a place is wanted for, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A person approved the plan that is to be applied.
    Approved,
    /// A new generation of the spec, its plan that waits to be applied, or what a person asked for by a command.
    New,
    /// A retry, or a plan that is made anew.
    Again,
}

/// Who wants a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whose it is.
    pub organization: Organization,
    /// Uid of the credential that its run would use.
    pub credential: Option<Uuid>,
    /// What it is wanted for.
    pub rank: Rank,
}

/// When each organization's last run was begun, as a number that grows. One that is not in it has had none.
pub(super) type Served = HashMap<Organization, u64>;

/// Whether a deployment may begin its run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Now,
    /// It waits.
    Later {
        /// For this limit.
        limit: Limit,
        /// So many go before it, of those that wait for the same.
        ahead: usize,
    },
}

/// The indices of `waiting`, which is in the order of coming, in the order of their turns. With a room only those for whom
/// there is a place in it now. Each that gets one counts as a run of its organization from then on: in `under_way` too.
pub(super) fn order(
    waiting: &[&Candidate],
    under_way: &mut UnderWay,
    served: &Served,
    room: Option<Room>,
) -> Vec<usize> {
    let (mut lines, mut turns) = (lines(waiting), Vec::new());
    let mut served: HashMap<&Organization, u64> = served.iter().map(|(of, at)| (of, *at)).collect();
    let mut last = served.values().max().copied().unwrap_or_default();
    let fits = |at: usize, under_way: &UnderWay| match (room, waiting.get(at)) {
        (Some(room), Some(who)) => under_way.limit(room, &who.organization, who.credential).is_none(),
        _ => true,
    };
    let (mut heads, mut moved) = (BinaryHeap::new(), lines.keys().copied().collect::<Vec<_>>());
    loop {
        for organization in moved.drain(..) {
            let Some(line) = lines.get_mut(organization) else { continue };
            // Limits only fill up: for whom there is no place now there will be none.
            while line.front().is_some_and(|at| !fits(*at, under_way)) {
                line.pop_front();
            }
            let since = served.get(organization).copied().unwrap_or_default();
            heads.extend(line.front().map(|at| Reverse((under_way.of(organization), since, *at, organization))));
        }
        let Some(Reverse((.., at, organization))) = heads.pop() else { return turns };
        last = last.saturating_add(1);
        served.insert(organization, last);
        under_way.add(organization, waiting.get(at).and_then(|who| who.credential));
        lines.get_mut(organization).and_then(VecDeque::pop_front);
        turns.push(at);
        if room.is_some() {
            // It may have been the last place of a credential that others have, too.
            heads.clear();
            moved.extend(lines.keys());
        } else {
            moved.push(organization);
        }
    }
}

/// Those of each organization, the first first.
fn lines<'a>(waiting: &[&'a Candidate]) -> BTreeMap<&'a Organization, VecDeque<usize>> {
    let mut lines: BTreeMap<&Organization, VecDeque<usize>> = BTreeMap::new();
    for (at, who) in waiting.iter().enumerate() {
        lines.entry(&who.organization).or_default().push_back(at);
    }
    for line in lines.values_mut() {
        // A stable sort: of the same rank who came first stays first.
        line.make_contiguous().sort_by_key(|at| waiting.get(*at).map(|who| who.rank));
    }
    lines
}

/// Whether the one at `me` may begin now, or for which limit it waits and behind how many.
pub(super) fn turn(waiting: &[&Candidate], me: usize, under_way: &UnderWay, served: &Served, room: Room) -> Turn {
    let Some(who) = waiting.get(me) else { return Turn::Now };
    let mut given = under_way.clone();
    if order(waiting, &mut given, served, Some(room)).contains(&me) {
        return Turn::Now;
    }
    // The places that others before it get now are taken for it.
    let limit = given.limit(room, &who.organization, who.credential).unwrap_or(Limit::Runs);
    let before = order(waiting, &mut under_way.clone(), served, None);
    let same = |at: &usize| match (limit, waiting.get(*at)) {
        (Limit::Runs, _) => true,
        (Limit::Organization, other) => other.is_some_and(|other| other.organization == who.organization),
        (Limit::Credential, other) => other.is_some_and(|other| other.credential == who.credential),
    };
    Turn::Later { limit, ahead: before.iter().take_while(|at| **at != me).filter(|at| same(at)).count() }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
