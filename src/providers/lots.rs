//! Which changes go in one call, and which only together.

use std::collections::BTreeMap;

use super::dns::Change;
use crate::dns::{Name, RecordSet, RecordType};

/// For each change the number of the first that it belongs together with: where a CNAME comes or goes, all changes of
/// that name are one, since half of them would leave the name empty.
pub(super) fn units(changes: &[Change]) -> Vec<usize> {
    let mut of_owner: BTreeMap<&Name, (usize, bool)> = BTreeMap::new();
    for (number, change) in changes.iter().enumerate() {
        if let Some((owner, kind)) = change.key() {
            of_owner.entry(owner).or_insert((number, false)).1 |= kind == RecordType::Cname;
        }
    }
    let unit = |(number, change): (usize, &Change)| match change.key().and_then(|(owner, _)| of_owner.get(owner)) {
        Some((first, true)) => *first,
        _ => number,
    };
    changes.iter().enumerate().map(unit).collect()
}

/// Cuts changes into lots of about `most` changes or `octets`, ordered by name. No name is cut in two.
pub(super) fn lots(changes: &[Change], most: usize, octets: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<(&Change, usize)> = changes.iter().zip(0..).collect();
    order.sort_by_key(|(change, _)| change.key());
    let (mut lots, mut lot, mut held): (Vec<Vec<usize>>, Vec<usize>, usize) = Default::default();
    let mut last: Option<&Name> = None;
    for (change, number) in order {
        let owner = change.key().map(|(owner, _)| owner);
        let more = weight(change);
        if (lot.len() >= most || held + more > octets) && last != owner {
            lots.push(std::mem::take(&mut lot));
            held = 0;
        }
        (last, held) = (owner, held + more);
        lot.push(number);
    }
    lots.push(lot);
    lots
}

/// Octets of a change's records on the wire: three without a value, and each value of both sets.
fn weight(change: &Change) -> usize {
    change.parts().map(of_part).sum()
}

fn of_part(change: &Change) -> usize {
    let head = change.key().map_or(0, |(owner, _)| owner.as_str().len() + 12);
    let set = |set: &RecordSet| set.values().iter().map(|v| head + v.wire_len()).sum::<usize>();
    3 * head + change.before().map_or(0, set) + change.after().map_or(0, set)
}

#[cfg(test)]
#[path = "lots_tests.rs"]
mod tests;
