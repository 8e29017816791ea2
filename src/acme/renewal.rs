//! When a CA would have a certificate renewed (ARI, RFC 9773), and what a certificate tells for that.

use std::time::Duration;

use instant_acme::CertificateIdentifier;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use super::Ca;
use super::trouble::{Cause, Trouble};
use super::wire::get;
use crate::access::text;

/// How long a window is taken to stand where the CA does not say.
const USUAL_REST: Duration = Duration::from_secs(6 * 3600);
/// Bytes of a page's address that are kept.
const LONGEST_URL: usize = 2048;

/// When a CA would have a certificate renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// From when on.
    pub start: Timestamp,
    /// Until when; never before the start. Past: at once.
    pub end: Timestamp,
    /// A page that says why.
    pub explanation_url: Option<String>,
    /// When to ask again.
    pub retry_after: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    suggested_window: Window,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct Window {
    start: Timestamp,
    end: Timestamp,
}

/// By what ARI and `replaces` name a certificate (DER): key identifier of its issuer and serial number. None where it tells no
/// issuer.
pub fn cert_id(certificate: &[u8]) -> Option<String> {
    let certificate = CertificateDer::from(certificate);
    CertificateIdentifier::try_from(&certificate).ok().map(|id| id.to_string())
}

/// The reverse, for the library.
pub(super) fn replaced(id: &str) -> Result<CertificateIdentifier<'static>, Trouble> {
    let (issuer, serial) =
        id.split_once('.').ok_or_else(|| Trouble::new(Cause::Malformed, format!("{id:?} names no certificate")))?;
    Ok(CertificateIdentifier { authority_key_identifier: issuer.to_owned().into(), serial: serial.to_owned().into() })
}

/// Common names of the issuers of a chain's certificates, in order.
pub(super) fn issuers(chain: &str) -> Vec<String> {
    let certificates = CertificateDer::pem_slice_iter(chain.as_bytes()).filter_map(Result::ok);
    let issuer = |der: CertificateDer<'_>| {
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        let name = certificate.issuer().iter_common_name().next()?;
        name.as_str().ok().map(str::to_owned)
    };
    certificates.filter_map(issuer).collect()
}

impl Ca {
    /// When this certificate (DER) should be renewed. Needs no account.
    ///
    /// # Errors
    /// `Unsupported` where the CA has no ARI; else as the CA says.
    pub async fn renewal_info(&self, certificate: &[u8]) -> Result<RenewalInfo, Trouble> {
        let unsupported = |what: &str| Trouble::new(Cause::Unsupported, what);
        let base = self.line.directory().renewal_info.as_deref();
        let base = base.ok_or_else(|| unsupported("the CA tells nothing of renewals (ARI)"))?;
        let id = cert_id(certificate).ok_or_else(|| unsupported("the certificate does not tell its issuer's key"))?;
        let answer = self.line.send(get(&format!("{}/{id}", base.trim_end_matches('/')))).await?;
        let seen = self.line.seen(&answer);
        if answer.status != 200 {
            return Err(match serde_json::from_slice(&answer.body) {
                Ok(problem) => Trouble::of_problem(&problem, &seen),
                Err(error) => Trouble::of_wire(&error.to_string(), &seen),
            });
        }
        let read: Document =
            serde_json::from_slice(&answer.body).map_err(|e| Trouble::of_wire(&e.to_string(), &seen))?;
        let Window { start, end } = read.suggested_window;
        if end < start {
            return Err(Trouble::of_wire("a window that ends before it begins", &seen));
        }
        let retry_after = seen.retry_after.unwrap_or(USUAL_REST);
        let explanation_url = read.explanation_url.map(|url| text::line(&url, LONGEST_URL));
        Ok(RenewalInfo { start, end, explanation_url, retry_after })
    }
}
