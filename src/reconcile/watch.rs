//! Watches: one per kind, which feeds the controller's store, the mirror and the wake-ups.
//!
//! A [`View`] turns what the watch says of any number of namespaces into changes. An object wakes its own reconcile only
//! when its [`fingerprint`] moves, which no status write does.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::watcher::{self, Event};

use serde_json::{Map, Value, json};

use super::Object;
use super::wake::{Key, key_of};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const OURS: &str = "landfall.dev/";

/// What became known of an object.
#[derive(Debug)]
pub enum Change<K> {
    /// It came or changed; `wake` where its fingerprint moved.
    Applied {
        /// As the store has it now.
        object: Arc<K>,
        /// Whether its reconcile is due.
        wake: bool,
    },
    /// It is gone; this is how it was last seen.
    Deleted(Arc<K>),
    /// The store now holds all there is.
    Listed,
}

/// The events of all watched namespaces, each with its namespace's number. Errors are retried with backoff.
pub fn events<K: Object>(
    client: &kube::Client,
    namespaces: &[String],
) -> BoxStream<'static, (usize, watcher::Result<Event<K>>)> {
    per_namespace(client, namespaces, |api| {
        kube::runtime::watcher(api, watcher::Config::default()).default_backoff().modify(slim).boxed()
    })
}

/// The same for Secrets or ConfigMaps, of which only names and versions are asked for.
pub fn metadata<K>(
    client: &kube::Client,
    namespaces: &[String],
) -> BoxStream<'static, (usize, watcher::Result<Event<PartialObjectMeta<K>>>)>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    per_namespace(client, namespaces, |api: Api<PartialObjectMeta<K>>| {
        let bare = |object: &mut PartialObjectMeta<K>| {
            object.metadata.annotations = None;
            object.metadata.labels = None;
            object.metadata.managed_fields = None;
        };
        kube::runtime::watcher(api, watcher::Config::default()).default_backoff().modify(bare).boxed()
    })
}

fn per_namespace<K, T: Send + 'static>(
    client: &kube::Client,
    namespaces: &[String],
    watch: impl Fn(Api<K>) -> BoxStream<'static, T>,
) -> BoxStream<'static, (usize, T)>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let apis: Vec<Api<K>> = match namespaces {
        [] => vec![Api::all(client.clone())],
        some => some.iter().map(|ns| Api::namespaced(client.clone(), ns)).collect(),
    };
    let streams = apis.into_iter().enumerate().map(|(n, api)| watch(api).map(move |event| (n, event)).boxed());
    stream::select_all(streams).boxed()
}

/// Leaves of the managed fields who wrote the spec last and since when commands stand there, and nothing of kubectl's
/// second copy: together they are most of a cached object, and the copy may hold secrets.
pub fn slim<K: kube::Resource>(object: &mut K) {
    let meta = object.meta_mut();
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
    let mut kept = Vec::new();
    for mut entry in meta.managed_fields.take().unwrap_or_default() {
        let fields = entry.fields_v1.take().map(|fields| fields.0).unwrap_or_default();
        let commands = fields.pointer("/f:metadata/f:annotations").and_then(Value::as_object);
        let commands: Map<String, Value> = commands
            .into_iter()
            .flatten()
            .filter(|(key, _)| is_command(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let wrote_spec = fields.get("f:spec").is_some() && entry.subresource.as_deref().unwrap_or_default().is_empty();
        let mut left = Map::new();
        if wrote_spec {
            left.insert("f:spec".into(), json!({}));
        }
        if !commands.is_empty() {
            left.insert("f:metadata".into(), json!({"f:annotations": commands}));
        }
        if !left.is_empty() {
            entry.fields_v1 = Some(FieldsV1(Value::Object(left)));
            kept.push(entry);
        }
    }
    meta.managed_fields = Some(kept);
}

fn is_command(field: &str) -> bool {
    field.strip_prefix("f:").is_some_and(|name| name.starts_with(OURS))
}

/// The field manager that wrote the spec last: what the object tells of its requester, which nobody has verified. Who
/// names himself like the controller is told as such, since the controller writes no spec.
pub fn requester<K: kube::Resource>(object: &K) -> Option<&str> {
    let owners = owners(object, "/f:spec");
    owners.max_by_key(|entry| entry.time.as_ref().map(|t| t.0))?.manager.as_deref()
}

/// Since when an annotation stands as it does, by what the API server noted of those who set it; the oldest of them,
/// since whoever sets it once more to the same value owns it too.
pub fn annotated_at<K: kube::Resource>(object: &K, annotation: &str) -> Option<Timestamp> {
    let pointer = format!("/f:metadata/f:annotations/f:{}", annotation.replace('~', "~0").replace('/', "~1"));
    let times: Option<Vec<_>> = owners(object, &pointer).map(|entry| entry.time.as_ref().map(|t| t.0)).collect();
    times?.into_iter().min()
}

fn owners<'a, K: kube::Resource>(object: &'a K, pointer: &'a str) -> impl Iterator<Item = &'a ManagedFieldsEntry> {
    let has = move |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(pointer).is_some())
    };
    object.meta().managed_fields.iter().flatten().filter(has)
}

/// What a reconcile depends on: generation, deletion, finalizers, and the annotations that are ours.
pub fn fingerprint<K: kube::Resource>(object: &K) -> u64 {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some(), &meta.finalizers).hash(&mut hasher);
    for ours in meta.annotations.iter().flatten().filter(|(name, _)| name.starts_with(OURS)) {
        ours.hash(&mut hasher);
    }
    hasher.finish()
}

/// All objects of one kind, from the watches of one or several namespaces.
pub struct View<K: Object> {
    writer: store::Writer<K>,
    sources: Vec<Source<K>>,
    ready: bool,
}

/// What one namespace's watch has said.
struct Source<K> {
    listed: bool,
    /// A list that is still coming in.
    listing: HashMap<Key, K>,
    known: HashMap<Key, u64>,
}

impl<K: Object> View<K> {
    /// A view over so many watches. It fills the store once all have listed.
    pub fn new(writer: store::Writer<K>, sources: usize) -> Self {
        let source = || Source { listed: false, listing: HashMap::new(), known: HashMap::new() };
        Self { writer, sources: (0..sources).map(|_| source()).collect(), ready: false }
    }

    /// Takes in one event of one watch.
    pub fn take(&mut self, number: usize, event: Event<K>) -> Vec<Change<K>> {
        let ready = self.ready;
        let Some(source) = self.sources.get_mut(number) else { return Vec::new() };
        match event {
            Event::Init => {
                source.listing.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                source.listing.insert(key_of(&object), object);
                Vec::new()
            }
            Event::InitDone if ready => self.relisted(number),
            Event::InitDone => {
                source.listed = true;
                if self.sources.iter().all(|s| s.listed) { self.become_ready() } else { Vec::new() }
            }
            // Before all have listed, the first list is simply kept up to date.
            Event::Apply(object) if !ready => {
                source.listing.insert(key_of(&object), object);
                Vec::new()
            }
            Event::Delete(object) if !ready => {
                source.listing.remove(&key_of(&object));
                Vec::new()
            }
            Event::Apply(object) => vec![self.applied(number, object)],
            Event::Delete(object) => vec![self.deleted(number, object)],
        }
    }

    fn become_ready(&mut self) -> Vec<Change<K>> {
        self.ready = true;
        let mut changes = Vec::new();
        self.writer.apply_watcher_event(&Event::Init);
        for source in &mut self.sources {
            for (key, object) in std::mem::take(&mut source.listing) {
                source.known.insert(key, fingerprint(&object));
                self.writer.apply_watcher_event(&Event::InitApply(object.clone()));
                changes.push(Change::Applied { object: Arc::new(object), wake: true });
            }
        }
        self.writer.apply_watcher_event(&Event::InitDone);
        changes.push(Change::Listed);
        changes
    }

    fn relisted(&mut self, number: usize) -> Vec<Change<K>> {
        let Some(source) = self.sources.get_mut(number) else { return Vec::new() };
        let listing = std::mem::take(&mut source.listing);
        let gone: Vec<Key> = source.known.keys().filter(|key| !listing.contains_key(*key)).cloned().collect();
        let store = self.writer.as_reader();
        let mut changes = Vec::new();
        for (namespace, name) in gone {
            if let Some(object) = store.get(&ObjectRef::new(&name).within(&namespace)) {
                changes.push(self.deleted(number, object.as_ref().clone()));
            }
        }
        changes.extend(listing.into_values().map(|object| self.applied(number, object)));
        changes.push(Change::Listed);
        changes
    }

    fn applied(&mut self, number: usize, object: K) -> Change<K> {
        let print = fingerprint(&object);
        let before = self.sources.get_mut(number).and_then(|s| s.known.insert(key_of(&object), print));
        self.writer.apply_watcher_event(&Event::Apply(object.clone()));
        Change::Applied { object: Arc::new(object), wake: before != Some(print) }
    }

    fn deleted(&mut self, number: usize, object: K) -> Change<K> {
        if let Some(source) = self.sources.get_mut(number) {
            source.known.remove(&key_of(&object));
        }
        self.writer.apply_watcher_event(&Event::Delete(object.clone()));
        Change::Deleted(Arc::new(object))
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
