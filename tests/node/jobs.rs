//! A controller whose executor makes Jobs on the test bed's node.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Resource;
use kube::api::{Api, ListParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::controller::{Home, free_address};
use crate::harness::{env, wait_until};
use crate::runners::{import, with_libraries};
use crate::world::World;

/// Time for a pod to begin, on a machine with much else to do.
pub(crate) const PLENTY: Duration = Duration::from_secs(120);

/// What a module finds in the image of somebody who put them there: Landfall's own has no shell.
const PROGRAMS: [&str; 3] = ["/bin/bash", "/usr/bin/curl", "/usr/bin/setsid"];

/// The image, built and on the node: this very program, the engine, and the mirror of providers at their paths here.
async fn image() {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(|| async {
        let engine = [env("TOFU"), env("ENGINE_CLI_CONFIG")].into_iter().map(PathBuf::from);
        let programs = PROGRAMS.iter().flat_map(|program| with_libraries(program));
        import(&engine.chain(mirror()).chain(programs).collect::<Vec<_>>());
    })
    .await;
}

fn mirror() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from(env("PROVIDER_MIRROR"))];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// A world whose runs are Jobs; `change` may change the settings of `executor.job`.
pub(crate) async fn world(change: impl FnOnce(&mut Value)) -> World {
    world_with(&[], change).await
}

/// The same, which also watches `others`.
pub(crate) async fn world_with(others: &[&str], change: impl FnOnce(&mut Value)) -> World {
    image().await;
    let World { namespace, client, database, controller } =
        World::<Home>::home(others, |settings| jobs(settings, change)).await;
    let own = controller.namespace.clone();
    let account = json!({"metadata": {"name": "landfall-runner"}});
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &own);
    accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
    World { namespace, client, database, controller: controller.start().await }
}

/// Pods reach this machine by the address of their bridge.
fn jobs(settings: &mut Value, change: impl FnOnce(&mut Value)) {
    let api = format!("{}:{}", env("NODE_GATEWAY"), free_address().port());
    settings["engines"] = json!({"OpenTofu": env("TOFU")});
    settings["executor"] = json!({"type": "job", "maxRuns": 4, "stopGraceSeconds": 10, "job": {
        "listen": api, "url": format!("https://{api}"), "image": "landfall.test/landfall:test",
        "imagePullPolicy": "Never", "ttlSecondsAfterFinished": 5,
    }});
    change(&mut settings["executor"]["job"]);
}

impl World {
    /// The API of a kind in Landfall's own namespace.
    pub(crate) fn own<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.controller.home.namespace)
    }

    /// The pods of runs that are there.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        self.own::<Pod>().list(&ListParams::default().labels("landfall.dev/run")).await.unwrap().items
    }

    /// Waits until no Job and no pod of a run is left.
    pub(crate) async fn nothing_left(&self) {
        let gone = async || self.pods().await.is_empty() && self.names::<Job>().await.is_empty();
        wait_until(PLENTY, "Jobs and pods to be gone", gone).await;
    }

    /// Names in Landfall's own namespace.
    pub(crate) async fn names<K>(&self) -> Vec<String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let all = self.own::<K>().list(&ListParams::default()).await.unwrap().items;
        all.iter().filter_map(|object| object.meta().name.clone()).collect()
    }

    /// Waits for the pod of the newest apply, until it runs.
    pub(crate) async fn applying_pod(&self) -> Pod {
        self.applying_pods(1).await.remove(0)
    }

    /// The same for so many applies.
    pub(crate) async fn applying_pods(&self, count: usize) -> Vec<Pod> {
        let mut connection = self.database.superuser().await;
        let runs = "SELECT run_id::text FROM terraform_runs WHERE kind = 'Apply' ORDER BY created_at DESC LIMIT $1";
        let mut found = Vec::new();
        wait_until(PLENTY, "the pods of applies", async || {
            let limit = i64::try_from(count).unwrap();
            let runs: Vec<String> = sqlx::query_scalar(runs).bind(limit).fetch_all(&mut connection).await.unwrap();
            let is = |pod: &Pod| {
                let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
                phase == Some("Running") && runs.contains(&pod.metadata.labels.as_ref().unwrap()["landfall.dev/run"])
            };
            found = self.pods().await.into_iter().filter(is).collect();
            found.len() == count
        })
        .await;
        found
    }

    /// A command of alice about the run of this pod.
    pub(crate) async fn command_on_run(&self, pod: &Pod, verb: &str) {
        let deployment = &pod.metadata.annotations.as_ref().unwrap()["landfall.dev/deployment"];
        let (_, name) = deployment.split_once('/').unwrap();
        self.command(name, verb, &pod.metadata.labels.as_ref().unwrap()["landfall.dev/run"]).await;
    }
}
