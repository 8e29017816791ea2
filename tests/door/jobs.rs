//! Ends of pods in mid-apply, as a kubelet, an eviction and a lost node write them: each is an end of the run, and no other
//! pod's is.

use std::process::Command;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use landfall::api::TerraformDeployment;
use landfall::run::protocol::AUDIENCE;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::Database;
use crate::harness::{env, namespace, wait_until};
use crate::pods::{Door, Node};
use crate::world::{PLENTY, World, condition};

const MODULE: &str = "resource \"terraform_data\" \"a\" {}\n";
/// Of runners here.
const TOKEN: &str = "token";

struct Stage {
    world: World,
    node: Node,
    door: Door,
}

impl Stage {
    async fn new() -> Self {
        let (namespace, database) = (namespace().await, Database::fresh().await);
        let (home, node) = Node::home(std::slice::from_ref(&namespace), &database).await;
        let door = node.door(&home);
        let client = crate::harness::User::Admin.client().await;
        let world = World { namespace, client, database, controller: home.start().await };
        Self { world, node, door: door.await }
    }

    /// The run of that kind that waits for its pod, when its Job is there.
    async fn waits(&self, name: &str, kind: &str) -> (Uuid, Job) {
        let query = "SELECT run_id FROM terraform_runs WHERE name = $1 AND kind = $2 AND phase = 'Pending'";
        let mut connection = self.world.database.superuser().await;
        let mut found = None;
        wait_until(PLENTY, &format!("a Job: {kind} of {name}"), async || {
            let run: Option<Uuid> =
                sqlx::query_scalar(query).bind(name).bind(kind).fetch_optional(&mut connection).await.unwrap();
            if let Some(run) = run {
                found =
                    self.node.api::<Job>().get_opt(&format!("landfall-run-{run}")).await.unwrap().map(|job| (run, job));
            }
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Its pod, which takes the run.
    async fn takes(&self, name: &str, kind: &str) -> (Uuid, Pod) {
        let (run, job) = self.waits(name, kind).await;
        let pod = self.node.pod_of(&job, &format!("landfall-run-{run}-x")).await;
        let identity = self.node.token("landfall-runner", &pod, AUDIENCE).await;
        assert_eq!(self.door.attach(run, &identity, TOKEN).await, StatusCode::OK);
        (run, pod)
    }

    async fn say(&self, run: Uuid, path: &str, body: Value) {
        assert_eq!(self.door.post(run, path, TOKEN, body).await, StatusCode::NO_CONTENT, "{path}");
    }

    /// A deployment whose apply has begun, and has the lock.
    async fn applying(&self, name: &str, version: &str) -> (Uuid, Pod) {
        self.world.deployment(name, json!({"source": {"inline": {"main.tf": MODULE}}, "approval": "Automatic"})).await;
        let (plan, _) = self.takes(name, "Plan").await;
        self.say(plan, "phase", json!({"phase": "Plan"})).await;
        let change = json!({"address": "terraform_data.a", "mode": "managed", "change": {"actions": ["create"]}});
        let json = json!({"format_version": "1.2", "terraform_version": version, "resource_changes": [change]});
        for (artifact, bytes) in [("plan", "plan".to_owned()), ("plan-json", json.to_string())] {
            self.door.put(plan, &format!("artifacts/{artifact}"), TOKEN, bytes).await;
        }
        self.say(plan, "result", json!({"phase": "Succeeded", "reason": null, "message": null, "exit_code": 0})).await;
        let (run, pod) = self.takes(name, "Apply").await;
        self.say(run, "phase", json!({"phase": "Init"})).await;
        self.say(run, "phase", json!({"phase": "Apply"})).await;
        self.say(run, "lock", json!({"ID": "lock", "Who": "runner"})).await;
        (run, pod)
    }

    async fn status(&self, pod: &Pod, status: Value) {
        let (name, patch) = (pod.metadata.name.as_deref().unwrap(), Patch::Merge(json!({"status": status})));
        self.node.api::<Pod>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn patch(&self, pod: &Pod, metadata: Value) {
        let (name, patch) = (pod.metadata.name.as_deref().unwrap(), Patch::Merge(json!({"metadata": metadata})));
        self.node.api::<Pod>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn delete(&self, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap();
        self.node.api::<Pod>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Whether the run goes on and has its lock.
    async fn goes_on(&self, run: Uuid) -> bool {
        let query = format!(
            "SELECT count(*) FROM terraform_runs r JOIN state_keys k ON k.lock_run = r.run_id
             WHERE r.run_id = '{run}' AND r.phase = 'Apply' AND r.finished_at IS NULL"
        );
        self.world.count(&query).await == 1
    }

    async fn is_interrupted(&self, name: &str, run: Uuid, words: &str) {
        let told = |object: &TerraformDeployment| {
            condition(object, "Applied").is_some_and(|c| c.reason == "Interrupted" && c.message.contains(words))
        };
        self.world.until(name, &format!("Interrupted, and {words}"), told).await;
        let query = format!("SELECT count(*) FROM terraform_runs WHERE run_id = '{run}' AND phase = 'Interrupted'");
        assert_eq!(self.world.count(&query).await, 1, "{name}");
        let query = format!("SELECT count(*) FROM state_keys WHERE lock_run = '{run}'");
        assert_eq!(self.world.count(&query).await, 0, "{name}: its lock is broken");
    }
}

fn version() -> String {
    let output = Command::new(env("TOFU")).args(["version", "-json"]).output().unwrap();
    // A warning may stand before it.
    let told = String::from_utf8(output.stdout).unwrap();
    let (_, json) = told.split_once('{').unwrap();
    let told: Value = serde_json::from_str(&format!("{{{json}")).unwrap();
    told["terraform_version"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_whose_very_pod_has_ended_or_is_gone_is_interrupted_and_no_other_is() {
    let (stage, version) = (Stage::new().await, version());
    let names = ["evicted", "starved", "deleted", "lost"];
    let runs = join_all(names.map(|name| stage.applying(name, &version))).await;
    let [evicted, starved, deleted, lost] = runs.as_slice() else { panic!("four") };

    // A node of which nothing is heard: its pod is to go, and may still be at it.
    stage.patch(&lost.1, json!({"finalizers": ["landfall.test/node"]})).await;
    stage
        .status(&lost.1, json!({"phase": "Unknown", "reason": "NodeLost", "message": "the node is not heard of"}))
        .await;
    stage.delete(&lost.1).await;

    let low = "The node was low on resource: memory.";
    stage.status(&evicted.1, json!({"phase": "Failed", "reason": "Evicted", "message": low})).await;
    stage.is_interrupted("evicted", evicted.0, "Evicted").await;

    let killed = container("runner", json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}));
    stage.status(&starved.1, json!({"phase": "Failed", "containerStatuses": [killed]})).await;
    stage.is_interrupted("starved", starved.0, "OOMKilled").await;

    // Another pod of its name is not the one that had the run.
    stage.delete(&deleted.1).await;
    let job = stage.node.api::<Job>().get(&format!("landfall-run-{}", deleted.0)).await.unwrap();
    stage.node.pod_of(&job, deleted.1.metadata.name.as_deref().unwrap()).await;
    stage.is_interrupted("deleted", deleted.0, "died").await;

    assert!(stage.goes_on(lost.0).await, "nobody knows that its pod has ended");
    stage.patch(&lost.1, json!({"finalizers": null})).await;
    stage.is_interrupted("lost", lost.0, "its pod is gone").await;
    stage.world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_pod_no_node_takes_keeps_neither_its_place_nor_its_object() {
    let stage = Stage::new().await;
    let spec = json!({"source": {"inline": {"main.tf": MODULE}}});
    let unplaced = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"});
    let (mut stuck, mut pods) = (Vec::new(), Vec::new());
    for name in ["one", "two", "three", "four"] {
        stage.world.deployment(name, spec.clone()).await;
        let (run, job) = stage.waits(name, "Plan").await;
        let pod = stage.node.pod_of(&job, &format!("landfall-run-{run}-x")).await;
        stage.status(&pod, json!({"phase": "Pending", "conditions": [unplaced]})).await;
        stuck.push(run);
        pods.push(pod);
    }
    let told = |words: &'static str| {
        move |object: &TerraformDeployment| condition(object, "Ready").is_some_and(|c| c.message.contains(words))
    };
    stage.world.until("one", "the next step", told("no room; spec.runner")).await;
    stage.world.deployment("next", spec).await;
    stage.world.until("next", "a place to wait for", told("executor.maxRuns places")).await;

    let mut sql = stage.world.database.superuser().await;
    let earlier = "UPDATE terraform_runs SET created_at = created_at - interval '1 second' * $2::int WHERE run_id = $1";
    // What has just begun is left to it, however long it waited before.
    let begun = [container("runner", json!({"running": {"startedAt": Timestamp::now()}}))];
    sqlx::query(earlier).bind(stuck[2]).bind(60).execute(&mut sql).await.unwrap();
    stage.status(&pods[2], json!({"phase": "Running", "conditions": null, "containerStatuses": begun})).await;
    stage.world.until("three", "its pod to begin", told("is under way")).await;
    sqlx::query(earlier).bind(stuck[2]).bind(180).execute(&mut sql).await.unwrap();
    sqlx::query(earlier).bind(stuck[0]).bind(180).execute(&mut sql).await.unwrap();
    stage.waits("next", "Plan").await;
    assert_eq!(
        stage.world.count("SELECT count(*) FROM terraform_runs WHERE name = 'three' AND phase = 'Pending'").await,
        1
    );
    let gave = "SELECT count(*) FROM terraform_runs WHERE name = 'one' AND phase = 'Failed' AND message LIKE '%gave its place%no room%'";
    assert_eq!(stage.world.count(gave).await, 1);

    stage.world.delete("two").await;
    stage.world.gone("two").await;
    let job = format!("landfall-run-{}", stuck[1]);
    wait_until(PLENTY, "its Job to go", async || stage.node.api::<Job>().get_opt(&job).await.unwrap().is_none()).await;
    stage.world.controller.stop().await;
}

/// What a kubelet tells of a container.
fn container(name: &str, state: Value) -> Value {
    json!({"name": name, "image": "x", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

/// A pod whose runner has ended, and which a mesh's proxy keeps up.
fn beside_a_mesh() -> Value {
    let ended = container("runner", json!({"terminated": {"exitCode": 2}}));
    let goes_on = container("proxy", json!({"running": {"startedAt": Timestamp::now()}}));
    json!({"phase": "Running", "containerStatuses": [ended, goes_on]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_outlives_its_runner_is_replaced_or_ended_before_its_lock_is_broken() {
    let (stage, version) = (Stage::new().await, version());
    let spec = json!({"source": {"inline": {"main.tf": MODULE}}});
    stage.world.deployment("turned-away", spec.clone()).await;
    let (run, job) = stage.waits("turned-away", "Plan").await;
    let pod = stage.node.pod_of(&job, &format!("landfall-run-{run}-x")).await;
    stage.status(&pod, beside_a_mesh()).await;
    wait_until(PLENTY, "another Job of the run", async || {
        let (again, new) = stage.waits("turned-away", "Plan").await;
        again == run && new.metadata.uid != job.metadata.uid
    })
    .await;

    let (run, pod) = stage.applying("applied", &version).await;
    stage.patch(&pod, json!({"finalizers": ["landfall.test/node"]})).await;
    stage.status(&pod, beside_a_mesh()).await;
    let name = pod.metadata.name.as_deref().unwrap();
    wait_until(PLENTY, "its pod to be ended", async || {
        stage.node.api::<Pod>().get(name).await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    // Looks pass: the end of its pod is one, and another run begins after it.
    stage.world.deployment("later", spec).await;
    stage.takes("later", "Plan").await;
    assert!(stage.goes_on(run).await, "its node has not said that the pod is gone");
    stage.patch(&pod, json!({"finalizers": null})).await;
    stage.is_interrupted("applied", run, "died").await;
    stage.world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_gets_no_pod_is_named_and_one_that_outstays_its_run_goes() {
    let mut stage = Stage::new().await;
    let spec = json!({"source": {"inline": {"main.tf": MODULE}}});
    let mut sql = stage.world.database.superuser().await;
    stage.world.deployment("bare", spec.clone()).await;
    let (bare, _) = stage.waits("bare", "Plan").await;
    let earlier = "UPDATE terraform_runs SET created_at = created_at - interval '40 seconds' WHERE run_id = $1";
    sqlx::query(earlier).bind(bare).execute(&mut sql).await.unwrap();
    let named = format!("Job landfall-run-{bare} has no pod");
    let told = |object: &TerraformDeployment| condition(object, "Ready").is_some_and(|c| c.message.contains(&named));
    stage.world.until("bare", "why it does not begin", told).await;

    // Something in its pod goes on that is none of Landfall's.
    stage.world.deployment("meshed", spec).await;
    let (run, pod) = stage.takes("meshed", "Plan").await;
    let failed = json!({"phase": "Failed", "reason": "PlanFailed", "message": "it failed", "exit_code": 1});
    stage.say(run, "result", failed).await;
    stage.status(&pod, beside_a_mesh()).await;
    // Each leadership begins with a sweep.
    let home = stage.world.controller.stop().await;
    stage.world.controller = home.start().await;
    let job = format!("landfall-run-{run}");
    wait_until(PLENTY, "its Job to go", async || stage.node.api::<Job>().get_opt(&job).await.unwrap().is_none()).await;
    stage.world.controller.stop().await;
}
