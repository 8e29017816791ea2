//! Who may do what: the ClusterRoles of an installation, as a table.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::ObjectMeta;

use crate::controller::serving;
use crate::reconcile::anchors;

/// One row: a group, resources of it, verbs on them.
struct Rule(&'static str, &'static [&'static str], &'static [&'static str]);

/// One role: its name, the built-in role that it is aggregated to, its rules.
struct Role {
    name: &'static str,
    aggregate: Option<&'static str>,
    rules: &'static [Rule],
    /// More rules, each on the objects of one name.
    named: &'static [(&'static str, Rule)],
}

const LANDFALL: &str = crate::api::GROUP;
const KINDS: &[&str] =
    &["cloudcredentials", "terraformdeployments", "organizationdomains", "dnsrecords", "certificates"];
const STATUS: &[&str] = &[
    "cloudcredentials/status",
    "terraformdeployments/status",
    "organizationdomains/status",
    "dnsrecords/status",
    "certificates/status",
];
const FINALIZERS: &[&str] = &[
    "cloudcredentials/finalizers",
    "terraformdeployments/finalizers",
    "organizationdomains/finalizers",
    "dnsrecords/finalizers",
    "certificates/finalizers",
];
const READ: &[&str] = &["get", "list", "watch"];
const CHANGE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];

const ROLES: &[Role] = &[
    // Bound to the controller's service account, in all namespaces or in each of `watchNamespaces`.
    Role {
        name: "landfall-controller",
        aggregate: None,
        rules: &[
            Rule("", &["secrets"], READ),
            // Outputs, certificates.
            Rule("", &["secrets"], &["create", "update", "delete"]),
            Rule("", &["configmaps"], READ),
            Rule("events.k8s.io", &["events"], &["create", "patch"]),
        ],
        named: &[],
    },
    // Bound in the whole cluster, whichever namespaces are watched: what has no namespace, and the kinds, for in a namespace that
    // is being deleted bindings may go before objects, and then nobody could take their finalizers off.
    Role {
        name: "landfall-controller-cluster",
        aggregate: None,
        rules: &[
            // `patch` is for finalizers and for taking command annotations away.
            Rule(LANDFALL, KINDS, &["get", "list", "watch", "patch"]),
            Rule(LANDFALL, STATUS, &["update", "patch"]),
            // Owner references that block deletion.
            Rule(LANDFALL, FINALIZERS, &["update"]),
            Rule("", &["namespaces"], READ),
            // Whose pod it is that asks the run API.
            Rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
            // Whether the gate stands.
            Rule(
                "admissionregistration.k8s.io",
                &["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
                &["get"],
            ),
        ],
        named: &[],
    },
    // Bound in Landfall's own namespace alone. Other Secrets there, the login that may migrate, it does not read.
    Role {
        name: "landfall-controller-own",
        aggregate: None,
        rules: &[
            Rule("coordination.k8s.io", &["leases"], &["get", "create", "update", "patch"]),
            // The cluster id, made once, and the heads of the chains.
            Rule("", &["configmaps"], &["get", "create"]),
            // The certificate of the run API.
            Rule("", &["secrets"], &["create"]),
            // Runs.
            Rule("batch", &["jobs"], &["get", "list", "watch", "create", "delete"]),
            Rule("", &["pods"], &["get", "list", "watch", "delete"]),
            // Why a pod does not begin.
            Rule("", &["events"], &["list"]),
        ],
        named: &[
            (anchors::CONFIG_MAP, Rule("", &["configmaps"], &["update"])),
            (serving::SECRET, Rule("", &["secrets"], &["get", "update"])),
        ],
    },
    Role { name: "landfall-viewer", aggregate: Some("view"), rules: &[Rule(LANDFALL, KINDS, READ)], named: &[] },
    // Deployments and certificates, without the gate: approval, bypass and the use of credentials are granted on their own.
    Role {
        name: "landfall-editor",
        aggregate: Some("edit"),
        rules: &[
            Rule(LANDFALL, KINDS, READ),
            Rule(LANDFALL, &["terraformdeployments", "organizationdomains", "dnsrecords", "certificates"], CHANGE),
        ],
        named: &[],
    },
    // Commands are annotations, so that whoever gives them may patch.
    Role {
        name: "landfall-approver",
        aggregate: None,
        rules: &[
            Rule(LANDFALL, KINDS, READ),
            Rule(LANDFALL, &["terraformdeployments", "organizationdomains"], &["patch", "approve", "operate"]),
        ],
        named: &[],
    },
    Role {
        name: "landfall-operator",
        aggregate: None,
        rules: &[Rule(LANDFALL, KINDS, READ), Rule(LANDFALL, KINDS, &["patch", "operate"])],
        named: &[],
    },
    Role {
        name: "landfall-bypass",
        aggregate: None,
        rules: &[Rule(LANDFALL, &["terraformdeployments"], &["bypass-approval"])],
        named: &[],
    },
    Role {
        name: "landfall-credential-user",
        aggregate: None,
        rules: &[Rule(LANDFALL, &["cloudcredentials"], &["get", "list", "watch", "use"])],
        named: &[],
    },
    Role {
        name: "landfall-credential-admin",
        aggregate: None,
        rules: &[
            Rule(LANDFALL, &["cloudcredentials"], READ),
            Rule(LANDFALL, &["cloudcredentials"], CHANGE),
            Rule(LANDFALL, &["cloudcredentials"], &["use", "operate"]),
        ],
        named: &[],
    },
    // All of it in a namespace: who writes a plan may also let it pass. No part of `admin`, which many have who should not.
    Role {
        name: "landfall-admin",
        aggregate: None,
        rules: &[
            Rule(LANDFALL, KINDS, READ),
            Rule(LANDFALL, KINDS, CHANGE),
            Rule(LANDFALL, KINDS, &["operate"]),
            Rule(LANDFALL, &["terraformdeployments", "organizationdomains"], &["approve"]),
            Rule(LANDFALL, &["terraformdeployments"], &["bypass-approval"]),
            Rule(LANDFALL, &["cloudcredentials"], &["use"]),
        ],
        named: &[],
    },
    // Moves namespaces between organizations; `organizations` exist only as names.
    Role {
        name: "landfall-organization-admin",
        aggregate: None,
        rules: &[
            Rule(LANDFALL, &["organizations"], &["assign"]),
            Rule("", &["namespaces"], &["get", "list", "watch", "patch"]),
        ],
        named: &[],
    },
];

/// The ClusterRoles in the order of the table.
pub(super) fn cluster_roles() -> Vec<ClusterRole> {
    ROLES.iter().map(cluster_role).collect()
}

fn cluster_role(role: &Role) -> ClusterRole {
    let mut labels = BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "landfall".to_owned())]);
    if let Some(to) = role.aggregate {
        labels.insert(format!("rbac.authorization.k8s.io/aggregate-to-{to}"), "true".to_owned());
    }
    ClusterRole {
        metadata: ObjectMeta { name: Some(role.name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        rules: Some(role.named.iter().map(named_rule).chain(role.rules.iter().map(policy_rule)).collect()),
        ..ClusterRole::default()
    }
}

fn named_rule((name, rule): &(&str, Rule)) -> PolicyRule {
    PolicyRule { resource_names: Some(vec![(*name).to_owned()]), ..policy_rule(rule) }
}

fn policy_rule(Rule(group, resources, verbs): &Rule) -> PolicyRule {
    let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![(*group).to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}
