//! What the reading commands share: the database, whose URL is in the environment, and names in a namespace.

use std::path::PathBuf;

use sqlx::PgPool;
use uuid::Uuid;

use super::database::url;
use super::near;
use super::target::{Target, WhichCluster, proxy_trouble, unusable};
use crate::api::Reason;
use crate::installation::Installation;
use crate::ledger::{
    Keyring, Ledger, NOT_A_WRITER, ObjectKind, Run, clusters_of, deployment_standing, reader, recent_names, runs,
};
use crate::{Error, Result, access};

/// Why a role finds nothing on record at all.
pub(super) const NO_CHAIN: &str =
    "this role sees no chain: a new ledger has none, and a reader needs a row of org_access";

/// Where the keys are that open logs and plans.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Keys {
    /// The installation's file, which names the keys that open what is sealed.
    #[arg(long, env = "LANDFALL_CONFIG", default_value = "landfall.yaml")]
    config: PathBuf,
}

/// What a reader is told who asks for what is sealed.
const SEALED: &str = "this opens what is sealed, which a reader's role cannot: it needs the controller's role (a member of \
                      landfall_writer) and keys; ask whoever runs Landfall (docs/commands.md)";

impl Keys {
    /// The ledger with the keys that open it. Only the controller's own role may read sealed bytes.
    pub(super) async fn ledger(&self) -> Result<Ledger> {
        let installation = Installation::load(&self.config)?;
        let keys = Keyring::from_installation(&installation.encryption)?;
        Ledger::connect(&url()?, keys).await.map_err(|error| match error {
            // Who reads is not to be made a writer for it.
            Error::Integrity(words) if words.ends_with(NOT_A_WRITER) => Error::condition(Reason::Forbidden, SEALED),
            other => other,
        })
    }
}

/// The ledger as the URL's own role sees it.
pub(super) async fn pool() -> Result<PgPool> {
    reader(&url()?).await
}

/// `--namespace`, else the kubeconfig's, else `default`.
///
/// # Errors
/// What of the environment kept the kubeconfig from being read.
pub(super) async fn namespace(given: Option<&String>) -> Result<String> {
    if let Some(namespace) = given {
        return Ok(namespace.clone());
    }
    match access::config_of_person().await {
        Ok(config) => Ok(config.default_namespace),
        Err(error) if proxy_trouble(&error).is_some() => Err(unusable(&error)),
        Err(_) => Ok("default".to_owned()),
    }
}

/// The cluster of an object, where it must be told: `None` where the ledger knows the name from one cluster only.
///
/// # Errors
/// [`Error::Usage`] where it knows it from several and nothing says which.
pub(super) async fn cluster_of(
    pool: &PgPool,
    which: &WhichCluster,
    (kind, namespace, name): (ObjectKind, &str, &str),
) -> Result<Option<Uuid>> {
    if let Some(id) = which.id().await {
        return Ok(Some(id));
    }
    let clusters = clusters_of(pool, kind, namespace, name).await?;
    if clusters.len() < 2 {
        return Ok(None);
    }
    let ids: Vec<String> = clusters.iter().map(Uuid::to_string).collect();
    let kind = kind.as_str();
    Err(Error::Usage(format!(
        "several clusters have {kind} {name} in namespace {namespace}, and there is no {}: say which with --cluster, one of {}",
        which.looked(),
        ids.join(", ")
    )))
}

/// That nothing is on record of an object, and which was meant perhaps.
pub(super) async fn unknown(
    pool: &PgPool,
    word: &str,
    (kind, namespace, name): (ObjectKind, &str, &str),
    place: &str,
) -> Result<String> {
    let known = recent_names(pool, kind).await?;
    let hint = match known.is_empty() {
        true => {
            "this role sees no object of the kind: a reader needs a row of org_access for its organization".to_owned()
        }
        false => near::hint(word, (namespace, name), known, "`landfall history`"),
    };
    Ok(format!("nothing is on record of {word}/{name} in namespace {namespace}{place}; {hint}"))
}

/// A deployment, as people name it.
pub(super) struct Deployment {
    cluster: Option<Uuid>,
    namespace: String,
    name: String,
}

impl Deployment {
    pub(super) async fn of(pool: &PgPool, which: &WhichCluster, target: &Target) -> Result<Self> {
        let (namespace, name) = (namespace(target.namespace.as_ref()).await?, target.object.0.clone());
        let object = (ObjectKind::TerraformDeployment, namespace.as_str(), name.as_str());
        Ok(Self { cluster: cluster_of(pool, which, object).await?, namespace, name })
    }

    /// Its runs, newest first; those of former objects of the same name among them.
    ///
    /// # Errors
    /// There are none: then it says what the deployment waits for. The ledger's.
    pub(super) async fn runs(&self, pool: &PgPool, limit: i64) -> Result<Vec<Run>> {
        let Self { cluster, namespace, name } = self;
        let runs = runs::named(pool, *cluster, namespace, name, limit).await?;
        if !runs.is_empty() {
            return Ok(runs);
        }
        let place = cluster.map(|id| format!(" of cluster {id}")).unwrap_or_default();
        let text = match self.standing(pool).await? {
            Some(standing) => format!("tfd/{name} in namespace {namespace} has no run yet; {standing}"),
            None => {
                let object = (ObjectKind::TerraformDeployment, namespace.as_str(), name.as_str());
                unknown(pool, "tfd", object, &place).await?
            }
        };
        Err(Error::condition(Reason::Progressing, text))
    }

    /// The run that was named, or the newest one that `fits`.
    ///
    /// # Errors
    /// There is none; the ledger's.
    pub(super) async fn run(
        &self,
        pool: &PgPool,
        named: Option<&str>,
        fits: impl Fn(&Run) -> bool,
        what: &str,
    ) -> Result<Run> {
        let Some(id) = named else {
            let found = self.runs(pool, RECENT).await?.into_iter().find(|run| fits(run));
            let standing = if found.is_none() { self.standing(pool).await? } else { None };
            return found.ok_or_else(|| {
                let standing = standing.map(|standing| format!("; {standing}")).unwrap_or_default();
                Error::condition(Reason::Progressing, format!("there is no {what} yet{standing}; see `landfall runs`"))
            });
        };
        let found = match Uuid::parse_str(id) {
            Ok(id) => runs::by_id(pool, id).await?,
            Err(_) => None,
        };
        found.filter(|run| self.has(run)).ok_or_else(|| {
            let text = format!("--run {id}: no such run of this deployment; see `landfall runs`");
            Error::condition(Reason::Progressing, text)
        })
    }

    fn has(&self, run: &Run) -> bool {
        let subject = &run.subject;
        self.cluster.is_none_or(|id| id == subject.cluster)
            && (&subject.namespace, &subject.name) == (&self.namespace, &self.name)
    }

    async fn standing(&self, pool: &PgPool) -> Result<Option<String>> {
        deployment_standing(pool, self.cluster, &self.namespace, &self.name).await
    }
}

/// Among so many of the newest runs one is looked for that has no name.
const RECENT: i64 = 1000;

/// One JSON document and a newline.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|e| Error::Integrity(format!("JSON: {e}")))
}
