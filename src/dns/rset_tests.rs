#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::super::rdata::tests::any_data;
use super::*;

#[path = "../../tests/dns/table.rs"]
mod table;

fn zone() -> Name {
    Name::parse("example.test").unwrap()
}

fn set(owner: &str, kind: RecordType, ttl: u32, values: &[&str]) -> Result<RecordSet, Invalid> {
    let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
    RecordSet::from_spec(Name::relative(owner, &zone())?, kind, ttl, &values)
}

fn refusal(owner: &str, kind: RecordType, ttl: u32, values: &[&str]) -> String {
    set(owner, kind, ttl, values).map(|s| format!("{s:?}")).unwrap_err().to_string()
}

#[test]
fn each_set_of_the_table_is_taken_and_comes_back_as_it_went() {
    let cases = table::accepted();
    assert!(cases.len() >= 120, "{}", cases.len());
    let mut digests = std::collections::BTreeSet::new();
    for case in &cases {
        let owner = Name::relative(&case.owner, &zone()).unwrap();
        let set = RecordSet::from_spec(owner.clone(), case.kind, case.ttl, &case.values).unwrap();
        set.check_zone(&zone()).unwrap();
        let present: Vec<String> = set.values().iter().map(Data::present).collect();
        assert_eq!(present, case.present, "{}", case.owner);
        let records = present.iter().rev().map(|v| (case.ttl, Data::presented(case.kind, v).unwrap())).collect();
        let back = RecordSet::gathered(Name::presented(&owner.absolute()).unwrap(), case.kind, records).unwrap();
        assert_eq!(back, set);
        assert_eq!(back.digest(), set.digest());
        assert!(digests.insert(set.digest()), "{} has the digest of another", case.owner);
        let shown: Vec<String> = set.values().iter().map(Data::to_spec).collect();
        assert_eq!(RecordSet::from_spec(owner, case.kind, case.ttl, &shown).unwrap(), set);
    }
}

#[test]
fn rules_of_the_whole_set_are_kept() {
    use RecordType::{A, Caa, Cname, Mx, Ns, Srv, Txt};
    let ten = "192.0.2.1";
    for (told, word) in [
        (refusal("a", A, 0, &[ten]), "spec.ttl: 0 is not within 1 to 86400"),
        (refusal("a", A, 86_401, &[ten]), "spec.ttl: 86401"),
        (refusal("a", A, 60, &[]), "spec.values: a set has 1 to 100 values; here are 0"),
        (refusal("a", A, 60, &[ten; 101]), "here are 101"),
        (refusal("a", A, 60, &[ten, "192.0.2.2", ten]), "spec.values[2]: is the same as spec.values[0]"),
        (refusal("a", Mx, 60, &["10 a.example.", "10 A.EXAMPLE."]), "spec.values[1]: is the same"),
        (refusal("a", Caa, 60, &["0 issue a.example", "0 issue \"a.example\""]), "spec.values[1]: is the same"),
        (refusal("a", A, 60, &[ten, "x"]), "spec.values[1]: \"x\" is not an IPv4 address"),
        (refusal("a", Cname, 60, &["a.example.", "b.example."]), "spec.values: a CNAME has one value"),
        (refusal("a", Cname, 60, &["a.example.test."]), "spec.values: a CNAME may not lead to itself"),
        (refusal("a", Mx, 60, &["0 .", "10 a.example."]), "spec.values: \".\""),
        (refusal("a", Srv, 60, &["0 0 0 .", "1 1 1 a.example."]), "spec.values: \".\""),
        (refusal("*", Ns, 60, &["a.example."]), "spec.values: NS may not stand at a wildcard"),
        (refusal("a", Txt, 60, &[&"x".repeat(4097)]), "spec.values[0]: has more than 4096 characters"),
        (
            refusal("a", Mx, 60, &["10 mail"]),
            "spec.values[0]: MX exchange: \"mail\" is not absolute; end it with a dot",
        ),
    ] {
        assert!(told.contains(word), "{told}");
    }
    let large: Vec<String> = (0..20).map(|n| format!("{n:04}{}", "x".repeat(4000))).collect();
    let large: Vec<&str> = large.iter().map(String::as_str).collect();
    assert!(refusal("a", Txt, 60, &large).contains("fit into no DNS answer"));
    assert!(set("a", Txt, 60, large.get(..14).unwrap()).is_ok());
    assert!(set("a", Txt, 60, &[&"ü".repeat(4096)]).is_ok(), "characters, not bytes");
}

#[test]
fn the_zones_own_name_has_no_alias_and_no_name_servers_of_ours() {
    use RecordType::{A, Caa, Cname, Mx, Ns, Txt};
    for (owner, kind, value, fits) in [
        ("@", A, "192.0.2.1", true),
        ("@", Mx, "10 a.example.", true),
        ("@", Txt, "x", true),
        ("@", Caa, "0 issue a.example", true),
        ("@", Cname, "a.example.", false),
        ("@", Ns, "a.example.", false),
        ("sub", Cname, "a.example.", true),
        ("sub", Ns, "a.example.", true),
        ("*", Cname, "a.example.", true),
    ] {
        let set = set(owner, kind, 60, &[value]).unwrap();
        assert_eq!(set.check_zone(&zone()).is_ok(), fits, "{owner} {kind}");
        assert!(set.check_zone(&Name::parse("test").unwrap()).is_ok());
        assert!(set.check_zone(&Name::parse("ample.test").unwrap()).is_err());
    }
}

#[test]
fn a_difference_in_a_later_value_is_seen() {
    // Who compares in pairs and stops where texts differ but addresses do not, misses the second.
    let one = set("a", RecordType::Aaaa, 60, &["2001:db8:0:0::1", "2001:db8::2"]).unwrap();
    let other = set("a", RecordType::Aaaa, 60, &["2001:db8::1", "2001:db8::3"]).unwrap();
    assert_ne!(one, other);
    assert_ne!(one.digest(), other.digest());
    let turned = set("a", RecordType::Aaaa, 60, &["2001:db8::2", "2001:db8::1"]).unwrap();
    assert_eq!((&one, one.digest()), (&turned, turned.digest()));
    let ttl = turned.with_ttl(61);
    assert_ne!(one, ttl);
    assert_ne!(one.digest(), ttl.digest());
}

#[test]
fn a_digest_stays_what_it_is() {
    let set = set("www", RecordType::A, 300, &["192.0.2.2", "192.0.2.1"]).unwrap();
    assert_eq!(set.digest(), "sha256:dda36a1e195d0de884cacc79321a903efba18ab8a44f191cb5195d9bb3a0fe89");
}

#[test]
fn what_a_provider_has_is_gathered_into_one_set() {
    let data = |text: &str| Data::presented(RecordType::A, text).unwrap();
    let gather = |records| RecordSet::gathered(zone(), RecordType::A, records);
    let set = gather(vec![(60, data("192.0.2.2")), (60, data("192.0.2.1")), (60, data("192.0.2.2"))]).unwrap();
    assert_eq!(set.values(), [data("192.0.2.1"), data("192.0.2.2")]);
    assert!(gather(vec![]).unwrap_err().to_string().contains("no value"));
    assert!(gather(vec![(60, data("192.0.2.1")), (61, data("192.0.2.2"))]).unwrap_err().to_string().contains("TTL"));
    assert!(gather(vec![(60, Data::Txt(vec![]))]).unwrap_err().to_string().contains("type"));
}

proptest! {
    #[test]
    fn order_and_doubles_change_nothing(data in any_data(), seed in proptest::collection::vec(any_data(), 0..6)) {
        let all: Vec<Data> = seed.into_iter().filter(|d| d.kind() == data.kind()).chain([data.clone()]).collect();
        let gather = |values: Vec<Data>| {
            RecordSet::gathered(zone(), data.kind(), values.into_iter().map(|v| (60, v)).collect()).unwrap()
        };
        let set = gather(all.clone());
        let turned = gather(all.iter().rev().chain(&all).cloned().collect());
        prop_assert_eq!(&set, &turned);
        prop_assert_eq!(set.digest(), turned.digest());
        prop_assert_eq!(gather(set.values().to_vec()), set);
    }
}
