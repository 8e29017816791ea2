//! What the reading commands share: the database, whose URL is in the environment, and names in a namespace.

use std::path::PathBuf;

use kube::Config;
use sqlx::PgPool;

use super::target::Target;
use crate::api::Reason;
use crate::installation::Installation;
use crate::ledger::{Keyring, Ledger, Run, deployment_standing, reader, runs};
use crate::{Error, Result};

/// Where the keys are that open logs and plans.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Keys {
    /// The installation's file, which names the keys that open what is sealed.
    #[arg(long, env = "LANDFALL_CONFIG", default_value = "landfall.yaml")]
    config: PathBuf,
}

impl Keys {
    /// The ledger with the keys that open it. Only the controller's own role may read sealed bytes.
    pub(super) async fn ledger(&self) -> Result<Ledger> {
        let installation = Installation::load(&self.config)?;
        Ledger::connect(&url()?, Keyring::from_installation(&installation.encryption)?).await
    }
}

fn url() -> Result<String> {
    std::env::var("DATABASE_URL").ok().filter(|url| !url.trim().is_empty()).ok_or_else(|| {
        Error::condition(
            Reason::LedgerUnavailable,
            "no database URL: set DATABASE_URL to the ledger's, with a role that may read",
        )
    })
}

/// The ledger as the URL's own role sees it.
pub(super) async fn pool() -> Result<PgPool> {
    reader(&url()?).await
}

/// `--namespace`, else the kubeconfig's, else `default`.
pub(super) async fn namespace(given: Option<&String>) -> String {
    match given {
        Some(namespace) => namespace.clone(),
        None => Config::infer().await.map_or_else(|_| "default".to_owned(), |config| config.default_namespace),
    }
}

/// The runs of a deployment, as people name it.
pub(super) struct Found {
    /// Newest first; those of former objects of the same name among them.
    pub(super) runs: Vec<Run>,
    /// Where the object stands, as far as it is known.
    standing: String,
}

/// Runs of the deployment of that name.
///
/// # Errors
/// There are none: then it says what the deployment waits for. The ledger's.
pub(super) async fn runs_of(pool: &PgPool, target: &Target, limit: i64) -> Result<Found> {
    let namespace = namespace(target.namespace.as_ref()).await;
    let name = &target.object.0;
    let runs = runs::named(pool, &namespace, name, limit).await?;
    let standing = deployment_standing(pool, &namespace, name).await?;
    let text = match (runs.is_empty(), &standing) {
        (false, _) => {
            let standing = standing.map(|standing| format!("; {standing}")).unwrap_or_default();
            return Ok(Found { runs, standing });
        }
        (true, Some(standing)) => format!("tfd/{name} in namespace {namespace} has no run yet; {standing}"),
        (true, None) => {
            format!("nothing is on record of tfd/{name} in namespace {namespace}; name another namespace with -n")
        }
    };
    Err(Error::condition(Reason::Progressing, text))
}

impl Found {
    /// The run that was named, or the newest one that `fits`.
    pub(super) fn choose(self, named: Option<&str>, fits: impl Fn(&Run) -> bool, what: &str) -> Result<Run> {
        let found = match named {
            Some(id) => self.runs.into_iter().find(|run| run.id.to_string() == id),
            None => self.runs.into_iter().find(|run| fits(run)),
        };
        found.ok_or_else(|| {
            let text = match named {
                Some(id) => format!("--run {id}: no such run of this deployment; see `landfall runs`"),
                None => format!("there is no {what} yet{}; see `landfall runs`", self.standing),
            };
            Error::condition(Reason::Progressing, text)
        })
    }
}

/// One JSON document and a newline.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|e| Error::Integrity(format!("JSON: {e}")))
}
