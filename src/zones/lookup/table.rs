//! The table of what each server said, and what follows from it. No effects.

use std::net::SocketAddr;

use crate::dns::{Data, Name, RecordType};

/// What the servers of a zone say of one name and type; of another name, where that one is an alias.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// One row for each address of each server.
    pub servers: Vec<Heard>,
    /// Why no server could be found.
    pub trouble: Option<String>,
}

/// What was said on the way over aliases.
#[derive(Clone, Debug)]
pub struct Through {
    /// Of the name that was asked for: an alias is one of its values.
    pub first: Answers,
    /// Of the name that the aliases lead to; of the first, where there are none.
    pub last: Answers,
}

/// What one server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its name, or its address where that is all that is known.
    pub host: String,
    /// Where it was asked.
    pub address: SocketAddr,
    /// What it said.
    pub answer: Said,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// These values, in order; an alias is one of type CNAME.
    Values {
        /// At least one.
        values: Vec<Data>,
        /// Seconds.
        ttl: u32,
    },
    /// The name is there, with other types or names below it.
    NoData,
    /// There is no such name.
    NoName,
    /// None that counts: a time-out, a refusal, an answer that is not its own to give; in words.
    Nothing(String),
}

impl Said {
    /// The values, where the server answered; none where it said that there are none.
    fn values(&self) -> Option<&[Data]> {
        match self {
            Self::Values { values, .. } => Some(values),
            Self::NoData | Self::NoName => Some(&[]),
            Self::Nothing(_) => None,
        }
    }
}

impl Answers {
    /// The values of each server that answered.
    fn told(&self) -> impl Iterator<Item = &[Data]> {
        self.servers.iter().filter_map(|heard| heard.answer.values())
    }

    /// Whether any server answered.
    pub fn answered(&self) -> bool {
        self.told().next().is_some()
    }

    /// Whether a server answered, and all that did have the value.
    pub fn all_have(&self, value: &Data) -> bool {
        self.answered() && self.told().all(|values| values.contains(value))
    }

    /// Whether a server answered, and none that did has the value.
    pub fn none_has(&self, value: &Data) -> bool {
        self.answered() && !self.told().any(|values| values.contains(value))
    }

    /// Whether nobody answered, or they differ about the value.
    pub fn undecided(&self, value: &Data) -> bool {
        !self.all_have(value) && !self.none_has(value)
    }

    /// All that anybody said, in order, none twice.
    pub fn values(&self) -> Vec<Data> {
        let mut all: Vec<Data> = self.told().flatten().cloned().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The same, where who told of an alias has told nothing: where it leads was not asked.
    pub(super) fn without_aliases(mut self, kind: RecordType) -> Self {
        for heard in &mut self.servers {
            if let Said::Values { values, .. } = &heard.answer
                && let ([Data::Cname(target)], true) = (values.as_slice(), kind != RecordType::Cname)
            {
                heard.answer = Said::Nothing(format!("an alias of {target}, which is not followed"));
            }
        }
        self
    }

    /// The name that this one is an alias of, where all that answered say so.
    pub(super) fn alias(&self, kind: RecordType) -> Option<Name> {
        let alias = |values: &[Data]| match values {
            [Data::Cname(target)] if kind != RecordType::Cname => Some(target.clone()),
            _ => None,
        };
        let mut told = self.told().map(alias);
        let first = told.next()??;
        told.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
