//! What the kills stand on: a namespace, a ledger with gates, a controller that is a process, and a world of files.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, Patch, PatchParams};
use landfall::api::TerraformDeployment;
use landfall::ledger::{Keyring, Ledger};
use rustix::process::Signal;
use serde_json::json;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::controller::Home;
use crate::database::Database;
use crate::harness::{self, User, grant, namespace};
use crate::kept::Kept;
use crate::{gates, session};

/// Time for a run on a machine with much else to do.
pub(crate) const PLENTY: Duration = Duration::from_secs(180);

pub(crate) struct Ground {
    pub(crate) namespace: String,
    pub(crate) process: Kept,
    pub(crate) database: Database,
    pub(crate) pool: PgPool,
    pub(crate) ledger: Ledger,
    admin: Api<TerraformDeployment>,
    alice: Api<TerraformDeployment>,
    world: tempfile::TempDir,
}

/// What the ledger says of a run.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) phase: String,
    /// Its intent stands without an outcome.
    pub(crate) open: bool,
    /// How many states it wrote.
    pub(crate) states: i64,
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
            pool: PgPool::connect(&database.url).await.unwrap(),
            ledger: Ledger::connect(&database.url, keys).await.unwrap(),
            admin: Api::namespaced(User::Admin.client().await, &namespace),
            alice: Api::namespaced(User::Alice.client().await, &namespace),
            world: tempfile::tempdir().unwrap(),
            process: Kept::start(home),
            namespace,
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
    pub(crate) async fn put(&self, name: &str, turn: u32) {
        std::fs::create_dir_all(self.files(name)).unwrap();
        let dir = self.files(name).display().to_string();
        let spec = json!({"source": {"inline": {"main.tf": MODULE.replace("DIR", &dir)}}, "variables": {"turn": turn}});
        let object = harness::deployment(name, spec);
        let params = PatchParams::apply("test").force();
        self.admin.patch(name, &params, &Patch::Apply(&object)).await.unwrap();
    }

    pub(crate) async fn get(&self, name: &str) -> TerraformDeployment {
        self.admin.get(name).await.unwrap()
    }

    pub(crate) async fn approve(&self, name: &str, digest: &str) {
        let annotations = json!({"landfall.dev/approve": digest, "landfall.dev/command-by": "alice"});
        let patch = json!({"metadata": {"annotations": annotations}});
        self.alice.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Deletes it and waits until it is gone; what it built stays.
    pub(crate) async fn delete(&self, name: &str) {
        self.admin.delete(name, &DeleteParams::default()).await.unwrap();
        let gone = async || self.admin.get_opt(name).await.unwrap().is_none();
        harness::wait_until(PLENTY, "the deployment to be gone", gone).await;
    }

    /// Waits until `Ready` of the current generation has one of these reasons.
    pub(crate) async fn stands(&self, name: &str, reasons: &[&str]) -> TerraformDeployment {
        let end = Instant::now() + PLENTY;
        loop {
            let object = self.get(name).await;
            if reasons.contains(&reason(&object).as_str()) {
                return object;
            }
            assert!(Instant::now() < end, "{name}: waited for {reasons:?}: {:#?}", object.status);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The newest run of a deployment.
    pub(crate) async fn newest(&self, name: &str) -> Option<Seen> {
        let row = sqlx::query(
            "SELECT r.run_id, r.kind, r.phase,
               EXISTS (SELECT FROM intents i WHERE i.intent_id = r.intent_id AND i.outcome IS NULL) AS open,
               (SELECT count(*) FROM terraform_states s WHERE s.run_id = r.run_id) AS states
             FROM terraform_runs r WHERE r.namespace = $1 AND r.name = $2 ORDER BY r.created_at DESC LIMIT 1",
        )
        .bind(&self.namespace)
        .bind(name)
        .fetch_optional(&self.pool)
        .await
        .unwrap()?;
        Some(Seen {
            id: row.get("run_id"),
            kind: row.get("kind"),
            phase: row.get("phase"),
            open: row.get("open"),
            states: row.get("states"),
        })
    }

    /// A number from the ledger.
    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
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

/// Why `Ready` is as it is, of whatever generation.
pub(crate) fn ready(object: &TerraformDeployment) -> String {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|c| c.type_ == "Ready").map(|c| c.reason.clone()).collect()
}

/// Why `Ready` of the current generation is as it is.
pub(crate) fn reason(object: &TerraformDeployment) -> String {
    let seen = object.status.as_ref().and_then(|status| status.observed_generation);
    if seen == object.metadata.generation { ready(object) } else { String::new() }
}

/// The current plan's digest.
pub(crate) fn digest(object: &TerraformDeployment) -> String {
    object.status.as_ref().and_then(|s| s.plan.as_ref()).map(|p| p.digest.clone()).unwrap_or_default()
}
