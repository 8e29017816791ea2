//! Objects that a mirror table cannot take: kept by name with the reason, so that the others go on.

use uuid::Uuid;

use super::super::json::storable_text;
use super::super::{ObjectKind, Transaction, Writer, touched};
use super::{MirrorRow, Mirrored};
use crate::Result;

/// Whether the row is to blame: data, constraint, or a limit of Postgres. Everything else would befall any row.
pub(super) fn rows_fault(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

impl Writer {
    pub(super) async fn quarantine(
        &self,
        transaction: &mut Transaction,
        row: &MirrorRow,
        error: &str,
        mirrored: &mut Mirrored,
    ) -> Result<()> {
        let done = sqlx::query(
            "INSERT INTO mirror_quarantine (cluster_id, kind, uid, organization_id, namespace, name, resource_version, error)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (cluster_id, kind, uid) DO UPDATE SET organization_id = excluded.organization_id,
                resource_version = excluded.resource_version, error = excluded.error, seen_at = clock_timestamp(), resolved_at = NULL",
        )
        .bind(self.cluster())
        .bind(row.subject.kind.as_str())
        .bind(row.subject.uid)
        .bind(row.subject.organization.as_str())
        .bind(storable_text(&row.subject.namespace).0)
        .bind(storable_text(&row.subject.name).0)
        .bind(storable_text(&row.resource_version).0)
        .bind(storable_text(error).0)
        .execute(transaction.connection())
        .await?;
        mirrored.quarantined.push(row.subject.uid);
        touched(done.rows_affected(), 1, "mirror_quarantine")
    }

    /// These were taken now.
    pub(super) async fn release(&self, transaction: &mut Transaction, kind: ObjectKind, uids: &[Uuid]) -> Result<()> {
        sqlx::query(
            "UPDATE mirror_quarantine SET resolved_at = clock_timestamp()
             WHERE cluster_id = $1 AND kind = $2 AND uid = ANY($3) AND resolved_at IS NULL",
        )
        .bind(self.cluster())
        .bind(kind.as_str())
        .bind(uids)
        .execute(transaction.connection())
        .await?;
        Ok(())
    }
}
