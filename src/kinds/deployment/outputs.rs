//! The outputs of a deployment: all of them in a Secret of its own, those that are not sensitive in status.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::Value;

use super::observe::Ownership;
use crate::api::{FIELD_MANAGER, TerraformDeployment};
use crate::kinds::Context;
use crate::run::state::Output;
use crate::{Error, Result};

/// Keyed digest of what the Secret holds.
const DIGEST: &str = "landfall.dev/outputs-digest";
/// Status holds this many bytes of outputs at most.
const STATUS_BYTES: usize = 16 * 1024;

/// Outputs by name.
pub(super) type Outputs = BTreeMap<String, Output>;

/// Those that status shows: not sensitive, in the order of their names, as long as there is room.
pub(super) fn for_status(outputs: &Outputs) -> BTreeMap<String, Value> {
    let mut room = STATUS_BYTES;
    let mut shown = BTreeMap::new();
    for (name, output) in outputs.iter().filter(|(_, o)| !o.sensitive) {
        let size = name.len() + output.value.to_string().len() + 8;
        if size <= room {
            room -= size;
            shown.insert(name.clone(), output.value.clone());
        }
    }
    shown
}

/// Bytes by key of the Secret: text as it is, anything else as JSON.
fn data(object: &TerraformDeployment, outputs: &Outputs) -> BTreeMap<String, ByteString> {
    let include = object.spec.outputs.as_ref().map(|o| o.include.as_slice()).unwrap_or_default();
    let wanted = |name: &String| include.is_empty() || include.contains(name);
    let bytes = |value: &Value| match value {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    outputs.iter().filter(|(n, _)| wanted(n)).map(|(n, o)| (n.clone(), ByteString(bytes(&o.value)))).collect()
}

fn digest(cx: &Context, data: &BTreeMap<String, ByteString>) -> Result<String> {
    let canonical = serde_json_canonicalizer::to_vec(data).map_err(|e| Error::Integrity(e.to_string()))?;
    Ok(cx.ledger.keys().digest("outputs", &canonical))
}

fn owned(object: &TerraformDeployment, meta: &ObjectMeta) -> bool {
    let uid = object.metadata.uid.as_deref();
    meta.owner_references.iter().flatten().any(|o| o.controller == Some(true) && Some(o.uid.as_str()) == uid)
}

/// How the Secret stands to these outputs.
///
/// # Errors
/// The API server's.
pub(super) async fn ownership(cx: &Context, object: &TerraformDeployment, outputs: &Outputs) -> Result<Ownership> {
    let Some(wanted) = &object.spec.outputs else { return Ok(Ownership::NotWanted) };
    let Some(found) = secrets(cx, object).get_metadata_opt(&wanted.secret_name).await? else {
        return Ok(Ownership::Stale);
    };
    if !owned(object, &found.metadata) {
        return Ok(Ownership::Foreign);
    }
    let fresh = found.annotations().get(DIGEST) == Some(&digest(cx, &data(object, outputs))?);
    Ok(if fresh { Ownership::Fresh } else { Ownership::Stale })
}

/// Writes the Secret in one request: made anew, or replaced under the resourceVersion that was seen to be ours. `false` where
/// nothing was written.
///
/// # Errors
/// The API server's; a conflict where somebody else was there first.
pub(super) async fn publish(cx: &Context, object: &TerraformDeployment, outputs: &Outputs) -> Result<bool> {
    let Some(wanted) = &object.spec.outputs else { return Ok(false) };
    let data = data(object, outputs);
    let mut secret = Secret {
        metadata: ObjectMeta {
            name: Some(wanted.secret_name.clone()),
            namespace: object.namespace(),
            owner_references: object.controller_owner_ref(&()).map(|o| vec![o]),
            annotations: Some([(DIGEST.to_owned(), digest(cx, &data)?)].into()),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), "landfall".to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        type_: Some("Opaque".into()),
        ..Secret::default()
    };
    let api = secrets(cx, object);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.get_metadata_opt(&wanted.secret_name).await? {
        None => api.create(&params, &secret).await?,
        Some(found) if owned(object, &found.metadata) => {
            secret.metadata.resource_version = found.metadata.resource_version;
            api.replace(&wanted.secret_name, &params, &secret).await?
        }
        // The next look finds it foreign and says so.
        Some(_) => return Ok(false),
    };
    Ok(true)
}

fn secrets(cx: &Context, object: &TerraformDeployment) -> Api<Secret> {
    Api::namespaced(cx.client.clone(), object.metadata.namespace.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn output(value: Value, sensitive: bool) -> Output {
        Output { value, sensitive }
    }

    #[test]
    fn status_shows_neither_sensitive_outputs_nor_more_than_it_has_room_for() {
        let outputs = Outputs::from([
            ("a".to_owned(), output(json!("x".repeat(STATUS_BYTES)), false)),
            ("b".to_owned(), output(json!({"n": 1}), false)),
            ("secret".to_owned(), output(json!("hidden"), true)),
        ]);
        assert_eq!(for_status(&outputs), BTreeMap::from([("b".to_owned(), json!({"n": 1}))]));
    }
}
