//! DNS names, record sets and zones: what they may be, when two are the same, how they are read and written. No effects.

pub mod name;
pub mod rdata;
pub mod reserved;
pub mod rset;
mod rules;
pub mod suffix;
pub mod text;
pub mod which;
pub mod wire;

pub use self::name::Name;
pub use self::rdata::{Data, RecordType};
pub use self::rset::RecordSet;
pub use self::which::{Which, Zone};

/// Why something is no name, no value or no record set: the field and the rule, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    /// What the rule says.
    fn new(rule: impl Into<String>) -> Self {
        Self(rule.into())
    }

    /// The same, of this field: `spec.values[0]: MX exchange: …`.
    #[must_use]
    pub fn at(self, field: impl std::fmt::Display) -> Self {
        Self(format!("{field}: {}", self.0))
    }
}

/// Text that may be anything, as a message quotes it: escaped, and no longer than 80 characters.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    if short.len() == text.len() { format!("{text:?}") } else { format!("{short:?}…") }
}
