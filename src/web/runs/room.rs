//! Room for what is large: plans, states and logs are whole in memory while they pass, and all that pass at once are bounded.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::RunApi;
use super::answer::Fault;

/// So many bytes of large bodies are in memory at once: 96 MiB, on both ways together. Each stands there at most three times: as it
/// came, sealed, and on its way to Postgres.
pub const BODIES: usize = 96 << 20;
/// What is not larger needs no place: 256 KiB.
const SMALL: u64 = 256 << 10;
/// How long a call waits for its place before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a body may take that has its place.
const TRANSFER: Duration = Duration::from_secs(60);

/// The room of one process.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// Given back when it is dropped; `None` for what is small.
pub(super) type Place = Option<OwnedSemaphorePermit>;

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODIES)))
    }
}

impl Room {
    /// A place for so many bytes, in the order of those who ask. What is larger than the room has all of it.
    pub(super) async fn place(&self, bytes: u64) -> Result<Place, Fault> {
        if bytes <= SMALL {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes.min(BODIES as u64)).unwrap_or(u32::MAX);
        let place = timeout(PATIENCE, Arc::clone(&self.0).acquire_many_owned(bytes)).await;
        place.ok().and_then(Result::ok).map(Some).ok_or_else(|| {
            Fault::new(StatusCode::SERVICE_UNAVAILABLE, "too many large files are on their way; send it again")
        })
    }
}

/// A body of at most `LARGEST` bytes, in its place. It is not read before it has one.
pub(super) struct File<const LARGEST: usize> {
    bytes: Vec<u8>,
    _place: Place,
}

impl<const LARGEST: usize> Deref for File<LARGEST> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<const LARGEST: usize> FromRequest<RunApi> for File<LARGEST> {
    type Rejection = Fault;

    async fn from_request(request: Request, api: &RunApi) -> Result<Self, Fault> {
        let mut body = request.into_body();
        let told = body.size_hint().upper().unwrap_or(LARGEST as u64);
        let fits = told <= LARGEST as u64;
        let place = if fits { api.room.place(told).await? } else { None };
        let mut bytes = Vec::with_capacity(if fits { usize::try_from(told).unwrap_or(LARGEST) } else { 0 });
        let (end, mut passed) = (Instant::now() + TRANSFER, 0);
        loop {
            let frame = timeout_at(end, body.frame()).await.map_err(|_| slow())?;
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|e| Fault::new(StatusCode::BAD_REQUEST, e.to_string()))?.into_data() else {
                continue;
            };
            passed += data.len();
            // Who still sends does not hear why: what is a little too large is let pass by.
            if passed > 2 * LARGEST {
                break;
            }
            if passed <= LARGEST && fits {
                bytes.extend_from_slice(&data);
            }
        }
        if passed > LARGEST || !fits {
            let text = format!("the body is longer than {LARGEST} bytes");
            return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        Ok(Self { bytes, _place: place })
    }
}

fn slow() -> Fault {
    Fault::new(
        StatusCode::REQUEST_TIMEOUT,
        format!("the body did not come within {} s; send it again", TRANSFER.as_secs()),
    )
}
