//! Commands that persons gave by annotation, other than approvals.

use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;

use super::{Actor, Event, Ledger, Subject, Writer};
use crate::Result;
use crate::access::text;

/// The word of the last command that was taken away and not obeyed.
pub const DISCARDED: &str = "discarded";

/// A command that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The word: `approve`, `approveRefused`, `cancel`, `retry`, `reconcile`, or [`DISCARDED`].
    pub command: String,
    /// The annotation's value.
    pub value: String,
    /// Who gave it, by admission.
    pub by: String,
    /// When it was taken last.
    pub at: Timestamp,
}

impl Writer {
    /// Takes a command. The same one a second time, with no other in between, is one whose annotation has not gone yet.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn record_command(&self, subject: &Subject, command: &'static str, value: &str, by: &str) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        let taken = sqlx::query(
            "INSERT INTO commands AS c (organization_id, cluster_id, object_uid, command, value, given_by)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (organization_id, object_uid, command)
             DO UPDATE SET value = excluded.value, given_by = excluded.given_by, taken_at = clock_timestamp()
             WHERE (c.value, c.given_by) <> (excluded.value, excluded.given_by)
                OR EXISTS (SELECT FROM commands n WHERE n.organization_id = c.organization_id AND n.object_uid = c.object_uid
                             AND n.taken_at > c.taken_at)",
        )
        .bind(subject.organization.as_str())
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(command)
        .bind(value)
        .bind(by)
        .execute(tx.connection())
        .await?;
        if taken.rows_affected() == 0 {
            return Ok(());
        }
        tx.append(Event {
            subject: subject.clone(),
            actor: Actor::User(by.to_owned()),
            action: "command.taken",
            details: json!({"command": command, "value": value}),
        });
        tx.commit().await?;
        Ok(())
    }

    /// Puts on record that a command was not obeyed, and why. Who gave it is what it says itself.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn discard_command(
        &self,
        subject: &Subject,
        (command, value, by): (&'static str, &str, &str),
        why: &str,
    ) -> Result<()> {
        let (value, by) = (text::line(value, 200), text::line(by, 200));
        let mut tx = self.begin(&subject.organization).await?;
        sqlx::query(
            "INSERT INTO commands (organization_id, cluster_id, object_uid, command, value, given_by)
             VALUES ($1, $2, $3, $4, to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\" ') || $5, $6)
             ON CONFLICT (organization_id, object_uid, command)
             DO UPDATE SET value = excluded.value, given_by = excluded.given_by, taken_at = clock_timestamp()",
        )
        .bind(subject.organization.as_str())
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(DISCARDED)
        .bind(format!("{command} {value} by {by}: {why}"))
        .bind(&by)
        .execute(tx.connection())
        .await?;
        tx.append(Event {
            subject: subject.clone(),
            actor: Actor::Controller(self.holder().to_owned()),
            action: "command.discarded",
            details: json!({"command": command, "value": value, "by": by, "why": why}),
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
            "SELECT command, value, given_by, taken_at FROM commands WHERE organization_id = $1 AND object_uid = $2 ORDER BY command",
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
                    by: row.try_get("given_by")?,
                    at: row.try_get::<jiff_sqlx::Timestamp, _>("taken_at")?.to_jiff(),
                })
            })
            .collect()
    }
}
