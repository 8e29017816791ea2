//! Loosening the gate needs the verb `bypass-approval`; using a credential needs `use`.

use serde_json::{Value, json};

use crate::harness::{User, deployment, grant, grant_secrets, namespace};
use crate::world::{World, refused, source};

const BYPASS: &str = "\"bob\" lacks the verb bypass-approval";

/// Whether bob, an editor, may change a deployment of spec `from` by the merge patch `to`; if not, the field named.
async fn change(from: Value, to: Value, refusal: Option<&str>) {
    let world = World::with(from).await;
    let answer = world.patch(User::Bob, json!({"spec": to})).await;
    match refusal {
        Some(field) => {
            refused(answer, &["landfall-bypass", field, BYPASS]);
            grant(&world.namespace, User::Bob, &["landfall-bypass"]).await;
            world.patch(User::Bob, json!({"spec": to})).await.unwrap();
        }
        None => drop(answer.unwrap()),
    }
}

fn limit(value: Value) -> Value {
    json!({"guardrails": {"maxDestroy": value}})
}

#[tokio::test]
async fn another_mode_than_manual_needs_the_verb() {
    change(json!({}), json!({"approval": "Automatic"}), Some("spec.approval:")).await;
    change(json!({}), json!({"approval": "PlanOnly"}), Some("spec.approval:")).await;
    change(json!({"approval": "PlanOnly"}), json!({"approval": "Automatic"}), Some("spec.approval:")).await;
    change(json!({"approval": "Automatic"}), json!({"approval": "Manual"}), None).await;
    change(json!({"approval": "Automatic"}), json!({"suspend": true}), None).await;
}

#[tokio::test]
async fn destroying_on_deletion_needs_the_verb() {
    change(json!({}), json!({"deletionPolicy": "Destroy"}), Some("spec.deletionPolicy:")).await;
    change(json!({"deletionPolicy": "Destroy"}), json!({"deletionPolicy": "Retain"}), None).await;
    change(json!({"deletionPolicy": "Destroy"}), json!({"suspend": true}), None).await;
}

#[tokio::test]
async fn fewer_guardrails_need_the_verb() {
    let field = Some("spec.guardrails.maxDestroy:");
    change(limit(json!(1)), json!({"guardrails": null}), field).await;
    change(limit(json!(1)), limit(Value::Null), field).await;
    change(limit(json!(1)), limit(json!(2)), field).await;
    change(limit(json!(9)), limit(json!(10)), field).await;
    change(limit(json!("9%")), limit(json!("10%")), field).await;
    change(limit(json!(50)), limit(json!("1%")), field).await;
    change(limit(json!("1%")), limit(json!(0)), field).await;
    let automatic = json!({"approval": "Automatic"});
    change(automatic.clone(), limit(json!(1)), field).await;
    change(automatic, limit(json!("1%")), field).await;
}

#[tokio::test]
async fn more_guardrails_need_nothing() {
    change(json!({}), limit(json!(100)), None).await;
    change(limit(json!(2)), limit(json!(1)), None).await;
    change(limit(json!(10)), limit(json!(9)), None).await;
    change(limit(json!("10%")), limit(json!("9%")), None).await;
    change(limit(json!(2)), json!({"suspend": true}), None).await;
    change(json!({"approval": "Automatic"}), limit(json!(0)), None).await;
}

#[tokio::test]
async fn a_new_object_is_held_to_the_same() {
    let world = World::new().await;
    for (name, loose) in [
        ("mode", json!({"approval": "Automatic"})),
        ("plan", json!({"approval": "PlanOnly"})),
        ("ending", json!({"deletionPolicy": "Destroy"})),
    ] {
        let mut spec = loose.clone();
        spec["source"] = source();
        refused(world.create(User::Bob, deployment(name, spec)).await, &["landfall-bypass", BYPASS]);
    }
    let spec = json!({"source": source(), "guardrails": {"maxDestroy": 3}});
    world.create(User::Bob, deployment("tight", spec)).await.unwrap();
}

#[tokio::test]
async fn the_approver_is_not_thereby_allowed_to_loosen() {
    let world = World::new().await;
    let answer = world.patch(User::Alice, json!({"spec": {"approval": "Automatic"}})).await;
    refused(answer, &["spec.approval", "\"alice\" lacks the verb bypass-approval"]);
}

#[tokio::test]
async fn a_credential_is_used_by_who_may_use_it() {
    let world = World::new().await;
    let refers = json!({"spec": {"credentialRef": {"name": "pdns"}}});
    let here = format!("CloudCredential {}/pdns", world.namespace);
    let denied = ["landfall-use", "spec.credentialRef: \"bob\" lacks the verb use", here.as_str()];
    refused(world.patch(User::Bob, refers.clone()).await, &denied);
    let spec = json!({"source": source(), "credentialRef": {"name": "pdns"}});
    refused(world.create(User::Bob, deployment("new", spec.clone())).await, &denied);

    // An object that refers to it already: another spec would run with it too.
    world.patch(User::Admin, refers).await.unwrap();
    refused(world.patch(User::Bob, json!({"spec": {"variables": {"x": 1}}})).await, &denied);
    world.patch(User::Bob, json!({"metadata": {"labels": {"team": "b"}}})).await.unwrap();
    world.patch(User::Bob, json!({"spec": {"credentialRef": null}})).await.unwrap();

    grant(&world.namespace, User::Bob, &["landfall-credential-user"]).await;
    world.create(User::Bob, deployment("new", spec)).await.unwrap();
}

#[tokio::test]
async fn the_right_to_use_is_asked_where_the_credential_is() {
    let world = World::new().await;
    let elsewhere = namespace().await;
    grant(&world.namespace, User::Bob, &["landfall-credential-user"]).await;
    let refers = json!({"spec": {"credentialRef": {"name": "pdns", "namespace": elsewhere}}});
    let there = format!("CloudCredential {elsewhere}/pdns");
    refused(world.patch(User::Bob, refers.clone()).await, &["landfall-use", &there]);
    grant(&elsewhere, User::Bob, &["landfall-credential-user"]).await;
    world.patch(User::Bob, refers).await.unwrap();
}

#[tokio::test]
async fn names_of_variables_are_identifiers() {
    let world = World::new().await;
    for name in ["1st", "", "a.b", "a b", "-x", "x\u{0}"] {
        let answer = world.patch(User::Bob, json!({"spec": {"variables": {name: 1}}})).await;
        refused(answer, &["landfall-variables", "spec.variables: names are identifiers of HCL"]);
    }
    let good = json!({"größe": 1, "_x": [], "a-b": {"deep": [{"x": null}]}, "n": 18_446_744_073_709_551_615_u64});
    world.patch(User::Bob, json!({"spec": {"variables": good}})).await.unwrap();
}

#[tokio::test]
async fn a_variable_gets_one_value() {
    let world = World::new().await;
    grant_secrets(&world.namespace, User::Bob, &["s"]).await;
    let from = json!([{"secretKeyRef": {"name": "s", "key": "k"}, "as": "token"}]);
    let answer = world.patch(User::Bob, json!({"spec": {"variables": {"token": 1}, "variablesFrom": from}})).await;
    refused(answer, &["landfall-variables", "spec.variablesFrom", "also in spec.variables: token"]);
}
