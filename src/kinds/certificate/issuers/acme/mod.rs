//! A CA by ACME: the steps of an order are steps of the kind. What is known of an order stands in the ledger, never in a status.

mod act;
mod dns;
mod renewal;
mod revoke;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

pub(in crate::kinds::certificate) use act::{act, end};
pub(in crate::kinds::certificate) use renewal::renewal_info;
pub(in crate::kinds::certificate) use revoke::revoke;

use super::{Made, Request, Work};
use crate::acme::order::{self, Answer, Question, Step};
use crate::acme::{Account, AccountKey, Ca, Cause, Pace, Server, Trouble};
use crate::api::{AcmeIssuer, Reason};
use crate::dns::{Data, Name, RecordType};
use crate::kinds::Context;
use crate::kinds::certificate::Refusal;
use crate::ledger::{AcmeChallenge, AcmeIdentity, AcmeOrder, AcmeStage, CertificateFact, Mark};
use crate::pki::Key;
use crate::run::digest::sha256_hex;
use crate::{Error, Result};

/// What is known before a decision.
#[derive(Clone)]
pub(crate) struct Seen {
    /// The CA.
    pub(super) server: Server,
    /// What of the spec an order is made by.
    pub(super) spec: AcmeIssuer,
    /// The last order.
    pub(super) order: Option<AcmeOrder>,
    /// What was looked at for it.
    pub(super) answer: Answer,
    /// The private key of an order whose chain is here.
    pub(super) key: Option<Zeroizing<Vec<u8>>>,
    /// Which CA it is, and how it is asked: with another one, another certificate is wanted.
    pub(super) ca: String,
}

impl Seen {
    /// Whether a certificate is this CA's.
    pub(in crate::kinds::certificate) fn issued(&self, fact: &CertificateFact) -> bool {
        let terms = &fact.certificate.terms;
        let by = terms.signer.as_deref().and_then(|signer| signer.split(' ').next());
        terms.issuer == "acme" && by == Some(self.server.directory.as_str())
    }
}

/// What is known of the CA before it is asked.
pub(super) fn known(spec: &AcmeIssuer, order: Option<AcmeOrder>) -> Seen {
    let server = Server { directory: spec.server.clone(), ca_bundle: spec.ca_bundle.clone() };
    let ca = [Some(&spec.server), spec.profile.as_ref(), spec.preferred_chain.as_ref()].into_iter().flatten();
    let ca = ca.map(String::as_str).collect::<Vec<_>>().join(" ");
    Seen { server, spec: spec.clone(), order, answer: Answer::Nothing, key: None, ca }
}

/// Looks at what the order's next step hangs on.
///
/// # Errors
/// The ledger's.
pub(super) async fn look(cx: &Context, mut seen: Seen) -> Result<Seen> {
    let Some(order) = seen.order.clone() else { return Ok(seen) };
    let url = order.url.clone().unwrap_or_default();
    seen.answer = match order::question(Some(&order), cx.clock.now()) {
        Question::Nothing => Answer::Nothing,
        Question::Authorities => Answer::Authorities(authorities(cx, &order.challenges).await),
        Question::Challenges => Answer::Challenges(match account(cx, &seen.server, &order).await? {
            Ok(account) => account.authorizations(&url).await,
            Err(trouble) => Err(trouble),
        }),
        Question::Order => Answer::Order(match account(cx, &seen.server, &order).await? {
            Ok(account) => account.poll(&url).await,
            Err(trouble) => Err(trouble),
        }),
    };
    if order.stage == AcmeStage::Issued {
        seen.key = Some(cx.ledger.acme_order_key(&order).await?);
    }
    Ok(seen)
}

/// The account that an order was made with.
///
/// # Errors
/// The ledger's.
pub(super) async fn account(cx: &Context, server: &Server, order: &AcmeOrder) -> Result<Result<Account, Trouble>> {
    let known = cx.ledger.acme_account_of(order.subject.cluster, order.account).await?;
    let key = AccountKey::from_pkcs8(&known.key)?;
    Ok(match (cx.acme.ca(server).await, known.url) {
        (Err(trouble), _) => Err(trouble),
        (Ok(ca), Some(url)) => Ok(ca.account(&url, &key)),
        (Ok(_), None) => Err(Trouble::new(Cause::AccountGone, "the account is being registered anew")),
    })
}

/// Whether each name server that answers has each proof; else all that is lacking.
async fn authorities(cx: &Context, challenges: &[AcmeChallenge]) -> Result<(), String> {
    let looks = challenges.iter().map(|challenge| async move {
        let Ok(name) = Name::parse(&challenge.name) else { return Err(format!("{} is no name", challenge.name)) };
        let value = Data::Txt(challenge.value.clone().into_bytes());
        let answers = cx.lookup.ask(&name, RecordType::Txt).await;
        match answers.all_have(&value) {
            true => Ok(()),
            false => Err(format!("the name servers of {name} do not all have the TXT value {:?} yet", challenge.value)),
        }
    });
    let lacking: Vec<String> = futures::future::join_all(looks).await.into_iter().filter_map(Result::err).collect();
    if lacking.is_empty() { Ok(()) } else { Err(lacking.join("; ")) }
}

/// What an order is made for: with another digest, another one is made.
pub(super) fn terms(spec: &AcmeIssuer, request: &Request<'_>) -> String {
    let binding = spec.external_account_binding.as_ref().map(|binding| &binding.key_id);
    let kept = request.keep.map(|key| key.public().digest());
    let names: BTreeSet<&str> = request.names.iter().map(Name::as_str).collect();
    let all = json!([spec.server, spec.email, spec.profile, binding, names, request.algorithm.to_string(), kept]);
    format!("sha256:{}", sha256_hex(all.to_string().as_bytes()))
}

/// For whom the account is.
pub(super) fn identity(spec: &AcmeIssuer) -> AcmeIdentity {
    let binding = spec.external_account_binding.as_ref().map(|binding| binding.key_id.clone());
    AcmeIdentity {
        server: spec.server.clone(),
        email: spec.email.clone().unwrap_or_default(),
        external_key_id: binding.unwrap_or_default(),
    }
}

/// What is to be done for a certificate that is wanted.
pub(super) fn next(seen: &Seen, request: &Request<'_>, now: Timestamp) -> Work {
    match order::next(seen.order.as_ref(), &terms(&seen.spec, request), &seen.answer, now) {
        Step::Deliver => Work::Make,
        Step::Wait(until) => Work::Wait(seen.order.as_ref().and_then(refusal), Some(until)),
        step => Work::Step(Box::new(step)),
    }
}

/// What is still to be done for an order that is not wanted any more. One whose certificate is in use was delivered.
pub(in crate::kinds::certificate) fn left(
    order: &AcmeOrder,
    in_use: Option<&CertificateFact>,
    now: Timestamp,
) -> Option<Step> {
    let is_in_use = || {
        let in_use = in_use.map(|fact| fact.certificate.chain.trim());
        in_use.is_some() && order.chain.as_deref().map(str::trim) == in_use
    };
    match order.stage {
        AcmeStage::Issued if is_in_use() => Some(Step::Close),
        _ => order::left(order, now),
    }
}

/// The pair of an order whose chain is here.
///
/// # Errors
/// The key does not open, or is none.
pub(super) fn made(seen: &Seen) -> Result<Made> {
    let chain = seen.order.as_ref().and_then(|order| order.chain.clone());
    let (Some(chain), Some(key)) = (chain, &seen.key) else {
        return Err(Error::Integrity("an order was to be delivered without its chain or its key".into()));
    };
    let key = Key::read(key).map_err(|flaw| Error::condition(flaw.reason, flaw.message))?;
    Ok(Made { key, chain, roots: None })
}

/// The Secret holds the certificate of the order.
///
/// # Errors
/// The ledger's.
pub(super) async fn delivered(cx: &Context, seen: &Seen) -> Result<()> {
    let Some(order) = seen.order.clone() else { return Ok(()) };
    let order = AcmeOrder { stage: AcmeStage::Delivered, ..order };
    cx.ledger.write_acme_order(order, Mark::Nothing).await.map(|_| ())
}

/// What is in the way of an order, for people; `None` where all goes its way.
fn refusal(order: &AcmeOrder) -> Option<Refusal> {
    let (cause, message) = (order.cause.as_deref()?, order.message.clone()?);
    let reason = match Cause::parse(cause) {
        Some(Cause::RateLimited) => Reason::RateLimited,
        Some(Cause::DnsNotReady | Cause::Unauthorized) => Reason::ChallengeFailed,
        Some(Cause::Caa) => Reason::CaaForbids,
        Some(Cause::EndpointNotAllowed) => Reason::EndpointNotAllowed,
        Some(cause) if cause.pace() == Pace::Late => Reason::OrderInvalid,
        _ => Reason::CaUnavailable,
    };
    Some(Refusal { reason, message })
}

/// The CA of this spec.
pub(super) async fn ca(cx: &Context, seen: &Seen) -> Result<Ca, Trouble> {
    cx.acme.ca(&seen.server).await
}
