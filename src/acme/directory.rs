//! A CA's directory: where it takes what, and what it wants.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

/// What a CA offers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    /// RFC 9773.
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: Meta,
    /// As the CA sent it, for the library.
    #[serde(skip)]
    pub(super) raw: Bytes,
}

/// What a CA tells of itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Where its terms are, to which each account agrees.
    #[serde(default)]
    pub terms_of_service: Option<String>,
    /// Whether it takes only accounts that are bound to one of another kind.
    #[serde(default)]
    pub external_account_required: bool,
    /// Its profiles, with a sentence each.
    #[serde(default)]
    pub profiles: BTreeMap<String, String>,
}

impl Directory {
    /// Reads it.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn read(body: &Bytes) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        Ok(Self { raw: body.clone(), ..read })
    }
}
