//! The outputs of a deployment: all of them in a Secret of its own, those that are not sensitive in status.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde_json::Value;

use super::observe::{Observed, Ownership};
use crate::api::{FIELD_MANAGER, Reason, TerraformDeployment};
use crate::kinds::Context;
use crate::ledger::Subject;
use crate::reconcile::{MANAGED_BY, owns};
use crate::run::state::Output;
use crate::{Error, Result};

/// The event that a Secret has the outputs.
pub(super) const PUBLISHED: &str = "outputs.published";
/// The event that the Secret which had them has them no more.
pub(super) const REMOVED: &str = "outputs.removed";

/// The API server takes no larger Secret.
const SECRET_BYTES: usize = 1 << 20;
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
///
/// # Errors
/// `SourceInvalid` for what no Secret holds.
fn data(object: &TerraformDeployment, outputs: &Outputs) -> Result<BTreeMap<String, ByteString>> {
    let include = object.spec.outputs.as_ref().map(|o| o.include.as_slice()).unwrap_or_default();
    let wanted = |name: &String| include.is_empty() || include.contains(name);
    let bytes = |value: &Value| match value {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    let data: BTreeMap<_, _> =
        outputs.iter().filter(|(n, _)| wanted(n)).map(|(n, o)| (n.clone(), ByteString(bytes(&o.value)))).collect();
    let unfit = |what: String| {
        let message = format!("{what}; change the output, or name in spec.outputs.include those that you need");
        Err(Error::condition(Reason::SourceInvalid, message))
    };
    if let Some(name) = data.keys().find(|name| !is_key(name)) {
        return unfit(format!(
            "output {name:?}: the key of a Secret has up to 253 letters a to z and A to Z, digits, `-`, `_` and `.`"
        ));
    }
    let size: usize = data.values().map(|value| value.0.len()).sum();
    match data.iter().max_by_key(|(_, value)| value.0.len()) {
        Some((largest, _)) if size > SECRET_BYTES => unfit(format!(
            "the outputs have {size} bytes, {largest:?} the most of them, and a Secret holds {SECRET_BYTES}"
        )),
        _ => Ok(data),
    }
}

fn is_key(name: &str) -> bool {
    name.len() <= 253 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// How the Secret stands to these outputs.
///
pub(super) fn ownership(object: &TerraformDeployment, found: Option<&Secret>, outputs: &Outputs) -> Ownership {
    match found {
        _ if object.spec.outputs.is_none() => Ownership::NotWanted,
        None => Ownership::Stale,
        Some(found) if !owns(object, &found.metadata) => Ownership::Foreign,
        Some(found) => match data(object, outputs) {
            Ok(data) if found.data.clone().unwrap_or_default() == data => Ownership::Fresh,
            _ => Ownership::Stale,
        },
    }
}

/// The Secret that the spec names, as it stands. To be read before the outputs that it is compared with.
///
/// # Errors
/// The API server's.
pub(super) async fn find(cx: &Context, object: &TerraformDeployment) -> Result<Option<Secret>> {
    match &object.spec.outputs {
        Some(wanted) => Ok(secrets(cx, object).get_opt(&wanted.secret_name).await?),
        None => Ok(None),
    }
}

/// Writes the Secret in one request: made anew, or its data replaced under the resourceVersion that was judged, so that
/// nobody who was held up writes former outputs over newer ones. `false` where nothing was written.
///
/// # Errors
/// The API server's; a conflict where somebody else was there first; conditions.
pub(super) async fn publish(cx: &Context, object: &TerraformDeployment, seen: &Observed) -> Result<bool> {
    let Some(wanted) = &object.spec.outputs else { return Ok(false) };
    let data = data(object, &seen.values)?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(wanted.secret_name.clone()),
            namespace: object.namespace(),
            owner_references: object.controller_owner_ref(&()).map(|o| vec![o]),
            labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(data.clone()),
        type_: Some("Opaque".into()),
        ..Secret::default()
    };
    let api = secrets(cx, object);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    let written = match (api.get_opt(&wanted.secret_name).await?, &seen.outputs_version) {
        (None, None) => api.create(&params, &secret).await?,
        (Some(mut found), Some(version)) if owns(object, &found.metadata) => {
            // What others have put beside the data stays.
            found.metadata.resource_version = Some(version.clone());
            found.metadata.labels.get_or_insert_default().insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
            found.data = Some(data.clone());
            api.replace(&wanted.secret_name, &params, &found).await?
        }
        // The next look finds how it stands and says so.
        _ => return Ok(false),
    };
    if written.data.unwrap_or_default() == data {
        return Ok(true);
    }
    Err(Error::condition(
        Reason::OutputsSecretNotOwned,
        format!(
            "Secret {:?} is changed by somebody else while it is written, as by an admission webhook; exempt it there",
            wanted.secret_name
        ),
    ))
}

/// The Secret that has outputs by the record, where the spec does not name it any more.
///
/// # Errors
/// Postgres's.
pub(super) async fn former(cx: &Context, subject: &Subject, object: &TerraformDeployment) -> Result<Option<String>> {
    let told = cx.ledger.newest_event(subject, &[PUBLISHED, REMOVED]).await?;
    let name = told.as_ref().and_then(|details| details.get("secret")).and_then(Value::as_str);
    let wanted = object.spec.outputs.as_ref().map(|outputs| outputs.secret_name.as_str());
    Ok(name.filter(|name| Some(*name) != wanted).map(str::to_owned))
}

/// Deletes a Secret that is of this object, and no other that has taken its name. Whether there was one.
///
/// # Errors
/// The API server's; a conflict where somebody has changed it meanwhile.
pub(super) async fn remove(cx: &Context, object: &TerraformDeployment, name: &str) -> Result<bool> {
    let api = secrets(cx, object);
    let found = api.get_metadata_opt(name).await?;
    let Some(ours) = found.map(|found| found.metadata).filter(|meta| owns(object, meta)) else { return Ok(false) };
    let very = Preconditions { uid: ours.uid, resource_version: ours.resource_version };
    match api.delete(name, &DeleteParams { preconditions: Some(very), ..DeleteParams::default() }).await {
        Err(error) if crate::access::is_not_found(&error) => Ok(false),
        other => other.map(|_| true).map_err(Into::into),
    }
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
