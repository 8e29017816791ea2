//! Keys of accounts, and what they sign themselves: the library signs all but the call that makes an account, which it
//! makes with a key of its own choice where an external account is bound. Ours is in the ledger before the CA is asked.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::access::SecretText;
use crate::{Error, Result};

/// An account's key: ECDSA P-256.
#[derive(Clone)]
pub struct AccountKey {
    pkcs8: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccountKey")
    }
}

/// What a CA gave by another way, to bind an account to.
pub struct Eab {
    /// Id of the key.
    pub key_id: String,
    /// The key in base64url, as CAs hand it out.
    pub hmac_key: SecretText,
}

impl AccountKey {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let made =
            made.map_err(|_| Error::Integrity("no key could be made: the system gave no random bytes".into()))?;
        Ok(Self { pkcs8: Zeroizing::new(made.as_ref().to_vec()) })
    }

    /// One that was kept.
    ///
    /// # Errors
    /// It is no ECDSA P-256 key in PKCS#8.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self> {
        let key = Self { pkcs8: Zeroizing::new(bytes.to_vec()) };
        key.pair()?;
        Ok(key)
    }

    /// PKCS#8, DER.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    fn pair(&self) -> Result<EcdsaKeyPair> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8, &SystemRandom::new())
            .map_err(|_| Error::Integrity("an account's key is no ECDSA P-256 key in PKCS#8".into()))
    }

    /// The public key (RFC 7517).
    fn jwk(pair: &EcdsaKeyPair) -> Value {
        // 0x04, then both coordinates.
        let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at_checked(32).unwrap_or_default();
        json!({"kty": "EC", "crv": "P-256", "x": url_safe(x), "y": url_safe(y)})
    }

    /// The signed body of a call that makes an account (RFC 8555, 7.3).
    pub(super) fn sign_new_account(
        &self,
        url: &str,
        nonce: &str,
        email: Option<&str>,
        eab: Option<&Eab>,
    ) -> Result<Vec<u8>> {
        let pair = self.pair()?;
        let jwk = Self::jwk(&pair);
        let mut payload = BTreeMap::from([("termsOfServiceAgreed", json!(true))]);
        if let Some(email) = email {
            payload.insert("contact", json!([format!("mailto:{email}")]));
        }
        if let Some(eab) = eab {
            payload.insert("externalAccountBinding", bind(eab, url, &jwk)?);
        }
        let protected = json!({"alg": "ES256", "jwk": jwk, "nonce": nonce, "url": url});
        let signed = sign(&protected, &json!(payload), |message| {
            let signature = pair.sign(&SystemRandom::new(), message);
            signature
                .map(|s| s.as_ref().to_vec())
                .map_err(|_| Error::Integrity("an account's key signs nothing".into()))
        })?;
        Ok(signed.to_string().into_bytes())
    }
}

/// RFC 8555, 7.3.4.
fn bind(eab: &Eab, url: &str, jwk: &Value) -> Result<Value> {
    let text = eab.hmac_key.expose().trim().trim_end_matches('=');
    let key = BASE64_URL_SAFE_NO_PAD.decode(text.replace('+', "-").replace('/', "_")).map(Zeroizing::new);
    let key = key.map_err(|_| Error::Integrity("externalAccountBinding: the key is no base64url".into()))?;
    let protected = json!({"alg": "HS256", "kid": eab.key_id, "url": url});
    sign(&protected, jwk, |message| {
        let mac =
            Hmac::<Sha256>::new_from_slice(&key).map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec());
        mac.map_err(|_| Error::Integrity("externalAccountBinding: the key is empty".into()))
    })
}

/// A flattened JWS.
fn sign(protected: &Value, payload: &Value, with: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Value> {
    let (protected, payload) = (url_safe(protected.to_string()), url_safe(payload.to_string()));
    let signature = with(format!("{protected}.{payload}").as_bytes())?;
    Ok(json!({"protected": protected, "payload": payload, "signature": url_safe(signature)}))
}

fn url_safe(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
