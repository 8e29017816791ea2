//! Keys of TSIG, proved by a real Knot.

use landfall::access::{SecretBytes, SecretText};
use landfall::api::{CloudCredentialSpec, Reason};
use landfall::dns::{Name, RecordSet, RecordType, Zone};
use landfall::installation::Installation;
use landfall::providers::{Algorithm, Change, Contents, Dns, Http, Outcome, ProbeResult, Provider, Rfc2136};
use serde_json::{Value, json};

use crate::harness::env;
use crate::world::{PLENTY, SOON, World, message, rfc2136_spec};

async fn ask(spec: Value, secret: &str) -> landfall::Result<ProbeResult> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let installation: Installation =
        serde_json::from_value(json!({"encryption": {"current": "a", "keys": {}}})).unwrap();
    let http = Http::new(&installation).unwrap();
    let spec: CloudCredentialSpec = serde_json::from_value(spec).unwrap();
    let provider = Provider::of(&spec).unwrap();
    let base = provider.endpoint().1.parse().unwrap();
    let secret = SecretBytes::new("knot", "1", [("tsig_secret".to_owned(), secret.as_bytes().to_vec())]);
    provider.probe(&http, &base, &secret, jiff::Timestamp::now()).await
}

fn knot() -> (Rfc2136, Zone) {
    let secret = SecretText::new(env("KNOT_KEY_SECRET"));
    let server = env("KNOT_DNS").parse().unwrap();
    let name = Name::parse(&env("KNOT_ZONE")).unwrap();
    let dns = Rfc2136::new(server, &env("KNOT_KEY_NAME"), Algorithm::HmacSha256, &secret, vec![name.clone()]).unwrap();
    (dns, Zone { id: name.to_string(), name })
}

/// Held by who counts on what stands in the zone, or changes it.
static ZONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The serial and all that stands in the zone.
async fn standing() -> (Option<u32>, Contents) {
    let (dns, zone) = knot();
    (dns.serial(&zone).await.unwrap(), dns.read(&zone, None).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_may_not_do_is_told_apart_and_no_probe_changes_anything() {
    let (good, long) = (env("KNOT_KEY_SECRET"), env("KNOT_LONG_KEY_SECRET"));
    let zone = env("KNOT_ZONE");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let key = |more: Value| rfc2136_spec("knot", "KNOT_KEY", more);
    let two = json!({"zones": [zone, "elsewhere.example"]});
    let _alone = ZONE.lock().await;
    let before = standing().await;
    use Reason::{InsufficientPermissions, InvalidCredentials, ProviderUnavailable, Valid};
    for (spec, secret, expected, says) in [
        (key(json!({})), &good, Valid, ""),
        (rfc2136_spec("knot", "KNOT_LONG_KEY", json!({"tsigAlgorithm": "hmac-sha512"})), &long, Valid, ""),
        (key(json!({})), &long, InvalidCredentials, "BADSIG"),
        (key(json!({"tsigKeyName": "unknown"})), &good, InvalidCredentials, "BADKEY"),
        (key(json!({"tsigAlgorithm": "hmac-sha512"})), &good, InvalidCredentials, "BADKEY"),
        (
            rfc2136_spec("knot", "KNOT_READER_KEY", json!({})),
            &env("KNOT_READER_KEY_SECRET"),
            InsufficientPermissions,
            "may not update the zone knot.test",
        ),
        (key(two), &good, InsufficientPermissions, "elsewhere.example"),
        (key(json!({"server": closed})), &good, ProviderUnavailable, "no connection"),
    ] {
        let result = ask(spec.clone(), secret).await.unwrap();
        assert_eq!(result.reason(), expected, "{spec}: {result:?}");
        let text = format!("{result:?}");
        assert!(text.contains(says) && !text.contains(secret.as_str()), "{text}");
    }
    assert_eq!(standing().await, before);
    for (spec, secret, says) in [
        (key(json!({})), "not base64!", "not base64"),
        (key(json!({"zones": ["a/b.example"]})), good.as_str(), "spec.rfc2136.zones[0]"),
    ] {
        let error = ask(spec, secret).await.unwrap_err();
        assert_eq!(error.reason(), InvalidCredentials);
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// The probe's own name is nobody's, but somebody may have put something there.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_at_the_name_of_the_probe_stays() {
    let _alone = ZONE.lock().await;
    let (dns, zone) = knot();
    let owner = Name::parse(&format!("_landfall-probe.{}", zone.name)).unwrap();
    let set = RecordSet::from_spec(owner.clone(), RecordType::Txt, 60, &["mine".to_owned()]).unwrap();
    let put = Change::new(None, Some(set.clone()), None).unwrap();
    assert_eq!(dns.apply(&zone, &[put]).await, [Outcome::Applied]);
    let result = ask(rfc2136_spec("knot", "KNOT_KEY", json!({})), &env("KNOT_KEY_SECRET")).await.unwrap();
    let stands = dns.read(&zone, Some(&owner)).await.unwrap();
    let gone = dns.apply(&zone, &[Change::new(Some(set), None, None).unwrap()]).await;
    assert_eq!((result.reason(), stands.sets.len(), gone), (Reason::Valid, 1, vec![Outcome::Applied]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tsig_key_is_proved_with_its_zones_and_its_server_must_be_permitted() {
    let world = World::new().await;
    let secret = env("KNOT_KEY_SECRET");
    world.secret("knot", json!({"tsig_secret": secret})).await;
    world.credential("knot", rfc2136_spec("knot", "KNOT_KEY", json!({}))).await;
    let object = world.valid("knot", PLENTY, "True", "Valid").await;
    assert!(!serde_json::to_string(&object).unwrap().contains(&secret));
    let status = object.status.unwrap();
    assert_eq!(status.capabilities, ["terraform", "dns"]);
    assert_eq!(json!(status.zones), json!([{"id": env("KNOT_ZONE"), "name": env("KNOT_ZONE")}]));
    let principal = status.identity.unwrap().principal.unwrap();
    assert_eq!(principal, format!("{} at {}", env("KNOT_KEY_NAME"), env("KNOT_DNS")));

    world.patch("knot", json!({"spec": {"rfc2136": {"server": "127.0.0.1:1"}}})).await;
    let object = world.valid("knot", SOON, "False", "EndpointNotAllowed").await;
    let text = message(&object, "Valid");
    assert!(text.starts_with("spec.rfc2136.server: dns://127.0.0.1:1 ") && text.contains("allowedEndpoints"), "{text}");
    world.patch("knot", json!({"spec": {"rfc2136": {"server": env("KNOT_DNS"), "tsigKeyName": "unknown"}}})).await;
    world.valid("knot", SOON, "False", "InvalidCredentials").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zones_of_powerdns_stand_in_the_status() {
    let world = World::new().await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    let zones = world.valid("pdns", PLENTY, "True", "Valid").await.status.unwrap().zones;
    assert!(zones.iter().any(|z| z.name == env("PDNS_ZONE")), "{zones:?}");
}
