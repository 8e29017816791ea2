//! Types that several kinds share.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};

/// A rule in CEL that the API server holds objects to, with the message that a refusal shows.
pub(super) fn rule(expression: &str, message: &str) -> serde_json::Value {
    serde_json::json!({"rule": expression, "message": message})
}

/// The same, for a rule whose message belongs to one field below the schema that carries it.
pub(super) fn rule_at(field: &str, expression: &str, message: &str) -> serde_json::Value {
    serde_json::json!({"rule": expression, "message": message, "fieldPath": field})
}

/// Any text but U+0000, which Postgres' `jsonb` cannot hold.
pub(super) const TEXT: &str = r"^[^\x00]*$";
/// Without the characters that a YAML stream may not hold: one of them, and `kubectl get -o yaml` shows none of a namespace.
pub(super) const PRINTABLE: &str = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{84}\x{86}-\x{9f}\x{feff}\x{fffe}\x{ffff}]*$";
/// Names of objects, RFC 1123 subdomains.
pub(super) const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Names of namespaces, RFC 1123 labels.
pub(super) const NAMESPACE_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Keys of Secrets and ConfigMaps.
pub(super) const DATA_KEY: &str = r"^[-._a-zA-Z0-9]+$";
/// Identifiers of HCL: names of variables and outputs.
pub(super) const IDENTIFIER: &str = r"^[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}-]*$";
/// Region names, as all providers write them.
pub(super) const REGION: &str = r"^[a-z0-9]+(-[a-z0-9]+)*$";
/// One at sign between two parts without spaces.
pub(super) const EMAIL: &str = r"^[^\s@\x00]+@[^\s@\x00]+$";
/// Base URLs of HTTP services: no credentials, no query, no fragment.
pub(super) const HTTP_URL: &str = r"^https?://[^\s/?#@\x00]+(/[^\s?#@\x00]*)?$";
/// Names of DNS as lower-case A-labels, without a dot behind; a slash stands in reverse zones (RFC 2317).
pub(super) const DNS_NAME: &str = r"^[a-z0-9_]([a-z0-9_/-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_/-]*[a-z0-9_])?)*$";
/// A lower-case name or IPv4 address, or an IPv6 address in brackets; a colon; a port.
pub(super) const HOST_PORT: &str =
    r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\]):[1-9][0-9]{0,4}$";

/// A Secret or ConfigMap of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Name of the object.
    #[schemars(length(max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
}

/// One key of a Secret or ConfigMap of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the object.
    #[schemars(length(max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Key in its data.
    #[schemars(length(max = 253), regex(pattern = DATA_KEY))]
    pub key: String,
}

/// An object of this namespace, or of another one of the same organization that permits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Name of the object.
    #[schemars(length(max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Its namespace; the referrer's where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = NAMESPACE_NAME))]
    pub namespace: Option<String>,
}

/// Which other namespaces of the organization may refer to an object: those of `names`, and those that `selector` matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "has(self.names) || has(self.selector)",
    "allowedNamespaces needs names or selector; leave it out to permit this namespace alone",
)]))]
pub struct AllowedNamespaces {
    /// By name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        inner(length(max = 63), regex(pattern = NAMESPACE_NAME)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub names: Vec<String>,
    /// By the namespace's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// A duration such as `90s`, `1h30m`: one to three groups of up to five digits and a unit of `h`, `m`, `s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationText(pub String);

impl DurationText {
    /// The value; `None` where the text is not of the form (the API server refuses such text).
    pub fn get(&self) -> Option<Duration> {
        let (mut total, mut digits, mut groups) = (0u64, String::new(), 0);
        for c in self.0.chars() {
            let unit = match c {
                '0'..='9' if digits.len() < 5 => {
                    digits.push(c);
                    continue;
                }
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => return None,
            };
            total += digits.parse::<u64>().ok()? * unit;
            digits.clear();
            groups += 1;
        }
        (digits.is_empty() && (1..=3).contains(&groups)).then(|| Duration::from_secs(total))
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // The pattern implies the length; CEL's cost estimate needs it said.
        schemars::json_schema!({"type": "string", "pattern": "^([0-9]{1,5}[hms]){1,3}$", "maxLength": 18})
    }
}

/// For durations of which zero would be a busy loop or an instant failure.
pub(super) fn at_least_a_second() -> serde_json::Value {
    serde_json::json!([rule("duration(self) >= duration('1s')", "must be at least 1s")])
}

/// Conditions are one per type, so that appliers can share the list.
pub(super) fn conditions(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = generator.subschema_for::<Vec<Condition>>();
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), serde_json::json!(["type"]));
    schema
}

/// The conditions that can be read: the API server takes times beyond the year 9999, and one condition that cannot be
/// parsed would end the watch of everybody's objects.
pub(super) fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    let all = Vec::<serde_json::Value>::deserialize(deserializer)?;
    Ok(all.into_iter().filter_map(|condition| serde_json::from_value(condition).ok()).collect())
}

/// What was taken of each command annotation, by the annotation's short name.
pub type LastHandled = BTreeMap<String, String>;
