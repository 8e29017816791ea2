//! A run API, an executor, and the world that a module changes: a file to which a provisioner appends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use landfall::api::{Change, EngineKind};
use landfall::run::protocol::{Limits, ResourceAction, RunKind, RunPhase, RunResult, RunSpec, SecretText};
use landfall::terraform::executor::{EngineSettings, Local};
use landfall::terraform::source::Module;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

use crate::fake::Fake;
use crate::harness::env;

/// Two resources: the first tells the world which run and plan made it, the second takes its time.
pub const MODULE: &str = r#"
variable "world" {}
variable "pause" {
  default = 0
}
resource "terraform_data" "first" {
  input = "one"
  provisioner "local-exec" {
    command = "echo $LANDFALL_RUN_ID $LANDFALL_PLAN_DIGEST >> '${var.world}'"
  }
}
resource "terraform_data" "second" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "sleep ${var.pause}; true"
  }
}
output "first" {
  value = terraform_data.first.output
}
"#;

pub struct World {
    pub api: Fake,
    pub local: Local,
    pub folder: TempDir,
    pub engine: EngineKind,
    pub url: url::Url,
}

/// The engines that this machine has.
pub fn engines() -> Vec<EngineKind> {
    let mut engines = vec![EngineKind::OpenTofu];
    if std::env::var_os("TERRAFORM").is_some_and(|path| !path.is_empty()) {
        engines.push(EngineKind::Terraform);
    } else {
        eprintln!("skipped: TERRAFORM is not set, so only OpenTofu is tested");
    }
    engines
}

fn binary(engine: EngineKind) -> PathBuf {
    env(if engine == EngineKind::Terraform { "TERRAFORM" } else { "TOFU" }).into()
}

impl World {
    pub async fn new(engine: EngineKind) -> Self {
        Self::with_engine_at(engine, |_| binary(engine)).await
    }

    /// A shell script in front of OpenTofu; `{engine}` in it is the real one.
    pub async fn with_shim(script: &str) -> Self {
        let engine = EngineKind::OpenTofu;
        Self::with_engine_at(engine, |folder| {
            let path = folder.join("shim");
            let script = script.replace("{engine}", &binary(engine).display().to_string());
            let script = script.replace("{folder}", &folder.display().to_string());
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        })
        .await
    }

    async fn with_engine_at(engine: EngineKind, at: impl FnOnce(&Path) -> PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (api, url) = Fake::serve().await;
        let engines = BTreeMap::from([(engine, at(folder.path()))]);
        let (config, binary) = (Some(env("ENGINE_CLI_CONFIG").into()), env!("CARGO_BIN_EXE_landfall").into());
        let engines = EngineSettings { binaries: engines, cli_config: config, ..EngineSettings::default() };
        let local = Local::new(&folder.path().join("runs"), url.clone(), binary, engines).unwrap();
        Self { api, local, folder, engine, url }
    }

    pub fn changes(&self) -> PathBuf {
        self.folder.path().join("world")
    }

    /// What was done to the world, a line each.
    pub fn done(&self) -> Vec<String> {
        std::fs::read_to_string(self.changes()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    pub fn run_folder(&self, run: Uuid) -> PathBuf {
        self.folder.path().join("runs").join(run.to_string())
    }

    pub fn spec(&self, kind: RunKind) -> RunSpec {
        let world = serde_json::to_string(&self.changes()).unwrap();
        RunSpec {
            id: Uuid::now_v7(),
            kind,
            change: Change::Apply,
            engine: self.engine,
            plan_digest: (kind == RunKind::Apply).then(|| "sha256:of-the-plan".to_owned()),
            environment: BTreeMap::new(),
            variables: BTreeMap::from([("world".to_owned(), SecretText::new(world))]),
            sensitive: BTreeSet::new(),
            hidden: Vec::new(),
            limits: Limits { init: 60, plan: 60, apply: 120, grace: 60 },
        }
    }

    pub fn start(&self, spec: &RunSpec, artifacts: HashMap<String, Vec<u8>>) -> Uuid {
        let token = self.api.create(spec.clone(), artifacts);
        self.local.start(spec.id, self.engine, &token).unwrap();
        spec.id
    }

    /// Starts a plan of one or more files.
    pub fn plan(&self, files: &[(&str, &str)], change: impl FnOnce(&mut RunSpec)) -> Uuid {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        let snapshot = Module { files }.to_tar().unwrap();
        let mut spec = self.spec(RunKind::Plan);
        change(&mut spec);
        self.start(&spec, HashMap::from([("snapshot".to_owned(), snapshot)]))
    }

    /// Starts the apply of a plan.
    pub fn apply(&self, plan: Uuid, change: impl FnOnce(&mut RunSpec)) -> Uuid {
        let artifacts = self.api.look(plan, |run| run.artifacts.clone());
        let mut spec = self.spec(RunKind::Apply);
        spec.change = self.api.look(plan, |run| run.spec.change);
        change(&mut spec);
        self.start(&spec, artifacts)
    }

    pub async fn planned(&self, pause: u32) -> Uuid {
        let plan = self.plan(&[("main.tf", MODULE)], |spec| {
            spec.variables.insert("pause".into(), SecretText::new(pause.to_string()));
        });
        self.succeeded(plan).await;
        plan
    }

    /// Waits for the runner's end; its result, if it told one.
    pub async fn ended(&self, run: Uuid) -> Option<RunResult> {
        until("the runner ends", || !self.local.is_child(run)).await;
        self.api.look(run, |run| run.result.clone())
    }

    pub async fn succeeded(&self, run: Uuid) -> RunResult {
        let result = self.ended(run).await.unwrap_or_else(|| panic!("no result: {}", self.runner_log(run)));
        assert_eq!(result.phase, RunPhase::Succeeded, "{result:?}");
        result
    }

    pub async fn not_succeeded(&self, run: Uuid) -> RunResult {
        let result = self.ended(run).await.unwrap_or_else(|| panic!("no result: {}", self.runner_log(run)));
        assert_ne!(result.phase, RunPhase::Succeeded, "{result:?}");
        result
    }

    pub fn runner_log(&self, run: Uuid) -> String {
        std::fs::read_to_string(self.run_folder(run).join("runner.log")).unwrap_or_default()
    }

    /// Waits until the apply is under way: the first resource is there, the second is being made.
    pub async fn in_mid_apply(&self, run: Uuid) {
        until("the apply is under way", || {
            let events = self.api.look(run, |run| run.resources.clone());
            events.iter().any(|e| e.address == "terraform_data.second" && e.what == ResourceAction::CreateStarted)
        })
        .await;
    }

    pub async fn gone(&self, run: Uuid) {
        let holder = self.local.claimed_by(run).unwrap();
        until("the run's session is empty", || !self.local.lives(&holder).unwrap()).await;
    }

    pub fn state(&self) -> serde_json::Value {
        serde_json::from_slice(self.api.ledger().states.last().expect("no state")).unwrap()
    }
}

/// A test that failed leaves no runner behind that would wait for its run API for a day.
impl Drop for World {
    fn drop(&mut self) {
        for holder in self.local.folders().unwrap_or_default().into_iter().filter_map(|run| self.local.claimed_by(run))
        {
            // A number that another process has by now is not ours: its executable would be another.
            let program = std::fs::read_link(format!("/proc/{}/exe", holder.pid)).unwrap_or_default();
            let ours = program == Path::new(env!("CARGO_BIN_EXE_landfall"));
            if let (true, Ok(true), Some(pid)) = (ours, self.local.lives(&holder), Pid::from_raw(holder.pid)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Waits for a condition, 90 s at most.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
