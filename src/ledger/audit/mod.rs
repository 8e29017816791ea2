//! Does the activity log still say what was written? Walks every chain in one snapshot and names the first damage.
//!
//! What the chain alone cannot show: somebody who owns the database rewrites the newest events, all hashes after them
//! and the head. [`Anchor`]s kept elsewhere show that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{Executor, PgConnection, PgPool};
use uuid::Uuid;

use self::walk::{Stored, Walk};
use super::chain::Link;
use crate::Result;
use crate::api::Organization;

mod walk;

/// Rows of one statement.
const CHUNK: i64 = 1000;

/// A chain's head, to be kept outside of Postgres.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Whose chain.
    pub organization: String,
    /// Number of the event.
    pub seq: i64,
    /// Its hash, hex.
    pub hash: String,
}

/// What was found of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Whose chain.
    pub organization: Organization,
    /// Events that are in order.
    pub events: i64,
    /// The first damage.
    pub damage: Option<Damage>,
}

/// A damage, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The first number that is not what was written.
    pub seq: i64,
    /// What was done.
    pub kind: DamageKind,
}

/// What can be done to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DamageKind {
    /// A row was changed.
    Edited,
    /// A row is missing.
    Deleted,
    /// A row is too many.
    Inserted,
    /// Two rows changed places.
    Swapped,
    /// The newest rows are missing.
    TailCut,
    /// The head, or an anchor, speaks of other rows than are there.
    HeadRewritten,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            DamageKind::Edited => "was edited",
            DamageKind::Deleted => "is missing",
            DamageKind::Inserted => "was inserted",
            DamageKind::Swapped => "changed places with another",
            DamageKind::TailCut => "and what followed were cut off",
            DamageKind::HeadRewritten => "is not the one that the head or an anchor names",
        };
        write!(f, "event {} {what}", self.seq)
    }
}

/// Walks the chains that the pool's role may see, or one of them.
///
/// # Errors
/// Postgres's; damage is no error.
pub async fn verify(
    pool: &PgPool,
    organization: Option<&Organization>,
    anchors: &[Anchor],
) -> Result<Vec<ChainReport>> {
    let mut transaction = pool.begin().await?;
    transaction.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    // A log may be as long as it likes.
    transaction.execute("SET LOCAL statement_timeout = 0").await?;
    let heads = heads(&mut transaction, organization).await?;
    let mut reports = Vec::new();
    for (name, head) in heads {
        let anchors = anchors.iter().filter(|anchor| anchor.organization == name).cloned().collect();
        let (events, damage) = walk_chain(&mut transaction, &name, head.as_ref(), anchors).await?;
        reports.push(ChainReport { organization: Organization(name), events, damage });
    }
    // An anchor of a chain that is gone altogether.
    for anchor in
        anchors.iter().filter(|anchor| organization.is_none_or(|wanted| wanted.as_str() == anchor.organization))
    {
        if anchor.seq > 0 && !reports.iter().any(|report| report.organization.as_str() == anchor.organization) {
            let damage = Some(Damage { seq: 1, kind: DamageKind::TailCut });
            reports.push(ChainReport { organization: Organization(anchor.organization.clone()), events: 0, damage });
        }
    }
    transaction.commit().await?;
    Ok(reports)
}

/// The heads of all chains that this role may see: keep them outside of Postgres, and give them to [`verify`].
///
/// # Errors
/// Postgres's.
pub async fn anchors(pool: &PgPool) -> Result<Vec<Anchor>> {
    let rows: Vec<(String, i64, Vec<u8>)> =
        sqlx::query_as("SELECT organization_id, seq, hash FROM audit_heads ORDER BY organization_id")
            .fetch_all(pool)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(organization, seq, hash)| Anchor { organization, seq, hash: hex::encode(hash) })
        .collect())
}

/// Those of the anchors whose event the log does not hold as they name it.
///
/// # Errors
/// Postgres's.
pub async fn lost(pool: &PgPool, anchors: &[Anchor]) -> Result<Vec<Anchor>> {
    let organizations: Vec<_> = anchors.iter().map(|anchor| anchor.organization.as_str()).collect();
    let seqs: Vec<_> = anchors.iter().map(|anchor| anchor.seq).collect();
    let hashes: Vec<_> = anchors.iter().map(|anchor| anchor.hash.as_str()).collect();
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT k.organization, k.seq, k.hash FROM unnest($1::text[], $2::bigint[], $3::text[]) AS k(organization, seq, hash)
         WHERE k.seq > 0 AND NOT EXISTS (SELECT FROM activity_log a WHERE a.organization_id = k.organization
                                         AND a.seq = k.seq AND encode(a.hash, 'hex') = k.hash)",
    )
    .bind(&organizations)
    .bind(&seqs)
    .bind(&hashes)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(organization, seq, hash)| Anchor { organization, seq, hash }).collect())
}

type Heads = BTreeMap<String, Option<(i64, Vec<u8>)>>;

/// The organizations that a table names, by as many look-ups in its index as there are organizations.
macro_rules! named_in {
    ($table:literal) => {
        concat!(
            "(WITH RECURSIVE o AS ((SELECT organization_id FROM ",
            $table,
            " ORDER BY organization_id LIMIT 1) UNION ALL
              SELECT (SELECT t.organization_id FROM ",
            $table,
            " t WHERE t.organization_id > o.organization_id
                      ORDER BY t.organization_id LIMIT 1) FROM o WHERE o.organization_id IS NOT NULL)
              SELECT organization_id FROM o WHERE organization_id IS NOT NULL)"
        )
    };
}

/// Chains by their head, and those that have lost it: every organization of which any row is left had one.
async fn heads(connection: &mut PgConnection, organization: Option<&Organization>) -> Result<Heads> {
    let rows: Vec<(String, Option<i64>, Option<Vec<u8>>)> = sqlx::query_as(concat!(
        "SELECT o.organization_id, h.seq, h.hash
         FROM (SELECT organization_id FROM organizations UNION SELECT organization_id FROM audit_heads UNION ",
        named_in!("activity_log"),
        " UNION ",
        named_in!("terraform_runs"),
        " UNION ",
        named_in!("terraform_deployments"),
        " UNION ",
        named_in!("cloud_provider_credentials"),
        ") o LEFT JOIN audit_heads h USING (organization_id) WHERE $1::text IS NULL OR o.organization_id = $1",
    ))
    .bind(organization.map(Organization::as_str))
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(name, seq, hash)| (name, seq.zip(hash))).collect())
}

async fn walk_chain(
    connection: &mut PgConnection,
    organization: &str,
    head: Option<&(i64, Vec<u8>)>,
    anchors: Vec<Anchor>,
) -> Result<(i64, Option<Damage>)> {
    let mut walk = Walk::new(anchors);
    let mut after = i64::MIN;
    loop {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT organization_id, seq, coalesce(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), '') AS at,
                    actor, actor_kind, action, cluster_id, object_kind, object_uid, object_namespace, object_name,
                    details::text AS details, prev_hash, hash
             FROM activity_log WHERE organization_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        )
        .bind(organization)
        .bind(after)
        .bind(CHUNK)
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        for row in rows {
            if head.is_some_and(|(seq, hash)| *seq == walk.seq && *hash == walk.hash) {
                // The head names the row before this one: this one never came from an appender.
                return Ok((walk.seq, Some(Damage { seq: row.seq, kind: DamageKind::Inserted })));
            }
            if let Some(misfit) = walk.step(row.stored())? {
                let original = original(connection, organization, &misfit.prev).await?;
                return Ok((walk.seq, Some(misfit.explain(original.as_ref())?)));
            }
        }
    }
    Ok((walk.seq, walk.end(head)))
}

async fn original(connection: &mut PgConnection, organization: &str, prev: &[u8]) -> Result<Option<Stored>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT organization_id, seq, coalesce(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), '') AS at,
                actor, actor_kind, action, cluster_id, object_kind, object_uid, object_namespace, object_name,
                details::text AS details, prev_hash, hash
         FROM activity_log WHERE organization_id = $1 AND prev_hash = $2 ORDER BY seq DESC LIMIT 1",
    )
    .bind(organization)
    .bind(prev)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Row::stored))
}

/// Times and JSON as text: what cannot be read must show as damage, not as an error.
#[derive(sqlx::FromRow)]
struct Row {
    organization_id: String,
    seq: i64,
    at: String,
    actor: Option<String>,
    actor_kind: String,
    action: String,
    cluster_id: Uuid,
    object_kind: String,
    object_uid: Uuid,
    object_namespace: String,
    object_name: String,
    details: String,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
}

impl Row {
    fn stored(self) -> Stored {
        let link = Link {
            organization: self.organization_id,
            seq: self.seq,
            at: self.at,
            actor: self.actor,
            actor_kind: self.actor_kind,
            action: self.action,
            cluster: self.cluster_id,
            object_kind: self.object_kind,
            object_uid: self.object_uid,
            object_namespace: self.object_namespace,
            object_name: self.object_name,
            details: serde_json::from_str(&self.details).unwrap_or(serde_json::Value::String(self.details)),
        };
        Stored { link, prev: self.prev_hash, hash: self.hash }
    }
}
