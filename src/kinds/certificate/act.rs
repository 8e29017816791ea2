//! Does one step.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::decide::{self, Step, Why};
use super::issuers::{self, Made, Material, Request};
use super::observe::{Seen, Stored, Wanted, secret_name};
use super::standing::{in_hand, keeps_key, known, stored};
use super::{Refusal, revoking, secret};
use crate::access::text;
use crate::acme::order;
use crate::api::{Certificate, RevocationReason};
use crate::kinds::Context;
use crate::ledger::{Actor, CertificateFact, Event, NewCertificate, Outcome};
use crate::pki::Chain;
use crate::reconcile::commands::{Command, Verb};
use crate::reconcile::{Announcement, COMMAND_TAKEN, commands, finalizer};
use crate::{Error, Result};

/// Longest name of an issuer that is kept, bytes.
const ISSUER: usize = 500;

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// The Secret holds a new pair.
    Issued(Box<CertificateFact>),
    /// An order is one step further.
    Moved,
    /// The Secret holds again what it held.
    Restored,
    /// The ledger knows what stands in the Secret.
    TakenIn(Box<CertificateFact>),
    /// The ledger knows how a delivery ended.
    Settled,
    /// A command was taken away, obeyed or not.
    Told(Announcement),
    /// The finalizer is off.
    Finalizer,
    /// There was nothing to do.
    Nothing,
}

pub(super) async fn act(cx: &Context, object: &Arc<Certificate>, seen: &Seen, step: &Step) -> Result<Done> {
    match step {
        Step::LetGo => let_go(cx, object, seen).await,
        Step::Settle { landed } => settle(cx, seen, *landed).await,
        Step::Take(command) => {
            if command.verb == Verb::Revoke {
                ask_revocation(cx, seen, command).await?;
            }
            cx.ledger.record_command(&seen.subject, command.verb.word(), &command.value, &command.by).await?;
            commands::clear(cx, object.as_ref(), command).await?;
            Ok(Done::Told(Announcement::of(&COMMAND_TAKEN, told(command))))
        }
        Step::Discard { command, why } => {
            commands::discard(cx, object.as_ref(), &seen.subject, command, why).await.map(Done::Told)
        }
        Step::Issue(why) => issue(cx, object, seen, *why).await,
        Step::Advance(step) => advance(cx, object, seen, step).await,
        Step::AskRenewal => ask_renewal(cx, seen).await,
        Step::Revoke(_) | Step::Recall(_) | Step::GiveUp { .. } => revocation(cx, object, seen, step).await,
        Step::SettleRestore { landed } => {
            let outcome = if *landed { Outcome::Settled } else { Outcome::Failed };
            if let Some(fact) = &seen.facts.current {
                cx.ledger.restored(fact, outcome, (!landed).then_some("the Secret does not hold it")).await?;
            }
            Ok(Done::Settled)
        }
        Step::Carry => carry(cx, object, seen).await,
        Step::Remove(_) => remove(cx, object, seen).await,
        Step::SettleRemoval { intent, landed } => {
            let outcome = if *landed { Outcome::Settled } else { Outcome::Failed };
            cx.ledger.conclude(*intent, outcome, serde_json::Value::Null).await?;
            Ok(Done::Settled)
        }
        Step::Restore => restore(cx, object, seen).await,
        Step::TakeIn => take_in(cx, object, seen).await,
        Step::Rest { .. } => Ok(Done::Nothing),
    }
}

fn told(command: &Command) -> String {
    match command.verb {
        Verb::Renew => format!("{} renews serial {}", command.by, command.value),
        Verb::Revoke => format!("{} revokes serial {}", command.by, command.value.replace(',', ", ")),
        _ => format!("{} asks for a look", command.by),
    }
}

/// Before the command is on record as taken: whoever comes next takes it again.
async fn ask_revocation(cx: &Context, seen: &Seen, command: &Command) -> Result<()> {
    let asked = revoking::asked(&command.value, seen, cx.clock.now()).map_err(Error::Integrity);
    let (fact, reason) = asked?;
    cx.ledger.ask_revocation(&seen.subject, fact.id, reason, Some(&command.by)).await
}

async fn revocation(cx: &Context, object: &Certificate, seen: &Seen, step: &Step) -> Result<Done> {
    let of = |id: &Uuid| seen.revocations.iter().find(|one| one.fact.id == *id);
    match step {
        Step::Recall(id) => {
            let reason = RevocationReason::CessationOfOperation;
            cx.ledger.ask_revocation(&seen.subject, *id, reason, None).await?;
        }
        Step::Revoke(id) => {
            if let Some(one) = of(id) {
                issuers::acme::revoke(cx, object.spec.issuer.acme.as_ref(), one).await?;
            }
        }
        Step::GiveUp { certificate, why } => {
            if let Some(one) = of(certificate) {
                cx.ledger.revocation_given_up(one, why, cx.clock.now()).await?;
            }
        }
        _ => return Ok(Done::Nothing),
    }
    Ok(Done::Moved)
}

async fn issue(cx: &Context, object: &Arc<Certificate>, seen: &Seen, why: Why) -> Result<Done> {
    let wanted = seen.wanted.as_ref().map_err(refuse)?;
    let version = stored(seen).map(|stored| stored.version.as_str());
    // Before a key is made and anything is on record: what is refused each time must not cost a certificate each time.
    secret::try_out(cx, object, (secret_name(&object.spec), version)).await?;
    let made = make(cx, object, seen, wanted).await?;
    let done = deliver(cx, object, seen, &made, why.words()).await?;
    issuers::delivered(cx, &seen.material).await?;
    Ok(done)
}

/// Writes down what goes into the Secret, and puts it there.
async fn deliver(cx: &Context, object: &Certificate, seen: &Seen, made: &Made, why: &str) -> Result<Done> {
    let wanted = seen.wanted.as_ref().map_err(refuse)?;
    let chain = Chain::read(made.chain.as_bytes()).map_err(|flaw| Error::condition(flaw.reason, flaw.message))?;
    let new =
        NewCertificate { why: why.into(), roots: made.roots.clone(), ..described(cx, object, seen, wanted, &chain) };
    let version = stored(seen).map(|stored| stored.version.as_str());
    let domains = seen.gate.as_ref().map_err(refuse)?;
    let fact = cx.ledger.begin_certificate(new, domains).await?;
    let pair = (made.key.pem(), made.chain.as_str(), made.roots.as_deref());
    if let Err(error) = secret::write(cx, object, (secret_name(&object.spec), version), pair).await {
        // What was surely refused is told. Of anything else the next look sees whether it landed.
        if is_refusal(&error) {
            cx.ledger.certificate_failed(&fact, &error.to_string()).await?;
        }
        return Err(error);
    }
    cx.ledger.certificate_issued(&fact, Outcome::Done).await?;
    Ok(Done::Issued(Box::new(fact)))
}

/// The same pair, where the spec wants it now.
async fn carry(cx: &Context, object: &Certificate, seen: &Seen) -> Result<Done> {
    let key = in_hand(seen).and_then(|stored| stored.key.clone().ok());
    let (Some(key), Some(fact)) = (key, known(seen)) else { return Ok(Done::Nothing) };
    let (chain, roots) = (fact.certificate.chain.clone(), fact.certificate.roots.clone());
    deliver(cx, object, seen, &Made { key, chain, roots }, "spec.secretName is another one").await
}

async fn remove(cx: &Context, object: &Certificate, seen: &Seen) -> Result<Done> {
    let Some(former) = &seen.former else { return Ok(Done::Nothing) };
    let intent = cx.ledger.begin_removal(&seen.subject, &former.name).await?;
    if let Err(error) = secret::remove(cx, object, &former.name, &former.stored.version).await {
        if is_refusal(&error) {
            cx.ledger.conclude(intent, Outcome::Failed, serde_json::json!({"why": error.to_string()})).await?;
        }
        return Err(error);
    }
    cx.ledger.conclude(intent, Outcome::Done, serde_json::Value::Null).await?;
    Ok(Done::Moved)
}

async fn advance(cx: &Context, object: &Certificate, seen: &Seen, step: &order::Step) -> Result<Done> {
    let Material::Acme(order) = &seen.material else {
        if let Some(order) = &seen.order {
            issuers::acme::end(cx, order.clone(), step).await?;
        }
        return Ok(Done::Moved);
    };
    if *step == order::Step::Open {
        let version = stored(seen).map(|stored| stored.version.as_str());
        secret::try_out(cx, object, (secret_name(&object.spec), version)).await?;
    }
    let wanted = seen.wanted.as_ref().map_err(refuse);
    let request = wanted.as_ref().ok().map(|wanted| decide::request(&object.spec, seen, wanted));
    // Another CA knows nothing of it.
    let former = known(seen).filter(|fact| order.issued(fact)).map(|fact| fact.certificate.chain.as_str());
    issuers::acme::act(cx, &seen.subject, order, (request.as_ref(), former), step).await?;
    Ok(Done::Moved)
}

/// Making a key takes the processor's time: on a thread where nobody waits for anything else.
async fn make(cx: &Context, object: &Certificate, seen: &Seen, wanted: &Wanted) -> Result<Made> {
    let keep = in_hand(seen).and_then(|stored| stored.key.clone().ok()).filter(|_| keeps_key(&object.spec, seen));
    let (material, wanted, now) = (seen.material.clone(), wanted.clone(), cx.clock.now());
    let made = tokio::task::spawn_blocking(move || {
        let (names, keep) = (&wanted.names, keep.as_ref());
        let request = Request { names, domains: &[], algorithm: wanted.algorithm, keep, life: wanted.life };
        issuers::make(&material, &request, now)
    });
    made.await.map_err(|error| Error::Integrity(format!("making a certificate: {error}")))?
}

fn described(cx: &Context, object: &Certificate, seen: &Seen, wanted: &Wanted, chain: &Chain) -> NewCertificate {
    let leaf = chain.leaf();
    NewCertificate {
        subject: seen.subject.clone(),
        secret: secret_name(&object.spec).to_owned(),
        why: String::new(),
        terms: wanted.terms.clone(),
        issuer: text::line(&leaf.issuer, ISSUER),
        serial: leaf.serial.clone(),
        fingerprint: leaf.fingerprint.clone(),
        public_key: leaf.public.digest(),
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        chain: chain.pem(),
        roots: None,
        made_at: cx.clock.now(),
    }
}

/// The API server answered that it did not do it.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::Condition { .. } => true,
        Error::Cluster(cause) => {
            matches!(cause.as_ref(), kube::Error::Api(status) if (400..500).contains(&status.code))
        }
        _ => false,
    }
}

async fn settle(cx: &Context, seen: &Seen, landed: bool) -> Result<Done> {
    if let Some(open) = &seen.facts.open {
        match landed {
            true => cx.ledger.certificate_issued(open, Outcome::Settled).await?,
            false => cx.ledger.certificate_failed(open, "the Secret does not hold it").await?,
        }
    }
    Ok(Done::Settled)
}

async fn restore(cx: &Context, object: &Certificate, seen: &Seen) -> Result<Done> {
    let (Some(stored), Some(fact)) = (stored(seen), known(seen)) else { return Ok(Done::Nothing) };
    let Ok(key) = &stored.key else { return Ok(Done::Nothing) };
    let certificate = &fact.certificate;
    let pair = (key.pem(), certificate.chain.as_str(), certificate.roots.as_deref());
    let begun = cx.ledger.begin_restore(fact).await?;
    if let Err(error) = secret::write(cx, object, (secret_name(&object.spec), Some(&stored.version)), pair).await {
        if is_refusal(&error) {
            cx.ledger.restored(&begun, Outcome::Failed, Some(&error.to_string())).await?;
        }
        return Err(error);
    }
    cx.ledger.restored(&begun, Outcome::Done, None).await?;
    Ok(Done::Restored)
}

async fn take_in(cx: &Context, object: &Certificate, seen: &Seen) -> Result<Done> {
    let wanted = seen.wanted.as_ref().map_err(refuse)?;
    let Some((stored, chain)) = stored(seen).and_then(|stored| Some((stored, stored.chain.as_ref().ok()?))) else {
        return Ok(Done::Nothing);
    };
    let roots = stored.roots.as_ref().and_then(|roots| String::from_utf8(roots.clone()).ok());
    let new = NewCertificate {
        why: "it stood in the Secret".into(),
        chain: as_it_stands(object, stored).unwrap_or_else(|| chain.pem()),
        roots: roots.filter(|roots| !roots.contains('\0')),
        ..described(cx, object, seen, wanted, chain)
    };
    Ok(Done::TakenIn(Box::new(cx.ledger.take_in_certificate(new).await?)))
}

/// So that it is not put right at once. Of a pair that is brought, nothing is ever put right.
fn as_it_stands(object: &Certificate, stored: &Stored) -> Option<String> {
    let text = String::from_utf8(stored.certificate.clone()).ok();
    text.filter(|text| object.spec.issuer.imported.is_none() && !text.contains('\0'))
}

async fn ask_renewal(cx: &Context, seen: &Seen) -> Result<Done> {
    let (Material::Acme(ca), Some(fact)) = (&seen.material, known(seen)) else { return Ok(Done::Nothing) };
    let told = issuers::acme::renewal_info(cx, ca, &fact.certificate.chain).await;
    let (window, page) = match &told.window {
        // What the CA said before counts while it says nothing.
        None => (fact.window, fact.page.as_deref()),
        Some((from, until, page)) => (Some((*from, *until)), page.as_deref()),
    };
    let ask_at = cx.clock.now().checked_add(told.rest).unwrap_or(Timestamp::MAX);
    cx.ledger.certificate_window(fact, window, page, ask_at).await?;
    Ok(Done::Moved)
}

async fn let_go(cx: &Context, object: &Arc<Certificate>, seen: &Seen) -> Result<Done> {
    let serial = known(seen).map(|fact| fact.certificate.serial.clone());
    let details = serde_json::json!({"secret": secret_name(&object.spec), "serial": serial});
    // Before the object goes, which may have to be tried again.
    cx.ledger.record_once(event(cx, seen, "certificate.released", details)).await?;
    finalizer::remove(cx, object.as_ref()).await?;
    Ok(Done::Finalizer)
}

fn event(cx: &Context, seen: &Seen, action: &'static str, details: serde_json::Value) -> Event {
    let actor = Actor::Controller(cx.ledger.holder().to_owned());
    Event { subject: seen.subject.clone(), actor, action, details }
}

fn refuse(refusal: &Refusal) -> Error {
    Error::condition(refusal.reason, refusal.message.clone())
}
