//! Our finalizer, put on and taken off under the resourceVersion that was seen.

use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Context, Object};
use crate::Result;
use crate::api::{FIELD_MANAGER, FINALIZER};

/// Whether the object carries our finalizer.
pub fn is_set<K: Object>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|f| f == FINALIZER)
}

/// Puts our finalizer on the object. Nothing is sent where it is on already.
///
/// # Errors
/// The API server's, a conflict where the object has moved on.
pub async fn add<K: Object>(cx: &Context, object: &K) -> Result<()> {
    put(cx, object, with(object.meta().finalizers.as_deref())).await
}

/// Takes our finalizer off the object. An object that is gone is no error. Where ours was the last, the API server deletes
/// the object in a second step and under its uid alone: a change that it takes between the two is lost with the object.
///
/// # Errors
/// The API server's, a conflict where the object has moved on.
pub async fn remove<K: Object>(cx: &Context, object: &K) -> Result<()> {
    let result = put(cx, object, without(object.meta().finalizers.as_deref())).await;
    match result {
        Err(crate::Error::Cluster(error)) if crate::access::is_not_found(&error) => Ok(()),
        other => other,
    }
}

fn with(present: Option<&[String]>) -> Option<Vec<String>> {
    let present = present.unwrap_or_default();
    (!present.iter().any(|f| f == FINALIZER)).then(|| present.iter().cloned().chain([FINALIZER.into()]).collect())
}

fn without(present: Option<&[String]>) -> Option<Vec<String>> {
    let present = present.unwrap_or_default();
    present.iter().any(|f| f == FINALIZER).then(|| present.iter().filter(|f| *f != FINALIZER).cloned().collect())
}

async fn put<K: Object>(cx: &Context, object: &K, finalizers: Option<Vec<String>>) -> Result<()> {
    let Some(finalizers) = finalizers else { return Ok(()) };
    // A merge patch that names the resourceVersion is refused with a conflict when the object has moved on.
    let body: Value = json!({"metadata": {
        "resourceVersion": object.meta().resource_version,
        "uid": object.meta().uid,
        "finalizers": finalizers,
    }});
    let meta = object.meta();
    let api: Api<K> = Api::namespaced(cx.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch_metadata(meta.name.as_deref().unwrap_or_default(), &params, &Patch::Merge(&body)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn other_finalizers_stay_in_their_order() {
        let foreign = ["a".to_owned(), "b".to_owned()];
        let ours = with(Some(&foreign)).unwrap();
        assert_eq!(ours, ["a", "b", FINALIZER]);
        assert_eq!(without(Some(&ours)).unwrap(), foreign);
        assert_eq!(with(Some(&ours)), None, "nothing to send");
        assert_eq!(without(Some(&foreign)), None, "nothing to send");
    }
}
