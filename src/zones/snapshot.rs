//! A zone as it was read: what stands where, and as of when.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::dns::{Name, RecordSet, RecordType};
use crate::providers::{Contents, Other, Standing};

/// What a zone held when it was last read or written.
#[derive(Debug)]
pub(super) struct Snapshot {
    sets: BTreeMap<(Name, RecordType), Standing>,
    odd: BTreeMap<Name, Vec<Other>>,
    /// The zone's serial then; `None` where it tells nothing, or no longer.
    pub(super) serial: Option<u32>,
    /// As of when the whole is known to be so.
    pub(super) since: Instant,
}

impl Snapshot {
    /// A whole zone. `serial` was asked before it was read, and `since` is from before that.
    pub(super) fn new(contents: Contents, serial: Option<u32>, since: Instant) -> Self {
        let mut snapshot = Self { sets: BTreeMap::new(), odd: BTreeMap::new(), serial, since };
        snapshot.take(contents);
        snapshot
    }

    /// What stands at one name, read anew.
    pub(super) fn renew(&mut self, name: &Name, contents: Contents) {
        self.sets.retain(|(owner, _), _| owner != name);
        self.odd.remove(name);
        self.take(contents);
    }

    fn take(&mut self, contents: Contents) {
        for standing in contents.sets {
            self.sets.insert((standing.set.owner().clone(), standing.set.kind()), standing);
        }
        for other in contents.others {
            if let Ok(name) = Name::presented(&other.name) {
                self.odd.entry(name).or_default().push(other);
            }
        }
    }

    /// What a change has left, or was found to stand: no markers are kept where there are none.
    pub(super) fn put(&mut self, owner: &Name, kind: RecordType, standing: Option<Standing>) {
        let key = (owner.clone(), kind);
        match standing {
            Some(standing) => self.sets.insert(key, standing),
            None => self.sets.remove(&key),
        };
    }

    /// The set of this name and type.
    pub(super) fn find(&self, owner: &Name, kind: RecordType) -> Option<&Standing> {
        self.sets.get(&(owner.clone(), kind))
    }

    /// The same without its markers.
    pub(super) fn set(&self, owner: &Name, kind: RecordType) -> Option<&RecordSet> {
        self.find(owner, kind).map(|standing| &standing.set)
    }

    /// What stands at the name in another form than that of a set.
    pub(super) fn odd(&self, owner: &Name) -> impl Iterator<Item = &Other> {
        self.odd.get(owner).into_iter().flatten()
    }

    /// The types at the name but this one, as zone files write them.
    pub(super) fn beside(&self, owner: &Name, kind: RecordType) -> Vec<String> {
        let known = RecordType::ALL.into_iter().filter(|other| *other != kind && self.find(owner, *other).is_some());
        let odd = self.odd(owner).map(|other| other.kind.clone()).filter(|other| other != kind.as_str());
        known.map(|kind| kind.to_string()).chain(odd).collect()
    }

    /// Names and types of all sets.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&Name, RecordType)> {
        self.sets.keys().map(|(owner, kind)| (owner, *kind))
    }

    /// Names of all delegations, the zone's own NS among them.
    pub(super) fn delegations(&self) -> impl Iterator<Item = &Name> {
        self.keys().filter(|(_, kind)| *kind == RecordType::Ns).map(|(owner, _)| owner)
    }
}
