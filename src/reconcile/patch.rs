//! Writing status: only when it differs, and only over the version that was read.

use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::Object;
use crate::Result;
use crate::api::FIELD_MANAGER;

/// What became of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was the same already; nothing was sent.
    Same,
    /// It was written.
    Changed,
    /// Somebody else wrote the object meanwhile; look again.
    Conflict,
    /// The object is gone.
    Gone,
}

/// Writes the whole status where it differs from the one in `object`.
///
/// # Errors
/// The API server's.
pub async fn status<K: Object>(client: &kube::Client, object: &K, status: &Value) -> Result<Written> {
    let present = serde_json::to_value(object).ok().and_then(|mut o| o.get_mut("status").map(Value::take));
    if present.as_ref().unwrap_or(&Value::Null) == status {
        return Ok(Written::Same);
    }
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    // Of a write to /status the API server takes the status alone, but wants the spec to pass its schema.
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
        "spec": serde_json::to_value(object).ok().and_then(|mut o| o.get_mut("spec").map(Value::take)),
        "status": status,
    });
    let api: Api<K> = Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.replace_subresource("status", name, &params, &body).await {
        Ok(_) => Ok(Written::Changed),
        Err(error) if is_conflict(&error) => Ok(Written::Conflict),
        Err(error) if is_not_found(&error) => Ok(Written::Gone),
        Err(error) => Err(error.into()),
    }
}

/// 409: the object has moved on.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// 404.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
