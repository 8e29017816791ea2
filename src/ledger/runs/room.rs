//! Whether a run may begin beside the others of its cluster. Counted in the unit of work that commits it, one at a time:
//! two that look at once must not both see the last free place.

use uuid::Uuid;

use crate::Result;
use crate::api::Organization;
use crate::ledger::{Ledger, Subject, Transaction};

/// What may be under way at once.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Runs, the new one included.
    pub runs: usize,
    /// Whether all deployments must be of one organization.
    pub one_organization: bool,
}

/// What there is of organizations other than an object's own. Counts alone: their names are not its to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    /// Live deployments; 0 where only a run is left of one.
    pub deployments: i64,
    /// Organizations, from 1.
    pub organizations: i64,
}

/// Why a run may not begin, although nothing is wrong with it. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Every place is taken.
    NoPlace,
    /// There are deployments, or runs, of other organizations.
    Others(Others),
    /// The deployment's state stands under another organization than its namespace is of now.
    StateElsewhere(Organization),
}

/// The obstacle, if there is one; the new run's row is there already, and goes with the unit of work. What is found holds until
/// that ends. Asked last, so that others wait shortly.
pub(super) async fn obstacle(tx: &mut Transaction, subject: &Subject, room: Room) -> Result<Option<Obstacle>> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('landfall.runs/' || $1::text, 0))")
        .bind(subject.cluster)
        .execute(tx.connection())
        .await?;
    if let Some(other) = elsewhere(tx.connection(), subject).await? {
        return Ok(Some(Obstacle::StateElsewhere(other)));
    }
    let (runs, deployments, organizations): (i64, i64, i64) = sqlx::query_as(
        "WITH active AS (SELECT organization_id FROM terraform_runs
                         WHERE cluster_id = $1 AND phase NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted')),
              others AS (SELECT organization_id FROM terraform_deployments
                         WHERE cluster_id = $1 AND organization_id <> $2 AND deleted_at IS NULL)
         SELECT (SELECT count(*) FROM active), (SELECT count(*) FROM others),
                (SELECT count(*) FROM (SELECT organization_id FROM active WHERE organization_id <> $2 UNION
                                       SELECT organization_id FROM others) AS present)",
    )
    .bind(subject.cluster)
    .bind(subject.organization.as_str())
    .fetch_one(tx.connection())
    .await?;
    if room.one_organization && organizations > 0 {
        return Ok(Some(Obstacle::Others(Others { deployments, organizations })));
    }
    let full = usize::try_from(runs).unwrap_or(usize::MAX) > room.runs;
    Ok(full.then_some(Obstacle::NoPlace))
}

/// The other organization under which this very object holds a state.
async fn elsewhere(executor: impl sqlx::PgExecutor<'_>, subject: &Subject) -> Result<Option<Organization>> {
    let found: Option<String> = sqlx::query_scalar(
        "SELECT k.organization_id FROM state_keys k JOIN terraform_states s USING (organization_id, state_key, lineage, serial)
         WHERE k.cluster_id = $1 AND k.holder_uid = $2 AND k.organization_id <> $3
         ORDER BY s.written_at DESC LIMIT 1",
    )
    .bind(subject.cluster)
    .bind(subject.uid)
    .bind(subject.organization.as_str())
    .fetch_optional(executor)
    .await?;
    Ok(found.map(Organization))
}

impl Ledger {
    /// The other organization under which an object still holds a state: its namespace was of it before.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn state_elsewhere(&self, subject: &Subject) -> Result<Option<Organization>> {
        elsewhere(self.pool(), subject).await
    }

    /// The deployments of other organizations than the object's, in its cluster, if there are any. Under `local` planning
    /// runs the tenant's code beside the controller's keys: one organization may do that to itself, two may not.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn others(&self, subject: &Subject) -> Result<Option<Others>> {
        let (deployments, organizations): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(DISTINCT organization_id) FROM terraform_deployments
             WHERE cluster_id = $1 AND organization_id <> $2 AND deleted_at IS NULL",
        )
        .bind(subject.cluster)
        .bind(subject.organization.as_str())
        .fetch_one(self.pool())
        .await?;
        Ok((organizations > 0).then_some(Others { deployments, organizations }))
    }

    /// How many runs of a cluster have not ended.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn under_way(&self, cluster: Uuid) -> Result<usize> {
        let runs: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM terraform_runs
             WHERE cluster_id = $1 AND phase NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted')",
        )
        .bind(cluster)
        .fetch_one(self.pool())
        .await?;
        Ok(usize::try_from(runs).unwrap_or(usize::MAX))
    }
}
