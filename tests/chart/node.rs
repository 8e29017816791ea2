//! The chart on a real node: from nothing to a deployment that is applied by Jobs, through an upgrade and back, and away.

use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use landfall::api::TerraformDeployment;
use serde_json::json;

use crate::cluster::node;
use crate::ground::{Ground, TEAM};
use crate::harness::{OWN_BED, User, deployment, kubectl, wait_until};
use crate::helm::{HOME, run};

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn helm_leads_from_nothing_to_an_applied_deployment_and_back() {
    let bed = tokio::task::spawn_blocking(node).await.unwrap();
    OWN_BED.scope(bed.values(), story()).await;
}

async fn story() {
    let Ground { client, mut services, .. } = Ground::lay(&[]).await;
    let began = Instant::now();
    let mut values = Ground::values();
    run(&["install", "landfall", "--wait", "--timeout", "2m"], Some(&values));
    services.serve_runs(&client).await;
    applied(&client, "one").await;
    // As docs/helm.md has it.
    let mut show = kubectl(User::Admin);
    show.args([
        "--namespace",
        HOME,
        "exec",
        "deploy/landfall",
        "--",
        "landfall",
        "plan",
        "tfd/one",
        "--namespace",
        TEAM,
    ]);
    let shown = show.output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("terraform_data.a"), "{shown:?}");
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());

    let leaving = json!({"metadata": {"name": "leaving"}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &serde_json::from_value(leaving).unwrap()).await.unwrap();
    values["watchNamespaces"] = json!([TEAM, "leaving"]);
    values["runs"] = json!({"max": 2});
    run(&["upgrade", "landfall", "--wait", "--timeout", "2m"], Some(&values));
    applied(&client, "two").await;
    // Its RoleBindings go when they like, which is no reason for its objects to stay.
    let objects: Api<TerraformDeployment> = Api::namespaced(client.clone(), "leaving");
    let object = deployment("stays", json!({"source": {"inline": {"main.tf": ""}}}));
    objects.patch("stays", &PatchParams::apply("test"), &Patch::Apply(object)).await.unwrap();
    reached(&client, &objects, "stays", "NoChanges").await;
    namespaces.delete("leaving", &DeleteParams::default()).await.unwrap();
    let gone = async || namespaces.get_opt("leaving").await.unwrap().is_none();
    wait_until(PATIENCE, "a namespace of objects to go", gone).await;
    applied(&client, "between").await;
    run(&["rollback", "landfall", "1", "--wait", "--timeout", "2m"], None);
    applied(&client, "three").await;

    let objects: Api<TerraformDeployment> = Api::namespaced(client.clone(), TEAM);
    objects.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let none = async || objects.list(&ListParams::default()).await.unwrap().items.is_empty();
    wait_until(PATIENCE, "the objects to go", none).await;
    run(&["uninstall", "landfall", "--wait", "--timeout", "2m"], None);
    let controllers: Api<Deployment> = Api::namespaced(client.clone(), HOME);
    assert!(controllers.list(&ListParams::default()).await.unwrap().items.is_empty());
    let secrets: Api<Secret> = Api::namespaced(client, HOME);
    assert!(secrets.get_opt("landfall-key-k1").await.unwrap().is_some());
}

/// A deployment of this name is planned, approved by a person, and applied.
async fn applied(client: &Client, name: &str) {
    let objects: Api<TerraformDeployment> = Api::namespaced(client.clone(), TEAM);
    let module = "resource \"terraform_data\" \"a\" {}";
    let object = deployment(name, json!({"source": {"inline": {"main.tf": module}}}));
    objects.patch(name, &PatchParams::apply("test"), &Patch::Apply(object)).await.unwrap();
    reached(client, &objects, name, "AwaitingApproval").await;
    // A command counts a few seconds after the policies that guard it have come.
    wait_until(PATIENCE, "the approval to be taken", async || {
        let mut approve = Command::new(env!("CARGO_BIN_EXE_landfall"));
        approve.args(["approve", &format!("tfd/{name}"), "--namespace", TEAM]);
        approve.env("KUBECONFIG", User::Admin.kubeconfig()).output().unwrap();
        let phase = objects.get(name).await.unwrap().status.and_then(|status| serde_json::to_value(status.phase).ok());
        phase.is_some_and(|phase| phase != "AwaitingApproval")
    })
    .await;
    reached(client, &objects, name, "Applied").await;
}

/// Waits for a phase; where it does not come, tells what the object and the pods say.
async fn reached(client: &Client, objects: &Api<TerraformDeployment>, name: &str, phase: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = json!(objects.get(name).await.unwrap().status);
        if status["phase"] == phase {
            return;
        }
        if Instant::now() > end {
            let jobs = Api::<Job>::namespaced(client.clone(), HOME).list(&ListParams::default()).await.unwrap().items;
            let pods = Api::<Pod>::namespaced(client.clone(), HOME).list(&ListParams::default()).await.unwrap().items;
            let told: Vec<_> = pods.into_iter().map(|pod| json!([pod.metadata.name, pod.status])).collect();
            panic!("{name} did not become {phase}: {status:#}, of {} Jobs: {told:#?}", jobs.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
