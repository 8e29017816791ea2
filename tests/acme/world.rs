//! A CA, an account at it, and a way into DNS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall::acme::{Account, AccountKey, Acme, Ca, OrderSeen, OrderStatus, Server};
use landfall::installation::Installation;
use landfall::ledger::AcmeChallenge;
use serde_json::json;
use uuid::Uuid;

use crate::pebble::{self, Pebble, Switches};

pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run `make test`, or export a test bed's env"))
}

/// The service of an installation that permits these origins.
pub fn acme(origins: &[&str]) -> Acme {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let installation: Installation = serde_json::from_value(json!({
        "encryption": {"current": "a", "keys": {}}, "allowedEndpoints": origins,
    }))
    .unwrap();
    Acme::new(Arc::new(installation))
}

pub fn server(directory: &str) -> Server {
    Server { directory: directory.into(), ca_bundle: Some(pebble::ca()) }
}

/// A Pebble with an account.
pub struct World {
    pub pebble: Pebble,
    pub ca: Ca,
    pub account: Account,
}

impl World {
    pub async fn new(switches: Switches) -> Self {
        let pebble = Pebble::start(switches).await;
        let ca = acme(&[&pebble.origin]).ca(&server(&pebble.directory())).await.unwrap();
        let account = account(&ca).await;
        Self { pebble, ca, account }
    }
}

/// A new account.
pub async fn account(ca: &Ca) -> Account {
    let key = AccountKey::generate().unwrap();
    let url = ca.register(&key, Some("team@example.org"), None).await.unwrap();
    ca.account(&url, &key)
}

/// A domain that no other test has.
pub fn domain() -> String {
    format!("t{}.{}", Uuid::new_v4().simple(), env("KNOT_ZONE"))
}

/// Sets the TXT values of these challenges, several of one name together.
pub async fn present(challenges: &[AcmeChallenge]) {
    let mut sets = BTreeMap::<&str, Vec<String>>::new();
    for challenge in challenges {
        sets.entry(&challenge.name).or_default().push(challenge.value.clone());
    }
    for (owner, values) in sets {
        pebble::set_txt(owner, &values).await;
    }
}

/// Polls until the order is no longer as `while_it_is`.
pub async fn settled(account: &Account, order: &str, while_it_is: OrderStatus) -> OrderSeen {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = account.poll(order).await.unwrap();
        if seen.status != while_it_is {
            return seen;
        }
        assert!(Instant::now() < deadline, "{order} stays {while_it_is:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A certificate's request, and its key is nobody's.
pub fn csr(names: &[String]) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(names.to_vec()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serialize_request(&key).unwrap().der().to_vec()
}

/// The whole way. Answers the order's URL and how many proofs were asked for.
pub async fn order(account: &Account, names: &[String], replaces: Option<&str>) -> (String, usize) {
    let placed = follow(account, names, replaces).await;
    let challenges = account.authorizations(&placed.url).await.unwrap();
    present(&challenges).await;
    account.respond(&placed.url).await.unwrap();
    let ready = settled(account, &placed.url, OrderStatus::Pending).await;
    assert_eq!((ready.status, ready.problem), (OrderStatus::Ready, None));
    account.finalize(&placed.url, &csr(names)).await.unwrap();
    let done = settled(account, &placed.url, OrderStatus::Processing).await;
    assert_eq!(done.status, OrderStatus::Valid);
    (placed.url, challenges.len())
}

/// Places an order. Of which order a certificate is, Pebble knows a moment after that order is valid.
async fn follow(account: &Account, names: &[String], replaces: Option<&str>) -> OrderSeen {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match account.new_order(names, replaces, None).await {
            Err(early) if early.message.contains("could not find an order") && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer.unwrap(),
        }
    }
}

/// The first certificate of a chain, DER.
pub fn leaf(chain: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(chain.as_bytes()).unwrap().to_vec()
}
