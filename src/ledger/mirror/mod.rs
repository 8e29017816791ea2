//! Rows that follow objects. Within one watch newer resourceVersions win and tombstones are final; a list is the truth
//! and opens a new order, which heals missed deletions and a restored etcd. One odd object never fails its batch.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::types::Json;
use uuid::Uuid;

use self::row::Columns;
pub use self::row::MirrorRow;
pub use self::standing::deployment_standing;
use super::{
    Actor, Event, Ledger, ObjectKind, Subject, Transaction, Writer, acme, certificates, domains, former_sets,
    record_sets, repairs, revocations,
};
use crate::Result;
use crate::api::Organization;

mod quarantine;
mod row;
mod scope;
mod standing;
mod tables;

/// Why a row is tombstoned whose namespace is watched no more.
const NOT_WATCHED: &str = "NotWatched";
/// Why the set of an object that is gone stays.
const FINALIZER_OFF: &str = "its object is gone, and its finalizer was taken off before the set was taken away";
/// Rows of one statement.
const CHUNK: usize = 500;

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Rows written.
    pub written: usize,
    /// Rows that were there already, newer or the same.
    pub unchanged: usize,
    /// Rows that Postgres or the order of resourceVersions could not take.
    pub quarantined: Vec<Uuid>,
    /// Rows tombstoned, because a list does not hold them.
    pub buried: usize,
}

#[derive(sqlx::FromRow)]
struct Known {
    uid: Uuid,
    organization_id: String,
    generation: i64,
    spec: Json<Value>,
    leaving: bool,
    gone: bool,
}

#[derive(sqlx::FromRow)]
struct Buried {
    uid: Uuid,
    organization_id: String,
    namespace: String,
    name: String,
}

impl Writer {
    /// Rows from the watch of one kind. Where an object is twice among them, the last one counts.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`], or Postgres is away; an odd row is no error.
    pub async fn mirror_apply(&self, kind: ObjectKind, rows: &[MirrorRow]) -> Result<Mirrored> {
        let mut transaction = self.begin_for(&organizations(rows)).await?;
        let mirrored = self.put(&mut transaction, kind, rows, tables::of(kind)?.follow).await?;
        let namespaces = rows.iter().map(|row| row.subject.namespace.clone()).collect();
        self.mark_event(&mut transaction, kind, namespaces).await?;
        transaction.commit().await?;
        Ok(mirrored)
    }

    /// A complete list of one kind, of one namespace or of all: writes what differs and tombstones what is absent.
    ///
    /// # Errors
    /// As [`Self::mirror_apply`].
    pub async fn mirror_relist(
        &self,
        kind: ObjectKind,
        namespace: Option<&str>,
        rows: &[MirrorRow],
        list_rv: Option<&str>,
    ) -> Result<Mirrored> {
        let mut transaction = self.begin_for(&organizations(rows)).await?;
        let statements = tables::of(kind)?;
        let mut mirrored = self.put(&mut transaction, kind, rows, statements.replace).await?;
        let present: Vec<Uuid> = rows.iter().map(|row| row.subject.uid).collect();
        let buried: Vec<Buried> = sqlx::query_as(statements.bury_absent)
            .bind(self.cluster())
            .bind(present)
            .bind(namespace)
            .fetch_all(transaction.connection())
            .await?;
        mirrored.buried = buried.len();
        self.after_burial(&mut transaction, kind, buried, ("object.deleted", "ObservedAbsent")).await?;
        self.mark(&mut transaction, kind, namespace, Mark::List(list_rv)).await?;
        transaction.commit().await?;
        Ok(mirrored)
    }

    /// A deletion from the watch. Answers whether there was a live row.
    ///
    /// # Errors
    /// As [`Self::mirror_apply`].
    pub async fn mirror_delete(&self, kind: ObjectKind, uid: Uuid, at: Timestamp) -> Result<bool> {
        let mut transaction = self.begin_for(&[]).await?;
        let buried: Vec<Buried> = sqlx::query_as(tables::of(kind)?.bury)
            .bind(self.cluster())
            .bind(uid)
            .bind(at.to_sqlx())
            .bind("Deleted")
            .fetch_all(transaction.connection())
            .await?;
        let found = !buried.is_empty();
        let namespaces = buried.iter().map(|row| row.namespace.clone()).collect();
        self.after_burial(&mut transaction, kind, buried, ("object.deleted", "Deleted")).await?;
        self.mark_event(&mut transaction, kind, namespaces).await?;
        transaction.commit().await?;
        Ok(found)
    }

    /// The watch stands, and nothing has changed.
    ///
    /// # Errors
    /// As [`Self::mirror_apply`].
    pub async fn mirror_alive(&self, kind: ObjectKind, namespace: Option<&str>) -> Result<()> {
        let mut transaction = self.begin_for(&[]).await?;
        self.mark(&mut transaction, kind, namespace, Mark::Alive).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The organization that an object was last known to be of.
    ///
    /// # Errors
    /// As [`Self::mirror_apply`].
    pub async fn mirror_organization(&self, kind: ObjectKind, uid: Uuid) -> Result<Option<Organization>> {
        let mut transaction = self.begin_for(&[]).await?;
        let known: Option<Known> = sqlx::query_as(tables::of(kind)?.known)
            .bind(self.cluster())
            .bind(vec![uid])
            .fetch_optional(transaction.connection())
            .await?;
        transaction.commit().await?;
        Ok(known.map(|known| Organization(known.organization_id)))
    }

    /// A namespace went to another organization: its live rows of this kind go with it, history stays where it was.
    ///
    /// # Errors
    /// As [`Self::mirror_apply`].
    pub async fn mirror_relabel(
        &self,
        kind: ObjectKind,
        namespace: &str,
        organization: &Organization,
    ) -> Result<usize> {
        let mut transaction = self.begin(organization).await?;
        let moved: Vec<Buried> = sqlx::query_as(tables::of(kind)?.relabel)
            .bind(self.cluster())
            .bind(namespace)
            .bind(organization.as_str())
            .fetch_all(transaction.connection())
            .await?;
        let count = moved.len();
        if kind == ObjectKind::DnsRecord {
            let uids: Vec<Uuid> = moved.iter().map(|row| row.uid).collect();
            let actor = Actor::Controller(self.holder().to_owned());
            let why = "the namespace went to another organization";
            former_sets::end(&mut transaction, &actor, self.cluster(), &uids, why).await?;
        }
        for row in moved {
            let left = self.subject(kind, row);
            tell_move(&mut transaction, left, organization);
        }
        transaction.commit().await?;
        Ok(count)
    }

    async fn put(
        &self,
        transaction: &mut Transaction,
        kind: ObjectKind,
        rows: &[MirrorRow],
        statement: &'static str,
    ) -> Result<Mirrored> {
        let mut mirrored = Mirrored::default();
        let rows = last_of_each(rows);
        for chunk in rows.chunks(CHUNK) {
            let mut good = Vec::with_capacity(chunk.len());
            for row in chunk {
                match Columns::of(row) {
                    Ok(columns) => good.push((*row, columns)),
                    Err(error) => self.quarantine(transaction, row, &error, &mut mirrored).await?,
                }
            }
            self.put_chunk(transaction, kind, good, statement, &mut mirrored).await?;
        }
        Ok(mirrored)
    }

    async fn put_chunk(
        &self,
        transaction: &mut Transaction,
        kind: ObjectKind,
        rows: Vec<(&MirrorRow, Columns)>,
        statement: &'static str,
        mirrored: &mut Mirrored,
    ) -> Result<()> {
        let uids: Vec<Uuid> = rows.iter().map(|(row, _)| row.subject.uid).collect();
        let known: Vec<Known> = sqlx::query_as(tables::of(kind)?.known)
            .bind(self.cluster())
            .bind(&uids)
            .fetch_all(transaction.connection())
            .await?;
        let known: HashMap<Uuid, Known> = known.into_iter().map(|known| (known.uid, known)).collect();
        let columns: Vec<&Columns> = rows.iter().map(|(_, columns)| columns).collect();
        let written = match self.upsert(transaction, statement, &columns).await {
            Err(error) if quarantine::rows_fault(&error) => {
                let mut written = Vec::new();
                for (row, columns) in &rows {
                    match self.upsert(transaction, statement, &[columns]).await {
                        Err(error) if quarantine::rows_fault(&error) => {
                            self.quarantine(transaction, row, &error.to_string(), mirrored).await?;
                        }
                        other => written.extend(other?),
                    }
                }
                written
            }
            other => other?,
        };
        self.release(transaction, kind, &written).await?;
        let written: HashSet<Uuid> = written.into_iter().collect();
        mirrored.written += written.len();
        if kind == ObjectKind::Certificate {
            let back = |uid: &&Uuid| known.get(uid).is_some_and(|known| known.gone);
            let back: Vec<Uuid> = written.iter().filter(back).copied().collect();
            if !back.is_empty() {
                certificates::unbury(transaction, self.cluster(), &back).await?;
            }
        }
        let settled = |uid: &Uuid| written.contains(uid) || mirrored.quarantined.contains(uid);
        mirrored.unchanged += uids.iter().filter(|uid| !settled(uid)).count();
        for (row, columns) in rows.iter().filter(|(row, _)| written.contains(&row.subject.uid)) {
            tell(transaction, row, columns, known.get(&row.subject.uid));
        }
        Ok(())
    }

    /// In a savepoint, so that a refusal leaves the unit of work usable.
    async fn upsert(
        &self,
        transaction: &mut Transaction,
        statement: &'static str,
        rows: &[&Columns],
    ) -> Result<Vec<Uuid>, sqlx::Error> {
        let mut savepoint = transaction.connection().begin().await?;
        let written =
            sqlx::query_scalar(statement).bind(self.cluster()).bind(Json(rows)).fetch_all(&mut *savepoint).await?;
        savepoint.commit().await?;
        Ok(written)
    }

    async fn after_burial(
        &self,
        transaction: &mut Transaction,
        kind: ObjectKind,
        buried: Vec<Buried>,
        (action, reason): (&'static str, &'static str),
    ) -> Result<()> {
        if buried.is_empty() {
            return Ok(());
        }
        let uids: Vec<Uuid> = buried.iter().map(|row| row.uid).collect();
        for statement in [
            "UPDATE resolved_references SET gone_at = clock_timestamp() WHERE cluster_id = $1 AND from_uid = ANY($2) AND gone_at IS NULL",
            "UPDATE provider_health SET gone_at = clock_timestamp() WHERE cluster_id = $1 AND uid = ANY($2) AND gone_at IS NULL",
            "UPDATE certificates_issued SET gone_at = clock_timestamp() WHERE cluster_id = $1 AND uid = ANY($2) AND gone_at IS NULL",
            "UPDATE mirror_quarantine SET resolved_at = clock_timestamp() WHERE cluster_id = $1 AND uid = ANY($2) AND resolved_at IS NULL",
        ] {
            sqlx::query(statement).bind(self.cluster()).bind(&uids).execute(transaction.connection()).await?;
        }
        let actor = Actor::Controller(self.holder().to_owned());
        self.after_burial_of(kind, transaction, &actor, &uids, reason).await?;
        for row in buried {
            transaction.append(unsigned(self.subject(kind, row), action, json!({"reason": reason})));
        }
        Ok(())
    }

    /// What is not watched may be watched again, and is still to be revoked then, and its domains are held until their proof is too
    /// old. Its sets and proofs stay where they stand, on record: nobody looks after them.
    async fn after_burial_of(
        &self,
        kind: ObjectKind,
        transaction: &mut Transaction,
        actor: &Actor,
        uids: &[Uuid],
        reason: &str,
    ) -> Result<()> {
        let (cluster, is_gone) = (self.cluster(), reason != NOT_WATCHED);
        match kind {
            ObjectKind::Certificate => {
                certificates::bury(transaction, actor, cluster, uids).await?;
                repairs::bury(transaction, actor, cluster, uids).await?;
                acme::bury(transaction, actor, cluster, uids).await?;
                if is_gone {
                    revocations::bury(transaction, actor, cluster, uids).await?;
                }
                Ok(())
            }
            ObjectKind::DnsRecord => {
                let why = if is_gone { FINALIZER_OFF } else { "its namespace is watched no more" };
                record_sets::bury(transaction, actor, cluster, uids, why).await
            }
            ObjectKind::OrganizationDomain if is_gone => domains::bury(transaction, actor, cluster, uids, reason).await,
            ObjectKind::OrganizationDomain => domains::hide(transaction, cluster, uids).await,
            _ => Ok(()),
        }
    }

    fn subject(&self, kind: ObjectKind, row: Buried) -> Subject {
        Subject {
            organization: Organization(row.organization_id),
            cluster: self.cluster(),
            kind,
            uid: row.uid,
            namespace: row.namespace,
            name: row.name,
        }
    }

    async fn mark(
        &self,
        transaction: &mut Transaction,
        kind: ObjectKind,
        namespace: Option<&str>,
        mark: Mark<'_>,
    ) -> Result<()> {
        let (list, list_rv) = match mark {
            Mark::List(list_rv) => (true, list_rv.and_then(|rv| row::resource_version(rv).ok())),
            Mark::Alive => (false, None),
        };
        let done = sqlx::query(
            "INSERT INTO mirror_watermarks AS w (cluster_id, kind, namespace, epoch, list_rv, listed_at, last_alive_at)
             VALUES ($1, $2, $3, $4, $5::numeric, CASE WHEN $6 THEN now() END, CASE WHEN $7 THEN now() END)
             ON CONFLICT (cluster_id, kind, namespace) DO UPDATE SET epoch = excluded.epoch,
                list_rv = coalesce(excluded.list_rv, w.list_rv), listed_at = coalesce(excluded.listed_at, w.listed_at),
                last_alive_at = coalesce(excluded.last_alive_at, w.last_alive_at), unwatched_at = NULL",
        )
        .bind(self.cluster())
        .bind(kind.as_str())
        .bind(namespace.unwrap_or_default())
        .bind(self.epoch())
        .bind(list_rv)
        .bind(list)
        .bind(matches!(mark, Mark::Alive))
        .execute(transaction.connection())
        .await?;
        super::touched(done.rows_affected(), 1, "mirror_watermarks")
    }

    /// Events of these namespaces came by the watches of this leadership: that of each namespace, or that of all. Each was
    /// listed first, so its row is there.
    async fn mark_event(&self, transaction: &mut Transaction, kind: ObjectKind, namespaces: Vec<String>) -> Result<()> {
        sqlx::query(
            "UPDATE mirror_watermarks SET last_event_at = now()
             WHERE cluster_id = $1 AND kind = $2 AND epoch = $3 AND (namespace = '' OR namespace = ANY($4))",
        )
        .bind(self.cluster())
        .bind(kind.as_str())
        .bind(self.epoch())
        .bind(namespaces)
        .execute(transaction.connection())
        .await?;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Mark<'a> {
    List(Option<&'a str>),
    Alive,
}

impl Ledger {
    /// Objects of a cluster that the mirror could not take.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn quarantined(&self, cluster: Uuid) -> Result<i64> {
        let count =
            sqlx::query_scalar("SELECT count(*) FROM mirror_quarantine WHERE cluster_id = $1 AND resolved_at IS NULL")
                .bind(cluster)
                .fetch_one(&self.pool)
                .await?;
        Ok(count)
    }
}

fn organizations(rows: &[MirrorRow]) -> Vec<&str> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.subject.organization.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// One statement cannot touch a row twice.
fn last_of_each(rows: &[MirrorRow]) -> Vec<&MirrorRow> {
    let mut seen = HashSet::new();
    let mut last: Vec<&MirrorRow> = rows.iter().rev().filter(|row| seen.insert(row.subject.uid)).collect();
    last.reverse();
    last
}

/// What the change means to a reader of the activity log. Status alone is no event.
fn tell(transaction: &mut Transaction, row: &MirrorRow, columns: &Columns, known: Option<&Known>) {
    let subject = row.subject.clone();
    let actor = row.field_manager.clone().map_or(Actor::Unknown, Actor::FieldManager);
    let Some(known) = known else {
        transaction.append(Event {
            subject,
            actor,
            action: "object.created",
            details: json!({"generation": row.generation}),
        });
        return;
    };
    if known.organization_id != columns.organization_id {
        let left = Subject { organization: Organization(known.organization_id.clone()), ..subject.clone() };
        tell_move(transaction, left, &subject.organization);
    }
    if known.gone {
        transaction.append(unsigned(subject.clone(), "object.returned", json!({"generation": row.generation})));
    }
    if !known.leaving && columns.deletion_requested_at.is_some() {
        // Who deletes is not told by an object.
        transaction.append(unsigned(subject, "deletion.requested", json!({"generation": row.generation})));
    } else if known.generation < row.generation {
        let fields = row::changed_fields(&known.spec, &columns.spec);
        let details = json!({"generation": row.generation, "fields": fields});
        transaction.append(Event { subject, actor, action: "spec.changed", details });
    }
}

/// In the chains of both, each with the other's name.
fn tell_move(transaction: &mut Transaction, left: Subject, organization: &Organization) {
    let joined = Subject { organization: organization.clone(), ..left.clone() };
    let (from, to) = (left.organization.clone(), organization.clone());
    transaction.append(unsigned(left, "object.left", json!({"to": to})));
    transaction.append(unsigned(joined, "object.joined", json!({"from": from})));
}

fn unsigned(subject: Subject, action: &'static str, details: Value) -> Event {
    Event { subject, actor: Actor::Unknown, action, details }
}
