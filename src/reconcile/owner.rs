//! Whose an object of the cluster is that Landfall makes for one of its own.

use kube::api::ObjectMeta;

use super::Object;

/// The label of what Landfall makes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "landfall");

/// Whether `owner` is the controller of what has this metadata.
pub fn owns<K: Object>(owner: &K, meta: &ObjectMeta) -> bool {
    let uid = owner.meta().uid.as_deref();
    meta.owner_references.iter().flatten().any(|o| o.controller == Some(true) && Some(o.uid.as_str()) == uid)
}
