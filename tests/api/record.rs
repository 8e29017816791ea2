//! Rows for `DnsRecord`.

use serde_json::{Value, json};

use crate::refusals::{become_, long, many, names, set, unset};
use crate::table::{Base, Refusal};
use Base::Record;

pub(crate) fn refusals() -> Vec<Refusal> {
    let fixed = "cannot change; make another DnsRecord";
    let with = |change: Value| {
        let mut spec = Record.spec();
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        spec
    };
    let star = "\"*\" may stand only as the whole left label";
    let mut rows = vec![
        unset(Record, "/domainRef", "spec.domainRef"),
        unset(Record, "/domainRef/name", "spec.domainRef.name"),
        unset(Record, "/name", "spec.name"),
        unset(Record, "/type", "spec.type"),
        become_(Record, with(json!({"domainRef": {"name": "other"}})), "spec.domainRef", fixed),
        become_(Record, with(json!({"domainRef": {"name": "domain", "namespace": "b"}})), "spec.domainRef", fixed),
        become_(Record, with(json!({"name": "other"})), "spec.name", fixed),
        become_(Record, with(json!({"type": "TXT"})), "spec.type", fixed),
        set(Record, "/domainRef/namespace", long(64), "spec.domainRef.namespace", "63"),
        set(Record, "/domainRef/namespace", json!("a.b"), "spec.domainRef.namespace", "should match"),
        set(Record, "/name", json!(""), "spec.name", "at least 1 chars long"),
        set(Record, "/name", long(254), "spec.name", "may not be more than 253"),
        set(Record, "/name", json!("a\u{0}"), "spec.name", "should match"),
        set(Record, "/name", json!("www."), "spec.name", "leave the dot at its end out"),
        set(Record, "/name", json!("a.*"), "spec.name", star),
        set(Record, "/name", json!("*a"), "spec.name", star),
        set(Record, "/name", json!("**"), "spec.name", star),
        set(Record, "/name", json!("*.*"), "spec.name", star),
        set(Record, "/name", json!("a@b"), "spec.name", "\"@\" stands alone"),
        set(Record, "/type", json!("SOA"), "spec.type", "supported values: \"A\""),
        set(Record, "/type", json!("a"), "spec.type", "supported values: \"A\""),
        set(Record, "/ttl", json!(0), "spec.ttl", "greater than or equal to 1"),
        set(Record, "/ttl", json!(86_401), "spec.ttl", "less than or equal to 86400"),
        set(Record, "/values", json!([]), "spec.values", "at least 1 items"),
        set(Record, "/values", many(101, |n| json!(format!("192.0.2.{n}"))), "spec.values", "at most 100 items"),
        set(Record, "/values", json!([long(4097)]), "spec.values[0]", "may not be more than 4096"),
        set(Record, "/values", json!(["a\u{0}"]), "spec.values[0]", "should match"),
        set(Record, "/policy", json!("Always"), "spec.policy", "supported values: \"Sync\""),
        set(Record, "/adoption", json!("Sync"), "spec.adoption", "supported values: \"Never\""),
        set(Record, "/drift", json!("Ignore"), "spec.drift", "supported values: \"Repair\""),
        set(Record, "/deletionPolicy", json!("Orphan"), "spec.deletionPolicy", "supported values: \"Delete\""),
        set(Record, "/suspend", json!("yes"), "spec.suspend", "must be of type boolean"),
    ];
    let output = |change: Value| {
        let mut output = json!({"deployment": "web", "name": "ip"});
        output.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"domainRef": {"name": "domain"}, "name": "www", "type": "A", "valueFrom": {"output": output}})
    };
    let (deployment, name) = ("spec.valueFrom.output.deployment", "spec.valueFrom.output.name");
    for (change, field, words) in [
        (json!({"deployment": "Web"}), deployment, "should match"),
        (json!({"deployment": long(254)}), deployment, "may not be more than 253"),
        (json!({"deployment": null}), deployment, "equired"),
        (json!({"name": "1ip"}), name, "should match"),
        (json!({"name": long(254)}), name, "may not be more than 253"),
        (json!({"name": null}), name, "equired"),
    ] {
        rows.push(made(output(change), field, words));
    }
    let neither = json!({"domainRef": {"name": "domain"}, "name": "www", "type": "A"});
    rows.push(made(neither, "spec.values", "exactly one of values and valueFrom"));
    let mut both = output(json!({}));
    both["values"] = json!(["192.0.2.1"]);
    rows.push(made(both, "spec.values", "exactly one of values and valueFrom"));
    let mut empty = output(json!({}));
    empty["valueFrom"] = json!({});
    rows.push(made(empty, "spec.valueFrom.output", "equired"));
    let cname = json!({"domainRef": {"name": "domain"}, "name": "www", "type": "CNAME", "values": ["a.", "b."]});
    let wild = json!({"domainRef": {"name": "domain"}, "name": "*.www", "type": "NS", "values": ["a."]});
    rows.push(made(cname, "spec.values", "a CNAME has one value"));
    rows.push(made(wild, "spec.name", "NS may not stand at a wildcard"));
    rows.extend(names(Record, "/domainRef/name", "spec.domainRef.name"));
    rows
}

/// A new object of this spec.
fn made(spec: Value, field: &'static str, message: &'static str) -> Refusal {
    Refusal { base: Record, edit: crate::table::Edit::Made(spec), field, message }
}

pub(crate) fn acceptances() -> Vec<(Base, &'static str, Value)> {
    vec![
        (Record, "/domainRef", json!({"name": "domain", "namespace": "b"})),
        (Record, "/name", json!("@")),
        (Record, "/name", json!("*")),
        (Record, "/name", json!("*.dev")),
        (Record, "/name", json!("bücher")),
        (Record, "/name", json!("_sip._tcp")),
        (Record, "/name", json!("a".repeat(253))),
        (Record, "/type", json!("AAAA")),
        (Record, "/type", json!("CNAME")),
        (Record, "/type", json!("MX")),
        (Record, "/type", json!("TXT")),
        (Record, "/type", json!("SRV")),
        (Record, "/type", json!("CAA")),
        (Record, "/type", json!("NS")),
        (Record, "/type", json!("PTR")),
        (Record, "/ttl", json!(1)),
        (Record, "/ttl", json!(86_400)),
        (Record, "/values", json!(["a".repeat(4096)])),
        (Record, "/values", many(100, |n| json!(format!("192.0.2.{n}")))),
        (Record, "/values", json!([""])),
        (Record, "/policy", json!("UpsertOnly")),
        (Record, "/policy", json!("CreateOnly")),
        (Record, "/policy", json!("Observe")),
        (Record, "/adoption", json!("IfIdentical")),
        (Record, "/adoption", json!("Always")),
        (Record, "/drift", json!("Report")),
        (Record, "/deletionPolicy", json!("Retain")),
        (Record, "/suspend", json!(true)),
    ]
}
