//! What to write, given what stands and what is wished. No effects.

use std::collections::BTreeMap;

use super::guard::Risk;
use super::ownership::{self, Ownership};
use super::snapshot::Snapshot;
use super::wish::{Adoption, Effect, Want, Whose, Wish};
use crate::dns::{Data, Name, RecordSet, RecordType, Zone, reserved};
use crate::providers::Change;

/// What a batch comes to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Wishes that need no write, by number.
    pub(super) settled: Vec<(usize, Effect)>,
    /// Writes, each with the wishes that it serves.
    pub(super) writes: Vec<Write>,
}

/// One write.
#[derive(Debug)]
pub(super) struct Write {
    /// What is asked of the provider.
    pub(super) change: Change,
    /// The wishes by number, at least one.
    pub(super) wishes: Vec<usize>,
    /// Whether a shared set is changed, which may be tried again: it is merged with what stands then.
    pub(super) shared: bool,
}

impl Write {
    /// What it takes away, if anything. A shared set is nobody's to lose.
    pub(super) fn risk(&self) -> Option<Risk> {
        Risk::of(self.change.before(), self.change.after()).filter(|_| !self.shared)
    }
}

/// Plans the wishes. All of a shared set are merged; of any other set there is one wish.
pub(super) fn plan(zone: &Zone, snapshot: &Snapshot, ownership: &Ownership, wishes: &[&Wish]) -> Plan {
    let mut plan = Plan::default();
    let mut shared: BTreeMap<&Name, Vec<usize>> = BTreeMap::new();
    for (number, wish) in wishes.iter().enumerate() {
        match refusal(zone, wish) {
            Some(rule) => plan.settled.push((number, Effect::Rejected(rule))),
            None if is_share(&wish.want) => shared.entry(&wish.owner).or_default().push(number),
            None => match one(zone, snapshot, ownership, wish) {
                Ok(change) => plan.writes.push(Write { change, wishes: vec![number], shared: false }),
                Err(effect) => plan.settled.push((number, effect)),
            },
        }
    }
    for (owner, numbers) in shared {
        merge(snapshot, wishes, owner, numbers, &mut plan);
    }
    plan
}

fn is_share(want: &Want) -> bool {
    matches!(want, Want::Share { .. } | Want::Unshare { .. })
}

/// The rule that a wish breaks, whatever stands there.
fn refusal(zone: &Zone, wish: &Wish) -> Option<String> {
    let owner = &wish.owner;
    if !owner.is_within(&zone.name) {
        return Some(format!("{owner} does not lie within the zone {}", zone.name));
    }
    let shared = reserved::is_shared(owner, wish.kind);
    match &wish.want {
        Want::Share { .. } | Want::Unshare { .. } if !shared => Some(format!("{owner} is no name of shared values")),
        Want::Set { .. } | Want::Gone { .. } if shared => {
            Some(format!("{owner} holds shared values, and is no one object's"))
        }
        Want::Set { .. } if ownership::is_reserved(owner) => {
            Some(format!("{owner} is of the registry in which Landfall notes owners"))
        }
        Want::Set { set, .. } if set.owner() != owner || set.kind() != wish.kind => {
            Some(format!("the set is not of {owner} {}", wish.kind))
        }
        Want::Set { set, .. } => set.check_zone(&zone.name).err().map(|rule| rule.to_string()),
        _ => None,
    }
}

/// The change for a set of one object's, or why there is none.
fn one(zone: &Zone, snapshot: &Snapshot, ownership: &Ownership, wish: &Wish) -> Result<Change, Effect> {
    let (owner, kind) = (&wish.owner, wish.kind);
    let before = snapshot.set(owner, kind);
    let whose = ownership.whose(zone, snapshot, owner, kind);
    let after = match &wish.want {
        Want::Set { set, adoption } => wanted(before, &whose, set, *adoption)?,
        _ => unwanted(before, whose == Whose::Ours, &whose)?,
    };
    let marker = ownership.marker();
    if marker.is_some() {
        let markers = snapshot.find(owner, kind).map(|standing| standing.markers.as_slice()).unwrap_or_default();
        return Ok(made(before.cloned(), after, marker)?.where_marked(markers));
    }
    let entry = ownership.entry(zone, owner, kind).map_err(Effect::Rejected)?;
    let noted = snapshot.set(entry.owner(), RecordType::Txt).cloned();
    let entry_after = after.is_some().then_some(entry);
    match (before, &after) {
        // Only the note is left of what another took away.
        (None, None) => made(noted, entry_after, None),
        _ => Ok(made(before.cloned(), after, None)?.along_with(made(noted, entry_after, None)?)),
    }
}

/// What shall stand, where a set is wanted.
fn wanted(
    before: Option<&RecordSet>,
    whose: &Whose,
    set: &RecordSet,
    adoption: Adoption,
) -> Result<Option<RecordSet>, Effect> {
    let identical = before == Some(set);
    match (whose, before, adoption) {
        (Whose::Another(who), ..) => Err(Effect::NotOwned(who.clone())),
        (Whose::Ours, Some(_), _) if identical => Err(Effect::Unchanged),
        (Whose::Ours, ..) | (_, None, _) | (_, _, Adoption::Always) => Ok(Some(set.clone())),
        (_, _, Adoption::IfIdentical) if identical => Ok(Some(set.clone())),
        _ => Err(Effect::NotOwned("nobody's that Landfall knows of, and spec.adoption does not take it".into())),
    }
}

/// What shall stand, where none is wanted: nothing, if it is ours to take away.
fn unwanted(before: Option<&RecordSet>, ours: bool, whose: &Whose) -> Result<Option<RecordSet>, Effect> {
    match (whose, before) {
        _ if ours => Ok(None),
        (_, None) => Err(Effect::Unchanged),
        (Whose::Another(who), _) => Err(Effect::NotOwned(who.clone())),
        _ => Err(Effect::NotOwned("nobody's that Landfall knows of".into())),
    }
}

fn made(before: Option<RecordSet>, after: Option<RecordSet>, marker: Option<String>) -> Result<Change, Effect> {
    Change::new(before, after, marker).map_err(|e| Effect::Rejected(e.to_string()))
}

/// One write for all wishes of a shared set. A value that somebody wants stays, whoever else is done with it; values that
/// nobody here speaks of stay too.
fn merge(snapshot: &Snapshot, wishes: &[&Wish], owner: &Name, numbers: Vec<usize>, plan: &mut Plan) {
    let before = snapshot.set(owner, RecordType::Txt);
    if snapshot.odd(owner).any(|other| other.kind == "TXT") {
        let why = format!("{owner} holds a TXT set in a form that cannot be read, with which nothing can be merged");
        plan.settled.extend(numbers.into_iter().map(|number| (number, Effect::Rejected(why.clone()))));
        return;
    }
    let mut values: Vec<Data> = before.map(|set| set.values().to_vec()).unwrap_or_default();
    let wants = || numbers.iter().filter_map(|number| wishes.get(*number)).map(|wish| &wish.want);
    for want in wants() {
        if let Want::Unshare { value } = want {
            values.retain(|data| !is(data, value));
        }
    }
    let mut ttl = before.map(RecordSet::ttl);
    for want in wants() {
        if let Want::Share { value, ttl: wanted } = want {
            values.push(Data::Txt(value.clone().into_bytes()));
            ttl = ttl.or(Some(*wanted));
        }
    }
    let records = values.into_iter().map(|data| (ttl.unwrap_or_default(), data)).collect();
    let after = RecordSet::gathered(owner.clone(), RecordType::Txt, records).ok();
    if after.as_ref() == before {
        plan.settled.extend(numbers.into_iter().map(|number| (number, Effect::Unchanged)));
        return;
    }
    let stood = |number: &usize| wishes.get(*number).is_some_and(|wish| holds(before, &wish.want));
    let (same, moved): (Vec<usize>, Vec<usize>) = numbers.into_iter().partition(stood);
    plan.settled.extend(same.into_iter().map(|number| (number, Effect::Unchanged)));
    match made(before.cloned(), after, None) {
        Ok(change) => plan.writes.push(Write { change, wishes: moved, shared: true }),
        Err(effect) => plan.settled.extend(moved.into_iter().map(|number| (number, effect.clone()))),
    }
}

/// Whether a shared set is as a wish wants it.
fn holds(set: Option<&RecordSet>, want: &Want) -> bool {
    let has = |value: &str| set.is_some_and(|set| set.values().iter().any(|data| is(data, value)));
    match want {
        Want::Share { value, .. } => has(value),
        Want::Unshare { value } => !has(value),
        _ => false,
    }
}

fn is(data: &Data, value: &str) -> bool {
    matches!(data, Data::Txt(bytes) if bytes == value.as_bytes())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
