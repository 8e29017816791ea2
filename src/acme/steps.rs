//! The steps of an order, each by itself: what is needed for one stands in the ledger.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, ChallengeHandle, ChallengeStatus, ChallengeType, Identifier, NewOrder, Order,
    RevocationRequest,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::key::AccountKey;
use super::renewal::{issuers, replaced};
use super::trouble::{Cause, Trouble};
use super::wire::{Line, Seen, Wire};
use super::{NONCE_TRIES, is_bad_nonce};
use crate::ledger::AcmeChallenge;

/// An account at a CA.
#[derive(Clone, Debug)]
pub struct Account {
    line: Arc<Line>,
    url: String,
    key: AccountKey,
}

/// What an order is at the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderStatus {
    /// Names are yet to be proved.
    Pending,
    /// All names are proved.
    Ready,
    /// The CA is issuing.
    Processing,
    /// The certificate is there.
    Valid,
    /// It failed, and stays so.
    Invalid,
}

/// An order as the CA tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderSeen {
    /// Its URL.
    pub url: String,
    /// What it is.
    pub status: OrderStatus,
    /// Why it is invalid.
    pub problem: Option<Trouble>,
    /// How long the CA asks to be left alone before the next question.
    pub retry_after: Option<Duration>,
}

type LibraryResult<T> = Result<T, instant_acme::Error>;

impl Account {
    pub(super) fn new(line: Arc<Line>, url: String, key: AccountKey) -> Self {
        Self { line, url, key }
    }

    /// Asks for a new order of these names. `replaces` is the [`super::cert_id`] of the certificate that it follows.
    ///
    /// # Errors
    /// As the CA says; `may_have_landed` where an order may be there whose URL nobody knows.
    pub async fn new_order(
        &self,
        names: &[String],
        replaces: Option<&str>,
        profile: Option<&str>,
    ) -> Result<OrderSeen, Trouble> {
        let identifiers: Vec<Identifier> = names.iter().cloned().map(Identifier::Dns).collect();
        // Only a CA that tells when to renew takes it.
        let replaces = replaces.filter(|_| self.line.directory().renewal_info.is_some());
        let replaces = replaces.map(replaced).transpose()?;
        let (mut order, seen) = self
            .step(|account| async {
                let account = account;
                let mut tries = Tries::default();
                loop {
                    let mut new = NewOrder::new(&identifiers);
                    if let Some(replaces) = &replaces {
                        new = new.replaces(replaces.clone());
                    }
                    if let Some(profile) = profile {
                        new = new.profile(profile);
                    }
                    match account.new_order(&new).await {
                        Err(error) if tries.again(&error) => {}
                        done => return done,
                    }
                }
            })
            .await?;
        Ok(OrderSeen::of(&mut order, None, &seen))
    }

    /// What the CA wants to see in DNS before the order is ready; nothing for names that it holds for proved.
    ///
    /// # Errors
    /// As the CA says; `Unsupported` where it does not take dns-01 for a name.
    pub async fn authorizations(&self, order: &str) -> Result<Vec<AcmeChallenge>, Trouble> {
        let (found, _) = self.step(|account| challenges(account, order)).await?;
        found
            .into_iter()
            .collect::<Result<_, String>>()
            .map_err(|name| Trouble::new(Cause::Unsupported, format!("the CA offers no dns-01 for {name}")))
    }

    /// Tells the CA that each proof which it still waits for is there. The same again is harmless.
    ///
    /// # Errors
    /// As the CA says.
    pub async fn respond(&self, order: &str) -> Result<(), Trouble> {
        self.step(|account| respond(account, order)).await.map(|_| ())
    }

    /// Asks what has become of the order.
    ///
    /// # Errors
    /// As the CA says; `NotFound` where it does not know the order.
    pub async fn poll(&self, order: &str) -> Result<OrderSeen, Trouble> {
        let ((mut order, failed), seen) = self
            .step(|account| async move {
                let mut order = get(&account, order).await?;
                let invalid = order.state().status == instant_acme::OrderStatus::Invalid;
                let failed = if invalid { failure(&mut order).await? } else { None };
                Ok((order, failed))
            })
            .await?;
        Ok(OrderSeen::of(&mut order, failed, &seen))
    }

    /// Sends the certificate's request (PKCS#10, DER) for an order that is ready. One that is past that is only polled.
    ///
    /// # Errors
    /// As the CA says.
    pub async fn finalize(&self, order: &str, csr: &[u8]) -> Result<OrderSeen, Trouble> {
        let (mut order, seen) = self.step(|account| finalize(account, order, csr)).await?;
        Ok(OrderSeen::of(&mut order, None, &seen))
    }

    /// The certificate and what leads to a root, in PEM. Of several chains the one whose last certificate, or else any of
    /// whose, was issued by `preferred_chain` (a common name); where none is, the CA's own choice.
    ///
    /// # Errors
    /// As the CA says; `OrderNotReady` where there is no certificate yet.
    pub async fn download(&self, order: &str, preferred_chain: Option<&str>) -> Result<String, Trouble> {
        let (chain, seen) = self.step(|account| certificate(account, order)).await?;
        let chain = chain.ok_or_else(|| Trouble::new(Cause::OrderNotReady, "the order has no certificate yet"))?;
        let Some(preferred) = preferred_chain else { return Ok(chain) };
        let mut chains = vec![chain];
        for url in &seen.alternates {
            chains.push(self.document(url).await?);
        }
        let last = |chain: &String| issuers(chain).last().is_some_and(|issuer| issuer == preferred);
        let any = |chain: &String| issuers(chain).iter().any(|issuer| issuer == preferred);
        let best = chains.iter().position(last).or_else(|| chains.iter().position(any)).unwrap_or(0);
        Ok(chains.swap_remove(best))
    }

    /// Revokes a certificate (DER) that this account was given, for a reason by RFC 5280. Whether that was done before.
    ///
    /// # Errors
    /// As the CA says.
    pub async fn revoke(&self, certificate: &[u8], reason: u8) -> Result<bool, Trouble> {
        let certificate = CertificateDer::from(certificate.to_vec());
        let done = self.step(|account| revoke(account, certificate.clone(), reason)).await;
        match done {
            Err(trouble) if trouble.cause == Cause::AlreadyRevoked => Ok(true),
            done => done.map(|_| false),
        }
    }

    /// Another document of the account: the library has no call for one, but its call for an order signs the same request,
    /// and what came was seen on the wire.
    async fn document(&self, url: &str) -> Result<String, Trouble> {
        let (result, seen) = self.try_step(|account| async move { get(&account, url).await.map(|_| ()) }).await?;
        match seen.status {
            Some(200) => String::from_utf8(seen.body.to_vec()).map_err(|e| Trouble::of_wire(&e.to_string(), &seen)),
            _ => Err(result.err().unwrap_or_else(|| Trouble::of_wire("no document", &seen))),
        }
    }

    /// One step of the library's, and what was seen last on the wire.
    async fn step<T, F, Fut>(&self, work: F) -> Result<(T, Seen), Trouble>
    where
        F: FnOnce(instant_acme::Account) -> Fut + Send,
        Fut: Future<Output = LibraryResult<T>> + Send,
        T: Send,
    {
        let (result, seen) = self.try_step(work).await?;
        result.map(|done| (done, seen))
    }

    async fn try_step<T, F, Fut>(&self, work: F) -> Result<(Result<T, Trouble>, Seen), Trouble>
    where
        F: FnOnce(instant_acme::Account) -> Fut + Send,
        Fut: Future<Output = LibraryResult<T>> + Send,
        T: Send,
    {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let note = || seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let wire = Box::new(Wire { line: self.line.clone(), seen: seen.clone() });
        let key = PrivatePkcs8KeyDer::from(self.key.pkcs8());
        let builder = instant_acme::Account::builder_with_http(wire);
        let account = builder.from_parts(self.url.clone(), key, self.line.directory_url().to_owned()).await;
        let account = account.map_err(|error| Trouble::of(&error, &note()))?;
        let result = work(account).await;
        let seen = note();
        Ok((result.map_err(|error| Trouble::of(&error, &seen)), seen))
    }
}

/// How often a nonce was tried anew.
#[derive(Default)]
struct Tries(u32);

impl Tries {
    /// Whether the error is of the nonce alone, and the same may be asked again.
    fn again(&mut self, error: &instant_acme::Error) -> bool {
        let again = matches!(error, instant_acme::Error::Api(problem) if is_bad_nonce(problem)) && self.0 < NONCE_TRIES;
        self.0 += u32::from(again);
        again
    }
}

async fn get(account: &instant_acme::Account, order: &str) -> LibraryResult<Order> {
    let mut tries = Tries::default();
    loop {
        match account.order(order.to_owned()).await {
            Err(error) if tries.again(&error) => {}
            done => return done,
        }
    }
}

/// Has the authorizations of an order read: after this, they are answered from memory.
async fn read_all(order: &mut Order) -> LibraryResult<()> {
    let mut tries = Tries::default();
    loop {
        let mut all = order.authorizations();
        loop {
            match all.next().await {
                None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) if tries.again(&error) => break,
                Some(Err(error)) => return Err(error),
            }
        }
    }
}

/// One for each name that is not proved yet; the name instead, where dns-01 is not offered for it.
async fn challenges(account: instant_acme::Account, order: &str) -> LibraryResult<Vec<Result<AcmeChallenge, String>>> {
    let mut order = get(&account, order).await?;
    read_all(&mut order).await?;
    let (mut found, mut all) = (Vec::new(), order.authorizations());
    while let Some(next) = all.next().await {
        let mut authorization = next?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let identifier = match authorization.identifier().identifier {
            Identifier::Dns(name) => name.clone(),
            _ => authorization.identifier().to_string(),
        };
        let challenge = authorization.challenge(ChallengeType::Dns01);
        found.push(match challenge {
            Some(challenge) => Ok(AcmeChallenge {
                name: format!("_acme-challenge.{identifier}"),
                value: challenge.key_authorization().dns_value(),
                identifier,
                place: None,
            }),
            None => Err(identifier),
        });
    }
    Ok(found)
}

async fn respond(account: instant_acme::Account, order: &str) -> LibraryResult<()> {
    let mut order = get(&account, order).await?;
    read_all(&mut order).await?;
    let mut all = order.authorizations();
    while let Some(next) = all.next().await {
        let mut authorization = next?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01) else { continue };
        if challenge.status == ChallengeStatus::Pending {
            set_ready(&mut challenge).await?;
        }
    }
    Ok(())
}

async fn set_ready(challenge: &mut ChallengeHandle<'_>) -> LibraryResult<()> {
    let mut tries = Tries::default();
    loop {
        match challenge.set_ready().await {
            Err(error) if tries.again(&error) => {}
            done => return done,
        }
    }
}

/// What is told of an order that is invalid: the first failed challenge's problem.
async fn failure(order: &mut Order) -> LibraryResult<Option<instant_acme::Problem>> {
    read_all(order).await?;
    let mut all = order.authorizations();
    while let Some(next) = all.next().await {
        let authorization = next?;
        if let Some(problem) = authorization.challenges.iter().find_map(|challenge| challenge.error.clone()) {
            return Ok(Some(problem));
        }
    }
    Ok(None)
}

async fn finalize(account: instant_acme::Account, order: &str, csr: &[u8]) -> LibraryResult<Order> {
    let mut order = get(&account, order).await?;
    if order.state().status != instant_acme::OrderStatus::Ready {
        return Ok(order);
    }
    let mut tries = Tries::default();
    loop {
        match order.finalize_csr(csr).await {
            Err(error) if tries.again(&error) => {}
            done => return done.map(|()| order),
        }
    }
}

async fn certificate(account: instant_acme::Account, order: &str) -> LibraryResult<Option<String>> {
    let mut order = get(&account, order).await?;
    if order.state().status != instant_acme::OrderStatus::Valid {
        return Ok(None);
    }
    let mut tries = Tries::default();
    loop {
        match order.certificate().await {
            Err(error) if tries.again(&error) => {}
            done => return done,
        }
    }
}

async fn revoke(account: instant_acme::Account, certificate: CertificateDer<'static>, reason: u8) -> LibraryResult<()> {
    let request = RevocationRequest { certificate: &certificate, reason: reason_of(reason) };
    let mut tries = Tries::default();
    loop {
        match account.revoke(&request).await {
            Err(error) if tries.again(&error) => {}
            done => return done,
        }
    }
}

/// RFC 5280, 5.3.1. A number that means nothing is no reason.
fn reason_of(number: u8) -> Option<instant_acme::RevocationReason> {
    use instant_acme::RevocationReason as R;
    Some(match number {
        0 => R::Unspecified,
        1 => R::KeyCompromise,
        2 => R::CaCompromise,
        3 => R::AffiliationChanged,
        4 => R::Superseded,
        5 => R::CessationOfOperation,
        6 => R::CertificateHold,
        8 => R::RemoveFromCrl,
        9 => R::PrivilegeWithdrawn,
        10 => R::AaCompromise,
        _ => return None,
    })
}

impl OrderSeen {
    fn of(order: &mut Order, failed: Option<instant_acme::Problem>, seen: &Seen) -> Self {
        use instant_acme::OrderStatus as S;
        let url = order.url().to_owned();
        let state = order.state();
        let status = match state.status {
            S::Pending => OrderStatus::Pending,
            S::Ready => OrderStatus::Ready,
            S::Processing => OrderStatus::Processing,
            S::Valid => OrderStatus::Valid,
            S::Invalid => OrderStatus::Invalid,
        };
        let told =
            failed.as_ref().or(state.error.as_ref()).map(|problem| Trouble::of_problem(problem, &Seen::default()));
        let unsaid = || Trouble::new(Cause::Unauthorized, "the CA made the order invalid and does not say why");
        let problem = (status == OrderStatus::Invalid).then(|| told.unwrap_or_else(unsaid));
        Self { url, status, problem, retry_after: seen.retry_after }
    }
}
