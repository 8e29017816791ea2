//! A controller in the test's own process, as the user that an installation gives it. The crate that includes this
//! includes `mod.rs` as `harness` and `database.rs` as `database`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kube::config::Kubeconfig;
use landfall::Result;
use landfall::controller::{Setup, serve};
use landfall::installation::Installation;
use landfall::metrics::Metrics;
use landfall::reconcile::Clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::harness::{User, env, grant, install, namespace, wait_until};

/// What outlives a controller: its own namespace, its files, its database role, its address.
pub struct Home {
    /// Landfall's own namespace.
    pub namespace: String,
    /// `landfall.yaml`.
    pub installation: Installation,
    /// Postgres, as a member of `landfall_writer`.
    pub database_url: String,
    /// How the process reaches the API server.
    kubeconfig: Option<PathBuf>,
    /// What is started as runner.
    pub program: PathBuf,
    /// The clock of its controllers.
    pub clock: Clock,
    files: TempDir,
}

/// The test bed's authoritative servers; of all other names none is found, and nobody outside is asked.
fn dns() -> Value {
    json!({"resolvers": [env("PDNS_DNS")], "authorities": [
        {"zone": env("PDNS_ZONE"), "servers": [env("PDNS_DNS")]},
        {"zone": env("KNOT_ZONE"), "servers": [env("KNOT_DNS")]},
    ]})
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
    /// A home for a controller that watches these namespaces. PowerDNS, Knot and AWS of the test bed are permitted, and the
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
        grant(&own, User::Controller, &["landfall-controller-own"]).await;
        let mut value = json!({
            "namespace": own,
            "listen": "127.0.0.1:0",
            "watchNamespaces": watch,
            "allowedEndpoints": [env("PDNS_URL"), env("AWS_ENDPOINT"), format!("dns://{}", env("KNOT_DNS"))],
            "dns": dns(),
            "encryption": {"current": "test", "keys": {"test": key}},
            "engines": engines,
            "engineCliConfig": std::env::var("ENGINE_CLI_CONFIG").ok(),
            "executor": {"type": "local", "workDir": files.path().join("work")},
            "limits": {"leaseSeconds": 5},
        });
        change(&mut value);
        let (_, database_url) = database.login("landfall_writer").await;
        Self {
            namespace: own,
            installation: serde_json::from_value(value).unwrap(),
            database_url,
            kubeconfig: None,
            program: env!("CARGO_BIN_EXE_landfall").into(),
            clock: Clock::system(),
            files,
        }
    }

    /// Starts a controller here.
    pub async fn start(mut self) -> Controller {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = listen(self.installation.listen).await;
        let address = listener.local_addr().unwrap();
        // Runners come back to it.
        self.installation.listen = address;
        let installation = self.installation.clone();
        let cluster = User::Controller.config().await;
        let mut setup = Setup::new(installation, cluster, self.database_url.clone(), listener).unwrap();
        (setup.program, setup.clock) = (self.program.clone(), self.clock.clone());
        let (metrics, shutdown) = (setup.metrics.clone(), CancellationToken::new());
        let task = Some(tokio::spawn(serve(setup, shutdown.clone())));
        Controller { home: self, address, metrics, shutdown, task }
    }
}

/// The program itself as a process of its own. It ends with the test.
pub struct Process {
    /// What outlives it.
    pub home: Home,
    /// Where it serves.
    pub address: SocketAddr,
    child: Child,
}

impl Home {
    /// `landfall.yaml`, as the program reads it.
    pub fn config(&self) -> PathBuf {
        let file = self.files.path().join("landfall.yaml");
        std::fs::write(&file, serde_json::to_vec(&self.installation).unwrap()).unwrap();
        file
    }

    /// What the processes of this home wrote to stderr.
    pub fn log(&self) -> PathBuf {
        self.files.path().join("controller.log")
    }

    /// The program with this home's installation and database in its environment.
    pub fn landfall(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(arguments).env("LANDFALL_CONFIG", self.config()).env("DATABASE_URL", &self.database_url);
        command.env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone().unwrap_or_else(|| User::Controller.kubeconfig().into())
    }

    /// Gives the program a changed copy of this user's kubeconfig.
    pub fn with_kubeconfig(&mut self, user: User, change: impl FnOnce(&mut Kubeconfig)) {
        let mut config = Kubeconfig::read_from(user.kubeconfig()).unwrap();
        change(&mut config);
        let file = self.files.path().join("kubeconfig");
        std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        self.kubeconfig = Some(file);
    }

    /// Starts `landfall controller` here, and waits until it is ready. It logs all that it can.
    pub async fn spawn(self) -> Process {
        let mut process = self.launch().await;
        wait_until(Duration::from_secs(60), "the controller to be ready", async || {
            process.lives();
            process.get("readyz").await.is_some()
        })
        .await;
        process
    }

    /// The same, and waits only until it serves.
    pub async fn launch(mut self) -> Process {
        if self.installation.listen.port() == 0 {
            self.installation.listen = free_address();
        }
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.landfall(&["controller"]);
        let child = command.env("RUST_LOG", "debug").stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let address = self.installation.listen;
        let mut process = Process { home: self, address, child };
        wait_until(Duration::from_secs(60), "the controller to serve", async || {
            process.lives();
            process.get("livez").await.is_some()
        })
        .await;
        process
    }
}

impl Process {
    /// Its pid; panics with its log where it has ended.
    pub fn lives(&mut self) -> u32 {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", std::fs::read_to_string(self.home.log()).unwrap());
        self.child.id().unwrap()
    }

    /// What it serves at this path; `None` where that is no success.
    pub async fn get(&self, path: &str) -> Option<String> {
        let answer = reqwest::get(format!("http://{}/{path}", self.address)).await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    /// Ends it by SIGKILL; its home stays.
    pub async fn kill(mut self) -> Home {
        self.child.kill().await.unwrap();
        self.home
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(mut self) -> (ExitStatus, Home) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap())).expect("it runs");
        kill_process(pid, Signal::TERM).unwrap();
        let status = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await.expect("an end in time");
        (status.unwrap(), self.home)
    }
}

/// A free address outside of the ports that the system gives to whoever asks for none.
pub fn free_address() -> SocketAddr {
    (0..100)
        .map(|_| SocketAddr::from(([127, 0, 0, 1], rand::random_range(10_000..20_000))))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("a free port")
}

/// The address of the controller before, whose tasks may need a moment to let go of it.
async fn listen(address: SocketAddr) -> TcpListener {
    let end = std::time::Instant::now() + Duration::from_secs(60);
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
        tokio::time::timeout(Duration::from_secs(40), task)
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
