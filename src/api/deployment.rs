//! `TerraformDeployment`: a module, its variables, and the gate before each change.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{IDENTIFIER, OBJECT_NAME, REGION, TEXT, at_least_a_second, rule};
use super::{DurationText, KeyReference, LocalReference, Reference, RunnerSettings, TerraformDeploymentStatus};

/// A Terraform module that is planned, approved and applied on the record.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "TerraformDeployment",
    plural = "terraformdeployments",
    shortname = "tfd",
    category = "landfall",
    namespaced,
    status = "TerraformDeploymentStatus",
    derive = "PartialEq",
    doc = "A Terraform module that is planned, approved and applied on the record.",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Add", "type": "integer", "jsonPath": ".status.plan.summary.add"}"#,
    printcolumn = r#"{"name": "Change", "type": "integer", "jsonPath": ".status.plan.summary.change"}"#,
    printcolumn = r#"{"name": "Destroy", "type": "integer", "jsonPath": ".status.plan.summary.destroy"}"#,
    printcolumn = r#"{"name": "Replace", "type": "integer", "jsonPath": ".status.plan.summary.replace"}"#,
    printcolumn = r#"{"name": "Outputs", "type": "integer", "jsonPath": ".status.plan.summary.outputs"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Plan", "type": "string", "jsonPath": ".status.plan.digest", "priority": 1}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].message", "priority": 1}"#
)]
#[serde(rename_all = "camelCase")]
pub struct TerraformDeploymentSpec {
    /// The credential whose environment the engine gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ref: Option<Reference>,
    /// Which engine, and which version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSelector>,
    /// Region for the engine's environment; overrides the credential's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = REGION))]
    pub region: Option<String>,
    /// Where the module comes from.
    pub source: Source,
    /// Values for the module's variables, any JSON of at most 100 levels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "free_json")]
    pub variables: BTreeMap<String, serde_json::Value>,
    /// Values from Secrets and ConfigMaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["as"])
    )]
    pub variables_from: Vec<VariableSource>,
    /// Who lets a plan become a change.
    #[serde(default)]
    pub approval: ApprovalMode,
    /// Limits on what a plan may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrails: Option<Guardrails>,
    /// Where the outputs go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs>,
    /// Taking over a state that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSelector>,
    /// What becomes of the resources when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How often a failed run is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// The longest each phase may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How the pods of its runs stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerSettings>,
    /// No new runs while true.
    #[serde(default)]
    pub suspend: bool,
}

/// An engine and a version prefix that the found binary must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineSelector {
    /// Which engine.
    #[serde(rename = "type")]
    pub kind: EngineKind,
    /// Prefix of the version, whole components: `1.12` matches `1.12.6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[0-9]+(\.[0-9]+){0,2}(-[0-9A-Za-z.]+)?$"))]
    pub version: Option<String>,
}

/// The engines that Landfall drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EngineKind {
    /// OpenTofu.
    OpenTofu,
    /// HashiCorp Terraform.
    Terraform,
}

/// Exactly one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "has(self.inline) != has(self.configMapRef)",
    "exactly one source is needed: inline or configMapRef",
)]))]
pub struct Source {
    /// Files by name, at most 64 of them and 131072 characters in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "files_schema")]
    pub inline: Option<BTreeMap<String, String>>,
    /// A ConfigMap whose keys are files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<LocalReference>,
}

/// Inline files. Their names are keys, which only CEL can hold to a form.
fn files_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 131_072, "pattern": TEXT},
        "x-kubernetes-validations": [
            rule(
                "self.all(name, size(name) <= 253 && name.matches('^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$'))",
                "file names are relative paths of letters, digits, '_', '.', '-' and '/', at most 253 characters long",
            ),
            rule(
                "self.all(name, !name.matches('(^|/)[.][.]?(/|$)'))",
                "file names must not have '.' or '..' as a part",
            ),
            rule("self.map(name, size(self[name])).sum() <= 131072", "files must not exceed 131072 characters in all"),
        ],
    })
}

/// Free JSON by name: CEL cannot see into it, so the names are held to HCL by an admission policy.
pub(super) fn free_json(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 256,
        "additionalProperties": {"x-kubernetes-preserve-unknown-fields": true},
    })
}

/// One variable from a Secret or a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "has(self.secretKeyRef) != has(self.configMapKeyRef)",
    "exactly one of secretKeyRef and configMapKeyRef is needed",
)]))]
pub struct VariableSource {
    /// Key of a Secret; the variable becomes sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
    /// Key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
    /// Name of the module's variable.
    #[serde(rename = "as")]
    #[schemars(length(max = 253), regex(pattern = IDENTIFIER))]
    pub variable: String,
    /// Leave the variable out where object or key does not exist.
    #[serde(default)]
    pub optional: bool,
}

/// Who lets a plan become a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalMode {
    /// A person with the verb `approve` names the plan's digest.
    #[default]
    Manual,
    /// Applied when the guardrails permit.
    Automatic,
    /// Planned, never applied.
    PlanOnly,
}

impl TerraformDeployment {
    /// Why no plan of it is applied as its spec stands, whoever approves. A destroy plan at the object's deletion is.
    pub fn never_applied(&self) -> Option<&'static str> {
        let plan_only = self.spec.approval == ApprovalMode::PlanOnly && self.metadata.deletion_timestamp.is_none();
        plan_only.then_some("spec.approval is PlanOnly, nothing is applied")
    }
}

/// Limits on what a plan may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Guardrails {
    /// The most that a plan may destroy or replace: a count (`3`) or a share of the state (`"10%"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "max_destroy_schema")]
    pub max_destroy: Option<k8s_openapi::apimachinery::pkg::util::intstr::IntOrString>,
}

/// A count or a percentage.
fn max_destroy_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [rule(
            "type(self) == int ? self >= 0 && self <= 2147483647 : self.matches('^([0-9]{1,2}|100)%$')",
            "maxDestroy must be a count of 0 or more, or a percentage from \"0%\" to \"100%\"",
        )],
    })
}

/// Where the outputs go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outputs {
    /// Secret of this namespace, made and owned by this object.
    #[schemars(length(max = 253), regex(pattern = OBJECT_NAME))]
    pub secret_name: String,
    /// Only these outputs; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(max = 253), regex(pattern = IDENTIFIER)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub include: Vec<String>,
}

/// Taking over a state that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateSelector {
    /// Lineage of the state that a former object of this name left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"))]
    pub adopt: Option<String>,
}

/// What becomes of the resources when the object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Resources and state stay.
    #[default]
    Retain,
    /// A destroy plan is made, approved and applied first.
    Destroy,
}

/// Automatic attempts of a failed run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts before `RetriesExhausted`.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 100))]
    pub limit: u32,
    /// The longest wait between attempts.
    #[serde(default = "one_hour")]
    #[schemars(extend("x-kubernetes-validations" = at_least_a_second()))]
    pub max_backoff: DurationText,
}

fn five() -> u32 {
    5
}

fn one_hour() -> DurationText {
    DurationText("1h".into())
}

impl Default for Retry {
    fn default() -> Self {
        Self { limit: five(), max_backoff: one_hour() }
    }
}

/// The longest each phase may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// `init`.
    #[serde(default = "five_minutes")]
    #[schemars(extend("x-kubernetes-validations" = at_least_a_second()))]
    pub init: DurationText,
    /// `plan`.
    #[serde(default = "ten_minutes")]
    #[schemars(extend("x-kubernetes-validations" = at_least_a_second()))]
    pub plan: DurationText,
    /// `apply`.
    #[serde(default = "one_hour")]
    #[schemars(extend("x-kubernetes-validations" = at_least_a_second()))]
    pub apply: DurationText,
    /// The apply of a destroy plan.
    #[serde(default = "one_hour")]
    #[schemars(extend("x-kubernetes-validations" = at_least_a_second()))]
    pub destroy: DurationText,
}

fn five_minutes() -> DurationText {
    DurationText("5m".into())
}

fn ten_minutes() -> DurationText {
    DurationText("10m".into())
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { init: five_minutes(), plan: ten_minutes(), apply: one_hour(), destroy: one_hour() }
    }
}
