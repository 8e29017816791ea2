//! A module that looks around in its pod, and whoever has its pod's token.

use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::harness::{User, assign, env, grant, namespace, pod_token, wait_until};
use crate::jobs::{PLENTY, world, world_with};
use crate::runners::runner;
use crate::world::World;

/// All that it can read goes to its outputs.
const MODULE: &str = r#"
locals {
  usual = ["/var/run/secrets/kubernetes.io/serviceaccount/token", "/etc/landfall/landfall.yaml", "/etc/landfall/keys/k1",
           "/root/.kube/config", "/etc/shadow"]
}
output "usual" { value = [for path in local.usual : path if can(file(path))] }
output "environments" { value = { for path in fileset("/proc", "*/environ") : path => try(file("/proc/${path}"), "closed") } }
output "commands" { value = { for path in fileset("/proc", "*/cmdline") : path => try(file("/proc/${path}"), "closed") } }
"#;

/// The same of a program that an engine's plugin starts.
const LOOK: &str = include_str!("look.sh");

const SLOW: &str = "resource \"time_sleep\" \"a\" { create_duration = \"600s\" }";

async fn attach(world: &World, run: &str, token: &str) -> StatusCode {
    let settings = world.controller.home.installation.executor.job.as_ref().unwrap();
    let data = world.own::<Secret>().get("landfall-run-api").await.unwrap().data.unwrap();
    let ca = reqwest::Certificate::from_pem_bundle(&data["ca.crt"].0).unwrap();
    let client = Client::builder().tls_certs_only(ca).build().unwrap();
    let url = settings.url.join(&format!("runs/{run}/attach")).unwrap();
    let body = json!({"tokenSha256": "0".repeat(64)});
    client.post(url).bearer_auth(token).json(&body).send().await.unwrap().status()
}

fn run_of(pod: &Pod) -> String {
    pod.metadata.labels.as_ref().unwrap()["landfall.dev/run"].clone()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_module_finds_no_key_and_cannot_look_into_its_runner() {
    let world = world(|_| {}).await;
    // Reads while it is planned: whatever it finds stands in its outputs when it is applied.
    world.deployment("curious", json!({"source": {"inline": {"main.tf": MODULE}}, "approval": "Automatic"})).await;
    let applied = world.ready("curious", "Applied").await;
    let found: Value = json!(applied.status.unwrap().outputs);
    assert_eq!(found["usual"], json!([]), "{found:#}");
    // Of the pod's own processes alone: pause, runner, engine and its providers.
    let mut runner = None;
    for (path, text) in found["commands"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        let ours = ["/pause", "landfall\0runner", "tofu", "terraform-provider"].iter().any(|word| text.contains(word));
        assert!(ours || text.is_empty() || text == "closed", "{path}: {text:?}");
        if text.starts_with("landfall\0runner") {
            runner = path.strip_suffix("/cmdline");
        }
    }
    let runner = runner.expect("the runner is seen");
    assert_eq!(found["environments"][format!("{runner}/environ")], "closed", "{found:#}");
    world.controller.stop().await;
}

/// Where a process serves in its network: addresses and ports as the kernel writes them.
fn serves(pid: i32) -> Vec<(String, u16)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let words = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = words.filter(|words| words[3] == "0A");
    let of = |address: &str| {
        address.split_once(':').map(|(ip, port)| (ip.to_owned(), u16::from_str_radix(port, 16).unwrap()))
    };
    listening.filter_map(|words| of(words[1])).collect()
}

/// What a plan's engine leaves behind is ended before its plan is read, and so before the run is over.
async fn falls_silent(world: &World, outside: TcpListener) {
    let (stream, _) = tokio::time::timeout(PLENTY, outside.accept()).await.expect("a call").unwrap();
    let mut text = String::new();
    let read = BufReader::new(stream).read_to_string(&mut text).await;
    let over = "SELECT count(*) FROM terraform_runs WHERE name = 'curious' AND finished_at IS NOT NULL";
    assert_eq!((text.as_str(), world.count(over).await), ("begun\n", 0), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn a_program_of_a_module_reaches_no_key_no_other_run_and_no_other_organization() {
    let other = namespace().await;
    let world = world_with(&[&other], |_| {}).await;
    assign(&world.namespace, "ours").await;
    assign(&other, "theirs").await;
    grant(&other, User::Alice, &["landfall-approver"]).await;
    let theirs = world.beside(&other);
    theirs.deployment("theirs", json!({"source": {"inline": {"main.tf": SLOW}}, "approval": "Automatic"})).await;
    let pod = world.applying_pod().await;
    let run = run_of(&pod);
    let mut serving = Vec::new();
    wait_until(PLENTY, "what it serves its engine", async || {
        serving = runner(run.parse().unwrap()).map(serves).unwrap_or_default();
        !serving.is_empty()
    })
    .await;
    let [(address, port)] = serving.as_slice() else { panic!("it serves more: {serving:?}") };
    assert_eq!(address, "0100007F", "127.0.0.1");

    let api = world.controller.home.installation.executor.job.as_ref().unwrap().url.to_string();
    let backend = format!("{}:{port}", pod.status.as_ref().unwrap().pod_ip.as_ref().unwrap());
    let outside = TcpListener::bind((env("NODE_GATEWAY"), 0)).await.unwrap();
    let called = outside.local_addr().unwrap().to_string();
    let program = json!(["/bin/bash", "look.sh", api.trim_end_matches('/'), run, backend, called]);
    let module = format!(
        "data \"external\" \"look\" {{ program = {program} }}\noutput \"found\" {{ value = data.external.look.result }}"
    );
    let source = json!({"inline": {"main.tf": module, "look.sh": LOOK}});
    world.deployment("curious", json!({"source": source, "approval": "Automatic"})).await;
    falls_silent(&world, outside).await;
    let mut found = json!(world.ready("curious", "Applied").await.status.unwrap().outputs)["found"].take();
    let variables = found["variables"].take();
    for name in variables.as_str().unwrap().split_whitespace() {
        let of_ours = ["LANDFALL_", "DATABASE", "KUBERNETES_"].iter().any(|word| name.starts_with(word));
        let told = ["LANDFALL_RUN_ID", "LANDFALL_PLAN_DIGEST", "LANDFALL_CHANGE"].contains(&name);
        assert!(!of_ours || told, "{variables}");
    }
    assert!(variables.as_str().unwrap().contains("TF_HTTP_PASSWORD"), "its own engine's are seen: {variables}");
    found.as_object_mut().unwrap().remove("variables");
    let expected = json!({
        "runner": "seen", "of_the_runner": "", "files": "", "runs": "run values", "writes": "",
        "Uid": "65532", "CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
        "state": "401", "artifacts/plan-json": "401", "artifacts/snapshot": "401", "control": "401",
        "backend": "000",
    });
    assert_eq!(found, expected);

    theirs.command("theirs", "cancel", &run).await;
    world.nothing_left().await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn the_token_of_a_pod_takes_no_other_run_and_its_own_only_once() {
    let world = world(|_| {}).await;
    for name in ["one", "two"] {
        world.deployment(name, json!({"source": {"inline": {"main.tf": SLOW}}, "approval": "Automatic"})).await;
        world.until(name, "an apply", |o| json!(o.status)["phase"] == "Applying").await;
    }
    let pods = world.applying_pods(2).await;
    let (one, two) = (&pods[0], &pods[1]);
    let audience = "landfall.dev/runs";
    let good = pod_token(&world.own::<ServiceAccount>(), "landfall-runner", one, audience).await;
    assert_eq!(attach(&world, &run_of(one), &good).await, StatusCode::CONFLICT, "its own, by another than its runner");
    assert_eq!(attach(&world, &run_of(two), &good).await, StatusCode::CONFLICT, "another's, which is taken too");
    assert_eq!(attach(&world, &Uuid::now_v7().to_string(), &good).await, StatusCode::UNAUTHORIZED, "nobody's");
    for pod in &pods {
        world.command_on_run(pod, "cancel").await;
    }
    world.nothing_left().await;
    world.controller.stop().await;
}
