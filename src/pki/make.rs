//! Certificates and requests, made.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use x509_parser::time::ASN1Time;

use super::key::Algorithm;
use super::{Certificate, Chain, Flaw, Key};
use crate::api::Reason;
use crate::dns::Name;

/// Longest common name (RFC 5280, ub-common-name).
const COMMON_NAME: usize = 64;

/// From when until when, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Its first second.
    pub not_before: Timestamp,
    /// Its last.
    pub not_after: Timestamp,
}

/// A certificate's request (PKCS#10) in DER.
///
/// # Errors
/// A name that no certificate holds.
pub fn request(key: &Key, names: &[Name]) -> Result<Vec<u8>, Flaw> {
    let mut params = named(names)?;
    // The CA says the rest.
    params.key_usages = Vec::new();
    params.extended_key_usages = Vec::new();
    Ok(params.serialize_request(key).map_err(failed)?.der().to_vec())
}

/// A certificate of its own key.
///
/// # Errors
/// A name that no certificate holds, a time that none holds.
pub fn self_signed(key: &Key, names: &[Name], term: Term) -> Result<Certificate, Flaw> {
    let mut params = params(key, names, term)?;
    if params.distinguished_name.iter().next().is_none() {
        // An issuer must have a name.
        params.distinguished_name.push(DnType::CommonName, "self-signed");
    }
    let made = params.self_signed(key).map_err(failed)?;
    Certificate::of_der(made.der())
}

/// A CA of its own key, which may sign certificates of servers and no other CA's.
///
/// # Errors
/// A time that no certificate holds.
pub fn authority(key: &Key, name: &str, term: Term) -> Result<Certificate, Flaw> {
    let mut params = params(key, &[], term)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = Vec::new();
    let made = params.self_signed(key).map_err(failed)?;
    Certificate::of_der(made.der())
}

/// A CA of one's own: its certificate, those behind it, and its key.
#[derive(Clone)]
pub struct Authority {
    key: Key,
    chain: Chain,
    /// What `ca.crt` shall hold.
    root: String,
}

impl Authority {
    /// Reads a CA from PEM: the certificate and, behind it, those that signed it; its key; and the roots, where they are not
    /// among the former.
    ///
    /// # Errors
    /// What makes it unfit to sign.
    pub fn read(chain: &[u8], key: &[u8], roots: Option<&[u8]>) -> Result<Self, Flaw> {
        let chain = Chain::read(chain).map_err(|flaw| flaw.at("tls.crt"))?;
        let key = Key::read(key).map_err(|flaw| flaw.at("tls.key"))?;
        chain.fits(&key)?;
        let own = chain.leaf();
        if !own.is_authority {
            return Err(Flaw::invalid(
                "tls.crt is no CA: its basicConstraints or keyUsage do not let it sign certificates",
            ));
        }
        if let Some(weakness) = chain.iter().find_map(Certificate::weakness) {
            return Err(Flaw::invalid(format!("tls.crt cannot be used: {weakness}")));
        }
        chain.is_in_order().map_err(|flaw| flaw.at("tls.crt"))?;
        if let Some(one) = chain.unverifiable() {
            let message = format!(
                "tls.crt: the signature of certificate {} is of a kind that cannot be verified here",
                one.title()
            );
            return Err(Flaw::invalid(message));
        }
        let last = chain.iter().last().unwrap_or(own);
        let root = match roots {
            Some(roots) => Chain::read(roots).map_err(|flaw| flaw.at("ca.crt"))?.pem(),
            None => last.pem(),
        };
        Ok(Self { key, chain, root })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &Certificate {
        self.chain.leaf()
    }

    /// The first end of those in its chain: nothing that it signs is of use beyond that.
    pub fn not_after(&self) -> Timestamp {
        self.chain.iter().map(|one| one.not_after).min().unwrap_or(Timestamp::MIN)
    }

    /// The last beginning of those in its chain: before that, nothing that it signs is of use.
    pub fn not_before(&self) -> Timestamp {
        self.chain.iter().map(|one| one.not_before).max().unwrap_or(Timestamp::MAX)
    }

    /// Whether the name constraints of its chain let a certificate have this name.
    pub fn lets_have(&self, name: &Name) -> bool {
        self.chain.iter().all(|one| one.lets_have(name.as_str()))
    }

    /// The roots, as PEM for `ca.crt`.
    pub fn roots(&self) -> &str {
        &self.root
    }

    /// A certificate for this key, and behind it those of the CA but for a root.
    ///
    /// # Errors
    /// As [`self_signed`]; or the CA's name cannot be written as it stands.
    pub fn sign(&self, key: &Key, names: &[Name], term: Term) -> Result<Chain, Flaw> {
        self.issue(key, params(key, names, term)?)
    }

    /// The same for a server that is reached by this host, be it a name or an address.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_for(&self, key: &Key, host: &url::Host, term: Term) -> Result<Chain, Flaw> {
        let mut params = params(key, &[], term)?;
        params.subject_alt_names.push(match host {
            url::Host::Domain(name) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
            url::Host::Ipv4(address) => SanType::IpAddress((*address).into()),
            url::Host::Ipv6(address) => SanType::IpAddress((*address).into()),
        });
        self.issue(key, params)
    }

    fn issue(&self, key: &Key, mut params: CertificateParams) -> Result<Chain, Flaw> {
        let own = self.certificate();
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(own.der.as_slice()), &self.key).map_err(failed)?;
        let made = params.signed_by(key, &issuer).map_err(failed)?;
        let leaf = Certificate::of_der(made.der())?;
        if !leaf.is_signed_by(own) {
            let message =
                format!("the CA's name {:?} cannot be copied byte by byte; use a CA with a simpler name", own.subject);
            return Err(Flaw::new(Reason::CaUnavailable, message));
        }
        let behind = self.chain.iter().filter(|one| !one.is_self_issued()).map(Certificate::pem);
        let text: String = std::iter::once(leaf.pem()).chain(behind).collect();
        Chain::read(text.as_bytes())
    }
}

fn params(key: &Key, names: &[Name], term: Term) -> Result<CertificateParams, Flaw> {
    let mut params = named(names)?;
    params.not_before = date(term.not_before)?.to_datetime();
    params.not_after = date(term.not_after)?.to_datetime();
    params.serial_number = Some(serial());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if matches!(key.algorithm(), Algorithm::Rsa(_)) {
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn named(names: &[Name]) -> Result<CertificateParams, Flaw> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = names.iter().find(|name| name.as_str().len() <= COMMON_NAME) {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    for name in names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
    }
    Ok(params)
}

/// 126 random bits below a one: positive, and always of 16 octets (RFC 5280 permits 20).
fn serial() -> SerialNumber {
    let number = (rand::random::<u128>() >> 2) | 1 << 126;
    SerialNumber::from_slice(&number.to_be_bytes())
}

fn date(at: Timestamp) -> Result<ASN1Time, Flaw> {
    ASN1Time::from_timestamp(at.as_second()).map_err(|_| Flaw::invalid(format!("{at} is no time of a certificate")))
}

fn failed(error: rcgen::Error) -> Flaw {
    Flaw::invalid(format!("no certificate could be made: {error}"))
}
