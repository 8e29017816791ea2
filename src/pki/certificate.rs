//! One certificate, as it says of itself.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, GeneralSubtree, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::key::{Algorithm, PublicKey};
use super::{Flaw, pem};

/// A certificate that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate itself.
    pub der: Vec<u8>,
    /// DNS names of the subject's alternative names, in lower case, in order.
    pub names: Vec<String>,
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Lower-case hex, without zeros before it.
    pub serial: String,
    /// SHA-256 of the DER in lower-case hex.
    pub fingerprint: String,
    /// Whose it is, for people.
    pub subject: String,
    /// Who signed it, for people.
    pub issuer: String,
    /// Its key.
    pub public: PublicKey,
    /// Whether it may sign others.
    pub is_authority: bool,
    pub(super) raw_subject: Vec<u8>,
    pub(super) raw_issuer: Vec<u8>,
    /// Signed with MD5 or SHA-1.
    pub(super) weakly_signed: bool,
    /// Names what it is for, and servers are not among that.
    pub(super) not_for_servers: bool,
}

/// Whether a certificate is signed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// By name, by right and by signature.
    Yes,
    /// Not so.
    No,
    /// By name and by right; the signature is of a kind that nothing here verifies.
    Unknown,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn of_der(der: &[u8]) -> Result<Self, Flaw> {
        let (rest, read) = X509Certificate::from_der(der).map_err(|_| Flaw::invalid("is no X.509 certificate"))?;
        if !rest.is_empty() {
            return Err(Flaw::invalid("has bytes behind the certificate"));
        }
        let basic = read.basic_constraints().ok().flatten().is_some_and(|b| b.value.ca);
        let signs = read.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
        let purposes = read.extended_key_usage().ok().flatten();
        Ok(Self {
            der: der.to_vec(),
            names: names(&read),
            not_before: time(read.validity().not_before.timestamp()),
            not_after: time(read.validity().not_after.timestamp()),
            serial: hex::encode(read.raw_serial()).trim_start_matches('0').to_owned(),
            fingerprint: hex::encode(Sha256::digest(der)),
            subject: read.subject().to_string(),
            issuer: read.issuer().to_string(),
            public: PublicKey(read.public_key().raw.to_vec()),
            is_authority: basic && signs,
            raw_subject: read.subject().as_raw().to_vec(),
            raw_issuer: read.issuer().as_raw().to_vec(),
            weakly_signed: is_weak(&read.signature_algorithm.algorithm.to_id_string()),
            not_for_servers: purposes.is_some_and(|p| !p.value.server_auth && !p.value.any),
        })
    }

    /// As PEM.
    pub fn pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der).to_string()
    }

    /// Whether the name constraints of this CA (RFC 5280, 4.2.1.10) let those that it signs have this name.
    pub(super) fn lets_have(&self, name: &str) -> bool {
        let Ok((_, read)) = X509Certificate::from_der(&self.der) else { return false };
        let constraints = match read.name_constraints() {
            Ok(Some(found)) => found.value,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let (bare, wildcard) = name.strip_prefix("*.").map_or((name, false), |bare| (bare, true));
        let of = |list: &Option<Vec<GeneralSubtree<'_>>>| {
            let dns = |tree: &GeneralSubtree<'_>| match tree.base {
                GeneralName::DNSName(base) => Some(base.trim_start_matches('.').to_ascii_lowercase()),
                _ => None,
            };
            list.iter().flatten().filter_map(dns).collect::<Vec<String>>()
        };
        let within = |name: &str, base: &str| {
            base.is_empty() || name == base || name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'))
        };
        let (permitted, excluded) = (of(&constraints.permitted_subtrees), of(&constraints.excluded_subtrees));
        let barred = |base: &String| within(bare, base) || wildcard && within(base, bare);
        (permitted.is_empty() || permitted.iter().any(|base| within(bare, base))) && !excluded.iter().any(barred)
    }

    /// Whether it is its own issuer by name.
    pub fn is_self_issued(&self) -> bool {
        self.raw_issuer == self.raw_subject
    }

    /// Whether `issuer` signed it, as far as can be told.
    pub fn signed_by(&self, issuer: &Self) -> Signed {
        if self.raw_issuer != issuer.raw_subject || !issuer.is_authority {
            return Signed::No;
        }
        self.signature_of(issuer)
    }

    /// Whether `issuer` signed it: by name, by right and by signature.
    pub fn is_signed_by(&self, issuer: &Self) -> bool {
        self.signed_by(issuer) == Signed::Yes
    }

    /// Whether its own key signed it.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_issued() && self.signature_of(self) == Signed::Yes
    }

    fn signature_of(&self, issuer: &Self) -> Signed {
        let (Ok((_, read)), Ok((_, other))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&issuer.der))
        else {
            return Signed::No;
        };
        match read.verify_signature(Some(other.public_key())) {
            Ok(()) => Signed::Yes,
            Err(X509Error::SignatureUnsupportedAlgorithm) => Signed::Unknown,
            Err(_) => Signed::No,
        }
    }

    /// How people tell it from others.
    pub(super) fn title(&self) -> String {
        if self.subject.is_empty() { format!("serial {}", self.serial) } else { format!("{:?}", self.subject) }
    }

    /// What makes its key or its signature too weak.
    pub(super) fn weakness(&self) -> Option<String> {
        match self.public.algorithm() {
            Some(Algorithm::Rsa(bits)) if bits < 2048 => {
                Some(format!("its RSA key has {bits} bits, and 2048 are the least"))
            }
            _ if self.weakly_signed && !self.is_self_issued() => Some("it is signed with MD5 or SHA-1".to_owned()),
            _ => None,
        }
    }
}

fn names(read: &X509Certificate<'_>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let alternative = read.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let dns = alternative.flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.filter(|name| seen.insert(name.clone())).collect()
}

/// A time beyond what can be held is the last that can be.
fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(if second < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// MD2, MD4, MD5 and SHA-1, with RSA, DSA or ECDSA.
fn is_weak(oid: &str) -> bool {
    const WEAK: [&str; 6] = [
        "1.2.840.113549.1.1.2",
        "1.2.840.113549.1.1.3",
        "1.2.840.113549.1.1.4",
        "1.2.840.113549.1.1.5",
        "1.2.840.10040.4.3",
        "1.2.840.10045.4.1",
    ];
    WEAK.contains(&oid)
}
