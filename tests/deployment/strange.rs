//! What the API server takes, however strange, the controller reads, decides on and mirrors, and it stands in nobody's way.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use landfall::api::TerraformDeployment;
use serde_json::{Value, json};

use crate::harness::objects::{Dice, any};
use crate::harness::{User, kubectl, wait_until};
use crate::world::{PLENTY, World, digest};

/// How many objects of each kind are offered.
const COUNT: u64 = 300;

/// Offers the object to the API server as text, since no client of ours would send it. Whether it was taken.
async fn offer(world: &World, kind: &str, object: String) -> bool {
    let plural = format!("{}s", kind.to_lowercase());
    let path = format!("/apis/landfall.dev/v1alpha1/namespaces/{}/{plural}", world.namespace);
    let request = http::Request::post(path).header("content-type", "application/json").body(object.into_bytes());
    match world.client.request_text(request.unwrap()).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Suspended, so that nothing is run or asked for it.
fn suspended(mut object: Value) -> String {
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.insert("suspend".into(), json!(true));
    }
    object.to_string()
}

/// A deployment with a value of so many levels; the API server goes to 10,000, and of objects it notes who owns each level.
fn deep(name: &str, (open, close): (&str, &str), levels: usize) -> String {
    let object = crate::harness::deployment(
        name,
        json!({"source": {"inline": {"main.tf": "variable \"x\" {}\noutput \"x\" { value = var.x }"}},
            "variables": {"x": "HERE"}, "approval": "Automatic", "outputs": {"secretName": format!("{name}-outputs")}}),
    );
    object.to_string().replace("\"HERE\"", &nested((open, close), levels))
}

fn nested((open, close): (&str, &str), levels: usize) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

const ARRAYS: (&str, &str) = ("[", "]");
const OBJECTS: (&str, &str) = ("{\"a\":", "}");

/// kubectl as admin, in the world's namespace; what it printed.
fn kubectl_there(world: &World, arguments: &[&str], input: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let mut command = kubectl(User::Admin);
    command.args(arguments).args(["-n", &world.namespace]);
    if !input.is_empty() {
        command.arg(if arguments[0] == "patch" { "--patch-file" } else { "-f" }).arg(file.path());
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nested_too_deep_is_said_to_be_and_holds_nobody_up() {
    let mut world = World::new().await;
    assert!(offer(&world, "TerraformDeployment", deep("flat", ARRAYS, 100)).await);
    let outputs = world.ready("flat", "Applied").await.status.unwrap().outputs;
    assert_eq!(json!(outputs), json!({"x": nested(ARRAYS, 100)}), "what is nested deep is shown as text");
    let mut names = Vec::new();
    for (kind, of) in [("arrays", ARRAYS), ("objects", OBJECTS)] {
        for levels in [101, 125, 200, 2000, 5000] {
            let name = format!("{kind}-{levels}");
            assert!(offer(&world, "TerraformDeployment", deep(&name, of, levels)).await);
            names.push(name);
        }
    }
    let applied = deep("applied", OBJECTS, 2000);
    kubectl_there(&world, &["apply", "--server-side"], &applied);
    names.push("applied".into());
    world.deployment("plain", json!({"source": {"inline": {"main.tf": ""}}})).await;
    world.ready("plain", "NoChanges").await;
    for name in &names {
        let said = crate::world::message(&world.ready(name, "SourceInvalid").await);
        assert!(said.contains("spec.variables.x") && said.contains("nested"), "{said}");
    }
    let all = i64::try_from(names.len()).unwrap() + 2;
    let mirrored = async || world.count("SELECT count(*) FROM terraform_deployments").await == all;
    wait_until(PLENTY, "the mirror", mirrored).await;
    // What a status may hold is as free.
    let outputs = format!("{{\"status\":{{\"outputs\":{{\"x\":{}}}}}}}", nested(OBJECTS, 2000));
    kubectl_there(&world, &["patch", "tfd/plain", "--subresource=status", "--type=merge"], &outputs);

    world.controller = world.controller.stop().await.start().await;
    world.until("plain", "its own status", |o| o.status.as_ref().is_some_and(|s| s.outputs.is_empty())).await;
    world.deployment("later", json!({"source": {"inline": {"main.tf": ""}}})).await;
    world.ready("later", "NoChanges").await;
    world.delete("objects-5000").await;
    world.gone("objects-5000").await;
    world.controller.stop().await;
}

/// Whoever may update an object may write its managed fields as he likes, and nobody holds him to the schema.
#[tokio::test(flavor = "multi_thread")]
async fn managed_fields_and_times_that_no_parser_takes_hold_nobody_up() {
    let mut world = World::new().await;
    let map =
        |value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd"}, "data": {"a": value}});
    world.put::<ConfigMap>("odd", map("1")).await;
    world.secret("odd", json!({"a": "1"})).await;
    let module = "variable \"a\" {}\nvariable \"b\" {}\nresource \"terraform_data\" \"a\" { input = var.a }";
    let spec = json!({"source": {"inline": {"main.tf": module}}, "variablesFrom": [
        {"as": "a", "configMapKeyRef": {"name": "odd", "key": "a"}},
        {"as": "b", "secretKeyRef": {"name": "odd", "key": "a"}}]});
    world.deployment("odd", spec).await;
    let first = digest(&world.ready("odd", "ApprovalRequired").await);
    let deep = nested(("{\"f:a\":", "}"), 300).replace('1', "{}");
    for (object, version) in [("configmap/odd", "v1"), ("secret/odd", "v1"), ("tfd/odd", "landfall.dev/v1alpha1")] {
        for (time, fields) in [("9999-12-31T23:59:59Z", "{\"f:b\":{}}"), ("2026-01-01T00:00:00Z", &deep)] {
            let patch = format!(
                "{{\"metadata\":{{\"managedFields\":[{{\"manager\":\"odd\",\"operation\":\"Update\",\"apiVersion\":\"{version}\",\
                 \"time\":\"{time}\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{fields}}}]}}}}"
            );
            let show = ["--type=merge", "-o", "json", "--show-managed-fields"];
            let taken = kubectl_there(&world, &[&["patch", object], &show[..]].concat(), &patch);
            assert!(taken.contains(time) && taken.contains("\"odd\""), "the API server took it: {taken}");
        }
    }
    let condition = json!({"status": {"conditions": [{"type": "Odd", "status": "True", "reason": "Odd", "message": "",
        "lastTransitionTime": "9999-12-31T23:59:59Z"}]}});
    kubectl_there(&world, &["patch", "tfd/odd", "--subresource=status", "--type=merge"], &condition.to_string());
    world.put::<ConfigMap>("odd", map("2")).await;
    let second = world.plan_after("odd", &first).await;
    world.controller = world.controller.stop().await.start().await;
    world.secret("odd", json!({"a": "2"})).await;
    world.put::<ConfigMap>("odd", map("3")).await;
    world.plan_after("odd", &second).await;
    world.controller.stop().await;
}

#[tokio::test]
async fn numbers_that_a_status_does_not_hold_are_refused() {
    crate::harness::install().await;
    let (namespace, client) = (crate::harness::namespace().await, User::Admin.client().await);
    let api: Api<TerraformDeployment> = Api::namespaced(client, &namespace);
    let object = crate::harness::deployment("a", json!({"source": {"inline": {"main.tf": ""}}}));
    api.create(&Default::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let state = |resources: i64| json!({"state": {"serial": 1, "lineage": "a", "sha256": "a", "resources": resources}});
    let run = |code: i64| json!({"lastRun": {"id": "a", "kind": "Apply", "phase": "Apply", "exitCode": code}});
    for (status, field) in [(state(1 << 32), "status.state.resources"), (run(1 << 31), "status.lastRun.exitCode")] {
        let patch = Patch::Merge(json!({"status": status}));
        let refusal = api.patch_status("a", &PatchParams::default(), &patch).await.unwrap_err().to_string();
        assert!(refusal.contains(field), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_objects_are_read_and_mirrored_and_an_ordinary_one_after_them_at_once() {
    let world = World::new().await;
    let mut taken = Vec::new();
    for kind in ["CloudCredential", "TerraformDeployment"] {
        eprintln!("{kind}: seeds 0 to {}", COUNT - 1);
        let offered = futures::stream::iter(0..COUNT).map(|seed| {
            let object = suspended(any(kind, &format!("strange-{seed}"), &mut Dice::new(seed)));
            offer(&world, kind, object)
        });
        let answers: Vec<bool> = offered.buffer_unordered(4).collect().await;
        taken.push(i64::try_from(answers.into_iter().filter(|taken| *taken).count()).unwrap());
    }
    assert!(taken.iter().all(|n| *n > 20), "{taken:?} were taken: too few to tell anything");
    world.deployment("plain", json!({"source": {"inline": {"main.tf": ""}}})).await;
    let one = async || world.count("SELECT count(*) FROM terraform_deployments WHERE name = 'plain'").await == 1;
    wait_until(PLENTY, "the ordinary one in the mirror", one).await;
    world.ready("plain", "NoChanges").await;
    let told = "SELECT (SELECT count(*) FROM cloud_provider_credentials WHERE ready IS NOT NULL), \
        (SELECT count(*) FROM terraform_deployments WHERE ready IS NOT NULL), (SELECT count(*) FROM mirror_quarantine)";
    let all = (taken[0], taken[1] + 1, 0);
    let mut connection = world.database.superuser().await;
    let mut found =
        async || sqlx::query_as::<_, (i64, i64, i64)>(told).fetch_one(&mut connection).await.unwrap() == all;
    wait_until(PLENTY, &format!("{all:?} with a condition, mirrored"), &mut found).await;
    world.controller.stop().await;
}
