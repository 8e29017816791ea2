#![allow(clippy::unwrap_used)]
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{Name as WireName, RData};

use super::*;
use crate::dns::wire::{wire_data, wire_type};
use crate::dns::{Data, RecordType};

fn wire(name: &str, ttl: u32, data: RData) -> Record {
    let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    Record::from_rdata(WireName::from_labels(labels).unwrap(), ttl, data)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[test]
fn each_type_goes_to_the_wire_and_back() {
    for (kind, text) in [
        (RecordType::A, "192.0.2.1"),
        (RecordType::Aaaa, "2001:db8::1"),
        (RecordType::Cname, "_a.example."),
        (RecordType::Ns, "ns.example."),
        (RecordType::Ptr, "xn--bcher-kva.example."),
        (RecordType::Mx, "0 ."),
        (RecordType::Mx, "10 mail.example."),
        (RecordType::Srv, "1 2 3 host.example."),
        (RecordType::Txt, r#""""#),
        (RecordType::Txt, r#""\000\255 \"""#),
        (RecordType::Caa, r#"0 issue ";""#),
        (RecordType::Caa, r#"128 issuewild """#),
        (RecordType::Caa, r#"1 odd "x""#),
    ] {
        let value = Data::presented(kind, text).unwrap();
        let there = wire_data(&value).unwrap();
        assert_eq!(there.record_type(), wire_type(kind));
        assert_eq!(data(&there).unwrap().unwrap(), value, "{text}");
    }
    let long = Data::Txt(vec![b'x'; 4000]);
    assert_eq!(data(&wire_data(&long).unwrap()).unwrap().unwrap(), long);
}

#[test]
fn what_no_set_can_hold_is_told_apart() {
    let address = |text: &str| wire_data(&Data::presented(RecordType::A, text).unwrap()).unwrap();
    let text = |text: &[u8]| wire_data(&Data::Txt(text.to_vec())).unwrap();
    let unknown = RData::Unknown { code: WireType::Unknown(65280), rdata: NULL::with(vec![1]) };
    let contents = contents(vec![
        wire("Example.test.", 60, address("192.0.2.2")),
        wire("example.test.", 60, address("192.0.2.1")),
        wire("example.test.", 60, text(b"x")),
        wire("mixed.example.test.", 60, address("192.0.2.1")),
        wire("mixed.example.test.", 61, address("192.0.2.2")),
        wire("a b.example.test.", 60, address("192.0.2.1")),
        wire("odd.example.test.", 60, unknown),
    ]);
    let owners: Vec<_> = contents.sets.iter().map(|s| (s.set.owner().to_string(), s.set.values().len())).collect();
    assert_eq!(owners, [("example.test".to_owned(), 2), ("example.test".to_owned(), 1)]);
    assert!(contents.find(&name("example.test"), RecordType::Txt).is_some());
    assert!(contents.others.iter().any(|o| o.name == "a\\032b.example.test."), "{:?}", contents.others);
    let mut why: Vec<_> = contents.others.iter().map(|o| o.why.as_str()).collect();
    why.sort_unstable();
    assert_eq!(why.len(), 3);
    assert!(why.iter().any(|w| w.contains("TTL")) && why.contains(&"its type is none of ours"), "{why:?}");
}
