//! `landfall plan`: what an approval would let happen, without the values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reading::{Deployment, Keys, json};
use super::runs::{Shown, kind};
use super::table::{instant, table};
use super::target::{Target, WhichCluster, run_id};
use crate::api::Reason;
use crate::run::protocol::{Artifact, RunKind, RunPhase};
use crate::{Error, Result};

/// `landfall plan`.
#[derive(Debug, clap::Args)]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    which: WhichCluster,
    /// The plan run; the newest that succeeded where it is left out.
    #[arg(long, value_parser = run_id)]
    run: Option<String>,
    #[command(flatten)]
    keys: Keys,
}

/// The JSON where there is none.
pub(super) const NONE: &str = r#"{"run": null, "changes": []}"#;

#[derive(Deserialize)]
struct PlanJson {
    #[serde(default)]
    resource_changes: Vec<Entry>,
    #[serde(default)]
    output_changes: BTreeMap<String, Actions>,
}

#[derive(Deserialize)]
struct Entry {
    address: String,
    change: Actions,
}

#[derive(Deserialize)]
struct Actions {
    actions: Vec<String>,
}

/// One resource or output that the plan touches.
#[derive(Serialize)]
struct Change {
    address: String,
    actions: Vec<String>,
}

/// Shows the plan.
///
/// # Errors
/// No plan, no keys, or the ledger is away.
pub(super) async fn plan(arguments: &Plan) -> Result<String> {
    let ledger = arguments.keys.ledger().await?;
    let deployment = Deployment::of(ledger.pool(), &arguments.which, &arguments.target).await?;
    let ready = |run: &crate::ledger::Run| run.kind == RunKind::Plan && run.phase == RunPhase::Succeeded;
    let run = deployment.run(ledger.pool(), arguments.run.as_deref(), ready, "plan").await?;
    let Some(bytes) = ledger.artifact(run.id, Artifact::PlanJson).await? else {
        let text = format!("run {} made no plan; see `landfall logs --run {}`", run.id, run.id);
        return Err(Error::condition(Reason::PlanFailed, text));
    };
    let changes = changes(&bytes)?;
    if arguments.target.json {
        return json(&serde_json::json!({"run": Shown::from(&run), "changes": changes}));
    }
    let digest = run.digest.as_deref().unwrap_or("none");
    let summary = run.summary.as_ref().map(ToString::to_string).unwrap_or_default();
    let created = instant(run.created_at);
    let rows = changes.into_iter().map(|change| [change.actions.join(", "), change.address]);
    Ok(format!(
        "{} {} of {created}\ndigest {digest}\n{summary}\n{}",
        kind(&run),
        run.id,
        table(["ACTION", "RESOURCE"], rows)
    ))
}

/// Addresses and actions only, an output's being `output.NAME`: a plan's JSON has sensitive values in clear.
fn changes(bytes: &[u8]) -> Result<Vec<Change>> {
    let plan: PlanJson = serde_json::from_slice(bytes)
        .map_err(|e| Error::Integrity(format!("plan JSON: unreadable at line {}, column {}", e.line(), e.column())))?;
    let resources = plan.resource_changes.into_iter().map(|e| (e.address, e.change.actions));
    let outputs = plan.output_changes.into_iter().map(|(name, change)| (format!("output.{name}"), change.actions));
    let touched = |action: &String| action != "no-op" && action != "read";
    let all = resources.chain(outputs).filter(|(_, actions)| actions.iter().any(touched));
    Ok(all.map(|(address, actions)| Change { address, actions }).collect())
}
