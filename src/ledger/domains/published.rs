//! Where Landfall itself has put the challenge of a managed domain.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json;
use uuid::Uuid;

use crate::Result;
use crate::api::Organization;
use crate::ledger::{Actor, Event, Ledger, ObjectKind, Subject, Transaction, Writer};

/// A challenge that stands in a zone by our hand, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainPublished {
    /// The credential by which it was written.
    pub credential: Subject,
    /// The provider's id of the zone.
    pub zone_id: String,
    /// The zone's name, canonical.
    pub zone_name: String,
    /// When it was last written; none while that is about to be done for the first time.
    pub at: Option<Timestamp>,
    /// Since when it is to be taken away, and something is in the way.
    pub leaving_since: Option<Timestamp>,
}

/// The same, as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    organization: Organization,
    credential: Uuid,
    namespace: String,
    name: String,
    zone_id: String,
    zone_name: String,
    at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaving_since: Option<Timestamp>,
}

impl Writer {
    /// Keeps where the challenge stands, or that it stands nowhere by our hand.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn put_domain_published(&self, subject: &Subject, published: Option<&DomainPublished>) -> Result<()> {
        let stored = published.map(|p| {
            Json(Stored {
                organization: p.credential.organization.clone(),
                credential: p.credential.uid,
                namespace: p.credential.namespace.clone(),
                name: p.credential.name.clone(),
                zone_id: p.zone_id.clone(),
                zone_name: p.zone_name.clone(),
                at: p.at,
                leaving_since: p.leaving_since,
            })
        });
        let mut tx = self.begin(&subject.organization).await?;
        put(&mut tx, subject, stored).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The challenge `name` is left where it stands, and nobody asks for it any more; why goes on record.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn leave_domain_challenge(
        &self,
        subject: &Subject,
        published: &DomainPublished,
        name: &str,
        why: &str,
    ) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        put(&mut tx, subject, None).await?;
        let credential = format!("{}/{}", published.credential.namespace, published.credential.name);
        let details = json!({"name": name, "zone": published.zone_name, "credential": credential, "message": why});
        let actor = Actor::Controller(self.holder().to_owned());
        tx.append(Event { subject: subject.clone(), actor, action: "domain.challenge_left", details });
        tx.commit().await?;
        Ok(())
    }
}

async fn put(tx: &mut Transaction, subject: &Subject, stored: Option<Json<Stored>>) -> Result<()> {
    sqlx::query("UPDATE domain_verifications SET published = $3 WHERE cluster_id = $1 AND uid = $2")
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(stored)
        .execute(tx.connection())
        .await?;
    Ok(())
}

impl Ledger {
    /// Where the challenge of a domain stands by our hand.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn domain_published(&self, cluster: Uuid, uid: Uuid) -> Result<Option<DomainPublished>> {
        let found: Option<Option<Json<Stored>>> =
            sqlx::query_scalar("SELECT published FROM domain_verifications WHERE cluster_id = $1 AND uid = $2")
                .bind(cluster)
                .bind(uid)
                .fetch_optional(&self.pool)
                .await?;
        Ok(found.flatten().map(|Json(stored)| DomainPublished {
            credential: Subject {
                organization: stored.organization,
                cluster,
                kind: ObjectKind::CloudCredential,
                uid: stored.credential,
                namespace: stored.namespace,
                name: stored.name,
            },
            zone_id: stored.zone_id,
            zone_name: stored.zone_name,
            at: stored.at,
            leaving_since: stored.leaving_since,
        }))
    }
}
