//! The run API's own certificate under `executor: job`: made by whichever replica comes first, kept in a Secret of Landfall's
//! own namespace, and renewed there long before it ends. A runner trusts the CAs of its start, so that a new CA stands beside
//! the old one for years before it signs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use url::Url;

use crate::api::FIELD_MANAGER;
use crate::health::{Health, Part};
use crate::pki::{self, Flaw};
use crate::reconcile::{Clock, patch};
use crate::{Error, Result};

/// The Secret, in Landfall's own namespace.
pub(crate) const SECRET: &str = "landfall-run-api";
/// How often it is looked at: a replica that starts while the Secret is gone makes a CA that no pod trusts which runs.
const INTERVAL: Duration = Duration::from_secs(15);
/// After a look that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// What the run API serves with, and who vouches for it. Empty until the first look.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) certificate: watch::Receiver<Option<Arc<CertifiedKey>>>,
    pub(super) authorities: watch::Receiver<String>,
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
                    told(&part, &error, certificate.borrow().is_some());
                    if certificate.borrow().is_some() { INTERVAL } else { AGAIN }
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    (Serving { certificate: newest, authorities: trusted }, keeping)
}

/// A replica that serves goes on with what it has: whoever is not ready serves nobody.
fn told(part: &Part, error: &Error, serves: bool) {
    let why = format!("its certificate in Secret {SECRET}: {error}{}", patch::next_step(error));
    tracing::warn!(error = why, "run API");
    if serves { part.tell(why) } else { part.bad(why) }
}

/// Reads the Secret, and writes it where it is due. Of two replicas that write at once the second takes what the first wrote.
/// Where the Secret is gone or damaged, what this process knows goes back: pods that run trust no other CA.
async fn look(
    api: &Api<Secret>,
    host: &str,
    now: Timestamp,
    known: &mut Option<pki::Serving>,
) -> Result<(String, CertifiedKey)> {
    let found = api.get_opt(SECRET).await?;
    let read = found
        .as_ref()
        .and_then(|secret| secret.data.as_ref())
        .and_then(|data| pki::Serving::read(|name| data.get(name).map(|bytes| bytes.0.as_slice()), host));
    let lost = read.is_none();
    let (kept, joined) = match (read, known.take()) {
        (Some(mut read), Some(known)) => {
            // Another replica may have begun anew while the Secret was gone.
            let joined = read.join(known);
            (read, joined)
        }
        (one, other) => (one.or(other).unwrap_or_default(), false),
    };
    let kept = known.insert(kept);
    if kept.renew(host, now).map_err(flaw)? || lost || joined {
        write(api, found, kept, host).await?;
    }
    Ok((kept.bundle(), certified(kept)?))
}

async fn write(api: &Api<Secret>, found: Option<Secret>, kept: &pki::Serving, host: &str) -> Result<()> {
    let fields = kept.fields(host).map_err(flaw)?;
    let data = fields.into_iter().map(|(name, bytes)| (name.to_owned(), ByteString(bytes))).collect();
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
    let (chain, _) = kept.leaf().map_err(flaw)?;
    tracing::info!(not_after = %chain.leaf().not_after, "the run API has a new certificate");
    Ok(())
}

fn flaw(flaw: Flaw) -> Error {
    Error::Integrity(flaw.to_string())
}

fn certified(kept: &pki::Serving) -> Result<CertifiedKey> {
    let (chain, key) = kept.leaf().map_err(flaw)?;
    let chain: Vec<_> = chain.iter().map(|one| one.der.clone().into()).collect();
    let key = key.pkcs8().ok_or_else(|| Error::Integrity("its key is not PKCS#8".into()))?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.to_vec()).map_err(|e| Error::Integrity(e.to_owned()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|e| Error::Integrity(e.to_string()))
}
