//! What the machinery under every reconcile is given.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch as signal;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::anchors::Anchors;
use super::wake::Waker;
use crate::access::Gate;
use crate::health::Health;
use crate::installation::Installation;
use crate::ledger::Writer;
use crate::metrics::Metrics;

/// What the machinery uses; a kind adds the services that it needs. One per leadership: the ledger's writer carries the epoch.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// Postgres, fenced by this leader's epoch.
    pub ledger: Writer,
    /// What the platform team decided.
    pub installation: Arc<Installation>,
    /// Id of this cluster in the ledger.
    pub cluster: Uuid,
    /// The one clock.
    pub clock: Clock,
    /// Whether command annotations may be taken.
    pub gate: Arc<Gate>,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Whether the log is the one that was anchored.
    pub anchors: Anchors,
    /// What `/readyz` tells.
    pub health: Health,
    /// Wakes objects.
    pub waker: Waker,
    /// Cancelled when this process must no longer lead.
    pub deposed: CancellationToken,
    /// Its other end waits until the last copy of this context is dropped.
    pub alive: signal::Receiver<()>,
}

/// Tells the time; a test may put it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock of the caller's.
    pub fn of(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}
