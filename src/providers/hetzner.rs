//! Hetzner Cloud, API v1. Its tokens are of one project, and nothing tells which.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{Answer, Denial, Http, Identify, ProbeResult, doubt_of};
use crate::Result;
use crate::access::text::line;
use crate::access::{SecretBytes, SecretText};
use crate::api::{HetznerCredential, Identity, Reason};

const NAME: &str = "Hetzner Cloud";
const KEY: &str = "api_token";
const ENDPOINT: &str = "https://api.hetzner.cloud/v1";

/// What `GET /locations` tells, as far as it shows that this API answered.
#[derive(Deserialize)]
struct Locations {
    #[serde(rename = "locations")]
    _locations: Vec<Value>,
}

/// What errors look like.
#[derive(Deserialize)]
struct Failure {
    error: Cause,
}

#[derive(Deserialize)]
struct Cause {
    code: String,
    #[serde(default)]
    message: String,
}

impl Identify for HetznerCredential {
    fn endpoint(&self) -> (&'static str, String) {
        ("spec.hetzner.endpoint", self.endpoint.clone().unwrap_or_else(|| ENDPOINT.to_owned()))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn probe(&self, http: &Http, base: &Url, secret: &SecretBytes, _: Timestamp) -> Result<ProbeResult> {
        let token = secret.text(KEY)?;
        let Ok(mut value) = http::HeaderValue::from_str(&format!("Bearer {}", token.expose())) else {
            return Ok(ProbeResult::invalid(format!("key {KEY:?} of the Secret holds characters that no token has")));
        };
        value.set_sensitive(true);
        let request = http::Request::get(locations(base).as_str()).header("Authorization", value).body(Bytes::new());
        let Ok(request) = request else {
            return Ok(ProbeResult::unavailable("spec.hetzner.endpoint makes no URL; correct it"));
        };
        Ok(match http.send(request).await {
            Ok(answer) => self.judge(&answer, secret),
            Err(unanswered) => unanswered.into_doubt(NAME),
        })
    }

    fn environment(&self, secret: &SecretBytes, _: Option<&str>) -> Result<BTreeMap<String, SecretText>> {
        let mut environment = BTreeMap::from([("HCLOUD_TOKEN".to_owned(), secret.text(KEY)?)]);
        if let Some(endpoint) = &self.endpoint {
            environment.insert("HCLOUD_ENDPOINT".to_owned(), SecretText::new(endpoint.clone()));
        }
        Ok(environment)
    }
}

impl HetznerCredential {
    /// The code says what is wrong; 429 and 5xx say nothing of the token, whatever their body.
    fn judge(&self, answer: &Answer, secret: &SecretBytes) -> ProbeResult {
        let line = |text: &str, limit| line(&secret.redact_keys(&[KEY], text), limit);
        let cause = serde_json::from_slice::<Failure>(&answer.body).map(|f| f.error).ok();
        let said = cause.as_ref().map(|c| line(&c.message, 200)).unwrap_or_default();
        let code = cause.as_ref().map(|c| line(&c.code, 40)).unwrap_or_default();
        match (answer.status, code.as_str()) {
            (200, _) if serde_json::from_slice::<Locations>(&answer.body).is_ok() => ProbeResult::Valid {
                identity: Identity::default(),
                capabilities: vec!["terraform".into()],
                zones: Vec::new(),
            },
            (200, _) => ProbeResult::unavailable(
                "spec.hetzner.endpoint: what answers there is not the Hetzner Cloud API; check address and path",
            ),
            (429 | 500.., "") => doubt_of(NAME, answer),
            (429 | 500.., _) | (409 | 423, "conflict" | "locked") => {
                let reason = if answer.status == 429 { Reason::RateLimited } else { Reason::ProviderUnavailable };
                let message = format!("{NAME} answered {} {code} ({said}); it is tried again", answer.status);
                let doubt = super::Doubt { reason, message, retry_after: answer.retry_after };
                ProbeResult::Unknown(doubt)
            }
            (401, "unauthorized") => ProbeResult::invalid(format!(
                "{NAME} refused the token ({said}); put one of the project under {KEY:?} in Secret {:?}",
                self.secret_ref.name
            )),
            (403, "token_readonly") => ProbeResult::Insufficient(Denial {
                message: format!("{NAME}: the token may only read ({said}); make one with Read & Write"),
            }),
            (403, "forbidden") => ProbeResult::Insufficient(Denial {
                message: format!("{NAME}: the token lacks a right ({said}); make one with Read & Write"),
            }),
            _ => doubt_of(NAME, answer),
        }
    }
}

/// A catalogue that every token may read, and of it one entry.
fn locations(base: &Url) -> Url {
    let mut url = base.clone();
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push("locations");
    }
    url.set_query(Some("per_page=1"));
    url
}
