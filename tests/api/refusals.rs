//! What the API server refuses, with the field and the words that a user reads.

use serde_json::{Value, json};

use crate::harness::{User, install, namespace};
use crate::table::{Base, Edit, Refusal};
use crate::world::kind;
use crate::{certificate, domain, record};
use Base::{Aws, Deployment, Hetzner, PowerDns, Rfc2136};

pub(crate) fn set(
    base: Base,
    pointer: &'static str,
    value: Value,
    field: &'static str,
    message: &'static str,
) -> Refusal {
    Refusal { base, edit: Edit::Set(pointer, value), field, message }
}

pub(crate) fn unset(base: Base, pointer: &'static str, field: &'static str) -> Refusal {
    Refusal { base, edit: Edit::Unset(pointer), field, message: "Required value" }
}

pub(crate) fn become_(base: Base, after: Value, field: &'static str, message: &'static str) -> Refusal {
    Refusal { base, edit: Edit::Become(after), field, message }
}

pub(crate) fn long(length: usize) -> Value {
    json!("a".repeat(length))
}

/// `count` entries, each made from its number.
pub(crate) fn many(count: usize, entry: impl Fn(usize) -> Value) -> Value {
    (0..count).map(entry).collect()
}

fn files(count: usize, size: usize) -> Value {
    Value::Object((0..count).map(|n| (format!("f{n}.tf"), long(size))).collect())
}

fn from_secret(name: &str) -> Value {
    json!({"secretKeyRef": {"name": "s", "key": "k"}, "as": name})
}

/// Rows for a reference's name at `pointer`.
pub(crate) fn names(base: Base, pointer: &'static str, field: &'static str) -> Vec<Refusal> {
    vec![set(base, pointer, long(254), field, "253"), set(base, pointer, json!("Not_A_Name"), field, "should match")]
}

/// Rows for a duration at `pointer`.
pub(crate) fn durations(base: Base, pointer: &'static str, field: &'static str) -> Vec<Refusal> {
    vec![
        set(base, pointer, json!("1.5h"), field, "should match '^([0-9]{1,5}[hms]){1,3}$'"),
        set(base, pointer, json!("0s"), field, "must be at least 1s"),
    ]
}

fn credential_rows() -> Vec<Refusal> {
    let url = |length: usize| json!(format!("https://{}", "a".repeat(length - 8)));
    let mut rows = vec![
        set(
            PowerDns,
            "/aws",
            Aws.spec()["aws"].clone(),
            "spec",
            "exactly one provider is needed: aws, hetzner, powerdns or rfc2136",
        ),
        unset(PowerDns, "/powerdns", "spec")
            .saying("exactly one provider is needed: aws, hetzner, powerdns or rfc2136"),
        set(
            PowerDns,
            "/powerdns",
            Value::Null,
            "spec",
            "exactly one provider is needed: aws, hetzner, powerdns or rfc2136",
        ),
        become_(PowerDns, Aws.spec(), "spec", "the provider cannot change; make another CloudCredential"),
        become_(Aws, PowerDns.spec(), "spec", "the provider cannot change; make another CloudCredential"),
        set(
            PowerDns,
            "/expectedAccount",
            json!("12"),
            "spec.expectedAccount",
            "has no meaning for hetzner, powerdns and rfc2136",
        ),
        set(Aws, "/expectedAccount", json!("12345"), "spec.expectedAccount", "12 digits of an AWS account"),
        set(Aws, "/expectedAccount", json!("12345678901x"), "spec.expectedAccount", "12 digits of an AWS account"),
        set(Aws, "/expectedAccount", json!(123_456_789_012_u64), "spec.expectedAccount", "must be of type string"),
        set(PowerDns, "/description", long(1025), "spec.description", "may not be more than 1024"),
        set(PowerDns, "/description", json!("a\u{0}b"), "spec.description", "should match"),
        unset(Aws, "/aws/secretRef", "spec.aws.secretRef"),
        unset(Aws, "/aws/secretRef/name", "spec.aws.secretRef.name"),
        unset(Aws, "/aws/region", "spec.aws.region"),
        set(Aws, "/aws/region", long(65), "spec.aws.region", "may not be more than 64"),
        set(Aws, "/aws/region", json!("EU West"), "spec.aws.region", "should match"),
        set(Aws, "/aws/region", json!(""), "spec.aws.region", "should match"),
        set(Aws, "/aws/endpoint", url(2049), "spec.aws.endpoint", "may not be more than 2048"),
        set(Aws, "/aws/endpoint", json!("sts.example.com"), "spec.aws.endpoint", "should match"),
        unset(PowerDns, "/powerdns/secretRef", "spec.powerdns.secretRef"),
        unset(PowerDns, "/powerdns/secretRef/name", "spec.powerdns.secretRef.name"),
        unset(PowerDns, "/powerdns/endpoint", "spec.powerdns.endpoint"),
        set(PowerDns, "/powerdns/endpoint", url(2049), "spec.powerdns.endpoint", "may not be more than 2048"),
        set(PowerDns, "/powerdns/endpoint", json!("ftp://pdns"), "spec.powerdns.endpoint", "should match '^https?://"),
        set(PowerDns, "/powerdns/endpoint", json!("http://u:p@pdns"), "spec.powerdns.endpoint", "should match"),
        set(PowerDns, "/powerdns/endpoint", json!("http://pdns/?a=b"), "spec.powerdns.endpoint", "should match"),
        set(PowerDns, "/powerdns/serverId", long(129), "spec.powerdns.serverId", "may not be more than 128"),
        set(PowerDns, "/powerdns/serverId", json!("a/../b"), "spec.powerdns.serverId", "should match"),
        set(PowerDns, "/probe/graceAfterLastSuccess", json!("1d"), "spec.probe.graceAfterLastSuccess", "should match"),
        set(PowerDns, "/suspend", json!("yes"), "spec.suspend", "must be of type boolean"),
    ];
    rows.extend(durations(PowerDns, "/probe/interval", "spec.probe.interval"));
    rows.extend(names(PowerDns, "/powerdns/secretRef/name", "spec.powerdns.secretRef.name"));
    rows.extend(names(Aws, "/aws/secretRef/name", "spec.aws.secretRef.name"));
    rows
}

fn other_provider_rows() -> Vec<Refusal> {
    let one = "exactly one provider is needed: aws, hetzner, powerdns or rfc2136";
    let fixed = "the provider cannot change; make another CloudCredential";
    let no_account = "has no meaning for hetzner, powerdns and rfc2136";
    let (server, zones, first) = ("spec.rfc2136.server", "spec.rfc2136.zones", "spec.rfc2136.zones[0]");
    let mut rows = vec![
        set(Rfc2136, "/hetzner", Hetzner.spec()["hetzner"].clone(), "spec", one),
        set(Hetzner, "/powerdns", PowerDns.spec()["powerdns"].clone(), "spec", one),
        become_(Hetzner, Rfc2136.spec(), "spec", fixed),
        become_(Rfc2136, PowerDns.spec(), "spec", fixed),
        set(Hetzner, "/expectedAccount", json!("1"), "spec.expectedAccount", no_account),
        set(Rfc2136, "/expectedAccount", json!("1"), "spec.expectedAccount", no_account),
        unset(Hetzner, "/hetzner/secretRef", "spec.hetzner.secretRef"),
        set(Hetzner, "/hetzner/endpoint", json!("api.hetzner.cloud"), "spec.hetzner.endpoint", "should match"),
        set(Hetzner, "/hetzner/endpoint", json!("https://t:k@a.b/v1"), "spec.hetzner.endpoint", "should match"),
        unset(Rfc2136, "/rfc2136/secretRef", "spec.rfc2136.secretRef"),
        unset(Hetzner, "/hetzner/secretRef/name", "spec.hetzner.secretRef.name"),
        set(
            Hetzner,
            "/hetzner/endpoint",
            json!(format!("https://{}", "a".repeat(2041))),
            "spec.hetzner.endpoint",
            "2048",
        ),
        unset(Rfc2136, "/rfc2136/secretRef/name", "spec.rfc2136.secretRef.name"),
        unset(Rfc2136, "/rfc2136/server", server),
        set(Rfc2136, "/rfc2136/server", json!(format!("{}:53", "a".repeat(259))), server, "may not be more than 261"),
        set(Rfc2136, "/rfc2136/tsigKeyName", long(254), "spec.rfc2136.tsigKeyName", "may not be more than 253"),
        unset(Rfc2136, "/rfc2136/tsigKeyName", "spec.rfc2136.tsigKeyName"),
        unset(Rfc2136, "/rfc2136/zones", zones),
        set(Rfc2136, "/rfc2136/server", json!("ns1.example.com"), server, "should match"),
        set(Rfc2136, "/rfc2136/server", json!("ns1.example.com:0"), server, "should match"),
        set(Rfc2136, "/rfc2136/server", json!("2001:db8::1:53"), server, "should match"),
        set(Rfc2136, "/rfc2136/server", json!("dns://ns1.example.com:53"), server, "should match"),
        set(Rfc2136, "/rfc2136/server", json!("user@ns1:53"), server, "should match"),
        set(Rfc2136, "/rfc2136/tsigKeyName", json!("a b"), "spec.rfc2136.tsigKeyName", "should match"),
        set(Rfc2136, "/rfc2136/tsigAlgorithm", json!("hmac-md5"), "spec.rfc2136.tsigAlgorithm", "hmac-sha256"),
        set(Rfc2136, "/rfc2136/zones", json!([]), zones, "should have at least 1 items"),
        set(Rfc2136, "/rfc2136/zones", many(101, |n| json!(format!("z{n}"))), zones, "at most 100 items"),
        set(Rfc2136, "/rfc2136/zones", json!(["a.b", "a.b"]), "spec.rfc2136.zones[1]", "Duplicate"),
        set(
            Rfc2136,
            "/allowedDomains",
            many(101, |n| json!(format!("z{n}"))),
            "spec.allowedDomains",
            "at most 100 items",
        ),
        set(Rfc2136, "/allowedDomains", json!(["a.b", "a.b"]), "spec.allowedDomains[1]", "Duplicate"),
        set(Rfc2136, "/allowedDomains", json!(["*.example.com"]), "spec.allowedDomains[0]", "should match"),
        set(Rfc2136, "/allowedDomains", json!([long(254)]), "spec.allowedDomains[0]", "253"),
        set(Rfc2136, "/rfc2136/zones", json!(["example.com."]), first, "should match"),
        set(Rfc2136, "/rfc2136/zones", json!(["*.example.com"]), first, "should match"),
        set(Rfc2136, "/rfc2136/zones", json!(["Example.com"]), first, "should match"),
        set(Rfc2136, "/rfc2136/zones", json!([long(254)]), first, "253"),
    ];
    rows.extend(names(Hetzner, "/hetzner/secretRef/name", "spec.hetzner.secretRef.name"));
    rows.extend(names(Rfc2136, "/rfc2136/secretRef/name", "spec.rfc2136.secretRef.name"));
    rows
}

fn sharing_rows(base: Base) -> Vec<Refusal> {
    vec![
        set(base, "/allowedNamespaces", json!({}), "spec.allowedNamespaces", "needs names or selector"),
        set(
            base,
            "/allowedNamespaces/names",
            many(101, |n| json!(format!("n{n}"))),
            "spec.allowedNamespaces.names",
            "must have at most 100 items",
        ),
        set(base, "/allowedNamespaces/names", json!(["a", "a"]), "spec.allowedNamespaces.names[1]", "Duplicate"),
        set(base, "/allowedNamespaces/names", json!([long(64)]), "spec.allowedNamespaces.names[0]", "63"),
        set(base, "/allowedNamespaces/names", json!(["a.b"]), "spec.allowedNamespaces.names[0]", "should match"),
        set(
            base,
            "/allowedNamespaces/selector/matchExpressions",
            json!([{"operator": "Exists"}]),
            "spec.allowedNamespaces.selector.matchExpressions[0].key",
            "Required value",
        ),
        set(
            base,
            "/allowedNamespaces/selector/matchExpressions",
            json!([{"key": "team"}]),
            "spec.allowedNamespaces.selector.matchExpressions[0].operator",
            "Required value",
        ),
    ]
}

fn source_rows() -> Vec<Refusal> {
    let inline = "spec.source.inline";
    let file = |name: &str| json!({name: ""});
    let mut rows = vec![
        unset(Deployment, "/source", "spec.source"),
        set(Deployment, "/source", json!({}), "spec.source", "exactly one source is needed: inline or configMapRef"),
        set(Deployment, "/source/configMapRef", json!({"name": "m"}), "spec.source", "exactly one source is needed"),
        set(Deployment, "/source/inline", Value::Null, "spec.source", "exactly one source is needed"),
        set(Deployment, "/source/inline", json!({}), inline, "should have at least 1 properties"),
        set(Deployment, "/source/inline", files(65, 1), inline, "must have at most 64 items"),
        set(Deployment, "/source/inline", files(2, 65_537), inline, "must not exceed 131072 characters in all"),
        set(Deployment, "/source/inline", json!({"a.tf": "\u{0}"}), "spec.source.inline.a.tf", "should match"),
        set(Deployment, "/source", json!({"configMapRef": {}}), "spec.source.configMapRef.name", "Required value"),
    ];
    for name in ["/etc/passwd", "a//b.tf", "a/", "b c.tf", "", "ü.tf", "a\\b", "a.tf\n", &"a".repeat(254)] {
        rows.push(set(Deployment, "/source/inline", file(name), inline, "file names are relative paths"));
    }
    for name in ["../main.tf", "a/../b.tf", "..", "./main.tf", "a/."] {
        rows.push(set(Deployment, "/source/inline", file(name), inline, "must not have '.' or '..' as a part"));
    }
    for (name, message) in [(long(254), "253"), (json!("Modul"), "should match")] {
        let only = json!({"configMapRef": {"name": name}});
        rows.push(set(Deployment, "/source", only, "spec.source.configMapRef.name", message));
    }
    rows
}

fn variable_rows() -> Vec<Refusal> {
    let from = |entry: Value, field, message| set(Deployment, "/variablesFrom", json!([entry]), field, message);
    let mut rows = vec![
        set(
            Deployment,
            "/variables",
            Value::Object((0..257).map(|n| (format!("v{n}"), json!(n))).collect()),
            "spec.variables",
            "must have at most 256 items",
        ),
        set(
            Deployment,
            "/variablesFrom",
            many(257, |n| from_secret(&format!("v{n}"))),
            "spec.variablesFrom",
            "must have at most 256 items",
        ),
        set(
            Deployment,
            "/variablesFrom",
            json!([from_secret("x"), from_secret("x")]),
            "spec.variablesFrom[1]",
            "Duplicate value",
        ),
        from(json!({"as": "x"}), "spec.variablesFrom[0]", "exactly one of secretKeyRef and configMapKeyRef is needed"),
        from(
            json!({
                "secretKeyRef": {"name": "a", "key": "k"}, "configMapKeyRef": {"name": "a", "key": "k"}, "as": "x",
            }),
            "spec.variablesFrom[0]",
            "exactly one of secretKeyRef and configMapKeyRef is needed",
        ),
        from(json!({"secretKeyRef": {"name": "a", "key": "k"}}), "spec.variablesFrom[0].as", "Required value"),
        from(from_secret("1st"), "spec.variablesFrom[0].as", "should match"),
        from(from_secret(&"a".repeat(254)), "spec.variablesFrom[0].as", "253"),
    ];
    rows.extend(key_rows());
    rows
}

/// Rows for the keys of Secrets and ConfigMaps that variables come from.
fn key_rows() -> Vec<Refusal> {
    let from = |entry: Value, field, message| set(Deployment, "/variablesFrom", json!([entry]), field, message);
    let key = |kind: &str, name: Value, key: Value| json!({kind: {"name": name, "key": key}, "as": "x"});
    let mut rows = Vec::new();
    for (kind, name_field, key_field) in [
        ("secretKeyRef", "spec.variablesFrom[0].secretKeyRef.name", "spec.variablesFrom[0].secretKeyRef.key"),
        ("configMapKeyRef", "spec.variablesFrom[0].configMapKeyRef.name", "spec.variablesFrom[0].configMapKeyRef.key"),
    ] {
        rows.extend([
            from(key(kind, long(254), json!("k")), name_field, "253"),
            from(key(kind, json!("A_B"), json!("k")), name_field, "should match"),
            from(key(kind, json!("a"), long(254)), key_field, "253"),
            from(key(kind, json!("a"), json!("a/b")), key_field, "should match"),
            from(json!({kind: {"key": "k"}, "as": "x"}), name_field, "Required value"),
            from(json!({kind: {"name": "a"}, "as": "x"}), key_field, "Required value"),
        ]);
    }
    rows
}

fn deployment_rows() -> Vec<Refusal> {
    let destroy = "spec.guardrails.maxDestroy";
    let version = "spec.engine.version";
    let mut rows = vec![
        set(Deployment, "/approval", json!("Auto"), "spec.approval", "supported values: \"Manual\""),
        set(Deployment, "/deletionPolicy", json!("Orphan"), "spec.deletionPolicy", "supported values: \"Retain\""),
        set(Deployment, "/engine", json!({"version": "1.12"}), "spec.engine.type", "Required value"),
        set(Deployment, "/engine/type", json!("Pulumi"), "spec.engine.type", "supported values: \"OpenTofu\""),
        set(Deployment, "/engine", engine("^1.12"), version, "should match"),
        set(Deployment, "/engine", engine("latest"), version, "should match"),
        set(Deployment, "/engine", engine(&"1".repeat(65)), version, "may not be more than 64"),
        set(Deployment, "/region", long(65), "spec.region", "may not be more than 64"),
        set(Deployment, "/region", json!("a\u{0}"), "spec.region", "should match"),
        set(Deployment, "/credentialRef", json!({}), "spec.credentialRef.name", "Required value"),
        set(Deployment, "/credentialRef", named("a", &"a".repeat(64)), "spec.credentialRef.namespace", "63"),
        set(Deployment, "/credentialRef", named("a", "a.b"), "spec.credentialRef.namespace", "should match"),
        set(Deployment, "/outputs", json!({"include": ["a"]}), "spec.outputs.secretName", "Required value"),
        set(Deployment, "/outputs", include(json!(["a", "a"])), "spec.outputs.include[1]", "Duplicate value"),
        set(Deployment, "/outputs", include(json!(["a b"])), "spec.outputs.include[0]", "should match"),
        set(Deployment, "/outputs", include(json!([long(254)])), "spec.outputs.include[0]", "253"),
        set(
            Deployment,
            "/outputs",
            include(many(257, |n| json!(format!("o{n}")))),
            "spec.outputs.include",
            "must have at most 256 items",
        ),
        set(Deployment, "/retry/limit", json!(101), "spec.retry.limit", "less than or equal to 100"),
        set(Deployment, "/retry/limit", json!(-1), "spec.retry.limit", "greater than or equal to 0"),
        set(Deployment, "/state/adopt", json!("yes"), "spec.state.adopt", "should match"),
        set(Deployment, "/suspend", json!(1), "spec.suspend", "must be of type boolean"),
    ];
    for bad in
        [json!(-1), json!("10"), json!("101%"), json!("-1%"), json!("%"), json!("1.5%"), json!(2_147_483_648_u64)]
    {
        rows.push(set(Deployment, "/guardrails/maxDestroy", bad, destroy, "maxDestroy must be a count of 0 or more"));
    }
    rows.extend(names(Deployment, "/credentialRef/name", "spec.credentialRef.name"));
    rows.extend(names(Deployment, "/outputs/secretName", "spec.outputs.secretName"));
    rows.extend(durations(Deployment, "/retry/maxBackoff", "spec.retry.maxBackoff"));
    rows.extend(durations(Deployment, "/timeouts/init", "spec.timeouts.init"));
    rows.extend(durations(Deployment, "/timeouts/plan", "spec.timeouts.plan"));
    rows.extend(durations(Deployment, "/timeouts/apply", "spec.timeouts.apply"));
    rows.extend(durations(Deployment, "/timeouts/destroy", "spec.timeouts.destroy"));
    rows
}

fn runner_rows() -> Vec<Refusal> {
    let (tolerations, first) = ("spec.runner.tolerations", "spec.runner.tolerations[0]");
    let tolerate = |toleration: Value| json!([toleration]);
    let bounded = json!({"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 86_401});
    let negative = json!({"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": -1});
    let mut rows = vec![
        set(
            Deployment,
            "/runner/nodeSelector",
            json!({"a b": "c"}),
            "spec.runner.nodeSelector",
            "names of labels are up to",
        ),
        set(
            Deployment,
            "/runner/nodeSelector",
            json!({"": "c"}),
            "spec.runner.nodeSelector",
            "names of labels are up to",
        ),
        set(Deployment, "/runner/nodeSelector", json!({"a": long(64)}), "spec.runner.nodeSelector.a", "should match"),
        set(
            Deployment,
            "/runner/nodeSelector",
            json!({"a": 1}),
            "spec.runner.nodeSelector.a",
            "must be of type string",
        ),
        set(Deployment, "/runner/nodeSelector", labels(33), "spec.runner.nodeSelector", "at most 32 items"),
        set(
            Deployment,
            "/runner/tolerations",
            many(33, |_| json!({"operator": "Exists"})),
            tolerations,
            "at most 32 items",
        ),
        set(Deployment, "/runner/tolerations", tolerate(json!({})), first, "without a key the operator must be Exists"),
        set(Deployment, "/runner/tolerations", tolerate(json!({"operator": "Equal"})), first, "without a key"),
        set(
            Deployment,
            "/runner/tolerations",
            tolerate(json!({"key": "a", "operator": "Exists", "value": "b"})),
            first,
            "the operator Exists takes no value",
        ),
        set(
            Deployment,
            "/runner/tolerations",
            tolerate(json!({"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1})),
            first,
            "tolerationSeconds has a meaning with the effect NoExecute alone",
        ),
        set(
            Deployment,
            "/runner/tolerations",
            tolerate(bounded),
            "spec.runner.tolerations[0].tolerationSeconds",
            "86400",
        ),
        set(
            Deployment,
            "/runner/tolerations",
            tolerate(negative),
            "spec.runner.tolerations[0].tolerationSeconds",
            "to 0",
        ),
        set(
            Deployment,
            "/runner/tolerations",
            tolerate(json!({"key": "a b"})),
            "spec.runner.tolerations[0].key",
            "match",
        ),
        set(
            Deployment,
            "/runner/tolerations",
            tolerate(json!({"key": "a", "value": "b c"})),
            "spec.runner.tolerations[0].value",
            "should match",
        ),
        set(
            Deployment,
            "/runner/tolerations",
            tolerate(json!({"key": "a", "operator": "Lt"})),
            "spec.runner.tolerations[0].operator",
            "supported values: \"Equal\", \"Exists\"",
        ),
        set(
            Deployment,
            "/runner/tolerations",
            tolerate(json!({"key": "a", "effect": "Never"})),
            "spec.runner.tolerations[0].effect",
            "supported values: \"NoSchedule\"",
        ),
    ];
    for (pointer, field, cpu) in [
        ("/runner/resources/requests", "spec.runner.resources.requests", "spec.runner.resources.requests.cpu"),
        ("/runner/resources/limits", "spec.runner.resources.limits", "spec.runner.resources.limits.cpu"),
    ] {
        let others = "amounts are of cpu, memory and ephemeral-storage";
        rows.push(set(Deployment, pointer, json!({"nvidia.com/gpu": 1}), field, others));
        for (amount, message) in [
            (json!("much"), "should match"),
            (json!("-1"), "should match"),
            (json!("1 Gi"), "should match"),
            (json!(1.5), "must be of type integer,string"),
            (json!(-1), "greater than or equal to 0"),
            (json!(1_000_000_000_000_001_u64), "less than or equal to"),
        ] {
            rows.push(set(Deployment, pointer, json!({"cpu": amount}), cpu, message));
        }
    }
    rows.extend(names(Deployment, "/runner/serviceAccountName", "spec.runner.serviceAccountName"));
    rows
}

fn labels(count: usize) -> Value {
    Value::Object((0..count).map(|n| (format!("l{n}"), json!("v"))).collect())
}

fn engine(version: &str) -> Value {
    json!({"type": "OpenTofu", "version": version})
}

fn named(name: &str, namespace: &str) -> Value {
    json!({"name": name, "namespace": namespace})
}

fn include(outputs: Value) -> Value {
    json!({"secretName": "out", "include": outputs})
}

impl Refusal {
    pub(crate) fn saying(mut self, message: &'static str) -> Self {
        self.message = message;
        self
    }
}

/// All rows.
pub(crate) fn rows() -> Vec<Refusal> {
    [
        credential_rows(),
        other_provider_rows(),
        sharing_rows(PowerDns),
        sharing_rows(Base::Domain),
        source_rows(),
        variable_rows(),
        deployment_rows(),
        runner_rows(),
        domain::refusals(),
        record::refusals(),
        certificate::refusals(),
    ]
    .concat()
}

#[tokio::test]
async fn every_row_is_refused_by_field_and_message() {
    install().await;
    let (client, namespace) = (User::Admin.client().await, namespace().await);
    for base in Base::ALL {
        let api = kind(client.clone(), &namespace, base.kind());
        let object = crate::harness::object(base.kind(), base.name(), base.spec());
        api.create(&Default::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
    let (rows, mut wrong) = (rows(), Vec::new());
    assert!(rows.len() >= 40, "{} rows", rows.len());
    for row in rows {
        let api = kind(client.clone(), &namespace, row.base.kind());
        let said = match row.edit.send(&api, "landfall.dev/v1alpha1", row.base).await {
            Err(kube::Error::Api(status)) if status.code == 422 => status.message.clone(),
            other => format!("{other:?}"),
        };
        if !said.contains(&format!("{}: ", row.field)) || !said.contains(row.message) {
            wrong.push(format!("{} {:?}: {}", row.field, row.message, said.chars().take(300).collect::<String>()));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
