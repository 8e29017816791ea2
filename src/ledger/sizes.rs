//! How large something is, before it is read.

use uuid::Uuid;

use super::{Ledger, state_key};
use crate::Result;
use crate::run::protocol::Artifact;

impl Ledger {
    /// How long [`Self::artifact`]'s answer is, bytes; 0 where there is none.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn artifact_size(&self, run: Uuid, artifact: Artifact) -> Result<u64> {
        let size: Option<i64> = sqlx::query_scalar(
            "SELECT a.size FROM terraform_runs r JOIN run_artifacts a ON a.run_id = coalesce(r.plan_run_id, r.run_id)
             WHERE r.run_id = $1 AND a.name = $2",
        )
        .bind(run)
        .bind(artifact.as_str())
        .fetch_optional(&self.pool)
        .await?;
        Ok(size.unwrap_or_default().unsigned_abs())
    }

    /// How long the newest state of a run's deployment is, bytes; 0 where there is none.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn state_size(&self, run: Uuid) -> Result<u64> {
        let Some(run) = self.run(run).await? else { return Ok(0) };
        let size: Option<i64> = sqlx::query_scalar(
            "SELECT s.size FROM state_keys k JOIN terraform_states s USING (organization_id, state_key, lineage, serial)
             WHERE organization_id = $1 AND state_key = $2",
        )
        .bind(run.subject.organization.as_str())
        .bind(state_key(&run.subject))
        .fetch_optional(&self.pool)
        .await?;
        Ok(size.unwrap_or_default().unsigned_abs())
    }
}
