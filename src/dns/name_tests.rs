#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap_or_else(|e| panic_with(text, &e))
}

fn panic_with(text: &str, error: &Invalid) -> Name {
    assert_eq!(text, "", "{error}");
    Name::root()
}

#[test]
fn every_spelling_of_a_name_has_one_form() {
    for (text, canonical) in [
        ("example.com", "example.com"),
        ("example.com.", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("ｅｘａｍｐｌｅ．ｃｏｍ", "example.com"),
        ("example。com", "example.com"),
        ("exam\u{ad}ple.com", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u{308}cher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("faß.de", "xn--fa-hia.de"),
        ("☃.net", "xn--n3h.net"),
        ("_acme-challenge.example.com", "_acme-challenge.example.com"),
        ("*.example.com", "*.example.com"),
        ("*.*.example.com", ""),
        ("0/25.2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa"),
        ("a", "a"),
        ("1.2.3.4", "1.2.3.4"),
    ] {
        assert_eq!(Name::parse(text).map(|n| n.as_str().to_owned()).unwrap_or_default(), canonical, "{text}");
    }
}

#[test]
fn a_form_is_its_own_form_and_is_shown_with_u_labels() {
    for (text, shown) in [
        ("bücher.example", "bücher.example"),
        ("xn--n3h.net", "☃.net"),
        ("_dmarc.faß.de", "_dmarc.faß.de"),
        ("*.例え.jp", "*.例え.jp"),
        ("plain.example", "plain.example"),
    ] {
        let name = name(text);
        assert_eq!(Name::parse(name.as_str()).unwrap(), name);
        assert_eq!(Name::parse(&name.absolute()).unwrap(), name);
        assert_eq!(Name::presented(&name.absolute()).unwrap(), name);
        assert_eq!(name.unicode(), shown);
    }
    assert_eq!((Name::root().to_string(), Name::root().absolute()), (".".into(), ".".into()));
}

#[test]
fn names_that_are_none_are_refused_with_the_rule() {
    let long = "a".repeat(64);
    let whole = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(62));
    let u_label = format!("{}ü.example", "a".repeat(60));
    for (text, rule) in [
        ("", "empty label"),
        (".", "empty label"),
        ("..", "empty label"),
        ("a..b", "empty label"),
        (".example.com", "empty label"),
        ("example.com..", "empty label"),
        ("\u{ad}.example.com", "empty label"),
        ("a b.example", "' '"),
        (" example.com", "' '"),
        ("example.com\n", "'\\n'"),
        ("exa\0mple.com", "'\\0'"),
        ("a\\.b.example", "'\\\\'"),
        ("a/b.example", "'/'"),
        ("0/25.2.0.192.in-addr.arpa.evil.com", "'/'"),
        ("user@example.com", "'@'"),
        ("@", "'@'"),
        ("＠", "'@'"),
        ("http://example.com", "':'"),
        ("example.com:53", "':'"),
        ("a*.example.com", "\"*\""),
        ("**.example.com", "\"*\""),
        ("w.*.example.com", "\"*\""),
        ("-a.example", "hyphen"),
        ("a-.example", "hyphen"),
        (&long, "at most 63"),
        (&u_label, "at most 63"),
        (&whole, "at most 253"),
        ("xn--a.example", "UTS 46"),
        ("xn--.example", "UTS 46"),
        ("xn--bcher-kva-.example", "UTS 46"),
        ("a\u{200d}b.example", "UTS 46"),
        ("\u{5d0}a.example", "UTS 46"),
        ("a\u{fffd}.example", "UTS 46"),
    ] {
        let error = Name::parse(text).map(|n| n.to_string()).unwrap_err().to_string();
        assert!(error.contains(rule), "{text}: {error}");
    }
    assert!(Name::parse(&"a".repeat(63)).is_ok());
    assert_eq!(name(&format!("{0}.{0}.{0}.{1}.", "a".repeat(63), "a".repeat(61))).as_str().len(), 253);
}

#[test]
fn only_whole_labels_lie_within_a_domain() {
    for (text, domain, within) in [
        ("example.com", "example.com", true),
        ("www.example.com", "example.com", true),
        ("a.b.c.example.com", "example.com", true),
        ("*.example.com", "example.com", true),
        ("_dmarc.example.com", "example.com", true),
        ("WWW.EXAMPLE.COM.", "example.com", true),
        ("www.example.com", "EXAMPLE.com.", true),
        ("xn--bcher-kva.example.com", "example.com", true),
        ("www.xn--bcher-kva.example", "bücher.example", true),
        ("www.bücher.example", "xn--bcher-kva.example", true),
        ("ｗｗｗ．ｅｘａｍｐｌｅ．com", "example.com", true),
        ("www。example。com", "example.com", true),
        ("x.dev.example.com", "dev.example.com", true),
        ("com", "com", true),
        ("evilexample.com", "example.com", false),
        ("evil-example.com", "example.com", false),
        ("_example.com", "example.com", false),
        ("xn--example.com", "", false),
        ("example.com.evil.com", "example.com", false),
        ("www.example.com.evil.com", "example.com", false),
        ("example.co", "example.com", false),
        ("example.comm", "example.com", false),
        ("com", "example.com", false),
        ("ample.com", "example.com", false),
        ("dev.example.com", "x.dev.example.com", false),
        ("dev.example.com", "prod.example.com", false),
        ("devexample.com", "dev.example.com", false),
        ("example.com", "www.example.com", false),
        ("example.net", "example.com", false),
        ("examp1e.com", "example.com", false),
        ("exаmple.com", "example.com", false),     // Cyrillic а
        ("www.exаmple.com", "example.com", false), // Cyrillic а
        ("example.cοm", "example.com", false),     // Greek ο
        ("exampl\u{e9}.com", "example.com", false),
        ("exampleı.com", "example.com", false),
        ("example\u{2024}com", "example.com", false), // a one dot leader is no dot
        ("ex\u{301}ample.com", "example.com", false),
        ("bucher.example", "bücher.example", false),
        ("fass.de", "faß.de", false),
        ("www.fass.de", "faß.de", false),
        ("σ.example", "ς.example", false),
        ("*.com", "example.com", false),
        ("*example.com", "", false),
    ] {
        let verdict = Name::parse(text).ok().zip(Name::parse(domain).ok()).is_some_and(|(n, d)| n.is_within(&d));
        assert_eq!(verdict, within, "{text} within {domain}");
    }
    assert!(name("anything").is_within(&Name::root()) && Name::root().is_within(&Name::root()));
    assert!(!Name::root().is_within(&name("com")));
}

#[test]
fn relative_names_are_below_their_domain() {
    let domain = name("bücher.example");
    for (text, whole) in [
        ("@", "xn--bcher-kva.example"),
        ("www", "www.xn--bcher-kva.example"),
        ("WWW", "www.xn--bcher-kva.example"),
        ("*", "*.xn--bcher-kva.example"),
        ("*.dev", "*.dev.xn--bcher-kva.example"),
        ("a.b", "a.b.xn--bcher-kva.example"),
        ("größe", "xn--gre-6ka8i.xn--bcher-kva.example"),
        ("_sip._tcp", "_sip._tcp.xn--bcher-kva.example"),
        ("example", "example.xn--bcher-kva.example"),
    ] {
        let found = Name::relative(text, &domain).unwrap();
        assert_eq!(found.as_str(), whole);
        assert!(found.is_within(&domain));
        assert_eq!(Name::relative(found.relative_to(&domain).unwrap(), &domain).unwrap(), found);
    }
    for text in [
        "",
        ".",
        "www.",
        "www。",
        "bücher.example",
        "www.bücher.example",
        "www.xn--BCHER-kva.example",
        "bücher.example.",
        "a..b",
        "*.*",
        "a.*",
        "@.www",
        "a b",
        "\u{ad}",
    ] {
        let found = Name::relative(text, &domain).map(|n| n.to_string());
        assert!(found.is_err(), "{text}: {found:?}");
    }
    let deep = Name::relative("a.".repeat(120).trim_end_matches('.'), &domain);
    assert!(deep.unwrap_err().to_string().contains("at most 253"));
    assert_eq!(name("a.b.example").relative_to(&name("example.com")), None);
}

#[test]
fn a_target_is_absolute() {
    for (text, canonical) in [("a.example.", "a.example"), (".", ""), ("Bücher.example.", "xn--bcher-kva.example")] {
        assert_eq!(Name::target(text).unwrap().as_str(), canonical);
    }
    for text in ["", "a", "a.example", "192.0.2.1", "192.0.2.1.", "*.example.", "..", "a..", "@", "2001:db8::1."] {
        assert!(Name::target(text).is_err(), "{text}");
    }
}

#[test]
fn a_providers_spelling_is_understood() {
    for (text, canonical) in [
        ("example.com.", "example.com"),
        ("example.com", "example.com"),
        ("example.com..", "example.com"),
        (" Example.COM. ", "example.com"),
        (r"\052.example.com.", "*.example.com"),
        (r"\042.example.com.", "*.example.com"),
        (r"a.\052.example.com.", "a.4.example.com"),
        (r"\095dmarc.example.com", "_dmarc.example.com"),
        (r"a\-b.example.", "a-b.example"),
        ("bücher.example.", "xn--bcher-kva.example"),
        ("-odd-.example.", "-odd-.example"),
        ("xn--0.example.", "xn--0.example"),
        (r"0\04725.2.0.192.in-addr.arpa.", "0/25.2.0.192.in-addr.arpa"),
        (".", ""),
        ("", ""),
    ] {
        assert_eq!(Name::presented(text).unwrap().as_str(), canonical, "{text}");
    }
    for text in [
        r"a\.b.example.",
        r"a\032b.example.",
        "a b.example.",
        r"\300.example.",
        r"\",
        r"\2.a",
        "a..b.",
        r"\195.x",
        "x.*.y",
    ] {
        assert!(Name::presented(text).is_err(), "{text}");
    }
}

#[test]
fn parents_lead_to_the_root() {
    let up: Vec<String> =
        std::iter::successors(Some(name("*.a.example")), Name::parent).map(|n| n.absolute()).collect();
    assert_eq!(up, ["*.a.example.", "a.example.", "example.", "."]);
    assert!(name("*.a").is_wildcard() && !name("a").is_wildcard() && !Name::root().is_wildcard());
    assert!(name("a-1.example").is_host() && !name("_a.example").is_host() && !name("*.a").is_host());
}

proptest! {
    #[test]
    fn any_text_is_a_name_with_one_form_or_refused(text in any::<String>()) {
        if let Ok(name) = Name::parse(&text) {
            prop_assert_eq!(&Name::parse(name.as_str()).unwrap(), &name);
            prop_assert_eq!(&Name::parse(&name.unicode()).unwrap(), &name);
            prop_assert_eq!(&Name::presented(&name.absolute()).unwrap(), &name);
            prop_assert!(name.as_str().len() <= 253 && name.labels().all(|l| (1..=63).contains(&l.len())));
        }
        if let Ok(name) = Name::presented(&text) {
            prop_assert_eq!(&Name::presented(&name.absolute()).unwrap(), &name);
        }
    }

    #[test]
    fn what_is_relative_lies_within(text in "[a-zA-Z0-9äß*_.-]{1,20}", domain in "[a-z]{1,5}\\.[a-zü]{2,5}") {
        let domain = Name::parse(&domain).unwrap();
        if let Ok(name) = Name::relative(&text, &domain) {
            prop_assert!(name.is_within(&domain) && name != domain);
            prop_assert_eq!(Name::relative(name.relative_to(&domain).unwrap(), &domain).unwrap(), name);
        }
    }
}
