//! What Landfall serves over HTTP, on every replica: health, metrics, run API.

mod health;
mod metrics;
pub mod runs;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

pub use health::Health;
pub use metrics::{Metrics, ReconcileResult};

/// What the handlers share.
#[derive(Clone)]
pub struct State {
    /// Whether this process lives and may get requests.
    pub health: Arc<Health>,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// What runners ask.
    pub runs: runs::RunApi,
}

/// All routes.
pub fn router(state: State) -> Router {
    let runs = runs::router(state.runs.clone());
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::serve))
        .with_state(state)
        .merge(runs)
}
