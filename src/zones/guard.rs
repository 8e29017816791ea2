//! The guard against mass changes: what would take away or replace a large part of a zone's own sets within ten minutes is
//! held until a person lets it pass. It is made of what each writer sees, so that it spans objects. No effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::dns::{Name, RecordSet, RecordType};

/// Sets from which on a zone is guarded.
pub(super) const LEAST: usize = 10;
/// Of a zone's own sets, in percent.
const SHARE: usize = 30;
/// How long what was done counts.
pub(super) const WINDOW: Duration = Duration::from_secs(600);
/// How long a change is held that nobody wishes again.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// How long what was let pass may wait for its wish.
const PASSES: Duration = Duration::from_secs(3600);

/// A change that takes something away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Risk {
    pub(super) owner: Name,
    pub(super) kind: RecordType,
    pub(super) before: String,
    /// None where the set goes.
    pub(super) after: Option<String>,
}

impl Risk {
    /// Of this change; `None` where nothing is taken away.
    pub(super) fn of(before: Option<&RecordSet>, after: Option<&RecordSet>) -> Option<Self> {
        let before = before.filter(|before| Some(*before) != after)?;
        let (owner, kind) = (before.owner().clone(), before.kind());
        Some(Self { owner, kind, before: before.digest(), after: after.map(RecordSet::digest) })
    }

    /// As one line.
    pub(super) fn line(&self) -> String {
        let Self { owner, kind, before, after } = self;
        format!("{owner} {kind} {before} {}", after.as_deref().unwrap_or("-"))
    }

    /// Of such a line.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (owner, kind) = (Name::presented(words.next()?).ok()?, words.next()?.parse().ok()?);
        let (before, after) = (words.next()?.to_owned(), words.next()?);
        Some(Self { owner, kind, before, after: (after != "-").then(|| after.to_owned()) })
    }

    /// Whether the set goes.
    pub(super) fn goes(&self) -> bool {
        self.after.is_none()
    }
}

/// What was done, what is held and what was let pass, of one zone.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// When, and whether the set went.
    done: VecDeque<(Instant, bool)>,
    held: BTreeMap<Risk, Instant>,
    /// Since when, and who let it.
    passes: BTreeMap<Risk, (Instant, String)>,
    /// Sets of ours, as last told.
    owned: usize,
}

impl Guard {
    /// Whether these may be made, in a zone with so many sets of ours of which so many are said to be leaving. If not, they
    /// are held, and nothing of it may be made but what was let pass.
    pub(super) fn judge(&mut self, now: Instant, owned: usize, leaving: usize, risks: &[Risk]) -> bool {
        self.forget(now);
        self.owned = owned;
        let asked: Vec<&Risk> = risks.iter().filter(|risk| !self.passes.contains_key(risk)).collect();
        let goes = asked.iter().any(|risk| risk.goes());
        let stays = asked.iter().any(|risk| !risk.goes());
        let gone = self.done.iter().filter(|(_, goes)| *goes).count();
        let whole = owned + gone;
        let others = self.held.keys().filter(|risk| if risk.goes() { goes } else { stays });
        let others = others.filter(|risk| !asked.contains(risk)).count();
        let wanted = (asked.len() + others).max(if goes { leaving } else { 0 });
        if asked.is_empty() || whole < LEAST || (self.done.len() + wanted) * 100 <= whole * SHARE {
            for risk in asked {
                self.held.remove(risk);
            }
            return true;
        }
        self.held.extend(asked.into_iter().map(|risk| (risk.clone(), now)));
        false
    }

    /// What is wished of these sets now: what else was held of them is wished no more.
    pub(super) fn wished(&mut self, sets: &BTreeSet<(&Name, RecordType)>, risks: &[Risk]) {
        self.held.retain(|risk, _| !sets.contains(&(&risk.owner, risk.kind)) || risks.contains(risk));
    }

    /// A change was made; where that is not sure it counts, and what let it pass still does.
    pub(super) fn made(&mut self, now: Instant, risk: &Risk, sure: bool) {
        match self.passes.contains_key(risk) {
            true if sure => drop(self.passes.remove(risk)),
            true => {}
            false => self.done.push_back((now, risk.goes())),
        }
    }

    /// What was done is this, as the ledger knows: how long ago, and whether the set went. By whomever and for whichever
    /// credential it was made, it counts.
    pub(super) fn recall(&mut self, now: Instant, done: impl Iterator<Item = (Duration, bool)>) {
        self.done = done.filter_map(|(age, goes)| Some((now.checked_sub(age)?, goes))).collect();
    }

    /// Lets these pass, in somebody's name.
    pub(super) fn release<'a>(&mut self, now: Instant, risks: impl Iterator<Item = &'a Risk>, by: &str) {
        for risk in risks {
            if self.held.remove(risk).is_some() {
                self.passes.insert(risk.clone(), (now, by.to_owned()));
            }
        }
    }

    /// This was let pass before, as the ledger knows.
    pub(super) fn admit(&mut self, now: Instant, risk: Risk, by: &str) {
        self.passes.insert(risk, (now, by.to_owned()));
    }

    /// Who let it pass.
    pub(super) fn approver(&self, risk: &Risk) -> Option<&str> {
        self.passes.get(risk).map(|(_, by)| by.as_str())
    }

    /// What is held.
    pub(super) fn held(&self) -> impl ExactSizeIterator<Item = &Risk> {
        self.held.keys()
    }

    /// Sets of ours, as last told.
    pub(super) fn owned(&self) -> usize {
        self.owned
    }

    /// Whether nothing of it counts any more.
    pub(super) fn is_idle(&self) -> bool {
        self.done.is_empty() && self.held.is_empty() && self.passes.is_empty()
    }

    /// Forgets what counts no more.
    pub(super) fn forget(&mut self, now: Instant) {
        let age = |at: &Instant| now.saturating_duration_since(*at);
        while self.done.front().is_some_and(|(at, _)| age(at) >= WINDOW) {
            self.done.pop_front();
        }
        self.held.retain(|_, at| age(at) < FORGOTTEN);
        self.passes.retain(|_, (at, _)| age(at) < PASSES);
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
