//! A run API in this process. It keeps states, locks and artifacts as the real one must: same bytes again are taken, other
//! bytes of the same serial are not, a lock has one holder.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use landfall::run::protocol::{
    Artifact, Claim, Control, ProcessIdentity, Progress, ResourceEvent, RunPhase, RunResult, RunSpec, SecretText,
};
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

/// One run, as the ledger would have it.
pub struct Record {
    pub spec: RunSpec,
    token: String,
    pub holder: Option<ProcessIdentity>,
    pub cancel: bool,
    /// A cancel that came just before the apply: the run's control has not told of it yet.
    pub cancel_at_apply: bool,
    pub phases: Vec<RunPhase>,
    pub artifacts: HashMap<String, Vec<u8>>,
    pub log: Vec<u8>,
    pub resources: Vec<ResourceEvent>,
    pub result: Option<RunResult>,
}

#[derive(Default)]
pub struct Ledger {
    pub runs: HashMap<Uuid, Record>,
    pub states: Vec<Vec<u8>>,
    pub lock: Option<(Option<Uuid>, Bytes)>,
    pub refuse_states: bool,
}

#[derive(Clone, Default)]
pub struct Fake {
    ledger: Arc<Mutex<Ledger>>,
    /// What everybody is answered; 0: what they asked for.
    away: Arc<AtomicU16>,
    turned_away: Arc<AtomicU32>,
}

impl Fake {
    pub async fn serve() -> (Self, Url) {
        let fake = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new()
            .route("/runs/{id}/claim", post(claim))
            .route("/runs/{id}/control", get(control))
            .route("/runs/{id}/phase", post(phase))
            .route("/runs/{id}/artifacts/{name}", get(artifact).put(put_artifact))
            .route("/runs/{id}/logs/{offset}", put(append))
            .route("/runs/{id}/state", get(state).put(put_state))
            .route("/runs/{id}/lock", post(lock).delete(unlock))
            .route("/runs/{id}/resources/{offset}", put(resources))
            .route("/runs/{id}/result", post(result))
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(fake.clone(), admit))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (fake, url)
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn set_away(&self, away: bool) {
        self.answers(if away { 503 } else { 0 });
    }

    /// Answers everybody with this status; 0: what they asked for.
    pub fn answers(&self, status: u16) {
        self.away.store(status, Ordering::SeqCst);
    }

    pub fn turned_away(&self) -> u32 {
        self.turned_away.load(Ordering::SeqCst)
    }

    pub fn create(&self, spec: RunSpec, artifacts: HashMap<String, Vec<u8>>) -> SecretText {
        let token = Uuid::new_v4().to_string();
        let record = Record {
            spec: spec.clone(),
            token: token.clone(),
            holder: None,
            cancel: false,
            cancel_at_apply: false,
            phases: Vec::new(),
            artifacts,
            log: Vec::new(),
            resources: Vec::new(),
            result: None,
        };
        self.ledger().runs.insert(spec.id, record);
        SecretText::new(token)
    }

    /// Looks at a run.
    pub fn look<T>(&self, run: Uuid, look: impl FnOnce(&mut Record) -> T) -> T {
        look(self.ledger().runs.get_mut(&run).unwrap())
    }
}

async fn admit(State(fake): State<Fake>, headers: HeaderMap, request: Request, next: Next) -> Response {
    if let Ok(status) = StatusCode::from_u16(fake.away.load(Ordering::SeqCst)) {
        fake.turned_away.fetch_add(1, Ordering::SeqCst);
        return status.into_response();
    }
    let run = request.uri().path().split('/').nth(2).and_then(|id| id.parse::<Uuid>().ok());
    let token = headers.get("authorization").and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    let right = run.and_then(|id| Some(fake.ledger().runs.get(&id)?.token.clone()));
    if token.is_none() || token != right.as_deref() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(request).await
}

async fn claim(State(fake): State<Fake>, Path(id): Path<Uuid>, Json(claim): Json<Claim>) -> Response {
    fake.look(id, |run| {
        if run.result.is_some() {
            return StatusCode::GONE.into_response();
        }
        if run.holder.as_ref().is_some_and(|holder| *holder != claim.holder) {
            return StatusCode::CONFLICT.into_response();
        }
        run.holder = Some(claim.holder);
        Json(run.spec.clone()).into_response()
    })
}

async fn control(State(fake): State<Fake>, Path(id): Path<Uuid>) -> Json<Control> {
    Json(Control { cancel: fake.look(id, |run| run.cancel) })
}

async fn phase(State(fake): State<Fake>, Path(id): Path<Uuid>, Json(progress): Json<Progress>) -> StatusCode {
    fake.look(id, |run| {
        if run.cancel_at_apply && progress.phase == RunPhase::Apply {
            return StatusCode::PRECONDITION_FAILED;
        }
        run.phases.push(progress.phase);
        StatusCode::NO_CONTENT
    })
}

async fn artifact(State(fake): State<Fake>, Path((id, name)): Path<(Uuid, String)>) -> Response {
    let bytes = fake.look(id, |run| run.artifacts.get(&name).cloned());
    bytes.map_or(StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

async fn put_artifact(State(fake): State<Fake>, Path((id, name)): Path<(Uuid, String)>, body: Bytes) -> StatusCode {
    assert!(Artifact::ALL.iter().any(|a| a.as_str() == name), "{name}");
    fake.look(id, |run| run.artifacts.insert(name, body.to_vec()));
    StatusCode::NO_CONTENT
}

/// Appends what is new; a gap is a mistake of the runner.
async fn append(State(fake): State<Fake>, Path((id, offset)): Path<(Uuid, usize)>, body: Bytes) -> StatusCode {
    fake.look(id, |run| {
        let known = run.log.len().checked_sub(offset).expect("a gap in the log");
        run.log.extend_from_slice(body.get(known..).unwrap_or_default());
    });
    StatusCode::NO_CONTENT
}

async fn resources(
    State(fake): State<Fake>,
    Path((id, offset)): Path<(Uuid, usize)>,
    Json(events): Json<Vec<ResourceEvent>>,
) -> StatusCode {
    fake.look(id, |run| {
        let known = run.resources.len().checked_sub(offset).expect("a gap in the events");
        run.resources.extend(events.into_iter().skip(known));
    });
    StatusCode::NO_CONTENT
}

async fn state(State(fake): State<Fake>) -> Response {
    let newest = fake.ledger().states.last().cloned();
    newest.map_or(StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

async fn put_state(State(fake): State<Fake>, Path(id): Path<Uuid>, body: Bytes) -> Response {
    let mut ledger = fake.ledger();
    let holds = ledger.lock.as_ref().is_some_and(|(holder, _)| *holder == Some(id));
    if !holds || ledger.refuse_states {
        return (StatusCode::CONFLICT, "the run does not hold the lock").into_response();
    }
    let given: Value = serde_json::from_slice(&body).unwrap();
    if let Some(last) = ledger.states.last() {
        let known: Value = serde_json::from_slice(last).unwrap();
        let (old, new) = (known["serial"].as_i64(), given["serial"].as_i64());
        if old == new && *last == body {
            return StatusCode::NO_CONTENT.into_response();
        }
        if known["lineage"] != given["lineage"] || old >= new {
            return (StatusCode::CONFLICT, "serial or lineage").into_response();
        }
    }
    ledger.states.push(body.to_vec());
    StatusCode::NO_CONTENT.into_response()
}

async fn lock(State(fake): State<Fake>, Path(id): Path<Uuid>, body: Bytes) -> Response {
    let mut ledger = fake.ledger();
    match &ledger.lock {
        Some((_, info)) if *info != body => (StatusCode::LOCKED, info.clone()).into_response(),
        _ => {
            ledger.lock = Some((Some(id), body));
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

async fn unlock(State(fake): State<Fake>, Path(id): Path<Uuid>, body: Bytes) -> Response {
    let mut ledger = fake.ledger();
    match &ledger.lock {
        Some((holder, info)) if *holder != Some(id) || *info != body => {
            (StatusCode::CONFLICT, info.clone()).into_response()
        }
        _ => {
            ledger.lock = None;
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

async fn result(State(fake): State<Fake>, Path(id): Path<Uuid>, Json(result): Json<RunResult>) -> StatusCode {
    fake.look(id, |run| {
        assert!(run.result.is_none() || run.result.as_ref() == Some(&result), "two results of one run");
        run.result = Some(result);
    });
    StatusCode::NO_CONTENT
}
