//! `spec.runner` of a `TerraformDeployment`: where, as whom and with how much its runs' pods stand.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::common::{OBJECT_NAME, rule};

/// Names of labels and taints: perhaps a prefix of a DNS name and a slash, then up to 63 characters.
const LABEL_NAME: &str = "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// Values of labels and taints.
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";
/// Amounts as Kubernetes writes them: `500m`, `1.5`, `2Gi`.
const AMOUNT: &str = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$";

/// How the pods of the runs stand. Needs executor `job`; what is left out is as the installation's `executor.job` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerSettings {
    /// Service account of Landfall's own namespace that the pods have, for a cloud's workload identity: one that
    /// `executor.job.serviceAccounts` of the installation permits to this organization. A plan is applied under the account
    /// under which it was made; another account needs another plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = OBJECT_NAME))]
    pub service_account_name: Option<String>,
    /// What a pod asks for and may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<RunnerResources>,
    /// Labels of the nodes that pods may stand on, beside those that the installation asks for. Another value for one of
    /// those is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "node_selector")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that pods tolerate, as in a pod's `tolerations`, beside those of the installation. One whose key
    /// `executor.job.permittedTolerations` of the installation does not list is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "tolerations")]
    pub tolerations: Vec<Toleration>,
}

/// Amounts of `cpu`, `memory` and `ephemeral-storage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerResources {
    /// What the node must have free. What is not named is as the installation says, but where a limit is named for it, which
    /// counts as its request then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "amounts")]
    pub requests: BTreeMap<String, Quantity>,
    /// The most that a pod may take. What is not named is as the installation says: name it to ask for more than that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "amounts")]
    pub limits: BTreeMap<String, Quantity>,
}

fn amounts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 3,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true, "pattern": AMOUNT, "minimum": 0, "maximum": 1_000_000_000_000_000_u64,
        },
        "x-kubernetes-validations": [rule(
            "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'])",
            "amounts are of cpu, memory and ephemeral-storage; remove the others",
        )],
    })
}

fn node_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "pattern": LABEL_VALUE},
        "x-kubernetes-validations": [rule(
            &format!("self.all(name, size(name) <= 317 && name.matches('{LABEL_NAME}'))"),
            "names of labels are up to 63 letters, digits, '-', '_' and '.', perhaps behind a DNS name and '/'",
        )],
    })
}

fn tolerations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "properties": {
                "key": {"type": "string", "pattern": LABEL_NAME},
                "operator": {"type": "string", "enum": ["Equal", "Exists"]},
                "value": {"type": "string", "pattern": LABEL_VALUE},
                "effect": {"type": "string", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
                "tolerationSeconds": {"type": "integer", "minimum": 0, "maximum": 86_400},
            },
            "x-kubernetes-validations": [
                rule(
                    "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                    "without a key the operator must be Exists, which tolerates every taint",
                ),
                rule(
                    "!has(self.value) || !has(self.operator) || self.operator == 'Equal'",
                    "the operator Exists takes no value; remove it, or set the operator Equal",
                ),
                rule(
                    "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                    "tolerationSeconds has a meaning with the effect NoExecute alone",
                ),
            ],
        },
    })
}
