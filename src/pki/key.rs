//! Private keys: made, or read from PEM. They sign by ring; only RSA's making is another crate's.

use std::sync::Arc;

use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use rsa::pkcs8::EncodePrivateKey;
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::{Flaw, pem};

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256, signing with SHA-256.
    EcdsaP256,
    /// ECDSA on P-384, signing with SHA-384.
    EcdsaP384,
    /// RSA with so many bits, signing with SHA-256.
    Rsa(u32),
    /// Ed25519. It is read, but not made.
    Ed25519,
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// The public half of a key: its SubjectPublicKeyInfo in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub Vec<u8>);

impl PublicKey {
    /// SHA-256 in lower-case hex.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.0))
    }

    /// What it is; `None` for a kind that is not known here.
    pub fn algorithm(&self) -> Option<Algorithm> {
        let (_, info) = SubjectPublicKeyInfo::from_der(&self.0).ok()?;
        let curve = || info.algorithm.parameters.as_ref()?.as_oid().ok().map(|oid| oid.to_id_string());
        match info.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.10045.2.1" => match curve()?.as_str() {
                "1.2.840.10045.3.1.7" => Some(Algorithm::EcdsaP256),
                "1.3.132.0.34" => Some(Algorithm::EcdsaP384),
                _ => None,
            },
            "1.2.840.113549.1.1.1" => match info.parsed().ok()? {
                x509_parser::public_key::PublicKey::RSA(rsa) => Some(Algorithm::Rsa(bits(rsa.modulus))),
                _ => None,
            },
            "1.3.101.112" => Some(Algorithm::Ed25519),
            _ => None,
        }
    }
}

/// Bits of a big-endian number.
fn bits(number: &[u8]) -> u32 {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let first = number.get(zeros).map_or(8, |byte| byte.leading_zeros());
    u32::try_from((number.len() - zeros) * 8).unwrap_or(u32::MAX).saturating_sub(first)
}

/// A private key. It can be neither printed nor serialised.
///
/// ```compile_fail
/// fn show(key: landfall::pki::Key) { println!("{key:?}"); }
/// ```
#[derive(Clone)]
pub struct Key {
    pem: Zeroizing<String>,
    signer: Arc<dyn rustls::sign::SigningKey>,
    public: PublicKey,
    algorithm: Algorithm,
    /// The bare public key within [`PublicKey`].
    point: Vec<u8>,
}

impl Key {
    /// A new key. RSA takes up to seconds of processor time.
    ///
    /// # Errors
    /// An algorithm that is not made here.
    pub fn make(algorithm: Algorithm) -> Result<Self, Flaw> {
        let der = Zeroizing::new(match algorithm {
            Algorithm::EcdsaP256 => ecdsa(&rcgen::PKCS_ECDSA_P256_SHA256)?,
            Algorithm::EcdsaP384 => ecdsa(&rcgen::PKCS_ECDSA_P384_SHA384)?,
            Algorithm::Rsa(bits @ 2048..=4096) => rsa_key(bits)?,
            other => return Err(Flaw::invalid(format!("{other} keys are not made here"))),
        });
        Self::of_pkcs8(&der)
    }

    /// A key of PKCS#8 in DER.
    ///
    /// # Errors
    /// It is none, or of a kind that is not used here.
    pub fn of_pkcs8(der: &[u8]) -> Result<Self, Flaw> {
        Self::of_der(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)), pem::encode("PRIVATE KEY", der))
    }

    /// The first private key in PEM text: PKCS#8, SEC 1 or PKCS#1, not encrypted.
    ///
    /// # Errors
    /// There is none, or it is of a kind that is not used here.
    pub fn read(text: &[u8]) -> Result<Self, Flaw> {
        let der = PrivateKeyDer::from_pem_slice(text).map_err(|_| {
            Flaw::invalid("holds no private key; write it as PEM without a passphrase (BEGIN PRIVATE KEY)")
        })?;
        let label = match &der {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let text = pem::encode(label, der.secret_der());
        Self::of_der(&der, text)
    }

    fn of_der(der: &PrivateKeyDer<'_>, pem: Zeroizing<String>) -> Result<Self, Flaw> {
        let unfit = || {
            Flaw::invalid("holds no key that is used here: ECDSA P-256 or P-384, RSA of 2048 to 4096 bits, or Ed25519")
        };
        let signer = rustls::crypto::ring::sign::any_supported_type(der).map_err(|_| unfit())?;
        let public = PublicKey(signer.public_key().ok_or_else(unfit)?.to_vec());
        let algorithm = public.algorithm().ok_or_else(unfit)?;
        let point = match SubjectPublicKeyInfo::from_der(&public.0) {
            Ok((_, info)) => info.subject_public_key.data.to_vec(),
            Err(_) => return Err(unfit()),
        };
        Ok(Self { pem, signer, public, algorithm, point })
    }

    /// The key as PEM, for a Secret.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key as PKCS#8 in DER; `None` where it was read in another form.
    pub fn pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        match PrivateKeyDer::from_pem_slice(self.pem.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(der)) => Some(Zeroizing::new(der.secret_pkcs8_der().to_vec())),
            _ => None,
        }
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// What it is.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn scheme(&self) -> (SignatureScheme, &'static SignatureAlgorithm) {
        match self.algorithm {
            Algorithm::EcdsaP256 => (SignatureScheme::ECDSA_NISTP256_SHA256, &rcgen::PKCS_ECDSA_P256_SHA256),
            Algorithm::EcdsaP384 => (SignatureScheme::ECDSA_NISTP384_SHA384, &rcgen::PKCS_ECDSA_P384_SHA384),
            Algorithm::Rsa(_) => (SignatureScheme::RSA_PKCS1_SHA256, &rcgen::PKCS_RSA_SHA256),
            Algorithm::Ed25519 => (SignatureScheme::ED25519, &rcgen::PKCS_ED25519),
        }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.scheme().1
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer =
            self.signer.choose_scheme(&[self.scheme().0]).ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        signer.sign(message).map_err(|_| rcgen::Error::RingUnspecified)
    }
}

fn ecdsa(algorithm: &'static SignatureAlgorithm) -> Result<Vec<u8>, Flaw> {
    let made = rcgen::KeyPair::generate_for(algorithm);
    made.map(|pair| pair.serialize_der()).map_err(|e| Flaw::invalid(format!("no key could be made: {e}")))
}

fn rsa_key(bits: u32) -> Result<Vec<u8>, Flaw> {
    let failed = |e: &dyn std::fmt::Display| Flaw::invalid(format!("no key could be made: {e}"));
    let size = usize::try_from(bits).unwrap_or_default();
    let key = rsa::RsaPrivateKey::new(&mut rand::rng(), size).map_err(|e| failed(&e))?;
    let document = key.to_pkcs8_der().map_err(|e| failed(&e))?;
    Ok(document.as_bytes().to_vec())
}
