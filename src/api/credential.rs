//! `CloudCredential`: one way into a provider, proved by the provider.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{HTTP_URL, REGION, TEXT, at_least_a_second, rule, rule_at};
use super::{AllowedNamespaces, Condition, DurationText, LastHandled, LocalReference};

/// Credentials for one provider account, probed regularly.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "CloudCredential",
    plural = "cloudcredentials",
    shortname = "cred",
    category = "landfall",
    namespaced,
    status = "CloudCredentialStatus",
    derive = "PartialEq",
    doc = "Credentials for one provider account, probed regularly.",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name": "Valid", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Valid')].status"}"#,
    printcolumn = r#"{"name": "Account", "type": "string", "jsonPath": ".status.identity.account"}"#,
    printcolumn = r#"{"name": "Used By", "type": "integer", "jsonPath": ".status.usedBy"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].message", "priority": 1}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("has(self.aws) != has(self.powerdns)", "exactly one provider is needed: aws or powerdns"),
    rule(
        "has(self.aws) == has(oldSelf.aws) && has(self.powerdns) == has(oldSelf.powerdns)",
        "the provider cannot change; make another CloudCredential",
    ),
    rule_at(
        ".expectedAccount",
        "!has(self.powerdns) || !has(self.expectedAccount)",
        "expectedAccount has no meaning for powerdns, whose API names no account; leave it out",
    ),
    rule_at(
        ".expectedAccount",
        "!has(self.aws) || !has(self.expectedAccount) || self.expectedAccount.matches('^[0-9]{12}$')",
        "expectedAccount must be the 12 digits of an AWS account",
    ),
]))]
pub struct CloudCredentialSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = TEXT))]
    pub description: Option<String>,
    /// Amazon Web Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsCredential>,
    /// PowerDNS Authoritative Server, HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub powerdns: Option<PowerDnsCredential>,
    /// The account that the probe must find; another makes the credential invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = TEXT))]
    pub expected_account: Option<String>,
    /// How often to probe.
    #[serde(default)]
    pub probe: ProbeSettings,
    /// Namespaces of the same organization that may refer to this credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// No probes while true.
    #[serde(default)]
    pub suspend: bool,
}

/// AWS access keys. Secret keys: `access_key_id`, `secret_access_key`, `session_token` (optional).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsCredential {
    /// Secret of this namespace.
    pub secret_ref: LocalReference,
    /// Region for the probe and for the engine's `AWS_REGION`.
    #[schemars(length(max = 64), regex(pattern = REGION))]
    pub region: String,
    /// Another STS endpoint, public or one that the installation allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = HTTP_URL))]
    pub endpoint: Option<String>,
}

/// PowerDNS API key. Secret key: `api_key`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PowerDnsCredential {
    /// Secret of this namespace.
    pub secret_ref: LocalReference,
    /// Base URL of the API, public or one that the installation allows.
    #[schemars(length(max = 2048), regex(pattern = HTTP_URL))]
    pub endpoint: String,
    /// Server id in the API.
    #[serde(default = "localhost")]
    #[schemars(length(max = 128), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub server_id: String,
}

fn localhost() -> String {
    "localhost".into()
}

/// When to probe, and how long a proof lasts while the provider is away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeSettings {
    /// Time between probes.
    #[serde(default = "ten_minutes")]
    #[schemars(extend("x-kubernetes-validations" = at_least_a_second()))]
    pub interval: DurationText,
    /// How long the last success stands while the provider cannot be asked.
    #[serde(default = "one_day")]
    pub grace_after_last_success: DurationText,
}

fn ten_minutes() -> DurationText {
    DurationText("10m".into())
}

fn one_day() -> DurationText {
    DurationText("24h".into())
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self { interval: ten_minutes(), grace_after_last_success: one_day() }
    }
}

/// What the probes found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudCredentialStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whose credential it is, as the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// What it can serve: `terraform`, `dns`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Version and keyed digest of the Secret that was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSeen>,
    /// Last probe; moves on change, else hourly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<String>,
    /// Last successful probe; moves on change, else hourly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_time: Option<String>,
    /// Live objects that refer to this credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<i64>,
    /// What was taken of each command annotation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_handled: LastHandled,
    /// `Valid`, `Ready`, `InUse`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::common::readable")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
}

/// The account and principal behind a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Account, project or tenant id; absent where the provider has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Who acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// The Secret as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSeen {
    /// resourceVersion of the Secret.
    pub resource_version: String,
    /// `hmac-sha256:<hex>` under the installation's key.
    pub digest: String,
}
