//! What was approved for one account is never applied with another one's key.

use std::net::SocketAddr;

use axum::Router;
use axum::http::HeaderMap;
use landfall::api::CloudCredential;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::controller::Home;
use crate::database::Database;
use crate::harness::{self, User, grant, namespace, wait_until};
use crate::world::{PLENTY, World, digest, message};

/// AWS STS with an account for each key; to the key `AKIASECOND` it answers when it is let.
async fn sts(may_answer: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |headers: HeaderMap| {
        let mut may_answer = may_answer.clone();
        async move {
            let second = headers["authorization"].to_str().unwrap().contains("AKIASECOND");
            if second {
                may_answer.wait_for(|may| *may).await.unwrap();
            }
            let account = if second { "222222222222" } else { "111111111111" };
            format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/x</Arn>\
                 <Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
            )
        }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

/// A world whose AWS is that endpoint.
async fn ground(may_answer: watch::Receiver<bool>) -> (World, String) {
    let endpoint = format!("http://{}", sts(may_answer).await);
    let (namespace, database) = (namespace().await, Database::fresh().await);
    let permitted = json!([endpoint]);
    let home =
        Home::new(std::slice::from_ref(&namespace), &database, |v| v["allowedEndpoints"] = permitted.clone()).await;
    grant(&namespace, User::Alice, &["landfall-approver"]).await;
    let client = User::Admin.client().await;
    (World { namespace, client, database, controller: home.start().await }, endpoint)
}

/// A credential that was proved for one account is not used when another one is expected, before anybody has looked again.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_planned_for_another_account_than_the_expected_one() {
    let (world, endpoint) = ground(watch::channel(true).1).await;
    world.secret("aws", json!({"access_key_id": "AKIAFIRST", "secret_access_key": "some-secret"})).await;
    let spec = json!({"secretRef": {"name": "aws"}, "region": "eu-central-1", "endpoint": endpoint});
    let credential = |more: serde_json::Value| {
        let mut spec = json!({"aws": spec});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        harness::credential("aws", spec)
    };
    world.put::<CloudCredential>("aws", credential(json!({"expectedAccount": "111111111111"}))).await;
    let module = json!({"inline": {"main.tf": "resource \"terraform_data\" \"a\" {}"}});
    let spec = json!({"source": module, "credentialRef": {"name": "aws"}});
    world.deployment("web", spec.clone()).await;
    world.ready("web", "ApprovalRequired").await;

    // Suspended, it is not probed again: what was proved stays on record.
    let other = json!({"expectedAccount": "222222222222", "suspend": true});
    world.put::<CloudCredential>("aws", credential(other)).await;
    let said = message(&world.ready("web", "CredentialNotReady").await);
    assert!(said.contains("account"), "{said}");
    world.deployment("other", spec).await;
    world.ready("other", "CredentialNotReady").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs").await, 1);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_for_one_account_is_never_applied_with_the_key_of_another() {
    let (let_answer, may_answer) = watch::channel(false);
    let (world, endpoint) = ground(may_answer).await;
    let files = tempfile::tempdir().unwrap();
    let keys = files.path().join("keys");
    let key = |id: &str| json!({"access_key_id": id, "secret_access_key": "some-secret"});
    world.secret("aws", key("AKIAFIRST")).await;
    let spec = json!({"aws": {"secretRef": {"name": "aws"}, "region": "eu-central-1", "endpoint": endpoint}});
    world.put::<CloudCredential>("aws", harness::credential("aws", spec)).await;
    let module = format!(
        "resource \"terraform_data\" \"a\" {{\n  provisioner \"local-exec\" {{ command = \"echo $AWS_ACCESS_KEY_ID >> {}\" }}\n}}",
        keys.display()
    );
    world.deployment("web", json!({"source": {"inline": {"main.tf": module}}, "credentialRef": {"name": "aws"}})).await;
    let first = digest(&world.ready("web", "ApprovalRequired").await);

    world.secret("aws", key("AKIASECOND")).await;
    world.command("web", "approve", &first).await;
    // The approval is taken, and the plan still is the newest: but whose the new key is, nobody knows yet.
    let given = "SELECT count(*) FROM activity_log WHERE action = 'approval.given'";
    wait_until(PLENTY, "the approval", async || world.count(given).await == 1).await;
    let held = message(&world.ready("web", "CredentialNotReady").await);
    let applies = "SELECT count(*) FROM terraform_runs WHERE kind = 'Apply'";
    assert_eq!(world.count(applies).await, 0);
    assert!(held.contains("\"aws\"") && held.contains("proved") || held.contains("not valid"), "{held}");

    let_answer.send(true).unwrap();
    let second = world.plan_after("web", &first).await;
    assert_eq!((world.count(applies).await, keys.exists()), (0, false), "the first plan was another account's");
    world.command("web", "approve", &second).await;
    world.ready("web", "Applied").await;
    assert_eq!(std::fs::read_to_string(&keys).unwrap().trim(), "AKIASECOND");
    world.controller.stop().await;
}
