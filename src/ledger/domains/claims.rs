//! Claims: of all organizations, one holds a domain with all above and below it.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{COLUMNS, DomainFact};
use crate::api::{Organization, Reason};
use crate::ledger::{Actor, Event, ObjectKind, Subject, Transaction};
use crate::{Error, Result};

/// Takes the claim for a domain, or finds it taken already. `false` where another organization's stands in the way; one whose
/// proof has grown too old is released.
///
/// Whoever claims a name of the same last two labels waits here until this unit of work has ended, and sees what it left.
pub(super) async fn take(tx: &mut Transaction, actor: &Actor, fact: &DomainFact, now: Timestamp) -> Result<bool> {
    sqlx::query(
        "SELECT pg_advisory_xact_lock(hashtextextended('landfall domain ' || substring($1 FROM '[^.]+[.][^.]+$'), 0))",
    )
    .bind(&fact.fqdn)
    .execute(tx.connection())
    .await?;
    let rivals = rivals(tx.connection(), fact).await?;
    if rivals.iter().any(|rival| rival.standing.is_young(&rival.terms.verification, now)) {
        return Ok(false);
    }
    for rival in &rivals {
        release_all(tx, actor, rival.subject.cluster, &[rival.subject.uid], "Stale").await?;
    }
    if is_held(tx, fact).await? {
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

/// The domains of other organizations that hold what overlaps this one.
pub(super) async fn rivals(connection: &mut PgConnection, fact: &DomainFact) -> Result<Vec<DomainFact>> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM domain_verifications WHERE (cluster_id, uid) IN
            (SELECT cluster_id, domain_uid FROM domain_claims
             WHERE anchor = substring($1 FROM '[^.]+[.][^.]+$') AND released_at IS NULL AND organization_id <> $2
               AND (fqdn = $1 OR right(fqdn, length($1) + 1) = '.' || $1 OR right($1, length(fqdn) + 1) = '.' || fqdn))"
    )))
    .bind(&fact.fqdn)
    .bind(fact.subject.organization.as_str())
    .fetch_all(connection)
    .await?;
    rows.iter().map(super::fact).collect()
}

/// The domain, where this organization's claim of it stands and its proof is good, now. The claim stands as long as this unit
/// of work lasts: who would release it waits.
///
/// # Errors
/// [`Reason::DomainNotVerified`] where it is not so any more; Postgres's.
pub(in crate::ledger) async fn hold(tx: &mut Transaction, domain: &Subject, now: Timestamp) -> Result<()> {
    let held = sqlx::query(
        "SELECT FROM domain_claims WHERE cluster_id = $1 AND domain_uid = $2 AND organization_id = $3 AND released_at IS NULL FOR SHARE",
    )
    .bind(domain.cluster)
    .bind(domain.uid)
    .bind(domain.organization.as_str())
    .fetch_optional(tx.connection())
    .await?;
    // Read after the lock: what the one that was waited for has left.
    let known = super::read(tx.connection(), domain, "").await?;
    let good = |fact: &DomainFact| fact.subject.organization == domain.organization && fact.holds(now);
    if held.is_some() && known.is_some_and(|(fact, gone)| !gone && good(&fact)) {
        return Ok(());
    }
    let words = format!("OrganizationDomain {:?} was lost a moment ago; see its status", domain.name);
    Err(Error::condition(Reason::DomainNotVerified, words))
}

/// [`hold`] for several, in an order that all have in common.
pub(in crate::ledger) async fn hold_all(tx: &mut Transaction, domains: &[Subject], now: Timestamp) -> Result<()> {
    let mut domains: Vec<&Subject> = domains.iter().collect();
    domains.sort_by_key(|domain| (domain.cluster, domain.uid));
    for domain in domains {
        hold(tx, domain, now).await?;
    }
    Ok(())
}

/// Waits for those that [`hold`] the object's claim, and lets nobody else hold it while this unit of work lasts.
pub(super) async fn lock(tx: &mut Transaction, domain: &Subject) -> Result<()> {
    sqlx::query(
        "SELECT FROM domain_claims WHERE cluster_id = $1 AND domain_uid = $2 AND released_at IS NULL FOR UPDATE",
    )
    .bind(domain.cluster)
    .bind(domain.uid)
    .fetch_optional(tx.connection())
    .await?;
    Ok(())
}

/// Lets go of what the object holds, if anything, in the name of the organization that held it.
pub(super) async fn release(tx: &mut Transaction, actor: &Actor, subject: &Subject, why: &str) -> Result<()> {
    release_all(tx, actor, subject.cluster, &[subject.uid], why).await
}

/// Whether the object has a claim.
pub(super) async fn is_held(tx: &mut Transaction, fact: &DomainFact) -> Result<bool> {
    let held = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM domain_claims WHERE cluster_id = $1 AND domain_uid = $2 AND organization_id = $3
                        AND fqdn = $4 AND released_at IS NULL)",
    );
    let subject = &fact.subject;
    let held = held.bind(subject.cluster).bind(subject.uid).bind(subject.organization.as_str()).bind(&fact.fqdn);
    Ok(held.fetch_one(tx.connection()).await?)
}

/// Objects are gone: so are their claims, and what was known of them.
pub(in crate::ledger) async fn bury(
    tx: &mut Transaction,
    actor: &Actor,
    cluster: Uuid,
    uids: &[Uuid],
    why: &str,
) -> Result<()> {
    hide(tx, cluster, uids).await?;
    release_all(tx, actor, cluster, uids, why).await
}

/// Objects are watched no more: nothing is written or issued by them. What they hold they hold until their proof is too old,
/// or until they are watched again: a line that is missing in a file gives no domain away.
pub(in crate::ledger) async fn hide(tx: &mut Transaction, cluster: Uuid, uids: &[Uuid]) -> Result<()> {
    sqlx::query(
        "UPDATE domain_verifications SET gone_at = clock_timestamp() WHERE cluster_id = $1 AND uid = ANY($2) AND gone_at IS NULL",
    )
    .bind(cluster)
    .bind(uids)
    .execute(tx.connection())
    .await?;
    Ok(())
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
