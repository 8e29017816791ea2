//! What the probes of a credential found. Others trust this row, never the object's status.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::json;
use uuid::Uuid;

use super::{Actor, Event, Ledger, ObjectKind, Subject, Writer};
use crate::Result;
use crate::api::Organization;

/// Digests are for this alone: equal bytes elsewhere have another one.
const PURPOSE: &str = "credential.secret";

/// The last probe's finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFact {
    /// The credential.
    pub subject: Subject,
    /// `Valid`, `StaleOk`, `Invalid`, `Unknown`.
    pub state: String,
    /// The reason in its condition.
    pub reason: String,
    /// Whose account, where the provider tells.
    pub account: Option<String>,
    /// Who acts, where the provider tells.
    pub principal: Option<String>,
    /// Keyed digest of the Secret that was proved.
    pub secret_digest: Option<String>,
    /// When it was probed.
    pub checked_at: Timestamp,
    /// When a probe last succeeded.
    pub succeeded_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    organization_id: String,
    namespace: String,
    name: String,
    state: String,
    reason: String,
    account: Option<String>,
    principal: Option<String>,
    secret_digest: Option<String>,
    checked_at: jiff_sqlx::Timestamp,
    succeeded_at: Option<jiff_sqlx::Timestamp>,
}

impl CredentialFact {
    /// All but the times.
    fn finding(&self) -> (&str, &str, Option<&str>, Option<&str>, Option<&str>) {
        (&self.state, &self.reason, self.account.as_deref(), self.principal.as_deref(), self.secret_digest.as_deref())
    }
}

impl Writer {
    /// Keeps a finding; one that differs from the last is an event too. Answers whether it differs.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`], or Postgres's.
    pub async fn put_credential_fact(&self, fact: &CredentialFact) -> Result<bool> {
        let before = self.credential_fact(fact.subject.cluster, fact.subject.uid).await?;
        let mut transaction = self.begin(&fact.subject.organization).await?;
        let done = sqlx::query(
            "INSERT INTO provider_health (cluster_id, uid, organization_id, namespace, name, state, reason, account, principal,
                                          secret_digest, checked_at, succeeded_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (cluster_id, uid) DO UPDATE SET organization_id = excluded.organization_id, state = excluded.state,
                reason = excluded.reason, account = excluded.account, principal = excluded.principal,
                secret_digest = excluded.secret_digest, checked_at = excluded.checked_at, succeeded_at = excluded.succeeded_at,
                gone_at = NULL",
        )
        .bind(fact.subject.cluster)
        .bind(fact.subject.uid)
        .bind(fact.subject.organization.as_str())
        .bind(&fact.subject.namespace)
        .bind(&fact.subject.name)
        .bind(&fact.state)
        .bind(&fact.reason)
        .bind(&fact.account)
        .bind(&fact.principal)
        .bind(&fact.secret_digest)
        .bind(fact.checked_at.to_sqlx())
        .bind(fact.succeeded_at.map(ToSqlx::to_sqlx))
        .execute(transaction.connection())
        .await?;
        super::touched(done.rows_affected(), 1, "provider_health")?;
        let differs = before.as_ref().map(CredentialFact::finding) != Some(fact.finding());
        if differs {
            transaction.append(self.finding_changed(fact, before.as_ref()));
        }
        transaction.commit().await?;
        Ok(differs)
    }

    /// Keeps for how long a credential's provider asks not to be called. The longest counts.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`], or Postgres's.
    pub async fn put_rest(&self, credential: &Subject, rest: Duration) -> Result<()> {
        let mut transaction = self.begin(&credential.organization).await?;
        sqlx::query(
            "UPDATE provider_health SET rests_until = greatest(rests_until, clock_timestamp() + make_interval(secs => $3))
             WHERE cluster_id = $1 AND uid = $2",
        )
        .bind(credential.cluster)
        .bind(credential.uid)
        .bind(rest.as_secs_f64())
        .execute(transaction.connection())
        .await?;
        transaction.commit().await.map(drop)
    }

    fn finding_changed(&self, fact: &CredentialFact, before: Option<&CredentialFact>) -> Event {
        Event {
            subject: fact.subject.clone(),
            actor: Actor::Controller(self.holder().to_owned()),
            action: "credential.probed",
            details: json!({"state": fact.state, "reason": fact.reason, "account": fact.account, "principal": fact.principal,
                            "secretDigest": fact.secret_digest, "before": before.map(|before| &before.state)}),
        }
    }
}

impl Ledger {
    /// Keyed digest of what a proof proves: another digest needs another proof.
    pub fn proof_digest(&self, proved: &[u8]) -> String {
        self.keys().digest(PURPOSE, proved)
    }

    /// For how long a credential's provider asks not to be called, from now.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn rest_of(&self, cluster: Uuid, credential: Uuid) -> Result<Option<Duration>> {
        let left: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM rests_until - clock_timestamp())::float8 FROM provider_health
             WHERE cluster_id = $1 AND uid = $2 AND rests_until > clock_timestamp()",
        )
        .bind(cluster)
        .bind(credential)
        .fetch_optional(&self.pool)
        .await?;
        Ok(left.and_then(|left| Duration::try_from_secs_f64(left).ok()))
    }

    /// The last finding about a credential that still exists.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn credential_fact(&self, cluster: Uuid, uid: Uuid) -> Result<Option<CredentialFact>> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT organization_id, namespace, name, state, reason, account, principal, secret_digest, checked_at, succeeded_at
             FROM provider_health WHERE cluster_id = $1 AND uid = $2 AND gone_at IS NULL",
        )
        .bind(cluster)
        .bind(uid)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| CredentialFact {
            subject: Subject {
                organization: Organization(row.organization_id),
                cluster,
                kind: ObjectKind::CloudCredential,
                uid,
                namespace: row.namespace,
                name: row.name,
            },
            state: row.state,
            reason: row.reason,
            account: row.account,
            principal: row.principal,
            secret_digest: row.secret_digest,
            checked_at: row.checked_at.to_jiff(),
            succeeded_at: row.succeeded_at.map(jiff_sqlx::Timestamp::to_jiff),
        }))
    }
}
