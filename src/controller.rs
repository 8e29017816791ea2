//! The controller process: what is started in which order, how it leads and stops leading, and how it ends.

mod figures;
mod jobs;
mod leader;
mod served;
pub(crate) mod serving;
mod standby;
mod start;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::health::{Health, Part};
use crate::installation::{ExecutorKind, Installation};
use crate::ledger::{Keyring, Ledger, Subject};
use crate::metrics::Metrics;
use crate::reconcile::{Clock, Leadership, backoff, wake};
use crate::terraform::engines::Engines;
use crate::terraform::executor::{EngineSettings, Executor, Local};
use crate::{Error, Result, web};
use leader::{Ended, Replica};
use served::Served;
use standby::Standby;

pub use start::{CLUSTER_CONFIG, cluster_of};

/// A leadership that lasted for so long went well.
const GOOD_LEADERSHIP: Duration = Duration::from_secs(60);
/// The longest rest between two leaderships.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// What a controller process needs.
pub struct Setup {
    /// What the platform team decided.
    pub installation: Installation,
    /// The way to the API server, as the user that the controller is.
    pub cluster: kube::Config,
    /// Postgres, as a member of `landfall_writer`.
    pub database_url: String,
    /// Where health, metrics and run API are served.
    pub listener: TcpListener,
    /// Who this process is, on the Lease and in the ledger.
    pub holder: String,
    /// This program, which is also the runner.
    pub program: PathBuf,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub clock: Clock,
}

impl Setup {
    /// With the machine's clock and a holder name of its own.
    ///
    /// # Errors
    /// Where this program's own path is not known.
    pub fn new(
        installation: Installation,
        cluster: kube::Config,
        database_url: String,
        listener: TcpListener,
    ) -> Result<Self> {
        let program = std::env::current_exe().map_err(Error::io("find this program"))?;
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "landfall".into());
        let holder = format!("{host}_{}", Uuid::new_v4());
        let (metrics, clock) = (Arc::new(Metrics::default()), Clock::system());
        Ok(Self { installation, cluster, database_url, listener, holder, program, metrics, clock })
    }
}

/// Serves, waits for what it needs and for its turn, leads as often as it is its turn, and ends with `shutdown`.
///
/// # Errors
/// What waiting does not mend, in one line: a key, a database without the schema, an engine that is not there; the end of something
/// that is served.
pub async fn serve(setup: Setup, shutdown: CancellationToken) -> Result<()> {
    let Setup { installation, cluster, database_url, listener, holder, program, metrics, clock } = setup;
    let local = match installation.executor.kind {
        ExecutorKind::Local => Some(local(&installation, program, &listener)?),
        ExecutorKind::Job => None,
    };
    let keys = Keyring::from_installation(&installation.encryption)?;
    let ledger = Ledger::lazy(&database_url, keys, installation.database_connections())?;
    let (health, waker) = (Health::default(), wake::Waker::default());
    let (ledger_health, cluster_health) = (health.part("ledger"), health.part("cluster"));
    let role = health.part("leadership");
    let mut served = Served::default();
    // Before all else: a start that waits can be seen to wait, and every replica answers runners.
    let runs = web::runs::RunApi::new(ledger.clone(), Arc::new(waker.clone()));
    let mut routes =
        web::router(web::State { health: health.clone(), metrics: metrics.clone(), ledger: ledger.clone() });
    if local.is_some() {
        routes = routes.merge(web::runs::router(runs.clone()));
    }
    served.spawn("health and metrics", async move { axum::serve(listener, routes).await });

    let asked = shutdown.run_until_cancelled(Engines::ask(&installation.engines));
    let Some(engines) = served.beside(asked).await? else { return Ok(()) };
    let engines = Arc::new(engines?);
    let reached = shutdown.run_until_cancelled(start::reach(&cluster, &cluster_health));
    let Some(client) = served.beside(reached).await? else { return Ok(()) };
    let client = client?;
    let executor = match local {
        Some(local) => Executor::Local(Box::new(local)),
        None => {
            let clock = (clock.clone(), &health);
            Executor::Job(Box::new(jobs::begin(&installation, &client, runs, &waker, clock, &mut served).await?))
        }
    };
    let started = start::start(&ledger, &ledger_health, &client, &cluster_health, &installation.namespace);
    let Some(cluster) = served.beside(shutdown.run_until_cancelled(started)).await? else { return Ok(()) };
    let cluster = cluster?;
    served.spawn("the watch over Postgres", watch_ledger(ledger.clone(), ledger_health));
    let executor = Arc::new(executor);
    let lease = Duration::from_secs(installation.limits.lease_seconds);
    let standby = Standby::new(client.clone(), &installation.namespace, &ledger, holder.clone(), lease);
    let lease = Leadership::new(client.clone(), &installation.namespace, &holder, lease, cluster_health, role);
    let installation = Arc::new(installation);
    let replica =
        Replica { installation, client, cluster, ledger, holder, engines, executor, waker, metrics, health, clock };
    served.beside(take_turns(&replica, &lease, &standby, &shutdown)).await?
}

/// Leads whenever the Lease can be had, until `shutdown`.
async fn take_turns(
    replica: &Replica,
    lease: &Leadership,
    standby: &Standby,
    shutdown: &CancellationToken,
) -> Result<()> {
    let mut short = 0u32;
    loop {
        let acquired = tokio::select! {
            acquired = lease.acquire(shutdown) => acquired,
            () = standby.offers() => None,
        };
        let Some(acquired) = acquired else { return Ok(()) };
        let began = Instant::now();
        let ended = replica.lead(lease, standby, acquired, shutdown).await;
        // Where it is lost already, nothing happens.
        lease.release().await;
        match ended? {
            Ended::Finished => return Ok(()),
            Ended::Lost(why) => tracing::warn!(holder = replica.holder, %why, "leads no more; it waits for its turn"),
            Ended::GaveWay(why) => {
                tracing::warn!(holder = replica.holder, %why, "gives way");
                let _ = shutdown.run_until_cancelled(standby.rests()).await;
            }
        }
        short = if began.elapsed() < GOOD_LEADERSHIP { short.saturating_add(1) } else { 0 };
        // Two that depose each other must not do so without a pause.
        let rest = backoff::rest(short, rand::random()).min(LONGEST_REST);
        let _ = shutdown.run_until_cancelled(tokio::time::sleep(rest)).await;
    }
}

/// The executor of the installation. Runners come back to the address that is served here.
fn local(installation: &Installation, program: PathBuf, listener: &TcpListener) -> Result<Local> {
    let address = listener.local_addr().map_err(Error::io("the served address"))?;
    let api = Url::parse(&format!("http://{address}")).map_err(|e| Error::Integrity(format!("listen: {e}")))?;
    Local::new(&installation.executor.work_dir, api, program, EngineSettings::of(installation)?)
}

async fn watch_ledger(ledger: Ledger, health: Part) -> std::io::Result<()> {
    loop {
        match ledger.ping().await {
            Ok(()) => health.good(),
            Err(error) => health.bad(error.to_string()),
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// A run that moves wakes its deployment, on the replica that leads.
impl web::runs::Waker for wake::Waker {
    fn run_changed(&self, subject: &Subject) {
        self.wake(subject.kind, &subject.namespace, &subject.name);
    }
}
