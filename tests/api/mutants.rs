//! Every rule is needed: without it, a row of the refusal table is accepted.
//!
//! A definition can serve many versions of a kind, each with a schema of its own. So each kind is installed once more under
//! a group of the test's own, with one version for each rule, from which that rule is taken away (an upper bound is raised
//! by one, a lower bound lowered). For each of these versions some row of the table must be accepted, as a dry run; in the
//! version `base`, which has all rules, none is.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::harness::{User, namespace, wait_until};
use crate::refusals::rows;
use crate::table::{Base, Refusal};

/// Constraints that refuse nothing by themselves, and why they are there.
const BACKSTOPS: &[(&str, &str)] = &[
    ("spec.probe.interval maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec.probe.graceAfterLastSuccess maxLength", "the pattern implies it"),
    ("spec.retry.maxBackoff maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec.verification.reverifyAfter maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec.verification.grace maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec.timeouts.init maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec.timeouts.plan maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec.timeouts.apply maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec.timeouts.destroy maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec.runner.resources.requests maxProperties", "the permitted names imply it; CEL's cost estimate needs it"),
    ("spec.runner.resources.limits maxProperties", "as above"),
    ("spec.duration maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec required \"issuer\"", "the rules of secretName, which is of a certificate alone, ask for it"),
    ("spec.issuer.ca required", "a rule of secretName asks for it"),
    ("spec.issuer.ca.secretRef required", "as above"),
    ("spec.privateKey.size minimum", "the sizes of each algorithm imply it; the type needs it"),
    ("spec.privateKey.size maximum", "as above"),
    ("spec.renewal.before maxLength", "the pattern implies it; CEL's cost estimate needs it"),
    ("spec.source.inline{} maxLength", "the sum over all files implies it; CEL's cost estimate needs it"),
    ("spec.expectedAccount minLength", "aws, the one provider with an account, asks for 12 digits; later ones need it"),
    ("spec.expectedAccount maxLength", "as above"),
    ("spec.expectedAccount pattern", "as above"),
    ("spec.variablesFrom[] required", "the API server demands it of a list's key"),
];

/// A schema with one rule less.
struct Mutant {
    /// The field and the rule that it lacks.
    lacks: String,
    schema: Value,
}

/// Where a schema stands, as a pointer and as a field's path.
#[derive(Clone)]
struct Place {
    pointer: String,
    path: String,
}

impl Place {
    fn below(&self, pointer: &str, path: &str) -> Self {
        Self { pointer: format!("{}/{pointer}", self.pointer), path: format!("{}{path}", self.path) }
    }
}

fn mutants(root: &Value) -> Vec<Mutant> {
    let mut found = Vec::new();
    let spec = Place { pointer: "/properties/spec".into(), path: "spec".into() };
    collect(root, &spec, &mut found);
    found
}

fn is_backstop(mutant: &Mutant) -> bool {
    BACKSTOPS.iter().any(|(lacks, _)| *lacks == mutant.lacks)
}

fn collect(root: &Value, place: &Place, found: &mut Vec<Mutant>) {
    let schema = root.pointer(&place.pointer).unwrap().as_object().unwrap();
    let mut mutate = |rule: &str, change: &dyn Fn(&mut Value)| {
        let mut mutant = root.clone();
        change(mutant.pointer_mut(&place.pointer).unwrap());
        found.push(Mutant { lacks: format!("{} {rule}", place.path), schema: mutant });
    };
    for (key, value) in schema {
        match key.as_str() {
            "pattern" | "enum" => mutate(key, &|s| drop(s.as_object_mut().unwrap().remove(key))),
            "maxLength" | "maxItems" | "maxProperties" | "maximum" => {
                mutate(key, &|s| s[key] = json!(value.as_f64().unwrap() as i64 + 1));
            }
            "minLength" | "minItems" | "minProperties" | "minimum" => {
                mutate(key, &|s| s[key] = json!(value.as_f64().unwrap() as i64 - 1));
            }
            "required" => {
                for name in value.as_array().unwrap() {
                    let rule = if value.as_array().unwrap().len() == 1 { key.clone() } else { format!("{key} {name}") };
                    mutate(&rule, &|s| s[key].as_array_mut().unwrap().retain(|other| other != name));
                }
            }
            "x-kubernetes-validations" => {
                for (index, rule) in value.as_array().unwrap().iter().enumerate() {
                    mutate(&rule["rule"].to_string(), &|s| drop(s[key].as_array_mut().unwrap().remove(index)));
                }
            }
            "x-kubernetes-list-type" if value != "atomic" => mutate(key, &|s| {
                s.as_object_mut().unwrap().remove("x-kubernetes-list-map-keys");
                s[key] = json!("atomic");
            }),
            _ => {}
        }
    }
    for (name, _) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        collect(root, &place.below(&format!("properties/{name}"), &format!(".{name}")), found);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema.get(key).is_some_and(Value::is_object) {
            collect(root, &place.below(key, mark), found);
        }
    }
}

/// Without descriptions, and with any status: a definition of a hundred versions must fit into etcd.
fn slim(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|key, value| key != "description" || !value.is_string());
            fields.values_mut().for_each(slim);
        }
        Value::Array(items) => items.iter_mut().for_each(slim),
        _ => {}
    }
}

fn version(name: &str, schema: &Value, storage: bool) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}

/// Installs the definition with `base` and one version for each mutant; answers its group.
async fn install_mutants(client: &Client, original: &CustomResourceDefinition, base: &Value, all: &[Mutant]) -> String {
    let group = format!("mutants-{}.landfall.dev", uuid::Uuid::new_v4().simple());
    let names = &original.spec.names;
    let mut versions = vec![version("base", base, true)];
    versions.extend(all.iter().enumerate().map(|(n, mutant)| version(&format!("m{n}"), &mutant.schema, false)));
    let definition = json!({
        "metadata": {"name": format!("{}.{group}", names.plural)},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": versions,
            "names": {"kind": names.kind, "plural": names.plural, "singular": names.singular},
        },
    });
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    group
}

struct Served {
    client: Client,
    namespace: String,
    group: String,
    plural: String,
}

impl Served {
    fn api(&self, version: &str, base: Base) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(&self.group, version, base.kind());
        let resource = ApiResource::from_gvk_with_plural(&kind, &self.plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    async fn accepts(&self, version: &str, row: &Refusal) -> bool {
        let api_version = format!("{}/{version}", self.group);
        match row.edit.send(&self.api(version, row.base), &api_version, row.base).await {
            Ok(()) => true,
            Err(kube::Error::Api(status)) if status.code == 422 => false,
            Err(other) => panic!("{}: {other}", row.field),
        }
    }
}

/// The rules of `kind` whose loss no row notices.
async fn survivors(kind: &str) -> Vec<String> {
    let definitions = landfall::api::definitions();
    let original = definitions.iter().find(|d| d.spec.names.kind == kind).unwrap();
    let mut base = json!(original.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema);
    slim(&mut base);
    base["properties"]["status"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let (mut all, client) = (mutants(&base), User::Admin.client().await);
    all.retain(|mutant| !is_backstop(mutant));
    assert!(all.len() > 20, "{kind}: {} rules", all.len());
    let group = install_mutants(&client, original, &base, &all).await;
    let plural = original.spec.names.plural.clone();
    let served = Served { client: client.clone(), namespace: namespace().await, group, plural };
    let rows: Vec<Refusal> = rows().into_iter().filter(|row| row.base.kind() == kind).collect();
    prepare(&served, kind, all.len() - 1).await;
    for row in &rows {
        assert!(!served.accepts("base", row).await, "the copy of the definition accepts {row:?}");
    }
    let mut survivors = Vec::new();
    for (n, mutant) in all.iter().enumerate() {
        if !noticed(&served, &format!("m{n}"), mutant, &rows).await {
            survivors.push(mutant.lacks.clone());
        }
    }
    let api: Api<CustomResourceDefinition> = Api::all(client);
    api.delete(&format!("{}.{}", served.plural, served.group), &DeleteParams::default()).await.unwrap();
    survivors
}

/// Waits until the last version is served, and makes the objects that updates start from.
async fn prepare(served: &Served, kind: &str, last: usize) {
    for base in Base::ALL.into_iter().filter(|base| base.kind() == kind) {
        let api = served.api("base", base);
        let object = json!({
            "apiVersion": format!("{}/base", served.group), "kind": kind,
            "metadata": {"name": base.name()}, "spec": base.spec(),
        });
        let object = serde_json::from_value(object).unwrap();
        wait_until(Duration::from_secs(30), "the definition to be served", async || {
            api.create(&PostParams::default(), &object).await.is_ok()
        })
        .await;
        let newest = served.api(&format!("m{last}"), base);
        wait_until(Duration::from_secs(30), "the versions", async || newest.get(base.name()).await.is_ok()).await;
    }
}

/// Rows about the same field are tried first.
async fn noticed(served: &Served, version: &str, mutant: &Mutant, rows: &[Refusal]) -> bool {
    let path = mutant.lacks.split(' ').next().unwrap().replace(['[', ']', '{', '}'], "");
    let plain = |row: &Refusal| row.field.replace("[0]", "").replace("[1]", "");
    let (near, far): (Vec<_>, Vec<_>) = rows.iter().partition(|row| plain(row).starts_with(&path));
    for row in near.into_iter().chain(far) {
        if served.accepts(version, row).await {
            return true;
        }
    }
    false
}

#[test]
fn every_backstop_stands_for_a_rule_that_exists() {
    let schemas = landfall::api::definitions().into_iter().map(|mut d| json!(d.spec.versions.remove(0).schema));
    let all: Vec<Mutant> = schemas.flat_map(|schema| mutants(&schema["openAPIV3Schema"])).collect();
    for (lacks, why) in BACKSTOPS {
        assert!(all.iter().any(|mutant| mutant.lacks == *lacks), "{lacks} ({why}) is no rule of any kind");
    }
}

#[tokio::test]
async fn every_rule_of_a_credential_is_needed() {
    assert_eq!(survivors("CloudCredential").await, Vec::<String>::new());
}

#[tokio::test]
async fn every_rule_of_a_deployment_is_needed() {
    assert_eq!(survivors("TerraformDeployment").await, Vec::<String>::new());
}

#[tokio::test]
async fn every_rule_of_a_domain_is_needed() {
    assert_eq!(survivors("OrganizationDomain").await, Vec::<String>::new());
}

#[tokio::test]
async fn every_rule_of_a_record_is_needed() {
    assert_eq!(survivors("DnsRecord").await, Vec::<String>::new());
}

#[tokio::test]
async fn every_rule_of_a_certificate_is_needed() {
    assert_eq!(survivors("Certificate").await, Vec::<String>::new());
}
