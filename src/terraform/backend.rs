//! The runner's `http` backend on loopback. The engine's writes are answered as soon as they are on disk; the ledger gets
//! them in order, with patience. So neither a restart of the controller nor an outage disturbs a run.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::client::{CallError, Client};
use super::spool::Spool;
use crate::api::Reason;
use crate::run::protocol::{RunKind, SecretText};
use crate::run::state::{StateFile, refused};
use crate::{Error, Result};

/// How long a read or a lock waits for the run API before the engine is told that there is none.
const PATIENCE: Duration = Duration::from_secs(300);
/// User name of the loopback; the password is the secret.
const USER: &str = "landfall";

/// How far forwarding has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    spooled: u64,
    acknowledged: u64,
    /// The ledger will not take a state, and says why.
    pub(super) refused: Option<String>,
}

#[derive(Default)]
struct Held {
    /// The engine's lock, as it sent it.
    lock: Option<Bytes>,
    /// Why the engine did not get what it asked for.
    trouble: Option<Reason>,
    /// What the ledger answered under this lock, `Some(None)` for no state. Nobody else can have changed it since, so a
    /// read in mid-apply (the engine reads before its first write) needs nobody.
    known: Option<Option<Bytes>>,
}

struct Shared {
    /// A plan writes no state; its module could, as it is given the way.
    writes: bool,
    client: Client,
    spool: Spool,
    authorization: SecretText,
    held: Mutex<Held>,
    progress: watch::Sender<Progress>,
}

/// Serves one run.
pub(super) struct Loopback {
    address: SocketAddr,
    password: SecretText,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Loopback {
    /// Listens on a free port with a password of its own.
    pub(super) async fn start(client: Client, spool: Spool, kind: RunKind) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Error::io("listen on loopback"))?;
        let address = listener.local_addr().map_err(Error::io("listen on loopback"))?;
        let password = SecretText::new(hex::encode(rand::random::<[u8; 32]>()));
        let basic = STANDARD.encode(format!("{USER}:{}", password.expose()));
        let shared = Arc::new(Shared {
            writes: kind == RunKind::Apply,
            client,
            spool,
            authorization: SecretText::new(format!("Basic {basic}")),
            held: Mutex::default(),
            progress: watch::Sender::default(),
        });
        let router = Router::new()
            .route("/state", get(read).post(write))
            .route("/lock", post(lock).delete(unlock))
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(shared.clone(), authorize))
            .with_state(shared.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the loopback backend ended");
            }
        });
        tasks.spawn(forward(shared.clone()));
        Ok(Self { address, password, shared, _tasks: tasks })
    }

    /// The backend's settings for the engine's environment. They never come into a file: a plan file would keep them.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let url = |path| format!("http://{}/{path}", self.address);
        // Few retries: loopback is there, or the runner is dead and the engine had better write its state to a file.
        vec![
            ("TF_HTTP_ADDRESS", url("state")),
            ("TF_HTTP_UPDATE_METHOD", "POST".into()),
            ("TF_HTTP_LOCK_ADDRESS", url("lock")),
            ("TF_HTTP_LOCK_METHOD", "POST".into()),
            ("TF_HTTP_UNLOCK_ADDRESS", url("lock")),
            ("TF_HTTP_UNLOCK_METHOD", "DELETE".into()),
            ("TF_HTTP_USERNAME", USER.into()),
            ("TF_HTTP_PASSWORD", self.password.expose().into()),
            ("TF_HTTP_RETRY_MAX", "2".into()),
            ("TF_HTTP_RETRY_WAIT_MIN", "1".into()),
            ("TF_HTTP_RETRY_WAIT_MAX", "2".into()),
        ]
    }

    /// Watches forwarding.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Why the engine did not get its lock or state: another's lock, or nobody who answers.
    pub(super) fn trouble(&self) -> Option<Reason> {
        self.shared.held().trouble
    }

    /// Whether the newest state of this run has an instance at that address. One that cannot be read knows nothing.
    pub(super) fn knows(&self, address: &str) -> bool {
        let newest = self.shared.spool.newest().ok().flatten();
        let state = newest.and_then(|state| StateFile::parse(&state).ok());
        state.is_some_and(|state| state.instances.iter().any(|instance| instance.address == address))
    }

    /// Takes in a state that the engine could only leave in a file.
    pub(super) fn take(&self, state: &[u8]) -> Result<()> {
        self.shared.keep(state)
    }

    /// Waits until the ledger has every state, then gives the lock back. `Err` with the reason where either did not happen.
    pub(super) async fn finish(&self, until: Instant) -> std::result::Result<(), String> {
        self.shared.drain(until).await?;
        let lock = self.shared.held().lock.clone();
        let Some(lock) = lock else { return Ok(()) };
        match self.shared.client.unlock(lock, until).await {
            Ok(()) => {
                self.shared.held().lock = None;
                Ok(())
            }
            // All states are there, and the lock is not ours any more: nothing is left to give back.
            Err(error @ CallError::Refused { .. }) => {
                tracing::warn!(%error, "the lock had been taken away");
                Ok(())
            }
            Err(error) => Err(format!("unlock: {error}")),
        }
    }
}

impl Shared {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A refusal is passed on as it is: a 423 has the holder's lock as its body, and without an id in it the engine would
    /// not wait.
    fn refuse(&self, error: &CallError) -> Response {
        let (reason, response) = match error {
            CallError::Refused { status, body } => {
                let locked = *status == StatusCode::LOCKED;
                (locked.then_some(Reason::StateLocked), (*status, body.clone()).into_response())
            }
            CallError::Unanswered(_) => (Some(Reason::LedgerUnavailable), away(error)),
        };
        self.held().trouble = reason;
        response
    }

    fn keep(&self, state: &[u8]) -> Result<()> {
        let number = self.spool.put(state)?;
        self.progress.send_modify(|p| p.spooled = p.spooled.max(number));
        Ok(())
    }

    async fn drain(&self, until: Instant) -> std::result::Result<(), String> {
        let mut progress = self.progress.subscribe();
        let done = progress.wait_for(|p| p.refused.is_some() || p.acknowledged >= p.spooled);
        match timeout_at(until, done).await {
            Ok(Ok(p)) => p.refused.clone().map_or(Ok(()), Err),
            Ok(Err(_)) | Err(_) => Err("the ledger did not acknowledge the last state in time".into()),
        }
    }
}

/// Forwards states in order, each until it is acknowledged. A refusal ends it: what comes after a refused state is not
/// worth more, and all of it stays on disk.
async fn forward(shared: Arc<Shared>) {
    let mut progress = shared.progress.subscribe();
    loop {
        if progress.wait_for(|p| p.acknowledged < p.spooled).await.is_err() {
            return;
        }
        if let Err(reason) = forward_pending(&shared).await {
            tracing::error!(reason, "a state was refused; it stays in the spool");
            shared.progress.send_modify(|p| p.refused = Some(reason));
            return;
        }
    }
}

async fn forward_pending(shared: &Shared) -> std::result::Result<(), String> {
    for number in shared.spool.pending().map_err(|e| e.to_string())? {
        let state = Bytes::from(shared.spool.read(number).map_err(|e| e.to_string())?);
        loop {
            match shared.client.put_state(state.clone(), Instant::now() + PATIENCE).await {
                Ok(()) => break,
                Err(error @ CallError::Unanswered(_)) => {
                    tracing::warn!(%error, "the run API is away; the states wait on disk")
                }
                Err(error) => return Err(refused(&state, &error.told(), &shared.spool.path(number))),
            }
        }
        shared.spool.acknowledge(number).map_err(|e| e.to_string())?;
        shared.progress.send_modify(|p| p.acknowledged = p.acknowledged.max(number));
    }
    Ok(())
}

async fn authorize(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map(|v| v.as_bytes()).unwrap_or_default();
    let right = shared.authorization.expose().as_bytes();
    // No early exit: the time must not tell how much of the password was right.
    let differs = given.iter().zip(right).fold(given.len() ^ right.len(), |d, (a, b)| d | usize::from(a ^ b));
    if differs != 0 {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic")]).into_response();
    }
    next.run(request).await
}

async fn read(State(shared): State<Arc<Shared>>) -> Response {
    let spooled = match shared.spool.newest() {
        Ok(spooled) => spooled.map(Bytes::from),
        Err(error) => return away(&error),
    };
    let known = shared.held().known.clone();
    let state = match (spooled, known) {
        (Some(state), _) => Some(state),
        (None, Some(known)) => known,
        (None, None) => match shared.client.state(Instant::now() + PATIENCE).await {
            Ok(state) => state,
            Err(error) => return shared.refuse(&error),
        },
    };
    {
        let mut held = shared.held();
        held.trouble = None;
        if held.lock.is_some() {
            held.known = Some(state.clone());
        }
    }
    state.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

async fn write(State(shared): State<Arc<Shared>>, state: Bytes) -> Response {
    if !shared.writes {
        return (StatusCode::FORBIDDEN, "a plan run writes no state").into_response();
    }
    match shared.keep(&state) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => away(&error),
    }
}

async fn lock(State(shared): State<Arc<Shared>>, info: Bytes) -> Response {
    let until = Instant::now() + PATIENCE;
    // A lock of ours may still stand, its release waiting for the last state.
    let former = shared.held().lock.clone();
    if let Some(former) = former {
        if let Err(reason) = shared.drain(until).await {
            return away(&reason);
        }
        if let Err(error @ CallError::Unanswered(_)) = shared.client.unlock(former, until).await {
            return shared.refuse(&error);
        }
        *shared.held() = Held::default();
    }
    match shared.client.lock(info.clone(), until).await {
        Ok(()) => {
            *shared.held() = Held { lock: Some(info), ..Held::default() };
            StatusCode::OK.into_response()
        }
        Err(error) => shared.refuse(&error),
    }
}

/// The engine is done with the lock; the ledger keeps it until the last state is there (see [`Loopback::finish`]).
async fn unlock() -> StatusCode {
    StatusCode::OK
}

fn away(error: &dyn std::fmt::Display) -> Response {
    tracing::warn!(%error, "the backend cannot answer");
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
}
