//! A controller in the test's own process, as the user that an installation gives it. The crate that includes this
//! includes `mod.rs` as `harness` and `database.rs` as `database`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use landfall::Result;
use landfall::controller::{Setup, serve};
use landfall::installation::Installation;
use landfall::metrics::Metrics;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::harness::{User, env, install, namespace};

/// What outlives a controller: its own namespace, its files, its database role, its address.
pub struct Home {
    /// Landfall's own namespace.
    pub namespace: String,
    /// `landfall.yaml`.
    pub installation: Installation,
    /// Postgres, as a member of `landfall_writer`.
    pub database_url: String,
    files: TempDir,
}

/// A controller that runs.
pub struct Controller {
    /// What outlives it.
    pub home: Home,
    /// Where it serves.
    pub address: SocketAddr,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    task: Option<JoinHandle<Result<()>>>,
}

impl Home {
    /// A home for a controller that watches these namespaces. PowerDNS and AWS of the test bed are permitted, and the
    /// engines that it has are known; `change` may say otherwise, in the terms of `landfall.yaml`.
    pub async fn new(watch: &[String], database: &Database, change: impl FnOnce(&mut Value)) -> Self {
        install().await;
        let files = TempDir::new().unwrap();
        let key = files.path().join("key");
        std::fs::write(&key, "c2l4dGVlbiBieXRlcyEhc2l4dGVlbiBieXRlcyEhISE=").unwrap();
        let mut engines = json!({});
        for (kind, variable) in [("OpenTofu", "TOFU"), ("Terraform", "TERRAFORM")] {
            if let Ok(path) = std::env::var(variable) {
                engines[kind] = json!(path);
            }
        }
        let own = namespace().await;
        let mut value = json!({
            "namespace": own,
            "listen": "127.0.0.1:0",
            "watchNamespaces": watch,
            "allowedEndpoints": [env("PDNS_URL"), env("AWS_ENDPOINT")],
            "encryption": {"current": "test", "keys": {"test": key}},
            "engines": engines,
            "engineCliConfig": std::env::var("ENGINE_CLI_CONFIG").ok(),
            "executor": {"type": "local", "workDir": files.path().join("work")},
            "limits": {"leaseSeconds": 5},
        });
        change(&mut value);
        let (_, database_url) = database.login("landfall_writer").await;
        Self { namespace: own, installation: serde_json::from_value(value).unwrap(), database_url, files }
    }

    /// Starts a controller here.
    pub async fn start(mut self) -> Controller {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = listen(self.installation.listen).await;
        let address = listener.local_addr().unwrap();
        // Runners come back to it.
        self.installation.listen = address;
        let installation = self.installation.clone();
        let client = User::Controller.client().await;
        let mut setup = Setup::new(installation, client, self.database_url.clone(), listener).unwrap();
        setup.program = env!("CARGO_BIN_EXE_landfall").into();
        let (metrics, shutdown) = (setup.metrics.clone(), CancellationToken::new());
        let task = Some(tokio::spawn(serve(setup, shutdown.clone())));
        Controller { home: self, address, metrics, shutdown, task }
    }
}

/// The address of the controller before, whose tasks may need a moment to let go of it.
async fn listen(address: SocketAddr) -> TcpListener {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if std::time::Instant::now() > end => panic!("listen on {address}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

impl Controller {
    /// A controller for these namespaces, with the settings of [`Home::new`].
    pub async fn start(watch: &[String], database: &Database) -> Self {
        Home::new(watch, database, |_| {}).await.start().await
    }

    /// Ends it gracefully; its home stays.
    pub async fn stop(mut self) -> Home {
        self.shutdown.cancel();
        let task = self.task.take().expect("it runs");
        tokio::time::timeout(Duration::from_secs(25), task)
            .await
            .expect("an end in time")
            .unwrap()
            .expect("a good end");
        self.home
    }

    /// Ends it at once, in the middle of whatever it does; its home stays.
    pub async fn kill(mut self) -> Home {
        let task = self.task.take().expect("it runs");
        task.abort();
        let _ = task.await;
        self.home
    }

    /// Whether it has ended by itself, and how.
    pub async fn ended(mut self) -> Result<()> {
        self.task.take().expect("it runs").await.unwrap()
    }
}
