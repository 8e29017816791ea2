//! What stands in the Secrets of a certificate, held against what the ledger knows.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::observe::{Held, Seen, Stored, Wanted};
use super::{Refusal, issuers, revoking};
use crate::api::{CertificateSpec, Reason, RotationPolicy};
use crate::ledger::CertificateFact;
use crate::pki::Chain;

/// So many repairs of late are too many.
pub(super) const REPAIRS: i64 = 3;

/// The pair in use, where it stands in the Secret that the spec named before.
pub(super) fn elsewhere(seen: &Seen) -> Option<(&Stored, &CertificateFact)> {
    let (former, fact) = (seen.former.as_ref()?, known(seen)?);
    let there = former.name == fact.certificate.secret && former.stored.has_key_of(fact);
    (there && !stored(seen).is_some_and(|stored| stored.has_key_of(fact))).then_some((former.stored.as_ref(), fact))
}

/// Whether what stands is the certificate that the object was last said to have, and younger than what is known.
pub(super) fn follows(stored: &Stored, fact: &CertificateFact, seen: &Seen) -> bool {
    let leaf = stored.chain.as_ref().ok().map(Chain::leaf);
    leaf.is_some_and(|leaf| {
        leaf.not_before > fact.certificate.not_before && seen.last_serial.as_ref() == Some(&leaf.serial)
    })
}

/// In whatever order.
pub(super) fn same_names(one: &[String], other: &[String]) -> bool {
    let sorted = |names: &[String]| names.iter().cloned().collect::<BTreeSet<String>>();
    sorted(one) == sorted(other)
}

/// Somebody changes the Secret again and again. What he wrote stands for a while: a write each time would be one without an end.
pub(super) fn contended(seen: &Seen) -> Option<Refusal> {
    let message = "something else changes or deletes the Secret as often as it is written, and so it is left alone for ten \
                   minutes; see its metadata.managedFields, or the API server's audit log, for who it is";
    (seen.repairs >= REPAIRS).then(|| Refusal { reason: Reason::Contended, message: message.to_owned() })
}

/// The key is sound, and what stands around it is not what was issued.
pub(super) fn is_damaged(seen: &Seen) -> bool {
    match (stored(seen), known(seen)) {
        (Some(stored), Some(fact)) => {
            stored.has_key_of(fact) && !stored.has_all_of(fact) && !follows(stored, fact, seen)
        }
        _ => false,
    }
}

/// Whether what stands in the Secret is what would be issued now.
pub(super) fn suits(stored: &Stored, seen: &Seen, wanted: &Wanted, now: Timestamp) -> bool {
    let (Ok(()), Ok(chain), Ok(key)) = (stored.check(&wanted.terms.names, now), &stored.chain, &stored.key) else {
        return false;
    };
    let leaf = chain.leaf();
    let signed = match &seen.material {
        issuers::Material::Ca(Ok(authority)) => leaf.is_signed_by(authority.certificate()),
        issuers::Material::SelfSigned => leaf.is_self_signed(),
        // By the same that signed what is known.
        issuers::Material::Acme(ca) => known(seen).filter(|fact| ca.issued(fact)).is_some_and(|fact| {
            let former = Chain::read(fact.certificate.chain.as_bytes()).ok();
            former.is_some_and(|chain| chain.iter().nth(1).is_some_and(|signer| leaf.is_signed_by(signer)))
        }),
        _ => false,
    };
    let life = leaf.not_after.duration_since(leaf.not_before);
    let short = SignedDuration::try_from(wanted.life).is_ok_and(|longest| life <= longest);
    let theirs = matches!(seen.material, issuers::Material::Acme(_));
    signed && (short || theirs) && same_names(&leaf.names, &wanted.terms.names) && key.algorithm() == wanted.algorithm
}

/// Whether the key that stands is to stay.
pub(super) fn keeps_key(spec: &CertificateSpec, seen: &Seen) -> bool {
    let fits = || {
        let key = in_hand(seen)?.key.as_ref().ok()?;
        let is_own = |fact: &&CertificateFact| fact.certificate.public_key == key.public().digest();
        let own = known(seen).filter(is_own).is_some_and(|fact| !revoking::must_follow(seen, fact));
        (own && key.algorithm() == seen.wanted.as_ref().ok()?.algorithm).then_some(())
    };
    spec.private_key.rotation_policy == RotationPolicy::Never && fits().is_some()
}

/// Where the key in use stands, or should.
pub(super) fn in_hand(seen: &Seen) -> Option<&Stored> {
    elsewhere(seen).map(|(former, _)| former).or_else(|| stored(seen))
}

/// What the ledger knows of the certificate in use. What it knows under another organization is the former one's.
pub(super) fn known(seen: &Seen) -> Option<&CertificateFact> {
    seen.facts.current.as_ref().filter(|fact| fact.certificate.subject.organization == seen.subject.organization)
}

pub(super) fn stored(seen: &Seen) -> Option<&Stored> {
    match &seen.secret {
        Held::Ours(stored) => Some(stored),
        Held::None | Held::Foreign(_) => None,
    }
}
