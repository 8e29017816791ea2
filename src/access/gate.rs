//! Whether the admission policies that commands rely on are installed and as this binary knows them.
//!
//! An annotation proves who wrote it only while these policies hold, so no command is taken while one of them, or its
//! binding, is missing or differs in what it enforces.

use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Error, Result};

const POLICIES: &str = include_str!("../../manifests/install/policies.yaml");

/// The policies and bindings as they must stand in the cluster.
#[derive(Clone, Debug)]
pub struct Gate {
    expected: Vec<Expected>,
}

#[derive(Clone, Debug)]
struct Expected {
    kind: String,
    name: String,
    /// With the API server's defaults filled in.
    spec: Value,
}

/// One object of the gate that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// `Kind/name`.
    pub object: String,
    /// What is wrong with it, e.g. `is missing` or `differs at spec.failurePolicy`.
    pub problem: String,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.object, self.problem)
    }
}

impl Gate {
    /// The gate that this binary was built with.
    ///
    /// # Errors
    /// The embedded file is damaged.
    pub fn embedded() -> Result<Self> {
        let damaged = |e: &dyn std::fmt::Display| Error::Integrity(format!("embedded policies.yaml: {e}"));
        let expected = serde_yaml::Deserializer::from_str(POLICIES)
            .map(|document| {
                let object = Value::deserialize(document).map_err(|e| damaged(&e))?;
                let text = |pointer| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
                match (text("/kind"), text("/metadata/name"), object.get("spec")) {
                    (Some(kind), Some(name), Some(spec)) => Ok(Expected { kind, name, spec: with_defaults(spec) }),
                    _ => Err(damaged(&"an object without kind, name or spec")),
                }
            })
            .collect::<Result<_>>()?;
        Ok(Self { expected })
    }

    /// The first object that is not as it must be.
    ///
    /// # Errors
    /// The API server could not be asked: nothing is known, and no command may be taken.
    pub async fn flaw(&self, client: &kube::Client) -> Result<Option<Flaw>> {
        for expected in &self.expected {
            let version = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", &expected.kind);
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&version));
            let found = api.get_opt(&expected.name).await?;
            if let Some(problem) = expected.problem(found.as_ref()) {
                return Ok(Some(Flaw { object: format!("{}/{}", expected.kind, expected.name), problem }));
            }
        }
        Ok(None)
    }
}

impl Expected {
    fn problem(&self, found: Option<&DynamicObject>) -> Option<String> {
        let Some(found) = found else {
            return Some("is missing; install manifests/install/policies.yaml".to_owned());
        };
        if found.metadata.deletion_timestamp.is_some() {
            return Some("is being deleted; install manifests/install/policies.yaml".to_owned());
        }
        let spec = with_defaults(found.data.get("spec").unwrap_or(&Value::Null));
        difference("spec", &self.spec, &spec)
            .map(|path| format!("differs at {path}; install manifests/install/policies.yaml of this version"))
    }
}

/// What the API server adds to a policy or binding that leaves it out.
fn with_defaults(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let Some(top) = spec.as_object_mut() else { return spec };
    if !top.contains_key("policyName") {
        default(top, "failurePolicy", json!("Fail"));
    }
    for key in ["matchConstraints", "matchResources"] {
        let Some(resources) = top.get_mut(key).and_then(Value::as_object_mut) else { continue };
        default(resources, "matchPolicy", json!("Equivalent"));
        default(resources, "namespaceSelector", json!({}));
        default(resources, "objectSelector", json!({}));
        for rule in resources.get_mut("resourceRules").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(rule) = rule.as_object_mut() {
                default(rule, "scope", json!("*"));
            }
        }
    }
    spec
}

fn default(object: &mut Map<String, Value>, key: &str, value: Value) {
    object.entry(key).or_insert(value);
}

/// Path of the first place where two values differ.
fn difference(path: &str, expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            let below = |key: &String| {
                let [a, b] = [a, b].map(|side| side.get(key).unwrap_or(&Value::Null));
                difference(&format!("{path}.{key}"), a, b)
            };
            keys.filter_map(below).next()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .filter_map(|(index, (a, b))| difference(&format!("{path}[{index}]"), a, b))
            .next(),
        (a, b) => (a != b).then(|| path.to_owned()),
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
