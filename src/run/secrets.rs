//! What of a run's inputs, and of the state that it finds, must not be shown.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::protocol::RunSpec;
use super::state::{Output, unreadable};
use crate::Result;
use crate::access::{Redactor, SecretText};

/// Parts of names in a credential's environment whose values are no secrets.
const PUBLIC: [&str; 5] = ["REGION", "URL", "ENDPOINT", "SERVER", "PROFILE"];

/// Knows the sensitive variables and the credential of a run, and what its state marks as sensitive.
pub fn redactor(spec: &RunSpec) -> Redactor {
    let sensitive = spec.variables.iter().filter(|(name, _)| spec.sensitive.contains(*name));
    let variables = sensitive.flat_map(|(_, json)| strings(json.expose()));
    let environment = spec.environment.iter().filter(|(name, _)| !PUBLIC.iter().any(|p| name.contains(p)));
    let environment = environment.map(|(_, value)| Zeroizing::new(value.expose().to_owned()));
    let hidden = spec.hidden.iter().map(|text| Zeroizing::new(text.expose().to_owned()));
    Redactor::new(variables.chain(environment).chain(hidden).map(|text| Zeroizing::new(text.as_bytes().to_vec())))
}

/// What a state file marks as sensitive: outputs, and attributes by their paths. A later module could show them, whether or
/// not it is given them.
///
/// # Errors
/// The bytes are no state file.
pub fn of_state(bytes: &[u8]) -> Result<Vec<SecretText>> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        outputs: BTreeMap<String, Output>,
        resources: Option<Vec<Resource>>,
    }
    #[derive(Deserialize)]
    struct Resource {
        #[serde(default)]
        instances: Vec<Instance>,
    }
    #[derive(Deserialize)]
    struct Instance {
        attributes: Option<Box<RawValue>>,
        sensitive_attributes: Option<Vec<Vec<Step>>>,
    }
    let file: File = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
    let mut found = Vec::new();
    file.outputs.values().filter(|output| output.sensitive).for_each(|output| walk(&output.value, &mut found));
    for instance in file.resources.iter().flatten().flat_map(|resource| &resource.instances) {
        let paths = instance.sensitive_attributes.iter().flatten();
        // What is nested deeper than parsers go is no value that anybody shows.
        let attributes = instance.attributes.as_ref().and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        if let Some(attributes) = attributes {
            paths.for_each(|path| walk(untyped(at(&attributes, path)), &mut found));
        }
    }
    Ok(found.iter().map(|text| SecretText::new(text.as_str())).collect())
}

/// One step of a path, as the engine writes it: `{"type": "get_attr", "value": "input"}`, or `index` with a typed value.
#[derive(Deserialize)]
struct Step {
    value: Value,
}

/// The value at a path, or the last one on the way to it that is there.
fn at<'v>(value: &'v Value, path: &[Step]) -> &'v Value {
    path.iter().fold(value, |value, step| {
        let inner = untyped(value);
        let key = untyped(&step.value);
        let index = || inner.get(usize::try_from(key.as_u64()?).ok()?);
        key.as_str().and_then(|name| inner.get(name)).or_else(index).unwrap_or(inner)
    })
}

/// The engine writes a value of dynamic type as `{"type": …, "value": …}`.
fn untyped(value: &Value) -> &Value {
    match (value.get("type"), value.get("value")) {
        (Some(_), Some(inner)) if value.as_object().is_some_and(|members| members.len() == 2) => inner,
        _ => value,
    }
}

fn walk(value: &Value, into: &mut Vec<Zeroizing<String>>) {
    match value {
        Value::String(s) => into.push(Zeroizing::new(s.clone())),
        Value::Number(n) => into.push(Zeroizing::new(n.to_string())),
        Value::Array(items) => items.iter().for_each(|v| walk(v, into)),
        Value::Object(members) => members.values().for_each(|v| walk(v, into)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// All strings inside a JSON value, and the text itself where it is no JSON.
fn strings(json: &str) -> Vec<Zeroizing<String>> {
    let mut found = Vec::new();
    match serde_json::from_str::<Value>(json) {
        Ok(value) => walk(&value, &mut found),
        Err(_) => found.push(Zeroizing::new(json.to_owned())),
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_state_marks_as_sensitive_is_found_and_nothing_else() {
        let state = serde_json::json!({"outputs": {"a": {"value": "open", "type": "string"},
            "b": {"value": ["hidden-output"], "type": ["list", "string"], "sensitive": true}},
            "resources": [{"instances": [
                {"attributes": {"id": "i", "input": {"type": "string", "value": "hidden-input"}, "output": "plain"},
                 "sensitive_attributes": [[{"type": "get_attr", "value": "input"}]]},
                {"attributes": {"env": {"k": "hidden-map", "l": "plain"}, "list": ["plain", {"x": 12345}]},
                 "sensitive_attributes": [
                    [{"type": "get_attr", "value": "env"}, {"type": "index", "value": {"value": "k", "type": "string"}}],
                    [{"type": "get_attr", "value": "list"}, {"type": "index", "value": {"value": 1, "type": "number"}}]]},
                {"attributes": {"id": "plain"}}]}]});
        let found = of_state(state.to_string().as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(SecretText::expose).collect();
        assert_eq!(found, ["hidden-output", "hidden-input", "hidden-map", "12345"]);
    }

    #[test]
    fn structured_values_are_taken_apart() {
        let found = strings(r#"{"a": ["deep-secret", {"b": "other-secret"}], "c": true}"#);
        let found: Vec<&str> = found.iter().map(|text| text.as_str()).collect();
        assert_eq!(found, ["deep-secret", "other-secret"]);
    }
}
