//! Rows for `Certificate`.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{User, grant, object};
use crate::refusals::{durations, long, many, names, set, unset};
use crate::table::{Base, Refusal};
use crate::world::{World, command, kind, refused};

/// An issuer by ACME with one more field.
fn acme(field: &str, value: Value) -> Value {
    json!({"server": "https://ca.example/dir", field: value})
}

/// One with an external account.
fn bound(binding: Value) -> Value {
    json!({"acme": acme("externalAccountBinding", binding)})
}

pub(crate) fn refusals() -> Vec<Refusal> {
    let of = Base::Certificate;
    let named = |name: &str| json!({"secretRef": {"name": name}});
    // Without secretName, of which other rules tell.
    let brought = |block: Value| json!({"dnsNames": ["a.b"], "issuer": {"imported": block}});
    let one = "exactly one issuer is needed: acme, ca, selfSigned or imported";
    let mut rows = vec![
        unset(of, "/dnsNames", "spec.dnsNames"),
        set(of, "/dnsNames", json!([]), "spec.dnsNames", "should have at least 1 items"),
        set(of, "/dnsNames", many(101, |n| json!(format!("a{n}.b"))), "spec.dnsNames", "must have at most 100 items"),
        set(of, "/dnsNames", json!(["a.b", "a.b"]), "spec.dnsNames[1]", "Duplicate value"),
        set(of, "/dnsNames", json!([""]), "spec.dnsNames[0]", "should be at least 1 chars long"),
        set(of, "/dnsNames", json!([long(254)]), "spec.dnsNames[0]", "253"),
        set(of, "/dnsNames", json!(["a\u{0}"]), "spec.dnsNames[0]", "should match"),
        unset(of, "/secretName", "spec.secretName").saying("secretName is needed"),
        unset(of, "/issuer", "spec.issuer"),
        set(of, "/issuer", json!({}), "spec.issuer", one),
        set(of, "/issuer/ca", named("ca"), "spec.issuer", one),
        set(of, "/issuer", json!({"ca": {}}), "spec.issuer.ca.secretRef", "Required value"),
        set(of, "/issuer", json!({"ca": {"secretRef": {}}}), "spec.issuer.ca.secretRef.name", "Required value"),
        set(of, "", brought(json!({})), "spec.issuer.imported.secretRef", "Required value"),
        set(of, "", brought(json!({"secretRef": {}})), "spec.issuer.imported.secretRef.name", "Required value"),
        set(of, "/issuer", json!({"acme": {}}), "spec.issuer.acme.server", "Required value"),
        set(of, "/issuer", json!({"acme": {"server": "ca.example"}}), "spec.issuer.acme.server", "should match"),
        set(of, "/issuer", json!({"acme": acme("email", json!("nobody"))}), "spec.issuer.acme.email", "should match"),
        set(
            of,
            "/issuer",
            json!({"acme": acme("email", json!(format!("{}@b", "a".repeat(253))))}),
            "spec.issuer.acme.email",
            "254",
        ),
        set(of, "/issuer", json!({"acme": acme("profile", json!(""))}), "spec.issuer.acme.profile", "at least 1 chars"),
        set(of, "/issuer", json!({"acme": acme("profile", long(65))}), "spec.issuer.acme.profile", "64"),
        set(
            of,
            "/issuer",
            json!({"acme": acme("profile", json!("a\u{0}"))}),
            "spec.issuer.acme.profile",
            "should match",
        ),
        set(
            of,
            "/issuer",
            json!({"acme": acme("preferredChain", json!(""))}),
            "spec.issuer.acme.preferredChain",
            "at least 1 chars",
        ),
        set(
            of,
            "/issuer",
            json!({"acme": acme("preferredChain", long(129))}),
            "spec.issuer.acme.preferredChain",
            "128",
        ),
        set(
            of,
            "/issuer",
            json!({"acme": acme("preferredChain", json!("a\u{0}"))}),
            "spec.issuer.acme.preferredChain",
            "should match",
        ),
        set(
            of,
            "/issuer",
            json!({"acme": acme("caBundle", json!(""))}),
            "spec.issuer.acme.caBundle",
            "at least 1 chars",
        ),
        set(of, "/issuer", json!({"acme": acme("caBundle", long(65_537))}), "spec.issuer.acme.caBundle", "65536"),
        set(
            of,
            "/issuer",
            json!({"acme": acme("caBundle", json!("a\u{0}"))}),
            "spec.issuer.acme.caBundle",
            "should match",
        ),
        set(
            of,
            "/issuer",
            json!({"acme": {"server": format!("https://a.b/{}", "c".repeat(2037))}}),
            "spec.issuer.acme.server",
            "2048",
        ),
        set(
            of,
            "/issuer",
            bound(json!({"secretRef": {"name": "eab"}})),
            "spec.issuer.acme.externalAccountBinding.keyId",
            "Required value",
        ),
        set(
            of,
            "/issuer",
            bound(json!({"keyId": "", "secretRef": {"name": "eab"}})),
            "spec.issuer.acme.externalAccountBinding.keyId",
            "at least 1 chars",
        ),
        set(
            of,
            "/issuer",
            bound(json!({"keyId": long(257), "secretRef": {"name": "eab"}})),
            "spec.issuer.acme.externalAccountBinding.keyId",
            "256",
        ),
        set(
            of,
            "/issuer",
            bound(json!({"keyId": "a\u{0}", "secretRef": {"name": "eab"}})),
            "spec.issuer.acme.externalAccountBinding.keyId",
            "should match",
        ),
        set(
            of,
            "/issuer",
            bound(json!({"keyId": "k"})),
            "spec.issuer.acme.externalAccountBinding.secretRef",
            "Required value",
        ),
        set(
            of,
            "/issuer",
            bound(json!({"keyId": "k", "secretRef": {}})),
            "spec.issuer.acme.externalAccountBinding.secretRef.name",
            "Required value",
        ),
        set(
            of,
            "/issuer",
            bound(json!({"keyId": "k", "secretRef": {"name": long(254)}})),
            "spec.issuer.acme.externalAccountBinding.secretRef.name",
            "253",
        ),
        set(
            of,
            "/issuer",
            bound(json!({"keyId": "k", "secretRef": {"name": "A_B"}})),
            "spec.issuer.acme.externalAccountBinding.secretRef.name",
            "should match",
        ),
        set(
            of,
            "/issuer",
            json!({"imported": named("x")}),
            "spec.secretName",
            "nothing is written: leave secretName out",
        ),
        set(of, "/issuer", json!({"ca": named("web-tls")}), "spec.secretName", "must not be the Secret of the CA"),
        set(of, "/privateKey/algorithm", json!("DSA"), "spec.privateKey.algorithm", "supported values: \"ECDSA\""),
        set(
            of,
            "/privateKey/rotationPolicy",
            json!("Once"),
            "spec.privateKey.rotationPolicy",
            "supported values: \"Always\"",
        ),
        set(of, "/privateKey/size", json!(2048), "spec.privateKey.size", "with ECDSA, size must be 256 or 384"),
        set(
            of,
            "/privateKey",
            json!({"algorithm": "RSA", "size": 1024}),
            "spec.privateKey.size",
            "with RSA, size must be",
        ),
        set(of, "/duration", json!("59m"), "spec.duration", "must be at least 1h"),
        set(of, "/duration", json!("1.5h"), "spec.duration", "should match"),
        set(of, "/renewal/policy", json!("Never"), "spec.renewal.policy", "supported values: \"Automatic\""),
        set(of, "/renewal/before", json!("2160h"), "spec.renewal.before", "renewal.before must be less than duration"),
        set(of, "/suspend", json!("no"), "spec.suspend", "must be of type boolean"),
        set(of, "/revokeOnDelete", json!(true), "spec.revokeOnDelete", "revokeOnDelete needs issuer.acme"),
    ];
    rows.extend(durations(of, "/renewal/before", "spec.renewal.before"));
    rows.extend(names(of, "/secretName", "spec.secretName"));
    for (name, message) in [(long(254), "253"), (json!("A_B"), "should match")] {
        let reference = json!({"secretRef": {"name": name}});
        rows.push(set(of, "/issuer", json!({"ca": reference}), "spec.issuer.ca.secretRef.name", message));
        rows.push(set(of, "", brought(reference), "spec.issuer.imported.secretRef.name", message));
    }
    rows
}

pub(crate) fn acceptances() -> Vec<(Base, &'static str, Value)> {
    let of = Base::Certificate;
    let brought = json!({"imported": {"secretRef": {"name": "web-tls"}}});
    let hosts = |count: usize| (0..count).map(|n| json!(format!("a{n}.example.com"))).collect::<Value>();
    vec![
        (of, "/dnsNames", hosts(100)),
        (of, "/dnsNames", json!(["*.example.com", "BÜCHER.example", "a".repeat(253)])),
        (of, "/secretName", json!("a".repeat(253))),
        (of, "/issuer", json!({"ca": {"secretRef": {"name": "ca"}}})),
        (of, "/issuer", brought.clone()),
        (of, "/issuer", json!({"acme": {"server": "https://ca.example/dir"}})),
        (
            of,
            "/issuer",
            json!({"acme": {"server": "http://127.0.0.1:14000/dir", "email": "team@example.org", "profile": "shortlived",
            "preferredChain": "Root X1", "caBundle": "-----BEGIN CERTIFICATE-----",
            "externalAccountBinding": {"keyId": "kid-1", "secretRef": {"name": "eab"}}}}),
        ),
        (of, "", json!({"dnsNames": ["example.com"], "issuer": brought})),
        (of, "/privateKey", json!({"algorithm": "ECDSA", "size": 384})),
        (of, "/privateKey", json!({"algorithm": "RSA"})),
        (of, "/privateKey", json!({"algorithm": "RSA", "size": 4096, "rotationPolicy": "Never"})),
        (of, "/duration", json!("1h")),
        (of, "/renewal", json!({"policy": "Manual"})),
        (of, "/renewal", json!({"before": "2159h59m59s"})),
        (of, "/suspend", json!(true)),
        (
            of,
            "",
            json!({"dnsNames": ["example.com"], "secretName": "tls", "revokeOnDelete": true,
                   "issuer": {"acme": {"server": "https://ca.example/dir"}}}),
        ),
    ]
}

#[tokio::test]
async fn a_renewal_is_commanded_by_who_may_operate_and_names_a_serial_number() {
    let world = World::new().await;
    let base = Base::Certificate.spec();
    world.create(User::Admin, object("Certificate", "www", base)).await.unwrap();
    let send = async |user: User, command: Value| {
        let api = kind(user.client().await, &world.namespace, "Certificate");
        api.patch("www", &PatchParams::default(), &Patch::Merge(&command)).await
    };
    let policy = "landfall-commands";
    refused(send(User::Bob, command("renew", "5f3a", "bob")).await, &[policy, "\"bob\" lacks the verb operate"]);
    grant(&world.namespace, User::Carol, &["landfall-operator"]).await;
    for bad in ["", "5F3A", "0x5f", &"a".repeat(41)] {
        refused(send(User::Carol, command("renew", bad, "carol")).await, &[policy, "must be a serial number in hex"]);
    }
    refused(send(User::Carol, command("renew", "5f3a", "bob")).await, &[policy, "must be \"carol\""]);
    refused(send(User::Carol, command("approve", "x", "carol")).await, &[policy, "is no command of certificates"]);
    send(User::Carol, command("renew", "5f3a", "carol")).await.unwrap();
    let deployment = world.patch(User::Admin, command("renew", "5f3a", "admin")).await;
    refused(deployment, &[policy, "landfall.dev/renew is no command of terraformdeployments"]);
}

#[tokio::test]
async fn a_revocation_is_commanded_by_who_may_operate_and_names_serial_number_and_reason() {
    let world = World::new().await;
    let base = Base::Certificate.spec();
    world.create(User::Admin, object("Certificate", "www", base)).await.unwrap();
    let send = async |user: User, value: &str, by: &str| {
        let api = kind(user.client().await, &world.namespace, "Certificate");
        api.patch("www", &PatchParams::default(), &Patch::Merge(&command("revoke", value, by))).await
    };
    let policy = "landfall-commands";
    let good = "5f3a,keyCompromise";
    refused(send(User::Bob, good, "bob").await, &[policy, "\"bob\" lacks the verb operate"]);
    grant(&world.namespace, User::Carol, &["landfall-operator"]).await;
    for bad in
        ["", "5f3a", "5f3a,", "5f3a,cACompromise", "5f3a, superseded", "5F3A,superseded", "5f3a,1", ",superseded"]
    {
        refused(
            send(User::Carol, bad, "carol").await,
            &[policy, "must be a serial number in hex, a comma, and unspecified"],
        );
    }
    refused(send(User::Carol, good, "bob").await, &[policy, "must be \"carol\""]);
    send(User::Carol, good, "carol").await.unwrap();
    let deployment = world.patch(User::Admin, command("revoke", good, "admin")).await;
    refused(deployment, &[policy, "landfall.dev/revoke is no command of terraformdeployments"]);
}
