//! The controller process: what is started in which order, and how it ends.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::access::Gate;
use crate::api::FIELD_MANAGER;
use crate::health::{Health, Part};
use crate::installation::Installation;
use crate::ledger::{Keyring, Ledger, Subject};
use crate::metrics::Metrics;
use crate::providers::{Http, Probes};
use crate::reconcile::{self, Clock, Leadership, patch, wake};
use crate::terraform::engines::Engines;
use crate::terraform::executor::Local;
use crate::web;
use crate::{Class, Error, Result, kinds};

/// In Landfall's own namespace; holds the cluster's id.
pub const CLUSTER_CONFIG: &str = "landfall-cluster";
/// How long a part may be away while the process starts.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long reconciles that are under way get at the end.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// What a controller process needs.
pub struct Setup {
    /// What the platform team decided.
    pub installation: Installation,
    /// The API server, as the user that the controller is.
    pub client: kube::Client,
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
        client: kube::Client,
        database_url: String,
        listener: TcpListener,
    ) -> Result<Self> {
        let program = std::env::current_exe().map_err(Error::io("find this program"))?;
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "landfall".into());
        let holder = format!("{host}_{}", Uuid::new_v4());
        let (metrics, clock) = (Arc::new(Metrics::default()), Clock::system());
        Ok(Self { installation, client, database_url, listener, holder, program, metrics, clock })
    }
}

/// Serves, waits for its turn, leads, and ends with `shutdown`.
///
/// # Errors
/// What is missing at the start, in one line; [`Error::Deposed`] where another process leads now.
pub async fn serve(setup: Setup, shutdown: CancellationToken) -> Result<()> {
    let Setup { installation, client, database_url, listener, holder, program, metrics, clock } = setup;
    let engines = Arc::new(Engines::ask(&installation.engines)?);
    let executor = Arc::new(local(&installation, program, &listener)?);
    let health = Health::default();
    let (ledger_health, cluster_health) = (health.part("ledger"), health.part("cluster"));
    let connect =
        || async { Ledger::connect(&database_url, Keyring::from_installation(&installation.encryption)?).await };
    let ledger = patiently("Postgres", &shutdown, connect).await?;
    let waker = wake::Waker::default();
    let mut served = JoinSet::new();
    // Before leadership: every replica answers runners, and a start that waits can be seen to wait.
    let state = web::State {
        health: health.clone(),
        metrics: metrics.clone(),
        runs: web::runs::RunApi::new(ledger.clone(), Arc::new(waker.clone())),
    };
    served.spawn(async move { axum::serve(listener, web::router(state)).await });
    served.spawn(watch_ledger(ledger.clone(), ledger_health));
    let cluster = patiently("the API server", &shutdown, || cluster_id(&client, &installation.namespace)).await?;
    patiently("Postgres", &shutdown, || ledger.register_cluster(cluster, "")).await?;
    cluster_health.good();

    let lease = Duration::from_secs(installation.limits.lease_seconds);
    let leadership = Leadership::new(client.clone(), &installation.namespace, &holder, lease);
    if !leadership.acquire(&shutdown).await {
        return Ok(());
    }
    let deposed = CancellationToken::new();
    let ended = {
        let work = async {
            let writer = patiently("Postgres", &shutdown, || ledger.lead(cluster, &holder)).await?;
            tracing::info!(holder, epoch = writer.epoch(), %cluster, "leads");
            metrics.leading(true);
            let (stores, writers) = kinds::stores();
            let cx = kinds::Context {
                http: Http::new(&installation)?,
                probes: Arc::new(Probes::default()),
                engines,
                executor,
                stores,
                machinery: reconcile::Context {
                    gate: Arc::new(Gate::embedded()?),
                    installation: Arc::new(installation),
                    waker,
                    ledger: writer,
                    metrics: metrics.clone(),
                    health,
                    deposed: deposed.clone(),
                    client,
                    cluster,
                    clock,
                },
            };
            finish(kinds::run(cx, writers, shutdown.clone()), &shutdown).await;
            Ok(())
        };
        tokio::select! {
            ended = work => ended,
            lost = leadership.hold() => Err(lost),
            () = deposed.cancelled() => Err(Error::Deposed("the ledger follows another leader".into())),
        }
    };
    metrics.leading(false);
    if ended.is_ok() {
        leadership.release().await;
    }
    ended
}

/// The executor of the installation. Runners come back to the address that is served here.
fn local(installation: &Installation, program: PathBuf, listener: &TcpListener) -> Result<Local> {
    let address = listener.local_addr().map_err(Error::io("the served address"))?;
    let api = Url::parse(&format!("http://{address}")).map_err(|e| Error::Integrity(format!("listen: {e}")))?;
    let (engines, config) = (installation.engines.clone(), installation.engine_cli_config.clone());
    Local::new(&installation.executor.work_dir, api, program, engines, config)
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

/// Tries again while a part is away, for half a minute.
async fn patiently<T, F: Future<Output = Result<T>>>(
    what: &'static str,
    shutdown: &CancellationToken,
    attempt: impl Fn() -> F,
) -> Result<T> {
    let began = Instant::now();
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if error.class() != Class::Transient || began.elapsed() > START_PATIENCE || shutdown.is_cancelled() {
            return Err(error);
        }
        tracing::warn!(%error, "waits for {what}");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// The cluster's id: made once, by whoever comes first.
async fn cluster_id(client: &kube::Client, namespace: &str) -> Result<Uuid> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let read = |map: &ConfigMap| {
        cluster_of(map).ok_or_else(|| {
            Error::Integrity(format!(
                "ConfigMap {namespace}/{CLUSTER_CONFIG}: data.id is not a UUID; put the cluster's id of the table clusters \
                 back, or every object will count as new"
            ))
        })
    };
    if let Some(map) = api.get_opt(CLUSTER_CONFIG).await? {
        return read(&map);
    }
    let fresh = json!({"metadata": {"name": CLUSTER_CONFIG}, "data": {"id": Uuid::new_v4().to_string()}});
    let fresh = serde_json::from_value(fresh).map_err(|e| Error::Integrity(e.to_string()))?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.create(&params, &fresh).await {
        Ok(map) => read(&map),
        Err(error) if patch::is_conflict(&error) => read(&api.get(CLUSTER_CONFIG).await?),
        Err(error) => Err(error.into()),
    }
}

/// The id that the ConfigMap holds.
pub fn cluster_of(map: &ConfigMap) -> Option<Uuid> {
    Uuid::parse_str(map.data.as_ref()?.get("id")?).ok()
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
