//! Every validation of the admission policies is needed: without it, a row of the table below is accepted.
//!
//! The policies are installed once more for a kind of the test's own that looks like a deployment. Each of its versions is
//! guarded by one policy, whole or with one validation less. Rows are sent as dry runs. The policy on Namespaces gets a label
//! of its own instead.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::{User, grant, grant_secrets, install, namespace, top, wait_until};
use crate::world::{DIGEST, RUN, command};

const LABEL: &str = "landfall.dev/organization";

/// Who sends what to an object that is so, and the policy that refuses it.
struct Row(&'static str, Value, User, Value);

/// A validation a row, in the order of the file.
fn rows() -> Vec<Row> {
    let bare = || json!({});
    let waiting = |by| command("approve", DIGEST, by);
    let mut both = command("approve", DIGEST, "alice");
    both["metadata"]["annotations"]["landfall.dev/reconcile"] = json!("now");
    let mut changing = command("approve", DIGEST, "alice");
    changing["spec"] = json!({"variables": {"x": 1}});
    let renamed = json!({"metadata": {"annotations": {"landfall.dev/command-by": "bob"}}});
    let limit = |count| json!({"spec": {"guardrails": {"maxDestroy": count}}});
    let (commands, bypass, variables) = ("landfall-commands", "landfall-bypass", "landfall-variables");
    let mut rows = vec![
        Row(commands, bare(), User::Alice, command("aprove", DIGEST, "alice")),
        Row(commands, bare(), User::Alice, both),
        Row(commands, bare(), User::Alice, command("approve", DIGEST, "bob")),
        Row(commands, waiting("alice"), User::Bob, renamed),
        Row(commands, waiting("carol"), User::Alice, command("reconcile", "now", "alice")),
        Row(commands, bare(), User::Controller, command("approve", DIGEST, User::Controller.name())),
        Row(commands, bare(), User::Alice, changing),
        Row(commands, bare(), User::Alice, command("approve", &DIGEST[..20], "alice")),
        Row(commands, bare(), User::Alice, command("cancel", &RUN[..8], "alice")),
        Row(commands, bare(), User::Alice, command("reconcile", "", "alice")),
        Row(commands, bare(), User::Bob, command("approve", DIGEST, "bob")),
        Row(commands, bare(), User::Bob, command("cancel", RUN, "bob")),
        Row(bypass, bare(), User::Bob, json!({"spec": {"approval": "Automatic"}})),
        Row(bypass, bare(), User::Bob, json!({"spec": {"deletionPolicy": "Destroy"}})),
        Row(bypass, limit(1), User::Bob, limit(2)),
        Row("landfall-use", bare(), User::Bob, json!({"spec": {"credentialRef": {"name": "pdns"}}})),
    ];
    // Bob may read s0 to s7, and create none.
    rows.extend((0..9).map(|n| {
        let entry = |name: String| json!({"secretKeyRef": {"name": name, "key": "k"}, "as": name});
        let mut from: Vec<_> = (0..n).map(|n| entry(format!("s{n}"))).collect();
        from.push(entry("other".into()));
        Row("landfall-secrets", bare(), User::Bob, json!({"spec": {"variablesFrom": from}}))
    }));
    let outputs = json!({"spec": {"outputs": {"secretName": "s0"}}});
    rows.push(Row("landfall-secrets", bare(), User::Bob, outputs));
    let label = |value| json!({"metadata": {"labels": {LABEL: value}}});
    let twice = json!({"spec": {"variables": {"x": 1}, "variablesFrom": [{"configMapKeyRef": {}, "as": "x"}]}});
    rows.extend([
        Row("landfall-assign", bare(), User::Bob, label("")),
        Row("landfall-assign", bare(), User::Bob, label("theirs")),
        Row(variables, bare(), User::Bob, json!({"spec": {"variables": {"1st": 1}}})),
        Row(variables, bare(), User::Bob, twice),
    ]);
    rows
}

/// A copy of a policy for one version.
struct Copy {
    policy: String,
    version: String,
    /// The validation that it lacks.
    lacks: Option<String>,
    object: Value,
}

struct Ground {
    id: String,
    namespace: String,
    admin: Client,
}

impl Ground {
    fn group(&self) -> String {
        format!("{}.landfall.dev", self.id)
    }

    /// What must not be in the annotations where a copy is in force.
    fn proof(&self, version: &str) -> String {
        format!("{version}.{}/proof", self.group())
    }

    /// Every policy whole, and with each of its validations taken away.
    fn copies(&self) -> Vec<Copy> {
        let text = std::fs::read_to_string(top().join("manifests/install/policies.yaml")).unwrap();
        let documents = serde_yaml::Deserializer::from_str(&text).map(|d| Value::deserialize(d).unwrap());
        let policies = documents.filter(|d| d["kind"] == "ValidatingAdmissionPolicy").enumerate();
        policies
            .flat_map(|(p, policy)| {
                let lacks = policy["spec"]["validations"].as_array().unwrap().len();
                let all = std::iter::once(None).chain((0..lacks).map(Some));
                all.map(|lacks| self.copy(p, &policy, lacks)).collect::<Vec<_>>()
            })
            .collect()
    }

    fn copy(&self, number: usize, policy: &Value, lacks: Option<usize>) -> Copy {
        let version = lacks.map_or(format!("p{number}whole"), |n| format!("p{number}without{n}"));
        let mut object = policy.clone();
        let mut lacking = None;
        let name = policy["metadata"]["name"].as_str().unwrap();
        object["metadata"] = json!({"name": format!("{}.{version}", self.group())});
        let spec = &mut object["spec"];
        if let Some(n) = lacks {
            lacking = Some(format!("{name}: {}", spec["validations"][n]["expression"]));
            spec["validations"][n] = json!({"expression": "true"});
        }
        let proof = format!("!('{}' in object.metadata.?annotations.orValue({{}}))", self.proof(&version));
        spec["validations"].as_array_mut().unwrap().push(json!({"expression": proof}));
        spec["matchConstraints"]["matchPolicy"] = json!("Exact");
        let rule = &mut spec["matchConstraints"]["resourceRules"][0];
        if rule["apiGroups"] == json!(["landfall.dev"]) {
            rule["apiGroups"] = json!([self.group()]);
            rule["apiVersions"] = json!([version]);
        }
        let label = format!("{version}.{}/organization", self.group());
        let text = object.to_string().replace(LABEL, &label);
        Copy { policy: name.to_owned(), version, lacks: lacking, object: serde_json::from_str(&text).unwrap() }
    }

    async fn create<K>(&self, object: Value)
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    {
        let object = serde_json::from_value(object).unwrap();
        Api::<K>::all(self.admin.clone()).create(&PostParams::default(), &object).await.unwrap();
    }

    async fn install(&self, copies: &[Copy]) {
        let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let version = |name: &str| json!({"name": name, "served": true, "storage": name == "free", "schema": schema});
        let mut versions = vec![version("free")];
        versions.extend(copies.iter().map(|copy| version(&copy.version)));
        let names = json!({"kind": "TerraformDeployment", "plural": "terraformdeployments"});
        let spec = json!({"group": self.group(), "scope": "Namespaced", "versions": versions, "names": names});
        let name = format!("terraformdeployments.{}", self.group());
        self.create::<CustomResourceDefinition>(json!({"metadata": {"name": name}, "spec": spec})).await;
        for copy in copies {
            let name = &copy.object["metadata"]["name"];
            self.create::<ValidatingAdmissionPolicy>(copy.object.clone()).await;
            let spec = json!({"policyName": name, "validationActions": ["Deny"]});
            self.create::<ValidatingAdmissionPolicyBinding>(json!({"metadata": {"name": name}, "spec": spec})).await;
        }
        let rules = json!([
            {"apiGroups": [self.group()], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": [self.namespace], "verbs": ["patch"]},
        ]);
        self.create::<ClusterRole>(json!({"metadata": {"name": self.group()}, "rules": rules})).await;
        let user = |user: User| json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user.name()});
        let subjects = [User::Alice, User::Bob, User::Controller].map(user);
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.group()});
        let binding = json!({"metadata": {"name": self.group()}, "roleRef": role, "subjects": subjects});
        self.create::<ClusterRoleBinding>(binding).await;
        grant(&self.namespace, User::Alice, &["landfall-approver"]).await;
        grant(&self.namespace, User::Controller, &["landfall-approver"]).await;
        grant_secrets(&self.namespace, User::Bob, &["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"]).await;
    }

    async fn remove(&self, copies: &[Copy]) {
        let (gone, admin) = (DeleteParams::default(), &self.admin);
        for copy in copies {
            let name = copy.object["metadata"]["name"].as_str().unwrap();
            Api::<ValidatingAdmissionPolicyBinding>::all(admin.clone()).delete(name, &gone).await.unwrap();
            Api::<ValidatingAdmissionPolicy>::all(admin.clone()).delete(name, &gone).await.unwrap();
        }
        let name = format!("terraformdeployments.{}", self.group());
        Api::<CustomResourceDefinition>::all(admin.clone()).delete(&name, &gone).await.unwrap();
        Api::<ClusterRoleBinding>::all(admin.clone()).delete(&self.group(), &gone).await.unwrap();
        Api::<ClusterRole>::all(admin.clone()).delete(&self.group(), &gone).await.unwrap();
    }

    fn api(&self, client: Client, version: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(&self.group(), version, "TerraformDeployment");
        Api::namespaced_with(client, &self.namespace, &ApiResource::from_gvk(&kind))
    }

    /// The object that a row starts from, which no policy has judged.
    async fn prepare(&self, number: usize, row: &Row) {
        let mut object = row.1.clone();
        object["apiVersion"] = json!(format!("{}/free", self.group()));
        object["kind"] = json!("TerraformDeployment");
        object["metadata"]["name"] = json!(format!("row{number}"));
        if object.get("spec").is_none() {
            object["spec"] = json!({});
        }
        let object = serde_json::from_value(object).unwrap();
        let api = self.api(self.admin.clone(), "free");
        wait_until(Duration::from_secs(60), "the kind to be served", async || {
            api.create(&PostParams::default(), &object).await.is_ok()
        })
        .await;
    }

    /// Sends a patch to the object of a row as a dry run; answers with the refusal, if it is one of the copy.
    async fn refusal(&self, copy: &Copy, number: usize, user: User, patch: &Value) -> Option<String> {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let label = format!("{}.{}/organization", copy.version, self.group());
        let patch: Value = serde_json::from_str(&patch.to_string().replace(LABEL, &label)).unwrap();
        let (client, patch) = (user.client().await, Patch::Merge(patch));
        let answer = match copy.policy.as_str() {
            "landfall-assign" => Api::<Namespace>::all(client).patch(&self.namespace, &dry, &patch).await.map(drop),
            _ => self.api(client, &copy.version).patch(&format!("row{number}"), &dry, &patch).await.map(drop),
        };
        let name = copy.object["metadata"]["name"].as_str().unwrap();
        answer.err().map(|error| error.to_string()).filter(|text| {
            assert!(text.contains(name), "{}, row {number}: {text}", copy.version);
            true
        })
    }

    async fn is_in_force(&self, copy: &Copy) -> bool {
        let annotations = json!({"metadata": {"annotations": {self.proof(&copy.version): "x"}}});
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let patch = Patch::Merge(annotations);
        let answer = match copy.policy.as_str() {
            "landfall-assign" => {
                Api::<Namespace>::all(self.admin.clone()).patch(&self.namespace, &dry, &patch).await.map(drop)
            }
            _ => self.api(self.admin.clone(), &copy.version).patch("row0", &dry, &patch).await.map(drop),
        };
        answer.is_err_and(|error| error.to_string().contains("ValidatingAdmissionPolicy"))
    }
}

#[tokio::test]
async fn every_validation_of_the_policies_is_needed() {
    install().await;
    let id = format!("gates-{}", uuid::Uuid::new_v4().simple());
    let ground = Ground { id, namespace: namespace().await, admin: User::Admin.client().await };
    let (copies, rows) = (ground.copies(), rows());
    ground.install(&copies).await;
    for (number, row) in rows.iter().enumerate() {
        ground.prepare(number, row).await;
    }
    let (mut survivors, mut accepted) = (Vec::new(), Vec::new());
    for copy in &copies {
        wait_until(Duration::from_secs(60), &copy.version, async || ground.is_in_force(copy).await).await;
        let mut noticed = false;
        for (number, Row(_, _, user, patch)) in rows.iter().enumerate().filter(|(_, row)| row.0 == copy.policy) {
            let refusal = ground.refusal(copy, number, *user, patch).await;
            noticed |= refusal.is_none();
            if copy.lacks.is_none() && refusal.is_none() {
                accepted.push(number);
            }
        }
        survivors.extend(copy.lacks.clone().filter(|_| !noticed));
    }
    ground.remove(&copies).await;
    assert_eq!(accepted, Vec::<usize>::new(), "rows that the policies as they are accept");
    assert_eq!(survivors, Vec::<String>::new(), "validations whose loss no row notices");
}

/// Names of variables that would be refused today must not keep an object from going.
#[tokio::test]
async fn an_object_from_before_the_policies_gets_and_loses_its_finalizer() {
    install().await;
    let id = format!("gates-{}", uuid::Uuid::new_v4().simple());
    let ground = Ground { id, namespace: namespace().await, admin: User::Admin.client().await };
    let copies: Vec<_> = ground.copies().into_iter().filter(|copy| copy.lacks.is_none()).collect();
    ground.install(&copies).await;
    let spec = json!({
        "approval": "Automatic", "deletionPolicy": "Destroy", "credentialRef": {"name": "pdns"},
        "variables": {"1st": 1, "x": 1}, "guardrails": {"maxDestroy": "50%"},
        "variablesFrom": [{"secretKeyRef": {"name": "other", "key": "k"}, "as": "x"}],
    });
    ground.prepare(0, &Row("", json!({"spec": spec}), User::Bob, json!({}))).await;
    for copy in &copies {
        wait_until(Duration::from_secs(60), &copy.version, async || ground.is_in_force(copy).await).await;
        for finalizers in [json!(["landfall.dev/finalizer"]), Value::Null] {
            let patch = json!({"metadata": {"finalizers": finalizers}});
            if copy.policy != "landfall-assign" {
                assert_eq!(ground.refusal(copy, 0, User::Controller, &patch).await, None, "{}", copy.policy);
            }
        }
    }
    ground.remove(&copies).await;
}
