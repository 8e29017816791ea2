//! `landfall runner`: what an executor starts for one run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tracing_subscriber::EnvFilter;
use url::Url;
use uuid::Uuid;

use crate::terraform::runner::{RunnerArgs, run};

/// Nothing secret: a command line can be read by everybody on the machine.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Run id.
    #[arg(long)]
    run: Uuid,
    /// The run's folder, with its token unless --pod-token is given.
    #[arg(long)]
    dir: PathBuf,
    /// Where values of variables and the plan are written, else the run's folder.
    #[arg(long)]
    values_dir: Option<PathBuf>,
    /// The pod's own token, by which the run is taken.
    #[arg(long)]
    pod_token: Option<PathBuf>,
    /// Address of the run API.
    #[arg(long)]
    api: Url,
    /// The engine.
    #[arg(long)]
    engine_binary: PathBuf,
    /// The engine's CLI configuration.
    #[arg(long)]
    cli_config: Option<PathBuf>,
}

/// Does one run.
pub(super) fn execute(arguments: Arguments) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Arguments { run: id, dir, values_dir, pod_token, api, engine_binary: engine, cli_config } = arguments;
    // Certificates are many lines, which no command line should have.
    let authorities = std::env::var("LANDFALL_RUN_API_CA").ok();
    let arguments = RunnerArgs { dir, values_dir, pod_token, authorities, api, id, engine, cli_config };
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => {
            tracing::error!(%error, "no runtime");
            ExitCode::from(4)
        }
    }
}
