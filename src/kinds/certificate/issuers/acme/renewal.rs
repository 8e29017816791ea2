//! When a CA would have a certificate renewed.

use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Seen, ca};
use crate::acme::{Cause, RenewalInfo, Trouble};
use crate::kinds::Context;

/// Between two questions, whatever the CA says.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// After a question without an answer.
const UNANSWERED: Duration = Duration::from_secs(3600);

/// What the CA told.
pub(in crate::kinds::certificate) struct Told {
    /// From when, until when, and the page that says why; none where it told nothing.
    pub(in crate::kinds::certificate) window: Option<(Timestamp, Timestamp, Option<String>)>,
    /// When it is asked again.
    pub(in crate::kinds::certificate) rest: Duration,
}

/// Asks the CA for the certificate that is first in a chain. What is in the way hinders no renewal, and is nobody's trouble.
pub(in crate::kinds::certificate) async fn renewal_info(cx: &Context, seen: &Seen, chain: &str) -> Told {
    match ask(cx, seen, chain).await {
        Ok(info) => {
            let RenewalInfo { start, end, explanation_url, retry_after } = info;
            Told { window: Some((start, end, explanation_url)), rest: retry_after.clamp(SHORTEST, LONGEST) }
        }
        Err(trouble) => {
            let rest = if trouble.cause == Cause::Unsupported { LONGEST } else { UNANSWERED };
            tracing::debug!(message = trouble.message, "the CA tells nothing of a renewal");
            Told { window: None, rest: rest.max(trouble.retry_after.unwrap_or_default()).min(LONGEST) }
        }
    }
}

async fn ask(cx: &Context, seen: &Seen, chain: &str) -> Result<RenewalInfo, Trouble> {
    let certificate = CertificateDer::from_pem_slice(chain.as_bytes());
    let certificate = certificate.map_err(|_| Trouble::new(Cause::Unsupported, "the chain cannot be read"))?;
    ca(cx, seen).await?.renewal_info(&certificate).await
}
