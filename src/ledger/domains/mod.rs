//! What is known of domains: the challenge, what the looks at the authoritative servers found, and who holds what. Others
//! trust these rows, never an object's status.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::words::{json_maybe, time, time_maybe, variant, word};
use super::{Actor, Event, Ledger, ObjectKind, Subject, Transaction, Writer};
use crate::api::{DomainTerms, DomainVerification, Organization, Reason};
use crate::{Error, Result};

mod claims;
mod published;

pub(super) use claims::{bury, hold, hold_all};
pub use published::DomainPublished;

/// How a domain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DomainState {
    /// Not proved yet.
    Pending,
    /// Proved.
    Verified,
    /// Proved once, and missing since less than the grace.
    Degraded,
    /// Proved once, and missing for longer than the grace.
    Unverified,
}

impl DomainState {
    /// Whether a proof stands, which may have grown old: see [`DomainFact::holds`].
    pub fn holds(self) -> bool {
        matches!(self, Self::Verified | Self::Degraded)
    }

    /// What the chain calls the change to it.
    fn action(self) -> &'static str {
        match self {
            Self::Pending => "domain.challenged",
            Self::Verified => "domain.verified",
            Self::Degraded => "domain.degraded",
            Self::Unverified => "domain.unverified",
        }
    }
}

/// By how much a look may be late.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// All that is known of a domain.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainFact {
    /// The object.
    pub subject: Subject,
    /// Canonical: lower-case A-labels without a dot behind.
    pub fqdn: String,
    /// The part of it that is registered with a registry, in the same form.
    pub registrable: String,
    /// What the challenge's value ends with.
    pub token: String,
    /// What of the spec others go by.
    pub terms: DomainTerms,
    /// When the state became what it is.
    pub since: Timestamp,
    /// What the last look made of it.
    pub standing: DomainStanding,
}

impl DomainFact {
    /// Whether the domain is the organization's at this time: records may be written and certificates ordered. A proof stands,
    /// and has been looked at within the time between looks and the grace.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.standing.state.holds() && self.standing.is_young(&self.terms.verification, now)
    }

    /// Whether a name in canonical form is the domain or lies below it.
    pub fn covers(&self, name: &str) -> bool {
        name.strip_suffix(self.fqdn.as_str()).is_some_and(|left| left.is_empty() || left.ends_with('.'))
    }
}

/// What a look made of a domain.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainStanding {
    /// How it stands.
    pub state: DomainState,
    /// The last finding.
    pub reason: Reason,
    /// When the token was last found.
    pub verified_at: Option<Timestamp>,
    /// The first of the looks in a row that found it missing.
    pub missed_since: Option<Timestamp>,
    /// The last look, whatever it found.
    pub checked_at: Option<Timestamp>,
    /// The last command to look, as far as a look has answered it.
    pub asked_at: Option<Timestamp>,
}

impl DomainStanding {
    /// Whether the last proof is not too old: it counts for the time between looks and the grace together, and a while for a
    /// look that is late.
    pub fn is_young(&self, verification: &DomainVerification, now: Timestamp) -> bool {
        let good = verification.interval().saturating_add(verification.longest_miss()).saturating_add(LATE);
        self.verified_at.is_some_and(|at| now < at.checked_add(good).unwrap_or(Timestamp::MAX))
    }
}

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

const COLUMNS: &str = "cluster_id, uid, organization_id, namespace, name, fqdn, registrable, token, terms, state, reason, since, \
                       verified_at, missed_since, checked_at, asked_at, gone_at";

fn fact(row: &PgRow) -> Result<DomainFact> {
    let terms = json_maybe(row, "terms")?;
    let reason: String = row.try_get("reason")?;
    Ok(DomainFact {
        subject: Subject {
            organization: Organization(row.try_get("organization_id")?),
            cluster: row.try_get("cluster_id")?,
            kind: ObjectKind::OrganizationDomain,
            uid: row.try_get("uid")?,
            namespace: row.try_get("namespace")?,
            name: row.try_get("name")?,
        },
        fqdn: row.try_get("fqdn")?,
        registrable: row.try_get("registrable")?,
        token: row.try_get("token")?,
        terms: terms.ok_or_else(|| Error::Integrity("domain_verifications.terms: is null".into()))?,
        since: time(row, "since")?,
        standing: DomainStanding {
            state: variant(row, "state")?,
            // A word of a newer version says no less that it was looked at.
            reason: super::words::parse(&reason).unwrap_or(Reason::PendingVerification),
            verified_at: time_maybe(row, "verified_at")?,
            missed_since: time_maybe(row, "missed_since")?,
            checked_at: time_maybe(row, "checked_at")?,
            asked_at: time_maybe(row, "asked_at")?,
        },
    })
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

impl Writer {
    /// Puts a domain and its token on record, unless it is there. One that the ledger thought gone begins again with its old
    /// token; one that went to another organization, or has another name, with the new one.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn begin_domain(&self, new: &NewDomain) -> Result<DomainFact> {
        let mut tx = self.begin(&new.subject.organization).await?;
        let found = locked(tx.connection(), &new.subject).await?;
        let same = |f: &DomainFact| f.subject.organization == new.subject.organization && f.fqdn == new.fqdn;
        let token = match found {
            Some((known, false)) if same(&known) => return Ok(known),
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

    /// Keeps what of a domain's spec others go by.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn put_domain_terms(&self, subject: &Subject, terms: &DomainTerms) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        sqlx::query(
            "UPDATE domain_verifications SET terms = $3 WHERE cluster_id = $1 AND uid = $2 AND gone_at IS NULL",
        )
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(Json(terms))
        .execute(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn holding(fqdn: &str) -> DomainFact {
        DomainFact {
            subject: Subject {
                organization: Organization("acme".into()),
                cluster: Uuid::nil(),
                kind: ObjectKind::OrganizationDomain,
                uid: Uuid::nil(),
                namespace: "shop".into(),
                name: "main".into(),
            },
            fqdn: fqdn.into(),
            registrable: fqdn.into(),
            token: String::new(),
            terms: DomainTerms::default(),
            since: Timestamp::UNIX_EPOCH,
            standing: DomainStanding {
                state: DomainState::Verified,
                reason: Reason::Verified,
                verified_at: None,
                missed_since: None,
                checked_at: None,
                asked_at: None,
            },
        }
    }

    #[test]
    fn a_domain_covers_itself_and_what_lies_below_by_whole_labels() {
        let domain = holding("example.com");
        for name in
            ["example.com", "www.example.com", "a.b.example.com", "*.example.com", "_acme-challenge.example.com"]
        {
            assert!(domain.covers(name), "{name}");
        }
        for name in
            ["evilexample.com", "com", "example.com.evil.org", "example.comm", "xample.com", "", ".com", "example.org"]
        {
            assert!(!domain.covers(name), "{name}");
        }
    }
}
