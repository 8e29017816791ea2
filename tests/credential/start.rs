//! A start waits for what it needs, says for what, and can be ended meanwhile.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::controller::{Home, Process};
use crate::database::Database;
use crate::harness::{User, env, namespace, wait_until};
use crate::wire::Wire;
use crate::world::{PLENTY, World};

/// A home whose ways to Postgres and to the API server can be cut.
pub(crate) async fn home(watched: String, database: &Database) -> (Home, Wire, Wire) {
    let mut home = Home::new(&[watched], database, |_| {}).await;
    let postgres = Wire::to(&home.database_url).await;
    home.database_url = postgres.url(&home.database_url);
    let server = User::Controller.config().await.cluster_url.to_string();
    let cluster = Wire::to(&server).await;
    let wired = cluster.url(&server);
    home.with_kubeconfig(User::Controller, |config| {
        for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(wired.clone());
        }
    });
    (home, postgres, cluster)
}

async fn says(process: &mut Process, words: &str) {
    wait_until(PLENTY, words, async || {
        process.lives();
        let answer = reqwest::get(format!("http://{}/readyz", process.address)).await.unwrap();
        answer.status().as_u16() == 503 && answer.text().await.unwrap().contains(words)
    })
    .await;
}

const NO_POSTGRES: &str = "ledger: waits for Postgres: DATABASE_URL: no connection to database";
const NO_CLUSTER: &str = "cluster: waits for the API server: API server: ";

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_postgres_and_without_the_api_server_waits_for_both() {
    let mut world = World::new().await;
    world.controller.take().unwrap().stop().await;
    let database = Database::fresh().await;
    let (home, postgres, cluster) = home(world.namespace.clone(), &database).await;
    postgres.cut();
    cluster.cut();
    let mut process = home.launch().await;
    let pid = process.lives();
    says(&mut process, NO_POSTGRES).await;
    let run = format!("http://{}/runs/{}/control", process.address, uuid::Uuid::nil());
    let answer = reqwest::Client::new().get(run).bearer_auth("x").send().await.unwrap();
    assert_eq!(answer.status(), 503, "runners are told to be patient");
    postgres.mend();
    says(&mut process, NO_CLUSTER).await;
    cluster.mend();
    wait_until(PLENTY, "readiness", async || process.get("readyz").await.is_some()).await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    assert_eq!(process.lives(), pid);
}

/// A program that has credentials once this file is there, and says nothing good before.
fn plug_in(folder: &Path, token: &Value) -> PathBuf {
    let answer = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token},
    });
    let (program, file) = (folder.join("plug-in"), folder.join("answer"));
    let script = format!("#!/bin/sh\necho canary >&2\ncat {}\n", file.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.join("prepared"), answer.to_string()).unwrap();
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_whose_program_gives_no_credentials_yet_is_waited_for() {
    let mut home = Home::new(&[namespace().await], &Database::fresh().await, |_| {}).await;
    let folder = tempfile::tempdir().unwrap();
    home.with_kubeconfig(User::Controller, |config| {
        for info in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            let program = plug_in(folder.path(), &serde_json::to_value(&*info).unwrap()["token"]);
            let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": program});
            *info = serde_json::from_value(json!({"exec": exec})).unwrap();
        }
    });
    let mut process = home.launch().await;
    says(&mut process, "cluster: waits for the kubeconfig's credentials: ").await;
    assert!(!std::fs::read_to_string(process.home.log()).unwrap().contains("canary"), "its output is nobody's");
    std::fs::rename(folder.path().join("prepared"), folder.path().join("answer")).unwrap();
    wait_until(PLENTY, "readiness", async || process.get("readyz").await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_ends_at_once_when_it_is_told_to() {
    for (without_postgres, words) in [(true, NO_POSTGRES), (false, NO_CLUSTER)] {
        let (home, postgres, cluster) = home(namespace().await, &Database::fresh().await).await;
        if without_postgres {
            postgres.cut()
        } else {
            cluster.cut()
        }
        let mut process = home.launch().await;
        says(&mut process, words).await;
        let began = Instant::now();
        let (status, _) = process.terminate().await;
        assert!(status.success(), "{words}: {status:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{words}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_the_api_server_refuses_says_what_to_do() {
    let database = Database::fresh().await;
    let home = Home::new(&[namespace().await], &database, |value| value["namespace"] = json!("nowhere")).await;
    let mut process = home.launch().await;
    says(&mut process, "; see that `namespace` of landfall.yaml is there").await;

    let mut home = Home::new(&[namespace().await], &database, |_| {}).await;
    home.with_kubeconfig(User::Carol, |_| {});
    let mut process = home.launch().await;
    says(&mut process, "and bind the ClusterRoles landfall-controller,").await;
}
