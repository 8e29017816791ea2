//! What is known of a domain, and until when it counts.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::api::{DomainTerms, DomainVerification, Organization, Reason};
use crate::ledger::words::{json_maybe, time, time_maybe, variant};
use crate::ledger::{ObjectKind, Subject};
use crate::{Error, Result};

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
    pub(super) fn action(self) -> &'static str {
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

pub(super) const COLUMNS: &str = "cluster_id, uid, organization_id, namespace, name, fqdn, registrable, token, terms, state, reason, since, \
                       verified_at, missed_since, checked_at, asked_at, gone_at";

pub(super) fn fact(row: &PgRow) -> Result<DomainFact> {
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
            reason: crate::ledger::words::parse(&reason).unwrap_or(Reason::PendingVerification),
            verified_at: time_maybe(row, "verified_at")?,
            missed_since: time_maybe(row, "missed_since")?,
            checked_at: time_maybe(row, "checked_at")?,
            asked_at: time_maybe(row, "asked_at")?,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use uuid::Uuid;

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
