//! What is known of domains: the challenge, what the looks at the authoritative servers found, and who holds what. Others
//! trust these rows, never an object's status.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::words::{time_maybe, word};
use super::{Actor, Event, Ledger, Subject, Transaction, Writer};
use crate::api::{DomainTerms, Organization, Reason};
use crate::{Error, Result};

mod claims;
mod fact;
mod published;

pub(super) use claims::{bury, hide, hold, hold_all};
use fact::{COLUMNS, fact};
pub use fact::{DomainFact, DomainStanding, DomainState};
pub use published::DomainPublished;

/// A domain that is to be proved.
#[derive(Clone, Debug)]
pub struct NewDomain {
    /// The object.
    pub subject: Subject,
    /// Its canonical name.
    pub fqdn: String,
    /// The registered part of it.
    pub registrable: String,
    /// Random, of 32 characters or more.
    pub token: String,
    /// What of the spec others go by.
    pub terms: DomainTerms,
    /// Now.
    pub at: Timestamp,
}

/// What became of a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainPut {
    /// It stands in the ledger; `changed` where the state or the reason is another one than before.
    Kept {
        /// Whether others should look again.
        changed: bool,
    },
    /// The proof is good, and another organization holds the domain, a parent or a part of it.
    Elsewhere,
    /// The ledger knows no such domain of this organization.
    Gone,
}

impl Ledger {
    /// What is known of a domain that still exists.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn domain_fact(&self, cluster: Uuid, uid: Uuid) -> Result<Option<DomainFact>> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM domain_verifications WHERE cluster_id = $1 AND uid = $2 AND gone_at IS NULL"
        )))
        .bind(cluster)
        .bind(uid)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(fact).transpose()
    }

    /// The organization's domains that still exist, of all clusters, those with the longest name first.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn domains_of(&self, organization: &Organization) -> Result<Vec<DomainFact>> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM domain_verifications WHERE organization_id = $1 AND gone_at IS NULL
             ORDER BY length(fqdn) DESC, fqdn, uid"
        )))
        .bind(organization.as_str())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(fact).collect()
    }
}

impl Ledger {
    /// Whether another organization holds the domain, a parent or a part of it, by a proof that is good now.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn is_claimed_elsewhere(&self, fact: &DomainFact, now: Timestamp) -> Result<bool> {
        let rivals = claims::rivals(&mut *self.pool.acquire().await?, fact).await?;
        Ok(rivals.iter().any(|rival| rival.standing.is_young(&rival.terms.verification, now)))
    }
}

impl Writer {
    /// Puts a domain and its token on record, unless it is there. One that was not watched for a while goes on as it stood; one
    /// that the ledger thought gone begins again with its old token; one that went to another organization, or has another name,
    /// with the new one.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn begin_domain(&self, new: &NewDomain) -> Result<DomainFact> {
        let mut tx = self.begin(&new.subject.organization).await?;
        let found = locked(tx.connection(), &new.subject).await?;
        let same = |f: &DomainFact| f.subject.organization == new.subject.organization && f.fqdn == new.fqdn;
        let token = match found {
            Some((known, false)) if same(&known) => return Ok(known),
            Some((known, true)) if same(&known) && claims::is_held(&mut tx, &known).await? => {
                return_to(tx, &known, self.told(&known, "domain.returned", json!({"fqdn": known.fqdn}))).await?;
                return Ok(known);
            }
            Some((known, _)) if same(&known) => known.token,
            _ => new.token.clone(),
        };
        claims::release(&mut tx, &self.actor(), &new.subject, "Begun anew").await?;
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO domain_verifications AS v (cluster_id, uid, organization_id, namespace, name, fqdn, registrable, token,
                                                    terms, state, reason, since)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (cluster_id, uid) DO UPDATE SET organization_id = excluded.organization_id, fqdn = excluded.fqdn,
                registrable = excluded.registrable, token = excluded.token, terms = excluded.terms, state = excluded.state,
                reason = excluded.reason, since = excluded.since, verified_at = NULL, missed_since = NULL, checked_at = NULL,
                asked_at = NULL, gone_at = NULL
             RETURNING {COLUMNS}"
        )))
        .bind(new.subject.cluster)
        .bind(new.subject.uid)
        .bind(new.subject.organization.as_str())
        .bind(&new.subject.namespace)
        .bind(&new.subject.name)
        .bind(&new.fqdn)
        .bind(&new.registrable)
        .bind(token)
        .bind(Json(&new.terms))
        .bind(word(DomainState::Pending)?)
        .bind(Reason::PendingVerification.as_str())
        .bind(new.at.to_sqlx())
        .fetch_one(tx.connection())
        .await?;
        let fact = fact(&row)?;
        tx.append(self.told(&fact, DomainState::Pending.action(), json!({"fqdn": fact.fqdn})));
        tx.commit().await?;
        Ok(fact)
    }

    /// Keeps what of a domain's spec others go by, where the domain is this organization's.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn put_domain_terms(&self, subject: &Subject, terms: &DomainTerms) -> Result<DomainPut> {
        let mut tx = self.begin(&subject.organization).await?;
        let Some((before, false)) = locked(tx.connection(), subject).await? else { return Ok(DomainPut::Gone) };
        if before.subject.organization != subject.organization {
            return Ok(DomainPut::Gone);
        }
        if before.terms == *terms {
            return Ok(DomainPut::Kept { changed: false });
        }
        let done = sqlx::query("UPDATE domain_verifications SET terms = $3 WHERE cluster_id = $1 AND uid = $2")
            .bind(subject.cluster)
            .bind(subject.uid)
            .bind(Json(terms))
            .execute(tx.connection())
            .await?;
        super::touched(done.rows_affected(), 1, "domain_verifications")?;
        let details = json!({"fqdn": before.fqdn, "before": before.terms, "after": terms});
        tx.append(self.told(&before, "domain.terms", details));
        tx.commit().await?;
        Ok(DomainPut::Kept { changed: true })
    }

    /// Keeps what a look made of a domain. A state that holds has its claim in the same unit of work, or is refused; one that
    /// does not lets go of it. What another organization holds by a proof that has grown too old does not stand in the way: it
    /// is released. `found` is what was seen, for the event of a change.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn put_domain(&self, subject: &Subject, new: &DomainStanding, found: Value) -> Result<DomainPut> {
        let mut tx = self.begin(&subject.organization).await?;
        let Some((before, false)) = locked(tx.connection(), subject).await? else { return Ok(DomainPut::Gone) };
        if before.subject.organization != subject.organization {
            return Ok(DomainPut::Gone);
        }
        let actor = self.actor();
        let now = new.checked_at.unwrap_or(Timestamp::MIN);
        let elsewhere = new.state.holds() && !claims::take(&mut tx, &actor, &before, now).await?;
        let kept = if elsewhere { refused(&before.standing, new) } else { new.clone() };
        if !kept.state.holds() {
            claims::release(&mut tx, &actor, subject, kept.reason.as_str()).await?;
        }
        store(&mut tx, &before, &kept).await?;
        let changed = (kept.state, kept.reason) != (before.standing.state, before.standing.reason);
        let details =
            json!({"fqdn": before.fqdn, "reason": kept.reason, "before": before.standing.state, "found": found});
        if elsewhere && changed {
            tx.append(self.told(&before, "domain.refused", details));
        } else if kept.state != before.standing.state {
            tx.append(self.told(&before, kept.state.action(), details));
        }
        tx.commit().await?;
        Ok(if elsewhere { DomainPut::Elsewhere } else { DomainPut::Kept { changed } })
    }

    /// The object goes: so do its claim and what is known of it. Whoever writes or issues by it at this moment comes first.
    ///
    /// # Errors
    /// [`Reason::InUse`] where an object has come to refer to it; [`Error::Deposed`]; Postgres's.
    pub async fn release_domain(&self, subject: &Subject) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        locked(tx.connection(), subject).await?;
        claims::lock(&mut tx, subject).await?;
        if super::references::is_used(&mut tx, subject).await? {
            return Err(Error::condition(
                Reason::InUse,
                "an object has come to refer to it; the deletion waits for that",
            ));
        }
        bury(&mut tx, &self.actor(), subject.cluster, &[subject.uid], "Deleted").await?;
        tx.commit().await?;
        Ok(())
    }

    fn actor(&self) -> Actor {
        Actor::Controller(self.holder().to_owned())
    }

    fn told(&self, fact: &DomainFact, action: &'static str, details: Value) -> Event {
        Event { subject: fact.subject.clone(), actor: self.actor(), action, details }
    }
}

/// A domain that was not watched is watched again.
async fn return_to(mut tx: Transaction, known: &DomainFact, told: Event) -> Result<()> {
    let done = sqlx::query("UPDATE domain_verifications SET gone_at = NULL WHERE cluster_id = $1 AND uid = $2")
        .bind(known.subject.cluster)
        .bind(known.subject.uid)
        .execute(tx.connection())
        .await?;
    super::touched(done.rows_affected(), 1, "domain_verifications")?;
    tx.append(told);
    tx.commit().await.map(drop)
}

/// A good proof of what another organization holds: what was known before stays known, and nothing is held.
fn refused(before: &DomainStanding, new: &DomainStanding) -> DomainStanding {
    let state = if before.state.holds() { DomainState::Unverified } else { before.state };
    DomainStanding {
        state,
        reason: Reason::ClaimedElsewhere,
        verified_at: before.verified_at,
        missed_since: None,
        checked_at: new.checked_at,
        asked_at: new.asked_at,
    }
}

async fn store(tx: &mut Transaction, before: &DomainFact, kept: &DomainStanding) -> Result<()> {
    let since =
        if kept.state == before.standing.state { before.since } else { kept.checked_at.unwrap_or(before.since) };
    let done = sqlx::query(
        "UPDATE domain_verifications SET state = $3, reason = $4, since = $5, verified_at = $6, missed_since = $7,
                checked_at = $8, asked_at = $9
         WHERE cluster_id = $1 AND uid = $2",
    )
    .bind(before.subject.cluster)
    .bind(before.subject.uid)
    .bind(word(kept.state)?)
    .bind(kept.reason.as_str())
    .bind(since.to_sqlx())
    .bind(kept.verified_at.map(ToSqlx::to_sqlx))
    .bind(kept.missed_since.map(ToSqlx::to_sqlx))
    .bind(kept.checked_at.map(ToSqlx::to_sqlx))
    .bind(kept.asked_at.map(ToSqlx::to_sqlx))
    .execute(tx.connection())
    .await?;
    super::touched(done.rows_affected(), 1, "domain_verifications")
}

/// The row, until the unit of work ends, and whether it is of an object that is gone.
async fn locked(connection: &mut PgConnection, subject: &Subject) -> Result<Option<(DomainFact, bool)>> {
    read(connection, subject, "FOR UPDATE").await
}

async fn read(
    connection: &mut PgConnection,
    subject: &Subject,
    lock: &'static str,
) -> Result<Option<(DomainFact, bool)>> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM domain_verifications WHERE cluster_id = $1 AND uid = $2 {lock}"
    )))
    .bind(subject.cluster)
    .bind(subject.uid)
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((fact(&row)?, time_maybe(&row, "gone_at")?.is_some()))).transpose()
}
