//! What an object says, as columns. Pure: nothing here can refuse an object but its resourceVersion.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::Subject;
use super::super::json::{storable, storable_text};
use crate::access::text;

/// An object as the watch gave it.
#[derive(Clone, Debug)]
pub struct MirrorRow {
    /// Which object.
    pub subject: Subject,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// metadata without managedFields, spec with digests in place of values, status. Secrets are the caller's to redact.
    pub object: Value,
    /// Who wrote the spec last, as the object says.
    pub field_manager: Option<String>,
}

/// The columns of the header that an object fills.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Columns {
    pub(super) uid: Uuid,
    pub(super) organization_id: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) generation: i64,
    pub(super) resource_version: String,
    pub(super) observed_generation: Option<i64>,
    pub(super) spec: Value,
    pub(super) status: Option<Value>,
    pub(super) labels: Value,
    pub(super) phase: Option<String>,
    pub(super) ready: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) field_manager: Option<String>,
    pub(super) escaped: bool,
    pub(super) object_created_at: Option<Timestamp>,
    pub(super) deletion_requested_at: Option<Timestamp>,
}

/// A resourceVersion as Kubernetes defines it since 1.35: a positive decimal number of any length, without leading zeros.
pub(super) fn resource_version(text: &str) -> Result<String, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !text.starts_with('0') && text.len() <= 1000 {
        return Ok(text.to_owned());
    }
    let shown = text::cap(text, 80);
    Err(format!(
        "metadata.resourceVersion: found {shown:?}, which is no positive decimal number: it cannot be put in order"
    ))
}

impl Columns {
    pub(super) fn of(row: &MirrorRow) -> Result<Self, String> {
        let resource_version = resource_version(&row.resource_version)?;
        let mut escaped = false;
        let mut keep = |value: Value| {
            let stored = storable(value);
            escaped |= stored.escaped;
            stored.value
        };
        let present = |pointer: &str| row.object.pointer(pointer).filter(|value| !value.is_null()).cloned();
        let spec = keep(present("/spec").unwrap_or_else(|| Value::Object(Map::new())));
        let status = present("/status").map(&mut keep);
        let labels = keep(present("/metadata/labels").unwrap_or_else(|| Value::Object(Map::new())));
        // From here on, what is read is storable already.
        let ready = status.as_ref().and_then(|status| condition(status, "Ready"));
        let of_ready = |field: &str| ready.and_then(|ready| text(ready, field));
        let field_manager = row.field_manager.as_deref().map(|manager| {
            let (manager, odd) = storable_text(manager);
            escaped |= odd;
            manager
        });
        Ok(Self {
            uid: row.subject.uid,
            organization_id: row.subject.organization.0.clone(),
            namespace: row.subject.namespace.clone(),
            name: row.subject.name.clone(),
            generation: row.generation,
            resource_version,
            observed_generation: status
                .as_ref()
                .and_then(|status| status.get("observedGeneration"))
                .and_then(Value::as_i64),
            phase: status.as_ref().and_then(|status| text(status, "phase")),
            ready: of_ready("status"),
            reason: of_ready("reason"),
            message: of_ready("message"),
            field_manager,
            escaped,
            object_created_at: time(&row.object, "/metadata/creationTimestamp"),
            deletion_requested_at: time(&row.object, "/metadata/deletionTimestamp"),
            spec,
            status,
            labels,
        })
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = status.get("conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field).and_then(Value::as_str).map(str::to_owned)
}

/// A time that does not parse, or lies outside of what Postgres holds, is left out: the row matters more.
fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .filter(|time| *time >= Timestamp::UNIX_EPOCH)
}

/// Names of the fields of a spec that differ: what changed, without the values.
pub(super) fn changed_fields(before: &Value, after: &Value) -> Vec<String> {
    let empty = Map::new();
    let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut names: Vec<String> =
        before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).cloned().collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::super::super::ObjectKind;
    use super::*;
    use crate::api::Organization;

    fn row(object: Value) -> MirrorRow {
        let subject = Subject {
            organization: Organization("acme".into()),
            cluster: Uuid::nil(),
            kind: ObjectKind::TerraformDeployment,
            uid: Uuid::nil(),
            namespace: "shop".into(),
            name: "web".into(),
        };
        MirrorRow { subject, generation: 1, resource_version: "7".into(), object, field_manager: None }
    }

    #[test]
    fn the_ready_condition_becomes_columns() {
        let status = json!({"observedGeneration": 3, "phase": "Applied", "conditions": [
            {"type": "Other", "status": "True"}, {"type": "Ready", "status": "False", "reason": "PlanFailed", "message": "see"}]});
        let columns = Columns::of(&row(json!({"spec": {}, "status": status}))).unwrap();
        assert_eq!(columns.observed_generation, Some(3));
        assert_eq!(columns.phase.as_deref(), Some("Applied"));
        assert_eq!((columns.ready.as_deref(), columns.reason.as_deref()), (Some("False"), Some("PlanFailed")));
    }

    #[test]
    fn a_zero_character_is_kept_escaped_and_flagged() {
        let columns = Columns::of(&row(json!({"spec": {"a\u{0}": "b\u{0}c"}}))).unwrap();
        assert!(columns.escaped);
        assert_eq!(columns.spec, json!({"a\\u0000": "b\\u0000c"}));
    }

    #[test]
    fn odd_resource_versions_are_refused_not_guessed() {
        for odd in ["", "0", "07", "1a", "-1", "1.5", " 1", "１"] {
            assert!(resource_version(odd).is_err(), "{odd}");
        }
        for good in ["1", "999", "1000", "1180591620717411303424"] {
            assert_eq!(resource_version(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn what_changed_is_told_by_name() {
        assert_eq!(changed_fields(&json!({"a": 1, "b": 2}), &json!({"b": 3, "c": 4})), ["a", "b", "c"]);
    }

    proptest! {
        #[test]
        fn no_object_of_any_shape_panics(spec in "\\PC*", status in prop::option::of(0..3u8), label in ".*") {
            let status = match status { None => Value::Null, Some(0) => json!([1]), Some(1) => json!("x"), Some(_) => json!({"conditions": {"Ready": 1}, "phase": 7}) };
            let object = json!({"metadata": {"labels": {"l": label}, "creationTimestamp": spec}, "spec": spec, "status": status});
            prop_assert!(Columns::of(&row(object)).is_ok());
            prop_assert!(Columns::of(&row(Value::Null)).is_ok());
        }
    }
}
