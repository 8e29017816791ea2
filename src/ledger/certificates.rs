//! Certificates as they were issued, found or brought. Others trust these rows, never an object's status. No private key is
//! in them.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::words::{json_maybe, time, time_maybe};
use super::{Actor, Event, IntentId, Ledger, NewIntent, ObjectKind, Outcome, Subject, Transaction, Writer};
use crate::api::Organization;
use crate::{Error, Result};

/// Why a certificate is issued whose key does not stand in its Secret any more.
pub const KEY_LOST: &str = "the private key was lost or replaced";

/// What a spec asks of a certificate. Another answer to any of it needs another certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateTerms {
    /// Canonical names, in order.
    pub names: Vec<String>,
    /// Of the key: `ECDSA P-256`, `RSA 2048`; empty for one that was brought.
    pub algorithm: String,
    /// Seconds; 0 for one that was brought.
    pub life: u64,
    /// `ca`, `selfSigned`, `imported`.
    pub issuer: String,
    /// Fingerprint of the CA's certificate, where the issuer is one's own.
    pub signer: Option<String>,
}

/// A certificate that was made, found or brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCertificate {
    /// The object that it is for.
    pub subject: Subject,
    /// The Secret that holds it, or shall.
    pub secret: String,
    /// Why, in words.
    pub why: String,
    /// What was asked for.
    pub terms: CertificateTerms,
    /// Who signed it, for people.
    pub issuer: String,
    /// Lower-case hex.
    pub serial: String,
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint: String,
    /// SHA-256 of the SubjectPublicKeyInfo, lower-case hex.
    pub public_key: String,
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// PEM, the leaf first.
    pub chain: String,
    /// PEM for `ca.crt`.
    pub roots: Option<String>,
    /// When, by the controller's clock.
    pub made_at: Timestamp,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFact {
    /// Its key.
    pub id: Uuid,
    /// What it is.
    pub certificate: NewCertificate,
    /// The intent of its delivery; one that was found or brought has none.
    pub intent: Option<IntentId>,
    /// From when and until when the CA would have it renewed, where it tells.
    pub window: Option<(Timestamp, Timestamp)>,
    /// Where the CA says why.
    pub page: Option<String>,
    /// When the CA is asked for that again.
    pub ask_at: Option<Timestamp>,
    /// The intent of a repair of its Secret whose outcome is not known.
    pub restoring: Option<IntentId>,
}

impl CertificateFact {
    fn new(certificate: NewCertificate, intent: Option<IntentId>) -> Self {
        Self { id: Uuid::now_v7(), certificate, intent, window: None, page: None, ask_at: None, restoring: None }
    }
}

/// What is known of an object's certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The one in use.
    pub current: Option<CertificateFact>,
    /// One that was on its way into the Secret when its outcome was last heard of.
    pub open: Option<CertificateFact>,
    /// The Secrets that held former ones, but for those that were brought.
    pub former_secrets: Vec<String>,
}

impl Writer {
    /// Writes down a certificate that is about to go into its Secret, with the intent to put it there. Before the Secret. Its
    /// names lie in these domains.
    ///
    /// # Errors
    /// [`crate::api::Reason::DomainNotVerified`] where one of the domains is lost by now; [`Error::Deposed`]; Postgres's.
    pub async fn begin_certificate(&self, new: NewCertificate, domains: &[Subject]) -> Result<CertificateFact> {
        let mut transaction = self.begin(&new.subject.organization).await?;
        super::domains::hold_all(&mut transaction, domains, new.made_at).await?;
        let intent = transaction
            .intend(NewIntent {
                subjects: vec![new.subject.clone()],
                call: "certificate.issue",
                why: new.why.clone(),
                approved_by: None,
                details: details(&new),
                parts: Vec::new(),
            })
            .await?;
        let fact = CertificateFact::new(new, Some(intent));
        insert(&mut transaction, &fact, "Issuing").await?;
        transaction.commit().await?;
        Ok(fact)
    }

    /// Its Secret holds it: it is the one in use.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn certificate_issued(&self, fact: &CertificateFact, outcome: Outcome) -> Result<()> {
        let mut transaction = self.begin(&fact.certificate.subject.organization).await?;
        supersede(&mut transaction, fact).await?;
        move_on(&mut transaction, fact, "Issued").await?;
        self.conclude_delivery(&mut transaction, fact, outcome, json!({"fingerprint": fact.certificate.fingerprint}))
            .await?;
        transaction.append(self.certificate_event(fact, "certificate.issued"));
        transaction.commit().await?;
        Ok(())
    }

    /// Its Secret does not hold it, and never will.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn certificate_failed(&self, fact: &CertificateFact, why: &str) -> Result<()> {
        let mut transaction = self.begin(&fact.certificate.subject.organization).await?;
        move_on(&mut transaction, fact, "Failed").await?;
        self.conclude_delivery(&mut transaction, fact, Outcome::Failed, json!({"why": why})).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Takes in a certificate that stands in its Secret and that nobody wrote down: brought, or issued before this ledger.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn take_in_certificate(&self, new: NewCertificate) -> Result<CertificateFact> {
        let fact = CertificateFact::new(new, None);
        let mut transaction = self.begin(&fact.certificate.subject.organization).await?;
        supersede(&mut transaction, &fact).await?;
        insert(&mut transaction, &fact, "Issued").await?;
        transaction.append(self.certificate_event(&fact, "certificate.found"));
        transaction.commit().await?;
        Ok(fact)
    }

    /// Writes down when the CA would have a certificate renewed, and when it is asked again. Another window than before goes on
    /// record, with the page that says why.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn certificate_window(
        &self,
        fact: &CertificateFact,
        window: Option<(Timestamp, Timestamp)>,
        page: Option<&str>,
        ask_at: Timestamp,
    ) -> Result<()> {
        let mut transaction = self.begin(&fact.certificate.subject.organization).await?;
        sqlx::query(
            "UPDATE certificates_issued SET renew_from = $2, renew_until = $3, ask_at = $4, renew_page = $5 WHERE certificate_id = $1",
        )
        .bind(fact.id)
        .bind(window.map(|(from, _)| from.to_sqlx()))
        .bind(window.map(|(_, until)| until.to_sqlx()))
        .bind(ask_at.to_sqlx())
        .bind(page)
        .execute(transaction.connection())
        .await?;
        if window != fact.window {
            let details = json!({"serial": fact.certificate.serial, "from": window.map(|w| w.0), "until": window.map(|w| w.1), "page": page});
            let actor = Actor::Controller(self.holder().to_owned());
            let subject = fact.certificate.subject.clone();
            transaction.append(Event { subject, actor, action: "certificate.renewal_window", details });
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn conclude_delivery(
        &self,
        transaction: &mut Transaction,
        fact: &CertificateFact,
        outcome: Outcome,
        details: Value,
    ) -> Result<()> {
        let Some(intent) = fact.intent else { return Ok(()) };
        transaction.conclude(intent, outcome, details, Actor::Controller(self.holder().to_owned())).await
    }

    fn certificate_event(&self, fact: &CertificateFact, action: &'static str) -> Event {
        let new = &fact.certificate;
        let actor = Actor::Controller(self.holder().to_owned());
        Event { subject: new.subject.clone(), actor, action, details: details(new) }
    }
}

impl Ledger {
    /// What is known of the certificates of a live object, whatever it was taken for before.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn certificate_facts(&self, cluster: Uuid, uid: Uuid) -> Result<CertificateFacts> {
        let rows = sqlx::query(
            "SELECT certificate_id, organization_id, cluster_id, uid, namespace, name, secret_name, state, why, terms, issuer,
                    serial_number, fingerprint_sha256, public_key_sha256, not_before, not_after, chain, roots, intent_id, made_at,
                    renew_from, renew_until, renew_page, ask_at, restore_intent_id,
                    ARRAY(SELECT DISTINCT p.secret_name FROM certificates_issued p WHERE p.cluster_id = c.cluster_id AND p.uid = c.uid
                          AND p.state = 'Issued' AND p.superseded_at IS NOT NULL AND p.terms ->> 'issuer' <> 'imported') AS former_secrets
             FROM certificates_issued c
             WHERE cluster_id = $1 AND uid = $2 AND (state = 'Issuing' OR state = 'Issued' AND superseded_at IS NULL)",
        )
        .bind(cluster)
        .bind(uid)
        .fetch_all(self.pool())
        .await?;
        let mut facts = CertificateFacts::default();
        for row in &rows {
            let fact = Some(read(row)?);
            facts.former_secrets = row.try_get("former_secrets")?;
            match row.try_get::<&str, _>("state")? {
                "Issuing" => facts.open = fact,
                _ => facts.current = fact,
            }
        }
        Ok(facts)
    }
}

/// What the log tells of a certificate.
fn details(new: &NewCertificate) -> Value {
    json!({"names": new.terms.names, "issuer": new.issuer, "kind": new.terms.issuer, "serial": new.serial,
           "fingerprintSha256": new.fingerprint, "publicKeySha256": new.public_key, "notBefore": new.not_before,
           "notAfter": new.not_after, "secret": new.secret, "why": new.why})
}

pub(super) fn read(row: &PgRow) -> Result<CertificateFact> {
    let terms = json_maybe(row, "terms")?.ok_or_else(|| Error::Integrity("certificates_issued: no terms".into()))?;
    Ok(CertificateFact {
        id: row.try_get("certificate_id")?,
        intent: row.try_get::<Option<Uuid>, _>("intent_id")?.map(IntentId),
        window: time_maybe(row, "renew_from")?.zip(time_maybe(row, "renew_until")?),
        page: row.try_get("renew_page")?,
        ask_at: time_maybe(row, "ask_at")?,
        restoring: row.try_get::<Option<Uuid>, _>("restore_intent_id")?.map(IntentId),
        certificate: NewCertificate {
            subject: Subject {
                organization: Organization(row.try_get("organization_id")?),
                cluster: row.try_get("cluster_id")?,
                kind: ObjectKind::Certificate,
                uid: row.try_get("uid")?,
                namespace: row.try_get("namespace")?,
                name: row.try_get("name")?,
            },
            secret: row.try_get("secret_name")?,
            why: row.try_get("why")?,
            terms,
            issuer: row.try_get("issuer")?,
            serial: row.try_get("serial_number")?,
            fingerprint: row.try_get("fingerprint_sha256")?,
            public_key: row.try_get("public_key_sha256")?,
            not_before: time(row, "not_before")?,
            not_after: time(row, "not_after")?,
            chain: row.try_get("chain")?,
            roots: row.try_get("roots")?,
            made_at: time(row, "made_at")?,
        },
    })
}

async fn insert(transaction: &mut Transaction, fact: &CertificateFact, state: &str) -> Result<()> {
    let new = &fact.certificate;
    let done = sqlx::query(
        "INSERT INTO certificates_issued (certificate_id, organization_id, cluster_id, uid, namespace, name, secret_name, state, why,
            terms, dns_names, issuer, serial_number, fingerprint_sha256, public_key_sha256, not_before, not_after, chain, roots,
            intent_id, made_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
    )
    .bind(fact.id)
    .bind(new.subject.organization.as_str())
    .bind(new.subject.cluster)
    .bind(new.subject.uid)
    .bind(&new.subject.namespace)
    .bind(&new.subject.name)
    .bind(&new.secret)
    .bind(state)
    .bind(&new.why)
    .bind(Json(&new.terms))
    .bind(&new.terms.names)
    .bind(&new.issuer)
    .bind(&new.serial)
    .bind(&new.fingerprint)
    .bind(&new.public_key)
    .bind(new.not_before.to_sqlx())
    .bind(new.not_after.to_sqlx())
    .bind(&new.chain)
    .bind(&new.roots)
    .bind(fact.intent.map(|intent| intent.0))
    .bind(new.made_at.to_sqlx())
    .execute(transaction.connection())
    .await?;
    super::touched(done.rows_affected(), 1, "certificates_issued")
}

/// The one in use is used no more.
async fn supersede(transaction: &mut Transaction, by: &CertificateFact) -> Result<()> {
    let subject = &by.certificate.subject;
    sqlx::query(
        "UPDATE certificates_issued SET superseded_at = clock_timestamp()
         WHERE cluster_id = $1 AND uid = $2 AND state = 'Issued' AND superseded_at IS NULL",
    )
    .bind(subject.cluster)
    .bind(subject.uid)
    .execute(transaction.connection())
    .await?;
    Ok(())
}

async fn move_on(transaction: &mut Transaction, fact: &CertificateFact, to: &str) -> Result<()> {
    let moved =
        sqlx::query("UPDATE certificates_issued SET state = $2 WHERE certificate_id = $1 AND state = 'Issuing'")
            .bind(fact.id)
            .bind(to)
            .execute(transaction.connection())
            .await?;
    super::touched(moved.rows_affected(), 1, "certificates_issued")
}

/// Objects that were taken for gone are there again.
pub(super) async fn unbury(transaction: &mut Transaction, cluster: Uuid, uids: &[Uuid]) -> Result<()> {
    sqlx::query(
        "UPDATE certificates_issued SET gone_at = NULL WHERE cluster_id = $1 AND uid = ANY($2) AND gone_at IS NOT NULL",
    )
    .bind(cluster)
    .bind(uids)
    .execute(transaction.connection())
    .await?;
    Ok(())
}

/// Of objects that are gone, nobody will say whether a delivery landed.
pub(super) async fn bury(transaction: &mut Transaction, actor: &Actor, cluster: Uuid, uids: &[Uuid]) -> Result<()> {
    let open: Vec<Option<Uuid>> = sqlx::query_scalar(
        "UPDATE certificates_issued SET state = 'Failed' WHERE cluster_id = $1 AND uid = ANY($2) AND state = 'Issuing' RETURNING intent_id",
    )
    .bind(cluster)
    .bind(uids)
    .fetch_all(transaction.connection())
    .await?;
    transaction.conclude_gone(open.into_iter().flatten(), actor).await
}
