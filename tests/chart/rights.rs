//! The roles of the chart as the API server reads them: each verb on each resource, allowed or not.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::helm::HOME;

const RESOURCES: &[&str] = &[
    "cloudcredentials",
    "terraformdeployments",
    "organizationdomains",
    "dnsrecords",
    "certificates",
    "cloudcredentials/status",
    "terraformdeployments/status",
    "organizationdomains/status",
    "dnsrecords/status",
    "certificates/status",
    "organizations",
    ":secrets",
    ":configmaps",
    ":namespaces",
    ":pods",
    ":events",
    "batch:jobs",
    "coordination.k8s.io:leases",
    "authentication.k8s.io:tokenreviews",
    "rbac.authorization.k8s.io:clusterroles",
    "apiextensions.k8s.io:customresourcedefinitions",
    "admissionregistration.k8s.io:validatingadmissionpolicies",
];
const VERBS: &[&str] = &[
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "approve",
    "operate",
    "bypass-approval",
    "use",
    "assign",
];

const ALL: &str = "cloudcredentials,terraformdeployments,organizationdomains,dnsrecords,certificates";
const READ: &str = "get,list,watch";
const CHANGE: &str = "create,update,patch,delete,deletecollection";
const STATUS: &str = "cloudcredentials/status,terraformdeployments/status,organizationdomains/status,dnsrecords/status,certificates/status";

/// What a role allows: resources, and verbs on each of them. Everything else it does not.
type Rights = &'static [(&'static str, &'static str)];

/// The roles for people.
const ROLES: &[(&str, Rights)] = &[
    ("landfall-viewer", &[(ALL, READ)]),
    ("landfall-editor", &[(ALL, READ), ("terraformdeployments,organizationdomains,dnsrecords,certificates", CHANGE)]),
    ("landfall-approver", &[(ALL, READ), ("terraformdeployments,organizationdomains", "patch,approve,operate")]),
    ("landfall-operator", &[(ALL, READ), (ALL, "patch,operate")]),
    ("landfall-bypass", &[("terraformdeployments", "bypass-approval")]),
    ("landfall-credential-user", &[("cloudcredentials", "get,list,watch,use")]),
    (
        "landfall-credential-admin",
        &[("cloudcredentials", READ), ("cloudcredentials", CHANGE), ("cloudcredentials", "use,operate")],
    ),
    (
        "landfall-admin",
        &[
            (ALL, READ),
            (ALL, CHANGE),
            (ALL, "operate"),
            ("terraformdeployments,organizationdomains", "approve"),
            ("terraformdeployments", "bypass-approval"),
            ("cloudcredentials", "use"),
        ],
    ),
    ("landfall-organization-admin", &[("organizations", "assign"), (":namespaces", "get,list,watch,patch")]),
];

/// The controller where it watches, in its own namespace, and elsewhere.
pub(crate) const CONTROLLER: Rights = &[(":secrets", "get,list,watch,create,update,delete"), (":configmaps", READ)];
pub(crate) const OWN: Rights = &[
    ("coordination.k8s.io:leases", "get,create,update,patch"),
    (":configmaps", "get,create"),
    (":secrets", "create"),
    ("batch:jobs", "get,list,watch,create,delete"),
    (":pods", "get,list,watch,delete"),
    (":events", "list"),
];
pub(crate) const CLUSTER: Rights = &[
    (ALL, "get,list,watch,patch"),
    (STATUS, "update,patch"),
    (":namespaces", READ),
    ("authentication.k8s.io:tokenreviews", "create"),
    ("admissionregistration.k8s.io:validatingadmissionpolicies", "get"),
];

pub(crate) const CONTROLLERS: &str = "system:serviceaccount:landfall-system:landfall-controller";
pub(crate) const RUNNERS: &str = "system:serviceaccount:landfall-system:landfall-runner";

async fn may(client: &Client, user: &str, namespace: &str, verb: &str, of: &str) -> bool {
    let (group, resource) = of.split_once(':').unwrap_or(("landfall.dev", of));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {"user": user, "resourceAttributes": {
        "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource,
    }}}))
    .unwrap();
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

/// All that a user may do in a namespace, of the verbs and resources above.
async fn matrix(client: &Client, user: &str, namespace: &str) -> BTreeSet<String> {
    let questions = RESOURCES.iter().flat_map(|of| VERBS.iter().map(move |verb| (*verb, *of)));
    let answers = futures::stream::iter(questions)
        .map(async |(verb, of)| may(client, user, namespace, verb, of).await.then(|| format!("{verb} {of}")));
    answers.buffer_unordered(16).filter_map(async |yes| yes).collect().await
}

fn expected(rights: &[Rights]) -> BTreeSet<String> {
    let rows = rights.iter().flat_map(|rights| rights.iter());
    rows.flat_map(|(resources, verbs)| {
        resources.split(',').flat_map(move |of| verbs.split(',').map(move |verb| format!("{verb} {of}")))
    })
    .collect()
}

/// Holds a user to these rights in a namespace, as soon as the API server knows of them.
pub(crate) async fn holds(client: &Client, user: &str, namespace: &str, rights: &[Rights]) {
    let expected = expected(rights);
    let mut found = BTreeSet::new();
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while found != expected && std::time::Instant::now() < end {
        found = matrix(client, user, namespace).await;
    }
    let (more, less): (Vec<_>, Vec<_>) = (found.difference(&expected).collect(), expected.difference(&found).collect());
    assert!(more.is_empty() && less.is_empty(), "{user} in {namespace}: may also {more:?}, and lacks {less:?}");
}

/// Binds each role to a user of its own in a namespace, and holds it to the table.
pub(crate) async fn of_people(client: &Client, namespace: &str) {
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    for (role, _) in ROLES {
        let binding = json!({
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": role}],
        });
        bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    }
    for (role, rights) in ROLES {
        holds(client, role, namespace, &[rights]).await;
    }
    holds(client, "landfall-editor", HOME, &[]).await;
}
