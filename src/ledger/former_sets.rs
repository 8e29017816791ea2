//! Record sets that an object had before it asked for another one, or before its namespace went to another organization: what
//! was written for them stays at the provider, and is on the record of the organization that wrote it.

use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{Actor, Event, ObjectKind, RecordClaim, Subject, Transaction};
use crate::Result;
use crate::api::Organization;

/// Ends what the ledger knows of the object's set where that is another organization's, or of another name or type, and ends
/// its references to other domains than this.
pub(super) async fn end_unless(
    tx: &mut Transaction,
    actor: &Actor,
    claim: &RecordClaim,
    domain: &Subject,
) -> Result<()> {
    let subject = &claim.subject;
    sqlx::query(
        "UPDATE resolved_references SET gone_at = clock_timestamp()
         WHERE cluster_id = $1 AND from_uid = $2 AND to_uid <> $3 AND to_kind = $4 AND gone_at IS NULL",
    )
    .bind(subject.cluster)
    .bind(subject.uid)
    .bind(domain.uid)
    .bind(ObjectKind::OrganizationDomain.as_str())
    .execute(tx.connection())
    .await?;
    let is_another: Option<bool> = sqlx::query_scalar(
        "SELECT (organization_id, fqdn, type) <> ($3, $4, $5) FROM record_sets WHERE cluster_id = $1 AND uid = $2",
    )
    .bind(subject.cluster)
    .bind(subject.uid)
    .bind(subject.organization.as_str())
    .bind(&claim.fqdn)
    .bind(&claim.kind)
    .fetch_optional(tx.connection())
    .await?;
    if is_another == Some(true) {
        end(tx, actor, subject.cluster, &[subject.uid], "the object asks for another set").await?;
    }
    Ok(())
}

/// Ends what the ledger knows of the objects' sets. Nothing that was written for them counts as written for what they ask next.
pub(super) async fn end(tx: &mut Transaction, actor: &Actor, cluster: Uuid, uids: &[Uuid], why: &str) -> Result<()> {
    let live = "SELECT organization_id, uid, namespace, name, fqdn, type, zone, server, ttl, data FROM record_sets
                WHERE cluster_id = $1 AND uid = ANY($2) AND gone_at IS NULL AND written_at IS NOT NULL FOR UPDATE";
    for row in sqlx::query(live).bind(cluster).bind(uids).fetch_all(tx.connection()).await? {
        let subject = Subject {
            organization: Organization(row.try_get("organization_id")?),
            cluster,
            kind: ObjectKind::DnsRecord,
            uid: row.try_get("uid")?,
            namespace: row.try_get("namespace")?,
            name: row.try_get("name")?,
        };
        let (fqdn, kind): (String, String) = (row.try_get("fqdn")?, row.try_get("type")?);
        let (zone, ttl): (String, i32) = (row.try_get("zone")?, row.try_get("ttl")?);
        let (server, data): (Option<String>, Json<Value>) = (row.try_get("server")?, row.try_get("data")?);
        let details = json!({
            "fqdn": fqdn, "type": kind, "zone": zone, "server": server, "ttl": ttl, "data": data.0, "why": why,
        });
        tx.append(Event { subject, actor: actor.clone(), action: "record.left", details });
    }
    forget(tx.connection(), cluster, uids).await
}

async fn forget(connection: &mut PgConnection, cluster: Uuid, uids: &[Uuid]) -> Result<()> {
    sqlx::query(
        "UPDATE record_sets SET gone_at = coalesce(gone_at, clock_timestamp()), credential_uid = NULL, zone_id = NULL, zone = NULL,
                server = NULL, ttl = NULL, data = NULL, digest = NULL, written_at = NULL, repaired_at = '{}'
         WHERE cluster_id = $1 AND uid = ANY($2)",
    )
    .bind(cluster)
    .bind(uids)
    .execute(connection)
    .await?;
    Ok(())
}
