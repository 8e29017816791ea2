//! Chains: a leaf, and behind it those that signed it, each by the next.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Certificate, Flaw, Key, Signed};
use crate::api::Reason;

/// More certificates than this are no chain.
const LONGEST: usize = 10;

/// Certificates in the order in which they were read. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    leaf: Certificate,
    behind: Vec<Certificate>,
}

impl Chain {
    /// All certificates in PEM text.
    ///
    /// # Errors
    /// There is none, there are too many, or one cannot be read.
    pub fn read(text: &[u8]) -> Result<Self, Flaw> {
        let mut all = Vec::new();
        for section in CertificateDer::pem_slice_iter(text) {
            let der = section.map_err(|_| Flaw::invalid("is no PEM that can be read"))?;
            let number = all.len() + 1;
            if number > LONGEST {
                return Err(Flaw::invalid(format!("holds more than {LONGEST} certificates")));
            }
            all.push(Certificate::of_der(&der).map_err(|flaw| flaw.at(format!("certificate {number}")))?);
        }
        let mut all = all.into_iter();
        let leaf = all.next().ok_or_else(|| Flaw::invalid("holds no certificate; write PEM (BEGIN CERTIFICATE)"))?;
        Ok(Self { leaf, behind: all.collect() })
    }

    /// The first certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// All of them, the leaf first.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.behind)
    }

    /// As PEM, in order.
    pub fn pem(&self) -> String {
        self.iter().map(Certificate::pem).collect()
    }

    /// Whether a server can use it for these names now.
    ///
    /// # Errors
    /// The first that is wrong: key, order and signatures, weak keys, purpose, names, dates.
    pub fn check(&self, key: &Key, names: &[String], now: Timestamp) -> Result<(), Flaw> {
        self.fits(key)?;
        for one in self.iter() {
            if let Some(weakness) = one.weakness() {
                return Err(Flaw::invalid(format!("certificate {} cannot be used: {weakness}", one.title())));
            }
        }
        // A weak signature is one that nothing here verifies.
        self.is_in_order()?;
        if self.leaf.not_for_servers {
            return Err(Flaw::invalid(
                "the certificate names what it is for, and servers (serverAuth) are not among it",
            ));
        }
        if let Some(name) = names.iter().find(|name| !covers(&self.leaf.names, name)) {
            let message = format!("the certificate is for {}, which does not cover {name}", self.leaf.names.join(", "));
            return Err(Flaw::new(Reason::NameMismatch, message));
        }
        self.iter().try_for_each(|one| is_current(one, now))
    }

    /// Whether the key is the leaf's.
    ///
    /// # Errors
    /// It is not; the message tells of which it is.
    pub fn fits(&self, key: &Key) -> Result<(), Flaw> {
        if self.leaf.public == *key.public() {
            return Ok(());
        }
        let other = self.behind.iter().position(|one| one.public == *key.public());
        let message = match other {
            Some(place) => format!("the key is that of certificate {}: put that one first", place + 2),
            None => "the key is not the certificate's".to_owned(),
        };
        Err(Flaw::new(Reason::KeyMismatch, message))
    }

    /// The first certificate whose signature is of a kind that nothing here verifies.
    pub fn unverifiable(&self) -> Option<&Certificate> {
        let mut pairs = self.iter().zip(&self.behind);
        pairs.find(|(one, next)| one.signed_by(next) == Signed::Unknown).map(|(one, _)| one)
    }

    /// Whether each certificate is signed by the next, as far as can be told.
    ///
    /// # Errors
    /// The first that is not.
    pub fn is_in_order(&self) -> Result<(), Flaw> {
        for ((number, one), next) in self.iter().enumerate().zip(&self.behind) {
            if one.signed_by(next) == Signed::No {
                return Err(Flaw::invalid(format!(
                    "certificate {} ({}) is not signed by certificate {} ({}): write the leaf first, and behind each the one \
                     that signed it",
                    number + 1,
                    one.title(),
                    number + 2,
                    next.title()
                )));
            }
        }
        Ok(())
    }
}

/// Whether these names of a certificate stand for `name`: by themselves, or by a wildcard in place of the leftmost label. A
/// wildcard is covered by itself alone.
pub fn covers(names: &[String], name: &str) -> bool {
    let wildcard = name.split_once('.').filter(|(label, _)| *label != "*").map(|(_, rest)| format!("*.{rest}"));
    names.iter().any(|one| one == name || wildcard.as_ref() == Some(one))
}

fn is_current(one: &Certificate, now: Timestamp) -> Result<(), Flaw> {
    if now >= one.not_after {
        return Err(Flaw::new(Reason::Expired, format!("certificate {} expired at {:.0}", one.title(), one.not_after)));
    }
    if now < one.not_before {
        let message = format!("certificate {} is not valid before {:.0}", one.title(), one.not_before);
        return Err(Flaw::invalid(message));
    }
    Ok(())
}
