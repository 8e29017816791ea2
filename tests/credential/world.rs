//! A namespace, a controller that watches it, and a provider that can be made to misbehave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use landfall::api::{CloudCredential, Condition, TerraformDeployment};
use serde_json::{Value, json};

use crate::controller::{Controller, Home};
use crate::database::Database;
use crate::harness::{self, User, env, namespace, wait_until};

/// What the requirements give a probe after a Secret has come or changed.
pub(crate) const FIVE: Duration = Duration::from_secs(5);
/// What is woken by a change, and not by a clock, whatever else this machine does: a Secret is read again after minutes.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Time for everything else.
pub(crate) const PLENTY: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub namespace: String,
    pub client: Client,
    pub database: Database,
    pub controller: Option<Controller>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Value)) -> Self {
        let (namespace, database) = (namespace().await, Database::fresh().await);
        let home = Home::new(std::slice::from_ref(&namespace), &database, change).await;
        Self { namespace, client: User::Admin.client().await, database, controller: Some(home.start().await) }
    }

    pub(crate) fn controller(&self) -> &Controller {
        self.controller.as_ref().unwrap()
    }

    pub(crate) async fn restart(&mut self) {
        let home = self.controller.take().unwrap().stop().await;
        self.controller = Some(home.start().await);
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes or replaces a Secret.
    pub(crate) async fn secret(&self, name: &str, data: Value) {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        let params = PatchParams::apply("test").force();
        self.api::<Secret>().patch(name, &params, &Patch::Apply(&object)).await.unwrap();
    }

    pub(crate) async fn credential(&self, name: &str, spec: Value) {
        let object = serde_json::from_value(harness::credential(name, spec)).unwrap();
        self.api::<CloudCredential>().create(&PostParams::default(), &object).await.unwrap();
    }

    /// A PowerDNS credential and its Secret of the same name.
    pub(crate) async fn powerdns(&self, name: &str, key: &str, endpoint: &str, more: Value) {
        self.secret(name, json!({"api_key": key})).await;
        self.credential(name, powerdns_spec(name, endpoint, more)).await;
    }

    pub(crate) async fn deployment(&self, name: &str, credential: &str) {
        let spec =
            json!({"credentialRef": {"name": credential}, "source": {"inline": {"main.tf": ""}}, "suspend": true});
        let object = serde_json::from_value(harness::deployment(name, spec)).unwrap();
        self.api::<TerraformDeployment>().create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn get(&self, name: &str) -> CloudCredential {
        self.api::<CloudCredential>().get(name).await.unwrap()
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) {
        let params = PatchParams::default();
        self.api::<CloudCredential>().patch(name, &params, &Patch::Merge(&patch)).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.api::<CloudCredential>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits for `Valid` with this status and reason.
    pub(crate) async fn valid(&self, name: &str, within: Duration, status: &str, reason: &str) -> CloudCredential {
        self.condition(name, within, "Valid", status, reason).await
    }

    pub(crate) async fn condition(
        &self,
        name: &str,
        within: Duration,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> CloudCredential {
        let last = std::cell::RefCell::new(None);
        let end = std::time::Instant::now() + within;
        loop {
            let object = self.get(name).await;
            let found = condition(&object, kind);
            if found.as_ref().is_some_and(|c| c.status == status && c.reason == reason) {
                return object;
            }
            *last.borrow_mut() = object.status;
            assert!(
                std::time::Instant::now() < end,
                "{name}: waited {within:?} for {kind}={status} {reason}: {last:#?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn gone(&self, name: &str) {
        let api = self.api::<CloudCredential>();
        wait_until(PLENTY, "the credential to be gone", async || api.get_opt(name).await.unwrap().is_none()).await;
    }
}

pub(crate) fn powerdns_spec(secret: &str, endpoint: &str, more: Value) -> Value {
    let mut spec = json!({"powerdns": {"secretRef": {"name": secret}, "endpoint": endpoint}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

pub(crate) fn aws_spec(secret: &str, more: Value) -> Value {
    let mut spec =
        json!({"aws": {"secretRef": {"name": secret}, "region": "eu-central-1", "endpoint": env("AWS_ENDPOINT")}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// The Knot of the test bed with the key of this prefix, in a Secret of this name.
pub(crate) fn rfc2136_spec(secret: &str, key: &str, more: Value) -> Value {
    let mut spec = json!({"rfc2136": {
        "secretRef": {"name": secret}, "server": env("KNOT_DNS"), "tsigKeyName": env(&format!("{key}_NAME")),
        "zones": [env("KNOT_ZONE")],
    }});
    spec["rfc2136"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

pub(crate) fn condition(object: &CloudCredential, kind: &str) -> Option<Condition> {
    object.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind).cloned()
}

pub(crate) fn message(object: &CloudCredential, kind: &str) -> String {
    condition(object, kind).map(|c| c.message).unwrap_or_default()
}

/// A server that answers every call with the status it was told to, as PowerDNS would: it has no zones. Calls for those are
/// not counted, as each follows a probe.
#[derive(Clone)]
pub(crate) struct Fake {
    pub address: SocketAddr,
    status: Arc<AtomicU16>,
    calls: Arc<AtomicUsize>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicU16::new(200)),
            calls: Arc::default(),
        };
        let state = fake.clone();
        let answer = move |uri: axum::http::Uri| {
            let state = state.clone();
            async move {
                if uri.path().ends_with("/zones") {
                    return (StatusCode::OK, "[]");
                }
                state.calls.fetch_add(1, Ordering::SeqCst);
                let status = StatusCode::from_u16(state.status.load(Ordering::SeqCst)).unwrap();
                let body = r#"{"id": "localhost", "daemon_type": "authoritative", "version": "4.9"}"#;
                (status, if status == 200 { body } else { "" })
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}
