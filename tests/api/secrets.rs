//! Who names a Secret in a spec must be able to read it.

use serde_json::{Value, json};

use crate::harness::{User, credential, deployment, grant, grant_secret_verb, grant_secrets, namespace};
use crate::world::{World, refused, source};

const POLICY: &str = "landfall-secrets";

/// So many variables, from Secrets of these names in turn.
fn from(count: usize, names: &[String]) -> Value {
    let entry = |(n, name)| json!({"secretKeyRef": {"name": name, "key": "k"}, "as": format!("v{n}")});
    json!({"source": source(), "variablesFrom": names.iter().cycle().take(count).enumerate().map(entry).collect::<Vec<_>>()})
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("s{n}")).collect()
}

async fn create(world: &World, name: &str, spec: Value) -> kube::Result<kube::core::DynamicObject> {
    world.create(User::Bob, deployment(name, spec)).await
}

#[tokio::test]
async fn an_editor_hands_no_secret_to_a_module_that_he_cannot_read() {
    let world = World::new().await;
    let denied = format!("spec: \"bob\" lacks the verb get on Secret {}/s0", world.namespace);
    refused(create(&world, "new", from(1, &names(1))).await, &[POLICY, &denied]);
    let patch = json!({"spec": from(1, &names(1))});
    refused(world.patch(User::Bob, patch.clone()).await, &[POLICY, &denied]);

    // The module of an object that names one already would get it too.
    world.patch(User::Admin, patch.clone()).await.unwrap();
    refused(world.patch(User::Bob, json!({"spec": {"variables": {"x": 1}}})).await, &[POLICY, &denied]);
    world.patch(User::Bob, json!({"metadata": {"labels": {"team": "b"}}})).await.unwrap();
    world.patch(User::Bob, json!({"spec": {"variablesFrom": null}})).await.unwrap();

    grant_secrets(&world.namespace, User::Bob, &["s0"]).await;
    world.patch(User::Bob, patch).await.unwrap();
}

#[tokio::test]
async fn the_right_to_read_is_asked_in_this_namespace_and_for_secrets_alone() {
    let world = World::new().await;
    grant_secrets(&namespace().await, User::Bob, &[]).await;
    refused(create(&world, "new", from(1, &names(1))).await, &[POLICY]);
    let config = json!([{"configMapKeyRef": {"name": "c", "key": "k"}, "as": "x"}]);
    create(&world, "config", json!({"source": source(), "variablesFrom": config})).await.unwrap();
}

#[tokio::test]
async fn each_of_eight_secrets_is_asked_for_and_more_need_the_right_to_all() {
    let world = World::new().await;
    let mut granted = Vec::new();
    for last in 0..8 {
        let denied = format!("get on Secret {}/s{last},", world.namespace);
        refused(create(&world, "eight", from(256, &names(8))).await, &[POLICY, &denied]);
        granted.push(format!("s{last}"));
        grant_secrets(&world.namespace, User::Bob, &[&granted[last]]).await;
    }
    create(&world, "eight", from(256, &names(8))).await.unwrap();
    grant_secrets(&world.namespace, User::Bob, &["s8"]).await;
    let denied = format!("get on all Secrets of {}", world.namespace);
    refused(create(&world, "nine", from(9, &names(9))).await, &[POLICY, &denied, "more than 8"]);
}

/// The API server gives up on a policy that costs too much.
#[tokio::test]
async fn as_many_secrets_as_fit_into_a_deployment_are_asked_for_in_time() {
    let world = World::new().await;
    let long: Vec<String> = (0..256).map(|n| format!("{}{n:03}", "s".repeat(250))).collect();
    refused(create(&world, "most", from(256, &long)).await, &[POLICY, "lacks the verb get on Secret"]);
    grant_secrets(&world.namespace, User::Bob, &[]).await;
    create(&world, "most", from(256, &long)).await.unwrap();
}

/// Else he would have the controller make a Secret for him, with what he likes in it, for which others wait.
#[tokio::test]
async fn who_names_the_secret_of_the_outputs_must_be_able_to_create_it() {
    let world = World::new().await;
    let outputs = |name: &str| json!({"source": source(), "outputs": {"secretName": name}});
    let denied = format!("spec.outputs.secretName: \"bob\" lacks the verb create on Secret {}/theirs", world.namespace);
    grant_secrets(&world.namespace, User::Bob, &[]).await;
    refused(create(&world, "new", outputs("theirs")).await, &[POLICY, &denied]);
    let patch = json!({"spec": {"outputs": {"secretName": "theirs"}}});
    refused(world.patch(User::Bob, patch.clone()).await, &[POLICY, &denied]);

    // A name that another gave stays; he may take it away, and not back.
    world.patch(User::Admin, patch.clone()).await.unwrap();
    world.patch(User::Bob, json!({"spec": {"variables": {"x": 1}}})).await.unwrap();
    world.patch(User::Bob, json!({"spec": {"outputs": null}})).await.unwrap();
    refused(world.patch(User::Bob, patch.clone()).await, &[POLICY, &denied]);

    grant_secret_verb(&world.namespace, User::Bob, "create", &[]).await;
    world.patch(User::Bob, patch).await.unwrap();
    create(&world, "new", outputs("ours")).await.unwrap();
}

#[tokio::test]
async fn a_credential_is_made_by_who_can_read_its_secret() {
    let world = World::new().await;
    grant(&world.namespace, User::Carol, &["landfall-credential-admin"]).await;
    let endpoint = "https://pdns.example.com";
    let rows = [
        ("powerdns", json!({"secretRef": {"name": "key"}, "endpoint": endpoint})),
        ("aws", json!({"secretRef": {"name": "key"}, "region": "eu-central-1"})),
        ("hetzner", json!({"secretRef": {"name": "key"}})),
        (
            "rfc2136",
            json!({"secretRef": {"name": "key"}, "server": "192.0.2.1:53", "tsigKeyName": "k", "zones": ["example.com"]}),
        ),
    ];
    let denied = format!("spec: \"carol\" lacks the verb get on Secret {}/key", world.namespace);
    for (provider, block) in &rows {
        let answer = world.create(User::Carol, credential(provider, json!({*provider: block}))).await;
        refused(answer, &[POLICY, &denied]);
    }
    grant_secrets(&world.namespace, User::Carol, &["key"]).await;
    for (provider, block) in rows {
        world.create(User::Carol, credential(provider, json!({provider: block}))).await.unwrap();
    }
}

#[tokio::test]
async fn another_endpoint_for_a_secret_needs_the_right_to_read_it() {
    let world = World::new().await;
    grant(&world.namespace, User::Carol, &["landfall-credential-admin"]).await;
    world.credential("pdns").await;
    let api = crate::world::kind(User::Carol.client().await, &world.namespace, "CloudCredential");
    let send = async |patch: Value| api.patch("pdns", &Default::default(), &kube::api::Patch::Merge(patch)).await;
    let elsewhere = json!({"spec": {"powerdns": {"endpoint": "https://carol.example.com"}}});
    refused(send(elsewhere.clone()).await, &[POLICY, "\"carol\" lacks the verb get on Secret"]);
    send(json!({"metadata": {"labels": {"team": "c"}}})).await.unwrap();
    grant_secrets(&world.namespace, User::Carol, &["pdns"]).await;
    send(elsewhere).await.unwrap();
}

#[tokio::test]
async fn a_ca_signs_for_who_can_read_its_key_and_into_secrets_that_he_could_make() {
    let world = World::new().await;
    let certificate = |issuer: Value, secret: Value| {
        let spec = json!({"dnsNames": ["www.example.com"], "secretName": secret, "issuer": issuer});
        world.create(User::Bob, crate::harness::object("Certificate", "web", spec))
    };
    let (ca, brought) =
        (json!({"ca": {"secretRef": {"name": "key"}}}), json!({"imported": {"secretRef": {"name": "key"}}}));
    let unread = format!("spec: \"bob\" lacks the verb get on Secret {}/key", world.namespace);
    for (issuer, secret) in [(&ca, json!("web-tls")), (&brought, json!("key"))] {
        refused(certificate(issuer.clone(), secret).await, &[POLICY, &unread]);
    }
    grant_secrets(&world.namespace, User::Bob, &["key"]).await;
    let unmade = format!("spec.secretName: \"bob\" lacks the verb create on Secret {}/web-tls", world.namespace);
    refused(certificate(ca.clone(), json!("web-tls")).await, &[POLICY, &unmade]);
    grant_secret_verb(&world.namespace, User::Bob, "create", &[]).await;
    certificate(ca, json!("web-tls")).await.unwrap();
}
