//! Certificates that are to be revoked, and were: written down before the CA is asked, so that whoever comes next asks for the
//! same, and once.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::certificates::{self, CertificateFact};
use super::words::{time_maybe, variant, word};
use super::{Actor, Event, IntentId, Ledger, NewIntent, Outcome, Subject, Transaction, Writer};
use crate::Result;
use crate::api::RevocationReason;

/// How far a revocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevocationState {
    /// It is wanted.
    Asked,
    /// The CA is being asked, or was when it was last heard of.
    Revoking,
    /// The CA says that it is revoked.
    Revoked,
    /// The CA is not asked any more.
    GivenUp,
}

/// A certificate that is to be revoked, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The certificate.
    pub fact: CertificateFact,
    /// What the CA is told.
    pub reason: RevocationReason,
    /// Who commanded it; none where the end of its object did.
    pub asked_by: Option<String>,
    /// How far it is.
    pub state: RevocationState,
    /// Of what the CA is being asked.
    pub intent: Option<IntentId>,
    /// How often in a row the CA was in the way.
    pub failures: u32,
    /// What was, by its word.
    pub cause: Option<String>,
    /// In whose words.
    pub message: Option<String>,
    /// The CA is not asked before this.
    pub retry_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

/// What was in the way.
#[derive(Clone, Debug)]
pub struct Hindrance {
    /// Its word.
    pub cause: &'static str,
    /// In whose words.
    pub message: String,
    /// The CA is not asked before this.
    pub retry_at: Timestamp,
}

impl Revocation {
    /// Whether it is not over.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, RevocationState::Asked | RevocationState::Revoking)
    }

    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            fact: certificates::read(row)?,
            reason: variant(row, "reason")?,
            asked_by: row.try_get("asked_by")?,
            state: variant(row, "revocation")?,
            intent: row.try_get::<Option<Uuid>, _>("asking")?.map(IntentId),
            failures: u32::try_from(row.try_get::<i32, _>("failures")?).unwrap_or_default(),
            cause: row.try_get("cause")?,
            message: row.try_get("message")?,
            retry_at: time_maybe(row, "retry_at")?,
            ended_at: time_maybe(row, "ended_at")?,
        })
    }
}

const SELECT: &str =
    "SELECT c.*, r.reason, r.asked_by, r.state AS revocation, r.intent_id AS asking, r.failures, r.cause, r.message,
        r.retry_at, r.ended_at
     FROM certificate_revocations r JOIN certificates_issued c USING (certificate_id)";

impl Ledger {
    /// The revocations of an object: those that are not over, the oldest first, and behind them the others, the last first.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn revocations(&self, subject: &Subject) -> Result<Vec<Revocation>> {
        let statement = format!(
            "{SELECT} WHERE r.cluster_id = $1 AND r.uid = $2 AND r.organization_id = $3
             ORDER BY r.ended_at DESC NULLS FIRST, r.asked_at LIMIT 100"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(subject.cluster)
            .bind(subject.uid)
            .bind(subject.organization.as_str())
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(Revocation::read).collect()
    }

    /// The certificate of an object that has, or had, this serial number.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn certificate_with(&self, subject: &Subject, serial: &str) -> Result<Option<CertificateFact>> {
        let row = sqlx::query(
            "SELECT * FROM certificates_issued WHERE cluster_id = $1 AND uid = $2 AND organization_id = $3
               AND serial_number = $4 AND state = 'Issued' ORDER BY made_at DESC LIMIT 1",
        )
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(subject.organization.as_str())
        .bind(serial)
        .fetch_optional(self.pool())
        .await?;
        row.as_ref().map(certificates::read).transpose()
    }
}

impl Writer {
    /// Writes down that a certificate is to be revoked. Of one that is not revoked yet, reason and asker are put anew.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn ask_revocation(
        &self,
        subject: &Subject,
        certificate: Uuid,
        reason: RevocationReason,
        by: Option<&str>,
    ) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        sqlx::query(
            "INSERT INTO certificate_revocations AS r (certificate_id, organization_id, cluster_id, uid, reason, asked_by, state)
             VALUES ($1, $2, $3, $4, $5, $6, 'Asked')
             ON CONFLICT (certificate_id) DO UPDATE SET reason = excluded.reason, asked_by = excluded.asked_by, retry_at = NULL,
               failures = 0, cause = NULL, message = NULL, ended_at = NULL,
               state = CASE r.state WHEN 'GivenUp' THEN 'Asked' ELSE r.state END
             WHERE r.state <> 'Revoked' AND (r.state = 'GivenUp' OR (r.reason, r.asked_by) IS DISTINCT FROM (excluded.reason, excluded.asked_by))",
        )
        .bind(certificate)
        .bind(subject.organization.as_str())
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(word(reason)?)
        .bind(by)
        .execute(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Puts on record that the CA is about to be asked. Where it was before and the answer never came, that is `Unknown` from
    /// here on.
    ///
    /// # Errors
    /// As [`Writer::intend`].
    pub async fn begin_revocation(&self, revocation: &Revocation) -> Result<Revocation> {
        let subject = revocation.subject();
        let mut tx = self.begin(&subject.organization).await?;
        if let Some(open) = revocation.intent {
            let actor = Actor::Controller(self.holder().to_owned());
            tx.conclude(open, Outcome::Unknown, json!({"answer": "never came"}), actor).await?;
        }
        let why = match &revocation.asked_by {
            Some(_) => "a person commands it",
            None => "its object goes, and spec.revokeOnDelete is true",
        };
        let intent = NewIntent {
            subjects: vec![subject.clone()],
            call: "acme.revokeCert",
            why: why.into(),
            approved_by: revocation.asked_by.clone(),
            details: revocation.details(),
            parts: Vec::new(),
        };
        let begun = Revocation {
            intent: Some(tx.intend(intent).await?),
            state: RevocationState::Revoking,
            ..revocation.clone()
        };
        write(&mut tx, &begun).await?;
        tx.commit().await?;
        Ok(begun)
    }

    /// The CA says that it is revoked.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn revoked(&self, begun: &Revocation, outcome: Outcome, answer: &str, now: Timestamp) -> Result<()> {
        let mut tx = self.begin(&begun.subject().organization).await?;
        self.conclude_revocation(&mut tx, begun, outcome, json!({"answer": answer})).await?;
        let after = Revocation { ended_at: Some(now), state: RevocationState::Revoked, ..begun.clone() };
        write(&mut tx, &Revocation { intent: None, failures: 0, cause: None, message: None, retry_at: None, ..after })
            .await?;
        tx.append(self.revocation_event(begun, "certificate.revoked", begun.details()));
        tx.commit().await?;
        Ok(())
    }

    /// The CA, or the way to it, was in the way. `outcome` is that of the call, where one was made.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn revocation_put_off(&self, one: &Revocation, outcome: Outcome, why: Hindrance) -> Result<()> {
        let mut tx = self.begin(&one.subject().organization).await?;
        let told = json!({"cause": why.cause, "message": why.message});
        self.conclude_revocation(&mut tx, one, outcome, told).await?;
        let after = Revocation {
            intent: None,
            state: RevocationState::Asked,
            failures: one.failures.saturating_add(1),
            cause: Some(why.cause.to_owned()),
            message: Some(why.message),
            retry_at: Some(why.retry_at),
            ..one.clone()
        };
        write(&mut tx, &after).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The CA is not asked any more; why goes on record.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn revocation_given_up(&self, one: &Revocation, why: &str, now: Timestamp) -> Result<()> {
        let mut tx = self.begin(&one.subject().organization).await?;
        self.conclude_revocation(&mut tx, one, Outcome::Unknown, json!({"answer": "never came"})).await?;
        let after = Revocation {
            intent: None,
            state: RevocationState::GivenUp,
            message: Some(why.to_owned()),
            retry_at: None,
            ended_at: Some(now),
            ..one.clone()
        };
        write(&mut tx, &after).await?;
        let mut details = one.details();
        if let Some(details) = details.as_object_mut() {
            details.insert("why".into(), Value::from(why));
        }
        tx.append(self.revocation_event(one, "certificate.not_revoked", details));
        tx.commit().await?;
        Ok(())
    }

    async fn conclude_revocation(
        &self,
        tx: &mut Transaction,
        one: &Revocation,
        outcome: Outcome,
        details: Value,
    ) -> Result<()> {
        let Some(intent) = one.intent else { return Ok(()) };
        tx.conclude(intent, outcome, details, Actor::Controller(self.holder().to_owned())).await
    }

    fn revocation_event(&self, one: &Revocation, action: &'static str, details: Value) -> Event {
        let actor = Actor::Controller(self.holder().to_owned());
        Event { subject: one.subject().clone(), actor, action, details }
    }
}

impl Revocation {
    fn subject(&self) -> &Subject {
        &self.fact.certificate.subject
    }

    fn details(&self) -> Value {
        let certificate = &self.fact.certificate;
        json!({"serial": certificate.serial, "fingerprintSha256": certificate.fingerprint, "names": certificate.terms.names,
               "reason": self.reason, "askedBy": self.asked_by})
    }
}

async fn write(tx: &mut Transaction, one: &Revocation) -> Result<()> {
    let done = sqlx::query(
        "UPDATE certificate_revocations SET state = $2, intent_id = $3, failures = $4, cause = $5, message = $6, retry_at = $7,
           ended_at = $8 WHERE certificate_id = $1 AND state IN ('Asked', 'Revoking')",
    )
    .bind(one.fact.id)
    .bind(word(one.state)?)
    .bind(one.intent.map(|intent| intent.0))
    .bind(i32::try_from(one.failures).unwrap_or(i32::MAX))
    .bind(&one.cause)
    .bind(&one.message)
    .bind(one.retry_at.map(ToSqlx::to_sqlx))
    .bind(one.ended_at.map(ToSqlx::to_sqlx))
    .execute(tx.connection())
    .await?;
    super::touched(done.rows_affected(), 1, "certificate_revocations")
}

/// Of objects that are gone, nobody asks the CA any more.
pub(super) async fn bury(tx: &mut Transaction, actor: &Actor, cluster: Uuid, uids: &[Uuid]) -> Result<()> {
    let open: Vec<Option<Uuid>> = sqlx::query_scalar(
        "UPDATE certificate_revocations r SET state = 'GivenUp', intent_id = NULL, message = 'its object is gone', ended_at = clock_timestamp()
         FROM certificate_revocations o
         WHERE r.cluster_id = $1 AND r.uid = ANY($2) AND r.state IN ('Asked', 'Revoking') AND o.certificate_id = r.certificate_id
         RETURNING o.intent_id",
    )
    .bind(cluster)
    .bind(uids)
    .fetch_all(tx.connection())
    .await?;
    tx.conclude_gone(open.into_iter().flatten(), actor).await
}
