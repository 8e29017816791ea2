//! A namespace with a controller that watches it, deployments in it, and alice who approves. The crate that includes this
//! includes `mod.rs` as `harness`, `database.rs` as `database` and `controller.rs` as `controller`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, Resource};
use landfall::api::{Condition, TerraformDeployment, TerraformDeploymentStatus};
use landfall::reconcile::Clock;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::controller::{Controller, Home, Process};
use crate::database::Database;
use crate::harness::{self, User, grant, namespace};

/// Time for a run on a machine with much else to do.
pub const PLENTY: Duration = Duration::from_secs(120);

/// What a test of deployments stands on.
pub struct World<C = Controller> {
    pub namespace: String,
    pub client: Client,
    pub database: Database,
    pub controller: C,
}

impl World {
    /// A controller of the test's own; alice may approve and operate.
    pub async fn new() -> Self {
        Self::with(&[], |_| {}).await
    }

    /// The same, which also watches `others`, and with a change of its settings.
    pub async fn with(others: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        let World { namespace, client, database, controller } = World::<Home>::home(others, change).await;
        Self { namespace, client, database, controller: controller.start().await }
    }

    /// A controller whose clock is so far ahead, and which stops an engine within a second.
    pub async fn with_clock(ahead: SignedDuration) -> Self {
        let hasty = |settings: &mut Value| settings["executor"]["stopGraceSeconds"] = json!(1);
        let World { namespace, client, database, mut controller } = World::<Home>::home(&[], hasty).await;
        controller.clock = Clock::of(move || Timestamp::now() + ahead);
        Self { namespace, client, database, controller: controller.start().await }
    }
}

impl World<Process> {
    /// The same with the program itself as the controller.
    pub async fn spawned(change: impl FnOnce(&mut Value)) -> Self {
        let World { namespace, client, database, controller } = World::<Home>::home(&[], change).await;
        Self { namespace, client, database, controller: controller.spawn().await }
    }
}

impl World<Home> {
    /// What a controller needs, before it is started.
    pub async fn home(others: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        let (namespace, database) = (namespace().await, Database::fresh().await);
        let mut watched = vec![namespace.clone()];
        watched.extend(others.iter().map(|other| (*other).to_owned()));
        let controller = Home::new(&watched, &database, change).await;
        grant(&namespace, User::Alice, &["landfall-approver"]).await;
        Self { namespace, client: User::Admin.client().await, database, controller }
    }
}

impl<C> World<C> {
    /// The API of a kind in the test's namespace.
    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The same in another namespace, without a controller of its own.
    pub fn beside(&self, namespace: &str) -> World<()> {
        let database = Database { url: self.database.url.clone(), name: self.database.name.clone() };
        World { namespace: namespace.to_owned(), client: self.client.clone(), database, controller: () }
    }

    /// Makes an object or changes what this manager wrote of it.
    pub async fn put<K>(&self, name: &str, object: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let params = PatchParams::apply("test").force();
        self.api::<K>().patch(name, &params, &Patch::Apply(&object)).await.unwrap();
    }

    /// A Secret.
    pub async fn secret(&self, name: &str, data: Value) {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        self.put::<k8s_openapi::api::core::v1::Secret>(name, object).await;
    }

    /// A deployment.
    pub async fn deployment(&self, name: &str, spec: Value) {
        self.put::<TerraformDeployment>(name, harness::deployment(name, spec)).await;
    }

    /// Changes a deployment as `user`.
    pub async fn patch_as(&self, user: User, name: &str, patch: Value) {
        let api: Api<TerraformDeployment> = Api::namespaced(user.client().await, &self.namespace);
        api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// A command of alice.
    pub async fn command(&self, name: &str, verb: &str, value: &str) {
        let annotations = json!({format!("landfall.dev/{verb}"): value, "landfall.dev/command-by": "alice"});
        self.patch_as(User::Alice, name, json!({"metadata": {"annotations": annotations}})).await;
    }

    /// Deletes a deployment, and does not wait.
    pub async fn delete(&self, name: &str) {
        self.api::<TerraformDeployment>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until a deployment is so.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        mut is: impl FnMut(&TerraformDeployment) -> bool,
    ) -> TerraformDeployment {
        let (api, end) = (self.api::<TerraformDeployment>(), Instant::now() + PLENTY);
        loop {
            let object = api.get(name).await.unwrap();
            if is(&object) {
                return object;
            }
            assert!(Instant::now() < end, "{name}: waited for {what}: {:#?}", object.status);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until `Ready` of the current generation has this reason.
    pub async fn ready(&self, name: &str, reason: &str) -> TerraformDeployment {
        self.until(name, reason, |o| stands(o, reason)).await
    }

    /// Waits until a plan other than `old` waits for approval.
    pub async fn plan_after(&self, name: &str, old: &str) -> String {
        let next = |o: &TerraformDeployment| stands(o, "ApprovalRequired") && digest(o) != old;
        digest(&self.until(name, "another plan", next).await)
    }

    /// Waits until the deployment is gone.
    pub async fn gone(&self, name: &str) {
        let api = self.api::<TerraformDeployment>();
        let gone = async || api.get_opt(name).await.unwrap().is_none();
        harness::wait_until(PLENTY, "the deployment to be gone", gone).await;
    }

    /// A number from the ledger.
    pub async fn count(&self, query: &str) -> i64 {
        let mut connection = self.database.superuser().await;
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.unwrap()
    }
}

/// Whether `Ready` of the current generation has this reason.
pub fn stands(object: &TerraformDeployment, reason: &str) -> bool {
    let seen = object.status.as_ref().and_then(|s| s.observed_generation);
    seen == object.metadata.generation && condition(object, "Ready").is_some_and(|c| c.reason == reason)
}

/// The status, or an empty one.
pub fn status(object: &TerraformDeployment) -> TerraformDeploymentStatus {
    object.status.clone().unwrap_or_default()
}

/// A condition.
pub fn condition(object: &TerraformDeployment, kind: &str) -> Option<Condition> {
    object.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind).cloned()
}

/// What `Ready` says.
pub fn message(object: &TerraformDeployment) -> String {
    condition(object, "Ready").map(|c| c.message).unwrap_or_default()
}

/// The current plan's digest.
pub fn digest(object: &TerraformDeployment) -> String {
    object.status.as_ref().and_then(|s| s.plan.as_ref()).map(|p| p.digest.clone()).unwrap_or_default()
}
