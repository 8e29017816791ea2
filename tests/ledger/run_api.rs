//! The run API over HTTP, as a runner meets it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use landfall::api::Change;
use landfall::ledger::LARGEST_LOG;
use landfall::ledger::{ApplyRun, Approval, NewPlanRun, Room, Subject, Writer, state_key};
use landfall::run::protocol::{Claim, Progress, RunKind, RunPhase, RunSpec};
use landfall::web::runs::{LARGEST_FILE, RunApi, Waker, router};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::given::{PLAN_JSON, apply_of, holder, planned, result, spec};
use crate::states::state;
use crate::world::World;

#[derive(Default)]
struct Woken(AtomicUsize, Mutex<Option<Subject>>);

impl Waker for Woken {
    fn run_changed(&self, subject: &Subject) {
        self.0.fetch_add(1, Ordering::Relaxed);
        *self.1.lock().unwrap() = Some(subject.clone());
    }
}

struct Served {
    world: World,
    writer: Writer,
    woken: Arc<Woken>,
    base: String,
    http: reqwest::Client,
}

impl Served {
    async fn new() -> Self {
        let world = World::new().await;
        let (writer, woken) = (world.writer().await, Arc::new(Woken::default()));
        let api = router(RunApi::new(world.ledger.clone(), woken.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, api).await });
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { world, writer, woken, base, http: reqwest::Client::new() }
    }

    async fn call(&self, method: Method, run: Uuid, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.http.request(method, format!("{}/runs/{run}/{path}", self.base));
        request.bearer_auth("token").body(body).send().await.unwrap()
    }

    async fn post(&self, run: Uuid, path: &str, body: &impl serde::Serialize) -> Response {
        self.call(Method::POST, run, path, serde_json::to_vec(body).unwrap()).await
    }

    async fn plan(&self, subject: &Subject) -> Uuid {
        let id = Uuid::now_v7();
        let new = NewPlanRun {
            id,
            room: Room::of(100),
            subject: subject.clone(),
            change: Change::Apply,
            generation: 1,
            attempt: 0,
            engine: landfall::api::EngineKind::OpenTofu,
            facts: json!({"variablesHmac": "h", "credential": {"uid": Uuid::now_v7(), "account": "1"}}),
            requested_by: landfall::ledger::Actor::Unknown,
            token_hash: Sha256::digest("token").into(),
            inputs: spec(id, RunKind::Plan, Change::Apply, "s3cret"),
            snapshot: b"tar".to_vec(),
        };
        self.writer.create_plan_run(new).await.unwrap();
        id
    }

    async fn apply(&self, subject: &Subject) -> Uuid {
        self.writer.claim_state(subject, &state_key(subject), None).await.unwrap();
        let (plan, digest) = planned(&self.writer, subject, Change::Apply).await;
        let mut new = apply_of(subject, plan, &digest, Approval::Automatic);
        new.token_hash = Sha256::digest("token").into();
        let id = new.id;
        assert_eq!(self.writer.create_apply_run(new).await.unwrap(), ApplyRun::Created);
        assert_eq!(self.post(id, "claim", &Claim { holder: holder(1) }).await.status(), StatusCode::OK);
        id
    }
}

async fn error(response: Response) -> String {
    let body: Value = response.json().await.unwrap();
    body["error"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test]
async fn a_plan_goes_from_claim_to_digest_over_http() {
    let served = Served::new().await;
    let subject = served.world.subject("acme");
    let id = served.plan(&subject).await;
    let claimed = served.post(id, "claim", &Claim { holder: holder(1) }).await;
    assert_eq!(claimed.status(), StatusCode::OK);
    let spec: RunSpec = claimed.json().await.unwrap();
    assert_eq!(spec.environment["TOKEN"].expose(), "s3cret");
    let other = served.post(id, "claim", &Claim { holder: holder(2) }).await;
    assert_eq!(other.status(), StatusCode::CONFLICT);
    assert!(error(other).await.contains("held by process 1"));

    let progress = Progress { phase: RunPhase::Plan };
    assert_eq!(served.post(id, "phase", &progress).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(served.call(Method::GET, id, "artifacts/plan", "").await.status(), StatusCode::NOT_FOUND);
    for name in ["snapshot", "plan", "plan-json"] {
        let put = served.call(Method::PUT, id, &format!("artifacts/{name}"), PLAN_JSON).await;
        assert_eq!(put.status(), StatusCode::NO_CONTENT);
    }
    let got = served.call(Method::GET, id, "artifacts/plan", "").await;
    assert_eq!(got.headers()["x-landfall-sha256"], hex::encode(Sha256::digest(PLAN_JSON)).as_str());
    assert_eq!(got.text().await.unwrap(), PLAN_JSON);
    for (offset, text) in [(0, "ab"), (0, "ab"), (2, "cd"), (2, "cdef")] {
        let put = served.call(Method::PUT, id, &format!("logs/{offset}"), text).await;
        assert_eq!(put.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(served.writer.log(id, 0).await.unwrap(), (b"abcdef".to_vec(), 6));
    assert_eq!(served.writer.log(id, 4).await.unwrap(), (b"ef".to_vec(), 6));
    for _ in 0..2 {
        assert_eq!(served.post(id, "result", &result(RunPhase::Succeeded)).await.status(), StatusCode::NO_CONTENT);
    }
    assert!(served.writer.run(id).await.unwrap().unwrap().digest.is_some());
    for (method, path) in [
        (Method::GET, "control"),
        (Method::GET, "artifacts/snapshot"),
        (Method::PUT, "artifacts/plan"),
        (Method::PUT, "logs/6"),
        (Method::GET, "state"),
        (Method::POST, "lock"),
    ] {
        let after = served.call(method, id, path, PLAN_JSON).await;
        assert_eq!(after.status(), StatusCode::GONE, "{path}: a token is for the time of its run");
    }
    assert_eq!(served.writer.log(id, 0).await.unwrap().0, b"abcdef");
    assert!(served.woken.0.load(Ordering::Relaxed) >= 3);
    assert_eq!(*served.woken.1.lock().unwrap(), Some(subject));
}

#[tokio::test]
async fn a_log_is_cut_where_it_is_too_long_and_says_so() {
    let served = Served::new().await;
    let id = served.apply(&served.world.subject("acme")).await;
    assert_eq!(served.call(Method::PUT, id, "logs/0", "begun\n").await.status(), StatusCode::NO_CONTENT);
    let grown = format!("UPDATE run_logs SET size = {} WHERE run_id = $1", LARGEST_LOG - 3);
    let mut superuser = served.world.database.superuser().await;
    sqlx::query(sqlx::AssertSqlSafe(grown)).bind(id).execute(&mut superuser).await.unwrap();
    for (offset, text) in [(6, "abcdef"), (6, "abcdef"), (12, "ghi")] {
        let put = served.call(Method::PUT, id, &format!("logs/{offset}"), text).await;
        assert_eq!(put.status(), StatusCode::NO_CONTENT);
    }
    let log = String::from_utf8(served.writer.log(id, 0).await.unwrap().0).unwrap();
    assert_eq!(log, "begun\nabc\n[the log is cut off here]\n");
}

#[tokio::test]
async fn a_state_is_locked_written_and_read_over_http() {
    let served = Served::new().await;
    let subject = served.world.subject("acme");
    let id = served.apply(&subject).await;
    assert_eq!(served.call(Method::GET, id, "state", "").await.status(), StatusCode::NOT_FOUND);
    let info = json!({"ID": "l", "Who": "runner"});
    assert_eq!(served.post(id, "lock", &info).await.status(), StatusCode::NO_CONTENT);
    let held = served.post(id, "lock", &json!({"ID": "m"})).await;
    assert_eq!(held.status(), StatusCode::LOCKED);
    assert_eq!(held.json::<Value>().await.unwrap(), info, "the engine reads the holder's lock");
    for _ in 0..2 {
        assert_eq!(served.call(Method::PUT, id, "state?ID=l", state(1, "a", 1)).await.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(served.call(Method::PUT, id, "state", state(1, "a", 2)).await.status(), StatusCode::CONFLICT);
    assert_eq!(served.call(Method::GET, id, "state", "").await.text().await.unwrap(), state(1, "a", 1));
    assert_eq!(served.call(Method::DELETE, id, "lock", r#"{"ID":"m"}"#).await.status(), StatusCode::LOCKED);
    for _ in 0..2 {
        assert_eq!(served.call(Method::DELETE, id, "lock", r#"{"ID":"l"}"#).await.status(), StatusCode::NO_CONTENT);
    }
    let events = json!([{"address": "t.a", "resource_type": "t", "provider": null, "id": "i", "what": "Created"}]);
    assert_eq!(served.call(Method::PUT, id, "resources/0", events.to_string()).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(served.writer.inventory(subject.uid).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_without_the_runs_own_token_learns_nothing() {
    let served = Served::new().await;
    let id = served.plan(&served.world.subject("acme")).await;
    let other = served.plan(&served.world.subject("acme")).await;
    served.writer.hand_over(other, Some(&Sha256::digest("other").into())).await.unwrap();
    let mut answers = Vec::new();
    for (run, authorization) in [
        (id, None),
        (id, Some("Bearer wrong")),
        (id, Some("Bearer other")),
        (id, Some("Basic token")),
        (other, Some("Bearer token")),
        (Uuid::now_v7(), Some("Bearer token")),
    ] {
        let mut request = served.http.get(format!("{}/runs/{run}/control", served.base));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{authorization:?}");
        answers.push(error(response).await);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    let malformed =
        served.http.get(format!("{}/runs/x/control", served.base)).bearer_auth("token").send().await.unwrap();
    assert_eq!(malformed.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_too_large_cut_or_no_json_is_refused_with_the_reason() {
    let served = Served::new().await;
    let id = served.plan(&served.world.subject("acme")).await;
    let large = served.call(Method::PUT, id, "artifacts/plan", vec![0; LARGEST_FILE + 1]).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let request = served.http.put(format!("{}/runs/{id}/artifacts/plan", served.base)).bearer_auth("token");
    let cut = request.header("x-landfall-sha256", "00").body("plan").send().await.unwrap();
    assert_eq!(cut.status(), StatusCode::BAD_REQUEST);
    assert!(error(cut).await.contains("SHA-256"));
    let text = served.call(Method::POST, id, "claim", r#"{"holder": "s3cret"}"#).await;
    assert_eq!(text.status(), StatusCode::BAD_REQUEST);
    assert!(!error(text).await.contains("s3cret"));
    let name = served.call(Method::PUT, id, "artifacts/other", "x").await;
    assert!(error(name).await.contains("snapshot, lock-file, plan, plan-json"));
    assert_eq!(served.call(Method::PUT, id, "logs/-1", "x").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn with_postgres_away_a_runner_is_asked_to_come_again() {
    let served = Served::new().await;
    let id = served.plan(&served.world.subject("acme")).await;
    served.world.ledger.pool().close().await;
    let away = served.call(Method::GET, id, "control", "").await;
    assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(away.headers()["retry-after"], "1");
}
