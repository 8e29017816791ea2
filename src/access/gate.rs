//! Whether the admission policies that commands rely on are installed and as this binary knows them.
//!
//! An annotation proves who wrote it only while these policies hold, so no command is taken while one of them, or its
//! binding, is missing or differs in what it enforces, nor before the API server was seen to enforce them, nor if it was
//! given before they were as they are.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::api::FIELD_MANAGER;
use crate::{Error, Result};

/// An API server that has stored a policy enforces it a moment later: it looks for news every second.
const SETTLING: SignedDuration = SignedDuration::from_secs(3);
/// How far the API server's clock may be ahead of this machine's. A time beyond that is one that the API server did not write.
const SKEW: SignedDuration = SignedDuration::from_secs(60);
/// An annotation that the first policy refuses whoever sends it, since it is no command of any kind.
const PROOF: &str = "landfall.dev/proof";
const REFUSAL: &str = "ValidatingAdmissionPolicy 'landfall-commands'";

/// How an objection ends that passes by itself within seconds.
pub const GIVE_IT_AGAIN: &str = "give it again";

/// Uids and resourceVersions.
type Versions = Vec<(Option<String>, Option<String>)>;

/// The policies and bindings as they must stand in the cluster.
#[derive(Clone, Debug)]
pub struct Gate {
    expected: Vec<Expected>,
    /// The uids and versions of the set that was last seen enforced.
    proved: Arc<Mutex<Versions>>,
}

/// How the policies stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All are there and enforced, since then.
    Whole(Timestamp),
    /// The first that is not as it must be.
    Flawed(Flaw),
}

impl Standing {
    /// Why nothing that they guard may be done: a command given at `given`, or, without one, an apply that nobody approved.
    pub fn objection(&self, command: Option<Option<Timestamp>>, now: Timestamp) -> Option<String> {
        let since = match self {
            Self::Whole(since) => since.saturating_add(SETTLING).unwrap_or(*since),
            Self::Flawed(flaw) => return Some(flaw.to_string()),
        };
        match command {
            None => None,
            Some(Some(given)) if given.duration_since(now) > SKEW => Some(format!(
                "its managedFields say that it was given at {given:.0}, and by the controller's clock it is {now:.0}; give it \
                 again when the clocks agree"
            )),
            Some(Some(given)) if given > since => None,
            Some(given) => {
                let given = given.map_or("at a time that is not known".to_owned(), |at| format!("at {at:.0}"));
                Some(format!(
                    "it was given {given}, and the policies that guard it count from {since:.0}; {GIVE_IT_AGAIN}"
                ))
            }
        }
    }
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
    /// Policies and bindings as they are installed, as YAML.
    pub const POLICIES: &str = include_str!("../../manifests/install/policies.yaml");

    /// The gate that this binary was built with.
    ///
    /// # Errors
    /// The embedded file is damaged.
    pub fn embedded() -> Result<Self> {
        let damaged = |e: &dyn std::fmt::Display| Error::Integrity(format!("embedded policies.yaml: {e}"));
        let expected = serde_yaml::Deserializer::from_str(Self::POLICIES)
            .map(|document| {
                let object = Value::deserialize(document).map_err(|e| damaged(&e))?;
                let text = |pointer| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
                match (text("/kind"), text("/metadata/name"), object.get("spec")) {
                    (Some(kind), Some(name), Some(spec)) => Ok(Expected { kind, name, spec: with_defaults(spec) }),
                    _ => Err(damaged(&"an object without kind, name or spec")),
                }
            })
            .collect::<Result<_>>()?;
        Ok(Self { expected, proved: Arc::default() })
    }

    /// Whether all is installed, unmodified and enforced, which is tried once for each set of policies: by a dry run
    /// that changes `name`, an object of a kind that they guard.
    ///
    /// # Errors
    /// The API server could not be asked: nothing is known, and no command may be taken.
    pub async fn standing<K>(&self, client: &kube::Client, api: &Api<K>, name: &str) -> Result<Standing>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let looked = try_join_all(self.expected.iter().map(|expected| expected.find(client))).await?;
        let found = match looked.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(objects) => objects.into_iter().map(|object| object.metadata).collect::<Vec<_>>(),
            Err(flaw) => return Ok(Standing::Flawed(flaw)),
        };
        let since = found.iter().map(changed_at).max().unwrap_or(Timestamp::MAX);
        let versions: Vec<_> = found.into_iter().map(|meta| (meta.uid, meta.resource_version)).collect();
        if *self.lock() == versions {
            return Ok(Standing::Whole(since));
        }
        if !is_enforced(api, name).await? {
            let object = "ValidatingAdmissionPolicy/landfall-commands".to_owned();
            let problem = format!("is installed and not enforced yet; {GIVE_IT_AGAIN}");
            return Ok(Standing::Flawed(Flaw { object, problem }));
        }
        *self.lock() = versions;
        Ok(Standing::Whole(since))
    }

    fn lock(&self) -> MutexGuard<'_, Versions> {
        self.proved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the API server refuses what the first policy forbids everybody.
async fn is_enforced<K: Clone + DeserializeOwned + Debug>(api: &Api<K>, name: &str) -> Result<bool> {
    let params = PatchParams { dry_run: true, field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let patch = json!({"metadata": {"annotations": {PROOF: "refuse this"}}});
    match api.patch_metadata(name, &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if status.message.contains(REFUSAL) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// When a policy or binding last became what it is.
fn changed_at(meta: &ObjectMeta) -> Timestamp {
    let wrote = |entry: &&ManagedFieldsEntry| entry.subresource.as_deref().unwrap_or_default().is_empty();
    let writes = meta.managed_fields.iter().flatten().filter(wrote).filter_map(|entry| entry.time.as_ref());
    let made = meta.creation_timestamp.as_ref();
    writes.chain(made).map(|time| time.0).max().unwrap_or(Timestamp::MAX)
}

impl Expected {
    async fn find(&self, client: &kube::Client) -> Result<Result<DynamicObject, Flaw>> {
        let version = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", &self.kind);
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&version));
        let found = api.get_opt(&self.name).await?;
        let flaw = |problem| Flaw { object: format!("{}/{}", self.kind, self.name), problem };
        Ok(match (self.problem(found.as_ref()), found) {
            (None, Some(object)) => Ok(object),
            (problem, _) => Err(flaw(problem.unwrap_or_default())),
        })
    }

    fn problem(&self, found: Option<&DynamicObject>) -> Option<String> {
        let Some(found) = found else {
            return Some("is missing; install manifests/install/policies.yaml".to_owned());
        };
        if found.metadata.deletion_timestamp.is_some() {
            return Some("is being deleted; install manifests/install/policies.yaml".to_owned());
        }
        let spec = with_defaults(found.data.get("spec").unwrap_or(&Value::Null));
        difference("spec", &self.spec, &spec)
            .map(|path| format!("differs at {path}; bring the policies of this version (manifests/install/policies.yaml; with Helm, an upgrade or a rollback that goes through)"))
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
