//! The run API: what runners ask of any replica; see [`crate::run::protocol`] for the calls.
//!
//! Every call carries the run's own token; only a pod that takes its run shows its own one. A wrong token and a run that does
//! not exist get the same answer. Who wants to take a run that is over or taken is told so before anybody is asked whose pod it is.

mod answer;
mod room;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query, RawPathParams, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

pub use self::room::BODIES;

use self::answer::{Fault, SHA256, bytes, done, granted};
use self::room::{File, Room};
use super::peers::{Peer, Peers};
use crate::ledger::runs::{Refusal, Standing};
use crate::ledger::{Ledger, Subject};
use crate::run::digest::sha256_hex;
use crate::run::protocol::{Artifact, Attach, Claim, Control, PodIdentity, Progress, ResourceEvent, RunResult};
use crate::run::token;

/// The largest state, plan file, plan JSON and snapshot: 64 MiB.
pub const LARGEST_FILE: usize = 64 << 20;
/// The largest piece of a log, and the largest batch of resource events: 8 MiB.
pub const LARGEST_PIECE: usize = 8 << 20;
/// The largest body of any other call: 1 MiB.
const LARGEST_MESSAGE: usize = 1 << 20;
/// Of a call of somebody who is not known yet: 4 KiB.
const LARGEST_GREETING: usize = 4 << 10;
/// Pods of one address about whose tokens the API server is asked at once.
const ASKING: usize = 8;
/// A token that was no good keeps its place for so long, so that nobody tries many.
const PENALTY: Duration = Duration::from_secs(1);

/// Learns that a deployment's run has moved, so that the deployment is reconciled.
pub trait Waker: Send + Sync {
    /// A run of this object was claimed, or ended.
    fn run_changed(&self, subject: &Subject);
}

/// Tells pods by their own tokens.
pub trait Pods: Send + Sync {
    /// The pod of this run whose token this is; `None` where it is no token of a pod of this run.
    fn of_run<'a>(&'a self, run: Uuid, token: &'a str) -> BoxFuture<'a, crate::Result<Option<PodIdentity>>>;
}

/// What the handlers share.
#[derive(Clone)]
pub struct RunApi {
    pub(super) ledger: Ledger,
    waker: Arc<dyn Waker>,
    pods: Option<Arc<dyn Pods>>,
    room: Room,
    asking: Peers,
}

impl RunApi {
    /// The API over this ledger, for child processes.
    pub fn new(ledger: Ledger, waker: Arc<dyn Waker>) -> Self {
        Self { ledger, waker, pods: None, room: Room::default(), asking: Peers::new(ASKING) }
    }

    /// The same for pods.
    #[must_use]
    pub fn for_pods(self, pods: Arc<dyn Pods>) -> Self {
        Self { pods: Some(pods), ..self }
    }

    /// The object is not known where the ledger went away right after its answer: the periodic reconcile finds it then.
    async fn wake(&self, run: Uuid) {
        if let Ok(Some(run)) = self.ledger.run(run).await {
            self.waker.run_changed(&run.subject);
        }
    }
}

/// The routes, all below `/runs/{id}`.
pub fn router(api: RunApi) -> Router {
    Router::new()
        .route("/runs/{id}/artifacts/{name}", get(get_artifact).put(put_artifact))
        .route("/runs/{id}/state", get(get_state).put(put_state))
        .route("/runs/{id}/logs/{offset}", put(put_log))
        .route("/runs/{id}/resources/{offset}", put(put_resources))
        .route("/runs/{id}/claim", post(claim))
        .route("/runs/{id}/attach", post(attach))
        .route("/runs/{id}/control", get(control))
        .route("/runs/{id}/phase", post(phase))
        .route("/runs/{id}/lock", post(lock).delete(unlock))
        .route("/runs/{id}/result", post(result))
        .with_state(api)
}

/// A call with the token of its run.
struct Call {
    id: Uuid,
    parameters: HashMap<String, String>,
}

impl Call {
    fn artifact(&self) -> Result<Artifact, Fault> {
        let name = self.parameters.get("name").map_or("", String::as_str);
        Artifact::ALL.into_iter().find(|a| a.as_str() == name).ok_or_else(|| {
            let names = Artifact::ALL.map(Artifact::as_str).join(", ");
            Fault::new(StatusCode::NOT_FOUND, format!("no artifact is called \"{name}\"; there are {names}"))
        })
    }

    fn offset(&self) -> Result<i64, Fault> {
        let text = self.parameters.get("offset").map_or("", String::as_str);
        let offset = text.parse().ok().filter(|offset| *offset >= 0);
        offset
            .ok_or_else(|| Fault::new(StatusCode::BAD_REQUEST, format!("\"{text}\" is no offset: a number from 0 on")))
    }
}

/// A call with the right token, also of a run that is over.
struct Known {
    standing: Standing,
    call: Call,
}

/// A token outlives its run only for the result, which may come late.
impl FromRequestParts<RunApi> for Call {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, api: &RunApi) -> Result<Self, Fault> {
        match Known::from_request_parts(parts, api).await? {
            Known { standing: Standing::Live, call } => Ok(call),
            Known { standing: Standing::Ended, .. } => Err(Refusal::Ended.into()),
        }
    }
}

impl FromRequestParts<RunApi> for Known {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, api: &RunApi) -> Result<Self, Fault> {
        let found = RawPathParams::from_request_parts(parts, api).await;
        let found = found.map_err(|e| Fault::new(StatusCode::BAD_REQUEST, e.to_string()))?;
        let parameters: HashMap<_, _> = found.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let token = bearer(&parts.headers);
        let id = parameters.get("id").and_then(|id| id.parse::<Uuid>().ok());
        let (Some(token), Some(id)) = (token, id) else { return Err(Fault::unauthorized()) };
        match api.ledger.authorize_run(id, &token::hash(token)).await? {
            None => Err(Fault::unauthorized()),
            Some(standing) => Ok(Self { standing, call: Call { id, parameters } }),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

type Message = File<LARGEST_MESSAGE>;

/// A body that is, where its sender told a SHA-256, whole.
fn whole<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<&'a [u8], Fault> {
    match headers.get(SHA256) {
        Some(told) if told.as_bytes() != sha256_hex(body).as_bytes() => Err(Fault::new(
            StatusCode::BAD_REQUEST,
            format!("the body has not the SHA-256 of its header {SHA256}; send it again"),
        )),
        _ => Ok(body),
    }
}

/// The parser's own message could quote the body.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|e| {
        let text = format!("the body is not the JSON of this call: line {}, column {}", e.line(), e.column());
        Fault::new(StatusCode::BAD_REQUEST, text)
    })
}

async fn claim(State(api): State<RunApi>, call: Call, body: Message) -> Result<Response, Fault> {
    let claim: Claim = read(&body)?;
    let spec = granted(api.ledger.claim(call.id, &claim.holder).await)?;
    api.wake(call.id).await;
    Ok(Json(spec).into_response())
}

async fn attach(
    State(api): State<RunApi>,
    Path(id): Path<Uuid>,
    peer: Peer,
    headers: HeaderMap,
    body: File<LARGEST_GREETING>,
) -> Result<Response, Fault> {
    let attach: Attach = read(&body)?;
    let hash = token::hash_of_hex(&attach.token_sha256);
    let hash = hash.ok_or_else(|| Fault::new(StatusCode::BAD_REQUEST, "tokenSha256 is not 64 hex digits"))?;
    let (Some(pods), Some(token)) = (&api.pods, bearer(&headers)) else { return Err(Fault::unauthorized()) };
    // What no pod can take is not worth a question to the API server.
    let run = api.ledger.run(id).await?.ok_or_else(Fault::unauthorized)?;
    if run.phase.is_final() {
        return Err(Refusal::Ended.into());
    }
    if run.holder.is_some() && api.ledger.authorize_run(id, &hash).await?.is_none() {
        return Err(Refusal::Conflict("another runner has taken the run".into()).into());
    }
    let Some(place) = api.asking.enter(peer.0) else {
        return Err(Fault::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many pods of this address show their tokens; ask again",
        ));
    };
    let Some(pod) = pods.of_run(id, token).await? else {
        tokio::time::sleep(PENALTY).await;
        return Err(Fault::unauthorized());
    };
    drop(place);
    let spec = granted(api.ledger.attach(id, &pod, &hash).await)?;
    api.wake(id).await;
    Ok(Json(spec).into_response())
}

async fn control(State(api): State<RunApi>, call: Call) -> Result<Json<Control>, Fault> {
    granted(api.ledger.control(call.id).await).map(Json)
}

async fn phase(State(api): State<RunApi>, call: Call, body: Message) -> Result<Response, Fault> {
    // They pass by in moments as a rule, and would cost a write to the object each; it is looked at every few seconds.
    done(api.ledger.set_phase(call.id, &read::<Progress>(&body)?).await)
}

async fn result(State(api): State<RunApi>, Known { call, .. }: Known, body: Message) -> Result<Response, Fault> {
    let result: RunResult = read(&body)?;
    // Plan and state are read for it.
    let size = api.ledger.artifact_size(call.id, Artifact::PlanJson).await? + api.ledger.state_size(call.id).await?;
    let _place = api.room.place(size).await?;
    let finish = granted(api.ledger.finish(call.id, &result).await)?;
    tracing::info!(run = %call.id, phase = ?result.phase, ?finish, "run ended");
    api.wake(call.id).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn get_artifact(State(api): State<RunApi>, call: Call) -> Result<Response, Fault> {
    let artifact = call.artifact()?;
    let place = api.room.place(api.ledger.artifact_size(call.id, artifact).await?).await?;
    bytes(api.ledger.artifact(call.id, artifact).await?, place, artifact.as_str())
}

async fn put_artifact(
    State(api): State<RunApi>,
    call: Call,
    headers: HeaderMap,
    file: File<LARGEST_FILE>,
) -> Result<Response, Fault> {
    done(api.ledger.put_artifact(call.id, call.artifact()?, whole(&headers, &file)?).await)
}

async fn put_log(
    State(api): State<RunApi>,
    call: Call,
    headers: HeaderMap,
    file: File<LARGEST_PIECE>,
) -> Result<Response, Fault> {
    done(api.ledger.append_log(call.id, call.offset()?, whole(&headers, &file)?).await)
}

async fn put_resources(State(api): State<RunApi>, call: Call, file: File<LARGEST_PIECE>) -> Result<Response, Fault> {
    let events: Vec<ResourceEvent> = read(&file)?;
    done(api.ledger.put_resources(call.id, call.offset()?, &events).await)
}

async fn get_state(State(api): State<RunApi>, call: Call) -> Result<Response, Fault> {
    let place = api.room.place(api.ledger.state_size(call.id).await?).await?;
    bytes(granted(api.ledger.state_of_run(call.id).await)?, place, "state")
}

async fn put_state(
    State(api): State<RunApi>,
    call: Call,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    file: File<LARGEST_FILE>,
) -> Result<Response, Fault> {
    let lock = query.get("ID").filter(|id| !id.is_empty());
    done(api.ledger.put_state(call.id, lock.map(String::as_str), whole(&headers, &file)?).await)
}

async fn lock(State(api): State<RunApi>, call: Call, body: Message) -> Result<Response, Fault> {
    let info: Value = read(&body)?;
    done(api.ledger.lock(call.id, &info).await)
}

async fn unlock(State(api): State<RunApi>, call: Call, body: Message) -> Result<Response, Fault> {
    let info: Value = if body.is_empty() { Value::Null } else { read(&body)? };
    done(api.ledger.unlock(call.id, info.get("ID").and_then(Value::as_str)).await)
}
