//! `DnsRecord`: one record set below a proved domain.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{IDENTIFIER, OBJECT_NAME, PRINTABLE, rule, rule_at};
use super::{Condition, LastHandled, Reference};

/// One record set below a domain that the organization has proved.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "DnsRecord",
    plural = "dnsrecords",
    shortname = "dnsrec",
    category = "landfall",
    namespaced,
    status = "DnsRecordStatus",
    derive = "PartialEq",
    doc = "One record set below a domain that the organization has proved.",
    printcolumn = r#"{"name": "Record", "type": "string", "jsonPath": ".status.fqdn"}"#,
    printcolumn = r#"{"name": "Type", "type": "string", "jsonPath": ".spec.type"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name": "Propagated", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Propagated')].status"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Values", "type": "string", "jsonPath": ".spec.values", "priority": 1}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].message", "priority": 1}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule_at(".domainRef", "self.domainRef == oldSelf.domainRef", "cannot change; make another DnsRecord"),
    rule_at(".values", "has(self.values) != has(self.valueFrom)", "exactly one of values and valueFrom is needed"),
    rule_at(".values", "self.type != 'CNAME' || !has(self.values) || self.values.size() == 1", "a CNAME has one value"),
    rule_at(".name", "self.type != 'NS' || !self.name.startsWith('*')", "NS may not stand at a wildcard"),
]))]
pub struct DnsRecordSpec {
    /// The OrganizationDomain below which the name lies.
    pub domain_ref: Reference,
    /// Relative to the domain: `www`, `@` for the domain itself, `*` only as the whole left label. Unicode or A-labels.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = PRINTABLE),
        extend("x-kubernetes-validations" = [
            rule("self == oldSelf", "cannot change; make another DnsRecord"),
            rule("!self.endsWith('.')", "is relative to the domain; leave the dot at its end out"),
            rule(
                "!self.contains('*') || self.matches('^[*]([.][^*]+)?$')",
                "\"*\" may stand only as the whole left label",
            ),
            rule("self == '@' || !self.contains('@')", "\"@\" stands alone, for the domain itself"),
        ]),
    )]
    pub name: String,
    /// Type of all values.
    #[serde(rename = "type")]
    #[schemars(extend("x-kubernetes-validations" = [rule("self == oldSelf", "cannot change; make another DnsRecord")]))]
    pub kind: RecordKind,
    /// Seconds that resolvers may keep an answer.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub ttl: u32,
    /// The whole set, in presentation form; of TXT the text as it is meant, never quoted or split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 100),
        inner(length(max = 4096), regex(pattern = PRINTABLE)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub values: Vec<String>,
    /// Whence the values come, where they do not stand in `values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<RecordSource>,
    /// What may be done to the set.
    #[serde(default)]
    pub policy: RecordPolicy,
    /// Whether a set that stands there and is nobody's becomes this object's.
    #[serde(default)]
    pub adoption: RecordAdoption,
    /// What to do where somebody else has changed the set.
    #[serde(default)]
    pub drift: RecordDrift,
    /// What becomes of the set when the object is deleted.
    #[serde(default)]
    pub deletion_policy: RecordDeletion,
    /// No writes while true; a deletion that needs one waits.
    #[serde(default)]
    pub suspend: bool,
}

fn five_minutes() -> u32 {
    300
}

/// Whence a set's values come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordSource {
    /// An output of a deployment: text or a number, or a list of these.
    pub output: OutputReference,
}

/// An output of a TerraformDeployment of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputReference {
    /// Name of the TerraformDeployment.
    #[schemars(length(max = 253), regex(pattern = OBJECT_NAME))]
    pub deployment: String,
    /// Name of the output. It must not be sensitive.
    #[schemars(length(max = 253), regex(pattern = IDENTIFIER))]
    pub name: String,
}

/// Types of record sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordKind {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Another name for this one.
    Cname,
    /// Who takes mail: `10 mail.example.com.`
    Mx,
    /// Text.
    Txt,
    /// Where a service is: `10 5 443 host.example.com.`
    Srv,
    /// Who may issue certificates: `0 issue letsencrypt.org`
    Caa,
    /// Who answers for what lies below.
    Ns,
    /// A name for an address.
    Ptr,
}

impl RecordKind {
    /// As zone files write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Srv => "SRV",
            Self::Caa => "CAA",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
        }
    }
}

/// What may be done to a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordPolicy {
    /// It is created, changed and deleted.
    #[default]
    Sync,
    /// It is created and changed, never deleted.
    UpsertOnly,
    /// It is created where none stands, never changed or deleted.
    CreateOnly,
    /// It is looked at.
    Observe,
}

/// Whether a set that stands there and is nobody's becomes ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordAdoption {
    /// It does not.
    #[default]
    Never,
    /// Where values and TTL are the wanted ones.
    IfIdentical,
    /// Whatever it holds.
    Always,
}

/// What to do where somebody else has changed a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordDrift {
    /// It is put right.
    #[default]
    Repair,
    /// It is told.
    Report,
}

/// What becomes of a set when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordDeletion {
    /// It is deleted too, under the policy `Sync`.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

/// What is known of a record set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsRecordStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The whole name as A-labels, without a dot behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    /// Seconds that the provider answers with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_ttl: Option<u32>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<RecordProvider>,
    /// The values that stand at the provider, as the spec would write them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<String>,
    /// What each authoritative server answered when it was last asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<NameserverSeen>,
    /// What was taken of each command annotation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_handled: LastHandled,
    /// `Ready`, `Accepted`, `Programmed`, `Propagated`, `Drifted`, `Kept`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::common::readable")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
}

/// Where a set stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordProvider {
    /// The provider's id of the zone.
    pub zone_id: String,
}

/// What one authoritative server answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameserverSeen {
    /// Its name, or its address where it has none.
    pub host: String,
    /// Whether it has the values of the spec.
    pub answer: NameserverAnswer,
}

/// Whether a server has the values of the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NameserverAnswer {
    /// It has.
    Current,
    /// It has others, or none.
    Stale,
    /// It did not answer.
    Unreachable,
}
