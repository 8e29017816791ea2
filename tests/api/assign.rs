//! The Namespace label that says whose a namespace is, by each door.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams, Request};
use serde_json::{Value, json};

use crate::harness::{User, install, namespace, wait_until};
use crate::world::refused;

const POLICY: &str = "landfall-assign";

fn label(organization: Value) -> Value {
    json!({"metadata": {"labels": {"landfall.dev/organization": organization}}})
}

/// A user of the test's own who may do all with namespaces, and assign the organizations given.
async fn member(organizations: &[&str]) -> Client {
    install().await;
    let admin = User::Admin.client().await;
    let name = format!("member-{}", uuid::Uuid::new_v4().simple());
    let mut rules = vec![json!({
        "apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "verbs": ["*"],
    })];
    if !organizations.is_empty() {
        rules.push(json!({
            "apiGroups": ["landfall.dev"], "resources": ["organizations"],
            "resourceNames": organizations, "verbs": ["assign"],
        }));
    }
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
    Api::all(admin.clone()).create(&PostParams::default(), &role).await.unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}],
    }))
    .unwrap();
    Api::all(admin).create(&PostParams::default(), &binding).await.unwrap();
    let client = User::Admin.impersonating(&name).await;
    let api: Api<Namespace> = Api::all(client.clone());
    wait_until(std::time::Duration::from_secs(60), "the grant", async || api.get("default").await.is_ok()).await;
    client
}

async fn patch(client: &Client, name: &str, patch: Value) -> kube::Result<Namespace> {
    Api::<Namespace>::all(client.clone()).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

#[tokio::test]
async fn joining_an_organization_needs_the_verb_on_its_name() {
    let (client, space) = (member(&["ours"]).await, namespace().await);
    let answer = patch(&client, &space, label(json!("theirs"))).await;
    refused(answer, &[POLICY, "landfall.dev/organization", "lacks the verb assign", "theirs"]);
    patch(&client, &space, label(json!("ours"))).await.unwrap();
}

#[tokio::test]
async fn leaving_an_organization_needs_the_verb_on_both_names() {
    let (client, admin, space) = (member(&["ours"]).await, User::Admin.client().await, namespace().await);
    patch(&admin, &space, label(json!("theirs"))).await.unwrap();
    for to in [json!("ours"), Value::Null] {
        refused(patch(&client, &space, label(to)).await, &[POLICY, "lacks the verb assign", "theirs"]);
    }
    patch(&client, &space, json!({"metadata": {"labels": {"team": "x"}}})).await.unwrap();
    let ours = member(&["ours", "theirs"]).await;
    patch(&ours, &space, label(json!("ours"))).await.unwrap();
    patch(&client, &space, label(Value::Null)).await.unwrap();
}

#[tokio::test]
async fn a_namespace_is_not_born_into_an_organization_without_the_verb() {
    let client = member(&["ours"]).await;
    let api: Api<Namespace> = Api::all(client);
    let named = |organization: &str| {
        let mut object = label(json!(organization));
        object["metadata"]["name"] = json!(format!("test-{}", uuid::Uuid::new_v4().simple()));
        serde_json::from_value(object).unwrap()
    };
    refused(api.create(&PostParams::default(), &named("theirs")).await, &[POLICY, "theirs"]);
    api.create(&PostParams::default(), &named("ours")).await.unwrap();
}

#[tokio::test]
async fn an_empty_name_is_refused() {
    let (client, space) = (User::Admin.client().await, namespace().await);
    refused(patch(&client, &space, label(json!(""))).await, &[POLICY, "must not be empty"]);
}

#[tokio::test]
async fn the_status_of_a_namespace_is_no_back_door() {
    let (client, space) = (member(&[]).await, namespace().await);
    let api: Api<Namespace> = Api::all(client);
    let answer = api.patch_status(&space, &PatchParams::default(), &Patch::Merge(label(json!("theirs")))).await;
    refused(answer, &[POLICY, "lacks the verb assign", "theirs"]);
}

#[tokio::test]
async fn finalizing_a_namespace_is_no_back_door() {
    let (client, space) = (member(&[]).await, namespace().await);
    let api: Api<Namespace> = Api::all(client.clone());
    let mut object = api.get(&space).await.unwrap();
    object.metadata.labels.get_or_insert_default().insert("landfall.dev/organization".into(), "theirs".into());
    let request = Request::new("/api/v1/namespaces").replace_subresource(
        "finalize",
        &space,
        &PostParams::default(),
        serde_json::to_vec(&object).unwrap(),
    );
    refused(client.request::<Namespace>(request.unwrap()).await, &[POLICY, "lacks the verb assign", "theirs"]);
}
