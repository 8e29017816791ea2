//! What is done to a certificate's Secret beside putting a new pair into it: repairs, and the removal of one that was left. An
//! intent before the write, its outcome after it, and how many repairs there were of late.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::certificates::{CertificateFact, KEY_LOST};
use super::{Actor, Event, IntentId, Ledger, NewIntent, Outcome, Subject, Transaction, Writer};
use crate::Result;

impl Writer {
    /// Puts on record that what stands around the key in a Secret is about to be put right.
    ///
    /// # Errors
    /// As [`Writer::intend`].
    pub async fn begin_restore(&self, fact: &CertificateFact) -> Result<CertificateFact> {
        let certificate = &fact.certificate;
        let mut tx = self.begin(&certificate.subject.organization).await?;
        let intent = NewIntent {
            subjects: vec![certificate.subject.clone()],
            call: "certificate.restore",
            why: "what stood around the key in the Secret was damaged".into(),
            approved_by: None,
            details: json!({"secret": certificate.secret, "serial": certificate.serial}),
            parts: Vec::new(),
        };
        let intent = tx.intend(intent).await?;
        put(&mut tx, fact, Some(intent)).await?;
        tx.commit().await?;
        Ok(CertificateFact { restoring: Some(intent), ..fact.clone() })
    }

    /// The Secret holds again what was issued: `Done`, or `Settled` where that was found later; or it surely does not: `Failed`.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn restored(&self, fact: &CertificateFact, outcome: Outcome, why: Option<&str>) -> Result<()> {
        let Some(intent) = fact.restoring else { return Ok(()) };
        let certificate = &fact.certificate;
        let mut tx = self.begin(&certificate.subject.organization).await?;
        let actor = Actor::Controller(self.holder().to_owned());
        tx.conclude(intent, outcome, json!({"serial": certificate.serial, "why": why}), actor.clone()).await?;
        put(&mut tx, fact, None).await?;
        if outcome != Outcome::Failed {
            let details = json!({"secret": certificate.secret, "serial": certificate.serial});
            let subject = certificate.subject.clone();
            tx.append(Event { subject, actor, action: "certificate.restored", details });
        }
        tx.commit().await?;
        Ok(())
    }

    /// Puts on record that a Secret which held an object's certificates, and does no more, is about to go.
    ///
    /// # Errors
    /// As [`Writer::intend`].
    pub async fn begin_removal(&self, subject: &Subject, secret: &str) -> Result<IntentId> {
        let intent = NewIntent {
            subjects: vec![subject.clone()],
            call: REMOVE,
            why: "spec.secretName is another one, and that Secret is whole".into(),
            approved_by: None,
            details: json!({"secret": secret}),
            parts: Vec::new(),
        };
        self.intend(intent).await
    }
}

/// The word of a removal.
const REMOVE: &str = "certificate.remove_secret";

async fn put(tx: &mut Transaction, fact: &CertificateFact, intent: Option<IntentId>) -> Result<()> {
    let done = sqlx::query("UPDATE certificates_issued SET restore_intent_id = $2 WHERE certificate_id = $1")
        .bind(fact.id)
        .bind(intent.map(|intent| intent.0))
        .execute(tx.connection())
        .await?;
    super::touched(done.rows_affected(), 1, "certificates_issued")
}

impl Ledger {
    /// A removal of a Secret of the object whose outcome is not known, and that Secret's name.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn open_removal(&self, subject: &Subject) -> Result<Option<(IntentId, String)>> {
        let found: Option<(Uuid, String)> = sqlx::query_as(
            "SELECT intent_id, details ->> 'secret' FROM intents JOIN intent_objects o USING (intent_id)
             WHERE o.cluster_id = $1 AND o.object_uid = $2 AND call = $3 AND outcome IS NULL LIMIT 1",
        )
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(REMOVE)
        .fetch_optional(self.pool())
        .await?;
        Ok(found.map(|(intent, secret)| (IntentId(intent), secret)))
    }

    /// How often within this time what stood in an object's Secret was put right, or its key replaced.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn certificate_repairs(&self, subject: &Subject, within: Duration) -> Result<i64> {
        Ok(sqlx::query_scalar(
            "SELECT count(*) FROM activity_log
             WHERE organization_id = $1 AND object_uid = $2 AND cluster_id = $3 AND at > clock_timestamp() - make_interval(secs => $4)
               AND (action = 'certificate.restored' OR action = 'certificate.issued' AND details ->> 'why' = $5)",
        )
        .bind(subject.organization.as_str())
        .bind(subject.uid)
        .bind(subject.cluster)
        .bind(within.as_secs_f64())
        .bind(KEY_LOST)
        .fetch_one(self.pool())
        .await?)
    }
}

/// Of objects that are gone, nobody will say whether a repair or a removal landed.
pub(super) async fn bury(tx: &mut Transaction, actor: &Actor, cluster: Uuid, uids: &[Uuid]) -> Result<()> {
    let open: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE certificates_issued c SET restore_intent_id = NULL FROM certificates_issued o
         WHERE c.cluster_id = $1 AND c.uid = ANY($2) AND c.restore_intent_id IS NOT NULL AND o.certificate_id = c.certificate_id
         RETURNING o.restore_intent_id",
    )
    .bind(cluster)
    .bind(uids)
    .fetch_all(tx.connection())
    .await?;
    let removals: Vec<Uuid> = sqlx::query_scalar(
        "SELECT intent_id FROM intents JOIN intent_objects o USING (intent_id)
         WHERE o.cluster_id = $1 AND o.object_uid = ANY($2) AND call = $3 AND outcome IS NULL",
    )
    .bind(cluster)
    .bind(uids)
    .bind(REMOVE)
    .fetch_all(tx.connection())
    .await?;
    tx.conclude_gone(open.into_iter().chain(removals), actor).await
}
