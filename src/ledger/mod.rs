//! Postgres, and nothing but Postgres: intents, the activity chain, the mirror, sealed bytes.
//!
//! Two ways to write. [`Ledger::record`] hands one event to the batching appender and waits for its commit.
//! [`Ledger::begin`] opens a unit of work: rows and the events that tell of them commit together. In the hands of a [`Writer`]
//! both are done under its epoch; after another leader was elected, they are refused.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::sync::mpsc;

mod acme;
mod activity;
mod appender;
mod approvals;
mod artifacts;
pub mod audit;
mod certificates;
mod chain;
mod commands;
mod domains;
mod figures;
mod former_sets;
mod health;
mod history;
mod intents;
mod inventory;
pub mod json;
mod leadership;
mod mirror;
mod pulse;
mod record_sets;
mod references;
mod releases;
mod repairs;
mod revocations;
pub mod runs;
mod schema;
mod sealing;
mod sizes;
pub mod states;
mod subject;
mod words;
mod zone_changes;

pub use acme::{
    AcmeAccount, AcmeChain, AcmeChallenge, AcmeIdentity, AcmeOrder, AcmePlace, AcmeStage, Mark, NewAcmeOrder,
};
pub use activity::Transaction;
pub use approvals::{ApprovalRow, ApprovalTaken};
pub use artifacts::LARGEST_LOG;
pub use certificates::{CertificateFact, CertificateFacts, CertificateTerms, KEY_LOST, NewCertificate};
pub use commands::{DISCARDED, Taken};
pub use domains::{DomainFact, DomainPublished, DomainPut, DomainStanding, DomainState, NewDomain};
pub use figures::{Figures, RunFigures};
pub use health::CredentialFact;
pub use history::{ActivityRow, HistoryFilter, clusters_of, history, organizations, recent_names};
pub use intents::{IntentId, NewIntent, Outcome};
pub use inventory::{Resource, Standing};
pub use leadership::{Fence, Writer};
pub use mirror::{MirrorRow, Mirrored, deployment_standing};
pub use pulse::Pulse;
pub use record_sets::{RecordClaim, RecordFact, WrittenSet};
pub use releases::{Release, Released};
pub use revocations::{Hindrance, Revocation, RevocationState};
pub use runs::{
    Answer, ApplyRun, Approval, Finish, Heard, Limit, NewApplyRun, NewPlanRun, Obstacle, Others, PlanRun, Refusal,
    Room, Run, Stopping, UnderWay,
};
pub use schema::migrate;
pub use sealing::{Aad, Keyring, Sealed};
pub use states::{LockInfo, Recovery, StateClaim, StateHead, StateVersion, state_key};
pub use subject::{Actor, Event, ObjectKind, Subject};
pub use zone_changes::{TakenAway, ZonePart};

use crate::api::Reason;
use crate::{Error, Result};

/// The ledger in the hands of any replica.
#[derive(Clone)]
pub struct Ledger {
    pool: PgPool,
    keys: Arc<Keyring>,
    appender: mpsc::Sender<appender::Entry>,
    since: Arc<appender::Since>,
    /// In the hands of a leader: under which epoch everything here is written.
    fence: Option<Arc<Fence>>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Ledger {
    /// [`Ledger::lazy`] and [`Ledger::check`].
    ///
    /// # Errors
    /// Theirs.
    pub async fn connect(url: &str, keys: Keyring) -> Result<Self> {
        let ledger = Self::lazy(url, keys, CONNECTIONS)?;
        ledger.check().await?;
        Ok(ledger)
    }

    /// Connects when it is first used, as `landfall_writer`, of which the URL's role must be a member, and holds so many
    /// connections at most. Keyed digests are those of the installation only in the hands of a [`Writer`]. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// The URL is no Postgres URL.
    pub fn lazy(url: &str, keys: Keyring, connections: u32) -> Result<Self> {
        let pool = pool(options(url)?, Some(AS_WRITER), connections);
        let (appender, entries) = mpsc::channel(appender::QUEUE);
        let since = Arc::<appender::Since>::default();
        tokio::spawn(appender::run(pool.clone(), entries, since.clone()));
        Ok(Self { pool, keys: Arc::new(keys), appender, since, fence: None })
    }

    /// Whether it can be used. Nothing is written.
    ///
    /// # Errors
    /// Transient while Postgres is away. Else it lets nobody in by this URL, the role may not write, or the schema is
    /// older than this program.
    pub async fn check(&self) -> Result<()> {
        let options = self.pool.connect_options();
        let mut connection = dial(&options).await.map_err(|why| match why {
            NoConnection::Refused(words) => Error::Integrity(words),
            NoConnection::Away(words) => Error::condition(Reason::LedgerUnavailable, words),
        })?;
        connection.execute(AS_WRITER).await.map_err(not_a_writer)?;
        schema::check(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    /// The keys that seal and digest.
    pub fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// For reading: audit, tests.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// One round trip within five seconds: for `/readyz`.
    ///
    /// # Errors
    /// Postgres is away, and the cause.
    pub async fn ping(&self) -> Result<()> {
        let asked = sqlx::query("SELECT 1").execute(&self.pool);
        let asked = tokio::time::timeout(Duration::from_secs(5), asked).await;
        match asked.map_err(|_| sqlx::Error::PoolTimedOut).flatten() {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explained(error.into()).await),
        }
    }

    /// The same error, or, where nobody got a connection in time, the cause if there is none to be had: a pool keeps trying
    /// and tells nothing of it. Takes up to ten seconds then.
    pub async fn explained(&self, error: Error) -> Error {
        if !matches!(error, Error::Ledger(sqlx::Error::PoolTimedOut)) {
            return error;
        }
        match connect(&self.pool.connect_options()).await {
            Ok(connection) => {
                let _ = connection.close().await;
                error
            }
            Err(cause) => cause,
        }
    }
}

/// A pool for people's questions: the URL's own role, which row security then confines.
///
/// # Errors
/// The URL is no Postgres URL, or leads to nobody who answers.
pub async fn reader(url: &str) -> Result<PgPool> {
    let options = options(url)?;
    connect(&options).await?.close().await?;
    Ok(pool(options, None, CONNECTIONS))
}

/// Connections where nothing else is said.
const CONNECTIONS: u32 = 10;
/// How long a statement waits for a free connection, or for Postgres to be back. Shorter than any limit around it: the
/// reconcile's, and a runner's for one call.
const TURN: Duration = Duration::from_secs(15);
/// A connection that was of use so recently is taken to be alive: to ask it would cost as much as most statements do.
const FRESH: Duration = Duration::from_secs(1);
/// How long a server may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection, in words that quote no password.
enum NoConnection {
    /// Postgres knows no such user, password or database.
    Refused(String),
    /// Nobody answers, or not yet.
    Away(String),
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    dial(options).await.map_err(|(NoConnection::Refused(words) | NoConnection::Away(words))| {
        Error::condition(Reason::LedgerUnavailable, words)
    })
}

/// One connection: a pool would keep trying until its patience ends, and could not say what is wrong with the URL.
async fn dial(options: &PgConnectOptions) -> Result<PgConnection, NoConnection> {
    let mut refused = false;
    let cause = match tokio::time::timeout(PATIENCE, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(sqlx::Error::Database(refusal))) => {
            refused = refusal.code().is_some_and(|code| code.starts_with("28") || code == "3D000");
            // Without the line of Postgres' own source, which its text has.
            refusal.message().to_owned()
        }
        Ok(Err(sqlx::Error::Io(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    let (host, port, user) = (options.get_host(), options.get_port(), options.get_username());
    let database = options.get_database().unwrap_or(user);
    let words = format!(
        "DATABASE_URL: no connection to database {database:?} at {host}:{port} as {user:?}: {cause}; see whether Postgres is up \
         there, and whether the URL is right"
    );
    Err(if refused { NoConnection::Refused(words) } else { NoConnection::Away(words) })
}

const AS_WRITER: &str = "SET ROLE landfall_writer";

fn options(url: &str) -> Result<PgConnectOptions> {
    let options = parse(url)?;
    Ok(options.application_name("landfall").options([
        ("search_path", "landfall,pg_temp"),
        ("timezone", "UTC"),
        ("statement_timeout", "30s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "30s"),
    ]))
}

/// The URL is never quoted: it holds a password.
fn parse(url: &str) -> Result<PgConnectOptions> {
    url.parse().map_err(|error: sqlx::Error| {
        let cause = error.to_string();
        let cause = cause.strip_prefix("error with configuration: ").unwrap_or(&cause);
        let form = "postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        Error::condition(
            Reason::LedgerUnavailable,
            format!("DATABASE_URL is no URL of Postgres: {cause}; write {form}"),
        )
    })
}

fn pool(options: PgConnectOptions, role: Option<&'static str>, connections: u32) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(TURN);
    let pool = pool.test_before_acquire(false).before_acquire(|connection, meta| {
        Box::pin(async move {
            if meta.idle_for > FRESH {
                connection.ping().await?;
            }
            Ok(true)
        })
    });
    let pool = pool.after_connect(move |connection, _| {
        Box::pin(async move {
            if let Some(role) = role {
                connection.execute(role).await?;
            }
            Ok(())
        })
    });
    pool.connect_lazy_with(options)
}

/// How the refusal of a role ends that is no member of `landfall_writer`.
pub const NOT_A_WRITER: &str = "its role must be a member of landfall_writer: GRANT landfall_writer TO that role";

/// Postgres' message, without the place in its own source.
fn said(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |e| e.message().to_owned())
}

fn not_a_writer(error: sqlx::Error) -> Error {
    match error.as_database_error().and_then(|e| e.code()).as_deref() {
        Some("42501") => Error::Integrity(format!("database URL: {}; {NOT_A_WRITER}", said(&error))),
        Some("22023") => Error::Integrity(format!("database URL: {}; run `landfall migrate` first", said(&error))),
        _ => error.into(),
    }
}

/// Every write says how many rows it meant.
fn touched(found: u64, wanted: u64, table: &'static str) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::Integrity(format!("{table}: {found} rows written where {wanted} were meant; nothing was committed")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A port that nobody listens on is free again after this.
    async fn nobody() -> std::net::SocketAddr {
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_pool_that_gave_nobody_a_connection_is_explained_by_the_cause() {
        let there = nobody().await;
        let keys = [("k".to_owned(), zeroize::Zeroizing::new([7; 32]))].into();
        let url = format!("postgres://landfall:hidden@{there}/landfall");
        let ledger = Ledger::lazy(&url, Keyring::new("k".into(), keys).unwrap(), 4).unwrap();
        let told = ledger.explained(sqlx::Error::PoolTimedOut.into()).await;
        let words = told.to_string();
        assert_eq!((told.reason(), told.class()), (Reason::LedgerUnavailable, crate::Class::Transient));
        assert!(words.contains(&there.to_string()) && words.contains("refused"), "{words}");
        assert!(!words.contains("hidden"), "{words}");
        let other = ledger.explained(Error::Integrity("damaged".into())).await;
        assert_eq!(other.to_string(), "damaged", "nothing else is touched");
    }
}
