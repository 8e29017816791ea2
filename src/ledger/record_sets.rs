//! Which object asks for which record set, and what was last written for it. Others trust these rows, never a status.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::json;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Actor, Event, Ledger, ObjectKind, Subject, Transaction, Writer};
use crate::api::Organization;
use crate::{Error, Result};

/// An object that asks for a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordClaim {
    /// The object.
    pub subject: Subject,
    /// The set's name: lower-case A-labels without a dot behind.
    pub fqdn: String,
    /// The set's type, as zone files write it.
    pub kind: String,
    /// When the object was made: of several that ask, the oldest has the set.
    pub created_at: Timestamp,
}

/// What is known of an object's set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFact {
    /// What it asks for.
    pub claim: RecordClaim,
    /// What was last written for it.
    pub written: Option<WrittenSet>,
    /// How often it was put right in the last ten minutes.
    pub repairs: u32,
    /// Whether it asks still: an object that may not have the set, or only looks, keeps nobody from it.
    pub asks: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenSet {
    /// uid of the credential.
    pub credential: Uuid,
    /// The provider's id of the zone.
    pub zone_id: String,
    /// The zone's name.
    pub zone: String,
    /// Endpoint of the server that holds the zone; `None` where it was not put down.
    pub server: Option<String>,
    /// Seconds.
    pub ttl: u32,
    /// Values in presentation form.
    pub data: Vec<String>,
    /// The set's digest.
    pub digest: String,
}

const COLUMNS: &str = "organization_id, cluster_id, uid, namespace, name, fqdn, type, object_created_at, credential_uid, zone_id, zone, server, ttl,
    data, digest, asks, (SELECT count(*) FROM unnest(repaired_at) r WHERE r > clock_timestamp() - interval '10 minutes') AS repairs";

impl RecordFact {
    fn read(row: &PgRow) -> Result<Self> {
        let written = match row.try_get::<Option<Uuid>, _>("credential_uid")? {
            None => None,
            Some(credential) => Some(WrittenSet {
                credential,
                zone_id: row.try_get("zone_id")?,
                zone: row.try_get("zone")?,
                server: row.try_get("server")?,
                ttl: u32::try_from(row.try_get::<i32, _>("ttl")?).unwrap_or_default(),
                data: row.try_get::<Json<Vec<String>>, _>("data")?.0,
                digest: row.try_get("digest")?,
            }),
        };
        let repairs = u32::try_from(row.try_get::<i64, _>("repairs")?).unwrap_or(u32::MAX);
        Ok(Self { claim: claim(row)?, written, repairs, asks: row.try_get("asks")? })
    }
}

fn claim(row: &PgRow) -> Result<RecordClaim> {
    Ok(RecordClaim {
        subject: Subject {
            organization: Organization(row.try_get("organization_id")?),
            cluster: row.try_get("cluster_id")?,
            kind: ObjectKind::DnsRecord,
            uid: row.try_get("uid")?,
            namespace: row.try_get("namespace")?,
            name: row.try_get("name")?,
        },
        fqdn: row.try_get("fqdn")?,
        kind: row.try_get("type")?,
        created_at: row.try_get::<jiff_sqlx::Timestamp, _>("object_created_at")?.to_jiff(),
    })
}

impl Ledger {
    /// What is known of an object's set.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn record_fact(&self, cluster: Uuid, uid: Uuid) -> Result<Option<RecordFact>> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM record_sets WHERE cluster_id = $1 AND uid = $2 AND gone_at IS NULL"
        )))
        .bind(cluster)
        .bind(uid)
        .fetch_optional(self.pool())
        .await?;
        row.as_ref().map(RecordFact::read).transpose()
    }

    /// The other objects of the organization that ask for a set of this name, of any type.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn record_rivals(&self, subject: &Subject, fqdn: &str) -> Result<Vec<RecordClaim>> {
        let rows = sqlx::query(RIVALS)
            .bind(subject.organization.as_str())
            .bind(fqdn)
            .bind(subject.cluster)
            .bind(subject.uid)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(claim).collect()
    }
}

const RIVALS: &str =
    "SELECT organization_id, cluster_id, uid, namespace, name, fqdn, type, object_created_at FROM record_sets
    WHERE organization_id = $1 AND fqdn = $2 AND gone_at IS NULL AND asks AND (cluster_id, uid) <> ($3, $4)";

impl Writer {
    /// Puts down that an object asks for a set below a domain, before anything is written for it. What it had under another
    /// organization or name is left, on record. Answers who else asks for one of that name: of two that ask at once, the second
    /// sees the first.
    ///
    /// # Errors
    /// [`crate::api::Reason::DomainNotVerified`] where the domain is lost by `now`; [`Error::Deposed`]; Postgres's.
    pub async fn claim_record_set(
        &self,
        claim: &RecordClaim,
        domain: &Subject,
        now: Timestamp,
    ) -> Result<Vec<RecordClaim>> {
        let mut tx = self.begin(&claim.subject.organization).await?;
        take_turn(&mut tx, claim).await?;
        super::domains::hold(&mut tx, domain, now).await?;
        let actor = Actor::Controller(self.holder().to_owned());
        super::former_sets::end_unless(&mut tx, &actor, claim, domain).await?;
        sqlx::query(
            "INSERT INTO record_sets AS r (cluster_id, uid, organization_id, namespace, name, fqdn, type, object_created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (cluster_id, uid) DO UPDATE SET organization_id = excluded.organization_id, fqdn = excluded.fqdn,
                type = excluded.type, object_created_at = excluded.object_created_at, asks = true, gone_at = NULL, kept = NULL",
        )
        .bind(claim.subject.cluster)
        .bind(claim.subject.uid)
        .bind(claim.subject.organization.as_str())
        .bind(&claim.subject.namespace)
        .bind(&claim.subject.name)
        .bind(&claim.fqdn)
        .bind(&claim.kind)
        .bind(claim.created_at.to_sqlx())
        .execute(tx.connection())
        .await?;
        super::references::put(&mut tx, &claim.subject, domain).await?;
        let rivals = rivals(&mut tx, claim).await?;
        tx.commit().await?;
        Ok(rivals)
    }

    /// Puts down what was written for an object; `repair` where it was put right after somebody else's change. Answers who
    /// else asks for a set of that name.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's; no claim of that object.
    pub async fn put_record_set(
        &self,
        claim: &RecordClaim,
        written: &WrittenSet,
        repair: bool,
    ) -> Result<Vec<RecordClaim>> {
        let mut tx = self.begin(&claim.subject.organization).await?;
        let done = sqlx::query(
            "UPDATE record_sets SET credential_uid = $3, zone_id = $4, zone = $5, ttl = $6, data = $7, digest = $8, server = $10,
                written_at = clock_timestamp(), repaired_at = CASE WHEN NOT $9 THEN repaired_at ELSE
                    array(SELECT r FROM unnest(repaired_at) r WHERE r > clock_timestamp() - interval '10 minutes') || clock_timestamp() END
             WHERE cluster_id = $1 AND uid = $2 AND gone_at IS NULL",
        )
        .bind(claim.subject.cluster)
        .bind(claim.subject.uid)
        .bind(written.credential)
        .bind(&written.zone_id)
        .bind(&written.zone)
        .bind(i32::try_from(written.ttl).unwrap_or(i32::MAX))
        .bind(Json(&written.data))
        .bind(&written.digest)
        .bind(repair)
        .bind(&written.server)
        .execute(tx.connection())
        .await?;
        super::touched(done.rows_affected(), 1, "record_sets")?;
        let rivals = rivals(&mut tx, claim).await?;
        tx.commit().await?;
        Ok(rivals)
    }

    /// The object keeps nobody from the set any more; what was written for it stays known. Answers who else asks for a set of
    /// that name.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn yield_record_set(&self, claim: &RecordClaim) -> Result<Vec<RecordClaim>> {
        self.change(claim, "UPDATE record_sets SET asks = false WHERE cluster_id = $1 AND uid = $2").await
    }

    /// Nothing stands any more of what was written for an object. Answers who else asks for a set of that name.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn forget_record_set(&self, claim: &RecordClaim) -> Result<Vec<RecordClaim>> {
        let sql = "UPDATE record_sets SET credential_uid = NULL, zone_id = NULL, zone = NULL, server = NULL, ttl = NULL, data = NULL,
                digest = NULL, written_at = NULL WHERE cluster_id = $1 AND uid = $2";
        self.change(claim, sql).await
    }

    async fn change(&self, claim: &RecordClaim, sql: &'static str) -> Result<Vec<RecordClaim>> {
        let mut tx = self.begin(&claim.subject.organization).await?;
        take_turn(&mut tx, claim).await?;
        sqlx::query(sql).bind(claim.subject.cluster).bind(claim.subject.uid).execute(tx.connection()).await?;
        let rivals = rivals(&mut tx, claim).await?;
        tx.commit().await?;
        Ok(rivals)
    }

    /// Puts down that a set stays at the provider though no object has it there any more, and why.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn keep_record_set(&self, claim: &RecordClaim, written: &WrittenSet, why: &str) -> Result<()> {
        let mut tx = self.begin(&claim.subject.organization).await?;
        tx.append(kept(&Actor::Controller(self.holder().to_owned()), claim, written, why));
        tx.commit().await.map(drop)
    }

    /// The object asks no more. What was written for it is from now on `heir`'s, where there is one, or stays at the provider,
    /// which is on record with `why`. Answers who else asks for a set of that name.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn leave_record_set(
        &self,
        fact: &RecordFact,
        heir: Option<&RecordClaim>,
        why: Option<&str>,
    ) -> Result<Vec<RecordClaim>> {
        let claim = &fact.claim;
        let actor = Actor::Controller(self.holder().to_owned());
        let mut tx = self.begin(&claim.subject.organization).await?;
        take_turn(&mut tx, claim).await?;
        if let Some(heir) = heir {
            let moved = sqlx::query(
                "UPDATE record_sets h SET credential_uid = o.credential_uid, zone_id = o.zone_id, zone = o.zone, server = o.server,
                        ttl = o.ttl, data = o.data, digest = o.digest, written_at = o.written_at
                 FROM record_sets o WHERE o.cluster_id = $1 AND o.uid = $2 AND h.cluster_id = $3 AND h.uid = $4 AND h.gone_at IS NULL AND h.asks",
            )
            .bind(claim.subject.cluster)
            .bind(claim.subject.uid)
            .bind(heir.subject.cluster)
            .bind(heir.subject.uid)
            .execute(tx.connection())
            .await?;
            if moved.rows_affected() != 1 {
                return Err(Error::condition(
                    crate::api::Reason::Progressing,
                    "who was to have the set next asks no more",
                ));
            }
            tx.append(Event {
                subject: heir.subject.clone(),
                actor: actor.clone(),
                action: "record.inherited",
                details: json!({"fqdn": claim.fqdn, "type": claim.kind, "from": claim.subject.uid}),
            });
        }
        let stays = why.zip(fact.written.as_ref());
        if let Some((why, written)) = stays {
            tx.append(kept(&actor, claim, written, why));
        }
        sqlx::query(
            "UPDATE record_sets SET gone_at = clock_timestamp(), kept = $3 WHERE cluster_id = $1 AND uid = $2 AND gone_at IS NULL",
        )
        .bind(claim.subject.cluster)
        .bind(claim.subject.uid)
        .bind(stays.map(|(why, _)| why))
        .execute(tx.connection())
        .await?;
        sqlx::query(
            "UPDATE resolved_references SET gone_at = clock_timestamp() WHERE cluster_id = $1 AND from_uid = $2 AND gone_at IS NULL",
        )
        .bind(claim.subject.cluster)
        .bind(claim.subject.uid)
        .execute(tx.connection())
        .await?;
        let rivals = rivals(&mut tx, claim).await?;
        tx.commit().await?;
        Ok(rivals)
    }
}

/// Nobody looks after these objects any more, and nobody took away what was written for them: it stays at the provider, on record.
pub(super) async fn bury(tx: &mut Transaction, actor: &Actor, cluster: Uuid, uids: &[Uuid], why: &str) -> Result<()> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "UPDATE record_sets SET gone_at = clock_timestamp(), kept = CASE WHEN written_at IS NOT NULL THEN $3 END
         WHERE cluster_id = $1 AND uid = ANY($2) AND gone_at IS NULL RETURNING {COLUMNS}"
    )))
    .bind(cluster)
    .bind(uids)
    .bind(why)
    .fetch_all(tx.connection())
    .await?;
    for row in &rows {
        let fact = RecordFact::read(row)?;
        if let Some(written) = &fact.written {
            tx.append(kept(actor, &fact.claim, written, why));
        }
    }
    Ok(())
}

fn kept(actor: &Actor, claim: &RecordClaim, written: &WrittenSet, why: &str) -> Event {
    Event {
        subject: claim.subject.clone(),
        actor: actor.clone(),
        action: "record.kept",
        details: json!({
            "fqdn": claim.fqdn, "type": claim.kind, "zone": written.zone, "server": written.server, "ttl": written.ttl,
            "data": written.data, "why": why,
        }),
    }
}

/// Those who ask for sets of one name wait here for each other.
async fn take_turn(tx: &mut Transaction, claim: &RecordClaim) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('landfall record ' || $1, 0))")
        .bind(&claim.fqdn)
        .execute(tx.connection())
        .await?;
    Ok(())
}

async fn rivals(tx: &mut Transaction, to: &RecordClaim) -> Result<Vec<RecordClaim>> {
    let rows = sqlx::query(RIVALS)
        .bind(to.subject.organization.as_str())
        .bind(&to.fqdn)
        .bind(to.subject.cluster)
        .bind(to.subject.uid)
        .fetch_all(tx.connection())
        .await?;
    rows.iter().map(claim).collect()
}
