use kube::api::{Api, Patch, PatchParams};
use landfall::api::CloudCredential;
use serde_json::json;
use sqlx::Connection;

use crate::harness::{User, env, grant, wait_until};
use crate::world::{FIVE, Fake, PLENTY, SOON, World, aws_spec, condition, message, powerdns_spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_powerdns_key_is_proved_by_the_server() {
    let world = World::new().await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    let object = world.valid("pdns", PLENTY, "True", "Valid").await;
    assert_eq!(condition(&object, "Ready").unwrap().status, "True");
    let status = object.status.unwrap();
    assert!(status.identity.unwrap().principal.unwrap().starts_with("localhost (PowerDNS 4"));
    assert_eq!(status.capabilities, ["terraform", "dns"]);
    assert!(status.secret.unwrap().digest.starts_with("hmac-sha256:"));
    assert!(status.last_probe_time.is_some() && status.last_success_time.is_some());
    assert_eq!((status.observed_generation, status.used_by), (Some(1), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_powerdns_key_is_invalid_after_a_second_refusal() {
    let fake = Fake::start().await;
    let world = World::with(|v| v["allowedEndpoints"] = json!([env("PDNS_URL"), fake.url()])).await;
    world.powerdns("pdns", "canary-wrong-key", &env("PDNS_URL"), json!({})).await;
    let object = world.valid("pdns", PLENTY, "False", "InvalidCredentials").await;
    assert!(message(&object, "Valid").contains("put the server's api-key under \"api_key\" in Secret \"pdns\""));
    assert!(!serde_json::to_string(&object.status).unwrap().contains("canary"));
    fake.answer(401);
    world.powerdns("fake", "some-key", &fake.url(), json!({})).await;
    world.valid("fake", PLENTY, "False", "InvalidCredentials").await;
    assert_eq!(fake.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aws_key_is_proved_with_its_account_and_another_account_is_a_mismatch() {
    let world = World::new().await;
    let keys =
        json!({"access_key_id": env("AWS_TEST_ACCESS_KEY_ID"), "secret_access_key": env("AWS_TEST_SECRET_ACCESS_KEY")});
    world.secret("aws", keys).await;
    world.credential("good", aws_spec("aws", json!({"expectedAccount": env("AWS_TEST_ACCOUNT")}))).await;
    let object = world.valid("good", PLENTY, "True", "Valid").await;
    assert_eq!(object.status.unwrap().identity.unwrap().account, Some(env("AWS_TEST_ACCOUNT")));
    world.credential("other", aws_spec("aws", json!({"expectedAccount": "999999999999"}))).await;
    let object = world.valid("other", PLENTY, "False", "AccountMismatch").await;
    let text = message(&object, "Valid");
    assert!(text.contains("999999999999") && text.contains(&env("AWS_TEST_ACCOUNT")), "{text}");
    world.patch("other", json!({"spec": {"expectedAccount": env("AWS_TEST_ACCOUNT")}})).await;
    world.valid("other", SOON, "True", "Valid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_aws_keys_are_told_apart_and_never_quoted() {
    let world = World::new().await;
    let id = env("AWS_TEST_ACCESS_KEY_ID");
    let cases = [
        (
            "unknown",
            json!({"access_key_id": "AKIACANARYCANARYCANA", "secret_access_key": "canary/secret"}),
            "no such key",
        ),
        (
            "secret",
            json!({"access_key_id": id, "secret_access_key": "canary/secret"}),
            "the secret does not belong to it",
        ),
        (
            "temporary",
            json!({"access_key_id": "ASIACANARY", "secret_access_key": "canary/secret"}),
            "\"session_token\"",
        ),
    ];
    for (name, keys, _) in &cases {
        world.secret(name, keys.clone()).await;
        world.credential(name, aws_spec(name, json!({}))).await;
    }
    for (name, _, says) in &cases {
        let object = world.valid(name, PLENTY, "False", "InvalidCredentials").await;
        assert!(message(&object, "Valid").contains(says), "{name}: {}", message(&object, "Valid"));
        let status = serde_json::to_string(&object.status).unwrap();
        assert!(!status.to_lowercase().contains("canary") && !status.contains(&id), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_comes_later_or_changes_is_probed_within_five_seconds() {
    let world = World::new().await;
    world.credential("pdns", powerdns_spec("late", &env("PDNS_URL"), json!({}))).await;
    let object = world.valid("pdns", PLENTY, "False", "SecretNotFound").await;
    assert!(message(&object, "Valid").contains("\"late\""));
    world.secret("late", json!({"wrong_key": "x"})).await;
    let object = world.valid("pdns", FIVE, "False", "SecretKeyMissing").await;
    assert!(message(&object, "Valid").contains("key \"api_key\" is missing"), "{}", message(&object, "Valid"));
    world.secret("late", json!({"api_key": format!("{}\n", env("PDNS_API_KEY"))})).await;
    world.valid("pdns", FIVE, "True", "Valid").await;
    world.secret("late", json!({"api_key": "rotated-to-nonsense"})).await;
    world.valid("pdns", FIVE, "False", "InvalidCredentials").await;
    world.secret("late", json!({"api_key": env("PDNS_API_KEY")})).await;
    world.valid("pdns", FIVE, "True", "Valid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_takes_nothing_back_within_the_grace() {
    let fake = Fake::start().await;
    let world = World::with(|v| v["allowedEndpoints"] = json!([fake.url()])).await;
    let probe = json!({"probe": {"interval": "1s", "graceAfterLastSuccess": "9s"}});
    world.powerdns("pdns", "key", &fake.url(), probe).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    fake.answer(503);
    let object = world.valid("pdns", PLENTY, "True", "StaleOk").await;
    assert_eq!(condition(&object, "Ready").unwrap().status, "True");
    world.valid("pdns", PLENTY, "Unknown", "ProviderUnavailable").await;
    fake.answer(429);
    world.valid("pdns", PLENTY, "Unknown", "RateLimited").await;
    fake.answer(200);
    world.valid("pdns", PLENTY, "True", "Valid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_allowed_gets_no_call() {
    let fake = Fake::start().await;
    let world = World::new().await;
    world.powerdns("pdns", "key", &fake.url(), json!({})).await;
    let object = world.valid("pdns", PLENTY, "False", "EndpointNotAllowed").await;
    let text = message(&object, "Valid");
    assert!(text.starts_with("spec.powerdns.endpoint: ") && text.contains("allowedEndpoints"), "{text}");
    assert_eq!(fake.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_credential_is_not_probed_and_can_be_deleted() {
    let fake = Fake::start().await;
    let world = World::with(|v| v["allowedEndpoints"] = json!([fake.url()])).await;
    world.powerdns("pdns", "key", &fake.url(), json!({"suspend": true})).await;
    world.condition("pdns", PLENTY, "Ready", "Unknown", "Suspended").await;
    assert_eq!(fake.calls(), 0);
    world.patch("pdns", json!({"spec": {"suspend": false}})).await;
    world.valid("pdns", SOON, "True", "Valid").await;
    world.patch("pdns", json!({"spec": {"suspend": true}})).await;
    world.condition("pdns", SOON, "Ready", "True", "Suspended").await;
    world.delete("pdns").await;
    world.gone("pdns").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_endpoint_is_probed_at_once() {
    let (one, two) = (Fake::start().await, Fake::start().await);
    let world = World::with(|v| v["allowedEndpoints"] = json!([one.url(), two.url()])).await;
    world.powerdns("pdns", "key", &one.url(), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    world.patch("pdns", json!({"spec": {"powerdns": {"endpoint": two.url()}}})).await;
    wait_until(SOON, "a probe of the new endpoint", async || two.calls() == 1).await;
    assert_eq!(one.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_the_verb_operate_asks_for_a_probe_and_gets_one() {
    let fake = Fake::start().await;
    let world = World::with(|v| v["allowedEndpoints"] = json!([fake.url()])).await;
    grant(&world.namespace, User::Alice, &["landfall-operator"]).await;
    grant(&world.namespace, User::Bob, &["landfall-credential-admin"]).await;
    grant(&world.namespace, User::Carol, &["landfall-credential-user"]).await;
    world.powerdns("pdns", "key", &fake.url(), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let ask = async |user: User, value: &str| {
        let api: Api<CloudCredential> = Api::namespaced(user.client().await, &world.namespace);
        let annotations = json!({"landfall.dev/reconcile": value, "landfall.dev/command-by": user.name()});
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        api.patch("pdns", &PatchParams::default(), &patch).await
    };
    assert!(ask(User::Carol, "mine").await.is_err(), "use is not operate");
    for (user, value, calls) in [(User::Alice, "first", 2), (User::Bob, "second", 3)] {
        ask(user, value).await.unwrap();
        wait_until(PLENTY, "a probe", async || fake.calls() == calls).await;
        wait_until(PLENTY, "what was taken", async || {
            let object = world.get("pdns").await;
            let left = object.metadata.annotations.unwrap_or_default();
            let handled = json!(object.status.unwrap().last_handled);
            !left.keys().any(|key| key.starts_with("landfall.dev/")) && handled == json!({"reconcile": value})
        })
        .await;
    }
    let mut sql = sqlx::PgConnection::connect(&world.database.url).await.unwrap();
    let told: Option<String> = sqlx::query_scalar(
        "SELECT string_agg(actor || ' ' || actor_kind || ' ' || (details->>'value'), ',' ORDER BY seq)
         FROM activity_log WHERE action = 'command.taken' AND object_kind = 'CloudCredential'",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(told.as_deref(), Some("alice user first,bob user second"));
    assert_eq!(fake.calls(), 3, "one probe for each");
}
