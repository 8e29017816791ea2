//! The challenge of a managed domain, in a zone that Landfall writes to.

use jiff::SignedDuration;
use kube::runtime::reflector::ObjectRef;

use super::name::{challenge_of, challenge_value};
use super::observe::Seen;
use crate::access;
use crate::api::{OrganizationDomain, Reason};
use crate::dns::{Invalid, Name, RecordType, Zone};
use crate::kinds::Context;
use crate::kinds::accounts::account;
use crate::ledger::{DomainPublished, Subject};
use crate::providers::Trouble;
use crate::reconcile::wake::key_of;
use crate::zones::{self, Account, Effect, Found, Want, Wish};
use crate::{Class, Error, Result};

/// Seconds for which resolvers may remember a challenge.
const TTL: u32 = 60;
/// For how long a way to the zone is waited for, when the challenge is to be taken away.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Where the challenge of a managed domain belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The credential.
    pub credential: Subject,
    /// The zone.
    pub zone: Zone,
}

/// The zone of a managed domain, and the account that reaches it; the inner error is a condition of the object.
///
/// # Errors
/// What may pass by itself: API server or ledger.
pub(super) async fn find(
    cx: &Context,
    object: &OrganizationDomain,
    by: &Subject,
    challenge: &Name,
) -> Result<Result<(Home, Account), (Reason, String)>> {
    match search(cx, object, by, challenge).await {
        Ok(found) => Ok(Ok(found)),
        Err(Error::Condition { reason, message }) => Ok(Err((reason, message))),
        Err(other) => Err(other),
    }
}

async fn search(cx: &Context, object: &OrganizationDomain, by: &Subject, challenge: &Name) -> Result<(Home, Account)> {
    let (namespace, _) = key_of(object);
    let dns = &object.spec.dns;
    let reference = dns.credential_ref.as_ref();
    let reference = reference.ok_or_else(|| Error::Integrity("spec.dns.credentialRef is missing".into()))?;
    let field = "spec.dns.credentialRef";
    let found =
        access::resolve_credential(&cx.client, cx.cluster, &cx.stores.credentials, &namespace, (field, reference))
            .await?;
    if !zones::permits(&found.spec, challenge) {
        let words = format!(
            "{field}: the spec.allowedDomains of CloudCredential {:?} do not hold {}",
            reference.name, object.spec.domain
        );
        return Err(Error::condition(Reason::RefNotPermitted, words));
    }
    let account = account(cx, by, &found).await?;
    let credential = account.credential.clone();
    let zones = cx.zones.zone_of(&account, challenge, dns.zone_id.as_deref()).await.map_err(condition)?;
    match zones {
        Found::One(zone) => Ok((Home { credential, zone }, account)),
        Found::None => Err(Error::condition(
            Reason::ZoneNotFound,
            format!(
                "{challenge} lies in no zone that CloudCredential {:?} lists; make the zone, or name another credential",
                reference.name
            ),
        )),
        Found::Several(zones) => {
            let ids: Vec<&str> = zones.iter().map(|zone| zone.id.as_str()).collect();
            let message = format!("several zones have the name; set spec.dns.zoneId to one of {}", ids.join(", "));
            Err(Error::condition(Reason::ZoneNotFound, message))
        }
    }
}

fn condition(trouble: Trouble) -> Error {
    Error::condition(trouble.reason, trouble.message)
}

/// Puts the challenge into its zone, beside whatever stands there. Where that is, is written down first.
pub(super) async fn publish(cx: &Context, seen: &Seen) -> Result<()> {
    let (Some(Ok(home)), Some(account), Ok(name), Some(fact)) = (&seen.home, &seen.account, &seen.name, seen.current())
    else {
        return Ok(());
    };
    let mut published = DomainPublished {
        credential: home.credential.clone(),
        zone_id: home.zone.id.clone(),
        zone_name: home.zone.name.as_str().to_owned(),
        at: None,
        leaving_since: None,
    };
    if seen.published.is_none() {
        cx.ledger.put_domain_published(&seen.subject, Some(&published)).await?;
    }
    let want = Want::Share { value: challenge_value(&fact.token), ttl: TTL };
    write(cx, seen, account, &home.zone, name.challenge.clone(), want).await?;
    published.at = Some(cx.clock.now());
    cx.ledger.put_domain_published(&seen.subject, Some(&published)).await
}

/// Takes the challenge away again. Where the way to its zone is gone for good, or for [`PATIENCE`], it stays there, on record:
/// it means nothing any more.
pub(super) async fn withdraw(cx: &Context, seen: &Seen, published: &DomainPublished) -> Result<()> {
    let Some(fact) = &seen.fact else { return cx.ledger.put_domain_published(&seen.subject, None).await };
    let name = read(&fact.fqdn).and_then(|fqdn| challenge_of(&fqdn).map_err(unreadable))?;
    let why = match take_away(cx, seen, published, &name, &fact.token).await {
        Ok(()) => return cx.ledger.put_domain_published(&seen.subject, None).await,
        Err(Error::Condition { reason, message }) if reason.class() != Class::Transient => message,
        Err(error) => match published.leaving_since {
            Some(since) if cx.clock.now().duration_since(since) >= PATIENCE => error.to_string(),
            since => {
                if since.is_none() {
                    let leaving = DomainPublished { leaving_since: Some(cx.clock.now()), ..published.clone() };
                    cx.ledger.put_domain_published(&seen.subject, Some(&leaving)).await?;
                }
                return Err(waits(error));
            }
        },
    };
    tracing::warn!(%name, why, "a challenge is left in its zone");
    cx.ledger.leave_domain_challenge(&seen.subject, published, name.as_str(), &why).await
}

/// With what is waited for, and how long.
fn waits(error: Error) -> Error {
    match error {
        Error::Condition { reason, message } => Error::condition(
            reason,
            format!(
                "the challenge is still to be taken away: {message}; after ten minutes it is left in its zone, on record"
            ),
        ),
        other => other,
    }
}

async fn take_away(cx: &Context, seen: &Seen, published: &DomainPublished, name: &Name, token: &str) -> Result<()> {
    let credential = &published.credential;
    let found = cx.stores.credentials.get(&ObjectRef::new(&credential.name).within(&credential.namespace));
    let found = found.filter(|found| found.metadata.uid.as_deref() == Some(credential.uid.to_string().as_str()));
    let Some(found) = found else {
        let words = format!("CloudCredential {:?} is gone", credential.name);
        return Err(Error::condition(Reason::CredentialNotReady, words));
    };
    let account = Account::open(&cx.client, &cx.installation, &cx.http, &cx.ledger, credential, &found.spec).await?;
    let zone = Zone { id: published.zone_id.clone(), name: read(&published.zone_name)? };
    write(cx, seen, &account, &zone, name.clone(), Want::Unshare { value: challenge_value(token) }).await
}

fn read(name: &str) -> Result<Name> {
    Name::parse(name).map_err(unreadable)
}

fn unreadable(error: Invalid) -> Error {
    Error::Integrity(format!("domain_verifications: {error}"))
}

async fn write(cx: &Context, seen: &Seen, account: &Account, zone: &Zone, owner: Name, want: Want) -> Result<()> {
    let why = match want {
        Want::Unshare { .. } => "the challenge of the domain is not needed there any more",
        _ => "the challenge that proves the domain",
    };
    let why = why.to_owned();
    let wish = Wish { subject: seen.subject.clone(), why, owner, kind: RecordType::Txt, want, by: None };
    match cx.zones.change(account, zone, wish).await? {
        Effect::Applied { .. } | Effect::Unchanged => Ok(()),
        Effect::NotOwned(why) | Effect::Rejected(why) => Err(Error::condition(
            Reason::ProviderRejected,
            format!("the challenge cannot be written to zone {}: {why}", zone.name),
        )),
        Effect::Trouble(trouble) => Err(condition(trouble)),
        _ => Err(Error::condition(
            Reason::ProviderUnavailable,
            format!("zone {} changed while the challenge was written; it is tried again", zone.name),
        )),
    }
}
