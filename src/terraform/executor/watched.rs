//! What Landfall's own namespace has of runs, as a watch tells it.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::pod;

/// Told namespace and name of the deployment of whose run something has changed.
pub type Tell = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// The objects of a kind that are labelled with a run.
pub(super) struct Watched<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    /// Whether the store is kept up to date.
    current: Arc<AtomicBool>,
    watching: JoinHandle<()>,
}

impl<K: Resource<DynamicType = ()> + 'static> Drop for Watched<K> {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// Begins to watch; must be called within a tokio runtime. `slim` takes away what nobody reads of an object.
    pub(super) fn new(
        client: &kube::Client,
        namespace: &str,
        slim: impl Fn(&mut K) + Send + 'static,
        tell: Tell,
    ) -> Self {
        let (store, writer) = reflector::store();
        let current = Arc::new(AtomicBool::new(false));
        let events = watcher(Api::namespaced(client.clone(), namespace), watcher::Config::default().labels(pod::RUN));
        let slim = move |object: &mut K| {
            object.meta_mut().managed_fields = None;
            slim(object);
        };
        let events = events.modify(slim).default_backoff();
        let watching = tokio::spawn(follow(events.reflect(writer).touched_objects(), current.clone(), tell));
        Self { store, current, watching }
    }

    /// The one that this is true of, where the watch goes on and knows it. Others may be there all the same: a watch is behind.
    pub(super) fn find(&self, is: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        self.current.load(Ordering::Relaxed).then(|| self.store.find(is)).flatten()
    }

    /// The one of a run that this is true of.
    pub(super) fn of(&self, run: Uuid, is: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        self.find(|object| pod::run(object.meta().labels.as_ref()) == Some(run) && is(object))
    }
}

/// Tells of each change, and whether the watch goes on.
async fn follow<K: Resource<DynamicType = ()>>(
    objects: impl Stream<Item = watcher::Result<K>>,
    current: Arc<AtomicBool>,
    tell: Tell,
) {
    let mut objects = pin!(objects);
    let mut broken = false;
    while let Some(event) = objects.next().await {
        match event {
            Ok(object) => {
                broken = false;
                current.store(true, Ordering::Relaxed);
                if let Some((namespace, name)) = pod::deployment(object.annotations()) {
                    tell(namespace, name);
                }
            }
            Err(error) if !broken => {
                broken = true;
                current.store(false, Ordering::Relaxed);
                tracing::warn!(kind = %K::kind(&()), %error, "what runs have in the cluster is not watched; it is looked at one by one");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::iter;
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    #[tokio::test]
    async fn the_store_is_believed_while_the_watch_goes_on() {
        let current = Arc::new(AtomicBool::new(false));
        let broken = || Err(watcher::Error::NoResourceVersion);
        for (events, expected) in [
            (vec![Ok(Pod::default())], true),
            (vec![Ok(Pod::default()), broken()], false),
            (vec![broken()], false),
            (vec![broken(), broken(), Ok(Pod::default())], true),
        ] {
            follow(iter(events), current.clone(), Arc::new(|_, _| {})).await;
            assert_eq!(current.load(Ordering::Relaxed), expected);
        }
    }
}
