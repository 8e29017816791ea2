//! The guards of all zones, with what is held of whose domain.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::guard::{Guard, Risk};
use super::locked;
use crate::api::Organization;
use crate::dns::{Name, RecordType};
use crate::ledger::ZonePart;
use crate::metrics::Metrics;

/// What is held at and below a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Names exactly these changes, each with the set as it stands and as it would be.
    pub digest: String,
    /// Sets of ours in the zones that they are of.
    pub owned: usize,
    changes: BTreeSet<Risk>,
}

impl Held {
    /// How many changes.
    pub fn count(&self) -> usize {
        self.changes.len()
    }

    /// Each change as one line: name, type, and the digests of the set as it stands and as it would be.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.changes.iter().map(Risk::line)
    }

    /// Name and type of each set, and whether it would go.
    pub fn sets(&self) -> impl Iterator<Item = (&Name, RecordType, bool)> {
        self.changes.iter().map(|risk| (&risk.owner, risk.kind, risk.goes()))
    }
}

/// The guard of each organization's part of each zone.
pub(super) struct Guards {
    all: Mutex<HashMap<ZonePart, Guard>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Guards {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { all: Mutex::default(), metrics }
    }

    /// Asks or tells the guard of a part of a zone.
    pub(super) fn with<T>(&self, part: &ZonePart, act: impl FnOnce(&mut Guard) -> T) -> T {
        let mut all = locked(&self.all);
        let answer = act(all.entry(part.clone()).or_default());
        self.tidy(&mut all);
        answer
    }

    /// What is held of an organization at and below a name.
    pub(super) fn held(&self, organization: &Organization, within: &Name) -> Option<Held> {
        let mut all = locked(&self.all);
        self.tidy(&mut all);
        let (mut changes, mut owned) = (BTreeSet::new(), 0);
        for (_, guard) in all.iter().filter(|(part, _)| part.organization == *organization) {
            let before = changes.len();
            changes.extend(guard.held().filter(|risk| risk.owner.is_within(within)).cloned());
            owned += if changes.len() > before { guard.owned() } else { 0 };
        }
        if changes.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        for risk in &changes {
            hash.update(format!("{}\n", risk.line()));
        }
        Some(Held { digest: format!("sha256:{}", hex::encode(hash.finalize())), owned, changes })
    }

    /// Lets pass exactly this, in somebody's name.
    pub(super) fn release(&self, organization: &Organization, held: &Held, by: &str) {
        let (mut all, now) = (locked(&self.all), Instant::now());
        for (_, guard) in all.iter_mut().filter(|(part, _)| part.organization == *organization) {
            guard.release(now, held.changes.iter(), by);
        }
        self.tidy(&mut all);
    }

    fn tidy(&self, all: &mut HashMap<ZonePart, Guard>) {
        let now = Instant::now();
        all.values_mut().for_each(|guard| guard.forget(now));
        all.retain(|_, guard| !guard.is_idle());
        self.metrics.dns_held(all.values().map(|guard| guard.held().len()).sum());
    }
}

impl Drop for Guards {
    fn drop(&mut self) {
        self.metrics.dns_held(0);
    }
}
