//! `/livez` and `/readyz`.

use axum::extract::State;
use axum::http::StatusCode;

/// The process serves: no part that may be away for a while (Postgres, API server) makes a restart useful.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(state): State<super::State>) -> (StatusCode, String) {
    match state.health.check() {
        Ok(text) => (StatusCode::OK, text),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
    }
}
