use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::world::{World, message, own, secret_of};

#[tokio::test(flavor = "multi_thread")]
async fn names_outside_of_proved_domains_make_no_key_and_no_call() {
    let world = World::new().await;
    let tricks = [
        "www.example.org",
        "evilexample.com",
        "example.com.evil.org",
        "com",
        "*.com",
        "xn--e1awd7f.com",
        "example.co",
        "www.example.com.br",
        "*.example.org",
        "localhost",
    ];
    for (number, name) in tricks.iter().enumerate() {
        world.certificate(&format!("c{number}"), own(), json!({"dnsNames": ["www.example.com", name]})).await;
    }
    for (number, name) in tricks.iter().enumerate() {
        let unfit = !name.trim_start_matches("*.").contains('.');
        let reason = if unfit { "CertificateInvalid" } else { "DomainNotVerified" };
        let object = world.until(&format!("c{number}"), "Ready", "False", reason).await;
        assert!(message(&object, "Ready").contains("dnsNames"), "{name}: {}", message(&object, "Ready"));
        assert!(world.api::<Secret>().get_opt(&secret_of(&object)).await.unwrap().is_none(), "{name}");
    }
    assert_eq!((world.issued("true").await, world.ask("SELECT 1 FROM intents").await), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_is_proved_later_lets_the_certificate_be_made() {
    let world = World::new().await;
    world.certificate("web", own(), json!({"dnsNames": ["www.example.org"]})).await;
    world.until("web", "Ready", "False", "DomainNotVerified").await;
    world.prove("example.org", json!({"policy": {"allowWildcard": false, "allowApex": false}})).await;
    world.patch("web", json!({"spec": {"dnsNames": ["*.example.org"]}})).await;
    world.patch("web", json!({"spec": {"dnsNames": ["www.example.org"]}})).await;
    world.ready("web").await;
    world.certificate("all", own(), json!({"dnsNames": ["*.example.org"]})).await;
    let object = world.until("all", "Ready", "False", "OutsideDomain").await;
    assert!(message(&object, "Ready").contains("is a wildcard, which spec.policy of example.org forbids"));
}
