//! Whether a run may begin beside the others of its cluster. Counted in the unit of work that commits it, one at a time:
//! two that look at once must not both see the last free place.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use crate::Result;
use crate::api::Organization;
use crate::ledger::{Ledger, Subject, Transaction};

/// What may be under way at once.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Runs, the new one included.
    pub runs: usize,
    /// Of them, runs of one organization; `None`: as many as there are places.
    pub per_organization: Option<usize>,
    /// Of them, runs with one credential; `None`: as many as there are places.
    pub per_credential: Option<usize>,
    /// Whether all deployments must be of one organization.
    pub one_organization: bool,
}

impl Room {
    /// So many runs, of whomever.
    pub const fn of(runs: usize) -> Self {
        Self { runs, per_organization: None, per_credential: None, one_organization: false }
    }
}

/// A limit of [`Room`] that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `runs`.
    Runs,
    /// `per_organization`.
    Organization,
    /// `per_credential`.
    Credential,
}

/// The runs of a cluster that have not ended, counted by organization and by the uid of the credential that they use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    runs: usize,
    organizations: HashMap<Organization, usize>,
    credentials: HashMap<Uuid, usize>,
}

impl UnderWay {
    /// One more.
    pub fn add(&mut self, organization: &Organization, credential: Option<Uuid>) {
        self.runs = self.runs.saturating_add(1);
        let of = self.organizations.entry(organization.clone()).or_default();
        *of = of.saturating_add(1);
        if let Some(credential) = credential {
            let with = self.credentials.entry(credential).or_default();
            *with = with.saturating_add(1);
        }
    }

    /// One less.
    pub fn remove(&mut self, organization: &Organization, credential: Option<Uuid>) {
        self.runs = self.runs.saturating_sub(1);
        if let Some(of) = self.organizations.get_mut(organization) {
            *of = of.saturating_sub(1);
        }
        if let Some(with) = credential.and_then(|credential| self.credentials.get_mut(&credential)) {
            *with = with.saturating_sub(1);
        }
    }

    /// Those of an organization.
    pub fn of(&self, organization: &Organization) -> usize {
        self.organizations.get(organization).copied().unwrap_or_default()
    }

    fn with(&self, credential: Uuid) -> usize {
        self.credentials.get(&credential).copied().unwrap_or_default()
    }

    /// The limit that one more run would exceed; of several the narrowest.
    pub fn limit(&self, room: Room, organization: &Organization, credential: Option<Uuid>) -> Option<Limit> {
        let full = |limit: Option<usize>, runs: usize| limit.is_some_and(|limit| runs >= limit);
        if credential.is_some_and(|credential| full(room.per_credential, self.with(credential))) {
            return Some(Limit::Credential);
        }
        if full(room.per_organization, self.of(organization)) {
            return Some(Limit::Organization);
        }
        (self.runs >= room.runs).then_some(Limit::Runs)
    }
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
    /// Every place is taken that it may have.
    NoPlace {
        /// Which limit is reached.
        limit: Limit,
        /// The runs that have the places.
        under_way: UnderWay,
    },
    /// There are deployments, or runs, of other organizations.
    Others(Others),
    /// The deployment's state stands under another organization than its namespace is of now.
    StateElsewhere(Organization),
}

/// The obstacle, if there is one; the new run's row is there already, and goes with the unit of work. What is found holds until
/// that ends. Asked last, so that others wait shortly. `facts`: of the plan that is made or applied.
pub(super) async fn obstacle(
    tx: &mut Transaction,
    subject: &Subject,
    facts: &Value,
    room: Room,
) -> Result<Option<Obstacle>> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('landfall.runs/' || $1::text, 0))")
        .bind(subject.cluster)
        .execute(tx.connection())
        .await?;
    if let Some(other) = elsewhere(tx.connection(), subject).await? {
        return Ok(Some(Obstacle::StateElsewhere(other)));
    }
    if room.one_organization
        && let Some(others) = present(tx, subject).await?
    {
        return Ok(Some(Obstacle::Others(others)));
    }
    let (organization, credential) = (&subject.organization, credential(facts));
    let mut under_way = count(tx.connection(), subject.cluster).await?;
    under_way.remove(organization, credential);
    let limit = under_way.limit(room, organization, credential);
    Ok(limit.map(|limit| Obstacle::NoPlace { limit, under_way }))
}

/// The credential that a plan was made with, as its facts name it.
pub(crate) fn credential(facts: &Value) -> Option<Uuid> {
    Uuid::parse_str(facts.pointer("/credential/uid")?.as_str()?).ok()
}

/// Other organizations that have deployments, or runs that have not ended.
async fn present(tx: &mut Transaction, subject: &Subject) -> Result<Option<Others>> {
    let (deployments, organizations): (i64, i64) = sqlx::query_as(
        "WITH others AS (SELECT organization_id FROM terraform_deployments
                         WHERE cluster_id = $1 AND organization_id <> $2 AND deleted_at IS NULL)
         SELECT (SELECT count(*) FROM others),
                (SELECT count(*) FROM (SELECT organization_id FROM terraform_runs
                                       WHERE cluster_id = $1 AND organization_id <> $2
                                         AND phase NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted')
                                       UNION SELECT organization_id FROM others) AS present)",
    )
    .bind(subject.cluster)
    .bind(subject.organization.as_str())
    .fetch_one(tx.connection())
    .await?;
    Ok((organizations > 0).then_some(Others { deployments, organizations }))
}

async fn count(executor: impl sqlx::PgExecutor<'_>, cluster: Uuid) -> Result<UnderWay> {
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT r.organization_id, coalesce(p.facts, r.facts) #>> '{credential,uid}'
         FROM terraform_runs r LEFT JOIN terraform_runs p ON p.run_id = r.plan_run_id
         WHERE r.cluster_id = $1 AND r.phase NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted')",
    )
    .bind(cluster)
    .fetch_all(executor)
    .await?;
    let mut under_way = UnderWay::default();
    for (organization, credential) in rows {
        under_way.add(&Organization(organization), credential.and_then(|uid| Uuid::parse_str(&uid).ok()));
    }
    Ok(under_way)
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

    /// The runs of a cluster that have not ended.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn under_way(&self, cluster: Uuid) -> Result<UnderWay> {
        count(self.pool(), cluster).await
    }
}
