#![allow(clippy::unwrap_used)]
use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn zones(of: &[(&str, &str)]) -> Vec<Zone> {
    of.iter().map(|(id, zone)| Zone { id: (*id).to_owned(), name: name(zone) }).collect()
}

fn ids(which: Which) -> String {
    match which {
        Which::One(zone) => zone.id.clone(),
        Which::None => "none".into(),
        Which::Several(zones) => zones.iter().map(|z| z.id.as_str()).collect::<Vec<_>>().join("+"),
    }
}

#[test]
fn the_longest_zone_by_whole_labels_has_a_name() {
    let zones = zones(&[
        ("e", "example.com"),
        ("d", "dev.example.com"),
        ("uk", "co.uk"),
        ("pub", "split.example"),
        ("priv", "split.example"),
        ("b", "bücher.example"),
        ("rev", "2.0.192.in-addr.arpa"),
    ]);
    for (text, id, answer) in [
        ("example.com", None, "e"),
        ("www.example.com", None, "e"),
        ("*.example.com", None, "e"),
        ("dev.example.com", None, "d"),
        ("x.dev.example.com", None, "d"),
        ("*.dev.example.com", None, "d"),
        ("xdev.example.com", None, "e"),
        ("evilexample.com", None, "none"),
        ("example.com.evil", None, "none"),
        ("com", None, "none"),
        ("x.co.uk", None, "uk"),
        ("www.bücher.example", None, "b"),
        ("7.2.0.192.in-addr.arpa", None, "rev"),
        ("17.12.0.192.in-addr.arpa", None, "none"),
        ("a.split.example", None, "pub+priv"),
        ("a.split.example", Some("priv"), "priv"),
        ("x.dev.example.com", Some("e"), "e"),
        ("x.dev.example.com", Some("uk"), "none"),
        ("x.dev.example.com", Some("gone"), "none"),
    ] {
        assert_eq!(ids(zone_of(&name(text), &zones, id)), answer, "{text} {id:?}");
    }
    assert_eq!(ids(zone_of(&name("a"), &[], None)), "none");
}

#[test]
fn what_lies_below_a_cut_is_not_the_zones_to_answer() {
    let zone = name("example.com");
    let cuts = ["example.com", "child.example.com", "deep.child.example.com", "other.net"].map(name);
    for (text, cut) in [
        ("www.example.com", None),
        ("example.com", None),
        ("child.example.com", Some("child.example.com")),
        ("x.child.example.com", Some("child.example.com")),
        ("x.deep.child.example.com", Some("child.example.com")),
        ("evilchild.example.com", None),
        ("*.example.com", None),
        ("*.child.example.com", Some("child.example.com")),
    ] {
        let found = delegation(&name(text), &zone, &cuts);
        assert_eq!(found, cut.map(name).as_ref(), "{text}");
    }
}
