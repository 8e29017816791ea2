//! Proofs into DNS and out of it, by the credential of the domain that a name lies in.

use kube::runtime::reflector::ObjectRef;

use crate::access;
use crate::acme::{Cause, Trouble};
use crate::api::{DnsMode, Reason, Reference};
use crate::dns::{Name, RecordType, Zone};
use crate::kinds::Context;
use crate::kinds::accounts::account;
use crate::kinds::names::{Asker, holding};
use crate::ledger::{AcmeChallenge, AcmePlace, DomainFact, ObjectKind, Subject};
use crate::reconcile::subject_in;
use crate::zones::{self, Account, By, Effect, Found, Want, Wish};
use crate::{Error, Result};

/// Seconds. A CA's resolver may keep what it saw for so long.
const TTL: u32 = 60;

/// Zone and credential by which a proof is written.
pub(super) struct Way {
    account: Account,
    zone: Zone,
    /// The domain in whose name it is written.
    by: Option<By>,
}

impl Way {
    /// The same for the ledger.
    pub(super) fn place(&self) -> AcmePlace {
        AcmePlace {
            credential: self.account.credential.uid,
            namespace: self.account.credential.namespace.clone(),
            name: self.account.credential.name.clone(),
            zone_id: self.zone.id.clone(),
            zone_name: self.zone.name.as_str().to_owned(),
        }
    }
}

/// Puts a proof into DNS.
///
/// # Errors
/// The ledger's, or the API server's.
pub(super) async fn share(
    cx: &Context,
    subject: &Subject,
    way: &Way,
    challenge: &AcmeChallenge,
) -> Result<Result<(), Trouble>> {
    change(cx, subject, way, challenge, Want::Share { value: challenge.value.clone(), ttl: TTL }).await
}

/// Takes a proof out of DNS, from where it was put; what others have there stays.
///
/// # Errors
/// The ledger's, or the API server's.
pub(super) async fn unshare(
    cx: &Context,
    subject: &Subject,
    place: &AcmePlace,
    challenge: &AcmeChallenge,
) -> Result<Result<(), Trouble>> {
    match back(cx, subject, place).await {
        Ok(way) => change(cx, subject, &way, challenge, Want::Unshare { value: challenge.value.clone() }).await,
        Err(error) => in_the_way(error).map(Err),
    }
}

fn not_ready(message: impl AsRef<str>) -> Trouble {
    Trouble::new(Cause::DnsNotReady, message)
}

/// A condition is in the way of this order; anything else of all.
fn in_the_way(error: Error) -> Result<Trouble> {
    match error {
        Error::Condition { reason, message } if reason != Reason::ApiServerUnavailable => Ok(not_ready(message)),
        error => Err(error),
    }
}

async fn change(
    cx: &Context,
    subject: &Subject,
    way: &Way,
    challenge: &AcmeChallenge,
    want: Want,
) -> Result<Result<(), Trouble>> {
    let Ok(owner) = Name::parse(&challenge.name) else {
        return Ok(Err(not_ready(format!("{} is no name", challenge.name))));
    };
    let why = match want {
        Want::Unshare { .. } => format!("no CA needs the proof of {} any more", challenge.identifier),
        _ => format!("a CA asks for a proof of {}", challenge.identifier),
    };
    let wish = Wish { subject: subject.clone(), why, owner, kind: RecordType::Txt, want, by: way.by.clone() };
    let effect = match cx.zones.change(&way.account, &way.zone, wish).await {
        Err(Error::Condition { reason: Reason::DomainNotVerified, message }) => return Ok(Err(not_ready(message))),
        effect => effect?,
    };
    Ok(match effect {
        Effect::Applied { .. } | Effect::Unchanged => Ok(()),
        Effect::NotOwned(whose) => Err(not_ready(format!("{} is not ours to write: {whose}", challenge.name))),
        Effect::Rejected(words) => Err(not_ready(format!("the DNS provider refuses {}: {words}", challenge.name))),
        Effect::Trouble(trouble) => Err(Trouble { retry_after: trouble.retry_after, ..not_ready(trouble.message) }),
        _ => Err(not_ready("another wrote the zone in between")),
    })
}

/// The way to where a proof belongs, by the domain by which `who` may have the name. None where its owner writes the zone.
///
/// # Errors
/// The ledger's, or the API server's.
pub(super) async fn way(
    cx: &Context,
    who: Asker<'_>,
    domains: &[DomainFact],
    challenge: &AcmeChallenge,
) -> Result<Result<Option<Way>, Trouble>> {
    let Ok(identifier) = Name::parse(&challenge.identifier) else {
        return Ok(Err(not_ready(format!("{:?} is no name", challenge.identifier))));
    };
    let domain = match holding(&identifier, who, domains, cx.clock.now()) {
        Ok(holding) => holding.domain,
        Err(refusal) => return Ok(Err(not_ready(refusal.message))),
    };
    let reference = match (domain.terms.dns.mode, &domain.terms.dns.credential_ref) {
        (DnsMode::Managed, Some(reference)) if domain.subject.cluster == who.subject.cluster => reference,
        _ => return Ok(Ok(None)),
    };
    match search(cx, domain, reference, &challenge.name).await {
        Ok(way) => Ok(Ok(Some(way))),
        Err(error) => in_the_way(error).map(Err),
    }
}

async fn search(cx: &Context, domain: &DomainFact, reference: &Reference, owner: &str) -> Result<Way> {
    let owner = Name::parse(owner).map_err(|_| not_there(format!("{owner} is no name")))?;
    let home = &domain.subject.namespace;
    let named = ("the domain's spec.dns.credentialRef", reference);
    let credential = access::resolve_credential(&cx.client, cx.cluster, &cx.stores.credentials, home, named).await?;
    let name = &reference.name;
    if !zones::permits(&credential.spec, &owner) {
        let words = format!("CloudCredential {name:?}: its spec.allowedDomains do not hold {owner}");
        return Err(Error::condition(Reason::RefNotPermitted, words));
    }
    let account = account(cx, &domain.subject, &credential).await?;
    let zone = match cx.zones.zone_of(&account, &owner, domain.terms.dns.zone_id.as_deref()).await {
        Ok(Found::One(zone)) => zone,
        Ok(Found::None) => {
            let words = format!("CloudCredential {name:?} has no zone for {owner}; see its status.zones");
            return Err(not_there(words));
        }
        Ok(Found::Several(_)) => {
            let words = format!(
                "several zones of CloudCredential {name:?} have the name of {owner}'s: set the domain's spec.dns.zoneId"
            );
            return Err(not_there(words));
        }
        Err(trouble) => return Err(Error::condition(trouble.reason, trouble.message)),
    };
    let by = By { domain: domain.subject.clone(), at: cx.clock.now() };
    Ok(Way { account, zone, by: Some(by) })
}

fn not_there(words: String) -> Error {
    Error::condition(Reason::ZoneNotFound, words)
}

/// The way back to where a proof was put, as long as that credential is there.
async fn back(cx: &Context, subject: &Subject, place: &AcmePlace) -> Result<Way> {
    let found = cx.stores.credentials.get(&ObjectRef::new(&place.name).within(&place.namespace));
    let found = found.filter(|found| found.metadata.uid.as_deref() == Some(place.credential.to_string().as_str()));
    let gone = || not_there(format!("CloudCredential {:?}, by which it was put into DNS, is gone", place.name));
    let found = found.ok_or_else(gone)?;
    let credential = subject_in(subject.organization.clone(), cx.cluster, ObjectKind::CloudCredential, found.as_ref())
        .ok_or_else(|| Error::Integrity("metadata.uid is no UUID".into()))?;
    let name = Name::parse(&place.zone_name).map_err(|_| not_there(format!("{} is no zone", place.zone_name)))?;
    let account = Account::open(&cx.client, &cx.installation, &cx.http, &cx.ledger, &credential, &found.spec).await?;
    Ok(Way { account, zone: Zone { id: place.zone_id.clone(), name }, by: None })
}
