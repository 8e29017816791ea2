//! Who wakes whom.
//!
//! | what happens | who is woken | where |
//! |---|---|---|
//! | an object's generation, finalizers, deletion or `landfall.dev/*` annotations change | the object | [`super::watch`] |
//! | its status is written | nobody of its kind | [`super::watch`] |
//! | a Secret or ConfigMap comes, changes or goes | objects of its namespace that name it | [`super::watch`] |
//! | a credential's spec, or what is known of it, changes | deployments that refer to it | [`credential_changed`] |
//! | a deployment comes, goes or refers to another credential | the credential | [`deployment_changed`] |
//! | a run of a deployment moves on | the deployment | [`Waker::wake`], by run API and executor |

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Context, Kind, Object, Stores, watch};
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
    pub(super) fn calls<K: Object>(&self, kind: ObjectKind) -> impl Stream<Item = ObjectRef<K>> + Send + use<K> {
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

/// What objects may name in their namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

/// Wakes the objects of one kind that name a Secret or ConfigMap.
pub type Referrers = Box<dyn Fn(Named, &Key) + Send + Sync>;

/// The same for a [`Kind`].
pub fn referrers<K: Kind>(store: &Store<K::Object>, waker: &Waker) -> Referrers {
    let (store, waker) = (store.clone(), waker.clone());
    Box::new(move |named, (namespace, name)| {
        for object in store.state() {
            let (home, own) = key_of(object.as_ref());
            let names = || match named {
                Named::Secret => K::secrets(&object),
                Named::ConfigMap => K::config_maps(&object),
            };
            if home == *namespace && names().contains(&name.as_str()) {
                waker.wake(K::KIND, &home, &own);
            }
        }
    })
}

/// Watches names and versions of Secrets and ConfigMaps, until what it answers is dropped.
pub fn follow_sources(cx: &Context, referrers: Vec<Referrers>) -> JoinSet<()> {
    let referrers: Arc<[Referrers]> = referrers.into();
    let mut tasks = JoinSet::new();
    tasks.spawn(follow_source::<Secret>(cx.clone(), Named::Secret, referrers.clone()));
    tasks.spawn(follow_source::<ConfigMap>(cx.clone(), Named::ConfigMap, referrers));
    tasks
}

async fn follow_source<K>(cx: Context, named: Named, referrers: Arc<[Referrers]>)
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let mut versions = Versions::default();
    let mut events = watch::metadata::<K>(&cx.client, &cx.installation.watch_namespaces);
    while let Some((number, event)) = events.next().await {
        match event {
            Ok(event) => {
                versions.take(number, event).iter().for_each(|key| referrers.iter().for_each(|r| r(named, key)))
            }
            Err(error) => tracing::warn!(?named, %error, "the watch broke and is taken up again"),
        }
    }
}

/// What was last seen of each Secret or ConfigMap, for each watch.
#[derive(Default)]
struct Versions {
    known: HashMap<usize, HashMap<Key, Option<String>>>,
    listing: HashMap<usize, HashMap<Key, Option<String>>>,
}

impl Versions {
    /// What came, changed or went.
    fn take<K>(&mut self, number: usize, event: Event<PartialObjectMeta<K>>) -> Vec<Key> {
        let of = |object: PartialObjectMeta<K>| {
            let meta = object.metadata;
            ((meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default()), meta.resource_version)
        };
        let known = self.known.entry(number).or_default();
        let listing = self.listing.entry(number).or_default();
        match event {
            Event::Init => listing.clear(),
            Event::InitApply(object) => {
                let (key, version) = of(object);
                listing.insert(key, version);
            }
            Event::InitDone => {
                let before = std::mem::replace(known, std::mem::take(listing));
                let gone = before.keys().filter(|key| !known.contains_key(*key));
                let moved = known.iter().filter(|(key, version)| before.get(*key) != Some(*version));
                return gone.chain(moved.map(|(key, _)| key)).cloned().collect();
            }
            Event::Apply(object) => {
                let (key, version) = of(object);
                known.insert(key.clone(), version);
                return vec![key];
            }
            Event::Delete(object) => {
                let (key, _) = of(object);
                known.remove(&key);
                return vec![key];
            }
        }
        Vec::new()
    }
}

/// Namespace and name.
pub fn key_of<K: Object>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
