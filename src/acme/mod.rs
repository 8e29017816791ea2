//! Certificates from a CA by ACME (RFC 8555): each call of the network is a step by itself.
//!
//! Nothing is remembered from one step to the next but what the caller passes in: keys, the account's URL and the order's.
//! Kept here are what any process may lose: directories, connections and nonces. Who calls writes down what is about to be
//! asked before it is asked, and the answer after it.

mod directory;
mod key;
pub mod order;
mod renewal;
mod steps;
mod trouble;
mod turns;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use uuid::Uuid;

pub use directory::Meta;
pub use key::{AccountKey, Eab};
pub use renewal::{RenewalInfo, cert_id};
pub use steps::{Account, OrderSeen, OrderStatus};
pub use trouble::{Cause, Pace, Trouble};
pub use turns::Turn;

use crate::access::SecretText;
use crate::installation::Installation;
use crate::providers::Http;
use turns::Turns;
use wire::Line;

/// How long a directory is taken to be what it was.
const DIRECTORY_LIFE: Duration = Duration::from_secs(3600);
/// How many CAs are known at once; tenants choose them.
const CAS: usize = 64;
/// How often a nonce is tried anew, the library's own tries not counted. A CA may reject nine of ten.
const NONCE_TRIES: u32 = 60;

/// A CA's address, as a spec names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// URL of its directory.
    pub directory: String,
    /// PEM of the roots that its own certificate is trusted by, and no others. None: the system's.
    pub ca_bundle: Option<String>,
}

/// The way to all CAs. Clones share what is kept.
#[derive(Clone, Debug)]
pub struct Acme {
    installation: Arc<Installation>,
    known: Arc<Mutex<HashMap<Server, (Ca, Instant)>>>,
    opening: Arc<Turns<Server>>,
    registering: Arc<Turns<Uuid>>,
}

/// One CA. Clones share connections and nonces.
#[derive(Clone, Debug)]
pub struct Ca {
    line: Arc<Line>,
}

impl Acme {
    /// Knows no CA yet.
    pub fn new(installation: Arc<Installation>) -> Self {
        Self { installation, known: Arc::default(), opening: Arc::default(), registering: Arc::default() }
    }

    /// The CA at this address, with its directory.
    ///
    /// # Errors
    /// `EndpointNotAllowed`; or no directory came, now or a moment ago.
    pub async fn ca(&self, server: &Server) -> Result<Ca, Trouble> {
        if let Some(ca) = self.known(server) {
            return Ok(ca);
        }
        let turn = self.opening.take(server.clone()).await?;
        let ca = match self.known(server) {
            Some(ca) => Ok(ca),
            None => self.open(server).await,
        };
        turn.end(ca)
    }

    /// The turn to register this account. Who has it looks first whether it is registered by now.
    ///
    /// # Errors
    /// What was in the way of the one before, a moment ago.
    pub async fn registers(&self, account: Uuid) -> Result<Turn, Trouble> {
        self.registering.take(account).await
    }

    async fn open(&self, server: &Server) -> Result<Ca, Trouble> {
        let url = wire::permitted(&self.installation, &server.directory).await?;
        let http = match &server.ca_bundle {
            Some(pem) => Http::trusting(&self.installation, wire::TIMEOUT, pem),
            None => Http::with_timeout(&self.installation, wire::TIMEOUT),
        };
        let http =
            http.map_err(|error| Trouble::new(Cause::EndpointNotAllowed, format!("spec.issuer.acme.{error}")))?;
        let line = Line::open(self.installation.clone(), http, url).await?;
        let ca = Ca { line: Arc::new(line) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, since)| since.elapsed() < DIRECTORY_LIFE);
        let oldest = known.iter().min_by_key(|(_, (_, since))| *since).map(|(server, _)| server.clone());
        if let Some(oldest) = oldest.filter(|_| known.len() >= CAS) {
            known.remove(&oldest);
        }
        known.insert(server.clone(), (ca.clone(), Instant::now()));
        Ok(ca)
    }

    fn known(&self, server: &Server) -> Option<Ca> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(server).filter(|(_, since)| since.elapsed() < DIRECTORY_LIFE).map(|(ca, _)| ca.clone())
    }
}

impl Ca {
    /// What it tells of itself.
    pub fn meta(&self) -> &Meta {
        &self.line.directory().meta
    }

    /// Makes an account of this key, and agrees to the CA's terms; where the key has one, that is found. Answers its URL.
    ///
    /// # Errors
    /// As the CA says. The same again is harmless.
    pub async fn register(&self, key: &AccountKey, email: Option<&str>, eab: Option<&Eab>) -> Result<String, Trouble> {
        let url = &self.line.directory().new_account;
        let mut tries = 0;
        loop {
            let nonce = self.line.nonce().await?;
            let body = key.sign_new_account(url, &nonce, email, eab);
            let body = body.map_err(|error| Trouble::new(Cause::ExternalAccount, error.to_string()))?;
            let mut request = wire::request(Method::POST, url, body.into());
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jose+json"));
            let answer = self.line.send(request).await?;
            if matches!(answer.status, 200 | 201) {
                let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
                let lost = || Trouble::new(Cause::Server, "the CA made an account and did not say which");
                return location.map(str::to_owned).ok_or_else(lost);
            }
            let seen = self.line.seen(&answer);
            let trouble = match serde_json::from_slice(&answer.body) {
                Ok(problem) if is_bad_nonce(&problem) && tries < NONCE_TRIES => {
                    tries += 1;
                    continue;
                }
                Ok(problem) => Trouble::of_problem(&problem, &seen),
                Err(error) => Trouble::of_wire(&error.to_string(), &seen),
            };
            return Err(of_registration(trouble, eab.is_some()));
        }
    }

    /// The account of this URL and key, for the steps of its orders.
    pub fn account(&self, url: &str, key: &AccountKey) -> Account {
        Account::new(self.line.clone(), url.to_owned(), key.clone())
    }
}

/// A CA that does not take a binding says `unauthorized` or `malformed`: only another binding helps.
fn of_registration(trouble: Trouble, bound: bool) -> Trouble {
    match trouble.cause {
        Cause::Unauthorized | Cause::Malformed if bound => Trouble { cause: Cause::ExternalAccount, ..trouble },
        _ => trouble,
    }
}

fn is_bad_nonce(problem: &instant_acme::Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce")
}

impl Eab {
    /// As a CA hands it out: the key's id, and the key in base64url.
    pub fn new(key_id: impl Into<String>, hmac_key: SecretText) -> Self {
        Self { key_id: key_id.into(), hmac_key }
    }
}
