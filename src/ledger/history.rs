//! What happened, for people.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::{Ledger, ObjectKind, Subject};
use crate::Result;

/// Which events; what is left out does not narrow.
#[derive(Clone, Debug, Default)]
pub struct HistoryFilter {
    /// Cluster.
    pub cluster: Option<Uuid>,
    /// Organization.
    pub organization: Option<String>,
    /// Kind of object.
    pub kind: Option<ObjectKind>,
    /// The object's uid.
    pub uid: Option<Uuid>,
    /// The object's namespace.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: Option<String>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// At most so many, the newest; 100 where 0.
    pub limit: u32,
}

/// One event.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct ActivityRow {
    /// Whose chain.
    pub organization_id: String,
    /// Its number there.
    pub seq: i64,
    /// When, by Postgres's clock.
    #[serde(serialize_with = "instant")]
    pub at: jiff_sqlx::Timestamp,
    /// Who.
    pub actor: Option<String>,
    /// How far that can be trusted.
    pub actor_kind: String,
    /// What.
    pub action: String,
    /// Kind of object.
    pub object_kind: String,
    /// Its uid.
    pub object_uid: Uuid,
    /// Its namespace.
    pub object_namespace: String,
    /// Its name.
    pub object_name: String,
    /// The rest.
    pub details: Value,
}

fn instant<S: Serializer>(at: &jiff_sqlx::Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    at.to_jiff().serialize(serializer)
}

/// Events in the order of their time, as far as the pool's role may see them.
///
/// # Errors
/// Postgres's.
pub async fn history(pool: &PgPool, filter: &HistoryFilter) -> Result<Vec<ActivityRow>> {
    let mut rows: Vec<ActivityRow> = sqlx::query_as(
        "SELECT organization_id, seq, at, actor, actor_kind, action, object_kind, object_uid, object_namespace, object_name, details
         FROM activity_log
         WHERE ($1::text IS NULL OR organization_id = $1) AND ($2::text IS NULL OR object_kind = $2)
           AND ($3::uuid IS NULL OR object_uid = $3) AND ($4::text IS NULL OR object_namespace = $4)
           AND ($5::text IS NULL OR object_name = $5) AND ($6::timestamptz IS NULL OR at >= $6)
           AND ($8::uuid IS NULL OR cluster_id = $8)
         ORDER BY at DESC, organization_id, seq DESC LIMIT $7",
    )
    .bind(&filter.organization)
    .bind(filter.kind.map(ObjectKind::as_str))
    .bind(filter.uid)
    .bind(&filter.namespace)
    .bind(&filter.name)
    .bind(filter.since.map(ToSqlx::to_sqlx))
    .bind(i64::from(if filter.limit == 0 { 100 } else { filter.limit }))
    .bind(filter.cluster)
    .fetch_all(pool)
    .await?;
    rows.reverse();
    Ok(rows)
}

/// Namespaces and names of a kind, of those objects to which something happened last, as far as the pool's role may see.
///
/// # Errors
/// Postgres's.
pub async fn recent_names(pool: &PgPool, kind: ObjectKind) -> Result<Vec<(String, String)>> {
    Ok(sqlx::query_as(
        "SELECT DISTINCT object_namespace, object_name
         FROM (SELECT object_kind, object_namespace, object_name FROM activity_log ORDER BY at DESC LIMIT 10000) recent
         WHERE object_kind = $1",
    )
    .bind(kind.as_str())
    .fetch_all(pool)
    .await?)
}

/// The organizations of which something is on record, as far as the pool's role may see.
///
/// # Errors
/// Postgres's.
pub async fn organizations(pool: &PgPool) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT organization_id FROM audit_heads ORDER BY organization_id").fetch_all(pool).await?)
}

/// The clusters that have or had an object of this name, as far as the pool's role may see.
///
/// # Errors
/// Postgres's.
pub async fn clusters_of(pool: &PgPool, kind: ObjectKind, namespace: &str, name: &str) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar(
        "SELECT DISTINCT cluster_id FROM activity_log
         WHERE object_kind = $1 AND object_namespace = $2 AND object_name = $3 ORDER BY cluster_id",
    )
    .bind(kind.as_str())
    .bind(namespace)
    .bind(name)
    .fetch_all(pool)
    .await?)
}

impl Ledger {
    /// Details of the newest event of an object that is one of these.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn newest_event(&self, subject: &Subject, actions: &[&str]) -> Result<Option<Value>> {
        Ok(sqlx::query_scalar(
            "SELECT details FROM activity_log WHERE organization_id = $1 AND object_uid = $2 AND action = ANY($3)
             ORDER BY seq DESC LIMIT 1",
        )
        .bind(subject.organization.as_str())
        .bind(subject.uid)
        .bind(actions)
        .fetch_optional(self.pool())
        .await?)
    }
}
