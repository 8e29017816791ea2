//! `landfall controller` and `landfall migrate`.

use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::target::unusable;
use crate::controller::{Setup, serve};
use crate::installation::Installation;
use crate::{Error, Result, access, ledger};

/// Arguments of `landfall controller`.
#[derive(Debug, clap::Args)]
pub(super) struct Controller {
    /// What the platform team decided once.
    #[arg(long, env = "LANDFALL_CONFIG", default_value = "landfall.yaml")]
    config: PathBuf,
    #[command(flatten)]
    database: Database,
}

/// Runs the controller until SIGTERM or SIGINT.
pub(super) fn controller(arguments: &Controller) -> Result<()> {
    let installation = Installation::load(&arguments.config)?;
    let database_url = arguments.database.url()?;
    log_json();
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(cancel_on_signal(shutdown.clone()));
        let cluster = access::config().await.map_err(|error| unusable(&error))?;
        let listen = installation.listen;
        let listener = TcpListener::bind(listen).await.map_err(Error::io(format!("listen: {listen}")))?;
        serve(Setup::new(installation, cluster, database_url, listener)?, shutdown).await
    });
    // A name that is looked up, or a program that gives credentials, may take its time: it is not waited for.
    runtime.shutdown_background();
    ended
}

/// Brings the database's schema up to date; twice is a no-op.
pub(super) fn migrate(arguments: &Database) -> Result<()> {
    let url = arguments.url()?;
    runtime()?.block_on(ledger::migrate(&url))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    // The second of two installations of the same provider changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::io("runtime"))
}

/// The watcher repeats at each try what the watches themselves tell once.
const LOGGED: &str = "landfall=info,kube_runtime::watcher=error,warn";

/// One JSON object a line, to stderr; RUST_LOG says how much.
fn log_json() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOGGED));
    // A second subscriber in one process is refused, and the first goes on.
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

async fn cancel_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("asked to end: no new work, what is under way is finished");
    shutdown.cancel();
}
