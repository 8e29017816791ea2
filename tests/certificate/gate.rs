use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::acme::{Ca, NEW_ORDER};
use crate::pebble::Switches;
use crate::world::{World, message, own, secret_of};

#[tokio::test(flavor = "multi_thread")]
async fn names_outside_of_proved_domains_make_no_key_and_no_call() {
    let ca = Ca::new(Switches::default()).await;
    let (world, own) = (&ca.world, &ca.domain);
    world.prove(&format!("lost.{own}"), json!({})).await;
    world.lose(&format!("lost.{own}")).await;
    world.prove(&format!("strict.{own}"), json!({"policy": {"allowWildcard": false, "allowApex": false}})).await;
    let (unproved, unfit, outside) = ("DomainNotVerified", "CertificateInvalid", "OutsideDomain");
    let tricks = [
        ("www.example.org".into(), unproved),
        (format!("evil{own}"), unproved),
        (format!("{own}.evil.org"), unproved),
        (format!("{own}.br"), unproved),
        (own.split_once('.').unwrap().1.to_owned(), unproved),
        (format!("*.{}", own.split_once('.').unwrap().1), unproved),
        (format!("xn--a.{own}"), unfit),
        ("com".into(), unfit),
        ("*.com".into(), unfit),
        ("localhost".into(), unfit),
        ("192.0.2.1".into(), unfit),
        (format!("*.*.{own}"), unfit),
        (format!("a.*.{own}"), unfit),
        (format!("_dmarc.{own}"), unfit),
        (format!("lost.{own}"), unproved),
        (format!("www.LOST.{own}"), unproved),
        (format!("strict.{own}"), outside),
        (format!("*.strict.{own}"), outside),
    ];
    for (number, (name, _)) in tricks.iter().enumerate() {
        ca.certificate(&format!("c{number}"), json!([own, name])).await;
    }
    for (number, (name, reason)) in tricks.iter().enumerate() {
        let object = world.until(&format!("c{number}"), "Ready", "False", reason).await;
        assert!(message(&object, "Ready").contains("dnsNames"), "{name}: {}", message(&object, "Ready"));
        assert!(world.api::<Secret>().get_opt(&secret_of(&object)).await.unwrap().is_none(), "{name}");
    }
    assert_eq!((ca.front.count("/"), world.ask("SELECT 1 FROM acme_orders").await), (0, None));
    // As long as one takes that is asked for, none of the others is.
    ca.certificate("web", json!([own])).await;
    ca.verified("web", own).await;
    let orders = "SELECT string_agg(name, ' ') FROM acme_orders";
    assert_eq!((ca.front.count(NEW_ORDER), world.ask(orders).await), (1, Some("web".into())));
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
