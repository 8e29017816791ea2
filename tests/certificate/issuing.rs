use serde_json::json;

use crate::harness::wait_until;
use crate::openssl::Openssl;
use crate::world::{PLENTY, World, by_ca, own, serial};

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_its_own_key_is_whole_and_on_record() {
    let (world, openssl) = (World::new().await, Openssl::new());
    world
        .certificate("web", own(), json!({"dnsNames": ["WWW.example.com", "*.example.com", "www.example.com."]}))
        .await;
    let (object, data) = world.ready("web").await;
    openssl.verifies(&data, "www.example.com");
    openssl.verifies(&data, "other.example.com");
    let status = object.status.clone().unwrap();
    assert_eq!(status.dns_names, ["www.example.com", "*.example.com"], "canonical, each once");
    assert_eq!(openssl.shows(&data, "-serial").trim().to_lowercase(), format!("serial={}", serial(&object)));
    let fingerprint = openssl.shows(&data, "-fingerprint -sha256").trim().replace(':', "").to_lowercase();
    assert!(fingerprint.ends_with(status.fingerprint_sha256.as_deref().unwrap()), "{fingerprint}");
    assert_eq!(status.issuer.as_deref(), Some("CN=www.example.com"));
    let times = [&status.not_before, &status.renewal_time, &status.not_after].map(|t| t.clone().unwrap());
    assert!(times.is_sorted(), "{times:?}");

    let secret = world.api::<k8s_openapi::api::core::v1::Secret>().get("web-tls").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    let owner = &secret.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str(), owner.controller), ("Certificate", "web", Some(true)));

    let told = "SELECT string_agg(action, ' ' ORDER BY seq) FROM activity_log
                WHERE object_kind = 'Certificate' AND actor_kind = 'controller' AND action !~ 'object'";
    wait_until(PLENTY, "the record", async || {
        world.ask(told).await.as_deref() == Some("intent.made intent.concluded certificate.issued")
    })
    .await;
    let row = world.ask("SELECT state || ' ' || why || ' ' || serial_number || ' ' || (chain ~ 'PRIVATE')::text FROM certificates_issued").await;
    assert_eq!(row.unwrap(), format!("Issued there was none {} false", serial(&object)));
    assert_eq!(world.ask("SELECT outcome FROM intents").await.as_deref(), Some("Done"));
    let mirrored =
        "SELECT concat_ws(' ', serial_number, fingerprint_sha256, to_char(not_after, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))
                    FROM ssl_certificates WHERE ready = 'True' AND renewal_time < not_after AND not_before < now()";
    let expected = [serial(&object), status.fingerprint_sha256.unwrap(), status.not_after.unwrap()].join(" ");
    wait_until(PLENTY, "the mirror", async || world.ask(mirrored).await.as_ref() == Some(&expected)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_key_is_made() {
    let (world, openssl) = (World::new().await, Openssl::new());
    let kinds = [
        ("p256", json!({}), "256 bit"),
        ("p384", json!({"size": 384}), "384 bit"),
        ("rsa", json!({"algorithm": "RSA"}), "2048 bit"),
        ("rsa3", json!({"algorithm": "RSA", "size": 3072}), "3072 bit"),
    ];
    for (name, key, _) in &kinds {
        world.certificate(name, own(), json!({"privateKey": key})).await;
    }
    for (name, _, shown) in kinds {
        let (_, data) = world.ready(name).await;
        openssl.verifies(&data, "www.example.com");
        assert!(openssl.shows(&data, "-text").contains(shown), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_signs_with_its_chain_and_its_root() {
    let (world, openssl) = (World::new().await, Openssl::new());
    openssl.root("root");
    openssl.intermediate("middle", "root");
    world.secret("root", openssl.pair(&["root"], "root")).await;
    world.secret("middle", openssl.pair(&["middle", "root"], "middle")).await;
    world.certificate("direct", by_ca("root"), json!({})).await;
    world.certificate("chained", by_ca("middle"), json!({"privateKey": {"algorithm": "RSA"}})).await;
    for (name, certificates) in [("direct", 1), ("chained", 2)] {
        let (object, data) = world.ready(name).await;
        openssl.verifies(&data, "www.example.com");
        assert_eq!(data["tls.crt"].as_str().unwrap().matches("BEGIN").count(), certificates, "{name}");
        assert_eq!(data["ca.crt"].as_str(), Some(openssl.read("root.crt").as_str()), "{name}");
        assert!(object.status.unwrap().issuer.unwrap().contains("O=Test"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_missing_or_unfit_is_told_and_waited_for() {
    let (world, openssl) = (World::new().await, Openssl::new());
    openssl.root("root");
    openssl.leaf("leaf", "root", "DNS:a.example.com", "");
    openssl.root("other");
    world.certificate("web", by_ca("ca"), json!({})).await;
    let object = world.until("web", "Ready", "False", "CaUnavailable").await;
    assert!(crate::world::message(&object, "Ready").contains("there is no Secret \"ca\""));
    for (data, words) in [
        (openssl.pair(&["root"], "other"), "the key is not the certificate's"),
        (openssl.pair(&["leaf"], "leaf"), "tls.crt is no CA"),
        (json!({"tls.crt": "", "tls.key": ""}), "holds no certificate"),
    ] {
        world.secret("ca", data).await;
        wait_until(PLENTY, words, async || crate::world::message(&world.get("web").await, "Ready").contains(words))
            .await;
    }
    assert_eq!((world.issued("true").await, world.ask("SELECT 1 FROM intents").await), (0, None));
    world.secret("ca", openssl.pair(&["root"], "root")).await;
    let (_, data) = world.ready("web").await;
    openssl.verifies(&data, "www.example.com");
}
