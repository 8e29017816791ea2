//! Why an object does not get what it asks for.

use std::fmt::Display;

use crate::api::Reason;

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The word in the condition.
    pub reason: Reason,
    /// What was found and what to do.
    pub message: String,
}

impl Refusal {
    /// In these words.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// The same, of this field: `spec.name: …`.
    #[must_use]
    pub(super) fn at(self, field: impl Display) -> Self {
        Self { message: format!("{field}: {}", self.message), ..self }
    }
}
