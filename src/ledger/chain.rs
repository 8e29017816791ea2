//! One link of a chain, and its hash. No SQL here: this is what a second implementation has to repeat.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Error, Result};

/// Keeps these hashes apart from all others.
const DOMAIN: &[u8] = b"landfall-activity-v1\0";

/// What a chain begins with: the hash before number 1.
pub(super) const GENESIS: [u8; 32] = [0; 32];

/// A row of the activity log, as it is hashed. Times are RFC 3339 in UTC with six digits, see [`instant`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    pub(super) organization: String,
    pub(super) seq: i64,
    pub(super) at: String,
    pub(super) actor: Option<String>,
    pub(super) actor_kind: String,
    pub(super) action: String,
    pub(super) cluster: Uuid,
    pub(super) object_kind: String,
    pub(super) object_uid: Uuid,
    pub(super) object_namespace: String,
    pub(super) object_name: String,
    pub(super) details: Value,
}

/// A time as it is hashed: what Postgres keeps, to the microsecond.
pub(super) fn instant(at: Timestamp) -> String {
    format!("{at:.6}")
}

impl Link {
    /// `SHA-256(domain ‖ prev ‖ JCS(event))`.
    pub(super) fn hash(&self, prev: &[u8]) -> Result<[u8; 32]> {
        let event = json!({
            "organization": self.organization,
            "seq": self.seq,
            "at": self.at,
            "actor": self.actor,
            "actor_kind": self.actor_kind,
            "action": self.action,
            "cluster": self.cluster,
            "object_kind": self.object_kind,
            "object_uid": self.object_uid,
            "object_namespace": self.object_namespace,
            "object_name": self.object_name,
            "details": self.details,
        });
        let canonical = serde_json_canonicalizer::to_vec(&event).map_err(|e| {
            Error::Integrity(format!("event {} of {} has no canonical JSON: {e}", self.seq, self.organization))
        })?;
        Ok(Sha256::new().chain_update(DOMAIN).chain_update(prev).chain_update(canonical).finalize().into())
    }
}
