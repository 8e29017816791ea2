#![allow(clippy::unwrap_used)]
use std::time::Instant;

use super::*;
use crate::dns::reserved::is_shared;
use crate::providers::{Contents, Other, Standing};

fn name(text: &str) -> Name {
    Name::presented(text).unwrap()
}

fn zone() -> Zone {
    Zone { id: "z".into(), name: name("example.com") }
}

fn us(marks: bool) -> Ownership {
    Ownership::new("0198c7a2-5d3e-7b10-8f00-0123456789ab".parse().unwrap(), marks)
}

fn txt(owner: &str, values: &[&str]) -> Standing {
    let records = values.iter().map(|v| (60, Data::Txt(v.as_bytes().to_vec()))).collect();
    Standing { set: RecordSet::gathered(name(owner), RecordType::Txt, records).unwrap(), markers: vec![] }
}

fn address(owner: &str, markers: &[&str]) -> Standing {
    let records = vec![(60, Data::A([192, 0, 2, 1].into()))];
    let markers = markers.iter().map(|m| (*m).to_owned()).collect();
    Standing { set: RecordSet::gathered(name(owner), RecordType::A, records).unwrap(), markers }
}

fn whose(marks: bool, sets: Vec<Standing>, others: Vec<Other>) -> Whose {
    let snapshot = Snapshot::new(Contents { sets, others }, None, Instant::now());
    us(marks).whose(&zone(), &snapshot, &name("www.example.com"), RecordType::A)
}

#[test]
fn a_marker_has_room_at_every_provider_and_tells_clusters_apart() {
    let marker = us(true).marker().unwrap();
    assert_eq!(marker, "landfall:0198c7a25d3e7b108f000123456789a");
    assert_eq!(marker.len(), 40);
    assert_eq!(us(false).marker(), None);
}

#[test]
fn whose_a_set_is_by_marker() {
    let ours = us(true).marker().unwrap();
    let told = |markers: &[&str]| whose(true, vec![address("www.example.com", markers)], vec![]);
    assert_eq!(whose(true, vec![], vec![]), Whose::Nobody);
    assert_eq!(told(&[]), Whose::Nobody);
    assert_eq!(told(&["ada"]), Whose::Nobody, "what a person notes claims nothing");
    assert_eq!(told(&["ada", &ours]), Whose::Ours);
    assert!(matches!(told(&["landfall:ffff"]), Whose::Another(who) if who.contains("landfall:ffff")));
    // An entry of a registry is nothing where there are markers.
    let entry = us(false).entry(&zone(), &name("www.example.com"), RecordType::A).unwrap();
    let entry = Standing { set: entry, markers: vec![] };
    assert_eq!(whose(true, vec![address("www.example.com", &[]), entry], vec![]), Whose::Nobody);
}

#[test]
fn whose_a_set_is_by_registry() {
    let own = "heritage=landfall,cluster=0198c7a2-5d3e-7b10-8f00-0123456789ab";
    let at = "www._landfall-a.example.com";
    let told =
        |owner: &str, values: &[&str]| whose(false, vec![address("www.example.com", &[]), txt(owner, values)], vec![]);
    assert_eq!(told(at, &[own]), Whose::Ours);
    assert_eq!(whose(false, vec![txt(at, &[own])], vec![]), Whose::Ours, "the note stays when the set is taken away");
    assert_eq!(told("www._landfall-aaaa.example.com", &[own]), Whose::Nobody, "each type by itself");
    assert_eq!(told("www.dev._landfall-a.example.com", &[own]), Whose::Nobody);
    assert_eq!(told("www.example.com", &["anything"]), Whose::Nobody, "a text at the name itself claims nothing");
    for other in [&["heritage=landfall,cluster=other"][..], &["x"], &[own, "x"]] {
        assert!(matches!(told(at, other), Whose::Another(who) if who.contains(at)), "{other:?}");
    }
}

#[test]
fn what_external_dns_has_in_its_registry_is_its_own() {
    let text = "heritage=external-dns,external-dns/owner=shop,external-dns/resource=ingress/shop/web";
    for marks in [true, false] {
        let told = |owner: &str, text: &str| whose(marks, vec![txt(owner, &[text])], vec![]);
        for owner in ["www.example.com", "a-www.example.com"] {
            let quoted = format!("\"{text}\"");
            for text in [text, &quoted] {
                assert!(matches!(told(owner, text), Whose::Another(who) if who.contains("owner=shop")), "{owner}");
            }
            assert_eq!(told(owner, "v=spf1 -all"), Whose::Nobody);
        }
        for owner in ["aaaa-www.example.com", "a-api.example.com", "x.www.example.com"] {
            assert_eq!(told(owner, text), Whose::Nobody, "{owner} is of another set");
        }
    }
}

#[test]
fn what_cannot_be_read_is_nobody_s_to_take() {
    let odd = |kind: &str| Other { name: "www.example.com.".into(), kind: kind.into(), why: "a record is off".into() };
    for marks in [true, false] {
        assert!(matches!(whose(marks, vec![], vec![odd("A")]), Whose::Another(who) if who.contains("a record is off")));
        assert_eq!(whose(marks, vec![], vec![odd("SSHFP")]), Whose::Nobody);
    }
}

#[test]
fn names_of_the_registry_are_their_own_and_have_room_or_are_refused() {
    let entry = |owner: &str, kind| us(false).entry(&zone(), &name(owner), kind).map(|set| set.owner().to_string());
    for (owner, kind, wanted) in [
        ("www.example.com", RecordType::A, "www._landfall-a.example.com"),
        ("a.b.example.com", RecordType::Cname, "a.b._landfall-cname.example.com"),
        ("example.com", RecordType::Txt, "_landfall-txt.example.com"),
        ("*.example.com", RecordType::A, "_wildcard._landfall-a.example.com"),
        ("*.dev.example.com", RecordType::A, "_wildcard.dev._landfall-a.example.com"),
    ] {
        assert_eq!(entry(owner, kind).unwrap(), wanted);
        assert!(is_reserved(&name(wanted)) && !is_reserved(&name(owner)), "{owner}");
    }
    assert!(!is_reserved(&name("_landfall-challenge.example.com")));
    assert!(entry("_wildcard.example.com", RecordType::A).unwrap_err().contains("_wildcard"));
    let long = format!("{0}.{0}.{0}.{1}.example.com", "a".repeat(63), "b".repeat(48));
    assert!(entry(&long, RecordType::A).unwrap_err().contains("too long"));
    assert!(entry("www.example.org", RecordType::A).is_err());
}

#[test]
fn only_texts_at_names_of_challenges_are_shared() {
    for owner in ["_acme-challenge.example.com", "_landfall-challenge.a.example.com"] {
        assert!(is_shared(&name(owner), RecordType::Txt), "{owner}");
        assert!(!is_shared(&name(owner), RecordType::Cname), "{owner}");
    }
    for owner in ["a._acme-challenge.example.com", "_acme-challengex.example.com", "example.com"] {
        assert!(!is_shared(&name(owner), RecordType::Txt), "{owner}");
    }
}
