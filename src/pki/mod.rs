//! Keys and X.509: keys and certificates are made, read and checked. No network, no files; randomness comes from the system.

mod certificate;
mod chain;
mod key;
mod make;
mod pem;
mod serving;
#[cfg(test)]
mod tests;

pub use certificate::{Certificate, Signed};
pub use chain::{Chain, covers};
pub use key::{Algorithm, Key, PublicKey};
pub use make::{Authority, Term, authority, request, self_signed};
pub use serving::Serving;

use crate::api::Reason;

/// What is wrong with a key, a certificate or a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Flaw {
    /// The word in a condition.
    pub reason: Reason,
    /// What is wrong and what to do. Holds nothing of a private key.
    pub message: String,
}

impl Flaw {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// It cannot be read, or is not fit for use.
    fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::CertificateInvalid, message)
    }

    /// The same, of this place: `tls.key: …`.
    #[must_use]
    pub fn at(self, place: impl std::fmt::Display) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }
}
