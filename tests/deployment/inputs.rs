//! What comes from elsewhere: Secrets and credentials that come, change, go, or may not be used.

use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use landfall::api::CloudCredential;
use serde_json::{Value, json};

use crate::harness::{self, assign, env, namespace};
use crate::world::{World, digest, message};

const TOKEN: &str = "variable \"token\" {\n  type    = string\n  default = \"none\"\n}\n\
    resource \"terraform_data\" \"a\" { triggers_replace = sha256(var.token) }\n\
    output \"given\" { value = nonsensitive(var.token) != \"none\" }";

/// A module with a token from the key `token` of the Secret `web`.
fn spec(more: Value) -> Value {
    let mut spec = json!({
        "source": {"inline": {"main.tf": TOKEN}},
        "variablesFrom": [{"secretKeyRef": {"name": "web", "key": "token"}, "as": "token"}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

const RUNS: &str = "SELECT count(*) FROM terraform_runs";

async fn remove_secret<C>(world: &World<C>, name: &str) {
    world.api::<Secret>().delete(name, &DeleteParams::default()).await.unwrap();
}

/// A PowerDNS credential, and the Secret with its key.
async fn credential<C>(world: &World<C>, name: &str, key: &str, more: Value) {
    world.secret(name, json!({"api_key": key})).await;
    let mut spec = json!({"powerdns": {"secretRef": {"name": name}, "endpoint": env("PDNS_URL")}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.put::<CloudCredential>(name, harness::credential(name, spec)).await;
}

/// A module that needs nothing, with a credential.
fn with_credential(reference: Value) -> Value {
    json!({"source": {"inline": {"main.tf": "resource \"terraform_data\" \"a\" {}"}}, "credentialRef": reference})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_again_are_no_news_and_others_are_within_five_seconds() {
    let world = World::new().await;
    world.secret("web", json!({"token": "first-secret"})).await;
    world.deployment("web", spec(json!({}))).await;
    let first = digest(&world.ready("web", "ApprovalRequired").await);
    remove_secret(&world, "web").await;
    world.ready("web", "SecretNotFound").await;
    world.secret("web", json!({"token": "first-secret", "other": "key"})).await;
    assert_eq!(digest(&world.ready("web", "ApprovalRequired").await), first);
    assert_eq!(world.count(RUNS).await, 1, "the same bytes make no other plan");

    let written = jiff::Timestamp::now();
    world.secret("web", json!({"token": "second-secret", "other": "key"})).await;
    world.plan_after("web", &first).await;
    let late =
        format!("SELECT count(*) FROM terraform_runs WHERE created_at > timestamptz '{written}' + interval '5 s'");
    assert_eq!((world.count(RUNS).await, world.count(&late).await), (2, 0), "the new plan began within 5 s");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_key_that_is_not_there_leaves_the_default_until_it_comes() {
    let world = World::new().await;
    let optional = json!([{"secretKeyRef": {"name": "web", "key": "token"}, "as": "token", "optional": true}]);
    world
        .deployment(
            "web",
            spec(json!({"variablesFrom": optional, "approval": "Automatic", "guardrails": {"maxDestroy": 1}})),
        )
        .await;
    let given = async |is: bool| {
        let what = format!("the output to say {is}");
        let says = |o: &_| json!(crate::world::status(o).outputs) == json!({"given": is});
        world.until("web", &what, says).await;
        world.ready("web", "Applied").await;
    };
    given(false).await;
    world.secret("web", json!({"other": "key"})).await;
    world.secret("web", json!({"token": "first-secret"})).await;
    given(true).await;
    remove_secret(&world, "web").await;
    given(false).await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroy_waits_for_the_secret_that_it_needs() {
    let world = World::new().await;
    world.secret("web", json!({"token": "first-secret"})).await;
    world.deployment("web", spec(json!({"approval": "Automatic", "deletionPolicy": "Destroy"}))).await;
    world.ready("web", "Applied").await;
    remove_secret(&world, "web").await;
    world.delete("web").await;
    let said = message(&world.ready("web", "SecretNotFound").await);
    assert!(said.contains("variablesFrom[0]") && said.contains("\"web\""), "{said}");
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE change = 'Destroy'").await, 0);
    world.secret("web", json!({"token": "first-secret"})).await;
    world.gone("web").await;
    assert_eq!(world.count("SELECT count(*) FROM resource_inventory WHERE gone_at IS NULL").await, 0);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_planned_with_a_credential_that_is_refused_by_its_provider() {
    let world = World::new().await;
    credential(&world, "pdns", "not-the-key", json!({})).await;
    world.deployment("web", with_credential(json!({"name": "pdns"}))).await;
    let refused = |o: &CloudCredential| {
        o.status.as_ref().is_some_and(|s| s.conditions.iter().any(|c| c.reason == "InvalidCredentials"))
    };
    let api = world.api::<CloudCredential>();
    let told = async || refused(&api.get("pdns").await.unwrap());
    harness::wait_until(crate::world::PLENTY, "the refusal", told).await;
    let said = message(&world.ready("web", "CredentialNotReady").await);
    assert!(said.contains("spec.credentialRef") && said.contains("\"pdns\""), "{said}");
    assert_eq!(world.count(RUNS).await, 0);
    world.secret("pdns", json!({"api_key": env("PDNS_API_KEY")})).await;
    world.ready("web", "ApprovalRequired").await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_another_namespace_is_used_only_where_it_admits_that_and_within_the_organization() {
    let (friend, stranger) = (namespace().await, namespace().await);
    let world = World::with(&[&friend, &stranger], |_| {}).await;
    for (namespace, organization) in [(&world.namespace, "acme"), (&friend, "acme"), (&stranger, "globex")] {
        assign(namespace, organization).await;
    }
    let admits = json!({"allowedNamespaces": {"names": [world.namespace]}});
    let key = env("PDNS_API_KEY");
    for (namespace, name, more) in
        [(&friend, "open", &admits), (&friend, "closed", &json!({})), (&stranger, "open", &admits)]
    {
        credential(&world.beside(namespace), name, &key, more.clone()).await;
    }
    let reference = |name: &str, namespace: &str| with_credential(json!({"name": name, "namespace": namespace}));
    world.deployment("web", reference("open", &friend)).await;
    let plan = digest(&world.ready("web", "ApprovalRequired").await);
    for (deployment, name, namespace) in
        [("closed", "closed", &friend), ("foreign", "open", &stranger), ("absent", "none", &friend)]
    {
        world.deployment(deployment, reference(name, namespace)).await;
        let said = message(&world.ready(deployment, "RefNotPermitted").await);
        assert!(said.contains("spec.credentialRef") && said.contains(namespace.as_str()), "{said}");
    }
    assert_eq!(world.count(RUNS).await, 1, "no engine starts for a reference that is not permitted");

    // What was admitted is so no more: the plan that waits is not applied.
    credential(&world.beside(&friend), "open", &key, json!({})).await;
    world.ready("web", "RefNotPermitted").await;
    world.command("web", "approve", &plan).await;
    let taken = |o: &_| crate::world::status(o).last_handled.values().any(|value| *value == plan);
    world.until("web", "the approval to be taken", taken).await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE kind = 'Apply'").await, 0);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_runs_nothing_while_there_are_deployments_of_two_organizations() {
    let other = namespace().await;
    let world = World::with(&[&other], |_| {}).await;
    let beside = world.beside(&other);
    let plain = json!({"source": {"inline": {"main.tf": "resource \"terraform_data\" \"a\" {}"}}});
    world.deployment("web", plain.clone()).await;
    let plan = digest(&world.ready("web", "ApprovalRequired").await);
    beside.deployment("theirs", plain).await;
    let said = message(&beside.ready("theirs", "ExecutorNotPermitted").await);
    assert!(
        said.contains("executor.type local") && said.contains("the ledger knows 1 deployment of 1 other organization"),
        "{said}"
    );
    world.command("web", "approve", &plan).await;
    world.ready("web", "ExecutorNotPermitted").await;
    assert_eq!(world.count(RUNS).await, 1, "no run for either");
    let wrong = json!({"source": {"inline": {"main.tf": "terraform {\n  backend \"local\" {}\n}"}}});
    beside.deployment("wrong", wrong).await;
    beside.ready("wrong", "SourceInvalid").await;
    beside.delete("wrong").await;
    beside.delete("theirs").await;
    world.ready("web", "Applied").await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_state_holds_of_a_secret_is_not_shown_by_a_later_module() {
    let world = World::new().await;
    world.secret("web", json!({"token": "of-the-state-alone"})).await;
    let holds = "variable \"token\" { type = string }\nresource \"terraform_data\" \"s\" { input = var.token }";
    world
        .deployment(
            "web",
            json!({"source": {"inline": {"main.tf": holds}},
        "variablesFrom": [{"secretKeyRef": {"name": "web", "key": "token"}, "as": "token"}]}),
        )
        .await;
    let plan = digest(&world.ready("web", "ApprovalRequired").await);
    world.command("web", "approve", &plan).await;
    world.ready("web", "Applied").await;

    let shows = "resource \"terraform_data\" \"s\" {\n  lifecycle {\n    ignore_changes = [input]\n    postcondition {\n\
        condition     = self.output == \"\"\n      error_message = \"it is: ${nonsensitive(sensitive(self.output))}\"\n    }\n  }\n}";
    world.deployment("web", json!({"source": {"inline": {"main.tf": shows}}, "retry": {"limit": 0}})).await;
    let failed = world.ready("web", "RetriesExhausted").await;
    let text = message(&failed);
    assert!(text.contains("it is: ") && !text.contains("of-the-state-alone"), "{text}");
    world.controller.stop().await;
}
