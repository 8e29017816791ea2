//! What the integration tests share: the test bed's users, an installation of Landfall's manifests, namespaces of one's
//! own, and waiting for a condition. Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod canary;
pub mod objects;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use landfall::api::TerraformDeployment;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

tokio::task_local! {
    /// The environment of a bed of the test's own, within the test's own task: it goes before the process's.
    pub static OWN_BED: HashMap<String, String>;
}

fn of_own_bed(name: &str) -> Option<String> {
    OWN_BED.try_with(|bed| bed.get(name).cloned()).ok().flatten()
}

/// A value of the test bed's environment.
pub fn env(name: &str) -> String {
    let value = of_own_bed(name).or_else(|| std::env::var(name).ok());
    value.unwrap_or_else(|| panic!("{name} is not set; run `make test`, or export a test bed's env"))
}

/// The top of the work tree.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The users of the test bed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// Has no right but those that a test grants.
    Alice,
    /// The same.
    Bob,
    /// The same.
    Carol,
    /// The service account `system:serviceaccount:landfall-system:landfall-controller`.
    Controller,
}

impl User {
    /// The name by which the API server knows the user.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Alice => "alice",
            Self::Bob => "bob",
            Self::Carol => "carol",
            Self::Controller => "system:serviceaccount:landfall-system:landfall-controller",
        }
    }

    /// Path of the user's kubeconfig.
    pub fn kubeconfig(self) -> String {
        env(match self {
            Self::Admin => "KUBECONFIG",
            Self::Alice => "KUBECONFIG_ALICE",
            Self::Bob => "KUBECONFIG_BOB",
            Self::Carol => "KUBECONFIG_CAROL",
            Self::Controller => "KUBECONFIG_CONTROLLER",
        })
    }

    /// The way to the API server as this user.
    pub async fn config(self) -> Config {
        let file = Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a usable kubeconfig")
    }

    /// A client that acts as this user.
    pub async fn client(self) -> Client {
        landfall::access::client(self.config().await).expect("a client")
    }

    /// A client of this user that impersonates `name`.
    pub async fn impersonating(self, name: &str) -> Client {
        let mut config = self.config().await;
        config.auth_info.impersonate = Some(name.to_owned());
        Client::try_from(config).expect("a client")
    }
}

/// kubectl as a user.
pub fn kubectl(user: User) -> Command {
    let mut command = Command::new(
        of_own_bed("KUBECTL").or_else(|| std::env::var("KUBECTL").ok()).unwrap_or_else(|| "kubectl".into()),
    );
    command.env("KUBECONFIG", user.kubeconfig());
    command
}

/// Installs CRDs, ClusterRoles and policies, once per test binary, and waits until they are in force.
pub async fn install() {
    if OWN_BED.try_with(|_| ()).is_ok() {
        return assert_eq!(apply_installation().await, Ok(()), "manifests/install");
    }
    static DONE: OnceCell<Result<(), String>> = OnceCell::const_new();
    // A failure is kept, so that the other tests do not wait for the same again.
    let done = DONE.get_or_init(apply_installation).await;
    assert_eq!(*done, Ok(()), "manifests/install");
}

async fn apply_installation() -> Result<(), String> {
    let mut apply = kubectl(User::Admin);
    apply.args(["apply", "--server-side", "--force-conflicts", "-k"]).arg(top().join("manifests/install"));
    let output = apply.output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let api: Api<TerraformDeployment> = Api::namespaced(User::Admin.client().await, "landfall-system");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let object = deployment("probe", json!({"source": {"inline": {"main.tf": ""}}, "variables": {"1": 1}}));
    let object = serde_json::from_value(object).map_err(|e| e.to_string())?;
    let end = Instant::now() + Duration::from_secs(120);
    // The last policy of the file in force means that the others are.
    while !api.create(&dry, &object).await.is_err_and(|e| e.to_string().contains("landfall-variables")) {
        if Instant::now() > end {
            return Err("the policies are installed, but not in force after 120 s".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    commands_count().await;
    Ok(())
}

/// Waits until the policies are old enough for commands.
async fn commands_count() {
    let all: Api<ValidatingAdmissionPolicy> = Api::all(User::Admin.client().await);
    let policies =
        all.list(&ListParams::default().labels("app.kubernetes.io/part-of=landfall")).await.expect("policies");
    let changes = policies.items.iter().flat_map(|p| p.metadata.managed_fields.iter().flatten());
    let last = changes.filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max().expect("a time");
    let due = last + jiff::SignedDuration::from_secs(6);
    wait_until(Duration::from_secs(60), "commands to count", async || jiff::Timestamp::now() > due).await;
}

/// A fresh namespace in an organization of its own.
pub async fn namespace() -> String {
    let name = format!("test-{}", uuid::Uuid::new_v4().simple());
    let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let api: Api<Namespace> = Api::all(User::Admin.client().await);
    api.create(&PostParams::default(), &object).await.expect("a namespace");
    name
}

/// Gives a namespace to an organization; `None` lets it be one by itself.
pub async fn assign(namespace: &str, organization: impl Into<Option<&str>>) {
    let labels = json!({"metadata": {"labels": {"landfall.dev/organization": organization.into()}}});
    let api: Api<Namespace> = Api::all(User::Admin.client().await);
    api.patch(namespace, &PatchParams::default(), &Patch::Merge(&labels))
        .await
        .expect("a namespace of another organization");
}

/// A token of this account as the kubelet gets it for a pod.
pub async fn pod_token(accounts: &Api<ServiceAccount>, account: &str, pod: &Pod, audience: &str) -> String {
    let bound = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    };
    let spec =
        TokenRequestSpec { audiences: vec![audience.into()], bound_object_ref: Some(bound), expiration_seconds: None };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await.expect("a token");
    made.status.expect("a token").token
}

/// Binds `user` to ClusterRoles within `namespace`, and waits until each is in force.
pub async fn grant(namespace: &str, user: User, roles: &[&str]) {
    let admin = User::Admin.client().await;
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), namespace);
    for role in roles {
        let binding = json!({
            "metadata": {"name": format!("{}-{role}", user.name().replace(':', "-"))},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user.name()}],
        });
        bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.expect("a binding");
        let role: ClusterRole = Api::all(admin.clone()).get(role).await.expect("a ClusterRole of the installation");
        wait_for_right(namespace, user, &role).await;
    }
}

/// Lets `user` read these Secrets of `namespace`, or all of them where none is named; waits until it is so.
pub async fn grant_secrets(namespace: &str, user: User, names: &[&str]) {
    grant_secret_verb(namespace, user, "get", names).await;
}

/// The same with any verb.
pub async fn grant_secret_verb(namespace: &str, user: User, verb: &str, names: &[&str]) {
    let admin = User::Admin.client().await;
    let name = format!("{}-secrets-{}", user.name().replace(':', "-"), uuid::Uuid::new_v4().simple());
    let mut rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": [verb]});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    let role = json!({"metadata": {"name": name}, "rules": [rule]});
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user.name()}],
    });
    let roles: Api<Role> = Api::namespaced(admin.clone(), namespace);
    roles.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.expect("a role");
    let bindings: Api<RoleBinding> = Api::namespaced(admin, namespace);
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.expect("a binding");
    let attributes = json!({"namespace": namespace, "resource": "secrets", "verb": verb, "name": names.first()});
    wait_for_answer(user, attributes).await;
}

/// The last verb of a role is the one that no other role of the installation has along with it.
async fn wait_for_right(namespace: &str, user: User, role: &ClusterRole) {
    let rule = role.rules.iter().flatten().next_back().expect("a rule");
    let attributes = json!({
        "namespace": namespace,
        "group": rule.api_groups.iter().flatten().next(),
        "resource": rule.resources.iter().flatten().next(),
        "verb": rule.verbs.last(),
    });
    wait_for_answer(user, attributes).await;
}

async fn wait_for_answer(user: User, attributes: Value) {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(user.client().await);
    let review: SelfSubjectAccessReview =
        serde_json::from_value(json!({"spec": {"resourceAttributes": attributes}})).unwrap();
    wait_until(Duration::from_secs(60), "a grant to be in force", async || {
        let answer = reviews.create(&PostParams::default(), &review).await.expect("a review");
        answer.status.is_some_and(|status| status.allowed)
    })
    .await;
}

/// The engine that a runner has started with this command.
pub fn engine_of(runner: i32, command: &str) -> rustix::process::Pid {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let parent = format!("PPid:\t{runner}\n");
    let fits = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&parent) && line.split(|b| *b == 0).nth(1) == Some(command.as_bytes())
    };
    rustix::process::Pid::from_raw(pids.into_iter().find(fits).expect("the engine")).unwrap()
}

/// The plugin of a provider that an engine has started.
pub fn plugin_of(engine: rustix::process::Pid, provider: &str) -> rustix::process::Pid {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let parent = format!("PPid:\t{}\n", engine.as_raw_nonzero());
    let fits = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&parent) && line.contains(&format!("terraform-provider-{provider}"))
    };
    rustix::process::Pid::from_raw(pids.into_iter().find(fits).expect("the plugin")).unwrap()
}

/// Asks again until `condition` holds; panics at the deadline with what was awaited.
pub async fn wait_until(deadline: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition().await {
        assert!(Instant::now() < end, "waited {deadline:?} for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A TerraformDeployment as JSON.
pub fn deployment(name: &str, spec: Value) -> Value {
    object("TerraformDeployment", name, spec)
}

/// A CloudCredential as JSON.
pub fn credential(name: &str, spec: Value) -> Value {
    object("CloudCredential", name, spec)
}

/// An object of a kind as JSON.
pub fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}
