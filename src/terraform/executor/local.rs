//! Runs as child processes of the controller: for development, where everybody on the machine trusts everybody.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::Command;
use url::Url;
use uuid::Uuid;

use super::{EngineSettings, LeftState, Recovered};
use crate::access::{Redactor, text};
use crate::api::EngineKind;
use crate::run::protocol::{ProcessIdentity, RunSpec, SecretText};
use crate::run::secrets::redactor;
use crate::terraform::layout::{Layout, absent_is_fine};
use crate::terraform::procfs;
use crate::terraform::spool::{Spool, make_private_folder, write_private};
use crate::terraform::transcript::Transcript;
use crate::{Error, Result};

/// The local executor. It assumes one machine: the controller that asks stands where the runner was started, and
/// the work folder is that machine's own. A holder of another boot is then gone, as all processes of a boot end with it. A
/// controller that came up on another machine would take the first one's runs for dead and break their locks.
#[derive(Debug)]
pub struct Local {
    work_dir: PathBuf,
    api: Url,
    binary: PathBuf,
    engines: EngineSettings,
    children: Arc<Mutex<HashMap<Uuid, Option<ProcessIdentity>>>>,
    /// Since when only the rest of a run was seen, see [`Self::remains`].
    remains: Mutex<HashMap<Uuid, Instant>>,
}

impl Local {
    /// `binary` is this program, `work_dir` the folder below which each run has its own.
    ///
    /// # Errors
    /// Where the work folder cannot be made.
    pub fn new(work_dir: &Path, api: Url, binary: PathBuf, engines: EngineSettings) -> Result<Self> {
        make_private_folder(work_dir)?;
        let work_dir = work_dir.canonicalize().map_err(Error::io(format!("resolve {}", work_dir.display())))?;
        Ok(Self { work_dir, api, binary, engines, children: Arc::default(), remains: Mutex::default() })
    }

    fn layout(&self, run: Uuid) -> Layout {
        Layout::of(&self.work_dir, run)
    }

    /// Starts the runner of a run that is committed. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `EngineNotFound`, or [`Error::Io`]; then nothing runs.
    pub fn start(&self, run: Uuid, engine: EngineKind, token: &SecretText) -> Result<()> {
        let engine = self.engines.binary(engine)?;
        let layout = self.layout(run);
        make_private_folder(&layout.root)?;
        write_private(&layout.token(), token.expose().as_bytes())?;
        let log = open_log(&layout.root.join("runner.log"))?;
        let errors = log.try_clone().map_err(Error::io("share the runner's log"))?;
        let mut command = Command::new(&self.binary);
        command.args(["runner", "--run", &run.to_string(), "--api", self.api.as_str()]);
        command.arg("--dir").arg(&layout.root).arg("--engine-binary").arg(engine);
        if let Some(config) = &self.engines.cli_config {
            command.arg("--cli-config").arg(config);
        }
        command.env_clear().envs(self.engines.environment());
        command.current_dir(&layout.root).stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(false);
        let mut child = command.spawn().map_err(Error::io(format!("start {}", self.binary.display())))?;
        let identity = child.id().and_then(|pid| procfs::identity(i32::try_from(pid).ok()?).ok());
        self.children().insert(run, identity);
        let children = Arc::clone(&self.children);
        let folder = layout.root.clone();
        tokio::spawn(async move {
            // Waited for, or it would stay a zombie and count as a process for ever.
            let status = child.wait().await;
            children.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
            if status.as_ref().is_ok_and(std::process::ExitStatus::success) {
                // Its result is told and its states are acknowledged: nothing here is needed any more.
                let _ = fs::remove_dir_all(&folder);
            }
            match status {
                Ok(status) => tracing::info!(%run, "the runner ended: {status}"),
                Err(error) => tracing::warn!(%run, %error, "the runner ended, and nobody knows how"),
            }
        });
        Ok(())
    }

    fn children(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Option<ProcessIdentity>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this very process started the run's runner and it has not ended.
    pub fn is_child(&self, run: Uuid) -> bool {
        self.children().contains_key(&run)
    }

    /// Who claimed the run on this machine, also when the ledger was not told.
    pub fn claimed_by(&self, run: Uuid) -> Option<ProcessIdentity> {
        self.layout(run).holder_kept()
    }

    /// Whether the runner, its engine or any member of their session lives.
    ///
    /// # Errors
    /// Where `/proc` cannot be read: then nobody knows, and no lock may be broken.
    pub fn lives(&self, identity: &ProcessIdentity) -> Result<bool> {
        procfs::is_held(identity)
    }

    /// For how long nothing was seen of a run but what its engine had started: runner and engine are gone, and nobody hears
    /// what a plugin or a provisioner still does. `None` where one of the two lives, where that is not known, and where nothing
    /// is left.
    ///
    /// # Errors
    /// Where `/proc` cannot be read.
    pub fn remains(&self, run: Uuid) -> Result<Option<Duration>> {
        let layout = self.layout(run);
        let left = match layout.holder_kept().zip(layout.engine_kept()) {
            Some((runner, engine)) => !procfs::lives(&runner)? && !procfs::lives(&engine)? && procfs::is_held(&runner)?,
            None => false,
        };
        let mut remains = self.remains.lock().unwrap_or_else(PoisonError::into_inner);
        if !left {
            remains.remove(&run);
            return Ok(None);
        }
        Ok(Some(remains.entry(run).or_insert_with(Instant::now).elapsed()))
    }

    /// The runner's process: as it claimed the run, else as it was started from here.
    fn runner_of(&self, run: Uuid) -> Option<ProcessIdentity> {
        self.claimed_by(run).or_else(|| self.children().get(&run).cloned().flatten())
    }

    /// Asks the runner to stop gracefully. Nothing happens where it is gone.
    ///
    /// # Errors
    /// Where the signal cannot be sent.
    pub fn terminate(&self, run: Uuid) -> Result<()> {
        self.runner_of(run).map_or(Ok(()), |runner| procfs::signal(&runner, Signal::TERM))
    }

    /// Kills the runner, its engine and every member of their session. Nothing happens where they are gone.
    ///
    /// # Errors
    /// Where a signal cannot be sent, or `/proc` cannot be read.
    pub fn kill(&self, run: Uuid) -> Result<()> {
        let Some(runner) = self.runner_of(run) else { return Ok(()) };
        // The runner first: it must see no end of its engine, and so tell none.
        procfs::signal(&runner, Signal::KILL)?;
        procfs::held_by(&runner)?.iter().try_for_each(|member| procfs::signal(member, Signal::KILL))
    }

    /// What a dead run left. `spec` is needed for the log, which is not shown unredacted.
    ///
    /// # Errors
    /// Where its folder cannot be read.
    pub fn recover(&self, run: Uuid, spec: Option<&RunSpec>) -> Result<Recovered> {
        let mut recovered = Recovered { states: self.states_left(run)?, ..Recovered::default() };
        let known = spec.map(redactor).unwrap_or_default();
        let mut transcript = Transcript::new(self.layout(run), known.clone());
        transcript.finish();
        recovered.resources = self.layout(run).root.exists().then_some(transcript.events);
        if spec.is_some() {
            recovered.log = transcript.log;
            recovered.words = self.last_line(run, &known);
        }
        Ok(recovered)
    }

    /// The last line that a runner wrote which never took its run, and so has none of its secrets. For people.
    pub fn last_words(&self, run: Uuid) -> Option<String> {
        self.last_line(run, &Redactor::default())
    }

    /// Redacted as a whole and then cut: a part of a secret would not be known as one.
    fn last_line(&self, run: Uuid, redactor: &Redactor) -> Option<String> {
        let log = fs::read(self.layout(run).root.join("runner.log")).ok()?;
        let log = redactor.clean(&String::from_utf8_lossy(&log));
        let line = log.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(text::line(line, 300))
    }

    /// States in a run's folder that the ledger may not have, in the order in which they are to be taken in.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn states_left(&self, run: Uuid) -> Result<Vec<LeftState>> {
        let layout = self.layout(run);
        let mut states = Vec::new();
        if layout.spool().exists() {
            let spool = Spool::open(layout.spool())?;
            for number in spool.pending()? {
                states.push(LeftState { path: spool.path(number), bytes: spool.read(number)? });
            }
        }
        match fs::read(layout.errored_state()) {
            Ok(bytes) => states.push(LeftState { path: layout.errored_state(), bytes }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("read errored.tfstate")(e)),
        }
        Ok(states)
    }

    /// Removes a run's folder. Only for a run that is over and whose states the ledger has.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn cleanup(&self, run: Uuid) -> Result<()> {
        let folder = self.layout(run).root;
        absent_is_fine(&folder, fs::remove_dir_all(&folder))
    }

    /// Runs that have a folder.
    ///
    /// # Errors
    /// Where the work folder cannot be read.
    pub fn folders(&self) -> Result<Vec<Uuid>> {
        let entries = fs::read_dir(&self.work_dir).map_err(Error::io(format!("read {}", self.work_dir.display())))?;
        Ok(entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect())
    }
}

fn open_log(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.map_err(Error::io(format!("open {}", path.display())))
}
