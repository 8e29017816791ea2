//! `CloudCredential`: one way into a provider, proved by the provider.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{DNS_NAME, HOST_PORT, HTTP_URL, PRINTABLE, REGION, at_least_a_second, rule, rule_at};
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
    rule(
        "[has(self.aws), has(self.hetzner), has(self.powerdns), has(self.rfc2136)].exists_one(p, p)",
        "exactly one provider is needed: aws, hetzner, powerdns or rfc2136",
    ),
    rule(
        "has(self.aws) == has(oldSelf.aws) && has(self.hetzner) == has(oldSelf.hetzner) \
         && has(self.powerdns) == has(oldSelf.powerdns) && has(self.rfc2136) == has(oldSelf.rfc2136)",
        "the provider cannot change; make another CloudCredential",
    ),
    rule_at(
        ".expectedAccount",
        "has(self.aws) || !has(self.expectedAccount)",
        "expectedAccount has no meaning for hetzner, powerdns and rfc2136, which name no account; leave it out",
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
    #[schemars(length(max = 1024), regex(pattern = PRINTABLE))]
    pub description: Option<String>,
    /// Amazon Web Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsCredential>,
    /// Hetzner Cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hetzner: Option<HetznerCredential>,
    /// PowerDNS Authoritative Server, HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub powerdns: Option<PowerDnsCredential>,
    /// Any DNS server that takes signed updates (RFC 2136).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136Credential>,
    /// The account that the probe must find; another makes the credential invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = PRINTABLE))]
    pub expected_account: Option<String>,
    /// How often to probe.
    #[serde(default)]
    pub probe: ProbeSettings,
    /// Namespaces of the same organization that may refer to this credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// Domains that records and certificates by this credential may lie in, as lower-case A-labels; all where it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        inner(length(max = 253), regex(pattern = DNS_NAME)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub allowed_domains: Vec<String>,
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

/// Hetzner Cloud API token. Secret key: `api_token`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HetznerCredential {
    /// Secret of this namespace.
    pub secret_ref: LocalReference,
    /// Another base URL of the API, version included, public or one that the installation allows.
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

/// TSIG key of a DNS server. Secret key: `tsig_secret`, base64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rfc2136Credential {
    /// Secret of this namespace.
    pub secret_ref: LocalReference,
    /// Primary server of the zones as `host:port`, TCP; public or one that the installation allows as `dns://host:port`.
    #[schemars(length(max = 261), regex(pattern = HOST_PORT))]
    pub server: String,
    /// Name of the key, as the server has it.
    #[schemars(length(max = 253), regex(pattern = DNS_NAME))]
    pub tsig_key_name: String,
    /// Algorithm of the key.
    #[serde(default)]
    pub tsig_algorithm: TsigAlgorithm,
    /// Zones that the key may transfer and update, as lower-case A-labels.
    #[schemars(
        length(min = 1, max = 100),
        inner(length(max = 253), regex(pattern = DNS_NAME)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub zones: Vec<String>,
}

/// How messages are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

impl TsigAlgorithm {
    /// The word of the API, which is also the algorithm's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
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
    /// Zones of DNS that it can change, by name; the first 200 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub zones: Vec<ZoneSeen>,
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

/// A zone of DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneSeen {
    /// The provider's id of it.
    pub id: String,
    /// Its own name, as A-labels.
    pub name: String,
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
