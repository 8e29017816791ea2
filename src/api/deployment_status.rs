//! What a `TerraformDeployment` tells about itself.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, LastHandled};

/// Where a deployment stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TerraformDeploymentStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DeploymentPhase>,
    /// The current plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// The approval that was taken last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalStatus>,
    /// The newest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunStatus>,
    /// Outputs that are not sensitive, 16 KiB at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::deployment::free_json")]
    pub outputs: BTreeMap<String, serde_json::Value>,
    /// The newest acknowledged state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateStatus>,
    /// What was taken of each command annotation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_handled: LastHandled,
    /// `Ready`, `Planned`, `Applied`, `ActionRequired`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::common::readable")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
}

/// One word for where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the words say it")]
pub enum DeploymentPhase {
    Pending,
    Planning,
    AwaitingApproval,
    Applying,
    Applied,
    NoChanges,
    Failed,
    Destroying,
    Destroyed,
    Cancelled,
    Interrupted,
}

/// Whether a plan builds or destroys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Change {
    /// Towards the module.
    Apply,
    /// Everything goes.
    Destroy,
}

/// How many resource instances a plan touches, and which outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// Created.
    pub add: u32,
    /// Updated in place.
    pub change: u32,
    /// Destroyed and not made again.
    pub destroy: u32,
    /// Destroyed and made again.
    pub replace: u32,
    /// Left as they are, and no longer managed.
    #[serde(default)]
    pub forget: u32,
    /// Outputs that come, change or go.
    #[serde(default)]
    pub outputs: u32,
    /// Names of the first 10 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_names: Vec<String>,
}

/// `2 to add, 0 to change, 0 to destroy`, and what else there is: `, 1 to replace, 1 to forget, 2 outputs to change (a, b)`.
impl fmt::Display for PlanSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { add, change, destroy, replace, forget, outputs, output_names } = self;
        write!(f, "{add} to add, {change} to change, {destroy} to destroy")?;
        if *replace > 0 {
            write!(f, ", {replace} to replace")?;
        }
        if *forget > 0 {
            write!(f, ", {forget} to forget")?;
        }
        let more = usize::try_from(*outputs).unwrap_or(usize::MAX).saturating_sub(output_names.len());
        let more = (more > 0).then(|| format!("{more} more"));
        let names: Vec<&str> = output_names.iter().chain(&more).map(String::as_str).collect();
        match outputs {
            0 => Ok(()),
            1 => write!(f, ", 1 output to change ({})", names.join(", ")),
            _ => write!(f, ", {outputs} outputs to change ({})", names.join(", ")),
        }
    }
}

/// The current plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// `sha256:<64 hex>`: what an approval names.
    pub digest: String,
    /// The run that made it.
    pub run_id: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// Apply or Destroy.
    pub kind: Change,
    /// Counts.
    pub summary: PlanSummary,
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// The plan that was approved.
    pub digest: String,
    /// The user, as admission proved it.
    pub by: String,
    /// When the controller took it, RFC 3339.
    pub at: String,
    /// The run that used it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

/// A run, as status tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Run id.
    pub id: String,
    /// `Plan`, `Apply` or `Destroy`.
    pub kind: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Cancelled`, `Interrupted`.
    pub phase: String,
    /// When the runner took it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// The engine's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// The newest acknowledged state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateStatus {
    /// Serial within the lineage.
    pub serial: i64,
    /// Lineage, a UUID that the engine made.
    pub lineage: String,
    /// SHA-256 of the state's bytes, hex.
    pub sha256: String,
    /// Managed resource instances.
    pub resources: u32,
}
