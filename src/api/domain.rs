//! `OrganizationDomain`: a domain that an organization proves to hold.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{PRINTABLE, rule, rule_at};
use super::{AllowedNamespaces, Condition, DurationText, LastHandled, Reference, ZoneSeen};

/// A domain that the organization proves to hold, by a record at the domain's authoritative servers.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "OrganizationDomain",
    plural = "organizationdomains",
    shortname = "orgdomain",
    category = "landfall",
    namespaced,
    status = "OrganizationDomainStatus",
    derive = "PartialEq",
    doc = "A domain that the organization proves to hold, by a record at the domain's authoritative servers.",
    printcolumn = r#"{"name": "Domain", "type": "string", "jsonPath": ".spec.domain"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name": "Usage", "type": "string", "jsonPath": ".spec.usage"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Challenge", "type": "string", "jsonPath": ".status.challenge.value", "priority": 1}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].message", "priority": 1}"#
)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationDomainSpec {
    /// The domain: two labels or more, Unicode or A-labels, in any case. `status.fqdn` has its canonical form.
    #[schemars(
        length(max = 253),
        extend("x-kubernetes-validations" = [
            rule(
                "self.matches('^[^\\\\x00-\\\\x20./*@:\\\\\\\\]+([.][^\\\\x00-\\\\x20./*@:\\\\\\\\]+)+[.]?$')",
                "must be a domain of two labels or more, such as example.com",
            ),
            rule("self == oldSelf", "cannot change; make another OrganizationDomain"),
        ]),
    )]
    pub domain: String,
    /// What it is for; for people and for queries.
    #[serde(default)]
    pub usage: DomainUsage,
    /// How and how often it is proved.
    #[serde(default)]
    pub verification: DomainVerification,
    /// Who has the domain's zone.
    #[serde(default)]
    pub dns: DomainDns,
    /// Which names may stand below it.
    #[serde(default)]
    pub policy: DomainPolicy,
    /// Namespaces of the same organization whose records may refer to this domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// No looks and no writes while true; what was proved stays proved.
    #[serde(default)]
    pub suspend: bool,
}

/// What a domain is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DomainUsage {
    /// Of the platform.
    Platform,
    /// Of an application.
    #[default]
    Application,
    /// Of a customer.
    Custom,
}

/// How a domain is proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainVerification {
    /// By which record.
    #[serde(default)]
    pub method: VerificationMethod,
    /// Time between looks once it is proved: a minute to seven days.
    #[serde(default = "one_day")]
    #[schemars(extend("x-kubernetes-validations" = [
        rule("duration(self) >= duration('1m')", "must be at least 1m"),
        rule("duration(self) <= duration('168h')", "must be at most 168h"),
    ]))]
    pub reverify_after: DurationText,
    /// How long the domain stays the organization's after the record was first found missing: thirty days at most. A proof that
    /// is older than `reverifyAfter` and the grace together holds no more, also where nobody could look.
    #[serde(default = "one_week")]
    #[schemars(extend("x-kubernetes-validations" = [rule("duration(self) <= duration('720h')", "must be at most 720h")]))]
    pub grace: DurationText,
}

fn one_day() -> DurationText {
    DurationText("24h".into())
}

fn one_week() -> DurationText {
    DurationText("168h".into())
}

impl Default for DomainVerification {
    fn default() -> Self {
        Self { method: VerificationMethod::default(), reverify_after: one_day(), grace: one_week() }
    }
}

impl DomainVerification {
    /// Time between looks at a domain that is proved: `reverifyAfter`, within its limits.
    pub fn interval(&self) -> SignedDuration {
        read(&self.reverify_after, DAY).clamp(SignedDuration::from_mins(1), WEEK)
    }

    /// `grace`, within its limit.
    pub fn longest_miss(&self) -> SignedDuration {
        read(&self.grace, WEEK).min(DAY.saturating_mul(30))
    }
}

const DAY: SignedDuration = SignedDuration::from_hours(24);
const WEEK: SignedDuration = SignedDuration::from_hours(168);

fn read(text: &DurationText, otherwise: SignedDuration) -> SignedDuration {
    text.get().and_then(|read| SignedDuration::try_from(read).ok()).unwrap_or(otherwise)
}

/// A record that proves a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerificationMethod {
    /// A TXT record at `_landfall-challenge` below the domain.
    #[default]
    DnsTxt,
}

/// Who has the domain's zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule_at(
        ".credentialRef",
        "has(self.credentialRef) == (has(self.mode) && self.mode == 'Managed')",
        "credentialRef is needed where mode is Managed, and has no meaning where it is External",
    ),
    rule_at(".zoneId", "!has(self.zoneId) || has(self.credentialRef)", "zoneId needs credentialRef"),
]))]
pub struct DomainDns {
    /// Whether Landfall writes to the zone.
    #[serde(default)]
    pub mode: DnsMode,
    /// The credential by which Landfall reaches the zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ref: Option<Reference>,
    /// The provider's id of the zone, where several zones have its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = PRINTABLE))]
    pub zone_id: Option<String>,
}

/// Whether Landfall writes to a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DnsMode {
    /// Landfall does, by `credentialRef`: the challenge, and records.
    Managed,
    /// Somebody else does.
    #[default]
    External,
}

/// Which names may stand below a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainPolicy {
    /// Whether records and certificates may have `*` as their left label.
    #[serde(default = "yes")]
    pub allow_wildcard: bool,
    /// Whether records and certificates may have the domain itself.
    #[serde(default = "yes")]
    pub allow_apex: bool,
}

fn yes() -> bool {
    true
}

impl Default for DomainPolicy {
    fn default() -> Self {
        Self { allow_wildcard: true, allow_apex: true }
    }
}

/// What of a domain's spec others go by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainTerms {
    /// Who has the zone.
    pub dns: DomainDns,
    /// Which names may stand below it.
    pub policy: DomainPolicy,
    /// Which other namespaces may refer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// How long a proof is good.
    #[serde(default)]
    pub verification: DomainVerification,
}

impl OrganizationDomainSpec {
    /// What of it others go by.
    pub fn terms(&self) -> DomainTerms {
        DomainTerms {
            dns: self.dns.clone(),
            policy: self.policy.clone(),
            allowed_namespaces: self.allowed_namespaces.clone(),
            verification: self.verification.clone(),
        }
    }
}

/// What is known of a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationDomainStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The domain in its canonical form: lower-case A-labels without a dot behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    /// The part of it that is registered with a registry: one label more than the public suffix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrable_domain: Option<String>,
    /// The record to set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<DomainChallenge>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<DomainFound>,
    /// The zone of a managed domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneSeen>,
    /// Changes of sets at and below the domain that wait for an approval: too large a part of the zone would go at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<DomainHeld>,
    /// What was taken of each command annotation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_handled: LastHandled,
    /// `Ready`, `Verified`, `InUse`, `MassChangeHeld`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::common::readable")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
}

/// Changes of sets that wait for an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainHeld {
    /// Names exactly these changes; to be given back in `landfall.dev/approve`.
    pub digest: String,
    /// How many.
    pub count: u32,
}

/// The record that proves a domain, exactly as it must be set. Other values may stand beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainChallenge {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name, fully qualified, without a dot behind.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What the looks at the authoritative servers found. Times move on change, else hourly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainFound {
    /// When the record was last found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
    /// When the servers were last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checked_at: Option<String>,
    /// When they are asked next, or a little later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<String>,
    /// Since when the record is missing; the grace is counted from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<String>,
    /// The values that stand there, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<String>,
    /// What each authoritative server answered, at most 20 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<DomainServer>,
}

/// One authoritative server's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainServer {
    /// The server's name, or its address where it has none.
    pub host: String,
    /// The answer.
    pub answer: ServerAnswer,
}

/// What an authoritative server says of the challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerAnswer {
    /// It has the value.
    Present,
    /// It has other values there.
    Different,
    /// It has nothing there.
    Absent,
    /// It gave no answer that counts.
    Unreachable,
}
