use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::harness::wait_until;
use crate::openssl::Openssl;
use crate::world::{PLENTY, World, condition, message};

fn brought(secret: &str, name: &str) -> Value {
    json!({"dnsNames": [name], "issuer": {"imported": {"secretRef": {"name": secret}}}})
}

/// A root, what it signs, and a Secret's data for each wrongness.
fn wrongs(openssl: &Openssl) -> Vec<(&'static str, Value, &'static str, &'static str)> {
    openssl.root("root");
    openssl.root("other");
    openssl.intermediate("middle", "root");
    openssl.leaf("good", "middle", "DNS:www.example.net,DNS:*.example.net", "-days 90");
    openssl.leaf("late", "middle", "DNS:www.example.net", "-days 0");
    openssl.leaf("weak", "root", "DNS:www.example.net", "-days 90 -sha1");
    openssl.key("small", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024");
    openssl.sign("small", "root", "subjectAltName=DNS:www.example.net\n", "-days 90");
    openssl.key("client", "ecparam -name prime256v1 -genkey -noout");
    openssl.sign("client", "root", "subjectAltName=DNS:www.example.net\nextendedKeyUsage=clientAuth\n", "-days 90");
    openssl.key("locked", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:x");
    let mut locked = openssl.pair(&["good"], "good");
    locked["tls.key"] = json!(openssl.read("locked.key"));
    let invalid = "CertificateInvalid";
    vec![
        ("no PEM", json!({"tls.crt": "x", "tls.key": "y"}), invalid, "tls.key: holds no private key"),
        (
            "no certificate",
            json!({"tls.crt": "", "tls.key": openssl.read("good.key")}),
            invalid,
            "tls.crt: holds no certificate",
        ),
        ("another's key", openssl.pair(&["good", "middle"], "late"), "KeyMismatch", "the key is not the certificate's"),
        ("upside down", openssl.pair(&["middle", "good"], "good"), "KeyMismatch", "put that one first"),
        ("another's chain", openssl.pair(&["good", "other"], "good"), invalid, "is not signed by certificate 2"),
        ("a gap", openssl.pair(&["good", "root"], "good"), invalid, "is not signed by certificate 2"),
        ("expired", openssl.pair(&["late", "middle"], "late"), "Expired", "expired at"),
        ("SHA-1", openssl.pair(&["weak", "root"], "weak"), invalid, "MD5 or SHA-1"),
        ("1,024 bits", openssl.pair(&["small", "root"], "small"), invalid, "RSA of 2048 to 4096 bits"),
        ("a client's", openssl.pair(&["client"], "client"), invalid, "serverAuth"),
        ("a passphrase", locked, invalid, "without a passphrase"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrongness_of_a_pair_that_is_brought_is_told_and_nothing_is_written() {
    let (world, openssl) = (World::new().await, Openssl::new());
    world.create("web", brought("theirs", "www.example.net")).await;
    let object = world.until("web", "Ready", "False", "SecretNotFound").await;
    assert!(message(&object, "Ready").contains("create it"));
    for (what, data, reason, words) in wrongs(&openssl) {
        world.secret("theirs", data.clone()).await;
        let told = async || {
            let object = world.get("web").await;
            let ready = condition(&object, "Ready").unwrap();
            ready.status == "False" && ready.reason == reason && ready.message.contains(words)
        };
        wait_until(PLENTY, &format!("{what}: {reason} {words}"), told).await;
        assert_eq!(world.data("theirs").await, data, "{what}");
    }
    world.secret("theirs", openssl.pair(&["good", "middle"], "good")).await;
    world.until("web", "Ready", "True", "Issued").await;
    world.patch("web", json!({"spec": {"dnsNames": ["www.example.net", "example.net"]}})).await;
    let object = world.until("web", "Ready", "False", "NameMismatch").await;
    assert!(message(&object, "Ready").contains("which does not cover example.net"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_brought_is_recorded_and_its_end_is_announced() {
    let (world, openssl) = (World::new().await, Openssl::new());
    openssl.root("root");
    openssl.leaf("good", "root", "DNS:*.example.net", "-days 90");
    let data = openssl.pair(&["good", "root"], "good");
    world.secret("theirs", data.clone()).await;
    // Of no proved domain: it is not Landfall that issues.
    world.create("web", brought("theirs", "www.example.net")).await;
    let object = world.until("web", "Ready", "True", "Issued").await;
    let status = object.status.unwrap();
    assert_eq!(status.renewal_time, None);
    assert!(status.issuer.unwrap().contains("CN=root"));
    let row = "SELECT concat_ws(' ', state, why, terms ->> 'issuer', intent_id) FROM certificates_issued";
    assert_eq!(world.ask(row).await.as_deref(), Some("Issued it stood in the Secret imported"));
    for (days, words) in [(65, "30 days; bring the next one"), (12, "14 days"), (7, "7 days")] {
        world.pass(jiff::SignedDuration::from_hours(24 * days));
        world.wake("theirs").await;
        wait_until(PLENTY, words, async || message(&world.get("web").await, "Ready").contains(words)).await;
        world.until("web", "Ready", "True", "ExpiresSoon").await;
    }
    let events: Api<k8s_openapi::api::events::v1::Event> = world.api();
    let notes = async || {
        let all = events.list(&ListParams::default()).await.unwrap().items;
        all.into_iter().filter(|e| e.reason.as_deref() == Some("ExpiresSoon")).count()
    };
    wait_until(PLENTY, "three notices", async || notes().await == 3).await;
    world.pass(jiff::SignedDuration::from_hours(24 * 8));
    world.wake("theirs").await;
    world.until("web", "Ready", "False", "Expired").await;
    assert_eq!(world.data("theirs").await, data);
    let labels = world.api::<Secret>().get("theirs").await.unwrap().metadata.labels.unwrap_or_default();
    assert!(!labels.contains_key("app.kubernetes.io/managed-by"), "it is nobody's but theirs");
}
