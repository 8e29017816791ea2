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

/// Certificate and keys as they are kept.
struct Kept {
    authorities: Vec<Authority>,
    keys: Vec<Key>,
    chain: Chain,
    key: Key,
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
        loop {
            let pause = match look(&api, &host, clock.now()).await {
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
async fn look(api: &Api<Secret>, host: &str, now: Timestamp) -> Result<(String, CertifiedKey)> {
    let found = api.get_opt(SECRET).await?;
    let kept = found.as_ref().and_then(|secret| secret.data.as_ref()).and_then(|data| read(data, host));
    let kept = match renewed(kept, host, now)? {
        (kept, false) => kept,
        (kept, true) => {
            write(api, found, &kept, host).await?;
            kept
        }
    };
    Ok((bundle(&kept.authorities), certified(&kept)?))
}

async fn write(api: &Api<Secret>, found: Option<Secret>, kept: &Kept, host: &str) -> Result<()> {
    let pair = |(authority, key): (&Authority, &Key)| Pair {
        certificate: authority.certificate().pem(),
        key: key.pem().to_owned(),
    };
    let pairs: Vec<Pair> = kept.authorities.iter().zip(&kept.keys).map(pair).collect();
    let pairs = serde_json::to_vec(&pairs).map_err(|e| Error::Integrity(e.to_string()))?;
    let data = BTreeMap::from([
        ("host".to_owned(), ByteString(host.as_bytes().to_vec())),
        ("ca.crt".to_owned(), ByteString(bundle(&kept.authorities).into_bytes())),
        ("authorities.json".to_owned(), ByteString(pairs)),
        ("tls.crt".to_owned(), ByteString(kept.chain.pem().into_bytes())),
        ("tls.key".to_owned(), ByteString(kept.key.pem().as_bytes().to_vec())),
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
    tracing::info!(not_after = %kept.chain.leaf().not_after, "the run API has a new certificate");
    Ok(())
}

/// What the Secret holds; `None` where it is not whole, or for another host: then it is made anew.
fn read(data: &BTreeMap<String, ByteString>, host: &str) -> Option<Kept> {
    let field = |name: &str| data.get(name).map(|bytes| bytes.0.as_slice());
    let pairs: Vec<Pair> = serde_json::from_slice(field("authorities.json")?).ok()?;
    let authorities =
        pairs.iter().map(|pair| Authority::read(pair.certificate.as_bytes(), pair.key.as_bytes(), None).ok());
    let authorities = authorities.collect::<Option<Vec<_>>>()?;
    let keys = pairs.iter().map(|pair| Key::read(pair.key.as_bytes()).ok()).collect::<Option<Vec<_>>>()?;
    let (chain, key) = (Chain::read(field("tls.crt")?).ok()?, Key::read(field("tls.key")?).ok()?);
    let whole = field("host")? == host.as_bytes() && chain.fits(&key).is_ok();
    whole.then_some(Kept { authorities, keys, chain, key })
}

/// What is to be served with, and whether it is new. A CA joins when two thirds of the newest one's life are over, and goes
/// when it has ended; of those that outlive the certificate the oldest signs.
fn renewed(kept: Option<Kept>, host: &str, now: Timestamp) -> Result<(Kept, bool)> {
    let (authorities, keys, leaf) = match kept {
        Some(kept) => (kept.authorities, kept.keys, Some((kept.chain, kept.key))),
        None => (Vec::new(), Vec::new(), None),
    };
    let known = authorities.len();
    let mut pairs: Vec<_> = authorities.into_iter().zip(keys).filter(|(one, _)| one.not_after() > now).collect();
    let mut fresh = pairs.len() < known;
    if pairs.last().is_none_or(|(newest, _)| is_due(newest.certificate(), now)) {
        pairs.push(new_authority(now).map_err(flaw)?);
        fresh = true;
    }
    let end = now.saturating_add(LIFE).unwrap_or(Timestamp::MAX);
    let signer = pairs.iter().find(|(one, _)| one.not_after() > end).or(pairs.last()).map(|(one, _)| one.clone());
    let signer = signer.ok_or_else(|| Error::Integrity("there is no CA".into()))?;
    let good = leaf.filter(|(chain, _)| {
        let vouched = pairs.iter().any(|(one, _)| chain.leaf().is_signed_by(one.certificate()));
        vouched && !is_due(chain.leaf(), now)
    });
    fresh |= good.is_none();
    let (chain, key) = match good {
        Some(good) => good,
        None => {
            let key = Key::make(Algorithm::EcdsaP256).map_err(flaw)?;
            let host = url::Host::parse(host).map_err(|e| Error::Usage(format!("executor.job.url: {e}")))?;
            let not_after = end.min(signer.not_after());
            let chain = signer.sign_for(&key, &host, Term { not_before: before(now), not_after }).map_err(flaw)?;
            (chain, key)
        }
    };
    let (authorities, keys) = pairs.into_iter().unzip();
    Ok((Kept { authorities, keys, chain, key }, fresh))
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

fn bundle(authorities: &[Authority]) -> String {
    authorities.iter().map(|authority| authority.certificate().pem()).collect()
}

fn certified(kept: &Kept) -> Result<CertifiedKey> {
    let chain: Vec<_> = kept.chain.iter().map(|one| one.der.clone().into()).collect();
    let key = rustls::pki_types::PrivateKeyDer::try_from(
        kept.key.pkcs8().ok_or_else(|| Error::Integrity("its key is not PKCS#8".into()))?.to_vec(),
    );
    let key = key.map_err(|e| Error::Integrity(e.to_owned()))?;
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

    fn names(kept: &Kept) -> Vec<String> {
        kept.authorities.iter().map(|one| one.certificate().subject.clone()).collect()
    }

    #[test]
    fn ten_years_of_looks_change_the_certificate_in_time_and_no_runner_ever_meets_a_ca_that_it_does_not_know() {
        let (mut kept, fresh) = renewed(None, HOST, day(0)).unwrap();
        assert!(fresh);
        let (mut certificates, mut trusted_long_ago) = (1, bundle(&kept.authorities));
        for number in (0..12 * 365).step_by(5) {
            let now = day(number);
            let (next, fresh) = renewed(Some(kept), HOST, now).unwrap();
            assert!(next.chain.leaf().not_after > now && next.chain.leaf().not_before < now, "day {number}");
            // A runner of a month ago.
            let vouches = |one: &Authority| {
                trusted_long_ago.contains(&one.certificate().pem()) && next.chain.leaf().is_signed_by(one.certificate())
            };
            assert!(next.authorities.iter().any(vouches), "day {number}: {:?}", names(&next));
            if number % 30 == 0 {
                trusted_long_ago = bundle(&next.authorities);
            }
            certificates += usize::from(fresh);
            kept = next;
        }
        assert!((60..=80).contains(&certificates), "{certificates}");
        assert!(kept.authorities.len() <= 2, "{:?}", names(&kept));
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_or_for_another_host_is_not() {
        let (kept, _) = renewed(None, "10.0.0.1", day(0)).unwrap();
        let pair = Pair { certificate: bundle(&kept.authorities), key: kept.keys.first().unwrap().pem().to_owned() };
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = BTreeMap::from([
            ("host".to_owned(), text("10.0.0.1")),
            ("authorities.json".to_owned(), ByteString(serde_json::to_vec(&[pair]).unwrap())),
            ("tls.crt".to_owned(), text(&kept.chain.pem())),
            ("tls.key".to_owned(), text(kept.key.pem())),
        ]);
        let again = read(&data, "10.0.0.1").unwrap();
        assert_eq!(again.chain, kept.chain);
        assert!(!renewed(Some(again), "10.0.0.1", day(1)).unwrap().1, "nothing is due");
        assert!(read(&data, "10.0.0.2").is_none());
        for field in data.keys() {
            let mut damaged = data.clone();
            damaged.insert(field.clone(), text("nonsense"));
            assert!(read(&damaged, "10.0.0.1").is_none(), "{field}");
        }
        certified(&kept).unwrap();
    }
}
