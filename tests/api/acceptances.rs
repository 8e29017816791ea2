//! What the API server accepts, at the bounds where there are some, and what it fills in.

use kube::api::{Api, DynamicObject, PostParams};
use landfall::api::{
    ApprovalMode, Certificate, CloudCredential, DeletionPolicy, DnsRecord, OrganizationDomain, TerraformDeployment,
};
use serde_json::{Value, json};

use crate::harness::{User, install, namespace, object};
use crate::table::{Base, Edit};
use crate::world::kind;
use crate::{certificate, domain, record};
use Base::{Aws, Deployment, Domain, Hetzner, PowerDns, Record, Rfc2136};

type Row = (Base, &'static str, Value);

fn rows() -> Vec<Row> {
    [
        credential_rows(),
        module_rows(),
        deployment_rows(),
        domain::acceptances(),
        record::acceptances(),
        certificate::acceptances(),
    ]
    .concat()
}

fn credential_rows() -> Vec<Row> {
    let long = |length: usize| json!("a".repeat(length));
    let many = |count: usize| (0..count).map(|n| json!(format!("z{n}.example.com"))).collect::<Value>();
    vec![
        (PowerDns, "/suspend", json!(false)),
        (PowerDns, "/suspend", json!(true)),
        (PowerDns, "/description", long(1024)),
        (PowerDns, "/description", json!("Ümläute, \u{1F980}\nand lines\t")),
        (PowerDns, "/powerdns/endpoint", json!("http://127.0.0.1:8081")),
        (PowerDns, "/powerdns/endpoint", json!("http://[::1]:8081/base/path/")),
        (PowerDns, "/powerdns/serverId", json!("ns1.example.com")),
        (PowerDns, "/powerdns/secretRef/name", long(253)),
        (PowerDns, "/powerdns/secretRef/name", json!("a.b-c.d")),
        (PowerDns, "/probe", json!({"interval": "1s", "graceAfterLastSuccess": "0s"})),
        (PowerDns, "/probe/interval", json!("99999h99999m99999s")),
        (PowerDns, "/allowedNamespaces", json!({"names": []})),
        (PowerDns, "/allowedNamespaces", json!({"names": ["a", "b"]})),
        (PowerDns, "/allowedNamespaces", json!({"selector": {"matchLabels": {"team": "a"}}})),
        (PowerDns, "/allowedNamespaces", json!({"selector": {}, "names": [long(63)]})),
        (Aws, "/suspend", json!(false)),
        (Aws, "/expectedAccount", json!("123456789012")),
        (Aws, "/aws/region", json!("us-gov-west-1")),
        (Aws, "/aws/endpoint", json!("https://sts.eu-central-1.amazonaws.com")),
        (Hetzner, "/hetzner/endpoint", json!("https://api.hetzner.cloud/v1")),
        (Rfc2136, "/rfc2136/server", json!("192.0.2.1:5353")),
        (Rfc2136, "/rfc2136/server", json!("[2001:db8::53]:65535")),
        (Rfc2136, "/rfc2136/tsigKeyName", json!("key.landfall_1.example.com")),
        (Rfc2136, "/rfc2136/tsigAlgorithm", json!("hmac-sha512")),
        (Rfc2136, "/rfc2136/zones", many(100)),
        (
            Rfc2136,
            "/rfc2136/zones",
            json!(["0/26.2.0.192.in-addr.arpa", "xn--bcher-kva.example", "_sites.example.com"]),
        ),
        (Rfc2136, "/expectedAccount", Value::Null),
        (Rfc2136, "/allowedDomains", json!(["example.com", "xn--bcher-kva.example"])),
    ]
}

fn module_rows() -> Vec<Row> {
    let file = |name: &str| json!({name: ""});
    let many = |count: usize| (0..count).map(|n| (format!("x{n}"), json!("y"))).collect::<Value>();
    let secret = |name: &str| json!([{"secretKeyRef": {"name": "s", "key": "a.b_c-d"}, "as": name, "optional": true}]);
    vec![
        (Deployment, "/source", json!({"configMapRef": {"name": "module"}})),
        (Deployment, "/source/inline", file(&"a".repeat(253))),
        (Deployment, "/source/inline", file("modules/a-b/.hidden/main.tf.json")),
        (Deployment, "/source/inline", file("a..b.tf")),
        (Deployment, "/source/inline", many(64)),
        (Deployment, "/source/inline", json!({"a.tf": "a".repeat(131_072)})),
        (Deployment, "/source/inline", json!({"a.tf": "ü".repeat(131_072)})),
        (Deployment, "/variables", many(256)),
        (Deployment, "/variables", json!({"n": 1.5, "s": "\u{0}", "b": false, "z": null, "d": [[{"a": {"b": []}}]]})),
        (Deployment, "/variables", json!({"size": 18_446_744_073_709_551_615_u64})),
        (Deployment, "/variables", json!({"größe": "groß", "_a-b": 1})),
        (Deployment, "/variablesFrom", secret("token")),
        (Deployment, "/variablesFrom", secret("größe")),
        (Deployment, "/variablesFrom", json!([{"configMapKeyRef": {"name": "c", "key": "k"}, "as": "c"}])),
    ]
}

fn deployment_rows() -> Vec<Row> {
    vec![
        (Deployment, "/suspend", json!(false)),
        (Deployment, "/approval", json!("Automatic")),
        (Deployment, "/approval", json!("PlanOnly")),
        (Deployment, "/deletionPolicy", json!("Destroy")),
        (Deployment, "/guardrails", json!({})),
        (Deployment, "/guardrails/maxDestroy", json!(0)),
        (Deployment, "/guardrails/maxDestroy", json!(2_147_483_647)),
        (Deployment, "/guardrails/maxDestroy", json!("0%")),
        (Deployment, "/guardrails/maxDestroy", json!("100%")),
        (Deployment, "/engine", json!({"type": "OpenTofu"})),
        (Deployment, "/engine", json!({"type": "Terraform", "version": "1"})),
        (Deployment, "/engine", json!({"type": "OpenTofu", "version": "1.12.0-beta1"})),
        (Deployment, "/credentialRef", json!({"name": "pdns"})),
        (Deployment, "/credentialRef", json!({"name": "pdns", "namespace": "team-b"})),
        (Deployment, "/region", json!("fsn1")),
        (Deployment, "/outputs", json!({"secretName": "web-outputs"})),
        (Deployment, "/outputs", json!({"secretName": "web-outputs", "include": ["url", "größe"]})),
        (Deployment, "/state", json!({"adopt": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"})),
        (Deployment, "/state", json!({})),
        (Deployment, "/retry", json!({"limit": 0, "maxBackoff": "1s"})),
        (Deployment, "/retry/limit", json!(100)),
        (Deployment, "/runner", json!({})),
        (Deployment, "/runner", json!({"serviceAccountName": "aws.readers", "resources": {}})),
        (
            Deployment,
            "/runner/resources",
            json!({"requests": {"cpu": 1, "memory": "1.5Gi"}, "limits": {"cpu": "500m", "memory": 1_000_000_000_000_000_u64, "ephemeral-storage": "0"}}),
        ),
        (Deployment, "/runner/nodeSelector", json!({"node.kubernetes.io/instance-type": "m5.large", "pool": ""})),
        (
            Deployment,
            "/runner/tolerations",
            json!([{"operator": "Exists"}, {"key": "a.b/c", "value": "d", "effect": "NoExecute", "tolerationSeconds": 86_400}]),
        ),
        (Deployment, "/timeouts", json!({"init": "1s", "plan": "1h30m", "apply": "90000s", "destroy": "1h1m1s"})),
    ]
}

async fn dry_run(api: &Api<DynamicObject>, base: Base, spec: Value) -> Result<DynamicObject, kube::Error> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry, &serde_json::from_value(object(base.kind(), "row", spec)).unwrap()).await
}

#[tokio::test]
async fn every_row_is_accepted_and_is_read_by_the_types() {
    install().await;
    let (client, namespace) = (User::Admin.client().await, namespace().await);
    let rows = rows();
    assert!(rows.len() >= 25, "{} rows", rows.len());
    for (base, pointer, value) in rows {
        let short: String = value.to_string().chars().take(80).collect();
        let api = kind(client.clone(), &namespace, base.kind());
        let spec = Edit::Set(pointer, value).spec(base);
        let answer = dry_run(&api, base, spec).await.unwrap_or_else(|e| panic!("{base:?} {pointer} {short}: {e}"));
        let answer = serde_json::to_value(answer).unwrap();
        let read = match base {
            Deployment => serde_json::from_value::<TerraformDeployment>(answer).map(drop),
            PowerDns | Aws | Hetzner | Rfc2136 => serde_json::from_value::<CloudCredential>(answer).map(drop),
            Domain => serde_json::from_value::<OrganizationDomain>(answer).map(drop),
            Record => serde_json::from_value::<DnsRecord>(answer).map(drop),
            Base::Certificate => serde_json::from_value::<Certificate>(answer).map(drop),
        };
        read.unwrap_or_else(|e| panic!("{base:?} {pointer} {short}: {e}"));
    }
}

#[tokio::test]
async fn the_api_server_fills_in_the_same_defaults_as_the_types() {
    install().await;
    let (client, namespace) = (User::Admin.client().await, namespace().await);
    for base in Base::ALL {
        let api = kind(client.clone(), &namespace, base.kind());
        let answer = dry_run(&api, base, base.spec()).await.unwrap();
        let ours = object(base.kind(), "row", base.spec());
        let ours = match base {
            Deployment => json!(serde_json::from_value::<TerraformDeployment>(ours).unwrap().spec),
            PowerDns | Aws | Hetzner | Rfc2136 => json!(serde_json::from_value::<CloudCredential>(ours).unwrap().spec),
            Domain => json!(serde_json::from_value::<OrganizationDomain>(ours).unwrap().spec),
            Record => json!(serde_json::from_value::<DnsRecord>(ours).unwrap().spec),
            Base::Certificate => json!(serde_json::from_value::<Certificate>(ours).unwrap().spec),
        };
        assert_eq!(answer.data["spec"], ours);
    }
}

#[tokio::test]
async fn a_new_deployment_is_careful() {
    install().await;
    let api = kind(User::Admin.client().await, &namespace().await, "TerraformDeployment");
    let answer = dry_run(&api, Deployment, Deployment.spec()).await.unwrap();
    let read: TerraformDeployment = serde_json::from_value(serde_json::to_value(answer).unwrap()).unwrap();
    assert_eq!(read.spec.approval, ApprovalMode::Manual);
    assert_eq!(read.spec.deletion_policy, DeletionPolicy::Retain);
    assert_eq!(read.spec.retry.limit, 5);
}

#[tokio::test]
async fn all_but_the_provider_of_a_credential_may_change() {
    install().await;
    let (client, namespace) = (User::Admin.client().await, namespace().await);
    for (base, after) in [
        (PowerDns, json!({"powerdns": {"secretRef": {"name": "other"}, "endpoint": "https://other.example.com"}})),
        (
            Aws,
            json!({"aws": {"secretRef": {"name": "other"}, "region": "us-east-1"}, "expectedAccount": "123456789012"}),
        ),
        (Hetzner, json!({"hetzner": {"secretRef": {"name": "other"}, "endpoint": "https://other.example.com/v1"}})),
        (
            Rfc2136,
            json!({"rfc2136": {"secretRef": {"name": "other"}, "server": "192.0.2.1:53", "tsigKeyName": "other",
                               "tsigAlgorithm": "hmac-sha512", "zones": ["example.org"]}}),
        ),
    ] {
        let api = kind(client.clone(), &namespace, base.kind());
        let made = object(base.kind(), base.name(), base.spec());
        api.create(&PostParams::default(), &serde_json::from_value(made).unwrap()).await.unwrap();
        Edit::Become(after).send(&api, "landfall.dev/v1alpha1", base).await.unwrap();
    }
}
