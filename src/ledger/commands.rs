//! Commands that persons gave by annotation, other than approvals.

use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;

use super::{Actor, Event, Ledger, Subject, Writer};
use crate::Result;

/// A command that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The word: `approve`, `approveRefused`, `cancel`, `retry`, `reconcile`.
    pub command: String,
    /// The annotation's value.
    pub value: String,
    /// When it was taken last.
    pub at: Timestamp,
}

impl Writer {
    /// Takes a command. The same value a second time is the same command, given later.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn record_command(&self, subject: &Subject, command: &'static str, value: &str, by: &str) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        sqlx::query(
            "INSERT INTO commands (organization_id, cluster_id, object_uid, command, value, given_by)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (organization_id, object_uid, command, value)
             DO UPDATE SET given_by = excluded.given_by, taken_at = clock_timestamp()",
        )
        .bind(subject.organization.as_str())
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(command)
        .bind(value)
        .bind(by)
        .execute(tx.connection())
        .await?;
        tx.append(Event {
            subject: subject.clone(),
            actor: Actor::User(by.to_owned()),
            action: "command.taken",
            details: json!({"command": command, "value": value}),
        });
        tx.commit().await?;
        Ok(())
    }
}

impl Ledger {
    /// The newest of each command that was taken for an object.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn commands(&self, subject: &Subject) -> Result<Vec<Taken>> {
        let rows = sqlx::query(
            "SELECT DISTINCT ON (command) command, value, taken_at FROM commands
             WHERE organization_id = $1 AND object_uid = $2 ORDER BY command, taken_at DESC",
        )
        .bind(subject.organization.as_str())
        .bind(subject.uid)
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Taken {
                    command: row.try_get("command")?,
                    value: row.try_get("value")?,
                    at: row.try_get::<jiff_sqlx::Timestamp, _>("taken_at")?.to_jiff(),
                })
            })
            .collect()
    }
}
