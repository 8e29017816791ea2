//! Helm, the chart, and the values that it is tried with.

use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::{User, top};

/// Landfall's own namespace in these tests.
pub(crate) const HOME: &str = "landfall-system";

/// Helm, without what the caller has configured of it.
pub(crate) fn helm(arguments: &[&str]) -> Command {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let testbed = top().join("tests/testbed/testbed");
        assert!(Command::new(&testbed).args(["build", "helm"]).status().unwrap().success());
        let output = Command::new(&testbed).args(["path", "helm"]).output().unwrap();
        format!("{}/helm", String::from_utf8(output.stdout).unwrap().trim())
    });
    let mut helm = Command::new(program);
    helm.args(arguments).args(["--namespace", HOME]).stdin(Stdio::null());
    let home = std::env::temp_dir().join(format!("landfall-helm-{}", std::process::id()));
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(name, &home);
    }
    helm
}

/// A command on the chart with these values.
pub(crate) fn with_values(arguments: &[&str], values: &Value) -> Output {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&mut file, values).unwrap();
    helm(arguments).arg(top().join("charts/landfall")).arg("--values").arg(file.path()).output().unwrap()
}

/// A command on the release at the API server, with the chart where values are given; it must do.
pub(crate) fn run(arguments: &[&str], values: Option<&Value>) {
    let kubeconfig = User::Admin.kubeconfig();
    let arguments = [arguments, &["--kubeconfig", &kubeconfig]].concat();
    let output = match values {
        Some(values) => with_values(&arguments, values),
        None => helm(&arguments).output().unwrap(),
    };
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What the chart makes of these values, or what Helm says against them.
pub(crate) fn render(values: &Value) -> Result<Vec<Value>, String> {
    objects(with_values(&["template", "landfall"], values))
}

/// What Helm printed, or what it says against it.
pub(crate) fn objects(output: Output) -> Result<Vec<Value>, String> {
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text).map(|d| Value::deserialize(d).unwrap());
    Ok(documents.filter(|object| !object.is_null()).collect())
}

/// The objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// One of them, by name.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The ways to install that matter, by name: each switch once in either position, and what they do to each other.
pub(crate) fn combinations() -> Vec<(&'static str, Value)> {
    let external = json!({"existingSecret": "database"});
    vec![
        ("to try it out", json!({"database": {"bundled": {"enabled": true, "storageClassName": "fast"}}})),
        ("a database of one's own", json!({"database": external})),
        (
            // Names that YAML would take for numbers.
            "little may be read, all is named",
            json!({
                "database": {"existingSecret": "1", "urlKey": "2", "migratorUrlKey": "3", "ca": {"secret": "4", "key": "1e3"}},
                "watchNamespaces": ["team-a", "team-b"],
                "encryption": {"existingSecret": "5", "current": "2026", "keys": ["k1", "2026"]},
                "image": {"repository": "mirror/landfall", "tag": "x", "pullPolicy": "Always", "pullSecrets": ["6"]},
                "clusterName": "1e3", "allowedEndpoints": ["http://10.0.0.1:8081", "dns://10.0.0.1:53"],
                "dns": {"resolvers": ["10.0.0.53:53"], "authorities": [{"zone": "corp.example", "servers": ["[fd00::1]:53"]}]},
                "ceilings": {"maxDestroy": "10%"},
                "limits": {"concurrency": 4, "reconcileTimeoutSeconds": 30, "leaseSeconds": 10, "databaseConnections": 20},
                "engines": {"OpenTofu": "/usr/local/bin/tofu", "Terraform": "/opt/terraform"}, "defaultEngine": "Terraform", "engineCliConfig": "/etc/tofurc", "listen": "[::]", "podLabels": {"a": "b"}, "podAnnotations": {"sidecar.istio.io/inject": "false"},
                "runs": {
                    "max": 3, "maxPerOrganization": 2, "maxPerCredential": 1, "stopGraceSeconds": 60, "image": "mirror/runner:1", "scratch": "500Mi", "ttlSecondsAfterFinished": 60,
                    "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
                    "serviceAccounts": [
                        {"name": "acme-aws", "organizations": ["acme"], "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}},
                        {"name": "readers", "organizations": ["*"], "create": false, "podLabels": {"azure.workload.identity/use": "true"}},
                    ],
                    "nodeSelector": {"runs": "yes"}, "tolerations": [{"key": "runs", "operator": "Exists", "effect": "NoSchedule"}],
                    "permittedTolerations": ["spot"], "podLabels": {"sidecar.istio.io/inject": "false"}, "podAnnotations": {"linkerd.io/inject": "disabled"},
                },
                "proxy": {"https": "http://proxy:3128", "http": "http://proxy:3128", "none": [".corp.example", "10.0.0.0/8"], "resolves": true},
                "caBundle": {"configMap": "ca-bundle", "key": "bundle.pem"},
                "volumes": [{"mountPath": "/opt", "persistentVolumeClaim": "terraform"}, {"mountPath": "/etc/engines", "configMap": "1e3"}],
                "networkPolicy": {
                    "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
                    "runs": {"egress": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"port": 443, "protocol": "TCP"}]}]},
                },
                "resources": {"limits": {"memory": "1Gi"}}, "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}],
                "affinity": {"nodeAffinity": {}}, "priorityClassName": "high", "log": "landfall=debug", "replicas": 3,
            }),
        ),
        (
            "others see to definitions, network and metrics",
            json!({
                "database": external, "crds": {"install": false}, "networkPolicy": {"enabled": false}, "replicas": 1,
                "metrics": {"serviceMonitor": {"enabled": true, "labels": {"release": "p"}}, "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true}},
            }),
        ),
    ]
}
