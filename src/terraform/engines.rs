//! The engines of the installation: which there are, and which versions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::api::{EngineKind, Reason};
use crate::{Error, Result};

/// How long an engine may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(60);

/// Versions of the installed engines, as each told at the controller's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engines(BTreeMap<EngineKind, String>);

impl Engines {
    /// Asks each binary for its version.
    ///
    /// # Errors
    /// `EngineNotFound` names the field of `landfall.yaml`.
    pub async fn ask(binaries: &BTreeMap<EngineKind, PathBuf>) -> Result<Self> {
        let mut versions = BTreeMap::new();
        for (kind, path) in binaries {
            // A volume of the network that hangs holds a thread for good.
            let asked = tokio::task::spawn_blocking({
                let path = path.clone();
                move || version(&path)
            });
            let answer = tokio::time::timeout(PATIENCE, asked).await.ok().and_then(|done| done.ok().flatten());
            let version = answer.ok_or_else(|| {
                let path = path.display();
                let message =
                    format!("engines.{kind:?}: {path} does not tell its version; name a binary of that engine");
                Error::condition(Reason::EngineNotFound, message)
            })?;
            versions.insert(*kind, version);
        }
        Ok(Self(versions))
    }

    /// Whether an engine is there whose version begins with these whole components.
    ///
    /// # Errors
    /// `EngineNotFound` names what was asked for and what there is.
    pub fn check(&self, kind: EngineKind, prefix: Option<&str>) -> Result<()> {
        let found = self.0.get(&kind);
        if found.is_some_and(|version| prefix.is_none_or(|p| matches(version, p))) {
            return Ok(());
        }
        let there = found.map_or_else(|| format!("no {kind:?}"), |version| format!("{kind:?} {version}"));
        let wanted = prefix.map(|p| format!(" {p}")).unwrap_or_default();
        Err(Error::condition(
            Reason::EngineNotFound,
            format!("spec.engine: {kind:?}{wanted} is asked for and the installation has {there}; change one of them"),
        ))
    }
}

/// The engines' CLI configuration as a path that holds in every folder. An engine to which it is not there only warns.
///
/// # Errors
/// [`Error::Usage`] names the field of `landfall.yaml` where it is no file that can be read.
pub fn cli_config(path: &Path) -> Result<PathBuf> {
    let wrong = |why: String| {
        Error::Usage(format!("engineCliConfig: {}: {why}; name a file that can be read, or none", path.display()))
    };
    let file = std::fs::File::open(path).and_then(|file| file.metadata()).map_err(|e| wrong(e.to_string()))?;
    if !file.is_file() {
        return Err(wrong("is no file".into()));
    }
    std::path::absolute(path).map_err(|e| wrong(e.to_string()))
}

fn matches(version: &str, prefix: &str) -> bool {
    version.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
}

fn version(path: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        terraform_version: String,
    }
    // With nothing of our environment: a setting that the engine warns about would stand before its answer.
    let output = Command::new(path).args(["version", "-json"]).env_clear().env("CHECKPOINT_DISABLE", "1").output();
    serde_json::from_slice::<Answer>(&output.ok()?.stdout).ok().map(|answer| answer.terraform_version)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cli_configuration_that_is_no_file_is_named_with_its_field() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tofu.rc");
        for (path, why) in [(file.as_path(), "No such file"), (folder.path(), "is no file")] {
            let said = cli_config(path).unwrap_err().to_string();
            assert!(said.starts_with(&format!("engineCliConfig: {}: {why}", path.display())), "{said}");
        }
        std::fs::write(&file, "").unwrap();
        assert_eq!(cli_config(&file).unwrap(), file);
        assert!(cli_config(Path::new("Cargo.toml")).unwrap().is_absolute());
    }

    #[test]
    fn a_prefix_matches_whole_components() {
        let engines = Engines([(EngineKind::OpenTofu, "1.12.6".to_owned())].into());
        for good in ["1", "1.12", "1.12.6"] {
            assert!(engines.check(EngineKind::OpenTofu, Some(good)).is_ok(), "{good}");
        }
        for bad in ["1.1", "1.12.60", "2"] {
            let error = engines.check(EngineKind::OpenTofu, Some(bad)).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("1.12.6"), "{error}");
        }
        assert!(engines.check(EngineKind::OpenTofu, None).is_ok());
        assert!(engines.check(EngineKind::Terraform, None).unwrap_err().to_string().contains("no Terraform"));
    }
}
