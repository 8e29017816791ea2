//! Rows for `OrganizationDomain`, and who may let one use a credential.

use serde_json::{Value, json};

use crate::harness::{User, grant, object};
use crate::refusals::{become_, long, names, set, unset};
use crate::table::{Base, Refusal};
use crate::world::{World, refused};
use Base::Domain;

pub(crate) fn refusals() -> Vec<Refusal> {
    let managed = |reference: Value| json!({"mode": "Managed", "credentialRef": reference});
    let name = "must be a domain of two labels or more, such as example.com";
    let mut rows = vec![
        unset(Domain, "/domain", "spec.domain"),
        become_(
            Domain,
            json!({"domain": "example.org"}),
            "spec.domain",
            "cannot change; make another OrganizationDomain",
        ),
        set(
            Domain,
            "/domain",
            json!(format!("{}.example", "a".repeat(246))),
            "spec.domain",
            "may not be more than 253",
        ),
        set(Domain, "/usage", json!("Private"), "spec.usage", "supported values: \"Platform\""),
        set(
            Domain,
            "/verification/method",
            json!("HttpFile"),
            "spec.verification.method",
            "supported values: \"DnsTxt\"",
        ),
        set(
            Domain,
            "/verification/reverifyAfter",
            json!("59s"),
            "spec.verification.reverifyAfter",
            "must be at least 1m",
        ),
        set(
            Domain,
            "/verification/reverifyAfter",
            json!("168h1s"),
            "spec.verification.reverifyAfter",
            "must be at most 168h",
        ),
        set(Domain, "/verification/grace", json!("720h1s"), "spec.verification.grace", "must be at most 720h"),
        set(Domain, "/verification/reverifyAfter", json!("1.5h"), "spec.verification.reverifyAfter", "should match"),
        set(Domain, "/verification/grace", json!("7d"), "spec.verification.grace", "should match"),
        set(Domain, "/verification/grace", json!("1.5h"), "spec.verification.grace", "should match"),
        set(Domain, "/dns/mode", json!("Delegated"), "spec.dns.mode", "supported values: \"Managed\""),
        set(Domain, "/dns/mode", json!("Managed"), "spec.dns.credentialRef", "is needed where mode is Managed"),
        set(
            Domain,
            "/dns",
            json!({"credentialRef": {"name": "pdns"}}),
            "spec.dns.credentialRef",
            "has no meaning where it is External",
        ),
        set(Domain, "/dns", json!({"zoneId": "example.com."}), "spec.dns.zoneId", "zoneId needs credentialRef"),
        set(Domain, "/dns", managed(json!({})), "spec.dns.credentialRef.name", "Required value"),
        set(
            Domain,
            "/dns",
            managed(json!({"name": "a", "namespace": "a.b"})),
            "spec.dns.credentialRef.namespace",
            "should match",
        ),
        set(
            Domain,
            "/dns",
            managed(json!({"name": "a", "namespace": long(64)})),
            "spec.dns.credentialRef.namespace",
            "63",
        ),
        set(Domain, "/policy/allowApex", json!("no"), "spec.policy.allowApex", "must be of type boolean"),
        set(Domain, "/suspend", json!("yes"), "spec.suspend", "must be of type boolean"),
    ];
    for text in [
        "example",
        "",
        "*.example.com",
        "a b.com",
        "https://example.com",
        "a.example.com/x",
        "a@example.com",
        "a..com",
        ".com",
        "a.com..",
        "a\u{0}.com",
        "a\\.com",
    ] {
        rows.push(set(Domain, "/domain", json!(text), "spec.domain", name));
    }
    for (id, message) in [("", "at least 1 chars"), ("a\u{0}b", "should match")] {
        let dns = json!({"mode": "Managed", "credentialRef": {"name": "a"}, "zoneId": id});
        rows.push(set(Domain, "/dns", dns, "spec.dns.zoneId", message));
    }
    let dns = json!({"mode": "Managed", "credentialRef": {"name": "a"}, "zoneId": long(254)});
    rows.push(set(Domain, "/dns", dns, "spec.dns.zoneId", "may not be more than 253"));
    for row in names(Domain, "/dns/credentialRef/name", "spec.dns.credentialRef.name") {
        rows.push(Refusal { edit: row.edit.with("/dns/mode", json!("Managed")), ..row });
    }
    rows
}

pub(crate) fn acceptances() -> Vec<(Base, &'static str, Value)> {
    let managed = |more: (&str, Value)| {
        let mut dns = json!({"mode": "Managed", "credentialRef": {"name": "pdns", "namespace": "dns"}});
        dns[more.0] = more.1;
        dns
    };
    vec![
        (Domain, "/domain", json!("Example.COM.")),
        (Domain, "/domain", json!("bücher.example")),
        (Domain, "/domain", json!("a.b")),
        (Domain, "/domain", json!(format!("{}.example", "a".repeat(245)))),
        (Domain, "/usage", json!("Platform")),
        (Domain, "/usage", json!("Custom")),
        (Domain, "/verification", json!({"method": "DnsTxt", "reverifyAfter": "1m", "grace": "0s"})),
        (Domain, "/verification/reverifyAfter", json!("60s")),
        (Domain, "/verification/reverifyAfter", json!("168h")),
        (Domain, "/verification/grace", json!("720h")),
        (Domain, "/dns", json!({"mode": "External"})),
        (Domain, "/dns", managed(("zoneId", json!("example.com.")))),
        (Domain, "/dns", managed(("zoneId", json!("z".repeat(253))))),
        (Domain, "/policy", json!({"allowWildcard": false, "allowApex": false})),
        (Domain, "/allowedNamespaces", json!({"selector": {}})),
        (Domain, "/suspend", json!(true)),
    ]
}

#[tokio::test]
async fn who_lets_a_domain_use_a_credential_must_be_permitted_to_use_it() {
    let world = World::new().await;
    world.credential("pdns").await;
    let managed = |name: &str| {
        let dns = json!({"mode": "Managed", "credentialRef": {"name": "pdns"}});
        object("OrganizationDomain", name, json!({"domain": "example.com", "dns": dns}))
    };
    world.create(User::Bob, object("OrganizationDomain", "external", json!({"domain": "example.com"}))).await.unwrap();
    let denied =
        format!("spec.dns.credentialRef: \"bob\" lacks the verb use on CloudCredential {}/pdns", world.namespace);
    refused(world.create(User::Bob, managed("managed")).await, &["landfall-use", &denied]);
    grant(&world.namespace, User::Bob, &["landfall-credential-user"]).await;
    world.create(User::Bob, managed("managed")).await.unwrap();
}
