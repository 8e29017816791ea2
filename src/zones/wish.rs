//! What callers ask for, and what they are told.

use jiff::Timestamp;

use crate::dns::{Name, RecordSet, RecordType};
use crate::ledger::Subject;
use crate::providers::Trouble;

/// One object's wish for one set.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Whose wish it is; the ledger names it.
    pub subject: Subject,
    /// Why, in words; the ledger holds them.
    pub why: String,
    /// The set's name.
    pub owner: Name,
    /// The set's type.
    pub kind: RecordType,
    /// What shall be.
    pub want: Want,
    /// In the name of which domain: nothing is made of it once that is lost. None for the proof of a domain, and for what is
    /// taken away whoever has the name by now.
    pub by: Option<By>,
}

/// A domain that an object goes by.
#[derive(Clone, Debug)]
pub struct By {
    /// The domain.
    pub domain: Subject,
    /// When it was found proved.
    pub at: Timestamp,
}

/// What shall be at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// This set, and ours.
    Set {
        /// Of the wish's name and type.
        set: RecordSet,
        /// What to do where a set stands there that is nobody's.
        adoption: Adoption,
    },
    /// No set, where it is ours.
    Gone {
        /// How many sets of the zone are on their way out, this one included, as far as the caller knows: what is judged
        /// together need not come together.
        leaving: usize,
    },
    /// This value among those of a shared set.
    Share {
        /// The logical text.
        value: String,
        /// Seconds, for a set that does not stand yet.
        ttl: u32,
    },
    /// Not this value. The set goes with its last one.
    Unshare {
        /// The logical text.
        value: String,
    },
}

impl Wish {
    /// Whether it takes a set away.
    pub(super) fn goes(&self) -> bool {
        matches!(self.want, Want::Gone { .. })
    }
}

/// Whether a set that stands there, and is nobody's, becomes ours. What is another's never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adoption {
    /// It does not.
    #[default]
    Never,
    /// Where values and TTL are those that are wanted.
    IfIdentical,
    /// Whatever it holds.
    Always,
}

/// What came of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It was written.
    Applied {
        /// What stood there.
        before: Option<RecordSet>,
        /// What stands there.
        after: Option<RecordSet>,
    },
    /// It stood as wanted, and nothing was written.
    Unchanged,
    /// It is not ours, and was left alone: whose it is.
    NotOwned(String),
    /// It cannot be written there: the provider's own text, or the rule.
    Rejected(String),
    /// Another wrote in between, and this stands now. Nothing was written.
    Changed(Option<RecordSet>),
    /// Too large a part of the zone would go or be replaced. Nothing was written; it waits for a release, as
    /// [`super::Zones::held`] tells it.
    Held,
    /// The provider did not do it, or did not say.
    Trouble(Trouble),
}

/// What stands at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The set of the type that was asked for.
    pub set: Option<RecordSet>,
    /// Whose it is.
    pub whose: Whose,
    /// The other types at the name, as zone files write them.
    pub beside: Vec<String>,
    /// The delegation within the zone that takes the name away from it: nobody is answered with what stands there.
    pub delegation: Option<Name>,
}

/// Whose a set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// None stands there, or nobody claims it.
    Nobody,
    /// This installation's.
    Ours,
    /// Another's: in words.
    Another(String),
}
