//! Whether a plan may be applied: asked in the unit of work that commits the apply.

use serde_json::json;

use super::Run;
use super::create::{ApplyRun, Approval, NewApplyRun};
use super::settle::needs_a_person;
use crate::api::Reason;
use crate::ledger::{Actor, Event, Transaction};
use crate::run::protocol::{RunKind, RunPhase};
use crate::{Error, Result};

/// Who approved the plan (nobody by name where the spec did), or why it may not be applied. The plan's row is locked, so
/// that of two who ask the second sees what the first did.
pub(super) async fn permit(
    tx: &mut Transaction,
    plan: &Run,
    new: &NewApplyRun,
) -> Result<std::result::Result<Option<String>, ApplyRun>> {
    let applied: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM terraform_runs WHERE plan_run_id = $1 AND kind = 'Apply')")
            .bind(plan.id)
            .fetch_one(tx.connection())
            .await?;
    if applied {
        return Ok(Err(ApplyRun::AlreadyApplied));
    }
    if plan.kind != RunKind::Plan || plan.subject != new.subject {
        return Ok(Err(ApplyRun::Superseded));
    }
    if plan.phase != RunPhase::Succeeded || plan.digest.as_ref() != Some(&new.digest) {
        return Ok(Err(ApplyRun::NotApproved));
    }
    if !is_current(tx, plan).await? {
        return Ok(Err(ApplyRun::Superseded));
    }
    if new.approval == Approval::Automatic {
        // No run of the object can die from here to the commit: it has one at a time.
        let unattended = !needs_a_person(tx.connection(), &new.subject).await?;
        return Ok(if unattended { Ok(None) } else { Err(ApplyRun::NotApproved) });
    }
    let approval: Option<(String, bool)> = sqlx::query_as(
        "SELECT approved_by, consumed_at IS NOT NULL FROM approvals
         WHERE organization_id = $1 AND digest = $2 AND deployment_uid = $3 AND plan_run_id = $4 FOR UPDATE",
    )
    .bind(plan.subject.organization.as_str())
    .bind(&new.digest)
    .bind(plan.subject.uid)
    .bind(plan.id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(match approval {
        None => Err(ApplyRun::NotApproved),
        Some((_, true)) => Err(ApplyRun::AlreadyApplied),
        Some((by, false)) => Ok(Some(by)),
    })
}

/// Marks a plan of this deployment that may no longer be applied, so that it is planned anew.
/// Whoever approved it did not wish that: it is the controller's doing.
pub(super) async fn supersede(mut tx: Transaction, plan: Run, new: &NewApplyRun, actor: Actor) -> Result<ApplyRun> {
    let ours = (plan.subject.cluster, plan.subject.uid) == (new.subject.cluster, new.subject.uid);
    let marked = sqlx::query(
        "UPDATE terraform_runs SET reason = $2, message = $3, phase_at = clock_timestamp()
         WHERE run_id = $1 AND $4 AND kind = 'Plan' AND phase = 'Succeeded' AND reason IS NULL",
    )
    .bind(plan.id)
    .bind(Reason::StalePlan.as_str())
    .bind("another plan was made, or the state has moved since; it is planned anew")
    .bind(ours)
    .execute(tx.connection())
    .await?;
    if marked.rows_affected() == 1 {
        let details = json!({"run": plan.id, "digest": plan.digest});
        tx.append(Event { subject: plan.subject, actor, action: "plan.superseded", details });
        tx.commit().await?;
    }
    Ok(ApplyRun::Superseded)
}

/// Whether no newer plan of that change was begun.
pub(in crate::ledger) async fn is_newest(tx: &mut Transaction, plan: &Run) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT FROM terraform_runs n JOIN terraform_runs p ON p.run_id = $1
         WHERE n.cluster_id = p.cluster_id AND n.deployment_uid = p.deployment_uid AND n.kind = 'Plan' AND n.change = p.change
           AND n.run_id <> p.run_id AND (n.created_at, n.run_id) > (p.created_at, p.run_id))",
    )
    .bind(plan.id)
    .fetch_one(tx.connection())
    .await?)
}

/// Whether a plan is the newest, and the state is the one that was planned on.
pub(in crate::ledger) async fn is_current(tx: &mut Transaction, plan: &Run) -> Result<bool> {
    let head: Option<(Option<String>, Option<i64>)> =
        sqlx::query_as("SELECT lineage, serial FROM state_keys WHERE organization_id = $1 AND state_key = $2")
            .bind(plan.subject.organization.as_str())
            .bind(crate::ledger::states::state_key(&plan.subject))
            .fetch_optional(tx.connection())
            .await?;
    let (lineage, serial) = head.unwrap_or_default();
    let same = lineage == plan.state_lineage && serial.unwrap_or(0) == plan.state_serial.unwrap_or(0);
    Ok(same && is_newest(tx, plan).await?)
}

/// Uses the approval up.
pub(super) async fn consume(tx: &mut Transaction, new: &NewApplyRun) -> Result<()> {
    let done = sqlx::query(
        "UPDATE approvals SET consumed_at = clock_timestamp(), consumed_by_run = $3
         WHERE organization_id = $1 AND digest = $2 AND consumed_at IS NULL",
    )
    .bind(new.subject.organization.as_str())
    .bind(&new.digest)
    .bind(new.id)
    .execute(tx.connection())
    .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::Integrity(format!("approval of {}: used up between lock and use", new.digest)))
    }
}
