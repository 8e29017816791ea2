//! Claims: of all organizations, one holds a domain with all above and below it.

use serde_json::json;
use sqlx::Row;
use uuid::Uuid;

use super::DomainFact;
use crate::Result;
use crate::api::Organization;
use crate::ledger::{Actor, Event, ObjectKind, Subject, Transaction};

/// Takes the claim for a domain, or finds it taken already. `false` where another organization's stands in the way.
///
/// Whoever claims a name of the same last two labels waits here until this unit of work has ended, and sees what it left.
pub(super) async fn take(tx: &mut Transaction, actor: &Actor, fact: &DomainFact) -> Result<bool> {
    sqlx::query(
        "SELECT pg_advisory_xact_lock(hashtextextended('landfall domain ' || substring($1 FROM '[^.]+[.][^.]+$'), 0))",
    )
    .bind(&fact.fqdn)
    .execute(tx.connection())
    .await?;
    let row = sqlx::query(
        "SELECT coalesce(bool_or(cluster_id = $2 AND domain_uid = $3), false) AS held,
                coalesce(bool_or(organization_id <> $4 AND (fqdn = $1 OR right(fqdn, length($1) + 1) = '.' || $1
                                                            OR right($1, length(fqdn) + 1) = '.' || fqdn)), false) AS barred
         FROM domain_claims WHERE anchor = substring($1 FROM '[^.]+[.][^.]+$') AND released_at IS NULL",
    )
    .bind(&fact.fqdn)
    .bind(fact.subject.cluster)
    .bind(fact.subject.uid)
    .bind(fact.subject.organization.as_str())
    .fetch_one(tx.connection())
    .await?;
    if row.try_get("barred")? {
        return Ok(false);
    }
    if row.try_get("held")? {
        return Ok(true);
    }
    let done = sqlx::query(
        "INSERT INTO domain_claims (claim_id, organization_id, cluster_id, domain_uid, namespace, name, fqdn)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(Uuid::now_v7())
    .bind(fact.subject.organization.as_str())
    .bind(fact.subject.cluster)
    .bind(fact.subject.uid)
    .bind(&fact.subject.namespace)
    .bind(&fact.subject.name)
    .bind(&fact.fqdn)
    .execute(tx.connection())
    .await?;
    crate::ledger::touched(done.rows_affected(), 1, "domain_claims")?;
    tell(tx, actor, &fact.subject, "domain.claimed", json!({"fqdn": fact.fqdn}));
    Ok(true)
}

/// Lets go of what the object holds, if anything, in the name of the organization that held it.
pub(super) async fn release(tx: &mut Transaction, actor: &Actor, subject: &Subject, why: &str) -> Result<()> {
    release_all(tx, actor, subject.cluster, &[subject.uid], why).await
}

/// Objects are gone: so are their claims, and what was known of them.
pub(in crate::ledger) async fn bury(
    tx: &mut Transaction,
    actor: &Actor,
    cluster: Uuid,
    uids: &[Uuid],
    why: &str,
) -> Result<()> {
    sqlx::query(
        "UPDATE domain_verifications SET gone_at = clock_timestamp() WHERE cluster_id = $1 AND uid = ANY($2) AND gone_at IS NULL",
    )
    .bind(cluster)
    .bind(uids)
    .execute(tx.connection())
    .await?;
    release_all(tx, actor, cluster, uids, why).await
}

async fn release_all(tx: &mut Transaction, actor: &Actor, cluster: Uuid, uids: &[Uuid], why: &str) -> Result<()> {
    let rows = sqlx::query(
        "UPDATE domain_claims SET released_at = clock_timestamp(), release_reason = $3
         WHERE cluster_id = $1 AND domain_uid = ANY($2) AND released_at IS NULL
         RETURNING organization_id, domain_uid, namespace, name, fqdn",
    )
    .bind(cluster)
    .bind(uids)
    .bind(why)
    .fetch_all(tx.connection())
    .await?;
    for row in rows {
        let subject = Subject {
            organization: Organization(row.try_get("organization_id")?),
            cluster,
            kind: ObjectKind::OrganizationDomain,
            uid: row.try_get("domain_uid")?,
            namespace: row.try_get("namespace")?,
            name: row.try_get("name")?,
        };
        let fqdn: String = row.try_get("fqdn")?;
        tell(tx, actor, &subject, "domain.released", json!({"fqdn": fqdn, "why": why}));
    }
    Ok(())
}

fn tell(tx: &mut Transaction, actor: &Actor, subject: &Subject, action: &'static str, details: serde_json::Value) {
    tx.append(Event { subject: subject.clone(), actor: actor.clone(), action, details });
}
