//! What every provider of DNS does for a zone: list, read, change under a condition, tell the serial.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use crate::api::Reason;
use crate::dns::{Name, RecordSet, RecordType, Zone};
use crate::{Error, Result};

/// A set as it stands at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The set.
    pub set: RecordSet,
    /// Who marked it as theirs; always empty where the provider holds no markers.
    pub markers: Vec<String>,
}

/// What stands in a zone and is no set of ours to read: another type, or a form that no set holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// As the provider spells it.
    pub name: String,
    /// As the provider spells it.
    pub kind: String,
    /// Why it is not read.
    pub why: String,
}

/// What a zone holds, or what one name in it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Sets of the types that we know.
    pub sets: Vec<Standing>,
    /// All else, but for what the server makes by itself: SOA and what DNSSEC adds.
    pub others: Vec<Other>,
}

impl Contents {
    /// The set of this name and type.
    pub fn find(&self, owner: &Name, kind: RecordType) -> Option<&Standing> {
        self.sets.iter().find(|s| s.set.owner() == owner && s.set.kind() == kind)
    }
}

/// One change of one set, under the condition that the set is what it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    before: Option<RecordSet>,
    after: Option<RecordSet>,
    marker: Option<String>,
    marked: Option<Vec<String>>,
    beside: Option<Box<Change>>,
}

impl Change {
    /// From what was read to what is wanted, `None` for no set. `marker` is put on what is wanted, where the provider
    /// holds markers: at most 40 characters.
    ///
    /// # Errors
    /// Where the two are sets of different names or types, or both are none.
    pub fn new(before: Option<RecordSet>, after: Option<RecordSet>, marker: Option<String>) -> Result<Self> {
        let fits = match (&before, &after) {
            (Some(a), Some(b)) => a.owner() == b.owner() && a.kind() == b.kind(),
            (None, None) => false,
            _ => true,
        };
        let short = marker.as_ref().is_none_or(|m| m.chars().count() <= 40);
        if !fits || !short {
            return Err(Error::Integrity("a change concerns one set, and a marker has at most 40 characters".into()));
        }
        Ok(Self { before, after, marker, marked: None, beside: None })
    }

    /// The same, made together with a change of another set or not at all: the entry of a registry. For providers that hold
    /// no markers; what holds them makes the first alone.
    #[must_use]
    pub fn along_with(self, beside: Self) -> Self {
        Self { beside: Some(Box::new(beside)), ..self }
    }

    /// The same under the condition that what was read has these markers still: whose it is was told by them.
    #[must_use]
    pub fn where_marked(self, markers: &[String]) -> Self {
        Self { marked: self.before.is_some().then(|| markers.to_vec()), ..self }
    }

    /// What was read.
    pub fn before(&self) -> Option<&RecordSet> {
        self.before.as_ref()
    }

    /// What is wanted.
    pub fn after(&self) -> Option<&RecordSet> {
        self.after.as_ref()
    }

    /// Whose it shall be.
    pub(super) fn marker(&self) -> Option<&str> {
        self.marker.as_deref()
    }

    /// Name and type of the set.
    pub fn key(&self) -> Option<(&Name, RecordType)> {
        self.after.as_ref().or(self.before.as_ref()).map(|set| (set.owner(), set.kind()))
    }

    /// This change and the one that is made along with it.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.beside.as_deref())
    }

    /// Whether the condition holds for what stands there.
    fn fits(&self, standing: &Index<'_>) -> bool {
        self.parts().all(|part| {
            let now = part.now(standing);
            let marked = part.marked.as_ref().is_none_or(|marked| now.is_some_and(|now| now.markers == *marked));
            marked && now.map(|standing| &standing.set) == part.before.as_ref()
        })
    }

    /// What stands there.
    fn now<'a>(&self, standing: &Index<'a>) -> Option<&'a Standing> {
        standing.0.get(&self.key()?).copied()
    }
}

/// What stands in a zone, by name and type.
struct Index<'a>(HashMap<(&'a Name, RecordType), &'a Standing>);

impl<'a> Index<'a> {
    /// Of what was read.
    fn of(contents: &'a Contents) -> Self {
        Self(contents.sets.iter().map(|standing| ((standing.set.owner(), standing.set.kind()), standing)).collect())
    }
}

/// The changes of a lot whose condition does not hold by what stands.
pub(super) fn unfit(lot: &[(usize, &Change)], standing: &Contents) -> Vec<(usize, Outcome)> {
    let index = Index::of(standing);
    let changed = lot.iter().filter(|(_, change)| !change.fits(&index));
    changed.map(|(number, change)| (*number, Outcome::Changed(change.now(&index).cloned()))).collect()
}

/// What came of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The set is what was wanted.
    Applied,
    /// The provider refuses this set; its own text.
    Rejected(String),
    /// The condition does not hold, and nothing was changed: what stands there now.
    Changed(Option<Standing>),
    /// Not known, or not tried.
    Unsettled(Trouble),
}

/// Why a provider gave no answer to what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The word in the condition.
    pub reason: Reason,
    /// What happened and what to do; redacted and capped.
    pub message: String,
    /// How long the provider asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether a change may have been made all the same: only reading tells.
    pub may_have_landed: bool,
}

impl Trouble {
    /// The provider is not asked: it asked to be left alone, for so long still.
    pub fn resting(left: Duration) -> Self {
        let message = format!("the provider asked to be left alone; {} s are left of it", left.as_secs() + 1);
        Self { retry_after: Some(left), ..Self::new(Reason::RateLimited, message) }
    }

    /// A trouble that surely changed nothing.
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None, may_have_landed: false }
    }

    /// The same where a change was asked for and the answer is missing.
    #[must_use]
    pub(super) fn open(self) -> Self {
        Self { may_have_landed: true, ..self }
    }
}

/// A provider of DNS, with a credential.
pub trait Dns: Send + Sync {
    /// Whether it keeps a marker of ours with each set. Elsewhere ownership needs a registry.
    fn marks(&self) -> bool;

    /// The zones that the credential may change.
    fn zones(&self) -> impl Future<Output = Result<Vec<Zone>, Trouble>> + Send;

    /// What a zone holds; where `name` is given, what stands at that name, and no synthesised answer.
    fn read(&self, zone: &Zone, name: Option<&Name>) -> impl Future<Output = Result<Contents, Trouble>> + Send;

    /// Makes the changes, in as few calls as may be, and answers one outcome for each in their order. One that is refused
    /// keeps no other from being made.
    fn apply(&self, zone: &Zone, changes: &[Change]) -> impl Future<Output = Vec<Outcome>> + Send;

    /// The serial of the zone's SOA: while it stays, so does the zone. `None` where the server does not raise it by itself.
    fn serial(&self, zone: &Zone) -> impl Future<Output = Result<Option<u32>, Trouble>> + Send;
}
