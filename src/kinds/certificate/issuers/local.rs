//! Issuers that need nobody else: the certificate's own key, and a CA whose key is in a Secret.

use jiff::{SignedDuration, Timestamp};

use super::{Made, Material, Request};
use crate::access::{self, SecretBytes};
use crate::api::{self, Reason};
use crate::dns::Name;
use crate::kinds::Context;
use crate::kinds::certificate::Refusal;
use crate::pki::{self, Authority, Flaw, Key, Term};
use crate::reconcile::wake::key_of;
use crate::{Error, Result};

/// For clocks that are slow.
const BACKDATED: SignedDuration = SignedDuration::from_mins(1);
/// A certificate with less life than this is not worth a key: nobody would renew it in time.
const LEAST_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// The CA in this Secret, or what is wrong with it.
///
/// # Errors
/// The API server's.
pub(super) async fn authority(
    cx: &Context,
    object: &api::Certificate,
    secret: &str,
) -> Result<Result<Box<Authority>, Refusal>> {
    let (namespace, _) = key_of(object);
    let refuse = |message: String| Ok(Err(Refusal { reason: Reason::CaUnavailable, message }));
    match access::secret(&cx.client, &namespace, secret).await {
        Ok(bytes) => match read(&bytes) {
            Ok(authority) => Ok(Ok(Box::new(authority))),
            Err(flaw) => refuse(format!("spec.issuer.ca.secretRef: Secret {secret:?}: {flaw}")),
        },
        Err(Error::Condition { message, .. }) => refuse(format!("spec.issuer.ca.secretRef: {message}")),
        Err(error) => Err(error),
    }
}

fn read(bytes: &SecretBytes) -> Result<Authority, Flaw> {
    let part = |key: &str| bytes.get(key).unwrap_or_default();
    Authority::read(part("tls.crt"), part("tls.key"), bytes.get("ca.crt").filter(|roots| !roots.is_empty()))
}

/// # Errors
/// Its time is over, or nearly so, or has not come; or it may not sign one of the names. And when it may, where time alone tells.
pub(super) fn may_sign(
    authority: &Authority,
    names: &[Name],
    now: Timestamp,
) -> Result<(), (Refusal, Option<Timestamp>)> {
    let refuse = |message: String, at| Err((Refusal { reason: Reason::CaUnavailable, message }, at));
    if authority.not_after().duration_since(now) < LEAST_LIFE {
        let end = authority.not_after();
        return refuse(format!("spec.issuer.ca: the CA ends at {end:.0}; put a new one into its Secret"), None);
    }
    let begin = authority.not_before();
    if begin > now {
        return refuse(format!("spec.issuer.ca: the CA, or one that signed it, begins at {begin:.0}"), Some(begin));
    }
    match names.iter().find(|name| !authority.lets_have(name)) {
        None => Ok(()),
        Some(name) => {
            let words = "the name constraints of the CA, or of one that signed it, do not permit";
            refuse(format!("spec.issuer.ca: {words} {name}; leave it out of spec.dnsNames, or use another CA"), None)
        }
    }
}

pub(super) fn make(material: &Material, request: &Request<'_>, now: Timestamp) -> Result<Made> {
    let key = match request.keep {
        Some(key) => key.clone(),
        None => Key::make(request.algorithm).map_err(condition)?,
    };
    let life = SignedDuration::try_from(request.life).unwrap_or(SignedDuration::MAX);
    let not_before = now.checked_sub(BACKDATED).unwrap_or(now);
    let until = not_before.checked_add(life).unwrap_or(Timestamp::MAX);
    let term = |not_after| Term { not_before, not_after };
    match material {
        Material::Ca(Ok(authority)) => {
            // What outlives its CA is not trusted anyway, and is renewed too late.
            let term = term(until.min(authority.not_after()));
            let chain = authority.sign(&key, request.names, term).map_err(condition)?.pem();
            Ok(Made { key, chain, roots: Some(authority.roots().to_owned()) })
        }
        Material::Ca(Err(refusal)) => Err(Error::condition(refusal.reason, refusal.message.clone())),
        Material::SelfSigned | Material::Imported | Material::Acme(_) => {
            let chain = pki::self_signed(&key, request.names, term(until)).map_err(condition)?.pem();
            Ok(Made { key, roots: Some(chain.clone()), chain })
        }
    }
}

fn condition(flaw: Flaw) -> Error {
    Error::condition(flaw.reason, flaw.message)
}
