//! Whether names may have a certificate: each must lie within a domain that the organization has proved, and that lets this
//! namespace use it.

use std::collections::BTreeMap;

use super::Refusal;
use crate::access;
use crate::api::Reason;
use crate::dns::Name;
use crate::ledger::{DomainFact, Subject};

/// # Errors
/// The first name that may not, and what to do.
pub(super) fn check(
    names: &[Name],
    domains: &[DomainFact],
    subject: &Subject,
    labels: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    names.iter().try_for_each(|name| one(name, domains, subject, labels))
}

fn one(
    name: &Name,
    domains: &[DomainFact],
    subject: &Subject,
    labels: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let refuse = |reason, message: String| Err(Refusal { reason, message: format!("spec.dnsNames: {name} {message}") });
    let ours = || domains.iter().filter(|d| d.subject.organization == subject.organization && d.covers(name.as_str()));
    let proved = ours().filter(|d| d.standing.state.holds()).max_by_key(|d| d.fqdn.len());
    let Some(domain) = proved else {
        return match ours().next() {
            Some(domain) => refuse(
                Reason::DomainNotVerified,
                format!("lies in {}, whose proof is missing; see the OrganizationDomain's status", domain.fqdn),
            ),
            None => refuse(
                Reason::DomainNotVerified,
                "lies in no proved domain of the organization; make an OrganizationDomain for it and prove it".into(),
            ),
        };
    };
    let terms = &domain.terms;
    let (home, away) = (&domain.subject, domain.subject.namespace != subject.namespace);
    let foreign = away || home.cluster != subject.cluster;
    if foreign && !access::admits(terms.allowed_namespaces.as_ref(), &subject.namespace, labels) {
        return refuse(
            Reason::RefNotPermitted,
            format!(
                "lies in {}, whose OrganizationDomain does not admit this namespace in spec.allowedNamespaces",
                domain.fqdn
            ),
        );
    }
    if name.is_wildcard() && !terms.policy.allow_wildcard {
        return refuse(
            Reason::DomainNotVerified,
            format!("is a wildcard, which spec.policy of {} forbids", domain.fqdn),
        );
    }
    if name.as_str() == domain.fqdn && !terms.policy.allow_apex {
        return refuse(
            Reason::DomainNotVerified,
            format!("is the domain itself, which spec.policy of {} forbids", domain.fqdn),
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
