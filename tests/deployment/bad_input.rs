//! What is wrong is a condition that names it.

use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

use crate::world::{World, condition, message};

fn inline(file: &str, text: &str) -> Value {
    json!({"source": {"inline": {file: text}}})
}

fn with(mut spec: Value, more: Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn from(kind: &str, name: &str, key: &str) -> Value {
    json!({"variablesFrom": [{kind: {"name": name, "key": key}, "as": "token"}]})
}

const TOKEN: &str = "variable \"token\" { type = string }";

/// Name, spec, reason, and what the message names.
fn cases() -> Vec<(&'static str, Value, &'static str, Vec<&'static str>)> {
    let token = || inline("main.tf", TOKEN);
    vec![
        ("map", json!({"source": {"configMapRef": {"name": "none"}}}), "SourceNotFound", vec!["configMapRef", "none"]),
        (
            "secret",
            with(token(), from("secretKeyRef", "none", "k")),
            "SecretNotFound",
            vec!["spec.variablesFrom[0].secretKeyRef: there is no Secret \"none\"", "create it"],
        ),
        (
            "key",
            with(token(), from("secretKeyRef", "odd", "k")),
            "SecretKeyMissing",
            vec!["spec.variablesFrom[0].secretKeyRef: Secret \"odd\" has no key \"k\"", "add it"],
        ),
        (
            "config",
            with(token(), from("configMapKeyRef", "none", "k")),
            "SourceNotFound",
            vec!["spec.variablesFrom[0].configMapKeyRef: there is no ConfigMap \"none\"", "create it"],
        ),
        ("bytes", with(token(), from("secretKeyRef", "odd", "bytes")), "SourceInvalid", vec!["token", "UTF-8"]),
        ("nfc", with(token(), from("secretKeyRef", "odd", "nfc")), "SourceInvalid", vec!["token", "form C"]),
        ("file-bytes", json!({"source": {"configMapRef": {"name": "odd"}}}), "SourceInvalid", vec!["main.tf", "UTF-8"]),
        ("file-nfc", inline("main.tf", "locals {\n  a = \"e\u{301}\"\n}"), "SourceInvalid", vec!["main.tf", "form C"]),
        (
            "undeclared",
            with(inline("main.tf", ""), json!({"variables": {"surplus": 1}})),
            "SourceInvalid",
            vec!["surplus"],
        ),
        (
            "credential",
            with(token(), json!({"credentialRef": {"name": "none"}, "variables": {"token": "t"}})),
            "CredentialNotReady",
            vec!["credentialRef"],
        ),
        (
            "engine",
            with(inline("main.tf", ""), json!({"engine": {"type": "OpenTofu", "version": "0.1"}})),
            "EngineNotFound",
            vec!["spec.engine"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_condition_that_names_it_and_starts_no_run() {
    let world = World::new().await;
    let odd = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "odd"},
        "data": {"bytes": "/w==", "nfc": "ZcyB"}});
    world.put::<Secret>("odd", odd).await;
    let odd = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd"},
        "binaryData": {"main.tf": "/w=="}});
    world.put::<ConfigMap>("odd", odd).await;
    for (name, spec, ..) in cases() {
        world.deployment(name, spec).await;
    }
    let mut wrong = Vec::new();
    for (name, _, reason, named) in cases() {
        // Waits for this very reason: on a busy machine others, such as LedgerUnavailable, may pass by before.
        let object = world.ready(name, reason).await;
        let ready = condition(&object, "Ready").unwrap();
        if ready.reason != reason || ready.status != "False" || !named.iter().all(|n| ready.message.contains(n)) {
            wrong.push(format!("{name}: wanted {reason} {named:?}, found {} {}", ready.reason, ready.message));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs").await, 0);
    world.controller.stop().await;
}

/// Ways to take the state elsewhere that the API server lets pass: the file, its text with `OUT` for a file in the world, and what the message names.
const ESCAPES: [(&str, &str, &str); 8] = [
    ("backend.tf", "terraform {\n  backend \"local\" {\n    path = \"OUT\"\n  }\n}", "`backend`"),
    ("zzz_override.tf", "terraform {\n  backend \"local\" {\n    path = \"OUT\"\n  }\n}", "`backend`"),
    ("zzzzz_override.tf.json", r#"{"terraform": {"b\u0061ckend": {"local": {"path": "OUT"}}}}"#, "`backend`"),
    ("zzzzz_override.tofu", "terraform {\n  backend \"local\" {\n    path = \"OUT\"\n  }\n}", "`backend`"),
    ("x.tofu.json", r#"{"terraform": [{}, {"cloud": {"organization": "OUT"}}]}"#, "`cloud`"),
    ("modules/child/main.tf", "terraform {\n  backend \"local\" {\n    path = \"OUT\"\n  }\n}", "`backend`"),
    ("zzzz_landfall_override.tofu.json", r#"{"terraform": {"backend": {"local": {"path": "OUT"}}}}"#, "reserved"),
    (".terraform/terraform.tfstate", r#"{"version": 3, "backend": {"type": "local"}}"#, "no leading dot"),
];

const MAIN: &str = "module \"child\" {\n  source = \"./modules/child\"\n}\nresource \"terraform_data\" \"a\" {}";

fn escape(file: &str, text: &str, out: &Path) -> Value {
    let mut files = json!({"main.tf": MAIN, "modules/child/main.tf": ""});
    files[file] = json!(text.replace("OUT", &out.display().to_string()));
    json!({"source": {"inline": files}, "approval": "Automatic"})
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_under_any_name_takes_the_state_elsewhere() {
    let (world, folder) = (World::new().await, tempfile::tempdir().unwrap());
    for (number, (file, text, _)) in ESCAPES.iter().enumerate() {
        let spec = escape(file, text, &folder.path().join(format!("{number}.tfstate")));
        world.deployment(&format!("escape-{number}"), spec).await;
    }
    // Without such a file the same module goes through, so it is the file that is refused.
    world.deployment("honest", escape("notes.txt", "terraform { backend \"local\" {} }", folder.path())).await;
    world.ready("honest", "Applied").await;
    let mut wrong = Vec::new();
    for (number, (file, _, named)) in ESCAPES.iter().enumerate() {
        let said = message(&world.ready(&format!("escape-{number}"), "SourceInvalid").await);
        if !said.contains(file) || !said.contains(named) {
            wrong.push(format!("{file}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE name <> 'honest'").await, 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a state elsewhere");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_refuses_is_shown_in_its_own_words_and_tried_as_often_as_the_spec_says() {
    let world = World::new().await;
    let once = |spec: Value| with(spec, json!({"retry": {"limit": 0}}));
    let provider = "terraform {\n  required_providers {\n    x = { source = \"example/none\" }\n  }\n}";
    let failing = "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"exit 7\" }\n}";
    world.deployment("init", once(inline("main.tf", provider))).await;
    world.deployment("plan", once(inline("main.tf", PLAN_FAILS))).await;
    let apply = with(
        inline("main.tf", failing),
        json!({"approval": "Automatic", "retry": {"limit": 1}, "guardrails": {"maxDestroy": 5}}),
    );
    world.deployment("apply", apply).await;
    for (name, reason, shown) in [
        ("init", "InitFailed", "example/none"),
        ("plan", "PlanFailed", "The world is flat."),
        ("apply", "ApplyFailed", "exit"),
    ] {
        let said = message(&world.ready(name, "RetriesExhausted").await);
        assert!(said.contains(reason) && said.contains(shown), "{name}: {said}");
    }
    let applies = "SELECT count(*) FROM terraform_runs WHERE name = 'apply' AND kind = 'Apply'";
    assert_eq!(world.count(applies).await, 2, "once, and once more");
    let last = world.ready("apply", "RetriesExhausted").await.status.unwrap().last_run.unwrap().id;
    world.command("apply", "retry", &last).await;
    let again = |o: &_| crate::world::stands(o, "RetriesExhausted") && !message(o).contains(&last);
    world.until("apply", "the attempts after a retry", again).await;
    assert_eq!(world.count(applies).await, 4, "a retry starts over");
    world.controller.stop().await;
}

pub(crate) const PLAN_FAILS: &str = "variable \"world\" { default = \"flat\" }\nresource \"terraform_data\" \"a\" {\n  lifecycle {\n    \
    precondition {\n      condition     = var.world != \"flat\"\n      error_message = \"The world is flat.\"\n    }\n  }\n}";

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_is_wrong_in_itself_is_planned_again_when_it_changes_and_not_before() {
    let world = World::new().await;
    let module = |text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "module"}, "data": {"main.tf": text}});
    world.put::<ConfigMap>("module", module("resource \"x\" {{\n")).await;
    let backoff = json!({"retry": {"maxBackoff": "1s"}});
    world.deployment("map", with(json!({"source": {"configMapRef": {"name": "module"}}}), backoff.clone())).await;
    world.deployment("file", with(inline("main.tf", "output \"x\" { value = file(\"missing.txt\") }"), backoff)).await;
    for (name, shown) in [("map", "main.tf line 1"), ("file", "missing.txt")] {
        let object = world.ready(name, "SourceInvalid").await;
        let said = message(&object);
        assert!(said.contains("Error: ") && said.contains(shown) && said.contains("no retry mends this"), "{said}");
        assert_eq!(json!(crate::world::status(&object).phase), "Failed");
        assert!(condition(&object, "ActionRequired").is_some());
    }
    world.put::<ConfigMap>("module", module("resource \"terraform_data\" \"a\" {}")).await;
    world.ready("map", "ApprovalRequired").await;
    assert_eq!(world.count("SELECT count(*) FROM terraform_runs WHERE name = 'map'").await, 2);
    assert_eq!(
        world.count("SELECT count(*) FROM terraform_runs WHERE name = 'file'").await,
        1,
        "it was not tried again"
    );
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_is_never_overwritten_with_outputs() {
    let world = World::new().await;
    world.secret("theirs", json!({"said": "mine"})).await;
    let spec = with(
        inline("main.tf", "output \"said\" { value = \"ours\" }\nresource \"terraform_data\" \"a\" {}"),
        json!({"approval": "Automatic", "outputs": {"secretName": "theirs"}}),
    );
    world.deployment("web", spec).await;
    let said = message(&world.ready("web", "OutputsSecretNotOwned").await);
    assert!(said.contains("spec.outputs.secretName") && said.contains("theirs"), "{said}");
    let runs = world.count("SELECT count(*) FROM terraform_runs WHERE name = 'web'").await;
    assert_eq!(runs, 0, "it is known before the plan");
    let secret = world.api::<Secret>().get("theirs").await.unwrap();
    assert_eq!(secret.data.unwrap()["said"].0, b"mine");
    world.controller.stop().await;
}
