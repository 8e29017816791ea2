//! Writing status: only when it differs, and only over the version that was read.

use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::Object;
use crate::access::{is_conflict, is_not_found};
use crate::api::{FIELD_MANAGER, Reason};
use crate::{Error, Result};

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
    let mut body = serde_json::to_value(object).map_err(|e| Error::Integrity(e.to_string()))?;
    if body.get("status").unwrap_or(&Value::Null) == status {
        return Ok(Written::Same);
    }
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    // Of a write to /status the API server takes the status alone. But whoever owned a field of the metadata that is not sent
    // owns it no more, and when a command was given is known by its owner.
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if let Some(members) = body.as_object_mut() {
        members.extend([
            ("apiVersion".to_owned(), json!(K::api_version(&()))),
            ("kind".to_owned(), json!(K::kind(&()))),
            ("status".to_owned(), status.clone()),
        ]);
    }
    let api: Api<K> = Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.replace_subresource("status", name, &params, &body).await {
        Ok(_) => Ok(Written::Changed),
        Err(error) if is_conflict(&error) => Ok(Written::Conflict),
        Err(error) if is_not_found(&error) => Ok(Written::Gone),
        Err(error) => Err(error.into()),
    }
}

/// What to do where the API server refuses the controller something in its own namespace; empty where that is not known.
pub fn next_step(error: &Error) -> &'static str {
    match error {
        Error::Cluster(_) if error.reason() == Reason::Forbidden => {
            "; see that `namespace` of landfall.yaml is there and Landfall's own, and bind the ClusterRoles landfall-controller, \
             landfall-controller-cluster and, there, landfall-controller-own to the user of the controller's kubeconfig \
             (docs/installation.md)"
        }
        _ => "",
    }
}
