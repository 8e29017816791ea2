//! Outcomes that nobody told in time are settled by observing: the next run that ends with the world as the spec says it
//! settles what died before it.

use serde_json::json;
use uuid::Uuid;

use super::Run;
use crate::Result;
use crate::ledger::{Actor, IntentId, Outcome, Transaction};
use crate::run::protocol::{RunKind, RunPhase, RunResult};

/// Whether a run that ended so has seen the world as it should be.
fn observed(kind: RunKind, phase: RunPhase, has_changes: Option<bool>) -> bool {
    phase == RunPhase::Succeeded && (kind == RunKind::Apply || has_changes == Some(false))
}

/// Settles the deployment's unknown outcomes, those of former objects of its name included, if this run's end says how the
/// world is.
pub(super) async fn others(
    tx: &mut Transaction,
    run: &Run,
    phase: RunPhase,
    has_changes: Option<bool>,
    actor: &Actor,
) -> Result<()> {
    if !observed(run.kind, phase, has_changes) {
        return Ok(());
    }
    let unknown: Vec<Uuid> = sqlx::query_scalar(
        "SELECT intent_id FROM intents i JOIN terraform_runs r USING (intent_id)
         WHERE r.organization_id = $1 AND r.cluster_id = $2 AND namespace = $3 AND name = $4 AND outcome = 'Unknown'
         ORDER BY i.created_at, intent_id",
    )
    .bind(run.subject.organization.as_str())
    .bind(run.subject.cluster)
    .bind(&run.subject.namespace)
    .bind(&run.subject.name)
    .fetch_all(tx.connection())
    .await?;
    let how = match run.kind {
        RunKind::Plan => "a plan found nothing to change",
        RunKind::Apply => "an apply succeeded",
    };
    for intent in unknown {
        let details = json!({"run": run.id, "how": how});
        tx.conclude(IntentId(intent), Outcome::Settled, details, actor.clone()).await?;
    }
    Ok(())
}

/// A runner told after all how its run ended, which had been given up.
pub(super) async fn late(tx: &mut Transaction, run: &Run, result: &RunResult) -> Result<()> {
    let outcome = match result.phase {
        RunPhase::Succeeded => Outcome::Done,
        RunPhase::Failed | RunPhase::Cancelled => Outcome::Failed,
        _ => return Ok(()),
    };
    let Some(intent) = run.intent else { return Ok(()) };
    let unknown: bool =
        sqlx::query_scalar("SELECT outcome = 'Unknown' FROM intents WHERE intent_id = $1 FOR NO KEY UPDATE")
            .bind(intent.0)
            .fetch_one(tx.connection())
            .await?;
    if unknown {
        let details = json!({"run": run.id, "phase": result.phase, "exitCode": result.exit_code, "how": "told late"});
        tx.conclude(intent, outcome, details, Actor::Runner(run.id)).await?;
    }
    Ok(())
}
