//! A watched namespace in which the controller has no role is named, wherever one looks for what is wrong.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::controller::{Home, Process};
use crate::database::Database;
use crate::harness::{User, env, namespace, wait_until};
use crate::world::{PLENTY, World};

/// The watch rests for so long between two tries, at most.
const TRIED_AGAIN: Duration = Duration::from_secs(60);

/// A role of the controller, as docs/installation.md binds it where not all namespaces are watched.
async fn bind(user: &str, namespace: &str, role: &str) {
    let object = json!({
        "metadata": {"name": user, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    });
    let api: Api<RoleBinding> = Api::namespaced(User::Admin.client().await, namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// That of the kinds, and of what has no namespace.
async fn bind_cluster(user: &str) {
    let binding = json!({
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "landfall-controller-cluster"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    });
    let bindings: Api<ClusterRoleBinding> = Api::all(User::Admin.client().await);
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
}

async fn readyz(process: &Process) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}/readyz", process.address)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Warnings of ours that speak of this namespace.
fn told(process: &Process, namespace: &str) -> Vec<String> {
    let log = std::fs::read_to_string(process.home.log()).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = lines.filter(|line| line["level"] == "WARN" && line["target"].to_string().contains("landfall::"));
    let words = ours.map(|line| line["fields"]["message"].to_string());
    words.filter(|words| words.contains(namespace)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_without_the_role_is_named_until_the_role_is_bound() {
    let mut world = World::new().await;
    world.controller.take().unwrap().stop().await;
    let (bound, bare, user) = (world.namespace.clone(), namespace().await, format!("u-{}", Uuid::new_v4().simple()));
    let database = Database::fresh().await;
    let mut home = Home::new(&[bound.clone(), bare.clone()], &database, |_| {}).await;
    home.with_kubeconfig(User::Admin, |config| {
        for info in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            info.impersonate = Some(user.clone());
        }
    });
    bind_cluster(&user).await;
    bind(&user, &home.namespace, "landfall-controller-own").await;
    bind(&user, &bound, "landfall-controller").await;
    let process = home.launch().await;
    let unlisted = format!("watch configmaps in {bare}: API server: configmaps is forbidden");
    wait_until(PLENTY, "the watch to be named", async || readyz(&process).await.1.contains(&unlisted)).await;
    let secrets = format!("watch secrets in {bare}: API server: secrets is forbidden");
    wait_until(PLENTY, "the other, too", async || readyz(&process).await.1.contains(&secrets)).await;
    let (_, text) = readyz(&process).await;
    assert!(text.contains("changes there are noticed late"), "{text}");
    assert!(!text.contains(&bound), "what has listed is not named: {text}");
    let metrics = process.get("metrics").await.unwrap();
    assert!(metrics.contains(r#"landfall_watches_unlisted{resource="secrets"} 1"#), "{metrics}");
    let errors = r#"landfall_watch_errors_total{resource="secrets"} "#;
    let tried = async || {
        let metrics = process.get("metrics").await.unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix(errors)?.parse::<u32>().ok());
        count.unwrap_or_default() >= 3
    };
    wait_until(TRIED_AGAIN, "three tries", tried).await;
    let words = told(&process, &bare);
    assert_eq!(words.len(), 2, "once for each watch: {words:#?}");

    // A namespace whose binding went, as with the namespace itself, holds up no other.
    wait_until(PLENTY, "readiness", async || readyz(&process).await.0 == 200).await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    bind(&user, &bare, "landfall-controller").await;
    let silent = async || !readyz(&process).await.1.contains("watch ");
    wait_until(TRIED_AGAIN, "nothing to say of a watch", silent).await;
}
