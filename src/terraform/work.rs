//! What a runner does between taking a run and telling its result.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use futures::{join, try_join};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::backend::Loopback;
use super::client::{CallError, Client};
use super::engine::{self, Ended, Engine, How, Patience};
use super::events::Findings;
use super::layout::{Layout, Step};
use super::lock_file::without_misfits;
use super::snapshot;
use super::source::{LOCK_FILE, OVERRIDE_FILE};
use super::spool::write_private;
use super::verdict::{self, Failure, Stop};
use crate::Error;
use crate::access::{Redactor, text};
use crate::api::Reason;
use crate::run::protocol::{Artifact, Limits, Progress, RunKind, RunPhase, RunResult, RunSpec};
use crate::run::state::refusal;

/// A message in a condition is no longer than this, bytes.
const MESSAGE_LIMIT: usize = 2048;
/// How long the engine may take to say whether the module is valid.
const VALIDATION: Duration = Duration::from_secs(60);
/// How long an engine may take to stop that has changed nothing, seconds.
const SHORT_GRACE: u64 = 30;

type Done<T> = Result<T, Failure>;

/// Where the provider lock file comes from, if there is one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    /// From the module, or there is none.
    Given,
    /// From the last apply.
    Carried,
    /// From the plan that is applied: it may not change.
    Planned,
}

/// All that the work needs.
pub(super) struct Work {
    pub(super) spec: RunSpec,
    pub(super) client: Client,
    pub(super) layout: Layout,
    pub(super) engine: Engine,
    pub(super) loopback: Loopback,
    pub(super) redactor: Redactor,
    pub(super) stop: watch::Receiver<Option<Stop>>,
}

impl Work {
    /// Does the run, and says how it ended.
    pub(super) async fn run(&mut self) -> RunResult {
        let done = match self.spec.kind {
            RunKind::Plan => self.plan().await,
            RunKind::Apply => self.apply().await,
        };
        match done {
            Ok(()) => RunResult { phase: RunPhase::Succeeded, reason: None, message: None, exit_code: Some(0) },
            Err(failure) => self.failed(failure),
        }
    }

    /// A failure as a result: redacted, then cut.
    pub(super) fn failed(&self, failure: Failure) -> RunResult {
        RunResult {
            phase: failure.phase,
            reason: Some(failure.reason),
            message: Some(text::cap(&text::plain(&self.redactor.clean(&failure.message)), MESSAGE_LIMIT)),
            exit_code: failure.code,
        }
    }

    async fn plan(&mut self) -> Done<()> {
        let ((), snapshot, carried) = try_join!(
            self.enter(RunPhase::Init),
            self.artifact(Artifact::Snapshot),
            self.artifact(Artifact::LockFile)
        )?;
        self.unpack(snapshot)?;
        let lock = self.layout.module().join(LOCK_FILE);
        let mut locks = Locks::Given;
        if let Some(carried) = carried.filter(|_| !lock.exists()) {
            write_private(&lock, &carried)?;
            locks = Locks::Carried;
        }
        self.init(locks).await?;
        let snapshot = pack(&self.layout)?;
        let lock = fs::read(&lock).ok();
        self.enter(RunPhase::Plan).await?;
        self.make_plan().await?;
        let plan = fs::read(self.layout.plan()).map_err(Error::io("read the plan file"))?;
        let made = [(Artifact::Snapshot, Some(snapshot)), (Artifact::LockFile, lock), (Artifact::Plan, Some(plan))];
        // Stored while the engine tells what it has planned. Neither leaves the other in the lurch: the engine is waited for.
        let (json, stored) = join!(self.show(), self.store(made));
        stored?;
        self.store([(Artifact::PlanJson, Some(json?))]).await
    }

    /// Gives the ledger those files that are there, one after the other: they may be large.
    async fn store(&self, files: impl IntoIterator<Item = (Artifact, Option<Vec<u8>>)>) -> Done<()> {
        let found = files.into_iter().filter_map(|(artifact, bytes)| Some((artifact, bytes?)));
        for (artifact, bytes) in found {
            self.call(|c, t| async move { c.put_artifact(artifact, bytes, t).await }).await?;
        }
        Ok(())
    }

    async fn apply(&mut self) -> Done<()> {
        let ((), snapshot, lock, plan) = try_join!(
            self.enter(RunPhase::Init),
            self.artifact(Artifact::Snapshot),
            self.artifact(Artifact::LockFile),
            self.artifact(Artifact::Plan)
        )?;
        self.unpack(snapshot)?;
        if let Some(lock) = lock {
            write_private(&self.layout.module().join(LOCK_FILE), &lock)?;
        }
        let plan =
            plan.ok_or_else(|| Failure::new(Reason::IntegrityViolation, "the plan file is gone: make a new plan"))?;
        write_private(&self.layout.plan(), &plan)?;
        self.init(Locks::Planned).await?;
        let _ = fs::remove_file(self.layout.variables());
        // From the answer on the ledger takes it that the world may have changed; without one nothing is started.
        self.enter(RunPhase::Apply).await?;
        let arguments = engine::apply_arguments(&self.layout.plan().display().to_string());
        let ended = self.step(Step::Apply, &arguments).await;
        if let Ok(state) = fs::read(self.layout.errored_state()) {
            self.loopback.take(&state)?;
        }
        let ended = ended?;
        let mut findings = Findings::stopped(&self.layout.output(Step::Apply), ended.cut);
        findings.broken_off.retain(|address| !self.loopback.knows(address));
        self.judge(Step::Apply, &ended, findings)
    }

    /// Puts the module into place, with our override and the variables beside it.
    fn unpack(&self, snapshot: Option<Bytes>) -> Done<()> {
        let snapshot =
            snapshot.ok_or_else(|| Failure::new(Reason::IntegrityViolation, "the module's snapshot is gone"))?;
        snapshot::unpack(&snapshot, &self.layout.module())?;
        write_private(&self.layout.module().join(OVERRIDE_FILE), override_file(&self.spec)?.as_bytes())?;
        if !self.spec.variables.is_empty() {
            write_private(&self.layout.variables(), variables_file(&self.spec)?.as_bytes())?;
        }
        Ok(())
    }

    fn variables(&self) -> Option<String> {
        (!self.spec.variables.is_empty()).then(|| self.layout.variables().display().to_string())
    }

    /// `init`, and the proof that the state stays with us.
    async fn init(&mut self, locks: Locks) -> Done<()> {
        let arguments = engine::init_arguments(self.variables().as_deref(), locks == Locks::Planned);
        let mut ended = self.step(Step::Init, &arguments).await?;
        let mut from = 0;
        if locks == Locks::Carried && ended.how.code().is_some_and(|code| code != 0) && self.unlock_misfits()? {
            from = fs::metadata(self.layout.output(Step::Init)).map_or(0, |file| file.len());
            ended = self.step(Step::Init, &arguments).await?;
        }
        self.judge(Step::Init, &ended, Findings::since(&self.layout.output(Step::Init), from))?;
        check_backend(&self.layout)
    }

    /// Takes out of the carried lock file what the module no longer admits; `false` where there is nothing of that.
    fn unlock_misfits(&self) -> Done<bool> {
        let path = self.layout.module().join(LOCK_FILE);
        let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let Some(rest) = without_misfits(&read(&path), &read(&self.layout.output(Step::Init))) else {
            return Ok(false);
        };
        write_private(&path, rest.as_bytes())?;
        Ok(true)
    }

    async fn make_plan(&mut self) -> Done<()> {
        let plan = self.layout.plan().display().to_string();
        let arguments = engine::plan_arguments(self.variables().as_deref(), &plan, self.spec.change);
        let ended = self.step(Step::Plan, &arguments).await;
        let _ = fs::remove_file(self.layout.variables());
        let ended = ended?;
        let mut findings = self.findings(Step::Plan);
        let undeclared = findings.undeclared.take();
        findings.unfit = matches!(ended, Ended { how: How::Code(1..), stopped: None, .. }) && self.is_unfit().await?;
        self.judge(Step::Plan, &ended, findings)?;
        match undeclared {
            Some(words) => Err(Failure::new(Reason::SourceInvalid, words)),
            None => Ok(()),
        }
    }

    /// Whether the module is wrong whatever its variables are and whatever stands in the world.
    async fn is_unfit(&self) -> Done<bool> {
        #[derive(Deserialize)]
        struct Validation {
            valid: bool,
        }
        let path = self.layout.validation();
        self.engine.ask(&["validate", "-json"], &path, VALIDATION).await?;
        let answer =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Validation>(engine::document(&text)?).ok());
        Ok(answer.is_some_and(|answer| !answer.valid))
    }

    async fn show(&self) -> Done<Vec<u8>> {
        let path = self.layout.plan_json();
        let plan = self.layout.plan().display().to_string();
        let limit = Duration::from_secs(self.spec.limits.plan);
        let code = self.engine.ask(&["show", "-json", &plan], &path, limit).await?;
        if code != Some(0) {
            let words =
                Findings::of(&self.layout.aside()).error.unwrap_or_else(|| "show -json of the plan failed".into());
            return Err(Failure { code, ..Failure::new(Reason::PlanFailed, words) });
        }
        let said = fs::read(&path).map_err(Error::io("read the plan's JSON"))?;
        engine::document(&said).map(<[u8]>::to_vec).ok_or_else(|| {
            let words = text::line(&String::from_utf8_lossy(&said), 300);
            Failure { code, ..Failure::new(Reason::PlanFailed, format!("show -json gave no JSON: {words}")) }
        })
    }

    async fn step(&mut self, step: Step, arguments: &[String]) -> Done<Ended> {
        let Limits { init, plan, apply, grace } = self.spec.limits;
        let (run, grace) = match step {
            Step::Init => (init, grace.min(SHORT_GRACE)),
            Step::Plan => (plan, grace.min(SHORT_GRACE)),
            Step::Apply => (apply, grace),
        };
        let limits = Patience { run: Duration::from_secs(run), grace: Duration::from_secs(grace) };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(self.engine.run(&arguments, &self.layout.output(step), limits, &mut self.stop).await?)
    }

    fn findings(&self, step: Step) -> Findings {
        Findings::of(&self.layout.output(step))
    }

    fn judge(&self, step: Step, ended: &Ended, findings: Findings) -> Done<()> {
        let stop = self.stop.borrow().clone();
        let facts = verdict::Facts {
            step,
            change: self.spec.change,
            limits: self.spec.limits,
            unknown: findings.unknown(),
            words: findings.error,
            unfit: findings.unfit && step != Step::Apply,
            trouble: self.loopback.trouble(),
            stop: stop.as_ref(),
        };
        verdict::judge(ended, &facts)
    }

    /// The run's way was cut short by a stop, between two commands of the engine.
    fn stopped(&self) -> Failure {
        let step = if self.spec.kind == RunKind::Plan { Step::Plan } else { Step::Apply };
        let otherwise = verdict::reason_of(step, self.spec.change);
        match &*self.stop.borrow() {
            Some(stop) => Failure::stopped(stop, otherwise),
            None => Failure::new(otherwise, "stopped"),
        }
    }

    async fn enter(&self, phase: RunPhase) -> Done<()> {
        let progress = Progress { phase };
        self.call(|c, t| async move { c.phase(&progress, t).await }).await
    }

    async fn artifact(&self, artifact: Artifact) -> Done<Option<Bytes>> {
        self.call(|c, t| async move { c.artifact(artifact, t).await }).await
    }

    /// One call, repeated with patience, or until a stop is asked for.
    async fn call<T, F>(&self, call: impl FnOnce(Client, Instant) -> F) -> Done<T>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let until = Instant::now() + Duration::from_secs(self.spec.limits.patience());
        let answer = call(self.client.clone(), until);
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            Ok(_) = stop.wait_for(Option::is_some) => Err(self.stopped()),
            answer = answer => answer.map_err(|error| match error.status().map(|s| s.as_u16()) {
                Some(412) => Failure::stopped(&Stop::person(), verdict::reason_of(Step::Apply, self.spec.change)),
                Some(410) => Failure::new(Reason::Interrupted, format!("the run was given up: {error}")),
                Some(_) => Failure::new(Reason::IntegrityViolation, error.to_string()),
                None => Failure::new(Reason::LedgerUnavailable, error.to_string()),
            }),
        }
    }
}

/// The module as it stands after `init`: with fetched modules, without providers, values, and what is ours.
fn pack(layout: &Layout) -> Result<Vec<u8>, Error> {
    snapshot::pack_folder(&layout.module(), &|path| {
        let mut parts = path.components().map(|c| c.as_os_str());
        match (parts.next(), parts.next()) {
            (Some(first), Some(second)) if first == ".terraform" => second == "modules" && !path.ends_with(".git"),
            (Some(first), None) => first != OVERRIDE_FILE && first != LOCK_FILE,
            _ => true,
        }
    })
}

/// The engine's own note of where the state is. A setting in it came from a file, and only a tenant could have written that.
fn check_backend(layout: &Layout) -> Done<()> {
    #[derive(Deserialize)]
    struct Note {
        backend: Option<Backend>,
    }
    #[derive(Deserialize)]
    struct Backend {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        config: serde_json::Map<String, serde_json::Value>,
    }
    let path = layout.module().join(".terraform/terraform.tfstate");
    let note = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
    let elsewhere = |what: String| {
        let message =
            format!("the module keeps its state elsewhere ({what}): remove every `backend` and `cloud` block");
        Err(Failure::new(Reason::SourceInvalid, message))
    };
    match note.and_then(|n| n.backend) {
        None => elsewhere("the engine chose no backend".into()),
        Some(backend) if backend.kind != "http" => elsewhere(format!("backend {}", backend.kind)),
        Some(backend) => match backend.config.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => elsewhere(format!("backend http sets {name}")),
            None => Ok(()),
        },
    }
}

/// Our override: the backend, and which variables must not be shown.
fn override_file(spec: &RunSpec) -> Done<String> {
    let variables = spec.sensitive.iter().filter(|name| spec.variables.contains_key(*name));
    let variables: serde_json::Map<_, _> =
        variables.map(|name| (name.clone(), serde_json::json!({"sensitive": true}))).collect();
    let mut file = serde_json::json!({"terraform": {"backend": {"http": {}}}});
    if !variables.is_empty()
        && let Some(members) = file.as_object_mut()
    {
        members.insert("variable".into(), variables.into());
    }
    Ok(file.to_string())
}

/// Values go in as the JSON text that was digested, never through a number type that could round them.
fn variables_file(spec: &RunSpec) -> Done<zeroize::Zeroizing<String>> {
    let mut file = zeroize::Zeroizing::new(String::from("{"));
    for (name, value) in &spec.variables {
        let text = value.expose();
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|_| Failure::new(Reason::SourceInvalid, format!("the value of variable {name} is not JSON")))?;
        let name = serde_json::to_string(name).map_err(|e| Error::Integrity(e.to_string()))?;
        let comma = if file.len() > 1 { "," } else { "" };
        file.push_str(&format!("{comma}{name}:{text}"));
    }
    file.push('}');
    Ok(file)
}

/// A failure that came after the work: the ledger would not take what the engine wrote.
pub(super) fn state_refused(run: Uuid, which: &str) -> Failure {
    let message = refusal(run, which);
    Failure { phase: RunPhase::Interrupted, ..Failure::new(Reason::StateRegressed, message) }
}
