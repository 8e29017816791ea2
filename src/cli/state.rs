//! `landfall state list`: the versions of a deployment's state.

use serde_json::json;

use super::reading::{Deployment, json as document, pool};
use super::table::{instant, table};
use super::target::{Target, WhichCluster};
use crate::Result;
use crate::api::Reason;
use crate::ledger::{state_key, states};

/// `landfall state`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum State {
    /// List the versions of a deployment's state, newest first.
    #[command(after_help = "Examples:\n  landfall state list tfd/web -n shop")]
    List(List),
}

impl State {
    /// Whether scripts read the answer.
    pub(super) fn json(&self) -> bool {
        let Self::List(List { target, .. }) = self;
        target.json
    }
}

/// `landfall state list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    which: WhichCluster,
}

/// Runs one of them.
///
/// # Errors
/// No state is on record, or the ledger is away.
pub(super) async fn state(command: &State) -> Result<String> {
    let State::List(List { target, which }) = command;
    let pool = pool().await?;
    let runs = Deployment::of(&pool, which, target).await?.runs(&pool, 1).await?;
    let mut versions = Vec::new();
    if let Some(run) = runs.first() {
        versions = states::versions(&pool, &run.subject.organization, &state_key(&run.subject)).await?;
    }
    if versions.is_empty() {
        let text = format!("tfd/{} has no state yet; its first apply writes one", target.object.0);
        return Err(crate::Error::condition(Reason::Progressing, text));
    }
    if target.json {
        let rows = versions.iter().map(|v| {
            json!({"lineage": v.lineage, "serial": v.serial, "sha256": v.sha256, "size": v.size, "resources": v.resources,
                "run": v.run, "recovered": v.recovered, "writtenAt": v.written_at})
        });
        return document(&rows.collect::<Vec<_>>());
    }
    Ok(table(
        ["SERIAL", "RESOURCES", "BYTES", "WRITTEN", "RUN", "LINEAGE", ""],
        versions.iter().map(|v| {
            let recovered = if v.recovered { "recovered" } else { "" };
            let written = instant(v.written_at);
            let (serial, resources, size) = (v.serial.to_string(), v.resources.to_string(), v.size.to_string());
            [serial, resources, size, written, v.run.to_string(), v.lineage.clone(), recovered.to_owned()]
        }),
    ))
}
