//! Commands against an API server that somebody else writes to meanwhile.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

/// The object, how many more conflicts there are, what each conflict changes, and what the controller makes of a command.
struct Server {
    object: Value,
    conflicts: u32,
    meanwhile: fn(&mut Value),
    controller: Controller,
    patches: Vec<Value>,
}

/// Is given the object, the command's word and its value.
type Controller = fn(&mut Value, &str, &str);

/// Takes the command away and says so.
fn takes(object: &mut Value, word: &str, value: &str) {
    object["metadata"]["annotations"] = json!({});
    object["status"]["lastHandled"] = json!({word: value});
    if word == "approve" {
        object["status"]["approval"] = json!({"digest": value, "by": "alice", "at": "2026-11-20T12:02:00Z"});
    }
}

/// Nobody is there.
fn sleeps(_: &mut Value, _: &str, _: &str) {}

type Shared = Arc<Mutex<Server>>;

fn digest(n: u8) -> String {
    format!("sha256:{}", format!("{n:x}").repeat(64))
}

fn object() -> Value {
    json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "TerraformDeployment",
        "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1"},
        "spec": {"source": {"inline": {"main.tf": ""}}},
        "status": {
            "plan": {"digest": digest(1), "runId": "r1", "createdAt": "2026-11-20T12:00:00Z", "kind": "Apply",
                     "summary": {"add": 1, "change": 0, "destroy": 0, "replace": 0}},
            "phase": "Pending", "lastRun": {"id": "r1", "kind": "Plan", "phase": "Failed"},
        },
    })
}

async fn answer(State(server): State<Shared>, request: Request) -> (StatusCode, Json<Value>) {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    if path.ends_with("/selfsubjectreviews") {
        let who = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {},
                         "status": {"userInfo": {"username": "alice"}}});
        return (StatusCode::CREATED, Json(who));
    }
    let mut server = server.lock().unwrap();
    if path == "/apis/landfall.dev/v1alpha1/terraformdeployments" {
        let list = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
                          "items": [{"metadata": {"name": "web", "namespace": "shop"}}]});
        return (StatusCode::OK, Json(list));
    }
    if path.contains("/namespaces/locked/") {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden",
                            "message": "web is forbidden: User \"alice\" cannot get resource", "code": 403});
        return (StatusCode::FORBIDDEN, Json(status));
    }
    if path != "/apis/landfall.dev/v1alpha1/namespaces/shop/terraformdeployments/web" || server.object.is_null() {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                            "message": "not found", "reason": "NotFound", "code": 404});
        return (StatusCode::NOT_FOUND, Json(status));
    }
    if method == Method::PATCH {
        let patch: Value = serde_json::from_slice(&body).unwrap();
        let current = patch["metadata"]["resourceVersion"] == server.object["metadata"]["resourceVersion"];
        server.patches.push(patch);
        if server.conflicts > 0 || !current {
            server.conflicts = server.conflicts.saturating_sub(1);
            let version = server.patches.len() + 1;
            server.object["metadata"]["resourceVersion"] = json!(version.to_string());
            let meanwhile = server.meanwhile;
            meanwhile(&mut server.object);
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                "message": "the object has been modified", "reason": "Conflict", "code": 409});
            return (StatusCode::CONFLICT, Json(status));
        }
        let annotations = server.patches.last().unwrap()["metadata"]["annotations"].clone();
        server.object["metadata"]["annotations"] = annotations.clone();
        let answer = server.object.clone();
        let given = annotations.as_object().unwrap().iter().find(|(name, _)| !name.ends_with("command-by")).unwrap();
        let (word, value) = (given.0.trim_start_matches("landfall.dev/"), given.1.as_str().unwrap());
        let controller = server.controller;
        controller(&mut server.object, word, value);
        return (StatusCode::OK, Json(answer));
    }
    (StatusCode::OK, Json(server.object.clone()))
}

/// Exit code, standard output, standard error, and the patches that were sent.
async fn landfall(conflicts: u32, meanwhile: fn(&mut Value), arguments: &[&str]) -> (i32, String, String, Vec<Value>) {
    given(Server { object: object(), conflicts, meanwhile, controller: takes, patches: vec![] }, arguments).await
}

/// The same where nobody else writes, with an object that was changed and what its controller does.
async fn told(change: fn(&mut Value), controller: Controller, arguments: &[&str]) -> (i32, String, String, usize) {
    let mut object = object();
    change(&mut object);
    let server = Server { object, conflicts: 0, meanwhile: nothing, controller, patches: vec![] };
    let (code, out, err, patches) = given(server, arguments).await;
    assert!(err.lines().count() <= 1, "{err}");
    (code, out, err, patches.len())
}

async fn given(server: Server, arguments: &[&str]) -> (i32, String, String, Vec<Value>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Mutex::new(server));
    let app = axum::Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let files = tempfile::tempdir().unwrap();
    let kubeconfig = files.path().join("config");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_landfall"));
    let output = command.args(arguments).env("KUBECONFIG", kubeconfig).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let patches = server.lock().unwrap().patches.clone();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr), patches)
}

fn nothing(_: &mut Value) {}

#[tokio::test]
async fn a_command_that_meets_another_writer_is_sent_again() {
    for (arguments, annotation) in [
        (&["approve", "tfd/web", "--json"][..], "landfall.dev/approve"),
        (&["retry", "tfd/web", "--json"], "landfall.dev/retry"),
    ] {
        let (code, out, err, patches) = landfall(3, nothing, arguments).await;
        assert_eq!(code, 0, "{annotation}: {err}");
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["by"], "alice", "one document: {out}");
        assert_eq!(patches.len(), 4);
        assert!(patches.iter().all(|patch| patch["metadata"]["annotations"][annotation].is_string()), "{patches:?}");
    }
}

#[tokio::test]
async fn a_command_that_never_gets_through_says_so_and_prints_nothing() {
    let (code, out, err, patches) = landfall(u32::MAX, nothing, &["approve", "tfd/web"]).await;
    assert_eq!((code, out.as_str(), patches.len()), (1, "", 6));
    assert!(err.contains("has been modified"), "{err}");
}

#[tokio::test]
async fn a_plan_that_came_meanwhile_is_not_approved() {
    let other = |object: &mut Value| object["status"]["plan"]["digest"] = json!(digest(2));
    let (code, out, err, patches) = landfall(1, other, &["approve", "tfd/web"]).await;
    assert_eq!((code, out.as_str(), patches.len()), (1, "", 1), "{err}");
    assert!(err.contains(&format!("the current plan is {}", digest(2))), "{err}");
}

#[tokio::test]
async fn a_plan_that_somebody_approved_before_is_no_failure() {
    fn by_bob(object: &mut Value) {
        object["status"]["approval"] = json!({"digest": digest(1), "by": "bob", "at": "2026-11-20T12:01:00Z"});
    }
    let (code, out, _, patches) = landfall(1, by_bob, &["approve", "tfd/web"]).await;
    assert_eq!((code, patches.len()), (0, 1));
    assert_eq!(out, format!("{} was already approved by bob at 2026-11-20T12:01:00Z\n", digest(1)));
    fn applied(object: &mut Value) {
        by_bob(object);
        object["status"]["approval"]["runId"] = json!("r2");
    }
    let (code, out, ..) = landfall(1, applied, &["approve", "tfd/web"]).await;
    assert_eq!(code, 0);
    assert!(
        out.contains("was already taken up by run r2, and `landfall runs` says what it came to; bob approved it"),
        "{out}"
    );
    let (_, out, ..) = landfall(1, applied, &["approve", "tfd/web", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["by"], &told["already"], &told["appliedBy"]), (&json!("bob"), &json!(true), &json!("r2")));
}

fn runs(object: &mut Value) {
    object["status"]["lastRun"] = json!({"id": "r2", "kind": "Apply", "phase": "Running"});
}

#[tokio::test]
async fn an_approval_is_told_as_what_the_controller_made_of_it() {
    let (code, out, err, _) = told(nothing, takes, &["approve", "tfd/web"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("alice approved {} (1 to add, 0 to change, 0 to destroy)\n", digest(1)));

    fn refuses(object: &mut Value, _: &str, value: &str) {
        object["metadata"]["annotations"] = json!({});
        object["status"]["lastHandled"] = json!({"approveRefused": value});
        object["status"]["plan"]["digest"] = json!(digest(2));
    }
    let (code, out, err, _) = told(nothing, refuses, &["approve", "tfd/web"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("stale") && err.contains(&format!("the current plan is {}", digest(2))), "{err}");

    fn discards(object: &mut Value, word: &str, value: &str) {
        object["metadata"]["annotations"] = json!({});
        let said = format!("2026-11-20T12:00:00.000Z {word} {value} by alice: ValidatingAdmissionPolicy/x is missing");
        object["status"]["lastHandled"] = json!({"discarded": said});
    }
    for command in ["approve", "retry"] {
        let (code, out, err, _) = told(nothing, discards, &[command, "tfd/web"]).await;
        assert_eq!((code, out.as_str()), (1, ""), "{command}");
        assert!(err.contains("discarded") && err.contains("ValidatingAdmissionPolicy/x is missing"), "{err}");
    }
}

#[tokio::test]
async fn a_command_that_came_before_the_policies_counted_is_given_again() {
    fn young(object: &mut Value, word: &str, value: &str) {
        if object["status"]["lastHandled"]["discarded"].is_string() {
            return takes(object, word, value);
        }
        object["metadata"]["annotations"] = json!({});
        let said =
            format!("2026-11-20T12:00:00.000Z {word} {value} by alice: it was given at 1, count from 2; give it again");
        object["status"]["lastHandled"] = json!({"discarded": said});
    }
    let (code, out, err, patches) = told(nothing, young, &["approve", "tfd/web"]).await;
    assert_eq!((code, patches), (0, 2), "{err}");
    assert!(out.starts_with("alice approved"), "{out}");
    let (code, _, err, patches) = told(nothing, young, &["approve", "tfd/web", "--timeout", "2s"]).await;
    assert_eq!((code, patches), (1, 1), "there is no time: {err}");
}

#[tokio::test]
async fn what_nobody_answers_is_no_yes() {
    for (arguments, change) in [
        (&["approve", "tfd/web"][..], nothing as fn(&mut Value)),
        (&["retry", "tfd/web"], nothing),
        (&["cancel", "tfd/web"], runs),
    ] {
        let (code, out, err, _) = told(change, sleeps, &[arguments, &["--timeout", "1s"]].concat()).await;
        assert_eq!((code, out.as_str()), (3, ""), "{arguments:?}");
        assert!(err.contains("not handled yet") && err.contains("landfall controller"), "{err}");
        let (code, out, err, _) = told(change, sleeps, &[arguments, &["--no-wait", "--json"]].concat()).await;
        let sent: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &sent["sent"], &sent["by"]), (0, &json!(arguments[0]), &json!("alice")), "{err}");
    }
}

const OTHER_RUN: &str = "0199aaaa-0000-7000-8000-000000000000";

#[tokio::test]
async fn what_is_no_run_or_no_digest_is_wrong_usage() {
    for (arguments, says) in [
        (&["cancel", "tfd/web", "--run", "nonsense"][..], "\"nonsense\" is no run id"),
        (&["retry", "tfd/web", "--run", "nonsense"], "\"nonsense\" is no run id"),
        (&["approve", "tfd/web", "--digest", "sha256:abc"], "sha256: and 64 hex digits"),
        (&["approve", "tfd/web", "--digest", "nonsense"], "sha256: and 64 hex digits"),
    ] {
        let (code, out, err, patches) = landfall(0, nothing, arguments).await;
        assert_eq!((code, out.as_str(), patches.len()), (2, "", 0), "{arguments:?}: {err}");
        assert!(err.contains(says), "{arguments:?}: {err}");
    }
}

#[tokio::test]
async fn a_command_with_nothing_to_act_on_is_not_given() {
    fn ended(object: &mut Value) {
        object["status"]["phase"] = json!("Applied");
        object["status"]["lastRun"] = json!({"id": "r2", "kind": "Apply", "phase": "Succeeded"});
    }
    fn fresh(object: &mut Value) {
        object["status"] = json!({});
    }
    for (arguments, change, says) in [
        (&["cancel", "tfd/web"][..], nothing as fn(&mut Value), "nothing to cancel"),
        (&["cancel", "tfd/web"], ended, "nothing to cancel"),
        (&["cancel", "tfd/web"], fresh, "no run yet"),
        (&["cancel", "tfd/web", "--run", OTHER_RUN], runs, "is not the newest run of tfd/web: that is r2"),
        (&["retry", "tfd/web"], ended, "nothing to retry"),
        (&["retry", "tfd/web"], runs, "is under way"),
        (&["retry", "tfd/web"], fresh, "no run yet"),
        (&["approve", "tfd/web"], fresh, "no plan yet"),
    ] {
        let (code, out, err, patches) = told(change, takes, arguments).await;
        assert_eq!((code, out.as_str(), patches), (1, "", 0), "{arguments:?}");
        assert!(err.contains(says), "{arguments:?}: {err}");
    }
    let (code, out, err, _) = told(runs, takes, &["cancel", "tfd/web"]).await;
    assert_eq!((code, out.as_str()), (0, "alice cancels run r2\n"), "{err}");
    fn ends(object: &mut Value, word: &str, value: &str) {
        takes(object, word, value);
        object["status"]["lastRun"]["phase"] = json!("Succeeded");
    }
    let (code, _, err, _) = told(runs, ends, &["cancel", "tfd/web"]).await;
    assert_eq!(code, 1, "it had ended before: {err}");
    fn before(object: &mut Value) {
        object["status"]["lastHandled"] = json!({"retry": "r1"});
    }
    let (code, out, err, patches) = told(before, takes, &["retry", "tfd/web"]).await;
    assert_eq!((code, patches), (0, 0), "{err}");
    assert!(out.contains("was taken before"), "{out}");
}

#[tokio::test]
async fn a_retry_that_lets_the_object_go_is_done() {
    fn deleted(object: &mut Value) {
        object["metadata"]["deletionTimestamp"] = json!("2026-11-20T12:00:00Z");
    }
    fn goes(object: &mut Value, _: &str, _: &str) {
        *object = Value::Null;
    }
    let (code, out, err, _) = told(deleted, goes, &["retry", "tfd/web"]).await;
    assert_eq!((code, out.as_str()), (0, "alice retries run r1\n"), "{err}");
    let (code, _, err, _) = told(nothing, goes, &["retry", "tfd/web"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("was deleted meanwhile"), "{err}");
}

#[tokio::test]
async fn a_name_that_is_elsewhere_or_spelt_otherwise_is_told() {
    for command in ["approve", "cancel", "retry"] {
        let (code, _, err, _) = told(nothing, takes, &[command, "tfd/web", "-n", "team"]).await;
        assert_eq!(code, 1);
        assert!(err.contains("no tfd/web in namespace team; there is one in shop: say which with -n"), "{err}");
        let (code, _, err, _) = told(nothing, takes, &[command, "tfd/wbe"]).await;
        assert_eq!(code, 1);
        assert!(err.contains("did you mean tfd/web?"), "{err}");
        let (code, _, err, _) = told(nothing, takes, &[command, "tfd/web", "-n", "locked"]).await;
        assert_eq!(code, 1);
        assert!(err.contains("cannot get resource; a RoleBinding to the ClusterRole landfall-approver"), "{err}");
    }
}

#[test]
fn an_api_server_that_is_away_is_named_with_what_to_do() {
    let files = tempfile::tempdir().unwrap();
    let kubeconfig = files.path().join("config");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    for (file, says) in [
        (kubeconfig.clone(), "API server at http://127.0.0.1:1: Connection refused"),
        (files.path().join("none"), "no usable kubeconfig (KUBECONFIG is"),
    ] {
        for command in ["approve", "cancel", "retry"] {
            let mut landfall = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"));
            let output = landfall.args([command, "tfd/web"]).env("KUBECONFIG", &file).output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{err}");
            assert!(err.contains(says) && err.contains("KUBECONFIG") && err.lines().count() == 1, "{err}");
        }
    }
}
