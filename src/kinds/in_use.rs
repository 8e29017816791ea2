//! Who refers to an object: those of its own namespace by name, others only by their number.

use std::collections::BTreeSet;

use crate::ledger::ObjectKind;
use crate::reconcile::wake::Key;

/// Names in a message; more are counted.
const NAMED: usize = 10;

/// Live objects that refer to one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Kind and name of those in the object's own namespace, in order.
    pub own: Vec<String>,
    /// How many in others, whose names are not this namespace's to know.
    pub others: usize,
}

impl InUse {
    /// The referrers of an object of this namespace.
    pub(super) fn of(namespace: &str, users: &BTreeSet<(ObjectKind, Key)>) -> Self {
        let own = users.iter().filter(|(_, (home, _))| home == namespace);
        let own: Vec<String> = own.map(|(kind, (_, name))| format!("{} {name}", kind.as_str())).collect();
        Self { others: users.len() - own.len(), own }
    }

    /// How many in all.
    pub fn count(&self) -> usize {
        self.own.len() + self.others
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        let mut parts: Vec<String> = self.own.iter().take(NAMED).cloned().collect();
        let more = self.own.len().saturating_sub(NAMED);
        if more > 0 {
            parts.push(format!("{more} more"));
        }
        if self.others > 0 {
            parts.push(format!("{} in other namespaces", self.others));
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn referrers_of_other_namespaces_are_counted_and_not_named() {
        let key = |ns: &str, name: &str| (ns.to_owned(), name.to_owned());
        let users = [
            (ObjectKind::TerraformDeployment, key("shop", "web")),
            (ObjectKind::OrganizationDomain, key("shop", "web")),
            (ObjectKind::TerraformDeployment, key("other", "secret")),
        ];
        let in_use = InUse::of("shop", &users.into());
        assert_eq!(
            (in_use.count(), in_use.told().as_str()),
            (3, "TerraformDeployment web, OrganizationDomain web, 1 in other namespaces")
        );
    }
}
