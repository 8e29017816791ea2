//! Where runs are executed: as child processes of the controller, or as Jobs of the cluster. What the kind asks is the same.

mod job;
mod local;
mod placement;
mod pod;
mod settings;
mod watched;

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use uuid::Uuid;

use crate::api::{EngineKind, Reason};
use crate::run::protocol::{Holder, ResourceEvent, RunSpec, SecretText};
use crate::{Error, Result};

pub use job::Jobs;
pub use local::Local;
pub use placement::Placement;
pub use pod::{job_name, selector};
pub use settings::EngineSettings;
pub use watched::Tell;

/// The executor of an installation.
#[derive(Debug)]
pub enum Executor {
    /// Child processes.
    Local(Box<Local>),
    /// Jobs.
    Job(Box<Jobs>),
}

/// A committed run that is to be started.
pub struct Start<'a> {
    /// The run.
    pub run: Uuid,
    /// Its engine.
    pub engine: EngineKind,
    /// Namespace and name of its deployment.
    pub deployment: (&'a str, &'a str),
    /// How its pod stands.
    pub placement: &'a Placement,
}

/// What is to be done where a pod does not begin.
pub const NOT_STARTED: &str =
    "; spec.runner and executor.job of landfall.yaml say what its pod asks for, and `landfall cancel` gives the run up";

/// What lives of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Nothing, or there has been nothing yet.
    Absent,
    /// Its runner.
    Alive {
        /// What it has not delivered is nowhere else, and may still come: it is in a pod that nobody has given up. A folder
        /// outlives its runner, and [`Executor::recover`] finds it there.
        holds: bool,
    },
    /// What its engine had started, for so long without runner and engine.
    Remains(Duration),
    /// What stands beside its runner in its pod; the engine has ended with the runner's container.
    Shell {
        /// For how long the pod should have been gone, where it was told to go.
        late: Option<SignedDuration>,
    },
}

/// What is in the way of a runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hitch {
    /// In words.
    pub why: String,
    /// Nothing is on its way: the pod itself says so now, or there is none.
    pub stuck: bool,
}

/// What a dead run left behind, in the order in which it is to be taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// States that the ledger may not have: the spooled ones first, then the engine's `errored.tfstate`.
    pub states: Vec<LeftState>,
    /// Every resource event of the run, from the first; none where they went with its pod or its folder.
    pub resources: Option<Vec<ResourceEvent>>,
    /// The whole log, redacted; empty where the run's secrets are not known.
    pub log: Vec<u8>,
    /// The last that is known of its runner, redacted; none where the run's secrets are not known.
    pub words: Option<String>,
}

/// A state that the ledger may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftState {
    /// Where it is kept.
    pub path: PathBuf,
    /// The state.
    pub bytes: Vec<u8>,
}

impl Executor {
    /// Starts the runner of a run that is committed. Must be called within a tokio runtime. `token` is the run's; a runner in a
    /// pod makes one of its own.
    ///
    /// # Errors
    /// `EngineNotFound`, or what the machine or the API server says; then nothing runs, unless a Job does that a former call made.
    pub async fn start(&self, start: &Start<'_>, token: &SecretText) -> Result<()> {
        match self {
            Self::Local(local) => local.start(start.run, start.engine, token),
            Self::Job(jobs) => jobs.start(start).await,
        }
    }

    /// Whether what was started of a run has not begun, and would be made otherwise now: [`Executor::start`] makes it anew then.
    /// Where nobody can tell, it stays.
    pub async fn is_outdated(&self, start: &Start<'_>) -> bool {
        let Self::Job(jobs) = self else { return false };
        jobs.is_outdated(start).await.unwrap_or_else(|error| {
            tracing::warn!(run = %start.run, %error, "nobody can tell whether a run that does not begin would be made otherwise");
            false
        })
    }

    /// What lives of a run that this holder holds, or that nobody has claimed yet.
    ///
    /// # Errors
    /// Where nobody can tell: then no lock may be broken.
    pub async fn liveness(&self, run: Uuid, holder: Option<&Holder>) -> Result<Liveness> {
        let alive = |lives| if lives { Liveness::Alive { holds: false } } else { Liveness::Absent };
        match (self, holder) {
            (Self::Local(local), None) => Ok(alive(local.is_child(run))),
            (Self::Local(local), Some(Holder::Process(process))) => match local.remains(run)? {
                Some(alone) => Ok(Liveness::Remains(alone)),
                None => Ok(alive(local.lives(process)?)),
            },
            (Self::Job(jobs), None) => Ok(alive(jobs.is_under_way(run).await?)),
            (Self::Job(jobs), Some(Holder::Pod(pod))) => jobs.liveness(pod).await,
            (Self::Local(_), Some(Holder::Pod(_))) => Err(begun_elsewhere(run, "job")),
            (Self::Job(_), Some(Holder::Process(_))) => Err(begun_elsewhere(run, "local")),
        }
    }

    /// Whether anything lives of a run that is over, also when the ledger was not told who held it. A Job whose run nobody holds
    /// can take it no more, and what stands beside a runner that has ended goes with its Job.
    ///
    /// # Errors
    /// Where nobody can tell.
    pub async fn lingers(&self, run: Uuid, holder: Option<&Holder>) -> Result<bool> {
        match (self, holder) {
            (Self::Local(local), _) => {
                let claimed = local.claimed_by(run).map_or(Ok(false), |process| local.lives(&process))?;
                Ok(claimed || local.is_child(run))
            }
            (Self::Job(jobs), Some(Holder::Pod(pod))) => {
                Ok(matches!(jobs.liveness(pod).await?, Liveness::Alive { .. }))
            }
            (Self::Job(_), _) => Ok(false),
        }
    }

    /// Why the runner of a run that nobody has claimed for `waited` does not begin, where something is in its way. Where nobody
    /// can tell, nothing is known to be.
    pub async fn hitch(&self, run: Uuid, waited: SignedDuration) -> Option<Hitch> {
        let Self::Job(jobs) = self else { return None };
        jobs.hitch(run, waited).await.unwrap_or_else(|error| {
            tracing::warn!(%run, %error, "nobody can tell why a run does not begin");
            None
        })
    }

    /// Asks the runner to stop gracefully. Nothing happens where it is gone.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub async fn terminate(&self, run: Uuid) -> Result<()> {
        match self {
            Self::Local(local) => local.terminate(run),
            Self::Job(jobs) => jobs.end(run, None).await,
        }
    }

    /// Kills the runner, its engine and what they started. Nothing happens where they are gone.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub async fn kill(&self, run: Uuid) -> Result<()> {
        match self {
            Self::Local(local) => local.kill(run),
            // Not 0: the API server would forget a pod that may still run.
            Self::Job(jobs) => jobs.end(run, Some(1)).await,
        }
    }

    /// What a dead run left. `spec` is needed for the log, which is not shown unredacted. Of a pod nothing is left but what
    /// its runner told: states that it had not yet delivered went with it.
    ///
    /// # Errors
    /// Where that cannot be read.
    pub async fn recover(&self, run: Uuid, spec: Option<&RunSpec>) -> Result<Recovered> {
        match self {
            Self::Local(local) => local.recover(run, spec),
            Self::Job(jobs) => Ok(Recovered { words: jobs.ending(run, spec).await?, ..Recovered::default() }),
        }
    }

    /// The last that is known of a runner which never took its run, and so has none of its secrets. For people.
    ///
    /// # Errors
    /// The API server's.
    pub async fn last_words(&self, run: Uuid) -> Result<Option<String>> {
        match self {
            Self::Local(local) => Ok(local.last_words(run)),
            Self::Job(jobs) => jobs.ending(run, None).await,
        }
    }

    /// States in a run's folder that the ledger may not have, in the order in which they are to be taken in.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn states_left(&self, run: Uuid) -> Result<Vec<LeftState>> {
        match self {
            Self::Local(local) => local.states_left(run),
            Self::Job(_) => Ok(Vec::new()),
        }
    }

    /// Removes what there is of a run. Only for a run that is over and whose states the ledger has.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub async fn cleanup(&self, run: Uuid) -> Result<()> {
        match self {
            Self::Local(local) => local.cleanup(run),
            Self::Job(jobs) => jobs.remove(run, None).await,
        }
    }

    /// Runs of which there is something here: folders, or Jobs that have not ended.
    ///
    /// # Errors
    /// Where that cannot be read.
    pub async fn left(&self) -> Result<Vec<Uuid>> {
        match self {
            Self::Local(local) => local.folders(),
            Self::Job(jobs) => jobs.under_way().await,
        }
    }
}

/// Only the executor that began a run can tell whether it lives.
fn begun_elsewhere(run: Uuid, executor: &str) -> Error {
    let message = format!(
        "run {run} was begun by executor.type {executor}, and only that can tell whether it lives; set it in landfall.yaml \
         until the run has ended"
    );
    Error::condition(Reason::ExecutorNotPermitted, message)
}
