//! Namespaces, of which only the organization's label counts.

use std::collections::HashMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};

use super::Context;
use super::watched::{Needed, Watches};
use crate::api::ORGANIZATION_LABEL;

/// Told the name of a namespace that went to another organization. It must not wait.
pub type Relabelled = Box<dyn Fn(&str) + Send + Sync>;

/// Follows the labels of all namespaces, until this is dropped. What changed before is found by the mirror's first list.
pub async fn follow(cx: Context, tell: Vec<Relabelled>) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(cx.client.clone());
    let mut events = kube::runtime::watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut watches = Watches::of::<Namespace>(&cx, &[], Needed::ToBeWoken);
    let mut labels = Labels::default();
    while let Some(event) = events.next().await {
        if let Some(namespace) = watches.pass(0, event).and_then(|event| labels.take(event)) {
            tracing::info!(namespace, "goes to another organization");
            tell.iter().for_each(|tell| tell(&namespace));
        }
    }
}

/// The label of each namespace, as it was last seen.
#[derive(Default)]
struct Labels(HashMap<String, Option<String>>);

impl Labels {
    /// Namespaces whose label is another one now.
    fn take(&mut self, event: Event<PartialObjectMeta<Namespace>>) -> Option<String> {
        let (Event::InitApply(object) | Event::Apply(object)) = event else { return None };
        let label = object.metadata.labels.and_then(|mut labels| labels.remove(ORGANIZATION_LABEL));
        let name = object.metadata.name.unwrap_or_default();
        let before = self.0.insert(name.clone(), label.clone());
        before.is_some_and(|before| before != label).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_is_told_of_when_its_label_changes_and_only_then() {
        let namespace = |labels| serde_json::from_value(json!({"metadata": {"name": "a", "labels": labels}})).unwrap();
        let mut seen = Labels::default();
        let mut moved = |event| seen.take(event).is_some();
        assert!(!moved(Event::InitApply(namespace(json!({"x": "1"})))), "new");
        assert!(!moved(Event::Apply(namespace(json!({"x": "2"})))), "another label");
        assert!(moved(Event::Apply(namespace(json!({"landfall.dev/organization": "acme"})))));
        assert!(!moved(Event::InitApply(namespace(json!({"landfall.dev/organization": "acme"})))), "listed again");
        assert!(moved(Event::InitApply(namespace(json!({})))), "changed while the watch was away");
    }
}
