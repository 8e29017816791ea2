//! A namespace with a deployment in it, alice who may approve, bob who may edit and carol who may do nothing.

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::harness::{User, credential, deployment, grant, install, namespace};

pub(crate) const DIGEST: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
pub(crate) const OTHER: &str = "sha256:ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
pub(crate) const RUN: &str = "01939f2a-7c4b-7d1e-9a55-0123456789ab";

pub(crate) fn source() -> Value {
    json!({"inline": {"main.tf": "resource \"terraform_data\" \"x\" {}"}})
}

/// The annotations of one command.
pub(crate) fn command(name: &str, value: &str, by: &str) -> Value {
    let key = format!("landfall.dev/{name}");
    json!({"metadata": {"annotations": {key: value, "landfall.dev/command-by": by}}})
}

pub(crate) struct World {
    pub(crate) namespace: String,
}

pub(crate) fn kind(client: Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("landfall.dev", "v1alpha1", kind);
    Api::namespaced_with(client, namespace, &ApiResource::from_gvk(&kind))
}

impl World {
    /// With the deployment `web` of `spec`, a source being put in where there is none.
    pub(crate) async fn with(mut spec: Value) -> Self {
        install().await;
        let namespace = namespace().await;
        grant(&namespace, User::Alice, &["landfall-approver"]).await;
        grant(&namespace, User::Bob, &["landfall-editor"]).await;
        if spec.get("source").is_none() {
            spec["source"] = source();
        }
        let world = Self { namespace };
        world.create(User::Admin, deployment("web", spec)).await.unwrap();
        world
    }

    pub(crate) async fn new() -> Self {
        Self::with(json!({})).await
    }

    pub(crate) async fn deployments(&self, user: User) -> Api<DynamicObject> {
        kind(user.client().await, &self.namespace, "TerraformDeployment")
    }

    pub(crate) async fn create(&self, user: User, object: Value) -> kube::Result<DynamicObject> {
        let api = kind(user.client().await, &self.namespace, object["kind"].as_str().unwrap());
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await
    }

    /// A merge patch of `web`.
    pub(crate) async fn patch(&self, user: User, patch: Value) -> kube::Result<DynamicObject> {
        self.deployments(user).await.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await
    }

    pub(crate) async fn annotations(&self) -> Value {
        let web = self.deployments(User::Admin).await.get("web").await.unwrap();
        json!(web.metadata.annotations.unwrap_or_default())
    }

    pub(crate) async fn credential(&self, name: &str) {
        let spec = json!({"powerdns": {"secretRef": {"name": "pdns"}, "endpoint": "https://pdns.example.com"}});
        self.create(User::Admin, credential(name, spec)).await.unwrap();
    }
}

/// Asserts that the API server refused, and that its answer says all of `parts`.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: kube::Result<T>, parts: &[&str]) {
    let text = match answer {
        Err(kube::Error::Api(status)) => status.message.clone(),
        other => panic!("expected a refusal with {parts:?}, got {other:?}"),
    };
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}
