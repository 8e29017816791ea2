#![allow(clippy::unwrap_used, clippy::panic)]

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose, SanType};
use x509_parser::prelude::FromDer;

use super::*;
use crate::api::Reason;
use crate::dns::Name;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

fn term() -> Term {
    Term { not_before: now(), not_after: now() + days(90) }
}

fn names(of: &[&str]) -> Vec<Name> {
    of.iter().map(|name| Name::parse(name).unwrap()).collect()
}

fn texts(of: &[&str]) -> Vec<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

/// A CA of this name, signed by itself or by another.
fn authority(
    name: &str,
    key: &Key,
    by: Option<(&Certificate, &Key)>,
    change: impl Fn(&mut CertificateParams),
) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    let made = match by {
        None => params.self_signed(key),
        Some((issuer, theirs)) => {
            params.signed_by(key, &Issuer::from_ca_cert_der(&issuer.der.as_slice().into(), theirs).unwrap())
        }
    };
    Certificate::of_der(made.unwrap().der()).unwrap()
}

fn ec() -> Key {
    Key::make(Algorithm::EcdsaP256).unwrap()
}

/// A root, an intermediate, and the latter as an authority.
fn family() -> (Certificate, Certificate, Authority) {
    let (root_key, key) = (ec(), ec());
    let root = authority("Root", &root_key, None, |_| {});
    let middle = authority("Middle", &key, Some((&root, &root_key)), |_| {});
    let chain = format!("{}{}", middle.pem(), root.pem());
    let read = Authority::read(chain.as_bytes(), key.pem().as_bytes(), None).unwrap();
    (root, middle, read)
}

#[test]
fn each_algorithm_makes_a_key_that_is_read_again_as_the_same() {
    for algorithm in [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Rsa(2048)] {
        let key = Key::make(algorithm).unwrap();
        let again = Key::read(key.pem().as_bytes()).unwrap();
        assert_eq!((key.algorithm(), again.algorithm()), (algorithm, algorithm));
        assert!(key.public() == again.public() && again.pkcs8().is_some(), "{algorithm}");
        let made = self_signed(&key, &names(&["example.com"]), term()).unwrap();
        let chain = Chain::read(made.pem().as_bytes()).unwrap();
        assert_eq!(chain.check(&again, &texts(&["example.com"]), now()), Ok(()), "{algorithm}");
    }
    for algorithm in [Algorithm::Rsa(1024), Algorithm::Rsa(8192), Algorithm::Ed25519] {
        assert!(Key::make(algorithm).is_err(), "{algorithm}");
    }
}

#[test]
fn a_certificate_says_what_was_asked_for() {
    let key = ec();
    let made = self_signed(&key, &names(&["example.com", "*.example.com", "BÜCHER.example"]), term()).unwrap();
    assert_eq!(made.names, ["example.com", "*.example.com", "xn--bcher-kva.example"]);
    assert_eq!((made.not_before, made.not_after), (term().not_before, term().not_after));
    assert_eq!((made.subject.as_str(), made.issuer.as_str()), ("CN=example.com", "CN=example.com"));
    assert_eq!((made.serial.len(), made.fingerprint.len()), (32, 64));
    assert!(!made.is_authority && made.is_self_issued());
    assert_ne!(made.serial, self_signed(&key, &names(&["example.com"]), term()).unwrap().serial);
}

#[test]
fn a_name_too_long_for_a_common_name_stands_among_the_alternative_names_alone() {
    let long = format!("{}.{}.example.com", "a".repeat(60), "b".repeat(60));
    let made = self_signed(&ec(), &names(&[&long]), term()).unwrap();
    assert_eq!((made.names, made.subject.as_str()), (vec![long.clone()], "CN=self-signed"));
    let (_, _, ca) = family();
    let chain = ca.sign(&ec(), &names(&[&long]), term()).unwrap();
    assert_eq!(chain.leaf().subject, "");
    let (_, read) = x509_parser::parse_x509_certificate(&chain.leaf().der).unwrap();
    assert!(
        read.subject_alternative_name().unwrap().unwrap().critical,
        "RFC 5280 asks for it where the subject is empty"
    );
}

#[test]
fn a_ca_signs_with_its_chain_behind_and_its_root_apart() {
    let (root, middle, ca) = family();
    let key = ec();
    let chain = ca.sign(&key, &names(&["example.com"]), term()).unwrap();
    assert_eq!(chain.check(&key, &texts(&["example.com"]), now()), Ok(()));
    assert_eq!(chain.iter().map(|one| one.fingerprint.clone()).nth(1), Some(middle.fingerprint));
    assert_eq!((chain.iter().count(), ca.roots()), (2, root.pem().as_str()));
    for algorithm in [Algorithm::EcdsaP384, Algorithm::Rsa(2048)] {
        let key = Key::make(algorithm).unwrap();
        let root = authority("Root", &key, None, |_| {});
        let ca = Authority::read(root.pem().as_bytes(), key.pem().as_bytes(), None).unwrap();
        let leaf = ca.sign(&ec(), &names(&["example.com"]), term()).unwrap();
        assert!(leaf.leaf().is_signed_by(&root) && leaf.iter().count() == 1, "{algorithm}");
    }
}

#[test]
fn what_cannot_sign_is_no_authority() {
    let (key, other) = (ec(), ec());
    let root = authority("Root", &key, None, |_| {});
    let leaf = self_signed(&key, &names(&["example.com"]), term()).unwrap();
    let mute = authority("Mute", &key, None, |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let stranger = authority("Stranger", &other, None, |_| {});
    let wrong_chain = format!("{}{}", root.pem(), stranger.pem());
    for (what, chain, key, reason, words) in [
        ("another's key", root.pem(), &other, Reason::KeyMismatch, "not the certificate's"),
        ("a leaf", leaf.pem(), &key, Reason::CertificateInvalid, "is no CA"),
        ("a CA that may not sign", mute.pem(), &key, Reason::CertificateInvalid, "is no CA"),
        ("a chain that is none", wrong_chain, &key, Reason::CertificateInvalid, "is not signed by certificate 2"),
        ("nothing", String::new(), &key, Reason::CertificateInvalid, "tls.crt: holds no certificate"),
    ] {
        let flaw = Authority::read(chain.as_bytes(), key.pem().as_bytes(), None).err().unwrap();
        assert!(flaw.reason == reason && flaw.message.contains(words), "{what}: {flaw:?}");
    }
    let flaw = Authority::read(root.pem().as_bytes(), b"none", None).err().unwrap();
    assert!(flaw.message.starts_with("tls.key: holds no private key"), "{flaw}");
}

#[test]
fn a_ca_whose_name_cannot_be_copied_byte_by_byte_is_no_issuer_of_what_it_signs() {
    // Of two units one is kept, so what is signed names an issuer that does not exist: `sign` compares the bytes.
    let (key, twice) = (ec(), Certificate::of_der(include_bytes!("testdata/two-units.der")).unwrap());
    assert_eq!(twice.subject, "O=Example, OU=one, OU=two, CN=Twice");
    let signed = |by: &Certificate| authority("Leaf", &key, Some((by, &key)), |_| {});
    assert_ne!(signed(&twice).raw_issuer, twice.raw_subject);
    let plain = authority("Root", &key, None, |_| {});
    assert_eq!(signed(&plain).raw_issuer, plain.raw_subject);
}

#[test]
fn a_pair_is_checked_for_key_order_names_and_dates() {
    let (root, middle, ca) = family();
    let (key, other) = (ec(), ec());
    let chain = ca.sign(&key, &names(&["example.com", "*.example.com"]), term()).unwrap();
    let whole = Chain::read(format!("{}{}", chain.pem(), root.pem()).as_bytes()).unwrap();
    let check = |text: String, key: &Key, name: &str, at: Timestamp| {
        Chain::read(text.as_bytes())
            .unwrap()
            .check(key, &texts(&[name]), at)
            .map_err(|flaw| (flaw.reason, flaw.message))
    };
    assert_eq!(check(whole.pem(), &key, "www.example.com", now()), Ok(()));
    assert_eq!(check(chain.leaf().pem(), &key, "example.com", now()), Ok(()), "who asks may know the rest");
    let swapped = format!("{}{}{}", chain.leaf().pem(), root.pem(), middle.pem());
    let upside = format!("{}{}", middle.pem(), chain.leaf().pem());
    let late = now() + days(90);
    for (text, key, name, at, reason, words) in [
        (whole.pem(), &other, "example.com", now(), Reason::KeyMismatch, "the key is not the certificate's"),
        (
            upside,
            &key,
            "example.com",
            now(),
            Reason::KeyMismatch,
            "the key is that of certificate 2: put that one first",
        ),
        (
            swapped,
            &key,
            "example.com",
            now(),
            Reason::CertificateInvalid,
            "certificate 1 (\"CN=example.com\") is not signed",
        ),
        (whole.pem(), &key, "example.org", now(), Reason::NameMismatch, "does not cover example.org"),
        (whole.pem(), &key, "a.b.example.com", now(), Reason::NameMismatch, "does not cover a.b.example.com"),
        (whole.pem(), &key, "example.com", late, Reason::Expired, "expired at 2027-04-15T08:00:00Z"),
        (whole.pem(), &key, "example.com", now() - days(1), Reason::CertificateInvalid, "is not valid before"),
    ] {
        let (found, message) = check(text, key, name, at).unwrap_err();
        assert!(found == reason && message.contains(words), "{name}: {found} {message}");
    }
}

#[test]
fn a_client_s_certificate_serves_no_server() {
    let key = ec();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("example.com".try_into().unwrap())];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let made = Certificate::of_der(params.self_signed(&key).unwrap().der()).unwrap();
    let flaw = Chain::read(made.pem().as_bytes()).unwrap().check(&key, &[], now()).unwrap_err();
    assert!(flaw.message.contains("serverAuth"), "{flaw}");
}

#[test]
fn a_wildcard_stands_for_one_label_and_not_for_itself_below() {
    let of = texts(&["*.example.com", "example.org"]);
    for name in ["a.example.com", "*.example.com", "example.org"] {
        assert!(covers(&of, name), "{name}");
    }
    for name in ["example.com", "a.b.example.com", "*.a.example.com", "*.example.org", "evilexample.com", "com", ""] {
        assert!(!covers(&of, name), "{name}");
    }
}

#[test]
fn odd_text_is_told_from_pem() {
    for text in ["", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "\u{0}"] {
        assert!(Chain::read(text.as_bytes()).is_err() && Key::read(text.as_bytes()).is_err(), "{text:?}");
    }
    let one = self_signed(&ec(), &names(&["example.com"]), term()).unwrap().pem();
    assert!(Chain::read(one.repeat(11).as_bytes()).unwrap_err().message.contains("more than 10"));
    let cut = one.replace("MII", "MIE");
    assert!(Chain::read(cut.as_bytes()).unwrap_err().message.starts_with("certificate 1"));
    let more = Chain::read(format!("Bag Attributes\n{one}").as_bytes()).unwrap();
    assert_eq!(more.pem(), one, "what stands around it is left out");
}

#[test]
fn a_request_is_signed_by_its_key_and_names_all() {
    let key = ec();
    let der = request(&key, &names(&["example.com", "*.example.com"])).unwrap();
    let (_, read) = x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
    read.verify_signature().unwrap();
    let shown = format!("{:?}", read.requested_extensions().unwrap().collect::<Vec<_>>());
    assert!(shown.contains("\"example.com\"") && shown.contains("\"*.example.com\""), "{shown}");
}

#[test]
fn a_ca_signs_when_its_chain_has_begun_and_what_its_name_constraints_permit() {
    use rcgen::{GeneralSubtree, NameConstraints};
    let dns = |name: &str| GeneralSubtree::DnsName(name.into());
    let (root_key, key) = (ec(), ec());
    let late = now() + days(3);
    let root = authority("Root", &root_key, None, |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![dns("example.com"), dns("example.net")],
            excluded_subtrees: vec![dns("secret.example.com")],
        });
        params.not_before = x509_parser::time::ASN1Time::from_timestamp(late.as_second()).unwrap().to_datetime();
    });
    let middle = authority("Middle", &key, Some((&root, &root_key)), |params| {
        let (permitted_subtrees, excluded_subtrees) = (vec![dns(".example.com")], Vec::new());
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
    });
    let chain = format!("{}{}", middle.pem(), root.pem());
    let read = Authority::read(chain.as_bytes(), key.pem().as_bytes(), None).unwrap();
    assert_eq!(read.not_before(), late, "of all in the chain, the last");
    for (name, may) in [
        ("example.com", true),
        ("www.example.com", true),
        ("*.shop.example.com", true),
        ("evilexample.com", false),
        ("www.example.net", false),
        ("example.org", false),
        ("secret.example.com", false),
        ("deep.secret.example.com", false),
        ("*.example.com", false),
        ("notsecret.example.com", true),
    ] {
        assert_eq!(read.lets_have(&Name::parse(name).unwrap()), may, "{name}");
    }
    assert!(family().2.lets_have(&Name::parse("example.org").unwrap()), "one without constraints");
}
