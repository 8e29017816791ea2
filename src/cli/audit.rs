//! `landfall audit verify`: whether the activity log still says what was written.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use sqlx::PgPool;

use super::near::near;
use super::reading::{NO_CHAIN, json, pool};
use super::target::Cluster;
use crate::api::Organization;
use crate::api::Reason;
use crate::ledger::audit::{Anchor, ChainReport, anchors, verify};
use crate::ledger::organizations;
use crate::reconcile::anchors as kept;
use crate::{Error, Result};

/// `landfall audit`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Audit {
    /// Walk the chains, and name the first event that is not what was written.
    #[command(
        after_help = "Examples:\n  landfall audit verify\n  landfall audit verify --organization shop --anchors anchors.json"
    )]
    Verify(Verify),
    /// Print the heads of the chains as JSON: kept outside of Postgres, they show a log that was rewritten as a whole.
    #[command(after_help = "Examples:\n  landfall audit anchors >anchors.json")]
    Anchors,
}

/// `landfall audit verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Only this organization's chain.
    #[arg(long)]
    organization: Option<String>,
    /// Heads that were kept outside of Postgres: a JSON array of organization, seq and hash.
    #[arg(long)]
    anchors: Option<PathBuf>,
    /// The same from the ConfigMap in which the controller keeps them, in Landfall's own namespace: `landfall-system`, or the one
    /// that is given.
    #[arg(
        long,
        value_name = "NAMESPACE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "landfall-system",
        conflicts_with = "anchors"
    )]
    anchors_from_cluster: Option<String>,
    /// JSON for scripts.
    #[arg(long)]
    json: bool,
}

/// Verifies. The answer is printed also where it is a bad one.
///
/// # Errors
/// A chain is damaged; the ledger is away.
pub(super) async fn audit(command: &Audit) -> Result<(String, Result<()>)> {
    let arguments = match command {
        Audit::Verify(arguments) => arguments,
        Audit::Anchors => return heads().await,
    };
    let kept = match (&arguments.anchors, &arguments.anchors_from_cluster) {
        (Some(path), _) => read(path)?,
        (None, Some(namespace)) => from_cluster(namespace).await?,
        (None, None) => Vec::new(),
    };
    let organization = arguments.organization.clone().map(Organization);
    let pool = pool().await?;
    let reports = verify(&pool, organization.as_ref(), &kept).await?;
    let text = if arguments.json { json(&reports)? } else { reports.iter().map(line).collect() };
    let damaged = reports.iter().filter(|report| report.damage.is_some()).count();
    let verdict = if reports.is_empty() {
        Err(Error::condition(Reason::IntegrityViolation, none(&pool, arguments.organization.as_deref()).await?))
    } else if damaged > 0 {
        let text =
            format!("{damaged} of {} chains damaged; compare with a backup or with what was exported", reports.len());
        Err(Error::condition(Reason::IntegrityViolation, text))
    } else {
        Ok(())
    };
    Ok((text, verdict))
}

/// The heads; where there is none, the empty list with the reason, as nothing can be held to it.
async fn heads() -> Result<(String, Result<()>)> {
    let heads = anchors(&pool().await?).await?;
    let none = || Err(Error::condition(Reason::Progressing, NO_CHAIN));
    Ok((json(&heads)?, if heads.is_empty() { none() } else { Ok(()) }))
}

/// Why there is no chain to walk.
async fn none(pool: &PgPool, organization: Option<&str>) -> Result<String> {
    let Some(name) = organization else { return Ok(NO_CHAIN.to_owned()) };
    let known = organizations(pool).await?;
    let next = match near(name, known.iter().map(String::as_str)).as_slice() {
        _ if known.is_empty() => NO_CHAIN.to_owned(),
        [] => "`landfall audit verify` without --organization names those that there are".to_owned(),
        names => format!("did you mean {}?", names.join(" or ")),
    };
    Ok(format!("--organization {name}: there is no such chain; {next}"))
}

fn read(path: &PathBuf) -> Result<Vec<Anchor>> {
    let unusable = |why: &dyn std::fmt::Display| {
        let path = path.display();
        Error::Usage(format!("--anchors {path}: {why}; give what `landfall audit anchors` has printed"))
    };
    let text = std::fs::read_to_string(path).map_err(|e| unusable(&e))?;
    serde_json::from_str(&text).map_err(|e| unusable(&e))
}

async fn from_cluster(namespace: &str) -> Result<Vec<Anchor>> {
    let cluster = Cluster::of(None).await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    match maps.get_opt(kept::CONFIG_MAP).await.map_err(|error| cluster.said(error))? {
        Some(map) => kept::read(&map),
        None => Err(Error::condition(
            Reason::IntegrityViolation,
            format!(
                "--anchors-from-cluster: there is no ConfigMap {namespace}/{}; name Landfall's own namespace with \
                 --anchors-from-cluster=NAMESPACE. The controller writes it within minutes, and whoever deleted it may have had a \
                 reason",
                kept::CONFIG_MAP
            ),
        )),
    }
}

fn line(report: &ChainReport) -> String {
    match &report.damage {
        None => format!("{}: ok, {} events\n", report.organization, report.events),
        Some(damage) => format!(
            "{}: damaged: {damage} ({:?}); {} events before it are in order\n",
            report.organization, damage.kind, report.events
        ),
    }
}
