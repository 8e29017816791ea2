//! How objects are woken: by name through a [`Waker`], and by the Secrets and ConfigMaps that they name. Who wakes whom is
//! said on one screen in [`crate::kinds::wake`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::watched::{Needed, Watches};
use super::{Context, Kind, Object, watch};
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
    let namespaces = &cx.installation.watch_namespaces;
    let mut watches = Watches::of::<K>(&cx, namespaces, Needed::ToBeWoken);
    let mut events = watch::metadata::<K>(&cx.client, namespaces);
    while let Some((number, event)) = events.next().await {
        if let Some(event) = watches.pass(number, event) {
            versions.take(number, event).iter().for_each(|key| referrers.iter().for_each(|r| r(named, key)));
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
