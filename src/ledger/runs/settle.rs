//! A run that died in mid-apply is answered for by observing: by a person who lets the next plan pass and an apply of it that
//! succeeds, or by a plan that finds nothing to change while nothing is left over. It is marked then; until it is, nothing is
//! applied unattended.

use serde_json::json;
use uuid::Uuid;

use super::Run;
use crate::Result;
use crate::ledger::{Actor, IntentId, Ledger, Outcome, Subject, Transaction};
use crate::run::protocol::{RunKind, RunPhase, RunResult};

/// What all runs say of an object, however many there were and of whichever organization its namespace was then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// An apply of it, or of a former object of its name, died, and nobody has answered for it.
    pub needs_a_person: bool,
    /// An apply of it may have changed the world.
    pub applied: bool,
}

impl Ledger {
    /// What all runs say of an object.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn past(&self, subject: &Subject) -> Result<Past> {
        let applied = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM terraform_runs WHERE cluster_id = $1 AND deployment_uid = $2 AND kind = 'Apply'
               AND applying_at IS NOT NULL)",
        )
        .bind(subject.cluster)
        .bind(subject.uid)
        .fetch_one(self.pool())
        .await?;
        Ok(Past { needs_a_person: needs_a_person(self.pool(), subject).await?, applied })
    }
}

/// Whether an apply of this object, or of a former one that held its state, died and nobody has answered for it.
pub(super) async fn needs_a_person(executor: impl sqlx::PgExecutor<'_>, subject: &Subject) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM terraform_runs
           WHERE cluster_id = $1 AND kind = 'Apply' AND phase = 'Interrupted' AND settled_by IS NULL
             AND (deployment_uid = $2 OR (organization_id = $3 AND namespace = $4 AND name = $5)))",
    )
    .bind(subject.cluster)
    .bind(subject.uid)
    .bind(subject.organization.as_str())
    .bind(&subject.namespace)
    .bind(&subject.name)
    .fetch_one(executor)
    .await?)
}

/// Marks what this run answers for by its end, if it does, and settles the intents among it that are unknown.
pub(super) async fn others(
    tx: &mut Transaction,
    run: &Run,
    phase: RunPhase,
    has_changes: Option<bool>,
    actor: &Actor,
) -> Result<()> {
    let how = match run.kind {
        RunKind::Plan if has_changes == Some(false) => "a plan found nothing to change",
        RunKind::Apply if approved(tx, run).await? => "an apply succeeded",
        RunKind::Plan | RunKind::Apply => return Ok(()),
    };
    if phase != RunPhase::Succeeded {
        return Ok(());
    }
    for intent in answer(tx, run).await? {
        let details = json!({"run": run.id, "how": how});
        tx.conclude(IntentId(intent), Outcome::Settled, details, actor.clone()).await?;
    }
    Ok(())
}

/// Whether a person let this apply pass.
async fn approved(tx: &mut Transaction, run: &Run) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM approvals WHERE organization_id = $1 AND digest = $2 AND consumed_by_run = $3)",
    )
    .bind(run.subject.organization.as_str())
    .bind(&run.digest)
    .bind(run.id)
    .fetch_one(tx.connection())
    .await?)
}

/// What died and is answered for now: its unknown intents. A person answers for whatever is left over, a plan does not: it
/// sees no more than state and module.
async fn answer(tx: &mut Transaction, run: &Run) -> Result<Vec<Uuid>> {
    let dead: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE terraform_runs d SET settled_by = $1
         WHERE cluster_id = $2 AND kind = 'Apply' AND phase = 'Interrupted' AND settled_by IS NULL
           AND (deployment_uid = $3 OR (organization_id = $4 AND namespace = $5 AND name = $6))
           AND ($7 OR NOT EXISTS (SELECT FROM resource_inventory i
                                  WHERE i.run_id = d.run_id AND i.standing IN ('Creating', 'Leftover')))
         RETURNING intent_id",
    )
    .bind(run.id)
    .bind(run.subject.cluster)
    .bind(run.subject.uid)
    .bind(run.subject.organization.as_str())
    .bind(&run.subject.namespace)
    .bind(&run.subject.name)
    .bind(run.kind == RunKind::Apply)
    .fetch_all(tx.connection())
    .await?;
    Ok(sqlx::query_scalar(
        "SELECT intent_id FROM intents WHERE intent_id = ANY($1) AND outcome = 'Unknown' ORDER BY created_at, intent_id",
    )
    .bind(dead)
    .fetch_all(tx.connection())
    .await?)
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
