//! The table, written to a real server and read back.

use landfall::dns::{Name, RecordSet, Zone};
use landfall::providers::{Algorithm, Dns};

use crate::pdns::powerdns;
use crate::table::accepted;
use crate::world::{change, knot, knot_with, pass, turn, zone};

fn wanted(zone: &Zone) -> Vec<RecordSet> {
    let set = |case: &crate::table::Case| {
        let owner = Name::relative(&case.owner, &zone.name).unwrap();
        RecordSet::from_spec(owner, case.kind, case.ttl, &case.values).unwrap()
    };
    accepted().iter().map(set).collect()
}

/// Writes the table, reads it back the same, writes nothing more, changes each set in place, and takes all away.
async fn round_trip(dns: &impl Dns, zone: &Zone) {
    let wanted = wanted(zone);
    pass(dns, zone, &wanted).await;
    let serial = dns.serial(zone).await.unwrap();
    assert!(serial.is_some());
    let back = dns.read(zone, None).await.unwrap();
    for set in &wanted {
        let found = back.find(set.owner(), set.kind());
        assert_eq!(found.map(|s| &s.set), Some(set), "{} {}", set.owner(), set.kind());
        assert_eq!(found.map(|s| s.set.digest()), Some(set.digest()));
    }
    assert_eq!(pass(dns, zone, &wanted).await, 0, "a second pass has nothing to write");
    assert_eq!(dns.serial(zone).await.unwrap(), serial);

    let longer: Vec<RecordSet> = wanted.iter().map(|set| set.clone().with_ttl(set.ttl() + 1)).collect();
    assert_eq!(pass(dns, zone, &longer).await, wanted.len(), "a TTL is changed in place");
    assert_eq!(pass(dns, zone, &longer).await, 0);
    assert_ne!(dns.serial(zone).await.unwrap(), serial);

    let gone: Vec<_> = longer.into_iter().map(|set| change(Some(set), None)).collect();
    let outcomes = dns.apply(zone, &gone).await;
    assert!(outcomes.iter().all(|o| *o == landfall::providers::Outcome::Applied), "{outcomes:?}");
    let left = dns.read(zone, None).await.unwrap();
    for set in &wanted {
        assert_eq!(left.find(set.owner(), set.kind()), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_set_of_the_table_goes_through_powerdns() {
    let _turn = turn().await;
    let dns = powerdns();
    let zone = zone(&dns, "PDNS_ZONE").await;
    round_trip(&dns, &zone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_set_of_the_table_goes_through_knot() {
    let _turn = turn().await;
    let dns = knot();
    let zone = zone(&dns, "KNOT_ZONE").await;
    round_trip(&dns, &zone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hmac_sha512_signs_as_well() {
    let _turn = turn().await;
    let dns = knot_with("KNOT_LONG_KEY", Algorithm::HmacSha512);
    let zone = zone(&dns, "KNOT_ZONE").await;
    let owner = Name::relative("www.long", &zone.name).unwrap();
    let set = RecordSet::from_spec(owner, landfall::dns::RecordType::A, 60, &["192.0.2.1".into()]).unwrap();
    pass(&dns, &zone, std::slice::from_ref(&set)).await;
    assert_eq!(pass(&dns, &zone, &[set]).await, 0);
}
