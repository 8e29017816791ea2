//! The Secret of a certificate: read, and written whole.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Resource, ResourceExt};
use zeroize::Zeroize;

use super::observe::{Held, Stored};
use crate::access::{SecretBytes, text};
use crate::api::{Certificate, FIELD_MANAGER, Reason};
use crate::kinds::Context;
use crate::pki::{Chain, Flaw, Key};
use crate::reconcile::{MANAGED_BY, owns};
use crate::{Error, Result};

/// The certificates, the leaf first.
const CERTIFICATE: &str = "tls.crt";
/// The private key.
const KEY: &str = "tls.key";
/// The roots.
const ROOTS: &str = "ca.crt";
/// Of an RSA key of 4096 bits and of a long chain, bytes.
const KEY_SIZE: usize = 3300;
const CHAIN_SIZE: usize = 8192;
/// The longest sentence of the API server that is passed on, bytes.
const WORDS: usize = 500;

/// The Secret of that name as it stands.
///
/// # Errors
/// The API server's.
pub(super) async fn find(cx: &Context, object: &Certificate, name: &str) -> Result<Option<Secret>> {
    Ok(secrets(cx, object).get_opt(name).await?)
}

/// What a Secret is to this object, which writes to it where it owns it.
pub(super) fn held(object: &Certificate, mut found: Secret) -> Held {
    if !owns(object, &found.metadata) {
        let name = found.name_any();
        let owner = found.owner_references().iter().find(|owner| owner.controller == Some(true));
        let whose =
            owner.map_or("was made by somebody else".to_owned(), |o| format!("belongs to {} {:?}", o.kind, o.name));
        wipe(&mut found);
        return Held::Foreign(format!(
            "spec.secretName: Secret {name:?} {whose}; it stays as it is: name another one, or delete it where nobody needs it"
        ));
    }
    Held::Ours(Box::new(stored(found)))
}

/// What stands in a Secret.
pub(super) fn stored(mut found: Secret) -> Stored {
    let version = found.resource_version().unwrap_or_default();
    let name = found.name_any();
    let data = found.data.take().unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    let bytes = SecretBytes::new(&name, &version, data);
    wipe(&mut found);
    let part = |key: &str| bytes.get(key).unwrap_or_default();
    let at = |key: &'static str| move |flaw: Flaw| flaw.at(format!("Secret {name:?}, {key}"));
    Stored {
        version,
        key: Key::read(part(KEY)).map_err(at.clone()(KEY)),
        chain: Chain::read(part(CERTIFICATE)).map_err(at(CERTIFICATE)),
        certificate: part(CERTIFICATE).to_vec(),
        roots: bytes.get(ROOTS).map(<[u8]>::to_vec),
    }
}

/// `kubectl apply` keeps a second copy of what it wrote.
fn wipe(found: &mut Secret) {
    found.metadata.annotations.iter_mut().flat_map(|map| map.values_mut()).for_each(Zeroize::zeroize);
    found.data.iter_mut().flat_map(|map| map.values_mut()).for_each(|value| value.0.zeroize());
}

/// Writes the pair in one request: a new Secret, or over the version that was seen. Whoever was there first stays.
///
/// # Errors
/// The API server's; `SecretNotOwned` where it is another's meanwhile.
pub(super) async fn write(
    cx: &Context,
    object: &Certificate,
    place: (&str, Option<&str>),
    pair: (&str, &str, Option<&str>),
) -> Result<()> {
    send(cx, object, place, pair, false).await
}

/// Whether a pair could be written, as far as the API server tells without doing it: of the size that a pair has, and without one.
///
/// # Errors
/// `SecretRejected` where it would refuse; or the API server's.
pub(super) async fn try_out(cx: &Context, object: &Certificate, place: (&str, Option<&str>)) -> Result<()> {
    let (key, chain) = ("0".repeat(KEY_SIZE), "0".repeat(CHAIN_SIZE));
    match send(cx, object, place, (&key, &chain, Some(&chain)), true).await {
        Err(Error::Cluster(cause)) => match cause.as_ref() {
            kube::Error::Api(status) if matches!(status.code, 403 | 413 | 422) => {
                let words = text::line(&status.message, WORDS);
                let message =
                    format!("spec.secretName: the API server refuses to have Secret {:?} written: {words}", place.0);
                Err(Error::condition(Reason::SecretRejected, message))
            }
            // It does not try this out; the write itself will tell.
            kube::Error::Api(status) if status.code == 400 => Ok(()),
            _ => Err(Error::Cluster(cause)),
        },
        other => other,
    }
}

async fn send(
    cx: &Context,
    object: &Certificate,
    (name, version): (&str, Option<&str>),
    (key, chain, roots): (&str, &str, Option<&str>),
    dry_run: bool,
) -> Result<()> {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut data = BTreeMap::from([(CERTIFICATE.to_owned(), bytes(chain)), (KEY.to_owned(), bytes(key))]);
    data.extend(roots.map(|roots| (ROOTS.to_owned(), bytes(roots))));
    let api = secrets(cx, object);
    let params = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) };
    let written = match version {
        None => api.create(&params, &fresh(object, name, data)).await,
        Some(version) => {
            let Some(mut found) = api.get_opt(name).await? else { return Err(moved(name)) };
            if !owns(object, &found.metadata) {
                return Err(moved(name));
            }
            found.data.iter_mut().flat_map(|map| map.values_mut()).for_each(|value| value.0.zeroize());
            found.metadata.resource_version = Some(version.to_owned());
            found.metadata.managed_fields = None;
            found.data = Some(data);
            api.replace(name, &params, &found).await
        }
    };
    match written {
        Ok(mut answer) => {
            wipe(&mut answer);
            Ok(())
        }
        Err(error) if crate::access::is_conflict(&error) && version.is_none() => Err(moved(name)),
        Err(error) => Err(error.into()),
    }
}

/// Removes the Secret that was seen, as long as it is that.
///
/// # Errors
/// The API server's; a conflict where somebody wrote it meanwhile.
pub(super) async fn remove(cx: &Context, object: &Certificate, name: &str, version: &str) -> Result<()> {
    let only = Preconditions { resource_version: Some(version.to_owned()), uid: None };
    let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
    match secrets(cx, object).delete(name, &params).await {
        Err(error) if !crate::access::is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn fresh(object: &Certificate, name: &str, data: BTreeMap<String, ByteString>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: object.namespace(),
            owner_references: object.controller_owner_ref(&()).map(|owner| vec![owner]),
            labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        type_: Some("kubernetes.io/tls".into()),
        ..Secret::default()
    }
}

fn moved(name: &str) -> Error {
    let message =
        format!("spec.secretName: Secret {name:?} came, went or changed hands meanwhile; it is looked at again");
    Error::condition(Reason::SecretNotOwned, message)
}

fn secrets(cx: &Context, object: &Certificate) -> Api<Secret> {
    Api::namespaced(cx.client.clone(), object.metadata.namespace.as_deref().unwrap_or_default())
}
