//! Whether an object may have a name: the nearest domain that its organization knows above the name must be proved, and must
//! let the object use it. Records and certificates ask here, and nowhere else.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Refusal;
use crate::access;
use crate::api::Reason;
use crate::dns::Name;
use crate::ledger::{DomainFact, Subject};

/// Who asks for a name.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    /// The object.
    pub subject: &'a Subject,
    /// Labels of its namespace.
    pub labels: &'a BTreeMap<String, String>,
    /// The domain that it refers to, where it refers to one; else any that admits it will do.
    pub by: Option<&'a Subject>,
}

impl Asker<'_> {
    /// Whether the domain is of the object's own namespace.
    pub(super) fn is_at_home(&self, domain: &DomainFact) -> bool {
        let (own, home) = (self.subject, &domain.subject);
        (own.cluster, &own.namespace) == (home.cluster, &home.namespace)
    }

    /// Whether the domain lets the object use it. What a domain says of namespaces, it says of those of its own cluster.
    pub(super) fn is_admitted(&self, domain: &DomainFact) -> bool {
        let allowed = domain.terms.allowed_namespaces.as_ref();
        self.is_at_home(domain)
            || domain.subject.cluster == self.subject.cluster
                && access::admits(allowed, &self.subject.namespace, self.labels)
    }

    fn refers_to(&self, domain: &DomainFact) -> bool {
        self.by.is_none_or(|by| (by.cluster, by.uid) == (domain.subject.cluster, domain.subject.uid))
    }
}

/// A domain that is proved, and by which an object may go.
pub(super) struct Holding<'d> {
    /// Of several objects for the nearest domain, one of the asker's own namespace comes first.
    pub domain: &'d DomainFact,
    /// All objects by which it is proved.
    all: Vec<&'d DomainFact>,
}

/// The nearest domain above the name, where it is proved now and lets the object use it; whatever its policy says of the name.
///
/// A domain that was proved once and is so no longer closes the names below it: what is proved above it does not open them.
/// One that never was proved says nothing, so that nobody closes names by asking for them.
///
/// # Errors
/// Why not, in words that begin with the name.
pub(super) fn holding<'d>(
    name: &Name,
    who: Asker<'_>,
    domains: &'d [DomainFact],
    now: Timestamp,
) -> Result<Holding<'d>, Refusal> {
    let refuse = |reason, words: String| Err(Refusal::new(reason, format!("{name} {words}")));
    let known =
        domains.iter().filter(|d| d.subject.organization == who.subject.organization && d.covers(name.as_str()));
    let (proved, asked): (Vec<_>, Vec<_>) = known.partition(|d| d.standing.verified_at.is_some());
    let Some(fqdn) = proved.iter().map(|d| d.fqdn.as_str()).max_by_key(|fqdn| fqdn.len()) else {
        let words = match asked.first() {
            Some(domain) => {
                format!("lies in {}, which is not proved yet; see the OrganizationDomain's status", domain.fqdn)
            }
            None => {
                "lies in no proved domain of the organization; make an OrganizationDomain for it and prove it".into()
            }
        };
        return refuse(Reason::DomainNotVerified, words);
    };
    let holding: Vec<_> = proved.into_iter().filter(|d| d.fqdn == fqdn && d.holds(now)).collect();
    if holding.is_empty() {
        let words = format!("lies in {fqdn}, whose proof is missing; see the OrganizationDomain's status");
        return refuse(Reason::DomainNotVerified, words);
    }
    if who.by.is_some() && !holding.iter().any(|d| who.refers_to(d)) {
        let words = format!("lies in {fqdn}, which is proved by itself; let spec.domainRef name that domain");
        return refuse(Reason::OutsideDomain, words);
    }
    let permitted = holding.iter().copied().filter(|d| who.refers_to(d) && who.is_admitted(d));
    let Some(domain) = permitted.min_by_key(|d| (!who.is_at_home(d), d.subject.uid)) else {
        let words = format!(
            "lies in {fqdn}, which no OrganizationDomain of this cluster lets this namespace use; have it named in \
             spec.allowedNamespaces of one, or prove the domain in this namespace too"
        );
        return refuse(Reason::RefNotPermitted, words);
    };
    Ok(Holding { domain, all: holding })
}

/// The domain by which the object may have the name, now; the policies of all that are proved in its cluster count.
///
/// # Errors
/// As [`holding`]; what a policy forbids.
pub(super) fn permit<'d>(
    name: &Name,
    who: Asker<'_>,
    domains: &'d [DomainFact],
    now: Timestamp,
) -> Result<&'d DomainFact, Refusal> {
    let Holding { domain, all } = holding(name, who, domains, now)?;
    let fqdn = domain.fqdn.as_str();
    let refuse = |words: String| Err(Refusal::new(Reason::OutsideDomain, format!("{name} {words}")));
    let policies = || all.iter().filter(|d| d.subject.cluster == who.subject.cluster).map(|d| &d.terms.policy);
    if name.is_wildcard() && !policies().all(|policy| policy.allow_wildcard) {
        return refuse(format!("is a wildcard, which spec.policy of {fqdn} forbids"));
    }
    if name.as_str() == fqdn && !policies().all(|policy| policy.allow_apex) {
        return refuse(format!("is the domain itself, which spec.policy of {fqdn} forbids"));
    }
    Ok(domain)
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
