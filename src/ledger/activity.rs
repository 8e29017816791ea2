//! Units of work, and how their events become links of a chain.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use super::chain::{Link, instant};
use super::json::{jcs_safe, storable_text};
use super::{Event, Fence, Ledger, Writer};
use crate::api::Organization;
use crate::{Error, Result};

/// Rows and the events that tell of them, committed together. Dropped without [`Self::commit`], nothing happened.
pub struct Transaction {
    inner: sqlx::Transaction<'static, Postgres>,
    events: Vec<Event>,
    pub(super) leader: Option<(Fence, String)>,
}

impl Transaction {
    /// For the SQL of this unit.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Tells of it; numbered when the unit commits.
    pub fn append(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Appends the events to their chains and commits. The chains' heads are locked last, so that others wait shortly.
    /// Answers the events' numbers, in the order in which they were given.
    ///
    /// # Errors
    /// Postgres's; then nothing happened.
    pub async fn commit(mut self) -> Result<Vec<i64>> {
        let seqs = append_all(&mut self.inner, std::mem::take(&mut self.events)).await?;
        self.inner.commit().await?;
        Ok(seqs)
    }
}

impl Ledger {
    /// Opens a unit of work of any replica, for this organization's rows.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn begin(&self, organization: &Organization) -> Result<Transaction> {
        self.begin_for(&[organization.as_str()]).await
    }

    /// For rows of several organizations, or of none that could be new.
    pub(super) async fn begin_for(&self, organizations: &[&str]) -> Result<Transaction> {
        if !organizations.is_empty() {
            introduce(&mut *self.pool.acquire().await?, organizations, self.fence.as_deref()).await?;
        }
        let mut inner = self.pool.begin().await?;
        if let Some(fence) = &self.fence {
            fence.check(&mut inner).await?;
        }
        Ok(Transaction { inner, events: Vec::new(), leader: None })
    }
}

impl Writer {
    /// Opens a unit of work of the leader: no other can be elected until it ends.
    ///
    /// # Errors
    /// [`Error::Deposed`], or Postgres's.
    pub async fn begin(&self, organization: &Organization) -> Result<Transaction> {
        self.begin_for(&[organization.as_str()]).await
    }

    /// For rows of several organizations.
    pub(super) async fn begin_for(&self, organizations: &[&str]) -> Result<Transaction> {
        let mut transaction = Ledger::begin_for(self, organizations).await?;
        let fence = Fence { cluster: self.cluster(), epoch: self.epoch() };
        transaction.leader = Some((fence, self.holder().to_owned()));
        Ok(transaction)
    }
}

/// Makes organizations known, and with each its chain, unless the fence is a deposed leader's. In a unit of work of its own
/// it stays true whatever becomes of others. Where all are known nothing is locked or written, and so nothing is flushed.
async fn introduce(connection: &mut PgConnection, organizations: &[&str], fence: Option<&Fence>) -> Result<()> {
    sqlx::query(
        "WITH leads AS (SELECT FROM clusters WHERE cluster_id = $2 AND writer_epoch = $3 FOR SHARE)
         INSERT INTO organizations (organization_id)
         SELECT name FROM unnest($1::text[]) AS given(name)
         WHERE NOT EXISTS (SELECT FROM organizations WHERE organization_id = name) AND ($2 IS NULL OR EXISTS (SELECT FROM leads))
         ON CONFLICT DO NOTHING",
    )
    .bind(organizations)
    .bind(fence.map(|fence| fence.cluster))
    .bind(fence.map(|fence| fence.epoch))
    .execute(connection)
    .await?;
    Ok(())
}

/// Numbers, hashes and inserts the events; answers their numbers in the given order.
pub(super) async fn append_all(connection: &mut PgConnection, events: Vec<Event>) -> Result<Vec<i64>> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut heads = lock_heads(connection, &events).await?;
    let at: jiff_sqlx::Timestamp = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *connection).await?;
    let mut rows = Rows::default();
    let mut seqs = Vec::with_capacity(events.len());
    for event in events {
        let organization = event.subject.organization.clone();
        let head = heads.get_mut(organization.as_str()).ok_or_else(|| no_head(&organization))?;
        let link = link(event, head.seq + 1, at.to_jiff());
        let hash = link.hash(&head.hash)?;
        let prev = std::mem::replace(&mut head.hash, hash.to_vec());
        head.seq = link.seq;
        seqs.push(link.seq);
        rows.push(link, prev, hash);
    }
    rows.insert(connection, at).await?;
    move_heads(connection, heads).await?;
    Ok(seqs)
}

fn no_head(organization: &Organization) -> Error {
    Error::Integrity(format!(
        "organization {organization} has no head in audit_heads: somebody removed it; put the row back from a backup or from \
         the newest anchor"
    ))
}

fn link(event: Event, seq: i64, at: Timestamp) -> Link {
    let text = |text: &str| storable_text(text).0;
    Link {
        organization: event.subject.organization.0,
        seq,
        at: instant(at),
        actor: event.actor.name().map(|name| text(&name)),
        actor_kind: event.actor.kind().to_owned(),
        action: event.action.to_owned(),
        cluster: event.subject.cluster,
        object_kind: event.subject.kind.as_str().to_owned(),
        object_uid: event.subject.uid,
        object_namespace: text(&event.subject.namespace),
        object_name: text(&event.subject.name),
        details: jcs_safe(event.details),
    }
}

#[derive(sqlx::FromRow)]
struct Head {
    organization_id: String,
    seq: i64,
    hash: Vec<u8>,
}

/// In the order of their names, so that two units of work never wait for each other.
async fn lock_heads(connection: &mut PgConnection, events: &[Event]) -> Result<BTreeMap<String, Head>> {
    let names: BTreeSet<&str> = events.iter().map(|event| event.subject.organization.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let mut heads = select_heads(connection, &names).await?;
    if heads.len() < names.len() {
        introduce(connection, &names, None).await?;
        heads = select_heads(connection, &names).await?;
    }
    Ok(heads.into_iter().map(|head| (head.organization_id.clone(), head)).collect())
}

async fn select_heads(connection: &mut PgConnection, names: &[&str]) -> Result<Vec<Head>> {
    let heads = sqlx::query_as(
        "SELECT organization_id, seq, hash FROM audit_heads WHERE organization_id = ANY($1) ORDER BY organization_id FOR UPDATE",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    Ok(heads)
}

async fn move_heads(connection: &mut PgConnection, heads: BTreeMap<String, Head>) -> Result<()> {
    let count = heads.len() as u64;
    let (mut names, mut seqs, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for head in heads.into_values() {
        names.push(head.organization_id);
        seqs.push(head.seq);
        hashes.push(head.hash);
    }
    let done = sqlx::query(
        "UPDATE audit_heads h SET seq = n.seq, hash = n.hash, updated_at = clock_timestamp()
         FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS n(organization_id, seq, hash)
         WHERE h.organization_id = n.organization_id",
    )
    .bind(names)
    .bind(seqs)
    .bind(hashes)
    .execute(connection)
    .await?;
    super::touched(done.rows_affected(), count, "audit_heads")
}

/// Links as columns: one statement inserts them all.
#[derive(Default)]
struct Rows {
    organizations: Vec<String>,
    seqs: Vec<i64>,
    actors: Vec<Option<String>>,
    actor_kinds: Vec<String>,
    actions: Vec<String>,
    clusters: Vec<Uuid>,
    kinds: Vec<String>,
    uids: Vec<Uuid>,
    namespaces: Vec<String>,
    names: Vec<String>,
    details: Vec<Json<Value>>,
    prevs: Vec<Vec<u8>>,
    hashes: Vec<Vec<u8>>,
}

impl Rows {
    fn push(&mut self, link: Link, prev: Vec<u8>, hash: [u8; 32]) {
        self.organizations.push(link.organization);
        self.seqs.push(link.seq);
        self.actors.push(link.actor);
        self.actor_kinds.push(link.actor_kind);
        self.actions.push(link.action);
        self.clusters.push(link.cluster);
        self.kinds.push(link.object_kind);
        self.uids.push(link.object_uid);
        self.namespaces.push(link.object_namespace);
        self.names.push(link.object_name);
        self.details.push(Json(link.details));
        self.prevs.push(prev);
        self.hashes.push(hash.to_vec());
    }

    async fn insert(self, connection: &mut PgConnection, at: jiff_sqlx::Timestamp) -> Result<()> {
        let count = self.seqs.len() as u64;
        let done = sqlx::query(
            "INSERT INTO activity_log (organization_id, seq, at, actor, actor_kind, action, cluster_id, object_kind,
                                       object_uid, object_namespace, object_name, details, prev_hash, hash)
             SELECT organization_id, seq, $14, actor, actor_kind, action, cluster_id, object_kind,
                    object_uid, object_namespace, object_name, details, prev_hash, hash
             FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::uuid[],
                         $9::text[], $10::text[], $11::jsonb[], $12::bytea[], $13::bytea[])
                  AS n(organization_id, seq, actor, actor_kind, action, cluster_id, object_kind, object_uid,
                       object_namespace, object_name, details, prev_hash, hash)",
        )
        .bind(self.organizations)
        .bind(self.seqs)
        .bind(self.actors)
        .bind(self.actor_kinds)
        .bind(self.actions)
        .bind(self.clusters)
        .bind(self.kinds)
        .bind(self.uids)
        .bind(self.namespaces)
        .bind(self.names)
        .bind(self.details)
        .bind(self.prevs)
        .bind(self.hashes)
        .bind(at)
        .execute(connection)
        .await?;
        super::touched(done.rows_affected(), count, "activity_log")
    }
}
