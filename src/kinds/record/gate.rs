//! What an object may ask for at all: the domain that it refers to must be its organization's, proved, open to its namespace,
//! and the nearest one to the name. All of it is known before any provider is called.

use jiff::Timestamp;

use crate::api::{DnsRecord, Reason};
use crate::dns::reserved::{CHALLENGES, OWN};
use crate::dns::{Name, RecordType};
use crate::kinds::Refusal;
use crate::kinds::names::{Asker, permit};
use crate::ledger::DomainFact;

/// Whether the record may have its name below the domain that it refers to. `domains` are all of the organization.
///
/// # Errors
/// Why not.
pub(super) fn name(
    object: &DnsRecord,
    domain: &DomainFact,
    who: Asker<'_>,
    domains: &[DomainFact],
    now: Timestamp,
) -> Result<Name, Refusal> {
    if !domain.holds(now) {
        let why = match domain.standing.state.holds() {
            true => Reason::ResolverUnavailable,
            false => domain.standing.reason,
        };
        let message =
            format!("{} is not proved ({why}); see its OrganizationDomain {:?}", domain.fqdn, domain.subject.name);
        return Err(Refusal::new(Reason::DomainNotVerified, message));
    }
    let top = Name::parse(&domain.fqdn).map_err(|e| Refusal::new(Reason::IntegrityViolation, e.to_string()))?;
    let name = Name::relative(&object.spec.name, &top)
        .map_err(|e| Refusal::new(Reason::InvalidRecord, e.at("spec.name").to_string()))?;
    if !name.is_within(&top) {
        let message = format!("spec.name: {name} does not lie in {top}");
        return Err(Refusal::new(Reason::OutsideDomain, message));
    }
    permit(&name, Asker { by: Some(&domain.subject), ..who }, domains, now)
        .map_err(|refusal| refusal.at("spec.name"))?;
    own_names(&name)?;
    if name == top && kind(object)? == RecordType::Ns {
        let message = format!(
            "spec.name: an NS set at {top} itself would hand all of the domain to other servers, with the challenge that proves it; \
             delegate a part of it, or set those servers in the zone above"
        );
        return Err(Refusal::new(Reason::InvalidRecord, message));
    }
    if !who.is_at_home(domain) {
        proofs(&name, kind(object)?)?;
    }
    Ok(name)
}

/// Names with which Landfall says what is whose, and those at which a name is proved. Whoever has an alias or servers there can
/// prove it as well as who has the TXT set, so that no type is left to an object.
fn own_names(name: &Name) -> Result<(), Refusal> {
    if let Some(label) = name.labels().find(|label| CHALLENGES.contains(label)) {
        let message = format!("spec.name: what stands at and below {label} proves names, and is no object's to set");
        return Err(Refusal::new(Reason::InvalidRecord, message));
    }
    if name.labels().any(|label| label.starts_with(OWN)) {
        let message = format!("spec.name: labels that begin with {OWN:?} are Landfall's own; choose another");
        return Err(Refusal::new(Reason::InvalidRecord, message));
    }
    Ok(())
}

/// Sets with which a guest of the domain could have challenges answered, those of a wildcard, which answers where nothing else
/// stands, and those of a part that it delegates to servers of its own; or could say who issues certificates for it.
fn proofs(name: &Name, kind: RecordType) -> Result<(), Refusal> {
    let why = match kind {
        RecordType::Ns => "a delegation lets others prove",
        RecordType::Txt | RecordType::Cname if name.is_wildcard() => "TXT or CNAME of a wildcard lets others prove",
        RecordType::Caa => "CAA says which CAs may issue for",
        _ => return Ok(()),
    };
    let message = format!("spec.name: {why} {name}; only the domain's own namespace may ask for it");
    Err(Refusal::new(Reason::OutsideDomain, message))
}

/// The type of the spec.
///
/// # Errors
/// None that the API server lets through.
pub(super) fn kind(object: &DnsRecord) -> Result<RecordType, Refusal> {
    let word = object.spec.kind.as_str();
    word.parse().map_err(|e| Refusal::new(Reason::InvalidRecord, format!("spec.type: {e}")))
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
