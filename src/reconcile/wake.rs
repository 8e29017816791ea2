//! Who wakes whom.
//!
//! | what happens | who is woken | where |
//! |---|---|---|
//! | an object's generation, finalizers, deletion or `landfall.dev/*` annotations change | the object | `watch` |
//! | its status is written | nobody of its kind | `watch` |
//! | a Secret or ConfigMap comes, changes or goes | objects of its namespace that name it | `watch` |
//! | a credential's spec, or what is known of it, changes | deployments that refer to it | [`credential_changed`] |
//! | a deployment comes, goes or refers to another credential | the credential | [`deployment_changed`] |
//! | a run of a deployment moves on | the deployment | [`Waker::wake`], by run API and executor |

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use futures::Stream;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use super::{Object, Stores};
use crate::api::{CloudCredential, TerraformDeployment};
use crate::ledger::ObjectKind;

/// Name of an object: namespace and name.
pub type Key = (String, String);

/// Wakes objects by kind and name. Clones wake the same controllers; waking one that is not there does nothing.
#[derive(Clone, Default)]
pub struct Waker(Arc<Mutex<HashMap<&'static str, mpsc::UnboundedSender<Key>>>>);

impl Waker {
    /// Lets the object be reconciled soon. Many calls before that become one reconcile.
    pub fn wake(&self, kind: ObjectKind, namespace: &str, name: &str) {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = map.get(kind.as_str()) {
            // A receiver that is gone belongs to a controller that has ended.
            let _ = sender.send((namespace.to_owned(), name.to_owned()));
        }
    }

    /// The calls for one kind, for its controller. A second call takes the first one's place.
    pub fn calls<K: Object>(&self, kind: ObjectKind) -> impl Stream<Item = ObjectRef<K>> + Send + use<K> {
        let (sender, receiver) = mpsc::unbounded_channel::<Key>();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.as_str(), sender);
        futures::stream::unfold(receiver, |mut receiver| async move {
            let (namespace, name) = receiver.recv().await?;
            Some((ObjectRef::new(&name).within(&namespace), receiver))
        })
    }
}

/// Wakes the deployments that refer to a credential which came, changed or went.
pub fn credential_changed(stores: &Stores, waker: &Waker, credential: &CloudCredential) {
    let key = key_of(credential);
    for deployment in stores.deployments.state() {
        if credential_of(&deployment).as_ref() == Some(&key) {
            let (namespace, name) = key_of(deployment.as_ref());
            waker.wake(ObjectKind::TerraformDeployment, &namespace, &name);
        }
    }
}

/// Wakes the credential that a deployment refers to.
pub fn deployment_changed(waker: &Waker, credential: &Key) {
    waker.wake(ObjectKind::CloudCredential, &credential.0, &credential.1);
}

/// The credential that a deployment refers to.
pub fn credential_of(deployment: &TerraformDeployment) -> Option<Key> {
    let reference = deployment.spec.credential_ref.as_ref()?;
    let own = deployment.metadata.namespace.clone().unwrap_or_default();
    Some((reference.namespace.clone().unwrap_or(own), reference.name.clone()))
}

/// What others need to know of a credential: its spec, its life, and what the probes found, without times.
pub fn credential_fingerprint(credential: &CloudCredential) -> u64 {
    let mut hasher = DefaultHasher::new();
    let meta = &credential.metadata;
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    if let Some(status) = &credential.status {
        let account = status.identity.as_ref().map(|i| (&i.account, &i.principal));
        (account, status.secret.as_ref().map(|s| &s.digest)).hash(&mut hasher);
        for c in &status.conditions {
            (&c.type_, &c.status, &c.reason, c.observed_generation).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Namespace and name.
pub fn key_of<K: Object>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
