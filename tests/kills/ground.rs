//! What the kills stand on: a namespace, a ledger with gates, a controller that is a process, and a world of files.

use std::ops::Deref;
use std::path::PathBuf;

use landfall::ledger::Keyring;
use rustix::process::Signal;
use serde_json::json;
use uuid::Uuid;

use crate::controller::Home;
use crate::database::Database;
use crate::harness::{User, grant, namespace};
use crate::kept::Kept;
use crate::site::{Line, Site, Told};
use crate::{gates, session};

pub(crate) struct Ground {
    pub(crate) process: Kept,
    pub(crate) database: Database,
    site: Site,
    world: tempfile::TempDir,
}

impl Deref for Ground {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Ground {
    pub(crate) async fn new(database: Database, max_runs: usize) -> Self {
        let namespace = namespace().await;
        let home = Home::new(std::slice::from_ref(&namespace), &database, |v| {
            v["limits"]["leaseSeconds"] = json!(4);
            v["executor"]["maxRuns"] = json!(max_runs);
        })
        .await;
        grant(&namespace, User::Alice, &["landfall-approver"]).await;
        gates::build(&mut database.superuser().await).await;
        let keys = Keyring::from_installation(&home.installation.encryption).unwrap();
        Self {
            site: Site::new(&namespace, &database.url, keys).await,
            world: tempfile::tempdir().unwrap(),
            process: Kept::start(home),
            database,
        }
    }

    /// The folder in which a deployment builds.
    pub(crate) fn files(&self, name: &str) -> PathBuf {
        self.world.path().join(name)
    }

    /// A run's folder.
    pub(crate) fn folder(&self, run: Uuid) -> PathBuf {
        self.process.home.installation.executor.work_dir.join(run.to_string())
    }

    /// Lets provisioners end that wait, and those that come.
    pub(crate) fn go(&self, name: &str) {
        std::fs::write(self.files(name).join("go"), "").unwrap();
    }

    /// Makes a deployment, or gives it another turn.
    pub(crate) async fn turn(&self, name: &str, turn: u32) {
        std::fs::create_dir_all(self.files(name)).unwrap();
        let dir = self.files(name).display().to_string();
        let module = MODULE.replace("DIR", &dir);
        self.put(name, json!({"source": {"inline": {"main.tf": module}}, "variables": {"turn": turn}})).await;
    }

    /// The account after a kill, with the last file as the spec says it.
    pub(crate) async fn settle(&self, name: &str, uid: Uuid, turn: u32) {
        let files = self.files(name);
        let last = std::fs::read_to_string(files.join("last")).unwrap_or_default();
        assert_eq!(last, turn.to_string(), "{name}: the last file is not what the spec says");
        let lines = |resource: &str| {
            let text = std::fs::read_to_string(files.join(resource)).unwrap_or_default();
            text.lines().map(Line::read).collect::<Vec<_>>()
        };
        let told = Told::from([("terraform_data.early", lines("early")), ("terraform_data.count", lines("count"))]);
        self.balance(name, uid, &told, 3).await;
    }

    /// Runners that still have a folder with a live process.
    pub(crate) fn runners(&self) -> Vec<i32> {
        let folders = std::fs::read_dir(&self.process.home.installation.executor.work_dir).into_iter().flatten();
        folders.filter_map(|entry| session::runner(&entry.ok()?.path())).collect()
    }
}

impl Drop for Ground {
    /// A test that failed leaves no process behind: runners are patient.
    fn drop(&mut self) {
        for runner in self.runners() {
            session::members(runner).iter().for_each(|m| session::signal(m.pid, Signal::KILL));
        }
    }
}

/// Two creations that tell of themselves, of which the second waits until it may go on; then a file.
const MODULE: &str = r#"
terraform {
  required_providers {
    local = { source = "hashicorp/local" }
  }
}
variable "turn" { type = number }
resource "terraform_data" "early" {
  triggers_replace = var.turn
  provisioner "local-exec" {
    command = "echo $LANDFALL_RUN_ID $LANDFALL_PLAN_DIGEST ${self.id} >> DIR/early"
  }
}
resource "terraform_data" "count" {
  depends_on       = [terraform_data.early]
  triggers_replace = var.turn
  provisioner "local-exec" {
    command = "echo $LANDFALL_RUN_ID $LANDFALL_PLAN_DIGEST ${self.id} >> DIR/count; until [ -e DIR/go ]; do sleep 0.05; done"
  }
}
resource "local_file" "last" {
  depends_on = [terraform_data.count]
  filename   = "DIR/last"
  content    = var.turn
}
"#;
