//! What a provider refuses is told in its own words, and keeps nothing else from being made.

use std::sync::atomic::Ordering;

use landfall::access::SecretText;
use landfall::api::Reason;
use landfall::dns::{RecordType, Zone};
use landfall::providers::{Algorithm, Change, Dns, Outcome, Rfc2136, Trouble};

use crate::pdns::{counted, powerdns, powerdns_at};
use crate::world::{self, change, clear, env, knot, knot_with, name, set, turn};

/// 199 good changes, and one in their midst for a name that is not in the zone.
fn lot(zone: &Zone, top: &str) -> Vec<Change> {
    let good =
        (0..199).map(|n| change(None, Some(set(&format!("n{n}.{top}.{}", zone.name), RecordType::A, &["192.0.2.1"]))));
    let mut all: Vec<Change> = good.collect();
    all.insert(123, change(None, Some(set("www.elsewhere.example", RecordType::A, &["192.0.2.1"]))));
    all
}

async fn one_bad_set_is_isolated(dns: &impl Dns, zone: &Zone, top: &str, text: &str) {
    clear(dns, zone, &format!("{top}.{}", zone.name)).await;
    let outcomes = dns.apply(zone, &lot(zone, top)).await;
    assert_eq!(outcomes.iter().filter(|o| **o == Outcome::Applied).count(), 199, "{outcomes:?}");
    assert!(matches!(&outcomes[123], Outcome::Rejected(said) if said.contains(text)), "{:?}", outcomes[123]);
    let there = dns.read(zone, None).await.unwrap();
    let top = name(&format!("{top}.{}", zone.name));
    assert_eq!(there.sets.iter().filter(|s| s.set.owner().is_within(&top)).count(), 199);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_sets_one_is_refused_by_powerdns_and_199_are_made() {
    let _turn = turn().await;
    let (base, calls) = counted(&env("PDNS_URL")).await;
    let dns = powerdns_at(&base, &env("PDNS_API_KEY"));
    let zone = world::zone(&dns, "PDNS_ZONE").await;
    one_bad_set_is_isolated(&dns, &zone, "batch", "www.elsewhere.example").await;
    let before = calls.load(Ordering::SeqCst);
    clear(&dns, &zone, &format!("batch.{}", zone.name)).await;
    assert_eq!(calls.load(Ordering::SeqCst) - before, 3, "to clear 199 sets: read, read again at once, write");
    dns.apply(&zone, &lot(&zone, "batch")).await;
    let spent = calls.load(Ordering::SeqCst) - before - 3;
    assert!(spent <= 20, "{spent}");
    clear(&dns, &zone, &format!("batch.{}", zone.name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_sets_one_is_refused_by_knot_and_199_are_made() {
    let _turn = turn().await;
    let dns = knot();
    let zone = world::zone(&dns, "KNOT_ZONE").await;
    one_bad_set_is_isolated(&dns, &zone, "batch", "NOTZONE").await;
    clear(&dns, &zone, &format!("batch.{}", zone.name)).await;
}

async fn trouble(dns: &impl Dns, zone: &Zone) -> Trouble {
    let wanted = set(&format!("never.{}", zone.name), RecordType::A, &["192.0.2.1"]);
    match dns.apply(zone, &[change(None, Some(wanted))]).await.remove(0) {
        Outcome::Unsettled(trouble) => trouble,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_key_of_tsig_is_told_apart() {
    let _turn = turn().await;
    let zone = world::zone(&knot(), "KNOT_ZONE").await;
    let with = |key: &str, secret: &str, algorithm: Algorithm| {
        let secret = SecretText::new(env(secret));
        Rfc2136::new(env("KNOT_DNS").parse().unwrap(), key, algorithm, &secret, vec![]).unwrap()
    };
    let (sha256, sha512) = (Algorithm::HmacSha256, Algorithm::HmacSha512);
    for (dns, word) in [
        (with("landfall", "KNOT_LONG_KEY_SECRET", sha256), "BADSIG"),
        (with("unknown", "KNOT_KEY_SECRET", sha256), "BADKEY"),
        (with("landfall", "KNOT_KEY_SECRET", sha512), "BADKEY"),
        (knot_with("KNOT_READER_KEY", sha256), "BADKEY"),
    ] {
        let told = trouble(&dns, &zone).await;
        // Nobody signed the refusal, so it vouches for nothing.
        assert_eq!((told.reason, told.may_have_landed), (Reason::InvalidCredentials, true), "{told:?}");
        assert!(told.message.contains(word), "{told:?}");
    }
    assert!(knot_with("KNOT_READER_KEY", sha256).read(&zone, None).await.is_ok(), "a reader may read");
    let elsewhere = Zone { id: "x".into(), name: name("elsewhere.example") };
    for (told, open) in [
        (trouble(&knot(), &elsewhere).await, true),
        (knot().read(&elsewhere, None).await.unwrap_err(), false),
        (knot().serial(&elsewhere).await.unwrap_err(), false),
    ] {
        assert_eq!((told.reason, told.may_have_landed), (Reason::InsufficientPermissions, open), "{told:?}");
        assert!(told.message.contains("NOTAUTH") || told.message.contains("REFUSED"), "{told:?}");
    }
}

#[test]
fn a_secret_that_is_none_is_refused_without_a_call() {
    for (key, secret) in [("landfall", "not base64!"), ("landfall", ""), ("", "aGVsbG8="), ("a b", "aGVsbG8=")] {
        let server = "127.0.0.1:1".parse().unwrap();
        let error = Rfc2136::new(server, key, Algorithm::HmacSha256, &SecretText::new(secret), vec![]).err().unwrap();
        assert_eq!(error.reason(), Reason::InvalidCredentials);
        assert!(secret.is_empty() || !error.to_string().contains(secret), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_powerdns_is_told() {
    let _turn = turn().await;
    let zone = world::zone(&powerdns(), "PDNS_ZONE").await;
    let wrong = powerdns_at(&env("PDNS_URL"), "another-key");
    let told = trouble(&wrong, &zone).await;
    assert_eq!((told.reason, told.may_have_landed), (Reason::InvalidCredentials, false), "{told:?}");
    assert_eq!(wrong.zones().await.unwrap_err().reason, Reason::InvalidCredentials);
    let elsewhere = Zone { id: "elsewhere.example.".into(), name: name("elsewhere.example") };
    assert!(powerdns().read(&elsewhere, None).await.is_err());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = trouble(&powerdns_at(&format!("http://{closed}"), "key"), &zone).await;
    assert_eq!((told.reason, told.may_have_landed), (Reason::ProviderUnavailable, false), "{told:?}");
}
