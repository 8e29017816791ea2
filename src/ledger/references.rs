//! Who uses what, as the controller resolved it: what a deletion has to wait for.

use uuid::Uuid;

use super::intents::ObjectRow;
use super::{Ledger, ObjectKind, Subject, Transaction, Writer};
use crate::Result;

/// Puts down that `from` uses `to`.
pub(super) async fn put(tx: &mut Transaction, from: &Subject, to: &Subject) -> Result<()> {
    sqlx::query(
        "INSERT INTO resolved_references AS r (cluster_id, from_uid, to_uid, organization_id, from_kind, from_namespace,
                                               from_name, to_kind, to_namespace, to_name)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (cluster_id, from_uid, to_uid) DO UPDATE
         SET gone_at = NULL, since = clock_timestamp(), organization_id = excluded.organization_id
         WHERE r.gone_at IS NOT NULL OR r.organization_id <> excluded.organization_id",
    )
    .bind(from.cluster)
    .bind(from.uid)
    .bind(to.uid)
    .bind(from.organization.as_str())
    .bind(from.kind.as_str())
    .bind(&from.namespace)
    .bind(&from.name)
    .bind(to.kind.as_str())
    .bind(&to.namespace)
    .bind(&to.name)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Whether a live object uses this one.
pub(super) async fn is_used(tx: &mut Transaction, to: &Subject) -> Result<bool> {
    let used = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM resolved_references WHERE cluster_id = $1 AND to_uid = $2 AND gone_at IS NULL)",
    );
    Ok(used.bind(to.cluster).bind(to.uid).fetch_one(tx.connection()).await?)
}

impl Writer {
    /// The objects that `from` uses now; those used before and no longer are marked gone. Answers namespace and name of these.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`], or Postgres's.
    pub async fn put_references(&self, from: &Subject, to: &[Subject]) -> Result<Vec<(String, String)>> {
        let mut transaction = self.begin(&from.organization).await?;
        let uids: Vec<Uuid> = to.iter().map(|subject| subject.uid).collect();
        let gone = sqlx::query_as(
            "UPDATE resolved_references SET gone_at = clock_timestamp()
             WHERE cluster_id = $1 AND from_uid = $2 AND to_uid <> ALL($3) AND gone_at IS NULL
             RETURNING to_namespace, to_name",
        )
        .bind(from.cluster)
        .bind(from.uid)
        .bind(uids)
        .fetch_all(transaction.connection())
        .await?;
        for subject in to {
            put(&mut transaction, from, subject).await?;
        }
        transaction.commit().await?;
        Ok(gone)
    }
}

impl Ledger {
    /// uids of the objects of a kind that this one uses, as far as the ledger knows.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn referred(&self, cluster: Uuid, from: Uuid, kind: ObjectKind) -> Result<Vec<Uuid>> {
        let uids = sqlx::query_scalar(
            "SELECT to_uid FROM resolved_references WHERE cluster_id = $1 AND from_uid = $2 AND to_kind = $3 AND gone_at IS NULL",
        );
        Ok(uids.bind(cluster).bind(from).bind(kind.as_str()).fetch_all(&self.pool).await?)
    }

    /// Live objects that use this one, by name.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn referrers(&self, cluster: Uuid, uid: Uuid) -> Result<Vec<Subject>> {
        let rows: Vec<ObjectRow> = sqlx::query_as(
            "SELECT organization_id, cluster_id, from_kind AS object_kind, from_uid AS object_uid, from_namespace AS namespace,
                    from_name AS name
             FROM resolved_references WHERE cluster_id = $1 AND to_uid = $2 AND gone_at IS NULL
             ORDER BY from_namespace, from_name, from_uid",
        )
        .bind(cluster)
        .bind(uid)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(ObjectRow::subject).collect()
    }
}
