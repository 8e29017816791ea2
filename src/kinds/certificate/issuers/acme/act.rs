//! One step of an order: written down, done, and what came of it written down.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Seen, account, ca, dns, identity, terms};
use crate::access;
use crate::acme::order::{self, Step};
use crate::acme::{AccountKey, Cause, Eab, Trouble, cert_id};
use crate::dns::Name;
use crate::kinds::Context;
use crate::kinds::certificate::issuers::Request;
use crate::kinds::names::Asker;
use crate::ledger::{AcmeAccount, AcmeOrder, AcmeStage, Actor, Event, Mark, NewAcmeOrder, Outcome, Subject};
use crate::pki::{self, Chain, Flaw, Key};
use crate::{Error, Result};

/// After so many attempts in vain, what stands in DNS is left there, and that is put on record.
const CLEAN_UPS: u32 = 8;

/// Does one step of an order. A new one is made as it is asked for, to follow the certificate of `former` (PEM).
///
/// # Errors
/// The ledger's, or the API server's. What a CA or DNS has against it is written into the order.
pub(in crate::kinds::certificate) async fn act(
    cx: &Context,
    subject: &Subject,
    seen: &Seen,
    (request, former): (Option<&Request<'_>>, Option<&str>),
    step: &Step,
) -> Result<()> {
    let now = cx.clock.now();
    let order = match (&seen.order, request) {
        (_, Some(request)) if *step == Step::Open => return open(cx, subject, seen, request, former).await,
        (Some(order), _) => order.clone(),
        (None, _) => return Ok(()),
    };
    let (after, mark) = match step {
        Step::Place => return place(cx, seen, order).await,
        Step::Respond => return respond(cx, seen, order).await,
        Step::Finalize => return finalize(cx, seen, order).await,
        Step::Download => return download(cx, seen, order).await,
        Step::Present => return present(cx, order).await,
        Step::Describe(challenges) => (order::described(order, challenges.clone()), Mark::Nothing),
        Step::PutOff(trouble, rest) => (order::put_off(order, trouble, *rest, now), Mark::Nothing),
        Step::Rest(rest) => (order::rested(order, *rest, now), Mark::Nothing),
        Step::Fail(trouble) => return fail(cx, order, trouble).await,
        Step::Abandon | Step::CleanUp | Step::Close => return end(cx, order, step).await,
        Step::Open | Step::Deliver | Step::Wait(_) => return Ok(()),
    };
    cx.ledger.write_acme_order(after, mark).await.map(|_| ())
}

/// Does a step of an order that is not gone on with. The CA is not asked for it.
///
/// # Errors
/// The ledger's, or the API server's.
pub(in crate::kinds::certificate) async fn end(cx: &Context, order: AcmeOrder, step: &Step) -> Result<()> {
    let (after, mark) = match step {
        Step::Abandon => {
            let details = json!({"order": order.url, "names": order.names, "stage": order.stage});
            let actor = Actor::Controller(cx.ledger.holder().to_owned());
            let (subject, action) = (order.subject.clone(), "acme.order_abandoned");
            cx.ledger.record_once(Event { subject, actor, action, details }).await?;
            let mark = match order.intent {
                Some(_) => Mark::Ends(Outcome::Unknown, json!({"answer": "never came"})),
                None => Mark::Nothing,
            };
            (AcmeOrder { retry_at: None, failures: 0, stage: AcmeStage::Abandoned, ..order }, mark)
        }
        Step::Close => (AcmeOrder { stage: AcmeStage::Delivered, ..order }, Mark::Nothing),
        Step::CleanUp => return clean_up(cx, order).await,
        _ => return Ok(()),
    };
    cx.ledger.write_acme_order(after, mark).await.map(|_| ())
}

/// Key and names are written down, before anybody is asked.
async fn open(cx: &Context, subject: &Subject, seen: &Seen, request: &Request<'_>, former: Option<&str>) -> Result<()> {
    let account = cx.ledger.acme_account(subject, &identity(&seen.spec), AccountKey::generate()?.pkcs8()).await?;
    let key = match request.keep {
        Some(key) => key.clone(),
        None => make(request.algorithm).await?,
    };
    let new = NewAcmeOrder {
        subject: subject.clone(),
        account: account.id,
        terms: terms(&seen.spec, request),
        names: request.names.iter().map(|name| name.as_str().to_owned()).collect(),
        profile: seen.spec.profile.clone(),
        replaces: former.and_then(id_of),
        key: Zeroizing::new(key.pem().as_bytes().to_vec()),
    };
    cx.ledger.open_acme_order(new, request.domains, cx.clock.now()).await.map(|_| ())
}

/// By what a CA knows the certificate that is first in a chain.
fn id_of(chain: &str) -> Option<String> {
    cert_id(&CertificateDer::from_pem_slice(chain.as_bytes()).ok()?)
}

/// An RSA key takes seconds of processor time.
async fn make(algorithm: pki::Algorithm) -> Result<Key> {
    let made = tokio::task::spawn_blocking(move || Key::make(algorithm)).await;
    let made = made.map_err(|error| Error::Integrity(format!("making a key: {error}")))?;
    made.map_err(|flaw| Error::condition(flaw.reason, flaw.message))
}

async fn begin(cx: &Context, order: AcmeOrder, step: &Step) -> Result<AcmeOrder> {
    let Some((stage, call)) = order::call(step) else { return Ok(order) };
    let why = format!("a certificate for {} is wanted", order.names.join(", "));
    cx.ledger.write_acme_order(order::begun(order, stage, cx.clock.now()), Mark::Begins { call, why }).await
}

/// The CA knows nothing of the account that the order was read with.
async fn lose_account(cx: &Context, order: &AcmeOrder, trouble: &Trouble) -> Result<()> {
    match &order.account_url {
        Some(url) if trouble.cause == Cause::AccountGone => {
            cx.ledger.acme_account_lost(&order.subject, order.account, url).await
        }
        _ => Ok(()),
    }
}

/// The order came to nothing; another one is made in its time.
async fn fail(cx: &Context, order: AcmeOrder, trouble: &Trouble) -> Result<()> {
    lose_account(cx, &order, trouble).await?;
    let after = order::failed(order, trouble, cx.clock.now());
    cx.ledger.write_acme_order(after, Mark::Fails).await.map(|_| ())
}

/// What was begun did not come to its end.
async fn put_off(cx: &Context, order: AcmeOrder, trouble: &Trouble) -> Result<()> {
    let outcome = if trouble.may_have_landed { Outcome::Unknown } else { Outcome::Failed };
    let told = json!({"cause": trouble.cause.as_str(), "message": trouble.message});
    let mark = if order.intent.is_some() { Mark::Ends(outcome, told) } else { Mark::Nothing };
    let rest = trouble.pause(order.failures.saturating_add(1));
    lose_account(cx, &order, trouble).await?;
    let after = order::put_off(order, trouble, rest, cx.clock.now());
    cx.ledger.write_acme_order(after, mark).await.map(|_| ())
}

async fn place(cx: &Context, seen: &Seen, order: AcmeOrder) -> Result<()> {
    if let Err(trouble) = registered(cx, seen, &order).await? {
        return put_off(cx, order, &trouble).await;
    }
    let account = match account(cx, &seen.server, &order).await? {
        Ok(account) => account,
        Err(trouble) => return put_off(cx, order, &trouble).await,
    };
    let failures = order.failures;
    let order = begin(cx, order, &Step::Place).await?;
    match account.new_order(&order.names, order.replaces.as_deref(), order.profile.as_deref()).await {
        Ok(placed) => {
            let mark = Mark::Ends(Outcome::Done, json!({"order": placed.url}));
            cx.ledger.write_acme_order(order::placed(order, &placed), mark).await.map(|_| ())
        }
        Err(trouble) => put_off(cx, AcmeOrder { failures, ..order }, &trouble).await,
    }
}

/// Sees to it that the CA has the account. Of many orders that need it, one asks.
async fn registered(cx: &Context, seen: &Seen, order: &AcmeOrder) -> Result<Result<(), Trouble>> {
    let account = async || cx.ledger.acme_account_of(order.subject.cluster, order.account).await;
    if account().await?.url.is_some() {
        return Ok(Ok(()));
    }
    let turn = match cx.acme.registers(order.account).await {
        Ok(turn) => turn,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let known = account().await?;
    let done = if known.url.is_some() { Ok(()) } else { register(cx, seen, &order.subject, &known).await? };
    Ok(turn.end(done))
}

async fn register(cx: &Context, seen: &Seen, subject: &Subject, known: &AcmeAccount) -> Result<Result<(), Trouble>> {
    let (ca, eab) = match (ca(cx, seen).await, binding(cx, seen, subject).await?) {
        (Ok(ca), Ok(eab)) => (ca, eab),
        (Err(trouble), _) | (_, Err(trouble)) => return Ok(Err(trouble)),
    };
    let key = AccountKey::from_pkcs8(&known.key)?;
    let intent = cx.ledger.acme_registers(subject, &identity(&seen.spec)).await?;
    match ca.register(&key, seen.spec.email.as_deref(), eab.as_ref()).await {
        Ok(url) => cx.ledger.acme_registered(subject, known.id, intent, &url).await.map(Ok),
        Err(trouble) => {
            let outcome = if trouble.may_have_landed { Outcome::Unknown } else { Outcome::Failed };
            let told = json!({"cause": trouble.cause.as_str(), "message": trouble.message});
            cx.ledger.conclude(intent, outcome, told).await?;
            Ok(Err(trouble))
        }
    }
}

/// The key that the CA gave by another way.
async fn binding(cx: &Context, seen: &Seen, subject: &Subject) -> Result<Result<Option<Eab>, Trouble>> {
    let Some(binding) = &seen.spec.external_account_binding else { return Ok(Ok(None)) };
    let secret = access::secret(&cx.client, &subject.namespace, &binding.secret_ref.name).await;
    let key = secret.and_then(|secret| secret.text("hmac_key"));
    match key {
        Ok(key) => Ok(Ok(Some(Eab::new(&binding.key_id, key)))),
        Err(Error::Condition { message, .. }) => {
            Ok(Err(Trouble::new(Cause::ExternalAccount, format!("externalAccountBinding.secretRef: {message}"))))
        }
        Err(error) => Err(error),
    }
}

async fn respond(cx: &Context, seen: &Seen, order: AcmeOrder) -> Result<()> {
    let account = match account(cx, &seen.server, &order).await? {
        Ok(account) => account,
        Err(trouble) if trouble.cause == Cause::AccountGone => return fail(cx, order, &trouble).await,
        Err(trouble) => return put_off(cx, order, &trouble).await,
    };
    let order = begin(cx, order, &Step::Respond).await?;
    match account.respond(order.url.as_deref().unwrap_or_default()).await {
        Ok(()) => {
            let after = order::responded(order, cx.clock.now());
            cx.ledger.write_acme_order(after, Mark::Ends(Outcome::Done, Value::Null)).await.map(|_| ())
        }
        // While DNS was waited for, the CA has forgotten what it is of.
        Err(trouble) if matches!(trouble.cause, Cause::NotFound | Cause::AccountGone) => {
            fail(cx, order, &trouble).await
        }
        Err(trouble) => put_off(cx, order, &trouble).await,
    }
}

async fn finalize(cx: &Context, seen: &Seen, order: AcmeOrder) -> Result<()> {
    let key = cx.ledger.acme_order_key(&order).await?;
    let names: Vec<Name> = order.names.iter().filter_map(|name| Name::parse(name).ok()).collect();
    let csr = Key::read(&key).and_then(|key| pki::request(&key, &names));
    let csr = csr.map_err(|flaw| Error::condition(flaw.reason, flaw.message))?;
    let account = match account(cx, &seen.server, &order).await? {
        Ok(account) => account,
        Err(trouble) => return put_off(cx, order, &trouble).await,
    };
    let order = begin(cx, order, &Step::Finalize).await?;
    match account.finalize(order.url.as_deref().unwrap_or_default(), &csr).await {
        Ok(told) => {
            let after = order::finalized(order, &told, cx.clock.now());
            cx.ledger.write_acme_order(after, Mark::Ends(Outcome::Done, Value::Null)).await.map(|_| ())
        }
        Err(trouble) => put_off(cx, order, &trouble).await,
    }
}

async fn download(cx: &Context, seen: &Seen, order: AcmeOrder) -> Result<()> {
    let chain = match account(cx, &seen.server, &order).await? {
        Ok(account) => {
            let url = order.url.as_deref().unwrap_or_default();
            account.download(url, seen.spec.preferred_chain.as_deref()).await
        }
        Err(trouble) => Err(trouble),
    };
    let chain = match chain {
        Ok(chain) => whole(&chain, &cx.ledger.acme_order_key(&order).await?, &order, cx.clock.now()),
        Err(trouble) => return put_off(cx, order, &trouble).await,
    };
    match chain {
        Ok(chain) => {
            let mark = settled(&order);
            cx.ledger.write_acme_order(order::downloaded(order, chain), mark).await.map(|_| ())
        }
        Err(flaw) => {
            let words = format!("the CA handed out what cannot be used: {}", flaw.message);
            // It did issue.
            let mark = settled(&order);
            let order = cx.ledger.write_acme_order(order, mark).await?;
            fail(cx, order, &Trouble::new(Cause::Malformed, words)).await
        }
    }
}

/// The certificates of a text, where they are for key and names of the order, now: what is none never takes the place of one
/// that stands.
fn whole(text: &str, key: &[u8], order: &AcmeOrder, now: Timestamp) -> std::result::Result<String, Flaw> {
    let chain = Chain::read(text.as_bytes())?;
    // The CA's clock may be ahead of ours.
    let now = now.max(chain.leaf().not_before);
    chain.check(&Key::read(key)?, &order.names, now)?;
    Ok(chain.pem())
}

/// A call whose answer never came, and that the CA shows to have arrived.
fn settled(order: &AcmeOrder) -> Mark {
    match order.intent {
        Some(_) => Mark::Ends(Outcome::Settled, json!({"seen": "the order went on"})),
        None => Mark::Nothing,
    }
}

/// Where each proof is put is written down first.
async fn present(cx: &Context, order: AcmeOrder) -> Result<()> {
    let mut order = order;
    let mut ways = Vec::new();
    let (organization, labels) = access::tenant(&cx.client, cx.cluster, &order.subject.namespace).await?;
    if organization != order.subject.organization {
        let words = "the namespace went to another organization";
        return fail(cx, order, &Trouble::new(Cause::DnsNotReady, words)).await;
    }
    let domains = cx.ledger.domains_of(&organization).await?;
    let subject = order.subject.clone();
    let who = Asker { subject: &subject, labels: &labels, by: None };
    for challenge in &mut order.challenges {
        match dns::way(cx, who, &domains, challenge).await? {
            Ok(way) => {
                challenge.place = way.as_ref().map(dns::Way::place);
                ways.extend(way.map(|way| (way, challenge.clone())));
            }
            Err(trouble) => return put_off(cx, order, &trouble).await,
        }
    }
    let order = cx.ledger.write_acme_order(order, Mark::Nothing).await?;
    for (way, challenge) in &ways {
        if let Err(trouble) = dns::share(cx, &order.subject, way, challenge).await? {
            return put_off(cx, order, &trouble).await;
        }
    }
    cx.ledger.write_acme_order(order::presented(order), Mark::Nothing).await.map(|_| ())
}

/// Takes away what nobody else needs. What cannot be taken away in time is left, and that is on record.
async fn clean_up(cx: &Context, order: AcmeOrder) -> Result<()> {
    for challenge in &order.challenges {
        let Some(place) = &challenge.place else { continue };
        if cx.ledger.acme_needs(challenge, &order).await? {
            continue;
        }
        let Err(trouble) = dns::unshare(cx, &order.subject, place, challenge).await? else { continue };
        if order.cleaning_failures < CLEAN_UPS {
            let after = order::not_cleaned(order, &trouble, cx.clock.now());
            return cx.ledger.write_acme_order(after, Mark::Nothing).await.map(|_| ());
        }
        let actor = Actor::Controller(cx.ledger.holder().to_owned());
        cx.ledger.record_once(challenge.left(&order.subject, actor, &trouble.message)).await?;
    }
    cx.ledger.write_acme_order(order::cleaned(order), Mark::Nothing).await.map(|_| ())
}
