//! Envelope encryption: AES-256-GCM under a fresh data key for each blob, which a key-encryption key with an id wraps.
//!
//! The blob's additional data say where it belongs, so that a ciphertext moved to another row, column or serial does not
//! open. The key's id belongs to the wrap alone: re-wrapping leaves the blob as it is. What this does not give: whoever
//! runs as the controller reads everything, and a whole row put back to its own older version still opens (the state's
//! serial in the activity log shows that).

use std::collections::BTreeMap;
use std::path::Path;

use aes_gcm::aead::{Aead, AeadInOut, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine as _;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::installation::Encryption;
use crate::{Error, Result};

pub(super) mod digest_key;

const KEY: usize = 32;
const NONCE: usize = 12;
const SALT: usize = 32;
const FORMAT: u8 = 1;
/// What a column holds beside key id, wrapped key and plaintext: format, four lengths, nonce and tag.
const COLUMN: usize = 1 + 4 * 8 + NONCE + 16;

type Key = Zeroizing<[u8; KEY]>;

/// Where a blob belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aad {
    /// Cluster id.
    pub cluster: Uuid,
    /// Table.
    pub table: &'static str,
    /// The row's key.
    pub row: String,
    /// Column.
    pub column: &'static str,
    /// Serial or offset within the row's history; 0 where there is one value only.
    pub serial: i64,
}

impl Aad {
    /// Each field with its length before it, so that no two places share an encoding.
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        for field in [
            self.cluster.as_bytes().as_slice(),
            self.table.as_bytes(),
            self.row.as_bytes(),
            self.column.as_bytes(),
            &self.serial.to_be_bytes(),
        ] {
            put(&mut out, field);
        }
        out
    }
}

/// A sealed blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Which key-encryption key wrapped the data key.
    pub key_id: String,
    /// Salt, nonce and the encrypted data key.
    pub wrapped_key: Vec<u8>,
    /// Nonce of the blob.
    pub nonce: Vec<u8>,
    /// The blob.
    pub ciphertext: Vec<u8>,
}

impl Sealed {
    /// One column's bytes: format, then each part with its length before it. They stand where the blob stood.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut head = vec![FORMAT];
        for part in [self.key_id.as_bytes(), &self.wrapped_key, &self.nonce] {
            put(&mut head, part);
        }
        let mut out = self.ciphertext;
        head.extend_from_slice(&(out.len() as u64).to_be_bytes());
        out.splice(..0, head);
        out
    }

    /// The reverse of [`Self::into_bytes`].
    ///
    /// # Errors
    /// The bytes are no sealed blob.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let read = || {
            let (&format, rest) = bytes.split_first()?;
            let (key_id, rest) = take(rest)?;
            let (wrapped_key, rest) = take(rest)?;
            let (nonce, rest) = take(rest)?;
            let (ciphertext, rest) = take(rest)?;
            (format == FORMAT && rest.is_empty()).then_some(())?;
            Some(Self {
                key_id: String::from_utf8(key_id.to_vec()).ok()?,
                wrapped_key: wrapped_key.to_vec(),
                nonce: nonce.to_vec(),
                ciphertext: ciphertext.to_vec(),
            })
        };
        read().ok_or_else(|| Error::Integrity("a sealed value is cut or damaged: restore the row from a backup".into()))
    }
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u64).to_be_bytes());
    out.extend_from_slice(part);
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(8)?;
    let length = u64::from_be_bytes(length.try_into().ok()?);
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// The key-encryption keys: the current one seals, each opens what carries its id.
pub struct Keyring {
    current: String,
    keys: BTreeMap<String, Key>,
    digest: Key,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("current", &self.current)
            .field("keys", &self.keys.keys())
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads the key files: 32 bytes, base64.
    ///
    /// # Errors
    /// Names the field and the file.
    pub fn from_installation(encryption: &Encryption) -> Result<Self> {
        let mut keys = BTreeMap::new();
        for (id, path) in &encryption.keys {
            keys.insert(id.clone(), read_key(id, path)?);
        }
        Self::new(encryption.current.clone(), keys)
    }

    /// One key, random, with the id `test`.
    pub fn for_test() -> Self {
        let key = random();
        Self {
            current: "test".into(),
            digest: derive(&key, b"", b"landfall digest v1"),
            keys: BTreeMap::from([("test".into(), key)]),
        }
    }

    /// A ring of these keys.
    ///
    /// # Errors
    /// The current key is not among them.
    pub fn new(current: String, keys: BTreeMap<String, Zeroizing<[u8; 32]>>) -> Result<Self> {
        let Some(key) = keys.get(&current) else {
            return Err(Error::Integrity(format!(
                "encryption.current: no key \"{current}\" in encryption.keys; name one of {:?}",
                keys.keys()
            )));
        };
        let digest = derive(key, b"", b"landfall digest v1");
        Ok(Self { current, keys, digest })
    }

    /// The same keys, with the installation's key of digests.
    fn with_digest(&self, digest: Key) -> Self {
        Self { current: self.current.clone(), keys: self.keys.clone(), digest }
    }

    /// Id of the key that seals.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Encrypts for one place.
    ///
    /// # Errors
    /// The plaintext is longer than AES-GCM takes (64 GiB).
    pub fn seal(&self, plaintext: &[u8], aad: &Aad) -> Result<Sealed> {
        let data_key: Key = random();
        let nonce: [u8; NONCE] = *random();
        let wrapped_key = self.wrap(&self.current, &data_key)?;
        // The one copy of what may be large, with room for all that a column has beside it.
        let room = wrapped_key.len() + self.current.len() + COLUMN;
        let mut ciphertext = Vec::with_capacity(plaintext.len() + room);
        ciphertext.extend_from_slice(plaintext);
        let cipher = cipher(&data_key)?;
        cipher.encrypt_in_place(&nonce.into(), &aad.bytes(), &mut ciphertext).map_err(|_| too_long())?;
        Ok(Sealed { key_id: self.current.clone(), wrapped_key, nonce: nonce.to_vec(), ciphertext })
    }

    /// Decrypts in place; the place must be the one it was sealed for.
    ///
    /// # Errors
    /// A key that this installation does not have, by its id; or damage: the blob was changed or belongs elsewhere.
    pub fn open(&self, sealed: Sealed, aad: &Aad) -> Result<Zeroizing<Vec<u8>>> {
        let data_key = self.unwrap(&sealed.key_id, &sealed.wrapped_key)?;
        let mut bytes = Zeroizing::new(sealed.ciphertext);
        let opened = || {
            let nonce: [u8; NONCE] = sealed.nonce.try_into().ok()?;
            cipher(&data_key).ok()?.decrypt_in_place(&nonce.into(), &aad.bytes(), &mut *bytes).ok()
        };
        opened().map(|()| bytes).ok_or_else(|| {
            Error::Integrity(format!(
                "{}.{} of {} (serial {}) does not open: it was changed, or belongs to another place",
                aad.table, aad.column, aad.row, aad.serial
            ))
        })
    }

    /// The same blob under the current key; the ciphertext stays.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn rewrap(&self, sealed: &Sealed) -> Result<Sealed> {
        let data_key = self.unwrap(&sealed.key_id, &sealed.wrapped_key)?;
        Ok(Sealed { key_id: self.current.clone(), wrapped_key: self.wrap(&self.current, &data_key)?, ..sealed.clone() })
    }

    /// A keyed digest, by which secrets can be compared but not guessed: `hmac-sha256:<hex>`. The purpose keeps digests of
    /// the same bytes in different places apart.
    pub fn digest(&self, purpose: &str, bytes: &[u8]) -> String {
        let mut message = Vec::with_capacity(purpose.len() + 8);
        put(&mut message, purpose.as_bytes());
        format!("hmac-sha256:{}", hex::encode(hmac(&self.digest, &[&message, bytes])))
    }

    fn wrap(&self, id: &str, data_key: &Key) -> Result<Vec<u8>> {
        let salt: [u8; SALT] = *random();
        let nonce: [u8; NONCE] = *random();
        let wrapping = derive(self.key(id)?, &salt, b"landfall wrap v1");
        let wrapped = encrypt(&wrapping, &nonce, data_key.as_slice(), id.as_bytes())?;
        Ok([salt.as_slice(), &nonce, &wrapped].concat())
    }

    fn unwrap(&self, id: &str, wrapped: &[u8]) -> Result<Key> {
        let key = self.key(id)?;
        let opened = || {
            let (salt, rest) = wrapped.split_at_checked(SALT)?;
            let (nonce, rest) = rest.split_at_checked(NONCE)?;
            let plain = decrypt(&derive(key, salt, b"landfall wrap v1"), nonce, rest, id.as_bytes())?;
            Some(Key::new(plain.as_slice().try_into().ok()?))
        };
        opened().ok_or_else(|| {
            Error::Integrity(format!("encryption.keys: key \"{id}\" is not the one that wrapped this value"))
        })
    }

    fn key(&self, id: &str) -> Result<&Key> {
        self.keys.get(id).ok_or_else(|| {
            Error::Integrity(format!(
                "encryption.keys: key \"{id}\" is not available (have {:?}); add its file",
                self.keys.keys()
            ))
        })
    }
}

fn read_key(id: &str, path: &Path) -> Result<Key> {
    let text = Zeroizing::new(
        std::fs::read_to_string(path).map_err(Error::io(format!("encryption.keys.{id}: {}", path.display())))?,
    );
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).map(Zeroizing::new);
    bytes.ok().and_then(|bytes| bytes.as_slice().try_into().ok()).map(Key::new).ok_or_else(|| {
        Error::Integrity(format!(
            "encryption.keys.{id}: {} is not 32 bytes in base64; make one with `openssl rand -base64 32`",
            path.display()
        ))
    })
}

fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    rand::fill(bytes.as_mut_slice());
    bytes
}

/// HKDF-SHA256 (RFC 5869).
fn derive(key: &Key, salt: &[u8], info: &[u8]) -> Key {
    let mut out = Key::new([0; KEY]);
    // Cannot fail: 32 bytes are one block of SHA-256, and the limit is 255 blocks.
    let _ = hkdf::Hkdf::<Sha256>::new(Some(salt), key.as_slice()).expand(info, out.as_mut_slice());
    out
}

fn hmac(key: &Key, parts: &[&[u8]]) -> [u8; KEY] {
    // HMAC pads a key to its block of 64 bytes.
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key.iter()).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn cipher(key: &Key) -> Result<Aes256Gcm> {
    Ok(Aes256Gcm::new(key.as_slice().try_into().map_err(|_| too_long())?))
}

fn encrypt(key: &Key, nonce: &[u8; NONCE], plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
    cipher(key)?.encrypt(nonce.into(), Payload { msg: plaintext, aad }).map_err(|_| too_long())
}

fn too_long() -> Error {
    Error::Integrity("a value of more than 64 GiB cannot be sealed".into())
}

fn decrypt(key: &Key, nonce: &[u8], ciphertext: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let nonce: [u8; NONCE] = nonce.try_into().ok()?;
    cipher(key).ok()?.decrypt(&nonce.into(), Payload { msg: ciphertext, aad }).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests;
