//! Who signs. An issuer says what it works with, what it does next, and does it; when a certificate is wanted, whether its
//! names may have one, its Secret and the record are the kind's.

pub(super) mod acme;
mod local;

use std::time::Duration;

use jiff::Timestamp;

use super::Refusal;
use crate::Result;
use crate::api;
use crate::dns::Name;
use crate::kinds::Context;
use crate::ledger::{AcmeOrder, Subject};
use crate::pki::{Algorithm, Authority, Key};

/// What an issuer works with, as it was observed.
#[derive(Clone)]
pub(super) enum Material {
    /// Its own key.
    SelfSigned,
    /// A CA, or why there is none.
    Ca(Result<Box<Authority>, Refusal>),
    /// A CA by ACME, and the order there.
    Acme(Box<acme::Seen>),
    /// Somebody else issues.
    Imported,
}

/// What is asked of an issuer.
pub(super) struct Request<'a> {
    /// Canonical names.
    pub(super) names: &'a [Name],
    /// By which the object may have them.
    pub(super) domains: &'a [Subject],
    /// Of the key.
    pub(super) algorithm: Algorithm,
    /// The key that stands, where it is to stay.
    pub(super) keep: Option<&'a Key>,
    /// How long it is to live.
    pub(super) life: Duration,
}

/// What an issuer does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// The whole pair, in one step.
    Make,
    /// One step of an order.
    Step(Box<crate::acme::order::Step>),
    /// Nothing, for now, or before a time; why, where something is in the way.
    Wait(Option<Refusal>, Option<Timestamp>),
}

/// A pair that is whole.
pub(super) struct Made {
    /// The private key.
    pub(super) key: Key,
    /// PEM, the leaf first.
    pub(super) chain: String,
    /// PEM for `ca.crt`.
    pub(super) roots: Option<String>,
}

/// Reads what the issuer of the spec works with.
///
/// # Errors
/// The API server's, or the ledger's.
pub(super) async fn observe(cx: &Context, object: &api::Certificate, order: Option<&AcmeOrder>) -> Result<Material> {
    let issuer = &object.spec.issuer;
    if let Some(spec) = &issuer.acme {
        return Ok(Material::Acme(Box::new(acme::known(spec, order.cloned()))));
    }
    match (&issuer.ca, &issuer.imported) {
        (Some(ca), _) => Ok(Material::Ca(local::authority(cx, object, &ca.secret_ref.name).await?)),
        (None, Some(_)) => Ok(Material::Imported),
        (None, None) => Ok(Material::SelfSigned),
    }
}

/// Asks others what the next step hangs on. Nobody is asked for names that may have no certificate: that is the caller's to know.
///
/// # Errors
/// The ledger's.
pub(super) async fn look(cx: &Context, material: Material) -> Result<Material> {
    match material {
        Material::Acme(seen) => Ok(Material::Acme(Box::new(acme::look(cx, *seen).await?))),
        other => Ok(other),
    }
}

/// What is to be done for a certificate that is wanted.
pub(super) fn next(material: &Material, request: &Request<'_>, now: Timestamp) -> Work {
    match material {
        Material::Acme(seen) => acme::next(seen, request, now),
        Material::SelfSigned | Material::Imported => Work::Make,
        Material::Ca(Err(refusal)) => Work::Wait(Some(refusal.clone()), None),
        Material::Ca(Ok(authority)) => match local::may_sign(authority, request.names, now) {
            Ok(()) => Work::Make,
            Err((refusal, at)) => Work::Wait(Some(refusal), at),
        },
    }
}

/// Makes a pair. Touches nothing, and may take seconds of processor time.
///
/// # Errors
/// A condition: what the issuer cannot do.
pub(super) fn make(material: &Material, request: &Request<'_>, now: Timestamp) -> Result<Made> {
    match material {
        Material::Acme(seen) => acme::made(seen),
        _ => local::make(material, request, now),
    }
}

/// The Secret holds what was made.
///
/// # Errors
/// The ledger's.
pub(super) async fn delivered(cx: &Context, material: &Material) -> Result<()> {
    match material {
        Material::Acme(seen) => acme::delivered(cx, seen).await,
        _ => Ok(()),
    }
}

/// The name of the issuer in the ledger.
pub(super) fn word(issuer: &api::CertificateIssuer) -> &'static str {
    match (&issuer.acme, &issuer.ca, &issuer.imported) {
        (Some(_), _, _) => "acme",
        (None, Some(_), _) => "ca",
        (None, None, Some(_)) => "imported",
        (None, None, None) => "selfSigned",
    }
}

/// Which CA it is, where that is known: the fingerprint of its certificate, or the address of one by ACME.
pub(super) fn signer(material: &Material) -> Option<&str> {
    match material {
        Material::Ca(Ok(authority)) => Some(&authority.certificate().fingerprint),
        Material::Acme(seen) => Some(&seen.ca),
        _ => None,
    }
}
