//! Approvals: which person let which plan become a change. Each is used up by one apply.

use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;
use uuid::Uuid;

use super::runs::{Run, is_current, is_newest};
use super::words::{time, time_maybe};
use super::{Actor, Event, Ledger, Subject, Transaction, Writer};
use crate::Result;
use crate::api::Organization;
use crate::run::protocol::RunPhase;

/// What became of an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalTaken {
    /// It is on record.
    Recorded,
    /// It was on record, and has not been used.
    Already {
        /// Who approved.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// The current plan, and this run applied it.
    Applied(Uuid),
    /// It names no plan that may still be applied: another one is current, or the state has moved.
    Stale,
}

/// An approval on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRow {
    /// The user, as admission proved it.
    pub by: String,
    /// When the controller took it.
    pub at: Timestamp,
    /// When an apply used it up.
    pub consumed_at: Option<Timestamp>,
    /// Which apply.
    pub consumed_by: Option<Uuid>,
}

impl Writer {
    /// Takes a person's approval of a plan, by its full digest.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn record_approval(&self, subject: &Subject, digest: &str, by: &str) -> Result<ApprovalTaken> {
        let mut tx = self.begin(&subject.organization).await?;
        let plan = plan_of(&mut tx, subject, digest).await?;
        let refused = |why| (ApprovalTaken::Stale, "approval.refused", Some(why));
        let (taken, action, why) = match &plan {
            None => refused("no plan of this deployment has this digest"),
            Some(plan) => match (applied_by(&mut tx, plan).await?, given(&mut tx, subject, digest).await?) {
                (Some(run), _) if is_newest(&mut tx, plan).await? => return Ok(ApprovalTaken::Applied(run)),
                (Some(_), _) => refused("this plan was applied, and another one is current"),
                (None, _) if plan.phase != RunPhase::Succeeded || !is_current(&mut tx, plan).await? => {
                    refused("another plan is current, or the state has moved")
                }
                (None, Some((by, at))) => return Ok(ApprovalTaken::Already { by, at }),
                (None, None) => {
                    insert(&mut tx, subject, digest, by, plan.id).await?;
                    (ApprovalTaken::Recorded, "approval.given", None)
                }
            },
        };
        let details = json!({"digest": digest, "plan": plan.map(|plan| plan.id), "why": why});
        tx.append(Event { subject: subject.clone(), actor: Actor::User(by.to_owned()), action, details });
        tx.commit().await?;
        Ok(taken)
    }
}

async fn plan_of(tx: &mut Transaction, subject: &Subject, digest: &str) -> Result<Option<Run>> {
    let id: Option<Uuid> = sqlx::query_scalar(
        "SELECT run_id FROM terraform_runs
         WHERE organization_id = $1 AND cluster_id = $2 AND deployment_uid = $3 AND kind = 'Plan' AND plan_digest = $4",
    )
    .bind(subject.organization.as_str())
    .bind(subject.cluster)
    .bind(subject.uid)
    .bind(digest)
    .fetch_optional(tx.connection())
    .await?;
    match id {
        Some(id) => Run::locked(tx.connection(), id).await,
        None => Ok(None),
    }
}

/// The run that applied a plan, with a person's approval or without.
async fn applied_by(tx: &mut Transaction, plan: &Run) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar("SELECT run_id FROM terraform_runs WHERE plan_run_id = $1 AND kind = 'Apply'")
        .bind(plan.id)
        .fetch_optional(tx.connection())
        .await?)
}

/// The approval that a digest has.
async fn given(tx: &mut Transaction, subject: &Subject, digest: &str) -> Result<Option<(String, Timestamp)>> {
    let row = sqlx::query(
        "SELECT approved_by, approved_at FROM approvals WHERE organization_id = $1 AND digest = $2 FOR UPDATE",
    )
    .bind(subject.organization.as_str())
    .bind(digest)
    .fetch_optional(tx.connection())
    .await?;
    row.map(|row| Ok((row.try_get("approved_by")?, time(&row, "approved_at")?))).transpose()
}

async fn insert(tx: &mut Transaction, subject: &Subject, digest: &str, by: &str, plan: Uuid) -> Result<()> {
    sqlx::query(
        "INSERT INTO approvals (organization_id, digest, cluster_id, deployment_uid, plan_run_id, approved_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(subject.organization.as_str())
    .bind(digest)
    .bind(subject.cluster)
    .bind(subject.uid)
    .bind(plan)
    .bind(by)
    .execute(tx.connection())
    .await?;
    Ok(())
}

impl Ledger {
    /// The approval of a digest.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn approval(&self, organization: &Organization, digest: &str) -> Result<Option<ApprovalRow>> {
        let row = sqlx::query(
            "SELECT approved_by, approved_at, consumed_at, consumed_by_run FROM approvals WHERE organization_id = $1 AND digest = $2",
        )
        .bind(organization.as_str())
        .bind(digest)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ApprovalRow {
            by: row.try_get("approved_by")?,
            at: time(&row, "approved_at")?,
            consumed_at: time_maybe(&row, "consumed_at")?,
            consumed_by: row.try_get("consumed_by_run")?,
        }))
    }
}
