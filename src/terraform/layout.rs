//! Where things lie in a run's folder. It outlives the runner: recovery reads it.

use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::spool::{make_private_folder, write_private};
use crate::run::protocol::ProcessIdentity;
use crate::{Error, Result};

/// Steps of the engine, in the order in which they come; each writes one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Init,
    Plan,
    Apply,
}

impl Step {
    pub(super) const ALL: [Self; 3] = [Self::Init, Self::Plan, Self::Apply];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Plan => "plan",
            Self::Apply => "apply",
        }
    }
}

/// A run's folder.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    /// Where the variables' values are, and the plan that has them in it: in a pod, in memory.
    values: PathBuf,
}

impl Layout {
    /// The folder of a run below the executor's work folder.
    pub(super) fn of(work_dir: &Path, run: Uuid) -> Self {
        Self::at(work_dir.join(run.to_string()), None)
    }

    /// This folder, with the variables' values and the plan in another one where it is named.
    pub(super) fn at(root: PathBuf, values: Option<PathBuf>) -> Self {
        let values = values.unwrap_or_else(|| root.clone());
        Self { root, values }
    }

    pub(super) fn token(&self) -> PathBuf {
        self.root.join("token")
    }

    fn holder(&self) -> PathBuf {
        self.root.join("holder.json")
    }

    fn engine(&self) -> PathBuf {
        self.root.join("engine.json")
    }

    pub(super) fn module(&self) -> PathBuf {
        self.root.join("module")
    }

    pub(super) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(super) fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    pub(super) fn variables(&self) -> PathBuf {
        self.values.join("variables.tfvars.json")
    }

    pub(super) fn plan(&self) -> PathBuf {
        self.values.join("plan.bin")
    }

    pub(super) fn plan_json(&self) -> PathBuf {
        self.values.join("plan.json")
    }

    pub(super) fn validation(&self) -> PathBuf {
        self.root.join("validation.json")
    }

    /// What a step says, standard output and error together.
    pub(super) fn output(&self, step: Step) -> PathBuf {
        self.root.join(format!("{}.out", step.word()))
    }

    /// Output of commands that are only asked something.
    pub(super) fn aside(&self) -> PathBuf {
        self.root.join("aside.out")
    }

    /// The state that an engine without a backend leaves behind.
    pub(super) fn errored_state(&self) -> PathBuf {
        self.module().join("errored.tfstate")
    }

    /// Makes the folders that the engine needs.
    pub(super) fn make(&self) -> Result<()> {
        [self.module(), self.home(), self.temporary(), self.values.clone()]
            .iter()
            .try_for_each(|folder| make_private_folder(folder))
    }

    /// Remembers who took the run.
    pub(super) fn keep_holder(&self, holder: &ProcessIdentity) -> Result<()> {
        let json = serde_json::to_vec(holder).map_err(|e| Error::Integrity(e.to_string()))?;
        write_private(&self.holder(), &json)
    }

    /// Who took the run, if anybody did.
    pub(super) fn holder_kept(&self) -> Option<ProcessIdentity> {
        serde_json::from_slice(&fs::read(self.holder()).ok()?).ok()
    }

    /// From here on nobody knows which process the engine is.
    pub(super) fn forget_engine(&self) -> Result<()> {
        absent_is_fine(&self.engine(), fs::remove_file(self.engine()))
    }

    /// Remembers which process the engine is.
    pub(super) fn keep_engine(&self, engine: &ProcessIdentity) -> Result<()> {
        let json = serde_json::to_vec(engine).map_err(|e| Error::Integrity(e.to_string()))?;
        write_private(&self.engine(), &json)
    }

    /// Which process the engine is or was, if that is known.
    pub(super) fn engine_kept(&self) -> Option<ProcessIdentity> {
        serde_json::from_slice(&fs::read(self.engine()).ok()?).ok()
    }

    /// Removes everything that could hold a value of the tenant, once the ledger has all of it.
    pub(super) fn sweep(&self) -> Result<()> {
        let folders = [self.module(), self.home(), self.temporary(), self.spool()];
        let files = [self.variables(), self.plan(), self.plan_json(), self.validation(), self.aside()];
        let outputs = Step::ALL.map(|step| self.output(step));
        for path in folders {
            absent_is_fine(&path, fs::remove_dir_all(&path))?;
        }
        for path in files.iter().chain(&outputs) {
            absent_is_fine(path, fs::remove_file(path))?;
        }
        Ok(())
    }
}

pub(super) fn absent_is_fine(path: &Path, removed: std::io::Result<()>) -> Result<()> {
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(format!("remove {}", path.display()))(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whatever_has_values_of_variables_lies_where_they_do() {
        let layout = Layout::at("/work/run".into(), Some("/memory".into()));
        for path in [layout.variables(), layout.plan(), layout.plan_json()] {
            assert_eq!(path.parent().unwrap(), Path::new("/memory"), "{}", path.display());
        }
        assert_eq!(Layout::at("/work/run".into(), None).plan(), Path::new("/work/run/plan.bin"));
    }
}
