//! Which values the chart takes, and what it says against the others.

use serde_json::{Value, json};

use crate::helm::{combinations, render, with_values};

/// Values of a good installation with one changed.
fn with(pointer: &str, value: &Value) -> Value {
    let mut values = json!({"database": {"existingSecret": "database"}});
    let mut at = &mut values;
    let path: Vec<_> = pointer.split('/').collect();
    for name in &path[..path.len() - 1] {
        at = at.as_object_mut().unwrap().entry(*name).or_insert_with(|| json!({}));
    }
    at[path[path.len() - 1]] = value.clone();
    values
}

#[test]
fn helm_has_nothing_against_the_chart() {
    for (name, values) in combinations() {
        let output = with_values(&["lint", "--strict"], &values);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_value_that_makes_no_sense_is_refused_by_name() {
    let bad = [
        ("executor", json!({"type": "local"}), "executor"),
        ("runs/type", json!("local"), "type"),
        ("runs/executor", json!("local"), "executor"),
        ("replica", json!(2), "replica"),
        ("replicas", json!(0), "replicas"),
        ("replicas", json!("2"), "replicas"),
        ("image/repository", json!(""), "repository"),
        ("image/pullPolicy", json!("Sometimes"), "pullPolicy"),
        ("image/digest", json!("sha256:1"), "digest"),
        ("listen", json!("127.0.0.1"), "listen"),
        // A key with nothing behind it falls away, and with it what it kept closed.
        ("networkPolicy/runs/dnsPorts", json!(null), "dnsPorts"),
        ("watchNamespaces", json!(null), "watchNamespaces"),
        ("allowedEndpoints", json!(null), "allowedEndpoints"),
        ("runs/permittedTolerations", json!(null), "permittedTolerations"),
        ("database/ca", json!(null), "ca"),
        ("podLabels", json!({"landfall.dev/run": "a"}), "podLabels: \"landfall.dev/run\" is for Landfall"),
        ("podAnnotations", json!({"landfall.dev/config": "a"}), "podAnnotations: \"landfall.dev/config\""),
        ("podLabels", json!({"app.kubernetes.io/name": "a"}), "podLabels: \"app.kubernetes.io/name\""),
        (
            "runs/serviceAccounts",
            json!([{"name": "a", "organizations": ["*"], "podLabels": {"landfall.dev/run": "a"}}]),
            "podLabels: \"landfall.dev/run\"",
        ),
        (
            "runs/serviceAccounts",
            json!([{"name": "a", "organizations": ["*"]}, {"name": "a", "organizations": ["b"]}]),
            "named twice",
        ),
        ("engineCliConfig", json!("tofurc"), "engineCliConfig"),
        ("podAnnotations", json!({"a": true}), "podAnnotations"),
        ("image/pullSecrets", json!([{"name": "pull"}]), "pullSecrets"),
        ("image/repository", json!("registry.example:5000/landfall:1"), "repository"),
        ("image/repository", json!("landfall@sha256:00"), "repository"),
        ("watchNamespaces", json!("team-a"), "watchNamespaces"),
        ("watchNamespaces", json!(["Team"]), "watchNamespaces"),
        ("watchNamespaces", json!(["a", "a"]), "watchNamespaces"),
        ("watchNamespaces", json!(["landfall-system"]), "Landfall's own namespace"),
        ("database/existingSecret", json!(""), "one of the two"),
        ("database/bundled", json!({"enabled": true}), "one of the two"),
        ("database/url", json!("postgres://u:p@db/landfall"), "url"),
        ("database/bundled", json!({"storage": "much"}), "storage"),
        ("database/ca", json!({"key": "a/b"}), "key"),
        ("encryption/keys", json!([]), "keys"),
        ("encryption/keys", json!(["../k"]), "keys"),
        ("encryption/current", json!("k2"), "none of encryption.keys"),
        ("encryption/key", json!("c2VjcmV0"), "key"),
        ("allowedEndpoints", json!(["10.0.0.1:8081"]), "allowedEndpoints"),
        ("dns/resolvers", json!(["one.example"]), "resolvers"),
        ("dns/authorities", json!([{"zone": "a", "servers": []}]), "authorities"),
        ("engines", json!({"OpenTofu": "tofu"}), "OpenTofu"),
        ("engines", json!({"Pulumi": "/p"}), "Pulumi"),
        ("defaultEngine", json!("Terraform"), "engines names no binary"),
        ("ceilings/maxDestroy", json!("101%"), "maxDestroy"),
        ("ceilings/maxDestroy", json!(-1), "maxDestroy"),
        ("limits/concurrency", json!(0), "concurrency"),
        ("limits/leaseSeconds", json!(2), "leaseSeconds"),
        ("limits/databaseConnections", json!(1001), "databaseConnections"),
        ("runs/max", json!(257), "max"),
        ("runs/maxPerOrganization", json!(0), "maxPerOrganization"),
        ("runs/stopGraceSeconds", json!(0), "stopGraceSeconds"),
        ("runs/scratch", json!("2 GB"), "scratch"),
        ("runs/ttlSecondsAfterFinished", json!(-1), "ttlSecondsAfterFinished"),
        ("runs/resources", json!({"cpu": 1}), "resources"),
        ("runs/tolerations", json!([{"effect": "Never"}]), "tolerations"),
        ("runs/permittedTolerations", json!([{"key": "spot"}]), "permittedTolerations"),
        ("runs/serviceAccounts", json!([{"name": "aws"}]), "organizations"),
        ("runs/serviceAccounts", json!([{"name": "aws", "organizations": []}]), "organizations"),
        ("runs/serviceAccounts", json!([{"name": "Aws", "organizations": ["*"]}]), "name"),
        ("runs/serviceAccounts", json!([{"name": "landfall-controller", "organizations": ["*"]}]), "Landfall's own"),
        ("runs/serviceAccounts", json!([{"name": "default", "organizations": ["*"]}]), "the namespace's"),
        ("runs/image", json!("two words"), "image"),
        ("volumes", json!([{"mountPath": "/usr/local/bin", "configMap": "a"}]), "one within the other"),
        ("volumes", json!([{"mountPath": "/opt"}]), "volumes"),
        ("volumes", json!([{"mountPath": "opt", "configMap": "a"}]), "mountPath"),
        ("volumes", json!([{"mountPath": "/opt", "configMap": "a", "persistentVolumeClaim": "b"}]), "volumes"),
        ("volumes", json!([{"mountPath": "/opt", "hostPath": "/"}]), "hostPath"),
        ("volumes", json!([{"mountPath": "/work/x", "configMap": "a"}]), "\"/work/x\" and \"/work\" are one within"),
        ("volumes", json!([{"mountPath": "/etc", "configMap": "a"}]), "one within the other"),
        ("volumes", json!([{"mountPath": "/var/run/secrets/x", "configMap": "a"}]), "one within the other"),
        ("volumes", json!([{"mountPath": "/opt/../work", "configMap": "a"}]), "has . or .."),
        (
            "volumes",
            json!([{"mountPath": "/opt", "configMap": "a"}, {"mountPath": "/opt/b", "configMap": "b"}]),
            "\"/opt/b\" and \"/opt\" are one within",
        ),
        ("proxy/https", json!("proxy:3128"), "https"),
        ("proxy/https", json!("http://user:password@proxy:3128"), "https"),
        ("proxy/https", json!("https://proxy:3128"), "https"),
        ("proxy/https", json!("http://proxy:3128?x"), "https"),
        ("proxy/none", json!(["a,b"]), "none"),
        ("proxy/none", json!(["a.example/24"]), "none"),
        ("proxy/none", json!(["10.0.0.0/33"]), "none"),
        ("proxy/none", json!(["*.a.example"]), "none"),
        ("proxy/none", json!(["a.example:443"]), "none"),
        ("networkPolicy/runs", json!({"dns": []}), "dns"),
        ("networkPolicy/runs", json!({"dnsPorts": []}), "dnsPorts"),
        ("networkPolicy/runs", json!({"egress": [{"ports": [{"port": 1}]}]}), "egress"),
        ("metrics/serviceMonitor", json!({"interval": "often"}), "interval"),
    ];
    for (pointer, value, word) in bad {
        let said = render(&with(pointer, &value)).expect_err(&format!("{pointer} {value} is taken"));
        assert!(said.contains(word), "{pointer} {value}: {said}");
    }
    assert!(render(&json!({})).unwrap_err().contains("database.existingSecret"));
}

#[test]
fn the_limits_of_a_value_are_within_it() {
    let good = [
        ("global", json!({"anything": 1})),
        ("image/repository", json!("registry.example:5000/team/landfall")),
        ("replicas", json!(10)),
        ("ceilings/maxDestroy", json!(0)),
        ("ceilings/maxDestroy", json!("100%")),
        ("limits/databaseConnections", json!(1000)),
        ("runs/max", json!(256)),
        ("runs/resources", json!({"requests": {"cpu": 1}})),
    ];
    for (pointer, value) in good {
        render(&with(pointer, &value)).unwrap_or_else(|said| panic!("{pointer} {value}: {said}"));
    }
}
