//! The one error type. Each error has a [`Class`], which says how to go on, and a [`Reason`], which users see.

pub use crate::api::Class;
use crate::api::Reason;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Anything that went wrong, said so that a user can act on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("API server: {}", said(.0))]
    Cluster(#[from] Box<kube::Error>),
    /// Postgres refused, or could not be reached.
    #[error("ledger: {}", told(.0))]
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
    /// A command line that leaves something open, or names what cannot be used.
    #[error("{0}")]
    Usage(String),
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
            Self::Cluster(_) | Self::Ledger(_) | Self::Condition { .. } => self.reason().class(),
            Self::Io { .. } => Class::Transient,
            Self::Deposed(_) | Self::Integrity(_) | Self::Usage(_) => Class::Terminal,
        }
    }

    /// Whether it says nothing of an object and passes by itself: the API server was away, or two wrote at once.
    pub fn is_fleeting(&self) -> bool {
        self.is_conflict() || matches!(self, Self::Cluster(_)) && self.reason() == Reason::ApiServerUnavailable
    }

    /// Whether the object was written by somebody else meanwhile, which is no failure: it is looked at again as it is now.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Cluster(error) if matches!(error.as_ref(), kube::Error::Api(status) if matches!(status.code, 409 | 410)))
    }

    /// Whether a part that is needed is away, so that the same again may be answered.
    pub fn is_away(&self) -> bool {
        matches!(self.reason(), Reason::LedgerUnavailable | Reason::ApiServerUnavailable)
    }

    /// The word in the condition and in metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Cluster(error) => of_api_server(error),
            Self::Ledger(error) => of_postgres(error),
            Self::Deposed(_) => Reason::Deposed,
            Self::Condition { reason, .. } => *reason,
            Self::Io { .. } => Reason::InputOutput,
            Self::Integrity(_) => Reason::IntegrityViolation,
            Self::Usage(_) => Reason::InvalidUsage,
        }
    }
}

/// Whether the API server is away, or answered and said no.
fn of_api_server(error: &kube::Error) -> Reason {
    match error {
        kube::Error::Api(status) => match status.code {
            403 => Reason::Forbidden,
            401 | 408 | 429 | 500.. => Reason::ApiServerUnavailable,
            _ => Reason::ApiServerRefused,
        },
        _ => Reason::ApiServerUnavailable,
    }
}

/// Whether Postgres is away, or answered what the same question will be answered again: what was stored is not what this
/// program can read, or what this program sends is not what the tables take.
fn of_postgres(error: &sqlx::Error) -> Reason {
    use sqlx::Error as E;
    const OURS: [&str; 5] = ["22", "23", "42", "XX001", "XX002"];
    match error {
        E::Database(error) => match error.code().as_deref() {
            Some("42501") => Reason::Forbidden,
            Some(code) if OURS.iter().any(|class| code.starts_with(class)) => Reason::IntegrityViolation,
            _ => Reason::LedgerUnavailable,
        },
        E::ColumnDecode { .. }
        | E::Decode(_)
        | E::Encode(_)
        | E::ColumnNotFound(_)
        | E::ColumnIndexOutOfBounds { .. }
        | E::TypeNotFound { .. }
        | E::RowNotFound => Reason::IntegrityViolation,
        _ => Reason::LedgerUnavailable,
    }
}

/// What Postgres said; of a connection that nobody got, what to do.
fn told(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::PoolTimedOut => {
            "no connection to Postgres was free in time: it is away, or, where it answers others, \
             limits.databaseConnections in landfall.yaml is too small for what goes on at once"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// What the API server said, without the form in which it said it.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => root(other),
    }
}

/// The innermost cause: what stands around it tells of layers, as `client error (Connect)`.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Cluster(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_no_of_the_api_server_is_no_outage() {
        let told = |code: u16| {
            let status = serde_json::json!({"status": "Failure", "message": "no", "reason": "", "code": code});
            let error = Error::from(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())));
            error.reason()
        };
        assert_eq!(told(403), Reason::Forbidden);
        for code in [404, 409, 422] {
            assert_eq!(told(code), Reason::ApiServerRefused, "{code}");
        }
        for code in [401, 429, 500, 503] {
            assert_eq!(told(code), Reason::ApiServerUnavailable, "{code}");
        }
    }

    #[test]
    fn an_api_server_that_is_away_is_told_by_the_cause_and_not_by_the_layers_around_it() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "Connection refused");
        let layered = std::io::Error::other(Error::io("client error (Connect)")(refused));
        let error = Error::from(kube::Error::Service(Box::new(layered)));
        assert_eq!(error.to_string(), "API server: Connection refused");
    }

    #[test]
    fn what_postgres_will_say_again_is_not_retried() {
        let away = Error::from(sqlx::Error::PoolTimedOut);
        assert_eq!((away.reason(), away.class()), (Reason::LedgerUnavailable, Class::Transient));
        assert!(away.to_string().contains("limits.databaseConnections"), "{away}");
        let unread = Error::from(sqlx::Error::ColumnNotFound("x".into()));
        assert_eq!((unread.reason(), unread.class()), (Reason::IntegrityViolation, Class::Terminal));
    }
}
