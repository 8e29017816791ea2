//! Does one step.

use std::time::Duration;

use super::decide::Step;
use super::observe::{Seen, authorities, former_place};
use crate::api::{DnsRecord, Reason, RecordAdoption, RecordDeletion, RecordPolicy};
use crate::dns::{Data, Name, RecordType};
use crate::kinds::Context;
use crate::ledger::{ObjectKind, RecordClaim, RecordFact, Subject, WrittenSet};
use crate::reconcile::wake::key_of;
use crate::reconcile::{Announcement, COMMAND_TAKEN, RECORD_KEPT, commands, finalizer};
use crate::zones::{Adoption, Answers, By, Effect, Want, Wish};
use crate::{Error, Result};

/// How long the authoritative servers may take to be heard of with the write itself; else they are asked by the next look.
const AT_ONCE: Duration = Duration::from_millis(500);

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// The set stands as the spec says, and the ledger knows.
    Written {
        /// What the authoritative servers said at once, if they did.
        heard: Option<Answers>,
        /// What was written elsewhere before and stays there, in words.
        kept: Option<String>,
    },
    /// The zone's writer was asked.
    Asked {
        /// What came of it.
        effect: Effect,
        /// What was written elsewhere before and stays there, in words.
        kept: Option<String>,
    },
    /// An older object asks for the same since a moment ago: nothing was written.
    Lost,
    /// The ledger knows whether the object asks for its set.
    Claimed,
    /// A command was taken away, obeyed or not.
    Told(Announcement),
    /// It is put down that the object asks for nothing any more; what is told of its set.
    Left(Option<Announcement>),
    /// The finalizer is off.
    Finalizer,
    /// There was nothing to do.
    Nothing,
}

impl Done {
    pub(super) fn asked(effect: Effect) -> Self {
        Self::Asked { effect, kept: None }
    }
}

pub(super) async fn act(cx: &Context, object: &DnsRecord, seen: &Seen, step: &Step) -> Result<Done> {
    match step {
        Step::Take(command) => {
            cx.ledger.record_command(&seen.subject, command.verb.word(), &command.value, &command.by).await?;
            commands::clear(cx, object, command).await?;
            let message = format!("{} asks for a look", command.by);
            Ok(Done::Told(Announcement::of(&COMMAND_TAKEN, message)))
        }
        Step::Discard { command, why } => {
            commands::discard(cx, object, &seen.subject, command, why).await.map(Done::Told)
        }
        Step::Claim => {
            cx.ledger.claim_record_set(claim(seen)?, &domain(seen)?, cx.clock.now()).await?;
            Ok(Done::Claimed)
        }
        Step::Yield => {
            let fact = fact(seen)?;
            wake(cx, &cx.ledger.yield_record_set(&fact.claim).await?);
            Ok(Done::Claimed)
        }
        Step::Write { repair } => write(cx, object, seen, *repair).await,
        Step::GiveWay => {
            let why = "an older object asks for a set that cannot stand beside it";
            remove(cx, object, seen, (why, 1)).await
        }
        Step::Remove => {
            let why = format!("DnsRecord {:?} is deleted", object.metadata.name.as_deref().unwrap_or_default());
            remove(cx, object, seen, (&why, leaving(cx, object))).await
        }
        Step::Leave { heir, kept } => leave(cx, object, seen, heir.as_ref(), kept.as_deref()).await,
        Step::Hold(_) | Step::Rest(_) => Ok(Done::Nothing),
    }
}

fn claim(seen: &Seen) -> Result<&RecordClaim> {
    seen.claim.as_ref().ok_or_else(|| Error::Integrity("a step on a set without a name".into()))
}

fn fact(seen: &Seen) -> Result<&RecordFact> {
    seen.fact.as_ref().ok_or_else(|| Error::Integrity("a step on a set that nothing is known of".into()))
}

fn domain(seen: &Seen) -> Result<Subject> {
    let gated = seen.gate.as_ref().map_err(|refusal| Error::condition(refusal.reason, refusal.message.clone()))?;
    Ok(gated.domain.subject.clone())
}

/// Puts down that the object asks for the set, has it written, and puts down what stands.
async fn write(cx: &Context, object: &DnsRecord, seen: &Seen, repair: bool) -> Result<Done> {
    let (Some(place), Ok(set)) = (&seen.place, &seen.set) else {
        return Err(Error::Integrity("a write without a place".into()));
    };
    let claim = claim(seen)?;
    if !seen.asks() {
        let rivals = cx.ledger.claim_record_set(claim, &domain(seen)?, cx.clock.now()).await?;
        if super::decide::winner(claim, &rivals).is_some() {
            return Ok(Done::Lost);
        }
        // A younger one, which may have seen nobody before it.
        wake(cx, &rivals);
    }
    let adoption = match object.spec.adoption {
        RecordAdoption::Never => Adoption::Never,
        RecordAdoption::IfIdentical => Adoption::IfIdentical,
        RecordAdoption::Always => Adoption::Always,
    };
    let why = if repair { "put right after somebody else's change" } else { "as the spec says" };
    let want = Want::Set { set: set.clone(), adoption };
    let wish = wish(cx, seen, (set.owner(), set.kind()), why, want);
    let again = wish.clone();
    let effect = cx.zones.change(&place.account, &place.zone, wish).await?;
    tell_of_held(cx, object, &effect);
    if !stands(&effect) {
        return Ok(Done::asked(effect));
    }
    let kept = match clear_former(cx, object, seen, set.owner(), set.kind()).await? {
        Former::Nothing | Former::Asked(Effect::Unchanged) => None,
        // Two ways to one zone cannot always be told apart: what was taken away there may have been taken away here.
        Former::Asked(Effect::Applied { .. }) => {
            let effect = cx.zones.change(&place.account, &place.zone, again).await?;
            if !stands(&effect) {
                return Ok(Done::asked(effect));
            }
            None
        }
        Former::Asked(refused) => return Ok(Done::asked(refused)),
        Former::Kept(words) => Some(words),
    };
    let written = WrittenSet {
        credential: place.account.credential.uid,
        zone_id: place.zone.id.clone(),
        zone: place.zone.name.to_string(),
        server: Some(place.account.server.endpoint()),
        ttl: set.ttl(),
        data: set.values().iter().map(Data::present).collect(),
        digest: set.digest(),
    };
    let repaired = repair && matches!(effect, Effect::Applied { .. });
    let rivals = cx.ledger.put_record_set(claim, &written, repaired).await?;
    if super::decide::winner(claim, &rivals).is_some() {
        wake(cx, &rivals);
    }
    wake_below(cx, object, set.kind());
    let heard = authorities(cx, &place.zone, set.owner(), set.kind());
    Ok(Done::Written { heard: tokio::time::timeout(AT_ONCE, heard).await.ok(), kept })
}

fn wish(cx: &Context, seen: &Seen, (owner, kind): (&Name, RecordType), why: &str, want: Want) -> Wish {
    let by = seen.gate.as_ref().ok().map(|gated| By { domain: gated.domain.subject.clone(), at: cx.clock.now() });
    Wish { subject: seen.subject.clone(), why: why.to_owned(), owner: owner.clone(), kind, want, by }
}

/// Whether it is now as it was wished.
fn stands(effect: &Effect) -> bool {
    matches!(effect, Effect::Applied { .. } | Effect::Unchanged)
}

/// Takes the set away, wherever it was written; so many of the domain go with it.
async fn remove(cx: &Context, object: &DnsRecord, seen: &Seen, (why, leaving): (&str, usize)) -> Result<Done> {
    let (Some(place), Ok(gated)) = (&seen.place, &seen.gate) else {
        return Err(Error::Integrity("a removal without a place".into()));
    };
    let wish = wish(cx, seen, (&gated.owner, gated.kind), why, Want::Gone { leaving });
    let effect = cx.zones.change(&place.account, &place.zone, wish).await?;
    tell_of_held(cx, object, &effect);
    // What is another's there is none of ours to take away.
    if !stands(&effect) && !matches!(effect, Effect::NotOwned(_)) {
        return Ok(Done::asked(effect));
    }
    let kept = match clear_former(cx, object, seen, &gated.owner, gated.kind).await? {
        Former::Asked(former) if !stands(&former) => return Ok(Done::asked(former)),
        Former::Kept(words) => Some(words),
        Former::Nothing | Former::Asked(_) => None,
    };
    wake(cx, &cx.ledger.forget_record_set(&fact(seen)?.claim).await?);
    wake_below(cx, object, gated.kind);
    Ok(Done::Asked { effect, kept })
}

/// What came of a set where it was before.
enum Former {
    /// It was nowhere else, or is another's there.
    Nothing,
    /// The writer of that zone was asked.
    Asked(Effect),
    /// It stays there, in words.
    Kept(String),
}

/// Takes the set away from where it was before the domain's credential or zone changed, or the credential's endpoint, and says
/// what came of it. Where nobody can go any more, the set stays, and that is on record.
async fn clear_former(cx: &Context, object: &DnsRecord, seen: &Seen, owner: &Name, kind: RecordType) -> Result<Former> {
    let Some(written) = seen.written().filter(|_| seen.moved()) else { return Ok(Former::Nothing) };
    let former = match former_place(cx, seen, written, owner).await? {
        Ok(former) => former,
        Err(why) => {
            cx.ledger.keep_record_set(&fact(seen)?.claim, written, why).await?;
            let server = written.server.as_ref().map(|server| format!(" of {server}")).unwrap_or_default();
            return Ok(Former::Kept(format!("{owner} {kind} stays in zone {}{server}: {why}", written.zone)));
        }
    };
    let here = seen.place.as_ref().map(|place| (place.account.server.endpoint(), &place.zone.id));
    if here == Some((former.account.server.endpoint(), &former.zone.id)) {
        return Ok(Former::Nothing);
    }
    let wish = wish(cx, seen, (owner, kind), "the domain's zone is another one now", Want::Gone { leaving: 1 });
    match cx.zones.change(&former.account, &former.zone, wish).await? {
        Effect::NotOwned(_) => Ok(Former::Nothing),
        effect => {
            tell_of_held(cx, object, &effect);
            Ok(Former::Asked(effect))
        }
    }
}

/// How many sets of its domain are on their way out with it: those of objects that are being deleted.
fn leaving(cx: &Context, object: &DnsRecord) -> usize {
    let same = |other: &DnsRecord| {
        other.metadata.deletion_timestamp.is_some()
            && other.spec.policy == RecordPolicy::Sync
            && other.spec.deletion_policy == RecordDeletion::Delete
            && domain_key(other) == domain_key(object)
    };
    cx.stores.records.state().iter().filter(|other| same(other)).count()
}

/// The domain tells what is held, and takes the approval of it.
fn tell_of_held(cx: &Context, object: &DnsRecord, effect: &Effect) {
    if *effect == Effect::Held {
        let (home, name) = domain_key(object);
        cx.waker.wake(ObjectKind::OrganizationDomain, home, name);
    }
}

/// Namespace and name of the domain that it refers to.
fn domain_key(object: &DnsRecord) -> (&str, &str) {
    let reference = &object.spec.domain_ref;
    let home = reference.namespace.as_deref().or(object.metadata.namespace.as_deref());
    (home.unwrap_or_default(), &reference.name)
}

/// What is left has no fact any more: then the finalizer comes off, at a look of its own, as it may have to be tried again.
async fn leave(
    cx: &Context,
    object: &DnsRecord,
    seen: &Seen,
    heir: Option<&RecordClaim>,
    kept: Option<&str>,
) -> Result<Done> {
    let Some(fact) = &seen.fact else {
        // The answer to the leave may have been lost.
        wake(cx, &seen.rivals);
        finalizer::remove(cx, object).await?;
        return Ok(Done::Finalizer);
    };
    wake(cx, &cx.ledger.leave_record_set(fact, heir, kept).await?);
    let (home, name) = domain_key(object);
    cx.waker.wake(ObjectKind::OrganizationDomain, home, name);
    let told = kept.filter(|_| fact.written.is_some()).map(|why| {
        let set = format!("{} {}", fact.claim.fqdn, fact.claim.kind);
        Announcement::of(&RECORD_KEPT, format!("{set} stays at the provider: {why}"))
    });
    Ok(Done::Left(told))
}

/// Lets the objects of this cluster look again.
fn wake(cx: &Context, claims: &[RecordClaim]) {
    for subject in claims.iter().map(|claim| &claim.subject).filter(|subject| subject.cluster == cx.cluster) {
        cx.waker.wake(ObjectKind::DnsRecord, &subject.namespace, &subject.name);
    }
}

/// A part of the domain that is delegated, or is so no more, changes whose the names below it are.
fn wake_below(cx: &Context, object: &DnsRecord, kind: RecordType) {
    if kind != RecordType::Ns {
        return;
    }
    for other in cx.stores.records.state().iter().filter(|other| domain_key(other) == domain_key(object)) {
        let (namespace, name) = key_of(other.as_ref());
        cx.waker.wake(ObjectKind::DnsRecord, &namespace, &name);
    }
}

/// What an effect says of the set: nothing where it stands as wanted.
pub(super) fn refusal(effect: &Effect) -> Option<super::Refusal> {
    use super::Refusal;
    Some(match effect {
        Effect::Applied { .. } | Effect::Unchanged => return None,
        Effect::NotOwned(who) => Refusal::new(Reason::NotOwned, format!("the set is {who}; it is left alone")),
        Effect::Rejected(text) => Refusal::new(Reason::ProviderRejected, text.clone()),
        Effect::Changed(_) => Refusal::new(
            Reason::Contended,
            "somebody else wrote the set at the same moment; what he wrote stands, and is looked at",
        ),
        Effect::Held => Refusal::new(
            Reason::MassChangeHeld,
            "too large a part of the zone's sets of ours would go or be replaced at once; the condition MassChangeHeld of the \
             OrganizationDomain in spec.domainRef says what is held, and how it is let pass",
        ),
        Effect::Trouble(trouble) => Refusal::new(trouble.reason, trouble.message.clone()),
    })
}
