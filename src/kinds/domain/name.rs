//! The domain of a spec in its canonical form, or why it is none that an organization can prove.

use crate::api::Reason;
use crate::dns::reserved::{CHALLENGE, OWN};
use crate::dns::{Invalid, Name, suffix};

/// What stands before the token.
const PREFIX: &str = "landfall-verification=";

/// A domain that can be proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// The domain.
    pub fqdn: Name,
    /// The part of it that is registered with a registry.
    pub registrable: Name,
    /// Where the challenge stands.
    pub challenge: Name,
}

/// What `spec.domain` means.
pub(super) fn canonical(text: &str) -> Result<Canonical, (Reason, String)> {
    let invalid = |rule: String| (Reason::DomainInvalid, format!("spec.domain: {rule}"));
    let fqdn = Name::parse(text).map_err(|rule| invalid(rule.to_string()))?;
    if fqdn.is_wildcard() {
        return Err(invalid(format!("{text:?} is a wildcard; write the domain below which it lies")));
    }
    if !fqdn.is_host() {
        return Err(invalid(format!(
            "{text:?} has a character that no host's name has; letters, digits and hyphens are left"
        )));
    }
    let last = fqdn.labels().last().unwrap_or_default();
    if fqdn.labels().count() < 2 || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(format!("{text:?} is no domain of two labels or more, such as example.com")));
    }
    let Some(registrable) = suffix::registrable(&fqdn) else {
        let message =
            format!("spec.domain: {fqdn} is a public suffix, under which others register; name a domain below it");
        return Err((Reason::PublicSuffix, message));
    };
    let challenge = challenge_of(&fqdn).map_err(|_| {
        invalid(format!("{text:?} is too long for a challenge below it; {CHALLENGE} must fit in 253 octets"))
    })?;
    Ok(Canonical { fqdn, registrable, challenge })
}

/// Where the challenge of a domain stands.
pub(super) fn challenge_of(fqdn: &Name) -> Result<Name, Invalid> {
    Name::relative(CHALLENGE, fqdn)
}

/// A name beside the challenge, as long as it, that nobody made: `chance` has as many characters as are left.
pub(super) fn beside(fqdn: &Name, chance: &str) -> Result<Name, Invalid> {
    let left: String = chance.chars().take(CHALLENGE.len() - OWN.len()).collect();
    Name::relative(&format!("{OWN}{left}"), fqdn)
}

/// The value of the challenge.
pub(super) fn challenge_value(token: &str) -> String {
    format!("{PREFIX}{token}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_domain_has_one_form_however_it_is_written() {
        for (text, fqdn, registrable) in [
            ("example.com", "example.com", "example.com"),
            ("EXAMPLE.Com.", "example.com", "example.com"),
            ("dev.bücher.example", "dev.xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a.example.co.uk", "a.example.co.uk", "example.co.uk"),
        ] {
            let found = canonical(text).unwrap();
            assert_eq!((found.fqdn.as_str(), found.registrable.as_str()), (fqdn, registrable), "{text}");
            assert_eq!(found.challenge.as_str(), format!("_landfall-challenge.{fqdn}"));
        }
    }

    #[test]
    fn what_nobody_can_prove_is_refused_with_the_rule() {
        let long = format!("{}.com", ["a".repeat(60).as_str(); 4].join("."));
        for (text, reason, part) in [
            ("co.uk", Reason::PublicSuffix, "public suffix"),
            ("github.io", Reason::PublicSuffix, "public suffix"),
            ("xn--55qx5d.cn", Reason::PublicSuffix, "public suffix"),
            ("*.example.com", Reason::DomainInvalid, "wildcard"),
            ("example", Reason::DomainInvalid, "two labels"),
            ("192.0.2.1", Reason::DomainInvalid, "two labels"),
            ("_dmarc.example.com", Reason::DomainInvalid, "no host"),
            ("a..example.com", Reason::DomainInvalid, "empty label"),
            ("-a.example.com", Reason::DomainInvalid, "hyphen"),
            ("xn--a-ecp.example", Reason::DomainInvalid, "UTS 46"),
            (long.as_str(), Reason::DomainInvalid, "too long"),
        ] {
            let (found, message) = canonical(text).unwrap_err();
            assert_eq!(found, reason, "{text}: {message}");
            assert!(message.contains(part) && message.starts_with("spec.domain: "), "{message}");
        }
    }
}
