//! What an object may not ask for costs no call of a provider.

use kube::api::Patch;
use landfall::api::OrganizationDomain;
use landfall::dns::RecordType;
use serde_json::json;

use crate::harness::{assign, namespace, wait_until};
use crate::world::{At, PLENTY, World, message};

#[tokio::test(flavor = "multi_thread")]
async fn no_trick_of_a_name_makes_a_call() {
    let world = World::without_domain(At::PowerDns).await;
    world.record("early", json!({"name": "early"})).await;
    world.told("early", "Ready", "False", "DomainNotVerified").await;
    world.domain("example", &world.fqdn, json!({})).await;
    world.proved("example").await;
    world.ready("early").await;
    let strict = format!("strict.{}", world.fqdn);
    world.domain("strict", &strict, json!({"policy": {"allowWildcard": false, "allowApex": false}})).await;
    world.proved("strict").await;
    world.domain("unproved", &format!("unproved.{}", world.fqdn), json!({"dns": {"mode": "External"}})).await;
    let before = world.calls();
    let rows = [
        (json!({"name": "www.strict"}), "OutsideDomain"),
        (json!({"name": "strict"}), "OutsideDomain"),
        (json!({"name": "*", "domainRef": {"name": "strict"}}), "OutsideDomain"),
        (json!({"name": "@", "domainRef": {"name": "strict"}}), "OutsideDomain"),
        (json!({"name": "www", "domainRef": {"name": "unproved"}}), "DomainNotVerified"),
        (json!({"name": "www", "domainRef": {"name": "absent"}}), "DomainNotVerified"),
        (json!({"name": "www", "domainRef": {"name": "example", "namespace": "kube-system"}}), "RefNotPermitted"),
        (json!({"name": world.fqdn}), "InvalidRecord"),
        (json!({"name": format!("www.{}", world.fqdn)}), "InvalidRecord"),
        (json!({"name": "a..b"}), "InvalidRecord"),
        (json!({"name": "a b"}), "InvalidRecord"),
        (json!({"name": "-a"}), "InvalidRecord"),
        (json!({"name": "xn--a"}), "InvalidRecord"),
        (json!({"name": "a".repeat(64)}), "InvalidRecord"),
        (json!({"name": "\u{202e}moc"}), "InvalidRecord"),
        (json!({"name": "_acme-challenge", "type": "TXT", "values": ["x"]}), "InvalidRecord"),
        (json!({"name": "_landfall-challenge", "type": "TXT", "values": ["x"]}), "InvalidRecord"),
        (json!({"name": "_acme-challenge", "type": "CNAME", "values": ["elsewhere.example."]}), "InvalidRecord"),
        (
            json!({"name": "_landfall-challenge.dev", "type": "NS", "values": ["ns1.elsewhere.example."]}),
            "InvalidRecord",
        ),
        (json!({"name": "a._acme-challenge.www", "type": "TXT", "values": ["x"]}), "InvalidRecord"),
        (json!({"name": "www._landfall-a", "type": "TXT", "values": ["heritage=landfall"]}), "InvalidRecord"),
        (json!({"name": "www", "values": ["192.0.2.256"]}), "InvalidRecord"),
        (json!({"name": "www", "type": "MX", "values": ["10 mail.example.com"]}), "InvalidRecord"),
    ];
    for (number, (spec, reason)) in rows.iter().enumerate() {
        let name = format!("trick-{number}");
        world.record(&name, spec.clone()).await;
        let object = world.told(&name, "Accepted", "False", reason).await;
        assert!(!message(&object, "Ready").is_empty());
        world.delete(&name).await;
        world.gone(&name).await;
    }
    assert_eq!(world.calls(), before, "no call concerned a zone");
    let intents =
        "SELECT count(*) FROM landfall.activity_log WHERE object_name LIKE 'trick-%' AND action = 'intent.made'";
    assert_eq!(world.ask::<i64>(intents).await, [0]);
}

/// Who is admitted to a domain has names in it, and no say in who may prove or certify them.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_of_a_domain_has_names_in_it_as_long_as_it_is_admitted() {
    let guest = namespace().await;
    let world = World::beside(At::PowerDns, std::slice::from_ref(&guest), |_| {}).await;
    for name in [&world.namespace, &guest] {
        assign(name, world.namespace.as_str()).await;
    }
    let record = async |name: &str, more: serde_json::Value| {
        let reference = json!({"name": "example", "namespace": world.namespace});
        let mut spec = json!({"domainRef": reference, "name": name, "type": "A", "values": ["192.0.2.7"]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.create_in(&guest, "DnsRecord", name, spec).await;
    };
    world.domain("example", &world.fqdn, json!({})).await;
    world.proved("example").await;
    record("www", json!({})).await;
    world.told_in(&guest, "www", ("Accepted", "False", "RefNotPermitted")).await;
    let admit = async |names: serde_json::Value| {
        let patch = Patch::Merge(json!({"spec": {"allowedNamespaces": names}}));
        world.api::<OrganizationDomain>().patch("example", &Default::default(), &patch).await.unwrap();
    };
    admit(json!({"names": [guest]})).await;
    world.told_in(&guest, "www", ("Ready", "True", "Ready")).await;
    assert_eq!(world.values(&world.name("www"), RecordType::A).await, ["192.0.2.7"]);
    for (name, kind, value) in [("caa", "CAA", "0 issue ;"), ("part", "NS", "ns1.elsewhere.test.")] {
        record(name, json!({"type": kind, "values": [value]})).await;
        let object = world.told_in(&guest, name, ("Accepted", "False", "OutsideDomain")).await;
        assert!(message(&object, "Ready").contains("only the domain's own namespace"), "{}", message(&object, "Ready"));
    }
    admit(json!(null)).await;
    let object = world.told_in(&guest, "www", ("Accepted", "False", "RefNotPermitted")).await;
    let kinds: Vec<String> = object.status.unwrap().conditions.into_iter().map(|c| c.type_).collect();
    assert!(!kinds.iter().any(|kind| kind == "Programmed" || kind == "Drifted"), "nobody looks any more: {kinds:?}");
    assert_eq!(world.values(&world.name("www"), RecordType::A).await, ["192.0.2.7"], "what stands stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_limits_the_domains_and_must_be_valid() {
    let world = World::new(At::PowerDns).await;
    let credentials = world.api::<landfall::api::CloudCredential>();
    let limit = |domains: serde_json::Value| {
        let patch = kube::api::Patch::Merge(json!({"spec": {"allowedDomains": domains}}));
        let credentials = credentials.clone();
        async move { credentials.patch("dns", &Default::default(), &patch).await.unwrap() }
    };
    limit(json!(["elsewhere.example"])).await;
    world.record("www", json!({})).await;
    let object = world.told("www", "Ready", "False", "RefNotPermitted").await;
    assert!(message(&object, "Ready").contains("spec.allowedDomains"), "{}", message(&object, "Ready"));
    assert_eq!(world.stands(&world.name("www"), RecordType::A).await, None);
    limit(json!([world.fqdn])).await;
    world.ready("www").await;

    let secrets = world.api::<k8s_openapi::api::core::v1::Secret>();
    let key = kube::api::Patch::Merge(json!({"stringData": {"api_key": "rotated-to-nonsense"}}));
    secrets.patch("dns", &Default::default(), &key).await.unwrap();
    wait_until(PLENTY, "the refusal", async || {
        let conditions = credentials.get("dns").await.unwrap().status.unwrap().conditions;
        conditions.iter().any(|c| c.type_ == "Valid" && c.status == "False")
    })
    .await;
    world.record("late", json!({"name": "late"})).await;
    world.told("late", "Ready", "False", "CredentialNotReady").await;
}
