//! What Landfall serves over HTTP, on every replica: health and metrics; the run API beside them to child processes, or over
//! TLS to pods.

mod health;
mod peers;
pub mod runs;
pub mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::health::Health;
use crate::ledger::Ledger;
use crate::metrics::Metrics;

/// What the handlers share.
#[derive(Clone)]
pub struct State {
    /// What this process needs, and how that is.
    pub health: Health,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// How far its log is behind is asked when metrics are.
    pub ledger: Ledger,
}

/// Health and metrics.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(serve_metrics))
        .with_state(state)
}

async fn serve_metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    state.metrics.lags("activity_log", state.ledger.log_waits_since());
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], state.metrics.text())
}
