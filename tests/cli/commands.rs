//! Commands against an API server that somebody else writes to meanwhile.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

/// The object, how many more conflicts there are, and what each conflict changes.
struct Server {
    object: Value,
    conflicts: u32,
    meanwhile: fn(&mut Value),
    patches: Vec<Value>,
}

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
            "lastRun": {"id": "r1", "kind": "Plan", "phase": "Succeeded"},
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
    assert_eq!(path, "/apis/landfall.dev/v1alpha1/namespaces/shop/terraformdeployments/web");
    let mut server = server.lock().unwrap();
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
    }
    (StatusCode::OK, Json(server.object.clone()))
}

/// Exit code, standard output, standard error, and the patches that were sent.
async fn landfall(conflicts: u32, meanwhile: fn(&mut Value), arguments: &[&str]) -> (i32, String, String, Vec<Value>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Mutex::new(Server { object: object(), conflicts, meanwhile, patches: vec![] }));
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
        (&["cancel", "tfd/web", "--json"], "landfall.dev/cancel"),
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
    assert!(out.contains("was already applied by run r2; bob approved it"), "{out}");
    let (_, out, ..) = landfall(1, applied, &["approve", "tfd/web", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["by"], &told["already"], &told["appliedBy"]), (&json!("bob"), &json!(true), &json!("r2")));
}
