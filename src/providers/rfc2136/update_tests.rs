#![allow(clippy::unwrap_used)]
use super::*;
use crate::providers::lots::lots;

fn set(owner: &str, kind: RecordType, values: &[&str]) -> RecordSet {
    let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
    RecordSet::from_spec(Name::parse(owner).unwrap(), kind, 60, &values).unwrap()
}

fn create(set: RecordSet) -> Change {
    Change::new(None, Some(set), None).unwrap()
}

fn delete(set: RecordSet) -> Change {
    Change::new(Some(set), None, None).unwrap()
}

/// Class, type and TTL of each record of the two sections.
fn told(changes: &[Change]) -> (Vec<String>, Vec<String>) {
    let lot: Vec<(usize, &Change)> = changes.iter().enumerate().collect();
    let message = message(&Name::parse("example.test").unwrap(), &lot, &Spelled::new()).unwrap();
    let tell = |records: &[Record]| {
        records.iter().map(|r| format!("{} {} {}", r.dns_class, r.record_type(), r.ttl)).collect::<Vec<_>>()
    };
    (tell(&message.answers), tell(&message.authorities))
}

fn lines(text: &[&str]) -> Vec<String> {
    text.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn each_change_is_a_compare_and_swap() {
    use RecordType::{A, Cname};
    let one = set("a.example.test", A, &["192.0.2.1"]);
    let two = set("a.example.test", A, &["192.0.2.2", "192.0.2.3"]);
    let alias = set("a.example.test", Cname, &["b.example."]);
    let (conditions, updates) = told(&[create(two.clone())]);
    assert_eq!(conditions, lines(&["NONE A 0", "NONE CNAME 0"]));
    assert_eq!(updates, lines(&["IN A 60", "IN A 60"]));
    let (conditions, updates) = told(&[Change::new(Some(two.clone()), Some(one.clone()), None).unwrap()]);
    assert_eq!(conditions, lines(&["IN A 0", "IN A 0"]));
    assert_eq!(updates, lines(&["ANY A 0", "IN A 60"]));
    let (conditions, updates) = told(&[delete(one.clone())]);
    assert_eq!((conditions, updates), (lines(&["IN A 0"]), lines(&["ANY A 0"])));
    let (conditions, _) = told(&[create(alias.clone())]);
    assert_eq!(conditions, lines(&["NONE ANY 0"]));
    let (conditions, updates) = told(&[create(alias.clone()), delete(one.clone())]);
    assert!(!conditions.contains(&"NONE A 0".to_owned()) && conditions.contains(&"NONE CNAME 0".to_owned()));
    assert!(conditions.contains(&"NONE TXT 0".to_owned()), "what is not in the lot may not be there");
    assert_eq!(updates, lines(&["ANY A 0", "IN CNAME 60"]), "what goes, goes first");
    let (conditions, updates) = told(&[create(one), delete(alias)]);
    assert_eq!(conditions, lines(&["NONE A 0", "IN CNAME 0"]));
    assert_eq!(updates, lines(&["ANY CNAME 0", "IN A 60"]));
}

#[test]
fn a_lot_fits_into_a_message() {
    let text = "x".repeat(4000);
    let large: Vec<Change> = (0..40)
        .map(|n| {
            let set = set(&format!("n{n}.example.test"), RecordType::Txt, &[&text]);
            Change::new(Some(set.clone()), Some(set.with_ttl(61)), None).unwrap()
        })
        .collect();
    for lot in lots(&large, super::super::LOT, super::super::LOT_OCTETS) {
        let lot: Vec<(usize, &Change)> = lot.iter().map(|n| (*n, large.get(*n).unwrap())).collect();
        let bytes = message(&Name::parse("example.test").unwrap(), &lot, &Spelled::new()).unwrap().to_vec().unwrap();
        assert!((8_000..65_000).contains(&bytes.len()), "{}", bytes.len());
    }
}
