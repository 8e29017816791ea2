//! Walks a chain from its beginning and says what was done to it. Pure: the rows may come from anywhere.

use super::super::chain::{GENESIS, Link};
use super::{Anchor, Damage, DamageKind};
use crate::Result;

/// A link with the hashes that are stored beside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) link: Link,
    pub(super) prev: Vec<u8>,
    pub(super) hash: Vec<u8>,
}

impl Stored {
    /// Whether this is what was appended as number `seq`.
    fn was(&self, seq: i64) -> Result<bool> {
        let link = Link { seq, ..self.link.clone() };
        Ok(link.hash(&self.prev)?.as_slice() == self.hash)
    }
}

/// Where a walk stands.
#[derive(Debug)]
pub(super) struct Walk {
    /// Number of the last good link.
    pub(super) seq: i64,
    /// Its hash, which the next one must carry.
    pub(super) hash: Vec<u8>,
    /// The hash before that.
    before: Vec<u8>,
    anchors: Vec<Anchor>,
    unanchored: Option<i64>,
}

/// The first link that does not fit.
#[derive(Debug)]
pub(super) struct Misfit {
    expected: i64,
    pub(super) prev: Vec<u8>,
    before: Vec<u8>,
    row: Stored,
}

impl Walk {
    pub(super) fn new(mut anchors: Vec<Anchor>) -> Self {
        anchors.sort_by_key(|anchor| anchor.seq);
        Self { seq: 0, hash: GENESIS.to_vec(), before: Vec::new(), anchors, unanchored: None }
    }

    /// One link further, or the misfit.
    pub(super) fn step(&mut self, row: Stored) -> Result<Option<Box<Misfit>>> {
        let expected = self.seq + 1;
        if row.link.seq != expected || row.prev != self.hash || !row.was(expected)? {
            return Ok(Some(Box::new(Misfit { expected, prev: self.hash.clone(), before: self.before.clone(), row })));
        }
        self.seq = expected;
        self.before = std::mem::replace(&mut self.hash, row.hash);
        let differs = |anchor: &Anchor| anchor.seq == expected && anchor.hash != hex::encode(&self.hash);
        if self.unanchored.is_none() && self.anchors.iter().any(differs) {
            self.unanchored = Some(expected);
        }
        Ok(None)
    }

    /// All links fit one another: does their end fit the head and the anchors?
    pub(super) fn end(&self, head: Option<&(i64, Vec<u8>)>) -> Option<Damage> {
        let next = self.seq + 1;
        let damage = |seq, kind| Some(Damage { seq, kind });
        if let Some(seq) = self.unanchored {
            return damage(seq, DamageKind::HeadRewritten);
        }
        if self.anchors.iter().any(|anchor| anchor.seq > self.seq) {
            return damage(next, DamageKind::TailCut);
        }
        match head {
            Some((seq, _)) if *seq > self.seq => damage(next, DamageKind::TailCut),
            Some((seq, hash)) if *seq == self.seq && *hash == self.hash => None,
            None if self.seq == 0 => damage(next, DamageKind::TailCut),
            _ => damage(self.seq, DamageKind::HeadRewritten),
        }
    }
}

impl Misfit {
    /// What was done. `original` is the row that carries the hash this place had to carry, if it is still somewhere.
    pub(super) fn explain(&self, original: Option<&Stored>) -> Result<Damage> {
        let (seq, row) = (self.expected, &self.row);
        let damage = |seq, kind| Ok(Damage { seq, kind });
        if row.link.seq > seq {
            return damage(seq, DamageKind::Deleted);
        }
        if let Some(original) = original
            && original.link.seq > seq
            && original.was(seq)?
        {
            let swapped = row.was(original.link.seq)?;
            return damage(seq, if swapped { DamageKind::Swapped } else { DamageKind::Inserted });
        }
        if row.was(seq)? {
            // It is what it was: the one before it was replaced, hash and all.
            return damage((seq - 1).max(1), DamageKind::Edited);
        }
        if row.prev == self.before && row.was(seq - 1)? {
            return damage(seq - 1, DamageKind::Inserted);
        }
        for earlier in seq + 1..=seq + RENUMBERED {
            if row.was(earlier)? {
                return damage(seq, DamageKind::Deleted);
            }
        }
        damage(seq, DamageKind::Edited)
    }
}

/// How many deletions with renumbering are told apart from an edit.
const RENUMBERED: i64 = 64;

#[cfg(test)]
mod tests;
