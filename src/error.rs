//! The one error type. Each error has a [`Class`], which says how to go on, and a [`Reason`], which users see.

use crate::api::Reason;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// May pass by itself: try again with backoff.
    Transient,
    /// Waits for something that wakes the object: a Secret, another object, a person.
    Blocked,
    /// Only a change of the spec helps.
    Terminal,
}

/// Anything that went wrong, said so that a user can act on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("API server: {}", said(.0))]
    Cluster(#[from] Box<kube::Error>),
    /// Postgres refused, or could not be reached.
    #[error("ledger: {0}")]
    Ledger(#[from] sqlx::Error),
    /// This process no longer leads; nothing more may be written.
    #[error("no longer the leader: {0}")]
    Deposed(String),
    /// A state of affairs with a reason that the contract names.
    #[error("{message}")]
    Condition {
        /// The word in the condition.
        reason: Reason,
        /// What was found, where, and what to do next.
        message: String,
    },
    /// A file or process of this machine.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Something that must not be: damaged rows, a key that is missing, a broken invariant.
    #[error("{0}")]
    Integrity(String),
}

impl Error {
    /// A condition with its reason.
    pub fn condition(reason: Reason, message: impl Into<String>) -> Self {
        Self::Condition { reason, message: message.into() }
    }

    /// For `map_err`: an I/O error with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// How to go on.
    pub fn class(&self) -> Class {
        match self {
            Self::Cluster(_) | Self::Ledger(_) | Self::Io { .. } => Class::Transient,
            Self::Condition { reason, .. } => reason.class(),
            Self::Deposed(_) | Self::Integrity(_) => Class::Terminal,
        }
    }

    /// The word in the condition and in metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Cluster(_) => Reason::ApiServerUnavailable,
            Self::Ledger(_) => Reason::LedgerUnavailable,
            Self::Deposed(_) => Reason::Deposed,
            Self::Condition { reason, .. } => *reason,
            Self::Io { .. } => Reason::InputOutput,
            Self::Integrity(_) => Reason::IntegrityViolation,
        }
    }
}

/// What the API server said, without the form in which it said it.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Cluster(Box::new(error))
    }
}
