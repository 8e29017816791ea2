//! What only Postgres can tell of a cluster as a whole, for its metrics.

use std::time::Duration;

use uuid::Uuid;

use super::Ledger;
use super::words::variant;
use crate::Result;
use crate::api::Change;
use crate::run::protocol::{RunKind, RunPhase};
use sqlx::Row;

/// A run, as far as it is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFigures {
    /// UUID v7.
    pub id: Uuid,
    /// Plan or apply.
    pub kind: RunKind,
    /// Build or destroy.
    pub change: Change,
    /// Where it stands.
    pub phase: RunPhase,
    /// From its claim to its end; `None` until both were.
    pub took: Option<Duration>,
}

/// Locks and certificates of a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Age of the oldest lock of a state, seconds.
    pub oldest_lock: Option<f64>,
    /// When the first certificate expires that an object has, Unix time.
    pub soonest_expiry: Option<f64>,
    /// Of the certificate whose renewal is the latest: which share of the time from its renewal to its end has passed, from 0; one
    /// that nobody renews is due 14 days before its end, or for the last third of its life.
    pub renewal_lateness: Option<f64>,
}

impl Ledger {
    /// The runs of a cluster that have not ended, those of `known`, and those whose ids are above `floor`.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn run_figures(&self, cluster: Uuid, known: &[Uuid], floor: Uuid) -> Result<Vec<RunFigures>> {
        let rows = sqlx::query(
            "SELECT run_id, kind, change, phase, extract(epoch FROM finished_at - claimed_at)::float8 AS took
             FROM terraform_runs WHERE cluster_id = $1
               AND (run_id = ANY($2) OR run_id > $3 OR phase NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted'))",
        )
        .bind(cluster)
        .bind(known)
        .bind(floor)
        .fetch_all(self.pool())
        .await?;
        let figures = |row| -> Result<RunFigures> {
            let took: Option<f64> = sqlx::postgres::PgRow::try_get(row, "took")?;
            Ok(RunFigures {
                id: row.try_get("run_id")?,
                kind: variant(row, "kind")?,
                change: variant(row, "change")?,
                phase: variant(row, "phase")?,
                took: took.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            })
        };
        rows.iter().map(figures).collect()
    }

    /// Locks and certificates of a cluster.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn figures(&self, cluster: Uuid) -> Result<Figures> {
        let (oldest_lock, soonest_expiry, renewal_lateness) = sqlx::query_as(
            "SELECT (SELECT extract(epoch FROM clock_timestamp() - min(locked_at))::float8
                     FROM state_keys WHERE cluster_id = $1 AND lock IS NOT NULL),
                    soonest, late
             FROM (SELECT extract(epoch FROM min(not_after))::float8 AS soonest,
                          max(greatest(0, extract(epoch FROM clock_timestamp() - due) / extract(epoch FROM not_after - due)))::float8 AS late
                   FROM (SELECT not_after, least(coalesce(renewal_time, not_after - least(interval '14 days', (not_after - not_before) / 3)), not_after - interval '1 second') AS due
                         FROM ssl_certificates WHERE cluster_id = $1 AND deleted_at IS NULL AND not_after IS NOT NULL) AS used) AS certificates",
        )
        .bind(cluster)
        .fetch_one(self.pool())
        .await?;
        Ok(Figures { oldest_lock, soonest_expiry, renewal_lateness })
    }
}
