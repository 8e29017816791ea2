//! What the generated roles allow, and what they do not.

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::harness::{User, grant, install, namespace};

async fn may(user: User, namespace: &str, verb: &str, group: &str, resource: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({"spec": {"resourceAttributes": {
        "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource,
    }}});
    let api: Api<SelfSubjectAccessReview> = Api::all(user.client().await);
    let answer = api.create(&PostParams::default(), &serde_json::from_value(review).unwrap()).await.unwrap();
    answer.status.unwrap().allowed
}

/// Asserts which of `questions`, each `verb resource`, are answered with yes.
async fn allows(user: User, namespace: &str, yes: &[&str], no: &[&str]) {
    for (questions, expected) in [(yes, true), (no, false)] {
        for question in questions {
            let (verb, resource) = question.split_once(' ').unwrap();
            let (group, resource) = resource.split_once(':').unwrap_or(("landfall.dev", resource));
            assert_eq!(may(user, namespace, verb, group, resource).await, expected, "{user:?} {question}");
        }
    }
}

#[tokio::test]
async fn the_controller_may_do_what_it_does_and_no_more() {
    install().await;
    let namespace = namespace().await;
    let yes = [
        "watch cloudcredentials",
        "patch terraformdeployments",
        "update terraformdeployments/status",
        "update cloudcredentials/status",
        "patch organizationdomains",
        "update organizationdomains/status",
        "patch dnsrecords",
        "update dnsrecords/status",
        "watch :secrets",
        "create :secrets",
        "update :secrets",
        "delete :secrets",
        "get :configmaps",
        "watch :configmaps",
        "watch :namespaces",
        "create events.k8s.io:events",
        "patch events.k8s.io:events",
        "get admissionregistration.k8s.io:validatingadmissionpolicybindings",
        "create authentication.k8s.io:tokenreviews",
    ];
    let no = [
        "create cloudcredentials",
        "create dnsrecords",
        "create organizationdomains",
        "delete organizationdomains",
        "delete terraformdeployments",
        "update terraformdeployments",
        "approve terraformdeployments",
        "operate terraformdeployments",
        "bypass-approval terraformdeployments",
        "use cloudcredentials",
        "assign organizations",
        "patch :secrets",
        "create :configmaps",
        "update :configmaps",
        "update coordination.k8s.io:leases",
        "patch :namespaces",
        "create :pods",
        "delete :pods",
        "create batch:jobs",
        "impersonate :users",
        "update admissionregistration.k8s.io:validatingadmissionpolicies",
        "patch rbac.authorization.k8s.io:clusterroles",
        "escalate rbac.authorization.k8s.io:clusterroles",
    ];
    allows(User::Controller, &namespace, &yes, &no).await;
    let yes = [
        "create batch:jobs",
        "watch batch:jobs",
        "delete batch:jobs",
        "list :pods",
        "delete :pods",
        "list :events",
        "create :configmaps",
        "update coordination.k8s.io:leases",
    ];
    let no = ["patch batch:jobs", "create :pods", "create :pods/exec", "get :pods/log", "update :configmaps"];
    allows(User::Controller, "landfall-system", &yes, &no).await;
}

#[tokio::test]
async fn an_editor_has_no_verb_of_the_gate() {
    install().await;
    let namespace = namespace().await;
    grant(&namespace, User::Bob, &["landfall-viewer", "landfall-editor"]).await;
    let yes = [
        "get cloudcredentials",
        "create terraformdeployments",
        "delete terraformdeployments",
        "create organizationdomains",
        "create dnsrecords",
        "create certificates",
    ];
    let no = [
        "create cloudcredentials",
        "update terraformdeployments/status",
        "approve terraformdeployments",
        "operate terraformdeployments",
        "operate organizationdomains",
        "operate dnsrecords",
        "update organizationdomains/status",
        "bypass-approval terraformdeployments",
        "use cloudcredentials",
    ];
    allows(User::Bob, &namespace, &yes, &no).await;
}

#[tokio::test]
async fn an_approver_makes_and_deletes_nothing() {
    install().await;
    let namespace = namespace().await;
    grant(&namespace, User::Alice, &["landfall-approver"]).await;
    let yes = ["get terraformdeployments", "patch terraformdeployments", "approve terraformdeployments"];
    let no = [
        "create terraformdeployments",
        "delete terraformdeployments",
        "patch terraformdeployments/status",
        "bypass-approval terraformdeployments",
        "use cloudcredentials",
        "get :secrets",
    ];
    allows(User::Alice, &namespace, &yes, &no).await;
}

#[tokio::test]
async fn who_administers_credentials_reads_no_secret() {
    install().await;
    let namespace = namespace().await;
    grant(&namespace, User::Carol, &["landfall-credential-admin"]).await;
    let yes = ["create cloudcredentials", "use cloudcredentials", "operate cloudcredentials"];
    let no = ["get :secrets", "create terraformdeployments", "update cloudcredentials/status"];
    allows(User::Carol, &namespace, &yes, &no).await;
}
