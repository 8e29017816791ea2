//! Reads whose the name is, who else asks for it, what stands there, and what the authoritative servers say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use uuid::Uuid;

use super::decide::{self, Step, Verdict};
use super::{gate, source};
use crate::access;
use crate::api::{CloudCredential, DnsMode, DnsRecord, Reason};
use crate::dns::{Name, RecordSet, RecordType, Zone};
use crate::kinds::accounts::{self, Left};
use crate::kinds::names::Asker;
use crate::kinds::{Context, Refusal};
use crate::ledger::{DomainFact, ObjectKind, RecordClaim, RecordFact, Subject, Taken, WrittenSet};
use crate::reconcile::commands::{self, Command, Verb};
use crate::reconcile::wake::key_of;
use crate::reconcile::{conditions, subject_in};
use crate::zones::{self, Account, Answers, Found, Look};
use crate::{Error, Result};

/// How old what is known of a zone may be, where nobody asks for more and the spec is not new.
const FRESH: Duration = Duration::from_secs(60);

/// What is known before a decision.
#[derive(Clone)]
pub struct Seen {
    /// The record as the ledger names it.
    pub subject: Subject,
    /// The name, where the object may ask for it.
    pub gate: Result<Gated, Refusal>,
    /// What the spec comes to.
    pub set: Result<RecordSet, Refusal>,
    /// What it asks for; as it was put down, where the gate is closed.
    pub claim: Option<RecordClaim>,
    /// What is known of its set.
    pub fact: Option<RecordFact>,
    /// Who else asks for a set of that name.
    pub rivals: Vec<RecordClaim>,
    /// Where the set belongs.
    pub place: Option<Place>,
    /// The object is being deleted, and nobody can ever go where its set belongs: why.
    pub lost: Option<String>,
    /// What stands there.
    pub look: Result<Look, Refusal>,
    /// How long the provider asks to be left alone.
    pub rest: Option<Duration>,
    /// What the authoritative servers say, where they were asked.
    pub heard: Option<Answers>,
    /// A command that waits to be taken.
    pub command: Option<Command>,
    /// Why commands are not taken, if they are not.
    pub objection: Option<String>,
    /// The commands that were taken, the newest of each.
    pub taken: Vec<Taken>,
}

impl Seen {
    /// Whether it is put down that the object asks for the set.
    pub(super) fn asks(&self) -> bool {
        self.fact.as_ref().is_some_and(|fact| fact.asks)
    }

    /// What was last written for it, wherever that was.
    pub(super) fn written(&self) -> Option<&WrittenSet> {
        self.fact.as_ref()?.written.as_ref()
    }

    /// What was last written for it where the set belongs now.
    pub(super) fn written_here(&self) -> Option<&WrittenSet> {
        self.written().filter(|_| !self.moved())
    }

    /// Whether its set was written elsewhere: with another credential, in another zone, or to another server.
    pub(super) fn moved(&self) -> bool {
        self.written().zip(self.place.as_ref()).is_some_and(|(written, Place { account, zone })| {
            (written.credential, &written.zone_id) != (account.credential.uid, &zone.id)
                || is_elsewhere(written, account)
        })
    }
}

/// A name that the object may ask for.
#[derive(Clone, Debug)]
pub struct Gated {
    /// The name.
    pub owner: Name,
    /// The type.
    pub kind: RecordType,
    /// The domain that it lies in.
    pub domain: DomainFact,
}

impl Gated {
    /// Whether what is known is known of this organization's set of this name and type, below this domain. Else the object asks
    /// for it anew.
    fn is_what_was_asked(&self, fact: &RecordFact, subject: &Subject, below: &[Uuid]) -> bool {
        let claim = &fact.claim;
        claim.subject.organization == subject.organization
            && (claim.fqdn.as_str(), claim.kind.as_str()) == (self.owner.as_str(), self.kind.as_str())
            && below == [self.domain.subject.uid]
    }
}

/// Where a set belongs.
#[derive(Clone)]
pub struct Place {
    /// The credential's server.
    pub account: Account,
    /// The zone.
    pub zone: Zone,
}

/// Nobody was asked what stands there.
fn not_looked() -> Refusal {
    Refusal::new(Reason::Progressing, "what stands there is not known yet")
}

pub(super) async fn observe(cx: &Context, object: &Arc<DnsRecord>) -> Result<Seen> {
    let (namespace, _) = key_of(object.as_ref());
    let (organization, labels) = access::tenant(&cx.client, cx.cluster, &namespace).await?;
    let subject = subject_in(organization, cx.cluster, ObjectKind::DnsRecord, object.as_ref())
        .ok_or_else(|| Error::Integrity("metadata.uid is no UUID".into()))?;
    let (fact, taken, domains, below) = tokio::try_join!(
        cx.ledger.record_fact(cx.cluster, subject.uid),
        cx.ledger.commands(&subject),
        cx.ledger.domains_of(&subject.organization),
        cx.ledger.referred(cx.cluster, subject.uid, ObjectKind::OrganizationDomain),
    )?;
    let gate = gated(cx, object, (&subject, &labels), &domains);
    let set = match &gate {
        // What is wanted does not matter to one that leaves.
        Ok(_) if object.metadata.deletion_timestamp.is_some() => Err(not_looked()),
        Ok(gated) => {
            let values = source::values(cx, object, &subject).await?;
            values.and_then(|values| source::set(object, (gated.owner.clone(), gated.kind), &values))
        }
        Err(refusal) => Err(refusal.clone()),
    };
    let fact = fact.filter(|fact| gate.as_ref().map_or(true, |gated| gated.is_what_was_asked(fact, &subject, &below)));
    let claim = match (&gate, &fact) {
        (Ok(gated), _) => Some(claim(object, &subject, gated)),
        (Err(_), fact) => fact.as_ref().map(|fact| fact.claim.clone()),
    };
    let rivals = match &claim {
        Some(claim) => {
            let all = cx.ledger.record_rivals(&subject, &claim.fqdn).await?;
            all.into_iter().filter(|rival| is_alive(rival, cx.cluster, &domains, cx.clock.now())).collect()
        }
        None => Vec::new(),
    };
    let command = Command::read(object.metadata.annotations.as_ref());
    let objection = match &command {
        Some(_) => commands::objection(cx, object.as_ref(), command.as_ref()).await?,
        None => None,
    };
    let look = Err(not_looked());
    let (place, lost, rest, heard) = (None, None, None, None);
    let mut seen =
        Seen { subject, gate, set, claim, fact, rivals, place, lost, look, rest, heard, command, objection, taken };
    if let (true, Ok(gated)) = (needs_look(object, &seen), seen.gate.clone()) {
        look_there(cx, object, &mut seen, &gated).await?;
        listen(cx, object, &mut seen, &gated).await;
    }
    Ok(seen)
}

/// Whether the next step hangs on what stands there: nobody is asked in vain.
fn needs_look(object: &DnsRecord, seen: &Seen) -> bool {
    match decide::decide(object, seen, Timestamp::MIN) {
        Step::Hold(refusal) | Step::Rest(Verdict::Unprogrammed(refusal)) => refusal == not_looked(),
        _ => false,
    }
}

/// Whether a claim counts. One of another cluster does as long as that cluster looks after a domain above the name: of one that
/// was switched off for good, the proof grows old.
fn is_alive(claim: &RecordClaim, here: Uuid, domains: &[DomainFact], now: Timestamp) -> bool {
    let there = claim.subject.cluster;
    let proves = |d: &DomainFact| d.subject.cluster == there && d.covers(&claim.fqdn) && d.holds(now);
    there == here || domains.iter().any(proves)
}

fn claim(object: &DnsRecord, subject: &Subject, gated: &Gated) -> RecordClaim {
    RecordClaim {
        subject: subject.clone(),
        fqdn: gated.owner.as_str().to_owned(),
        kind: gated.kind.as_str().to_owned(),
        created_at: object.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
    }
}

/// The name, where the object may ask for it. What the ledger knows of the domain counts, never the domain's status.
fn gated(
    cx: &Context,
    object: &DnsRecord,
    (subject, labels): (&Subject, &BTreeMap<String, String>),
    domains: &[DomainFact],
) -> Result<Gated, Refusal> {
    let reference = &object.spec.domain_ref;
    let home = reference.namespace.as_deref().unwrap_or(&subject.namespace);
    let found = cx.stores.domains.get(&ObjectRef::new(&reference.name).within(home));
    let uid = found.and_then(|domain| Uuid::parse_str(domain.metadata.uid.as_deref()?).ok());
    let fact = domains.iter().find(|fact| Some(fact.subject.uid) == uid && fact.subject.cluster == cx.cluster);
    let who = Asker { subject, labels, by: None };
    let Some(fact) = fact.filter(|fact| who.is_admitted(fact)) else {
        return Err(if home == subject.namespace {
            let words = format!(
                "spec.domainRef: OrganizationDomain {:?} of this namespace is not there, or not proved yet",
                reference.name
            );
            Refusal::new(Reason::DomainNotVerified, words)
        } else {
            let words = format!(
                "spec.domainRef: OrganizationDomain {:?} of namespace {home:?} may not be used from {:?}; both namespaces must be \
                 of one organization, and its spec.allowedNamespaces must name {:?}",
                reference.name, subject.namespace, subject.namespace
            );
            Refusal::new(Reason::RefNotPermitted, words)
        });
    };
    let owner = gate::name(object, fact, who, domains, cx.clock.now())?;
    Ok(Gated { owner, kind: gate::kind(object)?, domain: fact.clone() })
}

async fn look_there(cx: &Context, object: &DnsRecord, seen: &mut Seen, gated: &Gated) -> Result<()> {
    let leaving = object.metadata.deletion_timestamp.is_some();
    let place = match place(cx, seen, gated, leaving).await {
        Ok(place) => place,
        Err(Error::Condition { reason, message }) => {
            seen.look = Err(Refusal { reason, message });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let is_new = object.status.as_ref().and_then(|status| status.observed_generation) != object.metadata.generation;
    let fresh = if is_new || is_asked(object, seen) { Duration::ZERO } else { FRESH };
    seen.look = match cx.zones.look(&place.account, &place.zone, &gated.owner, gated.kind, fresh).await {
        Ok(look) => Ok(look),
        Err(trouble) => {
            seen.rest = trouble.retry_after;
            Err(Refusal::new(trouble.reason, trouble.message))
        }
    };
    seen.place = Some(place);
    Ok(())
}

/// Whether a person has asked for a look since the status was last written.
fn is_asked(object: &DnsRecord, seen: &Seen) -> bool {
    let word = Verb::Reconcile.word();
    let told = object.status.as_ref().and_then(|status| status.last_handled.get(word));
    seen.taken.iter().any(|taken| taken.command == word && Some(&taken.value) != told)
}

/// Where the set belongs, by the domain's credential. Who is `leaving` goes also where only this process knows the way.
async fn place(cx: &Context, seen: &mut Seen, gated: &Gated, leaving: bool) -> Result<Place> {
    let refuse = |reason, words: String| Err(Error::condition(reason, words));
    let (dns, home) = (&gated.domain.terms.dns, &gated.domain.subject.namespace);
    let Some(reference) = dns.credential_ref.as_ref().filter(|_| dns.mode == DnsMode::Managed) else {
        let words =
            format!("the zone of {} is somebody else's; let the domain's spec.dns.mode be Managed", gated.domain.fqdn);
        return refuse(Reason::UnsupportedByProvider, words);
    };
    let named = ("the domain's spec.dns.credentialRef", reference);
    let credential = access::resolve_credential(&cx.client, cx.cluster, &cx.stores.credentials, home, named).await?;
    let account = match accounts::account(cx, &seen.subject, &credential).await {
        Err(error @ Error::Condition { .. }) if leaving => {
            match accounts::left(cx, &seen.subject, &credential).await? {
                Left::Last(account) => account,
                Left::Open => return Err(error),
                Left::Nothing(why) => {
                    seen.lost = Some(why);
                    return Err(error);
                }
            }
        }
        account => account?,
    };
    if !zones::permits(&credential.spec, &gated.owner) {
        let words =
            format!("CloudCredential {:?}: its spec.allowedDomains do not hold {}", reference.name, gated.owner);
        return refuse(Reason::RefNotPermitted, words);
    }
    let zone_id = dns.zone_id.as_deref();
    let zone = match cx.zones.zone_of(&account, &gated.owner, zone_id).await {
        Ok(Found::One(zone)) => zone,
        Ok(Found::None) => {
            let words =
                format!("CloudCredential {:?} has no zone for {}; see its status.zones", reference.name, gated.owner);
            return refuse(Reason::ZoneNotFound, words);
        }
        Ok(Found::Several(zones)) => {
            let ids: Vec<&str> = zones.iter().map(|zone| zone.id.as_str()).collect();
            let words = format!(
                "several zones have the name of {}'s: let the domain's spec.dns.zoneId be one of {}",
                gated.owner,
                ids.join(", ")
            );
            return refuse(Reason::ZoneNotFound, words);
        }
        Err(trouble) => {
            seen.rest = trouble.retry_after;
            return refuse(trouble.reason, trouble.message);
        }
    };
    if let Err(why) = seen.set.as_ref().map_or(Ok(()), |set| set.check_zone(&zone.name)) {
        return refuse(Reason::InvalidRecord, why.to_string());
    }
    Ok(Place { account, zone })
}

/// Where the set was written before the way to its zone changed; or why nobody can go there any more.
pub(super) async fn former_place(
    cx: &Context,
    seen: &Seen,
    written: &WrittenSet,
    owner: &Name,
) -> Result<Result<Place, &'static str>> {
    let is_it = |credential: &&Arc<CloudCredential>| {
        let uid = credential.metadata.uid.as_deref().and_then(|uid| Uuid::parse_str(uid).ok());
        uid == Some(written.credential)
    };
    let all = cx.stores.credentials.state();
    let Some(credential) = all.iter().find(is_it) else { return Ok(Err("its CloudCredential is gone")) };
    let account = accounts::account(cx, &seen.subject, credential).await?;
    if is_elsewhere(written, &account) {
        return Ok(Err("its CloudCredential has another endpoint now"));
    }
    match cx.zones.zone_of(&account, owner, Some(&written.zone_id)).await {
        Ok(Found::One(zone)) => Ok(Ok(Place { account, zone })),
        Ok(_) => Ok(Err("its CloudCredential has that zone no more")),
        Err(trouble) => Err(Error::condition(trouble.reason, trouble.message)),
    }
}

/// Whether it was written to another server than the account's, as far as was put down.
fn is_elsewhere(written: &WrittenSet, account: &Account) -> bool {
    written.server.as_ref().is_some_and(|server| *server != account.server.endpoint())
}

/// Asks the authoritative servers while they are not known to have what is wanted.
async fn listen(cx: &Context, object: &DnsRecord, seen: &mut Seen, gated: &Gated) {
    let stands = matches!((&seen.look, &seen.set), (Ok(look), Ok(set)) if look.set.as_ref() == Some(set));
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let known = conditions::get(conditions, "Propagated")
        .is_some_and(|c| c.status == "True" && c.observed_generation == object.metadata.generation);
    let leaving = object.metadata.deletion_timestamp.is_some();
    if stands && !known && !leaving {
        seen.heard = match &seen.place {
            Some(place) => Some(authorities(cx, &place.zone, &gated.owner, gated.kind).await),
            None => None,
        };
    }
}

/// What the authoritative servers say of a set in this zone; of a delegation those of the zone.
pub(super) async fn authorities(cx: &Context, zone: &Zone, owner: &Name, kind: RecordType) -> Answers {
    match kind == RecordType::Ns && *owner != zone.name {
        true => cx.lookup.ask_delegation(owner).await,
        false => cx.lookup.ask(owner, kind).await,
    }
}
