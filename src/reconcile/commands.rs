//! Command annotations, taken away once they were handled.

use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::{Context, Object};
use crate::Result;
use crate::api::FIELD_MANAGER;

/// Removes these annotations, under the resourceVersion that was seen: one that was set anew meanwhile stays.
///
/// # Errors
/// The API server's, a conflict where the object has moved on.
pub async fn clear<K: Object>(cx: &Context, object: &K, annotations: &[&str]) -> Result<()> {
    let meta = object.meta();
    let present = |a: &&&str| meta.annotations.as_ref().is_some_and(|map| map.contains_key(**a));
    let gone: Map<String, Value> = annotations.iter().filter(present).map(|a| ((*a).to_owned(), Value::Null)).collect();
    if gone.is_empty() {
        return Ok(());
    }
    let body = json!({"metadata": {"resourceVersion": meta.resource_version, "uid": meta.uid, "annotations": gone}});
    let api: Api<K> = Api::namespaced(cx.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch_metadata(meta.name.as_deref().unwrap_or_default(), &params, &Patch::Merge(&body)).await?;
    Ok(())
}
