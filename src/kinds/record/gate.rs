//! What an object may ask for at all: the domain that it refers to must be its organization's, proved, open to its namespace,
//! and the nearest one to the name. All of it is known before any provider is called.

use crate::api::{DnsRecord, Reason};
use crate::dns::{Name, RecordType};
use crate::ledger::DomainFact;

use super::decide::Refusal;

/// Labels that begin so are Landfall's own.
const OWN: &str = "_landfall-";
/// Names whose TXT sets are shared by all that prove something.
const SHARED: [&str; 2] = ["_acme-challenge", "_landfall-challenge"];

/// Whether the record may have its name below the domain that it refers to. `domains` are all of the organization, those with
/// longer names first.
///
/// # Errors
/// Why not.
pub(super) fn name(object: &DnsRecord, domain: &DomainFact, domains: &[DomainFact]) -> Result<Name, Refusal> {
    let spec = &object.spec;
    let refuse = |reason, message: String| Err(Refusal::new(reason, message));
    if !domain.standing.state.holds() {
        let message = format!(
            "{} is not proved ({}); see its OrganizationDomain {:?}",
            domain.fqdn, domain.standing.reason, domain.subject.name
        );
        return refuse(Reason::DomainNotVerified, message);
    }
    let top = Name::parse(&domain.fqdn).map_err(|e| Refusal::new(Reason::IntegrityViolation, e.to_string()))?;
    let name = Name::relative(&spec.name, &top)
        .map_err(|e| Refusal::new(Reason::InvalidRecord, e.at("spec.name").to_string()))?;
    if !name.is_within(&top) {
        return refuse(Reason::OutsideDomain, format!("spec.name: {name} does not lie in {top}"));
    }
    let nearest = domains.iter().find(|other| other.standing.state.holds() && other.covers(name.as_str()));
    if let Some(nearest) = nearest.filter(|nearest| nearest.fqdn != domain.fqdn && nearest.covers(name.as_str())) {
        let message = format!(
            "spec.name: {name} lies in {}, which is proved by itself; let spec.domainRef name that domain",
            nearest.fqdn
        );
        return refuse(Reason::OutsideDomain, message);
    }
    if name.is_wildcard() && !domain.terms.policy.allow_wildcard {
        return refuse(Reason::OutsideDomain, format!("spec.name: the policy of {top} permits no wildcards"));
    }
    if name == top && !domain.terms.policy.allow_apex {
        return refuse(
            Reason::OutsideDomain,
            format!("spec.name: the policy of {top} does not permit the domain itself"),
        );
    }
    own_names(&name, kind(object)?)?;
    Ok(name)
}

/// Names with which Landfall says what is whose, and those that several share.
fn own_names(name: &Name, kind: RecordType) -> Result<(), Refusal> {
    let first = name.labels().next().unwrap_or_default();
    if kind == RecordType::Txt && SHARED.contains(&first) {
        let message =
            format!("spec.name: the TXT set {name} is shared by all who prove something; no object has it alone");
        return Err(Refusal::new(Reason::InvalidRecord, message));
    }
    if name.labels().any(|label| label.starts_with(OWN) && label != "_landfall-challenge") {
        let message = format!("spec.name: labels that begin with {OWN:?} are Landfall's own; choose another");
        return Err(Refusal::new(Reason::InvalidRecord, message));
    }
    Ok(())
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
