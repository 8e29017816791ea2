//! `/livez` and `/readyz`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;

/// Parts that must be there before this replica is ready.
#[derive(Debug, Default)]
pub struct Health(Mutex<BTreeMap<&'static str, Option<String>>>);

impl Health {
    /// A part is needed, and is not there yet.
    pub fn expect(&self, part: &'static str) {
        self.set(part, Some("not yet".into()));
    }

    /// A part is there.
    pub fn good(&self, part: &'static str) {
        self.set(part, None);
    }

    /// A part is away, and why.
    pub fn bad(&self, part: &'static str, why: impl Into<String>) {
        self.set(part, Some(why.into()));
    }

    /// One line a part; `Err` where any is away.
    pub fn check(&self) -> Result<String, String> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text: String = map
            .iter()
            .map(|(part, why)| match why {
                None => format!("{part}: ok\n"),
                Some(why) => format!("{part}: {why}\n"),
            })
            .collect();
        if map.values().all(Option::is_none) { Ok(text) } else { Err(text) }
    }

    fn set(&self, part: &'static str, why: Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, why);
    }
}

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
