//! `landfall controller` as a process of its own, started again whenever it has ended, as a kubelet would. The crate that
//! includes this includes `mod.rs` as `harness`, `database.rs` as `database` and `controller.rs` as `controller`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;

use crate::controller::Home;
use crate::harness::{User, wait_until};

/// A controller that is kept running.
pub struct Process {
    /// What outlives each start.
    pub home: Home,
    life: Arc<Mutex<Life>>,
    keeper: JoinHandle<()>,
}

struct Life {
    config: PathBuf,
    log: PathBuf,
    kubeconfig: String,
    database_url: String,
    child: Option<Child>,
    starts: u32,
}

/// The test's hand on the process: while it is held, nobody else stops it and nobody starts it again.
pub struct Hand(OwnedMutexGuard<Life>);

impl Process {
    /// Starts it in this home, with an address that it has again after each start.
    pub fn start(mut home: Home) -> Self {
        home.installation.listen = free_address();
        let folder = home.installation.executor.work_dir.parent().unwrap().to_owned();
        let config = folder.join("landfall.yaml");
        std::fs::write(&config, serde_json::to_vec(&home.installation).unwrap()).unwrap();
        let life = Life {
            config,
            log: folder.join("controller.log"),
            kubeconfig: User::Controller.kubeconfig(),
            database_url: home.database_url.clone(),
            child: None,
            starts: 0,
        };
        let life = Arc::new(Mutex::new(life));
        let keeper = tokio::spawn(keep(life.clone()));
        Self { home, life, keeper }
    }

    /// Takes it in hand; it runs then.
    pub async fn hand(&self) -> Hand {
        let mut life = self.life.clone().lock_owned().await;
        life.see_to_it();
        Hand(life)
    }

    /// How often it was started.
    pub async fn starts(&self) -> u32 {
        self.life.lock().await.starts
    }

    /// Ends it gracefully.
    pub async fn end(self) {
        self.keeper.abort();
        let mut life = self.life.lock().await;
        let Some(mut child) = life.child.take() else { return };
        kill_process(pid_of(&child), Signal::TERM).unwrap();
        let mut code = None;
        wait_until(Duration::from_secs(30), "the controller's end", async || {
            code = child.try_wait().unwrap();
            code.is_some()
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.keeper.abort();
        if std::thread::panicking()
            && let Ok(life) = self.life.try_lock()
        {
            let text = std::fs::read_to_string(&life.log).unwrap_or_default();
            let last: Vec<_> = text.lines().rev().take(60).collect();
            eprintln!("the controller's last words:");
            last.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

async fn keep(life: Arc<Mutex<Life>>) {
    loop {
        life.lock().await.see_to_it();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Life {
    fn see_to_it(&mut self) {
        if self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none()) {
            return;
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.arg("controller").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.env("LANDFALL_CONFIG", &self.config).env("KUBECONFIG", &self.kubeconfig);
        command.env("DATABASE_URL", &self.database_url);
        self.child = Some(command.spawn().unwrap());
        self.starts += 1;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Hand {
    /// Its pid.
    pub fn pid(&self) -> Pid {
        pid_of(self.0.child.as_ref().expect("it runs"))
    }

    /// Kills it; it is started again when the hand is gone.
    pub fn kill(&mut self) {
        let mut child = self.0.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// Below the ports that the system hands out for outgoing connections: nobody takes it while the process is away.
fn free_address() -> SocketAddr {
    loop {
        let port = 10_000 + rand::random::<u16>() % 10_000;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().unwrap();
        }
    }
}
