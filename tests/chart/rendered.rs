//! What the chart makes of each combination of values.

use std::collections::BTreeSet;

use landfall::installation::Installation;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::top;

use crate::helm::{HOME, combinations, find, helm, objects, of_kind, render};

/// landfall.yaml of a rendering, as its pods have it: by an annotation of their own.
fn installation(objects: &[Value]) -> Value {
    let pod = &find(objects, "Deployment", "landfall")["spec"]["template"];
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let config = volumes.iter().find(|volume| volume["name"] == "config").unwrap();
    let field = config["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"].as_str().unwrap();
    assert_eq!(field, "metadata.annotations['landfall.dev/config']");
    serde_yaml::from_str(pod["metadata"]["annotations"]["landfall.dev/config"].as_str().unwrap()).unwrap()
}

#[test]
fn an_image_is_named_by_its_digest_where_there_is_one() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let mut values = combinations()[1].1.clone();
    values["image"] = json!({"repository": "mirror/landfall", "tag": "x", "digest": digest});
    let objects = render(&values).unwrap();
    let image = format!("mirror/landfall@{digest}");
    assert_eq!(find(&objects, "Deployment", "landfall")["spec"]["template"]["spec"]["containers"][0]["image"], image);
    assert_eq!(installation(&objects)["executor"]["job"]["image"], image);
}

/// The templates of all pods of a rendering, with the name of what makes them.
fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let made = objects.iter().filter(|object| !object["spec"]["template"].is_null());
    made.map(|object| (object["metadata"]["name"].to_string(), &object["spec"]["template"]["spec"])).collect()
}

#[test]
fn engines_never_run_beside_the_controller() {
    for (name, values) in combinations() {
        let found = installation(&render(&values).unwrap());
        assert_eq!(found["executor"]["type"], "job", "{name}");
        assert_eq!(found["executor"]["job"]["serviceAccountName"], "landfall-runner", "{name}");
    }
}

#[test]
fn the_controller_takes_its_landfall_yaml() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("landfall.yaml");
    for (name, values) in combinations() {
        let found = installation(&render(&values).unwrap());
        std::fs::write(&file, found.to_string()).unwrap();
        Installation::load(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let (_, values) = &combinations()[2];
    let found = installation(&render(values).unwrap());
    assert_eq!(found["namespace"], HOME);
    assert_eq!(found["clusterName"], "1e3");
    assert_eq!(
        found["encryption"],
        json!({"current": "2026", "keys": {"k1": "/etc/landfall/keys/k1", "2026": "/etc/landfall/keys/2026"}})
    );
    for name in [
        "watchNamespaces",
        "allowedEndpoints",
        "dns",
        "engines",
        "defaultEngine",
        "engineCliConfig",
        "ceilings",
        "limits",
    ] {
        assert_eq!(found[name], values[name], "{name}");
    }
    let job = &found["executor"]["job"];
    assert_eq!(job["url"], "https://landfall-runs.landfall-system.svc:8443");
    for name in [
        "image",
        "podLabels",
        "podAnnotations",
        "resources",
        "nodeSelector",
        "tolerations",
        "permittedTolerations",
        "scratch",
        "ttlSecondsAfterFinished",
    ] {
        assert_eq!(job[name], values["runs"][name], "{name}");
    }
}

/// YAML takes such names for numbers.
#[test]
fn names_of_namespace_and_release_may_be_all_digits() {
    let mut template = helm(&["template", "1e3"]);
    template.arg(top().join("charts/landfall")).args(["--set", "database.bundled.enabled=true", "--namespace", "2024"]);
    let objects = objects(template.output().unwrap()).unwrap();
    for object in &objects {
        let namespace = &object["metadata"]["namespace"];
        assert!(namespace.is_null() || namespace == "2024", "{}: {namespace:?}", object["kind"]);
        let release = &object["metadata"]["labels"]["app.kubernetes.io/instance"];
        assert!(release.is_null() || release == "1e3", "{}: {release:?}", object["kind"]);
    }
    assert_eq!(installation(&objects)["namespace"], "2024");
    let environment = &find(&objects, "Deployment", "landfall")["spec"]["template"]["spec"]["containers"][0]["env"];
    let own = environment.as_array().unwrap().iter().find(|one| one["name"] == "LANDFALL_NAMESPACE").unwrap();
    assert_eq!(own["value"], "2024");
}

#[test]
fn service_accounts_that_deployments_may_name_are_made_and_permitted() {
    let objects = render(&combinations()[2].1).unwrap();
    let job = installation(&objects)["executor"]["job"].clone();
    assert_eq!(
        job["serviceAccounts"],
        json!([
            {"name": "acme-aws", "organizations": ["acme"], "podLabels": {}},
            {"name": "readers", "organizations": ["*"], "podLabels": {"azure.workload.identity/use": "true"}},
        ])
    );
    let made = find(&objects, "ServiceAccount", "acme-aws");
    assert_eq!(made["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], "arn:aws:iam::1:role/a");
    assert_eq!(made["automountServiceAccountToken"], false);
    let accounts: Vec<_> = of_kind(&objects, "ServiceAccount").map(|one| &one["metadata"]["name"]).collect();
    assert_eq!(accounts, ["landfall-controller", "landfall-runner", "acme-aws"], "readers is somebody else's to make");
}

/// Paths of all fields of a schema that are no groups themselves.
fn fields(schema: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}/{name}");
        if field["properties"].is_object() {
            fields(field, &path, found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn every_field_of_landfall_yaml_has_a_value() {
    let schema = std::fs::read_to_string(top().join("docs/landfall.schema.json")).unwrap();
    let mut all = BTreeSet::new();
    fields(&serde_json::from_str(&schema).unwrap(), "", &mut all);
    // What belongs to children of the controller, and what no container of ours can use.
    let none = ["/executor/workDir", "/executor/job/resources/claims"];
    let found = installation(&render(&combinations()[2].1).unwrap());
    let lacking: Vec<_> =
        all.iter().filter(|path| found.pointer(path).is_none() && !none.contains(&path.as_str())).collect();
    assert_eq!(lacking, Vec::<&String>::new());
}

#[test]
fn every_pod_is_confined() {
    for (name, values) in combinations() {
        let objects = render(&values).unwrap();
        for (of, pod) in pods(&objects) {
            let told = format!("{name}: {of}");
            let context = &pod["securityContext"];
            assert_eq!(
                (&context["runAsNonRoot"], &context["seccompProfile"]["type"]),
                (&json!(true), &json!("RuntimeDefault")),
                "{told}"
            );
            let all = ["initContainers", "containers"].map(|list| pod[list].as_array().cloned().unwrap_or_default());
            for container in all.iter().flatten() {
                let confined = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
                assert_eq!(container["securityContext"], confined, "{told}");
                assert!(container["resources"].is_object(), "{told}");
            }
            let token = pod["serviceAccountName"] == "landfall-controller";
            assert!(token || pod["automountServiceAccountToken"] == false, "{told} gets a token that it does not need");
        }
        let bound = of_kind(&objects, "RoleBinding").chain(of_kind(&objects, "ClusterRoleBinding"));
        let subjects = bound.flat_map(|binding| binding["subjects"].as_array().unwrap());
        let subjects: BTreeSet<_> = subjects.map(|subject| subject["name"].as_str().unwrap()).collect();
        assert_eq!(subjects, BTreeSet::from(["landfall-controller", "system:authenticated"]), "{name}");
        assert_eq!(find(&objects, "ServiceAccount", "landfall-runner")["automountServiceAccountToken"], false);
    }
}

#[test]
fn a_pod_mounts_what_it_names_and_only_the_migration_has_the_migrators_url() {
    for (name, values) in combinations() {
        let objects = render(&values).unwrap();
        for (of, pod) in pods(&objects) {
            let volumes = pod["volumes"].as_array().unwrap().iter().chain(objects.iter().flat_map(|o| {
                o["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten().map(|claim| &claim["metadata"])
            }));
            let volumes: BTreeSet<_> = volumes.map(|volume| volume["name"].as_str().unwrap()).collect();
            let all = ["initContainers", "containers"].map(|list| pod[list].as_array().cloned().unwrap_or_default());
            for container in all.iter().flatten() {
                for mount in container["volumeMounts"].as_array().unwrap() {
                    let mount = mount["name"].as_str().unwrap();
                    assert!(volumes.contains(mount), "{name}: {of}: {mount}");
                    assert_eq!(
                        mount == "migrator-url",
                        container["name"] == "migrate" && mount != "database-ca",
                        "{name}: {of}"
                    );
                }
            }
        }
    }
}

/// Every replica may take all that its landfall.yaml gives it, while one is replaced.
#[test]
fn the_bundled_postgres_has_room_for_every_replica() {
    let (_, bundled) =
        combinations().into_iter().find(|(_, values)| values["database"]["bundled"]["enabled"] == true).unwrap();
    for (replicas, runs, limits) in
        [(2, 20, json!({})), (1, 256, json!({"concurrency": 256})), (3, 1, json!({"databaseConnections": 100}))]
    {
        let mut values = bundled.clone();
        values["replicas"] = json!(replicas);
        values["runs"]["max"] = json!(runs);
        values["limits"] = limits;
        let objects = render(&values).unwrap();
        let each = serde_json::from_value::<Installation>(installation(&objects)).unwrap().database_connections();
        let pod = &find(&objects, "StatefulSet", "landfall-postgres")["spec"]["template"]["spec"];
        let argument = pod["containers"][0]["args"][1].as_str().unwrap();
        let connections: u32 = argument.strip_prefix("max_connections=").unwrap().parse().unwrap();
        assert!((1..=50).contains(&(connections - (replicas + 1) * each)), "{argument}: {each} each");
    }
}

#[test]
fn the_proxy_is_in_landfall_yaml() {
    let proxy = |at: usize| installation(&render(&combinations()[at].1).unwrap())["proxy"].clone();
    assert_eq!(proxy(0), json!({"none": [], "resolves": false}));
    let url = "http://proxy:3128";
    assert_eq!(proxy(2), json!({"https": url, "http": url, "none": [".corp.example", "10.0.0.0/8"], "resolves": true}));
}

#[test]
fn the_schema_is_migrated_before_the_controller_starts() {
    for (name, values) in combinations() {
        let objects = render(&values).unwrap();
        let bundled = values["database"]["bundled"]["enabled"] == true;
        let controller = &find(&objects, "Deployment", "landfall")["spec"]["template"]["spec"];
        assert_eq!(
            controller["initContainers"].is_array(),
            bundled,
            "{name}: by the pod itself where Postgres comes with it"
        );
        let hooks = of_kind(&objects, "Job")
            .filter(|job| job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade");
        assert_eq!(hooks.count(), usize::from(!bundled), "{name}");
    }
}

#[test]
fn definitions_roles_and_policies_are_those_of_the_code() {
    let (_, values) = &combinations()[0];
    let objects = render(values).unwrap();
    for definition in landfall::api::definitions() {
        let name = definition.metadata.name.clone().unwrap();
        let mut expected = serde_json::to_value(definition).unwrap();
        expected["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        assert_eq!(*find(&objects, "CustomResourceDefinition", &name), expected);
    }
    let kinds = ["ClusterRole", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
    for (file, kinds) in [("clusterroles", &kinds[..1]), ("policies", &kinds[1..])] {
        let text = std::fs::read_to_string(top().join(format!("manifests/install/{file}.yaml"))).unwrap();
        let documents =
            serde_yaml::Deserializer::from_str(&text).map(|d| <Value as serde::Deserialize>::deserialize(d).unwrap());
        let expected: Vec<_> = documents.filter(|object| !object.is_null()).collect();
        let found = objects.iter().filter(|object| kinds.iter().any(|kind| object["kind"] == *kind)).count();
        assert_eq!(found, expected.len(), "{file}");
        for object in expected {
            let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            assert_eq!(*find(&objects, kind, name), object);
        }
    }
    let without = render(&combinations()[3].1).unwrap();
    assert_eq!(of_kind(&without, "CustomResourceDefinition").count(), 0, "crds.install: false");
}

/// Who goes from `kubectl apply -k manifests/install` to the chart, or back, has the same rights.
#[test]
fn manifests_install_has_the_accounts_and_bindings_of_the_chart() {
    let rendered = render(&combinations()[1].1).unwrap();
    let mut seen = 0;
    for file in ["controller.yaml", "cluster-id.yaml"] {
        let text = std::fs::read_to_string(top().join("manifests/install").join(file)).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).unwrap();
            let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            let same = find(&rendered, kind, name);
            for field in ["roleRef", "subjects", "rules"] {
                assert_eq!(object[field], same[field], "{file}: {kind} {name}");
            }
            assert_eq!(object["metadata"]["namespace"], same["metadata"]["namespace"], "{file}: {kind} {name}");
            seen += 1;
        }
    }
    let ours = ["ServiceAccount", "ClusterRoleBinding", "RoleBinding", "Role"];
    let bindings = rendered.iter().filter(|object| ours.contains(&object["kind"].as_str().unwrap()));
    let runner = bindings.filter(|object| object["metadata"]["name"] != "landfall-runner").count();
    assert_eq!(seen, runner, "each of the chart's is there");
}

#[test]
fn no_run_is_evicted() {
    for (name, values) in combinations() {
        let objects = render(&values).unwrap();
        let budget = find(&objects, "PodDisruptionBudget", "landfall-runs");
        let most = values["runs"]["max"].as_u64().unwrap_or(20);
        assert!(budget["spec"]["minAvailable"].as_u64().unwrap() > most, "{name}");
        let runs = json!({
            "matchLabels": {"app.kubernetes.io/part-of": "landfall"},
            "matchExpressions": [{"key": "landfall.dev/run", "operator": "Exists"}],
        });
        assert_eq!(budget["spec"]["selector"], runs, "{name}");
    }
}
