use jiff::SignedDuration;
use serde_json::json;

use crate::harness::wait_until;
use crate::openssl::Openssl;
use crate::world::{PLENTY, World, by_ca, own, serial};

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_renewed_in_time_with_a_new_key_and_a_restart_renews_nothing() {
    let (mut world, openssl) = (World::new().await, Openssl::new());
    world.certificate("web", own(), json!({})).await;
    let (first, old) = world.ready("web").await;
    let status_writes = world.controller.as_ref().unwrap().metrics.status_writes("Certificate");
    world.pass(days(50));
    world.restart().await;
    world.wake("web-tls").await;
    let looked = async || {
        world
            .controller
            .as_ref()
            .unwrap()
            .metrics
            .text()
            .contains(r#"landfall_reconciles_total{kind="Certificate",result="Done"}"#)
    };
    wait_until(PLENTY, "a look", looked).await;
    assert_eq!((serial(&world.ready("web").await.0), world.issued("true").await), (serial(&first), 1));
    assert!(status_writes > 0 && world.controller.as_ref().unwrap().metrics.status_writes("Certificate") == 0);

    world.pass(days(20));
    world.wake("web-tls").await;
    let (next, new) = world.next("web", &serial(&first)).await;
    openssl.write("old.key", old["tls.key"].as_str().unwrap());
    assert_ne!(old["tls.key"], new["tls.key"], "a new key");
    let why = world.ask("SELECT why FROM certificates_issued WHERE superseded_at IS NULL").await;
    assert_eq!((why.as_deref(), world.issued("superseded_at IS NOT NULL").await), (Some("its time has come"), 1));
    assert!(next.status.unwrap().not_after > first.status.unwrap().not_after);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_ca_and_another_spec_are_followed() {
    let (world, openssl) = (World::new().await, Openssl::new());
    openssl.root("one");
    openssl.root("two");
    world.secret("ca", openssl.pair(&["one"], "one")).await;
    world.certificate("web", by_ca("ca"), json!({"privateKey": {"rotationPolicy": "Never"}})).await;
    let (first, old) = world.ready("web").await;
    world.secret("ca", openssl.pair(&["two"], "two")).await;
    let (second, new) = world.next("web", &serial(&first)).await;
    assert_eq!(new["ca.crt"].as_str(), Some(openssl.read("two.crt").as_str()));
    assert_eq!(old["tls.key"], new["tls.key"], "the key stays where it is asked to");
    openssl.verifies(&new, "www.example.com");
    world.patch("web", json!({"spec": {"dnsNames": ["shop.example.com"], "privateKey": {"size": 384}}})).await;
    let (third, last) = world.next("web", &serial(&second)).await;
    openssl.verifies(&last, "shop.example.com");
    assert!(last["tls.key"] != new["tls.key"] && third.status.unwrap().dns_names == ["shop.example.com"]);
    let why = world.ask("SELECT string_agg(why, ', ' ORDER BY certificate_id) FROM certificates_issued").await;
    assert_eq!(why.as_deref(), Some("there was none, the CA is another one, the spec asks for another one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_cannot_be_leaves_the_certificate_ready_until_its_end() {
    let (world, openssl) = (World::new().await, Openssl::new());
    openssl.root("ca");
    world.secret("ca", openssl.pair(&["ca"], "ca")).await;
    world.certificate("web", by_ca("ca"), json!({"duration": "240h"})).await;
    let (first, _) = world.ready("web").await;
    world.secret("ca", json!({"tls.crt": "", "tls.key": ""})).await;
    world.pass(days(6));
    world.wake("web-tls").await;
    let object = world.until("web", "Issuing", "False", "CaUnavailable").await;
    assert_eq!(crate::world::condition(&object, "Ready").unwrap().status, "True");
    world.pass(days(5));
    world.wake("web-tls").await;
    world.until("web", "Ready", "False", "CaUnavailable").await;
    world.secret("ca", openssl.pair(&["ca"], "ca")).await;
    let (second, _) = world.next("web", &serial(&first)).await;
    assert!(crate::world::condition(&second, "Issuing").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_renewed_by_itself_that_a_person_renews() {
    let world = World::new().await;
    world.certificate("web", own(), json!({"renewal": {"policy": "Manual"}})).await;
    let (first, _) = world.ready("web").await;
    assert_eq!(first.status.unwrap().renewal_time, None);
    world.pass(days(80));
    world.wake("web-tls").await;
    let object = world.until("web", "Ready", "True", "ExpiresSoon").await;
    assert!(crate::world::message(&object, "Ready").contains("in less than 14 days, and nothing renews it"));
    world.pass(days(11));
    world.wake("web-tls").await;
    world.until("web", "Ready", "False", "Expired").await;
    assert_eq!(world.issued("true").await, 1);
}
