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
use sqlx::{Connection, Executor, PgConnection};

use crate::cluster::{Services, node};
use crate::harness::{OWN_BED, User, deployment, env, wait_until};
use crate::helm::{HOME, run};
use crate::image;

const PATIENCE: Duration = Duration::from_secs(120);
const TEAM: &str = "team";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn helm_leads_from_nothing_to_an_applied_deployment_and_back() {
    let bed = tokio::task::spawn_blocking(node).await.unwrap();
    OWN_BED.scope(bed.values(), story()).await;
}

async fn story() {
    import();
    let client = User::Admin.client().await;
    let mut services = Services::begin().await;
    database(&client, &services).await;
    let began = Instant::now();
    let mut values = json!({
        "image": {"repository": "landfall.test/landfall", "tag": "test", "pullPolicy": "Never"},
        "database": {"existingSecret": "landfall-database"},
    });
    run(&["install", "landfall", "--wait", "--timeout", "2m"], Some(&values));
    services.serve_runs(&client).await;
    applied(&client, "one").await;
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());

    values["watchNamespaces"] = json!([TEAM]);
    values["runs"] = json!({"max": 2});
    run(&["upgrade", "landfall", "--wait", "--timeout", "2m"], Some(&values));
    applied(&client, "two").await;
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

/// The image of this build, to the node.
fn import() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.tar");
    image::build(&file);
    let mut import = Command::new("ctr");
    import.args(["--address", &env("NODE_CONTAINERD"), "--namespace", "k8s.io", "images", "import"]).arg(&file);
    assert!(import.output().unwrap().status.success());
}

/// Namespaces, a database with the controller's login, and the Secret with both URLs.
async fn database(client: &Client, services: &Services) {
    for name in [HOME, TEAM] {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }
    let mut url = url::Url::parse(&env("DATABASE_SUPERUSER_URL")).unwrap();
    let mut admin = PgConnection::connect(url.as_str()).await.unwrap();
    admin.execute("CREATE DATABASE landfall").await.unwrap();
    admin
        .execute(
            "CREATE ROLE landfall_writer NOLOGIN; CREATE ROLE landfall LOGIN PASSWORD 'test' IN ROLE landfall_writer",
        )
        .await
        .unwrap();
    url.set_path("/landfall");
    url.set_ip_host(services.postgres.ip()).unwrap();
    url.set_port(Some(services.postgres.port())).unwrap();
    let migrator = url.to_string();
    url.set_username("landfall").unwrap();
    url.set_password(Some("test")).unwrap();
    let secret = json!({"metadata": {"name": "landfall-database"}, "stringData": {"url": url.to_string(), "migrator-url": migrator}});
    let secrets: Api<Secret> = Api::namespaced(client.clone(), HOME);
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
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
