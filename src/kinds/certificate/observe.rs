//! Reads the Secret, the issuer's material, what the ledger knows, and whether the names may have a certificate.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::issuers::{self, Material};
use super::{Refusal, revoking, secret};
use crate::access;
use crate::api::{Certificate, CertificateSpec, KeyAlgorithm, PrivateKeySettings, Reason};
use crate::dns::Name;
use crate::kinds::Context;
use crate::kinds::names::{Asker, permit};
use crate::ledger::{
    AcmeOrder, CertificateFact, CertificateFacts, CertificateTerms, IntentId, ObjectKind, Revocation, Subject, Taken,
};
use crate::pki::{Algorithm, Chain, Flaw, Key};
use crate::reconcile::commands::{self, Command, Verb};
use crate::reconcile::subject_in;
use crate::reconcile::wake::key_of;
use crate::{Error, Result};

/// Repairs of this time count.
pub(super) const LATELY: Duration = Duration::from_secs(600);

/// What is known before a decision.
pub struct Seen {
    /// The certificate as the ledger names it.
    pub(super) subject: Subject,
    /// What the spec asks for, or why that cannot be.
    pub(super) wanted: Result<Wanted, Refusal>,
    /// The domains by which the names may have a certificate, each once.
    pub(super) gate: Result<Vec<Subject>, Refusal>,
    /// What the issuer works with.
    pub(super) material: Material,
    /// The Secret.
    pub(super) secret: Held,
    /// The Secret that a delivery was for whose end is not known, where the spec names another one now.
    pub(super) delivery: Option<Held>,
    /// How often of late what stands in the Secret was put right, or its key replaced; not asked while it is whole.
    pub(super) repairs: i64,
    /// A Secret of another name that is this object's still, and holds a former pair, or the one in use.
    pub(super) former: Option<Former>,
    /// The serial number that the object was last said to have.
    pub(super) last_serial: Option<String>,
    /// The removal of such a one whose outcome is not known.
    pub(super) removing: Option<Removing>,
    /// What the ledger knows.
    pub(super) facts: CertificateFacts,
    /// The last order at a CA, whatever the spec says now.
    pub(super) order: Option<AcmeOrder>,
    /// A command that waits to be taken.
    pub(super) command: Option<Command>,
    /// The certificate whose revocation the command asks for, where there is such a one.
    pub(super) named: Option<CertificateFact>,
    /// What is to be revoked, the oldest first; behind that, what was, the last first.
    pub(super) revocations: Vec<Revocation>,
    /// Why commands are not taken, if they are not.
    pub(super) objection: Option<String>,
    /// The commands that were taken, the newest of each.
    pub(super) taken: Vec<Taken>,
}

/// What the spec asks for, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Each once, in order.
    pub(super) names: Vec<Name>,
    /// Of the key.
    pub(super) algorithm: Algorithm,
    /// How long it is to live.
    pub(super) life: Duration,
    /// The same for the ledger.
    pub(super) terms: CertificateTerms,
}

/// The Secret, as far as a decision needs it.
pub(super) enum Held {
    /// There is none.
    None,
    /// It is not this object's to write; the message says whose it is.
    Foreign(String),
    /// It is this object's, or is brought.
    Ours(Box<Stored>),
}

/// A removal of a former Secret whose outcome is not known.
#[derive(Clone, Copy)]
pub(super) struct Removing {
    pub(super) intent: IntentId,
    /// Whether that Secret is gone.
    pub(super) landed: bool,
}

/// A Secret that the spec does not name any more.
pub(super) struct Former {
    pub(super) name: String,
    pub(super) stored: Box<Stored>,
}

/// What stands in the Secret.
pub(super) struct Stored {
    /// Its resourceVersion.
    pub(super) version: String,
    /// `tls.key`.
    pub(super) key: Result<Key, Flaw>,
    /// `tls.crt`, read.
    pub(super) chain: Result<Chain, Flaw>,
    /// `tls.crt` as it stands.
    pub(super) certificate: Vec<u8>,
    /// `ca.crt` as it stands.
    pub(super) roots: Option<Vec<u8>>,
}

impl Stored {
    /// Whether it is a valid pair for these names now.
    pub(super) fn check(&self, names: &[String], now: Timestamp) -> Result<(), Flaw> {
        let key = self.key.as_ref().map_err(Clone::clone)?;
        self.chain.as_ref().map_err(Clone::clone)?.check(key, names, now)
    }

    /// Whether the key of this certificate stands there.
    pub(super) fn has_key_of(&self, fact: &CertificateFact) -> bool {
        self.key.as_ref().is_ok_and(|key| key.public().digest() == fact.certificate.public_key)
    }

    /// Whether certificate and roots stand there byte by byte.
    pub(super) fn has_all_of(&self, fact: &CertificateFact) -> bool {
        let roots = fact.certificate.roots.as_ref().map(String::as_bytes);
        self.certificate == fact.certificate.chain.as_bytes() && self.roots.as_deref() == roots
    }
}

pub(super) async fn observe(cx: &Context, object: &Certificate) -> Result<Seen> {
    let (namespace, _) = key_of(object);
    let (organization, labels) = access::tenant(&cx.client, cx.cluster, &namespace).await?;
    let subject = subject_in(organization, cx.cluster, ObjectKind::Certificate, object)
        .ok_or_else(|| Error::Integrity("metadata.uid is no UUID".into()))?;
    let (facts, taken, order, revocations) = tokio::try_join!(
        cx.ledger.certificate_facts(cx.cluster, subject.uid),
        cx.ledger.commands(&subject),
        cx.ledger.acme_order(cx.cluster, subject.uid),
        cx.ledger.revocations(&subject),
    )?;
    let mut material = issuers::observe(cx, object, order.as_ref()).await?;
    let wanted = wanted(&object.spec, &material);
    let gate = permitted(cx, object, &wanted, &subject, &labels).await?;
    let leaving = object.metadata.deletion_timestamp.is_some();
    if wanted.is_ok() && gate.is_ok() && !leaving && !object.spec.suspend {
        material = issuers::look(cx, material).await?;
    }
    let secret = held(cx, object).await?;
    let delivery = delivery(cx, object, &facts).await?;
    let former = former(cx, object, &facts).await?;
    let removing = removing(cx, object, &subject, &facts).await?;
    let touched = match (&secret, &facts.current) {
        (Held::Ours(stored), Some(fact)) => !(stored.has_key_of(fact) && stored.has_all_of(fact)),
        (Held::None, Some(_)) => true,
        _ => false,
    };
    let repairs = if touched { cx.ledger.certificate_repairs(&subject, LATELY).await? } else { 0 };
    let command = Command::read(object.metadata.annotations.as_ref());
    let objection = match &command {
        Some(_) => commands::objection(cx, object, command.as_ref()).await?,
        None => None,
    };
    let named = match command.as_ref().filter(|command| command.verb == Verb::Revoke) {
        Some(command) => {
            let serial = revoking::named(&command.value).map_or("", |(serial, _)| serial);
            cx.ledger.certificate_with(&subject, serial).await?
        }
        None => None,
    };
    Ok(Seen {
        subject,
        wanted,
        gate,
        material,
        secret,
        delivery,
        repairs,
        former,
        removing,
        last_serial: object.status.as_ref().and_then(|status| status.serial_number.clone()),
        facts,
        order,
        command,
        named,
        revocations,
        objection,
        taken,
    })
}

/// What is brought was issued by somebody else, who has asked whose the names are.
async fn permitted(
    cx: &Context,
    object: &Certificate,
    wanted: &Result<Wanted, Refusal>,
    subject: &Subject,
    labels: &BTreeMap<String, String>,
) -> Result<Result<Vec<Subject>, Refusal>> {
    let leaving = object.metadata.deletion_timestamp.is_some();
    match wanted {
        Ok(wanted) if object.spec.issuer.imported.is_none() && !leaving => {
            let domains = cx.ledger.domains_of(&subject.organization).await?;
            let (who, now) = (Asker { subject, labels, by: None }, cx.clock.now());
            let each = wanted.names.iter().map(|name| permit(name, who, &domains, now).map(|d| d.subject.clone()));
            let by: Result<BTreeMap<_, _>, Refusal> = each.map(|d| d.map(|d| ((d.cluster, d.uid), d))).collect();
            Ok(by.map(|by| by.into_values().collect()).map_err(|refusal| refusal.at("spec.dnsNames")))
        }
        _ => Ok(Ok(Vec::new())),
    }
}

/// # Errors
/// A name that is none.
pub(super) fn wanted(spec: &CertificateSpec, material: &Material) -> Result<Wanted, Refusal> {
    let mut names: Vec<Name> = Vec::new();
    for (place, text) in spec.dns_names.iter().enumerate() {
        let name = Name::parse(text).ok().filter(is_fit).ok_or_else(|| Refusal {
            reason: Reason::CertificateInvalid,
            message: format!("spec.dnsNames[{place}]: {text:?} is no name that a certificate can have; write a host name, or `*.` and one"),
        })?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let issuer = issuers::word(&spec.issuer);
    let brought = spec.issuer.imported.is_some();
    // How long one lives is the CA's to say.
    let theirs = brought || spec.issuer.acme.is_some();
    let (algorithm, life) =
        (algorithm(&spec.private_key), spec.duration.get().unwrap_or(Duration::from_secs(7_776_000)));
    let terms = CertificateTerms {
        names: names.iter().map(|name| name.as_str().to_owned()).collect(),
        algorithm: if brought { String::new() } else { algorithm.to_string() },
        life: if theirs { 0 } else { life.as_secs() },
        issuer: issuer.to_owned(),
        signer: issuers::signer(material).map(str::to_owned),
    };
    Ok(Wanted { names, algorithm, life, terms })
}

/// Letters, digits and hyphens, but for a wildcard, and at least two labels; no address.
fn is_fit(name: &Name) -> bool {
    let bare = if name.is_wildcard() { name.parent() } else { Some(name.clone()) };
    let is_address = name.as_str().parse::<std::net::Ipv4Addr>().is_ok();
    bare.is_some_and(|bare| bare.is_host() && bare.labels().count() >= 2) && !is_address
}

fn algorithm(settings: &PrivateKeySettings) -> Algorithm {
    match (settings.algorithm, settings.size) {
        (KeyAlgorithm::Ecdsa, Some(384)) => Algorithm::EcdsaP384,
        (KeyAlgorithm::Ecdsa, _) => Algorithm::EcdsaP256,
        (KeyAlgorithm::Rsa, size) => Algorithm::Rsa(size.and_then(|size| u32::try_from(size).ok()).unwrap_or(2048)),
    }
}

/// Name of the Secret that holds the pair.
pub(super) fn secret_name(spec: &CertificateSpec) -> &str {
    match &spec.issuer.imported {
        Some(imported) => &imported.secret_ref.name,
        None => spec.secret_name.as_deref().unwrap_or_default(),
    }
}

async fn held(cx: &Context, object: &Certificate) -> Result<Held> {
    let name = secret_name(&object.spec);
    let found = secret::find(cx, object, name).await?;
    Ok(match found {
        Some(found) if object.spec.issuer.imported.is_some() => Held::Ours(Box::new(secret::stored(found))),
        Some(found) => secret::held(object, found),
        None => rival(cx, object, name).map_or(Held::None, Held::Foreign),
    })
}

async fn delivery(cx: &Context, object: &Certificate, facts: &CertificateFacts) -> Result<Option<Held>> {
    let name = facts.open.as_ref().map(|open| open.certificate.secret.as_str());
    let Some(name) = name.filter(|name| *name != secret_name(&object.spec)) else { return Ok(None) };
    Ok(Some(secret::find(cx, object, name).await?.map_or(Held::None, |found| secret::held(object, found))))
}

/// First that of the certificate in use, then those before it.
async fn former(cx: &Context, object: &Certificate, facts: &CertificateFacts) -> Result<Option<Former>> {
    if object.spec.issuer.imported.is_some() {
        return Ok(None);
    }
    let current =
        facts.current.iter().map(|fact| &fact.certificate).filter(|current| current.terms.issuer != "imported");
    let names = current.map(|current| &current.secret).chain(&facts.former_secrets);
    for name in names.filter(|name| *name != secret_name(&object.spec)) {
        if let Some(found) = secret::find(cx, object, name).await?
            && let Held::Ours(stored) = secret::held(object, found)
        {
            return Ok(Some(Former { name: name.clone(), stored }));
        }
    }
    Ok(None)
}

/// A removal whose outcome is not known: what stands under that name says what became of it, whatever the spec names now.
async fn removing(
    cx: &Context,
    object: &Certificate,
    subject: &Subject,
    facts: &CertificateFacts,
) -> Result<Option<Removing>> {
    if facts.former_secrets.is_empty() {
        return Ok(None);
    }
    let Some((intent, secret)) = cx.ledger.open_removal(subject).await? else { return Ok(None) };
    let found = secret::find(cx, object, &secret).await?;
    let is_there = found.is_some_and(|found| matches!(secret::held(object, found), Held::Ours(_)));
    Ok(Some(Removing { intent, landed: !is_there }))
}

/// Another certificate that is to make the same Secret, and is older.
fn rival(cx: &Context, object: &Certificate, secret: &str) -> Option<String> {
    let age = |one: &Certificate| (one.metadata.creation_timestamp.clone(), one.metadata.uid.clone());
    let is_rival = |other: &Certificate| {
        other.metadata.namespace == object.metadata.namespace
            && other.metadata.uid != object.metadata.uid
            && other.spec.issuer.imported.is_none()
            && other.spec.secret_name.as_deref() == Some(secret)
            && other.metadata.deletion_timestamp.is_none()
            && age(other) < age(object)
    };
    let found = cx.stores.certificates.find(|other| is_rival(other))?;
    let name = found.metadata.name.clone().unwrap_or_default();
    Some(format!("spec.secretName: Certificate {name:?} names Secret {secret:?} too and is older; name another one"))
}
