#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::RecordType::{A, Aaaa, Caa, Cname, Mx, Ns, Ptr, Srv, Txt};
use super::*;

/// Values that no spec may have, and a word of the refusal that names part and rule.
const REFUSED: &[(RecordType, &str, &str)] = &[
    (A, "", "IPv4"),
    (A, "192.0.2", "IPv4"),
    (A, "192.0.2.256", "IPv4"),
    (A, "192.0.2.1.", "IPv4"),
    (A, "192.0.2.01", "IPv4"),
    (A, "0xc0.0.2.1", "IPv4"),
    (A, "3221225985", "IPv4"),
    (A, "192.0.2.1/32", "IPv4"),
    (A, "192.0.2.1 192.0.2.2", "IPv4"),
    (A, "192.0.2.1:80", "IPv4"),
    (A, "2001:db8::1", "IPv4"),
    (A, "host.example.", "IPv4"),
    (A, "１92.0.2.1", "IPv4"),
    (Aaaa, "", "IPv6"),
    (Aaaa, "192.0.2.1", "IPv6"),
    (Aaaa, "2001:db8", "IPv6"),
    (Aaaa, "2001:db8:::1", "IPv6"),
    (Aaaa, "2001::db8::1", "IPv6"),
    (Aaaa, "2001:db8::g", "IPv6"),
    (Aaaa, "2001:db8::12345", "IPv6"),
    (Aaaa, "fe80::1%eth0", "IPv6"),
    (Aaaa, "[2001:db8::1]", "IPv6"),
    (Aaaa, "2001:db8::1/64", "IPv6"),
    (Aaaa, "1:2:3:4:5:6:7:8:9", "IPv6"),
    (Cname, "", "CNAME target"),
    (Cname, ".", "root"),
    (Cname, "target", "dot"),
    (Cname, "target.example.com", "dot"),
    (Cname, "a..example.", "empty label"),
    (Cname, "a b.example.", "' '"),
    (Cname, "192.0.2.1", "dot"),
    (Cname, "192.0.2.1.", "address"),
    (Cname, "*.example.", "wildcard"),
    (Cname, "http://example.", "':'"),
    (Cname, "http://example.com/.", "':'"),
    (Cname, "a.example.;", "dot"),
    (Cname, r"a\.b.example.", "'\\\\'"),
    (Ptr, ".", "root"),
    (Ptr, "host", "dot"),
    (Ptr, "192.0.2.1.", "address"),
    (Ns, ".", "root"),
    (Ns, "ns1", "dot"),
    (Ns, "_ns.example.", "host name"),
    (Ns, "192.0.2.1.", "address"),
    (Ns, "ns1.example. ns2.example.", "' '"),
    (Mx, "", "2 parts"),
    (Mx, "mail.example.", "2 parts"),
    (Mx, "10", "2 parts"),
    (Mx, "10 mail.example. x", "2 parts"),
    (Mx, "-1 mail.example.", "MX preference"),
    (Mx, "+1 mail.example.", "MX preference"),
    (Mx, "65536 mail.example.", "MX preference"),
    (Mx, "1e3 mail.example.", "MX preference"),
    (Mx, "ten mail.example.", "MX preference"),
    (Mx, "mail.example. 10", "MX preference"),
    (Mx, "10 mail", "MX exchange"),
    (Mx, "10 mail.example.com", "MX exchange"),
    (Mx, "10 192.0.2.1.", "MX exchange"),
    (Mx, "10 _mail.example.", "MX exchange"),
    (Mx, "10 *.example.", "MX exchange"),
    (Mx, "10 .", "MX preference"),
    (Srv, "", "4 parts"),
    (Srv, "10 5 host.example.", "4 parts"),
    (Srv, "10 5 443 host.example. x", "4 parts"),
    (Srv, "65536 5 443 host.example.", "SRV priority"),
    (Srv, "10 65536 443 host.example.", "SRV weight"),
    (Srv, "10 5 65536 host.example.", "SRV port"),
    (Srv, "10 5 -1 host.example.", "SRV port"),
    (Srv, "10 5 https host.example.", "SRV port"),
    (Srv, "10 5 443 host", "SRV target"),
    (Srv, "10 5 443 _host.example.", "SRV target"),
    (Srv, "10 5 443 192.0.2.1.", "SRV target"),
    (Caa, "", "3 parts"),
    (Caa, "0", "3 parts"),
    (Caa, "0 issue", "3 parts"),
    (Caa, "issue letsencrypt.org", "3 parts"),
    (Caa, "issue 0 letsencrypt.org", "CAA flags"),
    (Caa, "256 issue ca.example", "CAA flags"),
    (Caa, "-1 issue ca.example", "CAA flags"),
    (Caa, "x issue ca.example", "CAA flags"),
    (Caa, "0 is-sue ca.example", "CAA tag"),
    (Caa, "0 isue ca.example", "CAA tag"),
    (Caa, "0 issue \"ca.example", "CAA value"),
    (Caa, "0 issue ca\"example", "CAA value"),
    (Caa, "0 issue not a domain", "no domain"),
    (Caa, "0 issue https://ca.example", "no domain"),
    (Caa, "0 issue ca.example.", "no domain"),
    (Caa, "0 issue _ca.example", "no domain"),
    (Caa, "0 issue bücher.example", "printable"),
    (Caa, "0 iodef admin@example.com", "mailto:"),
    (Txt, "nul\0l", "U+0000"),
];

#[test]
fn what_no_spec_may_say_is_refused_with_part_and_rule() {
    for (kind, value, word) in REFUSED {
        let told = Data::from_spec(*kind, value).map(|d| d.present()).unwrap_err().to_string();
        assert!(told.contains(word), "{kind} {value:?}: {told}");
    }
    assert!(REFUSED.len() >= 80);
}

#[test]
fn each_odd_spelling_of_a_provider_is_the_same_value() {
    let same: &[(RecordType, &str, &[&str])] = &[
        (A, "192.0.2.1", &[" 192.0.2.1 "]),
        (Aaaa, "2001:db8::1", &["2001:0db8:0000:0000:0000:0000:0000:0001", "2001:DB8::1", "2001:db8:0:0::1"]),
        (Aaaa, "::ffff:c000:201", &["::ffff:192.0.2.1", "0:0:0:0:0:FFFF:192.0.2.1"]),
        (Cname, "a.example.", &["a.example", "A.Example.", "a.example.."]),
        (Cname, "xn--bcher-kva.example.", &["XN--BCHER-KVA.example", "bücher.example."]),
        (Cname, "*.a.example.", &[r"\052.a.example."]),
        (Ptr, "_x.example.", &[r"\095x.example."]),
        (Ns, "ns1.example.", &["NS1.EXAMPLE"]),
        (Mx, "10 mail.example.", &["10 mail.example", "10  MAIL.example.", "10\tmail.example."]),
        (Mx, "0 .", &["0 ."]),
        (Srv, "10 5 443 h.example.", &["10 5 443 H.example", "010 05 0443 h.example."]),
        (
            Caa,
            "0 issue \"ca.example\"",
            &["0 issue ca.example", "0 ISSUE \"ca.example\"", "0  issue  \"ca.example\" ", r#"0 issue "ca\.example""#],
        ),
        (Caa, "0 issue \";\"", &["0 issue ;", r#"0 issue "\;""#, r"0 issue \;", r#"0 issue "\059""#]),
        (Caa, "1 tbs \"Unknown\"", &["1 tbs Unknown"]),
        (Caa, "0 issue \"a; b=c\"", &["0 issue a; b=c"]),
        (Txt, r#""a b""#, &[r#""a" " b""#, r#""a"" b""#, r#""\097 b""#, r#""a\032b""#]),
        (Txt, r#""a;b""#, &[r#""a\;b""#, "a;b", r#""a\059b""#]),
        (Txt, r#""\"""#, &[r#""\034""#]),
        (Txt, r#""""#, &[r#""" """#]),
        (Txt, r#""\195\164""#, &["\"ä\"", "ä"]),
    ];
    for (kind, canonical, spellings) in same {
        for spelling in spellings.iter().chain([canonical]) {
            let data = Data::presented(*kind, spelling).unwrap_or_else(|e| Data::Txt(e.to_string().into_bytes()));
            assert_eq!(data.present(), *canonical, "{kind} {spelling}");
            assert_eq!(data.kind(), *kind);
        }
    }
}

#[test]
fn values_that_differ_are_not_the_same() {
    for (kind, one, other) in [
        (A, "192.0.2.1", "192.0.2.2"),
        (Cname, "a.example.", "a.example.example."),
        (Mx, "10 a.example.", "20 a.example."),
        (Srv, "1 2 3 a.example.", "1 3 2 a.example."),
        (Caa, "0 issue \"CA.example\"", "0 issue \"ca.example\""),
        (Caa, "0 issue \"ca.example\"", "128 issue \"ca.example\""),
        (Caa, "0 issue \"ca.example\"", "0 issuewild \"ca.example\""),
        (Txt, "\"a\"", "\"A\""),
        (Txt, "\"a \"", "\"a\""),
        (Txt, "\"a\" \"b\"", "\"a b\""),
    ] {
        assert_ne!(Data::presented(kind, one).unwrap(), Data::presented(kind, other).unwrap(), "{kind} {one} {other}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_and_no_other_value() {
    for (kind, value) in [
        (A, "192.0.2.1 ; comment"),
        (Aaaa, ""),
        (Cname, "a b."),
        (Mx, "mail.example."),
        (Srv, "1 2 3"),
        (Caa, "0 issue"),
        (Txt, ""),
        (Txt, "\"open"),
        (Cname, r"a\.b.example."),
    ] {
        assert!(Data::presented(kind, value).is_err(), "{kind} {value}");
    }
}

#[test]
fn types_are_known_by_their_word() {
    for kind in RecordType::ALL {
        assert_eq!(kind.as_str().parse::<RecordType>().unwrap(), kind);
        assert_eq!(kind.as_str().to_lowercase().parse::<RecordType>().unwrap(), kind);
    }
    assert!("SOA".parse::<RecordType>().unwrap_err().to_string().contains("provider's own"));
    assert!("HTTPS".parse::<RecordType>().unwrap_err().to_string().contains("A AAAA CNAME"));
}

fn any_name() -> impl Strategy<Value = Name> {
    "[a-z_][a-z0-9_]{0,10}(\\.[a-z0-9]{1,10}){0,3}".prop_map(|text| Name::parse(&text).unwrap())
}

/// Any value that a provider may hold.
pub(crate) fn any_data() -> impl Strategy<Value = Data> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        any::<Ipv4Addr>().prop_map(Data::A),
        any::<Ipv6Addr>().prop_map(Data::Aaaa),
        any_name().prop_map(Data::Cname),
        any_name().prop_map(Data::Ns),
        any_name().prop_map(Data::Ptr),
        (any::<u16>(), any_name()).prop_map(|(preference, exchange)| Data::Mx { preference, exchange }),
        bytes().prop_map(Data::Txt),
        (any::<[u16; 3]>(), any_name()).prop_map(|([priority, weight, port], target)| Data::Srv {
            priority,
            weight,
            port,
            target
        }),
        (any::<u8>(), "[a-z0-9]{1,15}", bytes()).prop_map(|(flags, tag, value)| Data::Caa { flags, tag, value }),
    ]
}

proptest! {
    #[test]
    fn what_is_presented_is_read_as_it_was(data in any_data()) {
        let text = data.present();
        prop_assert_eq!(&Data::presented(data.kind(), &text).unwrap(), &data);
        prop_assert!(text.is_ascii() && !text.contains(char::is_control));
    }

    #[test]
    fn a_form_is_its_own_form(kind in prop::sample::select(&RecordType::ALL[..]), text in any::<String>()) {
        if let Ok(data) = Data::presented(kind, &text) {
            prop_assert_eq!(&Data::presented(kind, &data.present()).unwrap(), &data);
        }
        if let Ok(data) = Data::from_spec(kind, &text) {
            prop_assert_eq!(&Data::from_spec(kind, &data.to_spec()).unwrap(), &data);
            prop_assert_eq!(&Data::presented(kind, &data.present()).unwrap(), &data);
        }
    }
}
