//! What a state file says: serial and lineage, managed resources, outputs. Format version 4 of both engines.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{Error, Result};

/// What is read of a state file. Attributes are dropped but for `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFile {
    /// Grows with each change within a lineage.
    pub serial: i64,
    /// Made by the engine with the first state.
    pub lineage: String,
    /// Instances of managed resources, those of data sources left out.
    pub instances: Vec<Instance>,
    /// The module encrypts its state: serial and lineage are in clear, what stands in it is not known.
    pub opaque: bool,
}

/// One instance of a managed resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Address in the module tree; a deposed instance has its key behind it.
    pub address: String,
    /// Resource type.
    pub resource_type: String,
    /// Source address of the provider, e.g. `registry.opentofu.org/hashicorp/time`.
    pub provider: String,
    /// The attribute `id`, where there is one.
    pub id: Option<String>,
}

/// An output's value.
#[derive(Clone, PartialEq, Deserialize)]
pub struct Output {
    /// Any JSON; where it is nested deeper than [`DEEPEST`], its text.
    #[serde(deserialize_with = "value_or_text")]
    pub value: Value,
    /// Not to be shown.
    #[serde(default)]
    pub sensitive: bool,
}

/// Parsers stop at 128 levels, and a value is read again inside of an object's status.
const DEEPEST: usize = 64;

fn value_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Value, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let read = serde_json::from_str(raw.get()).ok().filter(|value| is_flat(value, DEEPEST));
    Ok(read.unwrap_or_else(|| Value::String(raw.get().to_owned())))
}

/// Whether the value has at most so many levels.
pub(crate) fn is_flat(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_flat(item, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|field| is_flat(field, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("sensitive", &self.sensitive).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Raw {
    version: Option<u64>,
    serial: i64,
    lineage: String,
    resources: Option<Vec<RawResource>>,
    encrypted_data: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct RawResource {
    module: Option<String>,
    mode: String,
    #[serde(rename = "type")]
    resource_type: String,
    name: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    instances: Vec<RawInstance>,
}

#[derive(Deserialize)]
struct RawInstance {
    index_key: Option<Value>,
    deposed: Option<String>,
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Attributes {
    id: Option<Value>,
}

impl StateFile {
    /// Reads a state file.
    ///
    /// # Errors
    /// Says what is missing, never what stands in it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
        let opaque = raw.encrypted_data.is_some();
        if !opaque && raw.version != Some(4) {
            return Err(Error::Integrity("the state file has not format version 4; use a newer engine".into()));
        }
        if raw.lineage.is_empty() || raw.serial < 0 {
            return Err(Error::Integrity("the state file names no lineage, or a serial below 0".into()));
        }
        let instances = raw.resources.iter().flatten().filter(|r| r.mode == "managed").flat_map(RawResource::instances);
        Ok(Self { serial: raw.serial, lineage: raw.lineage, instances: instances.collect(), opaque })
    }

    /// Managed instances; one where the state is encrypted, since such a state is never taken for empty.
    pub fn resources(&self) -> u32 {
        let count = u32::try_from(self.instances.len()).unwrap_or(u32::MAX);
        if self.opaque { count.max(1) } else { count }
    }
}

/// What people are told of states that the ledger refused for good. `which` names each and says why.
pub fn refusal(run: Uuid, which: &str) -> String {
    format!(
        "the ledger did not take a state of run {run}: {which}. Nothing is planned before a person has compared it with \
         `landfall state list`; landfall.dev/retry: {run} goes on with the ledger's state"
    )
}

/// A state that was refused: its serial, why, and where it is kept.
pub fn refused(bytes: &[u8], why: &str, path: &Path) -> String {
    let serial =
        StateFile::parse(bytes).map_or_else(|_| "unreadable".to_owned(), |state| format!("serial {}", state.serial));
    format!("{serial} ({why}), kept as {}", path.display())
}

/// Empty text, as JSON.
const EMPTY: &str = "\"\"";

/// A state that was to be the first and never reached a backend: the engine gives a state its lineage when it persists it.
/// Answers the same state as the first of `lineage`; `None` where it has one. Nothing else is touched, numbers above all.
///
/// # Errors
/// Where it is no JSON object.
pub fn first_of(bytes: &[u8], lineage: Uuid) -> Result<Option<Vec<u8>>> {
    let raw = |text: String| RawValue::from_string(text).map_err(|e| unreadable(&e));
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
    if members.get("lineage").is_some_and(|lineage| lineage.get() != EMPTY) {
        return Ok(None);
    }
    members.insert("lineage".to_owned(), raw(format!("\"{lineage}\""))?);
    members.insert("serial".to_owned(), raw("1".to_owned())?);
    serde_json::to_vec(&members).map(Some).map_err(|e| unreadable(&e))
}

impl RawResource {
    fn instances(&self) -> impl Iterator<Item = Instance> {
        let module = self.module.as_ref().map(|m| format!("{m}.")).unwrap_or_default();
        let provider = self.provider.split('"').nth(1).unwrap_or(&self.provider);
        self.instances.iter().map(move |instance| Instance {
            address: format!("{module}{}.{}{}", self.resource_type, self.name, instance.suffix()),
            resource_type: self.resource_type.clone(),
            provider: provider.to_owned(),
            id: instance.id(),
        })
    }
}

impl RawInstance {
    fn suffix(&self) -> String {
        let index = self.index_key.as_ref().map(|key| format!("[{key}]")).unwrap_or_default();
        match &self.deposed {
            Some(key) => format!("{index} (deposed {key})"),
            None => index,
        }
    }

    fn id(&self) -> Option<String> {
        match self.attributes.as_ref()?.id.as_ref()? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }
}

/// The outputs of a state's root module.
///
/// # Errors
/// The bytes are no state file.
pub fn state_outputs(bytes: &[u8]) -> Result<BTreeMap<String, Output>> {
    #[derive(Deserialize)]
    struct Outputs {
        #[serde(default)]
        outputs: BTreeMap<String, Output>,
    }
    let file: Outputs = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
    Ok(file.outputs)
}

/// A parser's message may quote the text that it met, and a state holds secrets: only the place is told.
pub(super) fn unreadable(error: &serde_json::Error) -> Error {
    Error::Integrity(format!("no state file: unreadable at line {}, column {}", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STATE: &str = r#"{"version":4,"terraform_version":"1.12.6","serial":7,"lineage":"abc","outputs":{
        "ip":{"value":"192.0.2.1","type":"string"},"token":{"value":"s3cret","type":"string","sensitive":true}},
        "resources":[
          {"mode":"data","type":"time_static","name":"d","provider":"provider[\"registry.opentofu.org/hashicorp/time\"]",
           "instances":[{"attributes":{"id":"x"}}]},
          {"module":"module.net","mode":"managed","type":"time_sleep","name":"a",
           "provider":"provider[\"registry.opentofu.org/hashicorp/time\"]",
           "instances":[{"index_key":"k\"1","attributes":{"id":"one"}},{"index_key":0,"deposed":"00ff","attributes":{"id":12}}]},
          {"mode":"managed","type":"terraform_data","name":"b","provider":"provider[\"terraform.io/builtin/terraform\"]",
           "instances":[{"attributes":{"input":1}}]}]}"#;

    #[test]
    fn a_state_that_never_reached_a_backend_becomes_the_first_of_a_lineage() {
        let errored =
            br#"{"version":4,"serial":0,"lineage":"","outputs":{},"resources":[{"mode":"managed","type":"a","name":"b",
            "provider":"p","instances":[{"attributes":{"id":"x","big":123456789012345678901234567890}}]}]}"#;
        let lineage = Uuid::new_v4();
        let first = first_of(errored, lineage).unwrap().unwrap();
        let state = StateFile::parse(&first).unwrap();
        assert_eq!((state.serial, state.lineage, state.instances.len()), (1, lineage.to_string(), 1));
        assert!(
            String::from_utf8(first).unwrap().contains("123456789012345678901234567890"),
            "numbers stay as they are"
        );
        assert_eq!(first_of(STATE.as_bytes(), lineage).unwrap(), None);
    }

    #[test]
    fn instances_have_their_full_address_and_data_sources_are_left_out() {
        let state = StateFile::parse(STATE.as_bytes()).unwrap();
        let seen: Vec<_> = state.instances.iter().map(|i| (i.address.as_str(), i.id.as_deref())).collect();
        assert_eq!(
            seen,
            [
                (r#"module.net.time_sleep.a["k\"1"]"#, Some("one")),
                ("module.net.time_sleep.a[0] (deposed 00ff)", Some("12")),
                ("terraform_data.b", None),
            ]
        );
        assert_eq!((state.serial, state.lineage.as_str(), state.resources()), (7, "abc", 3));
        assert_eq!(state.instances.first().unwrap().provider, "registry.opentofu.org/hashicorp/time");
    }

    #[test]
    fn outputs_say_whether_they_are_sensitive() {
        let outputs = state_outputs(STATE.as_bytes()).unwrap();
        let seen: Vec<_> = outputs.iter().map(|(name, o)| (name.as_str(), o.sensitive)).collect();
        assert_eq!(seen, [("ip", false), ("token", true)]);
        assert!(!format!("{outputs:?}").contains("s3cret"));
    }

    #[test]
    fn an_encrypted_state_is_never_taken_for_empty() {
        let state = StateFile::parse(br#"{"serial":1,"lineage":"l","meta":{},"encrypted_data":"AAAA"}"#).unwrap();
        assert!(state.opaque && state.resources() == 1);
    }

    #[test]
    fn what_is_no_state_is_refused_without_quoting_it() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"version":3,"serial":1,"lineage":"x"}"#,
            r#"{"version":4,"serial":-1,"lineage":"x"}"#,
            r#"{"version":4,"serial":"s3cret","lineage":"x"}"#,
            r#"{"version":4,"serial":1,"lineage":""}"#,
        ] {
            let error = StateFile::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
