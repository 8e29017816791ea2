//! Where, as whom and with how much the pod of a run stands: what the spec asks for, within what the installation says. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::{Organization, Reason, RunnerResources, RunnerSettings};
use crate::installation::{ExecutorSettings, JobSettings};
use crate::{Error, Result};

/// How the pod of a run stands; empty under `local`, which has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    pub(super) service_account_name: String,
    /// What the service account asks for beside Landfall's own labels.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) resources: ResourceRequirements,
    pub(super) node_selector: BTreeMap<String, String>,
    pub(super) tolerations: Vec<Toleration>,
}

impl Placement {
    /// What a spec of this organization gets.
    ///
    /// # Errors
    /// `ExecutorNotPermitted`, with the field and the next step.
    pub fn of(
        executor: &ExecutorSettings,
        organization: &Organization,
        asked: Option<&RunnerSettings>,
    ) -> Result<Self> {
        let none = RunnerSettings::default();
        let asked = asked.unwrap_or(&none);
        let Some(job) = &executor.job else { return without_pods(asked) };
        let (service_account_name, labels) = account(job, organization, asked.service_account_name.as_deref())?;
        Ok(Self {
            service_account_name,
            labels,
            resources: resources(
                job.resources.clone().unwrap_or_default(),
                asked.resources.clone().unwrap_or_default(),
            ),
            node_selector: node_selector(&job.node_selector, &asked.node_selector)?,
            tolerations: tolerations(job, &asked.tolerations)?,
        })
    }
}

fn refused(field: &str, why: impl std::fmt::Display) -> Error {
    Error::condition(Reason::ExecutorNotPermitted, format!("spec.runner.{field}: {why}"))
}

fn without_pods(asked: &RunnerSettings) -> Result<Placement> {
    let RunnerSettings { service_account_name, resources, node_selector, tolerations } = asked;
    let fields = [
        ("serviceAccountName", service_account_name.is_some()),
        ("resources", resources.is_some()),
        ("nodeSelector", !node_selector.is_empty()),
        ("tolerations", !tolerations.is_empty()),
    ];
    match fields.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(refused(
            field,
            "executor.type local runs engines beside the controller, without pods; remove it, or install Landfall with executor.type: job",
        )),
        None => Ok(Placement::default()),
    }
}

/// The account's name, and the labels that go with it. The installation's own is everybody's.
fn account(job: &JobSettings, of: &Organization, asked: Option<&str>) -> Result<(String, BTreeMap<String, String>)> {
    let Some(name) = asked.filter(|name| *name != job.service_account_name) else {
        return Ok((job.service_account_name.clone(), BTreeMap::new()));
    };
    let may = |named: &String| named == "*" || named == of.as_str();
    let permitted = job.service_accounts.iter().find(|one| one.name == name && one.organizations.iter().any(may));
    match permitted {
        Some(one) => Ok((one.name.clone(), one.pod_labels.clone())),
        None => Err(refused(
            "serviceAccountName",
            format!(
                "{name:?} is not permitted to organization {of}; remove it, or have the platform team list it in \
             executor.job.serviceAccounts of landfall.yaml"
            ),
        )),
    }
}

/// Resource by resource, so that a limit of the installation does not fall away because a spec names another one.
fn resources(given: ResourceRequirements, asked: RunnerResources) -> ResourceRequirements {
    let RunnerResources { requests, limits } = asked;
    let (given_requests, given_limits) = (given.requests.unwrap_or_default(), given.limits.unwrap_or_default());
    let stays = |(name, _): &(String, Quantity)| !limits.contains_key(name);
    let all_requests: BTreeMap<_, _> = given_requests.into_iter().filter(stays).chain(requests).collect();
    let all_limits: BTreeMap<_, _> = given_limits.into_iter().chain(limits).collect();
    let some = |amounts: BTreeMap<String, Quantity>| (!amounts.is_empty()).then_some(amounts);
    ResourceRequirements { claims: given.claims, requests: some(all_requests), limits: some(all_limits) }
}

fn node_selector(
    given: &BTreeMap<String, String>,
    asked: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let other = |(name, value): &(&String, &String)| given.get(*name).is_some_and(|fixed| fixed != *value);
    if let Some((name, value)) = asked.iter().find(other) {
        return Err(refused(
            "nodeSelector",
            format!(
                "{name}: {value:?} is not the installation's {:?}; remove it, runs stay on the nodes of executor.job.nodeSelector",
                given.get(name).map(String::as_str).unwrap_or_default()
            ),
        ));
    }
    Ok(given.iter().chain(asked).map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn tolerations(job: &JobSettings, asked: &[Toleration]) -> Result<Vec<Toleration>> {
    let key = |one: &Toleration| one.key.clone().filter(|key| !key.is_empty());
    let permitted = |one: &Toleration| {
        job.permitted_tolerations.iter().any(|may| may == "*" || key(one).is_some_and(|key| *may == key))
    };
    if let Some((at, one)) = asked.iter().enumerate().find(|(_, one)| !permitted(one)) {
        let (what, how) = match key(one) {
            Some(key) => (format!("the taint {key:?} keeps its nodes for others"), "list it"),
            None => ("without a key it is for every taint".to_owned(), "list \"*\""),
        };
        return Err(refused(
            &format!("tolerations[{at}]"),
            format!(
                "{what}; remove it, or have the platform team {how} in executor.job.permittedTolerations of landfall.yaml"
            ),
        ));
    }
    Ok(job.tolerations.iter().chain(asked).cloned().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn executor(job: &Value) -> ExecutorSettings {
        let mut whole = json!({"url": "https://landfall-runs:8443", "image": "landfall:1"});
        whole.as_object_mut().unwrap().extend(job.as_object().unwrap().clone());
        serde_json::from_value(json!({"type": "job", "job": whole})).unwrap()
    }

    fn placed(executor: &ExecutorSettings, organization: &str, asked: &Value) -> Result<Placement, String> {
        let asked: RunnerSettings = serde_json::from_value(asked.clone()).unwrap();
        Placement::of(executor, &Organization(organization.into()), Some(&asked)).map_err(|error| {
            assert_eq!(error.reason(), Reason::ExecutorNotPermitted);
            error.to_string()
        })
    }

    #[test]
    fn what_a_spec_does_not_name_is_as_the_installation_says() {
        let executor = executor(&json!({
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
            "nodeSelector": {"pool": "runs"}, "tolerations": [{"key": "runs", "operator": "Exists"}],
            "permittedTolerations": ["spot"],
        }));
        let default = Placement::of(&executor, &Organization("acme".into()), None).unwrap();
        assert_eq!(default.service_account_name, "landfall-runner");
        assert_eq!(default.node_selector, [("pool".into(), "runs".into())].into());
        assert_eq!(placed(&executor, "acme", &json!({})).unwrap(), default);
        for (asked, resources) in [
            (json!({"limits": {"memory": "4Gi"}}), json!({"requests": {"cpu": "1"}, "limits": {"memory": "4Gi"}})),
            (
                json!({"requests": {"cpu": 2}}),
                json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}),
            ),
            (
                json!({"requests": {"memory": "3Gi"}, "limits": {"memory": "3Gi", "cpu": "2"}}),
                json!({"requests": {"memory": "3Gi"}, "limits": {"memory": "3Gi", "cpu": "2"}}),
            ),
        ] {
            let got = placed(&executor, "acme", &json!({"resources": asked})).unwrap();
            assert_eq!(serde_json::to_value(got.resources).unwrap(), resources, "{asked}");
            assert_eq!(got.tolerations, default.tolerations);
        }
        let asked = json!({"nodeSelector": {"zone": "b", "pool": "runs"}, "tolerations": [{"key": "spot", "operator": "Exists"}]});
        let more = placed(&executor, "acme", &asked).unwrap();
        assert_eq!(more.node_selector, [("pool".into(), "runs".into()), ("zone".into(), "b".into())].into());
        let keys: Vec<_> = more.tolerations.iter().filter_map(|one| one.key.as_deref()).collect();
        assert_eq!(keys, ["runs", "spot"]);
        let said = placed(&executor, "acme", &json!({"nodeSelector": {"pool": "gpu"}})).unwrap_err();
        assert!(said.contains("spec.runner.nodeSelector") && said.contains("\"runs\""), "{said}");
    }

    #[test]
    fn a_taint_is_tolerated_where_the_installation_permits_that() {
        let spot = json!({"key": "spot", "operator": "Exists"});
        let master = json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"});
        let every = json!({"operator": "Exists"});
        for (permitted, asked, refused) in [
            (json!([]), json!([spot]), Some(("tolerations[0]", "\"spot\""))),
            (json!(["spot"]), json!([spot]), None),
            (json!(["spot"]), json!([spot, master]), Some(("tolerations[1]", "control-plane"))),
            (json!(["spot"]), json!([every]), Some(("tolerations[0]", "\"*\""))),
            (json!([""]), json!([{"key": "", "operator": "Exists"}]), Some(("tolerations[0]", "\"*\""))),
            (json!(["*"]), json!([spot, master, every]), None),
        ] {
            let got =
                placed(&executor(&json!({"permittedTolerations": permitted})), "acme", &json!({"tolerations": asked}));
            let Some((field, word)) = refused else {
                assert_eq!(json!(got.unwrap().tolerations), asked);
                continue;
            };
            let said = got.unwrap_err();
            let told = said.contains(&format!("spec.runner.{field}: ")) && said.contains(word);
            assert!(told && said.contains("executor.job.permittedTolerations"), "{said}");
        }
    }

    #[test]
    fn a_service_account_is_for_the_organizations_that_it_is_listed_for() {
        let executor = executor(&json!({"serviceAccounts": [
            {"name": "acme-aws", "organizations": ["acme"], "podLabels": {"use": "true"}},
            {"name": "readers", "organizations": ["*"]},
        ]}));
        let account = |organization: &str, name: &str| {
            placed(&executor, organization, &json!({"serviceAccountName": name}))
                .map(|got| (got.service_account_name, got.labels))
        };
        assert_eq!(account("acme", "acme-aws").unwrap(), ("acme-aws".into(), [("use".into(), "true".into())].into()));
        assert_eq!(account("other", "readers").unwrap(), ("readers".into(), BTreeMap::new()));
        assert_eq!(account("other", "landfall-runner").unwrap().0, "landfall-runner", "everybody's");
        for (organization, name) in [
            ("other", "acme-aws"),
            ("acme2", "acme-aws"),
            ("*", "acme-aws"),
            ("acme", "landfall-controller"),
            ("acme", "*"),
        ] {
            let said = account(organization, name).unwrap_err();
            assert!(
                said.contains("spec.runner.serviceAccountName") && said.contains("executor.job.serviceAccounts"),
                "{said}"
            );
        }
    }

    #[test]
    fn local_has_no_pods_and_says_so_of_each_field() {
        let local = ExecutorSettings::default();
        assert_eq!(placed(&local, "acme", &json!({})).unwrap(), Placement::default());
        for (field, value) in [
            ("serviceAccountName", json!("a")),
            ("resources", json!({"limits": {"cpu": "1"}})),
            ("nodeSelector", json!({"a": "b"})),
            ("tolerations", json!([{"operator": "Exists"}])),
        ] {
            let said = placed(&local, "acme", &json!({field: value})).unwrap_err();
            assert!(said.contains(&format!("spec.runner.{field}: executor.type local")), "{said}");
        }
    }
}
