//! The run API's own certificate under `executor: job`: made by whichever replica comes first, kept in a Secret of Landfall's
//! own namespace, and renewed there long before it ends. A runner trusts the CAs of its start, so that a new CA stands beside
//! the old one for years before it signs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use url::Url;

use crate::api::FIELD_MANAGER;
use crate::health::{Health, Part};
use crate::pki::{self, Algorithm, Authority, Chain, Flaw, Key, Term};
use crate::reconcile::{Clock, patch};
use crate::{Error, Result};

/// The Secret, in Landfall's own namespace.
const SECRET: &str = "landfall-run-api";
/// A CA's life.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// A certificate's.
const LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Clocks differ.
const BEFORE: SignedDuration = SignedDuration::from_hours(1);
/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(600);
/// After a look that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// What the run API serves with, and who vouches for it. Empty until the first look.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) certificate: watch::Receiver<Option<Arc<CertifiedKey>>>,
    pub(super) authorities: watch::Receiver<String>,
}

/// CAs with their keys, the oldest first, and the certificate of the host with its key.
#[derive(Default)]
struct Kept {
    authorities: Vec<(Authority, Key)>,
    leaf: Option<(Chain, Key)>,
}

/// One CA as it is kept.
#[derive(Serialize, Deserialize)]
struct Pair {
    certificate: String,
    key: String,
}

/// Keeps the certificate for as long as this process lives.
pub(super) fn keep(
    client: kube::Client,
    namespace: &str,
    url: &Url,
    (clock, health): (Clock, &Health),
) -> (Serving, impl Future<Output = std::io::Result<()>> + use<>) {
    let (certificate, newest) = watch::channel(None);
    let (authorities, trusted) = watch::channel(String::new());
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let (host, part) = (url.host_str().unwrap_or_default().to_owned(), health.part("run API"));
    let keeping = async move {
        let mut known = None;
        loop {
            let pause = match look(&api, &host, clock.now(), &mut known).await {
                Ok((pem, key)) => {
                    part.good();
                    authorities.send_if_modified(|known| std::mem::replace(known, pem.clone()) != pem);
                    certificate.send_replace(Some(Arc::new(key)));
                    INTERVAL
                }
                Err(error) => {
                    told(&part, &error);
                    AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    (Serving { certificate: newest, authorities: trusted }, keeping)
}

fn told(part: &Part, error: &Error) {
    let why = format!("its certificate in Secret {SECRET}: {error}{}", patch::next_step(error));
    tracing::warn!(error = why, "run API");
    part.bad(why);
}

/// Reads the Secret, and writes it where it is due. Of two replicas that write at once the second takes what the first wrote.
/// Where the Secret is gone or damaged, what this process knows goes back: pods that run trust no other CA.
async fn look(
    api: &Api<Secret>,
    host: &str,
    now: Timestamp,
    known: &mut Option<Kept>,
) -> Result<(String, CertifiedKey)> {
    let found = api.get_opt(SECRET).await?;
    let read = found.as_ref().and_then(|secret| secret.data.as_ref()).and_then(|data| read(data, host));
    let lost = read.is_none();
    let kept = read.or_else(|| known.take()).unwrap_or_default();
    let kept = known.insert(kept);
    if renew(kept, host, now)? || lost {
        write(api, found, kept, host).await?;
    }
    Ok((bundle(&kept.authorities), certified(kept)?))
}

async fn write(api: &Api<Secret>, found: Option<Secret>, kept: &Kept, host: &str) -> Result<()> {
    let (chain, key) = kept.leaf.as_ref().ok_or_else(|| Error::Integrity("there is no certificate".into()))?;
    let pair = |(authority, key): &(Authority, Key)| Pair {
        certificate: authority.certificate().pem(),
        key: key.pem().to_owned(),
    };
    let pairs: Vec<Pair> = kept.authorities.iter().map(pair).collect();
    let pairs = serde_json::to_vec(&pairs).map_err(|e| Error::Integrity(e.to_string()))?;
    let data = BTreeMap::from([
        ("host".to_owned(), ByteString(host.as_bytes().to_vec())),
        ("ca.crt".to_owned(), ByteString(bundle(&kept.authorities).into_bytes())),
        ("authorities.json".to_owned(), ByteString(pairs)),
        ("tls.crt".to_owned(), ByteString(chain.pem().into_bytes())),
        ("tls.key".to_owned(), ByteString(key.pem().as_bytes().to_vec())),
    ]);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match found {
        Some(found) => {
            let secret = Secret { data: Some(data), ..found };
            api.replace(SECRET, &params, &secret).await?;
        }
        None => {
            let labels = BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "landfall".to_owned())]);
            let metadata = ObjectMeta { name: Some(SECRET.into()), labels: Some(labels), ..ObjectMeta::default() };
            let secret = Secret { metadata, data: Some(data), ..Secret::default() };
            api.create(&params, &secret).await?;
        }
    }
    tracing::info!(not_after = %chain.leaf().not_after, "the run API has a new certificate");
    Ok(())
}

/// What the Secret holds; `None` where its CAs are not whole. A certificate that is not whole, or for another host, is left out.
fn read(data: &BTreeMap<String, ByteString>, host: &str) -> Option<Kept> {
    let field = |name: &str| data.get(name).map(|bytes| bytes.0.as_slice());
    let pairs: Vec<Pair> = serde_json::from_slice(field("authorities.json")?).ok()?;
    let pair = |pair: &Pair| {
        let authority = Authority::read(pair.certificate.as_bytes(), pair.key.as_bytes(), None).ok()?;
        Some((authority, Key::read(pair.key.as_bytes()).ok()?))
    };
    let authorities = pairs.iter().map(pair).collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())?;
    let leaf = || {
        let (chain, key) = (Chain::read(field("tls.crt")?).ok()?, Key::read(field("tls.key")?).ok()?);
        (field("host")? == host.as_bytes() && chain.fits(&key).is_ok()).then_some((chain, key))
    };
    Some(Kept { authorities, leaf: leaf() })
}

/// Renews what is due, and says whether anything was. A CA joins when two thirds of the newest one's life are over, and goes
/// when it has ended; of those that outlive the certificate the oldest signs.
fn renew(kept: &mut Kept, host: &str, now: Timestamp) -> Result<bool> {
    let before = kept.authorities.len();
    kept.authorities.retain(|(one, _)| one.not_after() > now);
    let mut fresh = kept.authorities.len() < before;
    if kept.authorities.last().is_none_or(|(newest, _)| is_due(newest.certificate(), now)) {
        kept.authorities.push(new_authority(now).map_err(flaw)?);
        fresh = true;
    }
    let good = kept.leaf.as_ref().is_some_and(|(chain, _)| {
        let vouched = kept.authorities.iter().any(|(one, _)| chain.leaf().is_signed_by(one.certificate()));
        vouched && !is_due(chain.leaf(), now)
    });
    if !good {
        kept.leaf = Some(new_leaf(&kept.authorities, host, now)?);
    }
    Ok(fresh || !good)
}

fn new_leaf(authorities: &[(Authority, Key)], host: &str, now: Timestamp) -> Result<(Chain, Key)> {
    let end = now.saturating_add(LIFE).unwrap_or(Timestamp::MAX);
    let signer = authorities.iter().find(|(one, _)| one.not_after() > end).or(authorities.last());
    let (signer, _) = signer.ok_or_else(|| Error::Integrity("there is no CA".into()))?;
    let key = Key::make(Algorithm::EcdsaP256).map_err(flaw)?;
    let host = url::Host::parse(host).map_err(|e| Error::Usage(format!("executor.job.url: {e}")))?;
    let term = Term { not_before: before(now), not_after: end.min(signer.not_after()) };
    Ok((signer.sign_for(&key, &host, term).map_err(flaw)?, key))
}

fn new_authority(now: Timestamp) -> std::result::Result<(Authority, Key), Flaw> {
    let key = Key::make(Algorithm::EcdsaP256)?;
    let not_after = now.saturating_add(AUTHORITY_LIFE).unwrap_or(Timestamp::MAX);
    let name = format!("Landfall run API {now:.0}");
    let certificate = pki::authority(&key, &name, Term { not_before: before(now), not_after })?;
    Ok((Authority::read(certificate.pem().as_bytes(), key.pem().as_bytes(), None)?, key))
}

fn flaw(flaw: Flaw) -> Error {
    Error::Integrity(flaw.to_string())
}

fn before(now: Timestamp) -> Timestamp {
    now.saturating_sub(BEFORE).unwrap_or(Timestamp::MIN)
}

/// Two thirds of its life are over.
fn is_due(certificate: &pki::Certificate, now: Timestamp) -> bool {
    let life = certificate.not_after.duration_since(certificate.not_before);
    now > certificate.not_before.saturating_add(life / 3 * 2).unwrap_or(Timestamp::MAX)
}

fn bundle(authorities: &[(Authority, Key)]) -> String {
    authorities.iter().map(|(authority, _)| authority.certificate().pem()).collect()
}

fn certified(kept: &Kept) -> Result<CertifiedKey> {
    let (chain, key) = kept.leaf.as_ref().ok_or_else(|| Error::Integrity("there is no certificate".into()))?;
    let chain: Vec<_> = chain.iter().map(|one| one.der.clone().into()).collect();
    let key = key.pkcs8().ok_or_else(|| Error::Integrity("its key is not PKCS#8".into()))?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.to_vec()).map_err(|e| Error::Integrity(e.to_owned()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|e| Error::Integrity(e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOST: &str = "landfall-runs.landfall-system.svc";

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + number * 86_400).unwrap()
    }

    fn leaf(kept: &Kept) -> &pki::Certificate {
        kept.leaf.as_ref().unwrap().0.leaf()
    }

    #[test]
    fn ten_years_of_looks_change_the_certificate_in_time_and_no_runner_ever_meets_a_ca_that_it_does_not_know() {
        let mut kept = Kept::default();
        assert!(renew(&mut kept, HOST, day(0)).unwrap());
        let (mut certificates, mut trusted_long_ago) = (1, bundle(&kept.authorities));
        for number in (0..12 * 365).step_by(5) {
            let now = day(number);
            certificates += usize::from(renew(&mut kept, HOST, now).unwrap());
            assert!(leaf(&kept).not_after > now && leaf(&kept).not_before < now, "day {number}");
            // A runner of a month ago.
            let vouches = |(one, _): &(Authority, Key)| {
                trusted_long_ago.contains(&one.certificate().pem()) && leaf(&kept).is_signed_by(one.certificate())
            };
            assert!(kept.authorities.iter().any(vouches), "day {number}");
            if number % 30 == 0 {
                trusted_long_ago = bundle(&kept.authorities);
            }
        }
        assert!((60..=80).contains(&certificates), "{certificates}");
        assert!(kept.authorities.len() <= 2);
    }

    #[test]
    fn what_is_kept_is_read_again_and_the_cas_stay_when_the_certificate_is_damaged_or_for_another_host() {
        let mut kept = Kept::default();
        renew(&mut kept, "10.0.0.1", day(0)).unwrap();
        let (authority, key) = kept.authorities.first().unwrap();
        let pair = Pair { certificate: authority.certificate().pem(), key: key.pem().to_owned() };
        let (chain, key) = kept.leaf.as_ref().unwrap();
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = BTreeMap::from([
            ("host".to_owned(), text("10.0.0.1")),
            ("authorities.json".to_owned(), ByteString(serde_json::to_vec(&[pair]).unwrap())),
            ("tls.crt".to_owned(), text(&chain.pem())),
            ("tls.key".to_owned(), text(key.pem())),
        ]);
        let mut again = read(&data, "10.0.0.1").unwrap();
        assert!(!renew(&mut again, "10.0.0.1", day(1)).unwrap(), "nothing is due");
        assert_eq!(leaf(&again), leaf(&kept));
        let mut moved = read(&data, "10.0.0.2").unwrap();
        assert!(renew(&mut moved, "10.0.0.2", day(1)).unwrap());
        assert_eq!(bundle(&moved.authorities), bundle(&kept.authorities), "pods that run trust the new one");
        for field in ["host", "tls.crt", "tls.key"] {
            let damaged = BTreeMap::from_iter(data.clone().into_iter().chain([(field.to_owned(), text("nonsense"))]));
            assert!(read(&damaged, "10.0.0.1").is_some_and(|kept| kept.leaf.is_none()), "{field}");
        }
        for value in ["nonsense", "[]"] {
            let damaged = [("authorities.json".to_owned(), text(value))];
            assert!(read(&BTreeMap::from_iter(data.clone().into_iter().chain(damaged)), "10.0.0.1").is_none());
        }
        certified(&kept).unwrap();
    }
}
