//! `landfall controller` as a process of its own, started again whenever it has ended, as a kubelet would. The crate that
//! includes this includes `mod.rs` as `harness`, `database.rs` as `database` and `controller.rs` as `controller`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::process::Child;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;

use crate::controller::{Home, free_address};
use crate::harness::User;

/// A controller that is kept running.
pub struct Kept {
    /// What outlives each start.
    pub home: Arc<Home>,
    life: Arc<Mutex<Life>>,
    keeper: JoinHandle<()>,
}

struct Life {
    home: Arc<Home>,
    /// Of the bed of the test's task, which the keeper's is not.
    kubeconfig: String,
    child: Option<Child>,
    starts: u32,
}

/// The test's hand on the process: while it is held, nobody else stops it and nobody starts it again.
pub struct Hand(OwnedMutexGuard<Life>);

impl Kept {
    /// Starts it in this home, with an address that it has again after each start.
    pub fn start(mut home: Home) -> Self {
        home.installation.listen = free_address();
        let home = Arc::new(home);
        let life = Life { home: home.clone(), kubeconfig: User::Controller.kubeconfig(), child: None, starts: 0 };
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
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
        if std::thread::panicking() {
            let text = std::fs::read_to_string(self.home.log()).unwrap_or_default();
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
        let log = std::fs::File::options().create(true).append(true).open(self.home.log()).unwrap();
        let mut command = self.home.landfall(&["controller"]);
        command.env("KUBECONFIG", &self.kubeconfig).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        self.starts += 1;
    }
}

impl Hand {
    /// Its pid.
    pub fn pid(&self) -> Pid {
        let id = self.0.child.as_ref().and_then(Child::id).expect("it runs");
        Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    /// Kills it; it is started again when the hand is gone.
    pub async fn kill(&mut self) {
        self.0.child.take().expect("it runs").kill().await.unwrap();
    }
}
