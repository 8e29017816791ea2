//! Accounts and orders at CAs, and their keys, sealed: written down before a CA is asked, so that whoever comes next goes on
//! with the same key and the same order.

mod accounts;
mod orders;

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

pub use accounts::{AcmeAccount, AcmeIdentity};
pub use orders::{AcmeChain, AcmeOrder, Mark, NewAcmeOrder};

pub(super) use orders::bury;

use super::{Aad, Actor, Event, Ledger, Sealed, Subject, Transaction};
use crate::api::Organization;
use crate::{Error, Result};

/// How far an order is. Each but the last four is written down before what it names is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AcmeStage {
    /// Key and names are written down; the CA was not asked.
    Prepared,
    /// The CA is being asked for the order.
    Placing,
    /// The order's URL is known; what is to be proved is not.
    Placed,
    /// The proofs are being put into DNS.
    Presenting,
    /// They are in DNS; its servers may not all have them.
    Presented,
    /// The CA is being told that they are there.
    Responding,
    /// The CA looks at them.
    Validating,
    /// The certificate's request is being sent, and the CA issues.
    Finalizing,
    /// The chain is here.
    Issued,
    /// The object's Secret holds it.
    Delivered,
    /// The CA made the order invalid, or does not know it any more.
    Failed,
    /// Nobody wants it any more.
    Abandoned,
}

impl AcmeStage {
    /// Whether nothing more becomes of the order. What stands in DNS for it may still have to be taken away.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed | Self::Abandoned)
    }
}

/// A proof in DNS that a CA asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AcmeChallenge {
    /// The name that is proved; of a wildcard, what stands below `*`.
    pub identifier: String,
    /// Where the TXT record is looked up.
    pub name: String,
    /// What one of its values must be.
    pub value: String,
    /// Where it was put, or is about to be; none where the domain's owner writes the zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<AcmePlace>,
}

impl AcmeChallenge {
    /// What tells that it stays in DNS though nobody needs it, and why.
    pub fn left(&self, order: &Subject, actor: Actor, why: &str) -> Event {
        let details = json!({"name": self.name, "value": self.value, "message": why});
        Event { subject: order.clone(), actor, action: "acme.challenge_left", details }
    }
}

/// The zone that a proof was put into, and the credential of the order's cluster and organization that it was done by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcmePlace {
    /// `metadata.uid`.
    pub credential: Uuid,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The provider's name for the zone.
    pub zone_id: String,
    /// The zone's own.
    pub zone_name: String,
}

fn place(cluster: Uuid, owner: Uuid) -> Aad {
    Aad { cluster, table: "acme_keys", row: owner.to_string(), column: "sealed", serial: 0 }
}

async fn put_key(
    ledger: &Ledger,
    tx: &mut Transaction,
    organization: &Organization,
    cluster: Uuid,
    owner: Uuid,
    key: &[u8],
) -> Result<()> {
    let sealed = ledger.keys().seal(key, &place(cluster, owner))?;
    sqlx::query("INSERT INTO acme_keys (owner_id, organization_id, key_id, sealed) VALUES ($1, $2, $3, $4)")
        .bind(owner)
        .bind(organization.as_str())
        .bind(sealed.key_id.clone())
        .bind(sealed.into_bytes())
        .execute(tx.connection())
        .await?;
    Ok(())
}

async fn key_of(ledger: &Ledger, cluster: Uuid, owner: Uuid) -> Result<Zeroizing<Vec<u8>>> {
    let sealed: Option<Vec<u8>> = sqlx::query_scalar("SELECT sealed FROM acme_keys WHERE owner_id = $1")
        .bind(owner)
        .fetch_optional(&ledger.pool)
        .await?;
    let sealed = sealed.ok_or_else(|| Error::Integrity(format!("acme_keys: no key of {owner}")))?;
    ledger.keys().open(Sealed::from_bytes(&sealed)?, &place(cluster, owner))
}
