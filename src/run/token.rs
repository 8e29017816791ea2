//! The bearer token of a run: made when the run is started, kept by the ledger as a hash only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::protocol::SecretText;

/// 256 random bits, base64url.
pub fn new() -> SecretText {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
    SecretText::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// SHA-256 of a token: what the ledger keeps.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The hash in the hex of an [`super::protocol::Attach`].
pub fn hash_of_hex(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}
