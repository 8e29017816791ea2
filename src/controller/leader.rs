//! One leadership: a new epoch, fresh stores and watches, and an end after which nothing of it is left.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch as signal;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::figures;
use super::standby::Standby;
use super::start::waiting;
use crate::access::Gate;
use crate::acme::Acme;
use crate::health::Health;
use crate::installation::Installation;
use crate::kinds::record::Record;
use crate::ledger::{Ledger, Writer};
use crate::metrics::Metrics;
use crate::providers::{Http, Probes};
use crate::reconcile::{self, Clock, Kind, Leadership, wake};
use crate::terraform::engines::Engines;
use crate::terraform::executor::Executor;
use crate::zones::{Lookup, Zones};
use crate::{Error, Result, kinds};

/// How long reconciles that are under way get at the end.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// What was told to stop and has not for so long is told of.
const SLOW: Duration = Duration::from_secs(10);

/// What this process keeps from one leadership to the next.
pub(super) struct Replica {
    pub(super) installation: Arc<Installation>,
    pub(super) client: kube::Client,
    pub(super) cluster: Uuid,
    pub(super) ledger: Ledger,
    pub(super) holder: String,
    pub(super) engines: Arc<Engines>,
    pub(super) executor: Arc<Executor>,
    pub(super) waker: wake::Waker,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Health,
    pub(super) clock: Clock,
}

/// How a leadership ended.
pub(super) enum Ended {
    /// With the process, in good order.
    Finished,
    /// Another leads, or may.
    Lost(Error),
    /// To one that reaches Postgres, which this replica does not.
    GaveWay(Error),
}

impl Replica {
    /// Leads until `shutdown`, or until the Lease or the ledger is another's. A lost leadership drops its reconciles at
    /// once: what they still send to the ledger is refused by its epoch.
    ///
    /// # Errors
    /// What leading again would meet again.
    pub(super) async fn lead(
        &self,
        lease: &Leadership,
        standby: &Standby,
        acquired: Instant,
        shutdown: &CancellationToken,
    ) -> Result<Ended> {
        let deposed = CancellationToken::new();
        let (owner, alive) = signal::channel(());
        let ended = {
            let work = async {
                let Some(writer) = shutdown.run_until_cancelled(self.epoch(lease)).await else {
                    return Ok(Ended::Finished);
                };
                let (stores, writers) = kinds::stores();
                let cx = self.context(writer?, stores, deposed.clone(), alive)?;
                lease.leads(cx.ledger.epoch());
                self.metrics.leading(true);
                tokio::select! {
                    () = figures::follow(cx.machinery.clone()) => {}
                    () = finish(kinds::run(cx, writers, shutdown.clone()), shutdown) => {}
                }
                Ok(Ended::Finished)
            };
            tokio::select! {
                ended = work => ended,
                lost = lease.hold(acquired) => Ok(Ended::Lost(lost)),
                why = standby.is_preferred() => Ok(Ended::GaveWay(why)),
                () = deposed.cancelled() => Ok(Ended::Lost(Error::Deposed("the ledger follows another leader".into()))),
            }
        };
        lease.stands_by();
        all_gone(owner).await;
        self.metrics.leading(false);
        ended
    }

    /// A new epoch, as soon as Postgres gives one.
    async fn epoch(&self, lease: &Leadership) -> Result<Writer> {
        let name = self.installation.cluster_name.clone().unwrap_or_else(|| self.cluster.to_string());
        let mint = || async {
            // A ledger that was restored from before this cluster's first start has forgotten it.
            self.ledger.register_cluster(self.cluster, &name).await?;
            self.ledger.lead(self.cluster, &self.holder).await
        };
        let writer = waiting("Postgres", lease.role(), mint).await?;
        tracing::info!(holder = self.holder, epoch = writer.epoch(), cluster = %self.cluster, "leads");
        Ok(writer)
    }

    fn context(
        &self,
        ledger: Writer,
        stores: kinds::Stores,
        deposed: CancellationToken,
        alive: signal::Receiver<()>,
    ) -> Result<kinds::Context> {
        // A quarter of the places that records have.
        let share = usize::from(Record::concurrency(&self.installation.limits) / 4).max(1);
        Ok(kinds::Context {
            http: Http::new(&self.installation)?,
            acme: Acme::new(self.installation.clone()),
            probes: Arc::new(Probes::default()),
            accounts: Arc::default(),
            lookup: Lookup::new(&self.installation),
            zones: Zones::new(ledger.clone(), self.metrics.clone(), alive.clone(), share),
            engines: self.engines.clone(),
            executor: self.executor.clone(),
            stores,
            queue: Arc::new(kinds::deployment::Queue::new(&self.installation.executor)),
            machinery: reconcile::Context {
                gate: Arc::new(Gate::embedded()?),
                installation: self.installation.clone(),
                waker: self.waker.clone(),
                ledger,
                metrics: self.metrics.clone(),
                anchors: reconcile::anchors::Anchors::default(),
                health: self.health.clone(),
                deposed,
                alive,
                client: self.client.clone(),
                cluster: self.cluster,
                clock: self.clock.clone(),
            },
        })
    }
}

/// Runs to the end, or to the end of the patience after `shutdown`.
async fn finish(work: impl Future<Output = ()>, shutdown: &CancellationToken) {
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(END_PATIENCE).await;
    };
    tokio::select! {
        () = work => {}
        () = late => tracing::warn!("reconciles were still under way after {} s and are left", END_PATIENCE.as_secs()),
    }
}

/// Waits until nothing of a leadership is left. All that works for it holds its context, and this counts the contexts: a
/// task that was told to stop goes on to where it waits next.
async fn all_gone(owner: signal::Sender<()>) {
    while tokio::time::timeout(SLOW, owner.closed()).await.is_err() {
        tracing::warn!("something of the last leadership has not ended yet");
    }
}
