//! The runner's side of the run API. Each call is safe to repeat, so each is repeated until it is answered.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;
use uuid::Uuid;

use crate::run::digest::sha256_hex;
use crate::run::protocol::{
    Artifact, Attach, Claim, Control, Progress, ResourceEvent, RunResult, RunSpec, SHA256, SecretText,
};

/// After so many answers of 500 to one call the answer is taken as meant: the server tells what is away by 503.
const MISHAPS: u32 = 8;

/// After so long without an answer, and each minute from then on, the log says so.
const UNHEARD: Duration = Duration::from_secs(5);

/// The longest pause that the run API can ask for.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// How long one look at whether the run is still wanted may take.
const GLANCE: Duration = Duration::from_secs(5);

/// Why a call has no answer that one could use.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The run API said no, and will say so again.
    #[error("the run API answered {status}: {body}")]
    Refused { status: StatusCode, body: String },
    /// Nobody answered in time.
    #[error("the run API did not answer: {0}")]
    Unanswered(String),
}

impl CallError {
    /// The words of a refusal, without the form in which they came.
    pub(super) fn told(&self) -> String {
        #[derive(Deserialize)]
        struct Told {
            error: String,
        }
        match self {
            Self::Refused { body, .. } => {
                serde_json::from_str(body).map_or_else(|_| self.to_string(), |t: Told| t.error)
            }
            Self::Unanswered(why) => why.clone(),
        }
    }

    /// The ledger has ended the run.
    pub(super) fn is_over(&self) -> bool {
        self.status() == Some(StatusCode::GONE)
    }

    /// The status of a refusal.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unanswered(_) => None,
        }
    }
}

type Answer<T> = Result<T, CallError>;

/// One try without success.
struct Miss {
    error: CallError,
    /// The run API asks for so long a pause.
    rest: Duration,
}

impl From<CallError> for Miss {
    fn from(error: CallError) -> Self {
        Self { error, rest: Duration::ZERO }
    }
}

/// Speaks for one run.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: SecretText,
    /// Whether a 500 is never taken as meant.
    outlasts: bool,
}

impl Client {
    /// For the run `id` of the API at `api`.
    /// With `authorities` (PEM) nobody else vouches for the API's certificate.
    pub(super) fn new(api: &Url, id: Uuid, token: SecretText, authorities: Option<&str>) -> Result<Self, CallError> {
        let unusable = |e: &dyn std::fmt::Display| CallError::Unanswered(format!("{api}: {e}"));
        let base =
            Url::parse(&format!("{}/runs/{id}/", api.as_str().trim_end_matches('/'))).map_err(|e| unusable(&e))?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(60));
        // The system's certificates do not count: to read them takes longer than a call.
        let authorities =
            authorities.map_or(Ok(Vec::new()), |pem| reqwest::Certificate::from_pem_bundle(pem.as_bytes()));
        let http = http.tls_certs_only(authorities.map_err(|e| unusable(&e))?);
        let http = http.build().map_err(|e| unusable(&e))?;
        Ok(Self { http, base, token, outlasts: false })
    }

    /// The same, for whom no failure of the server is an answer: what a ledger in disorder does not take now it may take later.
    #[must_use]
    pub(super) fn outlasting(&self) -> Self {
        Self { outlasts: true, ..self.clone() }
    }

    /// One try.
    async fn attempt(&self, method: &Method, path: &str, body: &Bytes) -> Result<Bytes, Miss> {
        let unanswered = |e: &dyn std::fmt::Display| CallError::Unanswered(e.to_string());
        let url = self.base.join(path).map_err(|e| unanswered(&e))?;
        let request = self.http.request(method.clone(), url).bearer_auth(self.token.expose());
        let request = if body.first() == Some(&b'{') || body.first() == Some(&b'[') {
            request.header("content-type", "application/json")
        } else {
            request
        };
        let request = request.header(SHA256, sha256_hex(body));
        let answer = request.body(body.clone()).send().await.map_err(|e| unanswered(&e.without_url()))?;
        let status = answer.status();
        let told = answer.headers().get(SHA256).cloned();
        let rest = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = answer.bytes().await.map_err(|e| unanswered(&e.without_url()))?;
        if status.is_success() {
            return match told {
                Some(told) if told.as_bytes() != sha256_hex(&bytes).as_bytes() => {
                    Err(unanswered(&"the answer is not whole").into())
                }
                _ => Ok(bytes),
            };
        }
        let body = String::from_utf8_lossy(&bytes).into_owned();
        let failing = status == StatusCode::INTERNAL_SERVER_ERROR && !self.outlasts;
        let again = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error() && !failing;
        if again {
            let rest = Duration::from_secs(rest.unwrap_or_default()).min(LONGEST_REST);
            Err(Miss { error: CallError::Unanswered(format!("{status} {body}")), rest })
        } else {
            Err(CallError::Refused { status, body }.into())
        }
    }

    /// Tries until there is an answer or the time is up; the waits grow to five seconds, with jitter, or to what the run API
    /// asks for. A 500 counts only when it keeps coming.
    async fn call(&self, method: Method, path: &str, body: Bytes, until: Instant) -> Answer<Bytes> {
        let (mut wait, mut mishaps) = (Duration::from_millis(100), 0);
        let mut silence = Instant::now() + UNHEARD;
        loop {
            let miss = match timeout_at(until, self.attempt(&method, path, &body)).await {
                Ok(Err(miss))
                    if miss.error.status() == Some(StatusCode::INTERNAL_SERVER_ERROR) && mishaps < MISHAPS =>
                {
                    mishaps += 1;
                    miss
                }
                Ok(Err(miss @ Miss { error: CallError::Unanswered(_), .. })) => miss,
                Ok(answer) => return answer.map_err(|miss| miss.error),
                Err(_) => CallError::Unanswered("the time is up".into()).into(),
            };
            let Miss { error, rest } = miss;
            let pause = wait.mul_f64(0.5 + rand::random::<f64>() / 2.0).max(rest);
            if Instant::now() + pause >= until {
                return Err(error);
            }
            if Instant::now() > silence {
                silence = Instant::now() + Duration::from_secs(60);
                tracing::warn!(path, %error, "the run API does not answer; it is asked again");
            }
            sleep(pause).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    async fn send<T: Serialize>(&self, method: Method, path: &str, body: &T, until: Instant) -> Answer<Bytes> {
        let body = serde_json::to_vec(body).map_err(|e| CallError::Unanswered(e.to_string()))?;
        self.call(method, path, body.into(), until).await
    }

    pub(super) async fn claim(&self, claim: &Claim, until: Instant) -> Answer<RunSpec> {
        read(&self.send(Method::POST, "claim", claim, until).await?)
    }

    pub(super) async fn attach(&self, attach: &Attach, until: Instant) -> Answer<RunSpec> {
        read(&self.send(Method::POST, "attach", attach, until).await?)
    }

    /// One try, and a short one: the next comes in two seconds anyway, and a cancel must not wait for one that hangs.
    pub(super) async fn control(&self) -> Answer<Control> {
        let nothing = Bytes::new();
        let answer = tokio::time::timeout(GLANCE, self.attempt(&Method::GET, "control", &nothing)).await;
        let answer = answer.map_err(|_| CallError::Unanswered("it does not answer in time".into()))?;
        read(&answer.map_err(|miss| miss.error)?)
    }

    pub(super) async fn phase(&self, progress: &Progress, until: Instant) -> Answer<()> {
        self.send(Method::POST, "phase", progress, until).await.map(drop)
    }

    /// `None` when there is none.
    pub(super) async fn artifact(&self, artifact: Artifact, until: Instant) -> Answer<Option<Bytes>> {
        let path = format!("artifacts/{}", artifact.as_str());
        found(self.call(Method::GET, &path, Bytes::new(), until).await)
    }

    pub(super) async fn put_artifact(&self, artifact: Artifact, bytes: Vec<u8>, until: Instant) -> Answer<()> {
        let path = format!("artifacts/{}", artifact.as_str());
        self.call(Method::PUT, &path, bytes.into(), until).await.map(drop)
    }

    pub(super) async fn append_log(&self, offset: u64, bytes: Vec<u8>, until: Instant) -> Answer<()> {
        self.call(Method::PUT, &format!("logs/{offset}"), bytes.into(), until).await.map(drop)
    }

    pub(super) async fn put_resources(&self, offset: u64, events: &[ResourceEvent], until: Instant) -> Answer<()> {
        self.send(Method::PUT, &format!("resources/{offset}"), &events, until).await.map(drop)
    }

    /// `None` when there is none yet.
    pub(super) async fn state(&self, until: Instant) -> Answer<Option<Bytes>> {
        found(self.call(Method::GET, "state", Bytes::new(), until).await)
    }

    pub(super) async fn put_state(&self, state: Bytes, until: Instant) -> Answer<()> {
        self.call(Method::PUT, "state", state, until).await.map(drop)
    }

    pub(super) async fn lock(&self, info: Bytes, until: Instant) -> Answer<()> {
        self.call(Method::POST, "lock", info, until).await.map(drop)
    }

    pub(super) async fn unlock(&self, info: Bytes, until: Instant) -> Answer<()> {
        self.call(Method::DELETE, "lock", info, until).await.map(drop)
    }

    pub(super) async fn result(&self, result: &RunResult, until: Instant) -> Answer<()> {
        self.send(Method::POST, "result", result, until).await.map(drop)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    // What could not be read is not repeated in the message: a claim's answer holds secrets.
    serde_json::from_slice(bytes)
        .map_err(|e| CallError::Unanswered(format!("an answer of another form, line {}", e.line())))
}

fn found(answer: Answer<Bytes>) -> Answer<Option<Bytes>> {
    match answer {
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::Router;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What only this run has must not be taken for refused, however long the server fails.
    #[tokio::test]
    async fn a_server_that_fails_refuses_nothing_of_who_outlasts_it() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::INSUFFICIENT_STORAGE] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let api = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
            let served = Router::new().fallback(move || async move { status });
            tokio::spawn(async move { axum::serve(listener, served).await });
            let client = Client::new(&api, Uuid::nil(), SecretText::new("t"), None).unwrap().outlasting();
            let told = client.put_state(Bytes::new(), Instant::now() + Duration::from_secs(2)).await;
            assert!(matches!(told, Err(CallError::Unanswered(_))), "{told:?}");
        }
    }

    #[tokio::test]
    async fn a_call_comes_again_when_the_run_api_has_said_so_and_not_before() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let served = tokio::spawn(async move {
            let mut asked = Vec::new();
            for head in ["503 Busy\r\nretry-after: 2", "200 Done"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                asked.push(Instant::now());
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        let client = Client::new(&api, Uuid::nil(), SecretText::new("t"), None).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        client.phase(&Progress { phase: crate::run::protocol::RunPhase::Plan }, until).await.unwrap();
        let asked = served.await.unwrap();
        assert!(matches!(asked.as_slice(), [first, again] if *again - *first >= Duration::from_secs(2)), "{asked:?}");
    }
}
