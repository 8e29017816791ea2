//! Answers of the run API: what is refused, and why, as JSON.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::room::Place;
use crate::Error;
use crate::ledger::{Answer, Refusal};
use crate::run::digest::sha256_hex;
use crate::run::protocol;

/// Header with the SHA-256 of a body in hex: of every file that is sent from here; checked where a runner sends it.
pub(super) const SHA256: HeaderName = HeaderName::from_static(protocol::SHA256);

/// An answer that is not what was asked for.
pub(super) struct Fault {
    status: StatusCode,
    body: Value,
}

impl Fault {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, body: json!({"error": message.into()}) }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "no such run, or not its token: send `Authorization: Bearer` with the token that the run was started with",
        )
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::new(StatusCode::NOT_FOUND, "there is no such thing"),
            Refusal::Ended => Self::new(StatusCode::GONE, "the run has ended"),
            Refusal::Cancelled => Self::new(StatusCode::PRECONDITION_FAILED, "the run was cancelled on request"),
            Refusal::Conflict(why) => Self::new(StatusCode::CONFLICT, why),
            // The engine reads this body: lock JSON with an ID, or it does not wait.
            Refusal::Locked(lock) => Self { status: StatusCode::LOCKED, body: lock },
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        tracing::warn!(%error, "run API");
        if error.is_away() {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "the ledger is away; ask again")
        } else {
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                response.headers_mut().insert(RETRY_AFTER, 1.into());
            }
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// What the ledger granted.
pub(super) fn granted<T>(answer: crate::Result<Result<T, Refusal>>) -> Result<T, Fault> {
    Ok(answer??)
}

/// 204, if the ledger did it.
pub(super) fn done(answer: Answer<()>) -> Result<Response, Fault> {
    granted(answer).map(|()| StatusCode::NO_CONTENT.into_response())
}

/// The bytes of a file, which hold their place until they are sent; or 404.
pub(super) fn bytes(found: Option<Zeroizing<Vec<u8>>>, place: Place, what: &str) -> Result<Response, Fault> {
    let Some(bytes) = found else {
        return Err(Fault::new(StatusCode::NOT_FOUND, format!("there is no {what} yet")));
    };
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CACHE_CONTROL, "no-store".to_owned()),
        (SHA256, sha256_hex(&bytes)),
    ];
    Ok((headers, Bytes::from_owner(Held { bytes, _place: place })).into_response())
}

/// Bytes in their place.
struct Held {
    bytes: Zeroizing<Vec<u8>>,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
