//! Who signs. An issuer says what it works with, what it does next, and does it; when a certificate is wanted, whether its
//! names may have one, its Secret and the record are the kind's.

mod local;

use std::time::Duration;

use jiff::Timestamp;

use super::Refusal;
use crate::Result;
use crate::api;
use crate::dns::Name;
use crate::kinds::Context;
use crate::pki::{Algorithm, Authority, Key};

/// What an issuer works with, as it was observed.
#[derive(Clone)]
pub(super) enum Material {
    /// Its own key.
    SelfSigned,
    /// A CA, or why there is none.
    Ca(Result<Box<Authority>, Refusal>),
    /// Somebody else issues.
    Imported,
}

/// What is asked of an issuer.
pub(super) struct Request<'a> {
    /// Canonical names.
    pub(super) names: &'a [Name],
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
    /// Nothing, for now.
    Wait(Refusal),
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
/// The API server's.
pub(super) async fn observe(cx: &Context, object: &api::Certificate) -> Result<Material> {
    let issuer = &object.spec.issuer;
    match (&issuer.ca, &issuer.imported) {
        (Some(ca), _) => Ok(Material::Ca(local::authority(cx, object, &ca.secret_ref.name).await?)),
        (None, Some(_)) => Ok(Material::Imported),
        (None, None) => Ok(Material::SelfSigned),
    }
}

/// What is to be done for a certificate that is wanted.
pub(super) fn next(material: &Material, now: Timestamp) -> Work {
    match material {
        Material::SelfSigned | Material::Imported => Work::Make,
        Material::Ca(Err(refusal)) => Work::Wait(refusal.clone()),
        Material::Ca(Ok(authority)) => local::may_sign(authority, now).map_or_else(Work::Wait, |()| Work::Make),
    }
}

/// Makes a pair. Touches nothing, and may take seconds of processor time.
///
/// # Errors
/// A condition: what the issuer cannot do.
pub(super) fn make(material: &Material, request: &Request<'_>, now: Timestamp) -> Result<Made> {
    local::make(material, request, now)
}

/// The name of the issuer in the ledger.
pub(super) fn word(issuer: &api::CertificateIssuer) -> &'static str {
    match (&issuer.ca, &issuer.imported) {
        (Some(_), _) => "ca",
        (None, Some(_)) => "imported",
        (None, None) => "selfSigned",
    }
}

/// Fingerprint of the CA's certificate, where it is known.
pub(super) fn signer(material: &Material) -> Option<&str> {
    match material {
        Material::Ca(Ok(authority)) => Some(&authority.certificate().fingerprint),
        _ => None,
    }
}
