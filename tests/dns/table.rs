//! The record sets that a spec may ask for, and how each is presented. The same table is judged by the pure rules and taken
//! through each real server.
#![allow(dead_code, unreachable_pub)]

use landfall::dns::RecordType::{self, A, Aaaa, Caa, Cname, Mx, Ns, Ptr, Srv, Txt};

/// One set of a spec.
#[derive(Clone, Debug)]
pub struct Case {
    /// Relative to the zone; each is used once.
    pub owner: String,
    pub kind: RecordType,
    pub ttl: u32,
    pub values: Vec<String>,
    /// The values in canonical order and presentation form.
    pub present: Vec<String>,
}

/// A 2048-bit RSA key as DKIM publishes it.
pub const DKIM: &str = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuQ1dSZpJ0r0mGqZsTqk9vV3mX3eW2bq7Yl8nJt\
    4oKpL6sHcRfVgUiWxOaZyNbMcQdPeTrSfUgVhWiXjYkZlAmBnCoDpEqFrGsHtIuJvKwLxMyNzO0P1Q2R3S4T5U6V7W8X9YaZbAcBdCeDfEgFhGiHjIkJlKmL\
    nMoNpOqPrQsRtSuTvUwVxWyXzY0Z1a2b3c4d5e6f7g8h9iAjBkClDmEnFoGpHqIrJsKtLuMvNwOxPyQzR0S1T2U3V4W5X6Y7Z8a9b0cAdBeCfDgEhFiGjHkI\
    lJmKnLoMpNqOrPsQtRuSvTwUxVyWzX0Y1Z2a3b4c5d6e7f8g9h0iAjBkClDmEnFoGpHqIrJsKtLuMvNwOxPyQIDAQAB";

/// Lengths of TXT around each cut.
pub const LENGTHS: [usize; 12] = [0, 1, 2, 254, 255, 256, 509, 510, 511, 764, 766, 4000];

const ONE_EACH: &[(&str, RecordType, &[&str], &[&str])] = &[
    // addresses
    ("@", A, &["192.0.2.1"], &["192.0.2.1"]),
    ("", A, &["255.255.255.255"], &["255.255.255.255"]),
    ("", A, &["0.0.0.0"], &["0.0.0.0"]),
    ("", A, &[" 192.0.2.9 "], &["192.0.2.9"]),
    ("", A, &["192.0.2.3", "192.0.2.20", "192.0.2.1"], &["192.0.2.1", "192.0.2.3", "192.0.2.20"]),
    ("*", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("*.dev", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("WWW", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("bücher", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("xn--strae-oqa", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("例え.日本", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("_under.score", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("a.b.c.d.e.f", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("123", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("r3---sn-x", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll", A, &["192.0.2.2"], &["192.0.2.2"]),
    ("@", Aaaa, &["2001:db8::1"], &["2001:db8::1"]),
    ("", Aaaa, &["2001:0db8:0000:0000:0000:0000:0000:0001"], &["2001:db8::1"]),
    ("", Aaaa, &["2001:DB8:0:0:8:800:200C:417A"], &["2001:db8::8:800:200c:417a"]),
    ("", Aaaa, &["::"], &["::"]),
    ("", Aaaa, &["::1"], &["::1"]),
    ("", Aaaa, &["2001:db8:0:1:1:1:1:1"], &["2001:db8:0:1:1:1:1:1"]),
    ("", Aaaa, &["2001:db8::0:0:1"], &["2001:db8::1"]),
    ("", Aaaa, &["::ffff:192.0.2.1"], &["::ffff:c000:201"]),
    ("", Aaaa, &["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], &["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
    ("", Aaaa, &["2001:db8::2", "2001:db8::1"], &["2001:db8::1", "2001:db8::2"]),
    // names
    ("", Cname, &["target.example.net."], &["target.example.net."]),
    ("", Cname, &["TARGET.Example.NET."], &["target.example.net."]),
    ("", Cname, &["bücher.example."], &["xn--bcher-kva.example."]),
    ("", Cname, &["_x.acm-validations.example."], &["_x.acm-validations.example."]),
    ("sel._domainkey", Cname, &["sel._domainkey.example.net."], &["sel._domainkey.example.net."]),
    ("", Cname, &["com."], &["com."]),
    ("", Cname, &["other.example.test."], &["other.example.test."]),
    ("*.alias", Cname, &["lb.example.net."], &["lb.example.net."]),
    ("", Ptr, &["host.example.net."], &["host.example.net."]),
    ("7.2", Ptr, &["host.example.net."], &["host.example.net."]),
    ("_http._tcp", Ptr, &["inst._http._tcp.example.net."], &["inst._http._tcp.example.net."]),
    ("", Ptr, &["b.example.net.", "a.example.net."], &["a.example.net.", "b.example.net."]),
    ("sub", Ns, &["ns1.example.net.", "ns2.example.net."], &["ns1.example.net.", "ns2.example.net."]),
    ("deep.sub2", Ns, &["NS1.example.net."], &["ns1.example.net."]),
    // mail
    ("@", Mx, &["10 mail.example.com."], &["10 mail.example.com."]),
    ("", Mx, &["0 ."], &["0 ."]),
    ("", Mx, &["0 mail.example.com."], &["0 mail.example.com."]),
    ("", Mx, &["65535 mail.example.com."], &["65535 mail.example.com."]),
    ("", Mx, &["010 mail.example.com."], &["10 mail.example.com."]),
    ("", Mx, &["10\t mail.example.com."], &["10 mail.example.com."]),
    (
        "",
        Mx,
        &["20 b.example.com.", "10 c.example.com.", "10 a.example.com."],
        &["10 a.example.com.", "10 c.example.com.", "20 b.example.com."],
    ),
    ("", Mx, &["10 a.example.com.", "20 a.example.com."], &["10 a.example.com.", "20 a.example.com."]),
    ("*", Mx, &["10 bücher.example."], &["10 xn--bcher-kva.example."]),
    // services
    ("_sip._tcp", Srv, &["10 5 443 host.example.com."], &["10 5 443 host.example.com."]),
    ("_none._tcp", Srv, &["0 0 0 ."], &["0 0 0 ."]),
    ("_max._udp", Srv, &["65535 65535 65535 host.example.com."], &["65535 65535 65535 host.example.com."]),
    (
        "_two._tcp",
        Srv,
        &["10 20 80 b.example.com.", "10 5 80 a.example.com."],
        &["10 5 80 a.example.com.", "10 20 80 b.example.com."],
    ),
    ("_minecraft._tcp.mc", Srv, &["0 5 25565 MC.Example.com."], &["0 5 25565 mc.example.com."]),
    // CAs
    ("@", Caa, &["0 issue letsencrypt.org"], &["0 issue \"letsencrypt.org\""]),
    ("", Caa, &["0 issue \"letsencrypt.org\""], &["0 issue \"letsencrypt.org\""]),
    ("", Caa, &["0 issue ;"], &["0 issue \";\""]),
    ("", Caa, &["0 issue \";\""], &["0 issue \";\""]),
    ("", Caa, &["0 issue \"\""], &["0 issue \"\""]),
    ("", Caa, &["128 issuewild \"ca.example.net\""], &["128 issuewild \"ca.example.net\""]),
    ("", Caa, &["0 ISSUE ca.example.net"], &["0 issue \"ca.example.net\""]),
    (
        "",
        Caa,
        &["0 issue ca.example.net; validationmethods=dns-01"],
        &["0 issue \"ca.example.net; validationmethods=dns-01\""],
    ),
    (
        "",
        Caa,
        &["0  issue   \"ca.example.net;accounturi=https://ca.example.net/acct/1\""],
        &["0 issue \"ca.example.net;accounturi=https://ca.example.net/acct/1\""],
    ),
    ("", Caa, &["0 iodef mailto:security@example.com"], &["0 iodef \"mailto:security@example.com\""]),
    ("", Caa, &["0 iodef \"https://iodef.example.com/\""], &["0 iodef \"https://iodef.example.com/\""]),
    ("", Caa, &["0 issuemail ca.example.net"], &["0 issuemail \"ca.example.net\""]),
    ("", Caa, &["0 contactemail admin@example.com"], &["0 contactemail \"admin@example.com\""]),
    (
        "",
        Caa,
        &["0 issue a.example", "0 issue b.example", "0 iodef mailto:x@y.example"],
        &["0 iodef \"mailto:x@y.example\"", "0 issue \"a.example\"", "0 issue \"b.example\""],
    ),
    // text
    ("@", Txt, &["v=spf1 include:_spf.example.com ~all"], &["\"v=spf1 include:_spf.example.com ~all\""]),
    (
        "_dmarc",
        Txt,
        &["v=DMARC1; p=none; rua=mailto:x@example.com"],
        &["\"v=DMARC1; p=none; rua=mailto:x@example.com\""],
    ),
    ("", Txt, &[""], &["\"\""]),
    ("", Txt, &["a \"quoted\" word"], &[r#""a \"quoted\" word""#]),
    ("", Txt, &["\"whole\""], &[r#""\"whole\"""#]),
    ("", Txt, &[r"back\slash"], &[r#""back\\slash""#]),
    ("", Txt, &[r"\"], &[r#""\\""#]),
    ("", Txt, &[r"\052 \; \"], &[r#""\\052 \\; \\""#]),
    ("", Txt, &["a;b; c"], &["\"a;b; c\""]),
    ("", Txt, &["  edge blanks  "], &["\"  edge blanks  \""]),
    ("", Txt, &[" "], &["\" \""]),
    ("", Txt, &["tab\tand\nline"], &[r#""tab\009and\010line""#]),
    ("", Txt, &["grüße"], &[r#""gr\195\188\195\159e""#]),
    ("", Txt, &["日本"], &[r#""\230\151\165\230\156\172""#]),
    ("", Txt, &["\u{7f}\u{1}"], &[r#""\127\001""#]),
    ("", Txt, &["(paren) @ $ORIGIN *"], &["\"(paren) @ $ORIGIN *\""]),
    ("", Txt, &["b", "a", "a b"], &["\"a\"", "\"a b\"", "\"b\""]),
    ("", Txt, &["case", "Case"], &["\"Case\"", "\"case\""]),
];

/// The whole table.
pub fn accepted() -> Vec<Case> {
    let mut cases: Vec<Case> = ONE_EACH
        .iter()
        .enumerate()
        .map(|(row, (owner, kind, values, present))| Case {
            owner: if owner.is_empty() { format!("row{row}") } else { (*owner).to_owned() },
            kind: *kind,
            ttl: 300,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
            present: present.iter().map(|v| (*v).to_owned()).collect(),
        })
        .collect();
    for length in LENGTHS {
        cases.push(text(&format!("plain{length}"), "x".repeat(length)));
        // Escapes that would be cut in two by who counts characters.
        cases.push(text(&format!("quotes{length}"), "\"".repeat(length)));
        cases.push(text(&format!("mixed{length}"), r#"\;" é"#.chars().cycle().take(length).collect()));
    }
    cases.push(text("dkim._domainkey", DKIM.to_owned()));
    for (owner, ttl) in [("ttl-least", 1), ("ttl-most", 86_400)] {
        let values = vec!["192.0.2.1".to_owned()];
        cases.push(Case { owner: owner.into(), kind: A, ttl, present: values.clone(), values });
    }
    let many: Vec<String> = (0..100).map(|n| format!("192.0.2.{n}")).collect();
    cases.push(Case { owner: "many".into(), kind: A, ttl: 60, present: many.clone(), values: many });
    cases
}

/// A TXT set of one value; what it presents is reckoned here once more, byte by byte.
fn text(owner: &str, value: String) -> Case {
    let byte = |b: &u8| match b {
        b'"' => "\\\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b if b.is_ascii_graphic() || *b == b' ' => char::from(*b).to_string(),
        b => format!("\\{b:03}"),
    };
    let strings: Vec<String> =
        value.as_bytes().chunks(255).map(|s| format!("\"{}\"", s.iter().map(byte).collect::<String>())).collect();
    let present = if strings.is_empty() { "\"\"".to_owned() } else { strings.join(" ") };
    Case { owner: owner.into(), kind: Txt, ttl: 300, values: vec![value], present: vec![present] }
}
