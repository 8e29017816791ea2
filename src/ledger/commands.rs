//! Commands that persons gave by annotation, other than approvals.

use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;

use super::{Actor, Event, Ledger, Subject, Writer};
use crate::Result;

impl Writer {
    /// Takes a command. The same value a second time is the same command.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn record_command(&self, subject: &Subject, command: &'static str, value: &str, by: &str) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        let done = sqlx::query(
            "INSERT INTO commands (organization_id, cluster_id, object_uid, command, value, given_by)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(subject.organization.as_str())
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(command)
        .bind(value)
        .bind(by)
        .execute(tx.connection())
        .await?;
        if done.rows_affected() == 1 {
            tx.append(Event {
                subject: subject.clone(),
                actor: Actor::User(by.to_owned()),
                action: "command.taken",
                details: json!({"command": command, "value": value}),
            });
        }
        tx.commit().await?;
        Ok(())
    }
}

impl Ledger {
    /// When one of these commands was last taken for an object.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn last_command(&self, subject: &Subject, commands: &[&str]) -> Result<Option<Timestamp>> {
        let row = sqlx::query(
            "SELECT max(taken_at) AS at FROM commands
             WHERE organization_id = $1 AND object_uid = $2 AND command = ANY ($3)",
        )
        .bind(subject.organization.as_str())
        .bind(subject.uid)
        .bind(commands)
        .fetch_one(self.pool())
        .await?;
        Ok(row.try_get::<Option<jiff_sqlx::Timestamp>, _>("at")?.map(jiff_sqlx::Timestamp::to_jiff))
    }

    /// How many organizations have live deployments in a cluster.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn deployment_organizations(&self, cluster: uuid::Uuid) -> Result<i64> {
        Ok(sqlx::query_scalar(
            "SELECT count(DISTINCT organization_id) FROM terraform_deployments WHERE cluster_id = $1 AND deleted_at IS NULL",
        )
        .bind(cluster)
        .fetch_one(self.pool())
        .await?)
    }
}
