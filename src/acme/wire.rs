//! The way to a CA: our HTTP client under the library, by the endpoint rules, with nonces kept and headers noted.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, LINK, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse};
use url::Url;

use super::directory::Directory;
use super::trouble::{Cause, Trouble};
use crate::access;
use crate::api::Reason;
use crate::installation::Installation;
use crate::providers::{Answer, Http, Unanswered, retry_after};

/// No answer of a CA is larger: chains are the largest.
const BODY_LIMIT: usize = 256 * 1024;
/// From the first byte sent to the last received.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// No rest that a CA asks for is longer.
const LONGEST_REST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many nonces are kept for later, and for how long: a CA forgets them in time.
const NONCES: usize = 64;
const NONCE_LIFE: Duration = Duration::from_secs(300);
const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What was seen of the last request of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Status of the answer; none where none came.
    pub(super) status: Option<u16>,
    /// For how long the CA asks to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Where other chains of the same certificate are.
    pub(super) alternates: Vec<String>,
    /// The body.
    pub(super) body: Bytes,
    /// Why no answer came.
    pub(super) refused: Option<Trouble>,
}

/// One CA's address, and what is kept of it between requests.
#[derive(Debug)]
pub(super) struct Line {
    installation: Arc<Installation>,
    http: Http,
    directory_url: Url,
    directory: Directory,
    nonces: Mutex<Vec<(String, Instant)>>,
}

impl Line {
    /// Asks for the directory. The address itself must be permitted already.
    pub(super) async fn open(installation: Arc<Installation>, http: Http, directory_url: Url) -> Result<Self, Trouble> {
        let answer = http.send_up_to(get(directory_url.as_str()), BODY_LIMIT).await.map_err(unanswered)?;
        let seen = Seen::of(&answer, &directory_url);
        let directory = match answer.status {
            200 => Directory::read(&answer.body),
            status => Err(format!("status {status}")),
        };
        let directory =
            directory.map_err(|why| Trouble::of_wire(&format!("{directory_url} is no directory: {why}"), &seen))?;
        Ok(Self { installation, http, directory_url, directory, nonces: Mutex::default() })
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(super) fn directory_url(&self) -> &str {
        self.directory_url.as_str()
    }

    /// Sends a request of ours, and keeps the nonce of the answer.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Answer, Trouble> {
        let url = self.permitted(&request.uri().to_string()).await?;
        let answer = self.http.send_up_to(request, BODY_LIMIT).await.map_err(unanswered)?;
        tracing::debug!(host = url.host_str(), path = url.path(), status = answer.status, "asked the CA");
        if let Some(nonce) = nonce_of(&answer.headers) {
            self.keep(nonce);
        }
        Ok(answer)
    }

    /// What an answer to a request of ours shows.
    pub(super) fn seen(&self, answer: &Answer) -> Seen {
        Seen::of(answer, &self.directory_url)
    }

    /// A nonce that was kept, else a new one.
    pub(super) async fn nonce(&self) -> Result<String, Trouble> {
        if let Some(nonce) = self.kept() {
            return Ok(nonce);
        }
        let request = request(Method::HEAD, &self.directory.new_nonce, Bytes::new());
        let answer = self.send(request).await?;
        self.kept()
            .ok_or_else(|| Trouble::new(Cause::Server, format!("the CA gave no nonce (status {})", answer.status)))
    }

    fn keep(&self, nonce: String) {
        let mut kept = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < NONCE_LIFE);
        if kept.len() < NONCES {
            kept.push((nonce, Instant::now()));
        }
    }

    /// The newest: after a CA's restart the older ones are worth nothing.
    fn kept(&self) -> Option<String> {
        let mut kept = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < NONCE_LIFE);
        kept.pop().map(|(nonce, _)| nonce)
    }

    /// A CA's documents name addresses of its own choice: each is held to the rules that the directory's was held to.
    async fn permitted(&self, address: &str) -> Result<Url, Trouble> {
        match Url::parse(address) {
            Ok(url) if url.origin() == self.directory_url.origin() => Ok(url),
            _ => permitted(&self.installation, address).await,
        }
    }
}

/// Whether the installation lets Landfall call a CA there.
pub(super) async fn permitted(installation: &Installation, address: &str) -> Result<Url, Trouble> {
    access::endpoint_allowed(installation, "spec.issuer.acme.server", address).await.map_err(|error| {
        let allowed = error.reason() != Reason::EndpointNotAllowed;
        Trouble::new(if allowed { Cause::Server } else { Cause::EndpointNotAllowed }, error.to_string())
    })
}

/// What the library sends in one step, and what is seen of it.
pub(super) struct Wire {
    pub(super) line: Arc<Line>,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl instant_acme::HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let (line, seen) = (self.line.clone(), self.seen.clone());
        Box::pin(async move {
            let (result, noted) = pass(&line, request).await;
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = noted;
            result.map_err(instant_acme::Error::Other)
        })
    }
}

/// The directory and nonces that are kept are answered from here; all else goes out.
async fn pass(line: &Line, request: Request<BodyWrapper<Bytes>>) -> (Result<BytesResponse, Failure>, Seen) {
    let (head, body) = request.into_parts();
    let address = head.uri.to_string();
    if head.method == Method::GET && address == line.directory_url() {
        return (respond(200, HeaderMap::new(), line.directory.raw.clone()), Seen::default());
    }
    if head.method == Method::HEAD && address == line.directory.new_nonce {
        return match line.nonce().await {
            Ok(nonce) => (respond(200, nonce_header(&nonce), Bytes::new()), Seen::default()),
            Err(trouble) => refuse(trouble),
        };
    }
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let mut request = Request::from_parts(head, body);
    request.headers_mut().insert(USER_AGENT, OURS);
    let base = Url::parse(&address).unwrap_or_else(|_| line.directory_url.clone());
    match line.send(request).await {
        Ok(answer) => {
            let seen = Seen::of(&answer, &base);
            let mut headers = answer.headers;
            // It is kept already, and must not be used twice.
            headers.remove(REPLAY_NONCE);
            (respond(answer.status, headers, answer.body), seen)
        }
        Err(trouble) => refuse(trouble),
    }
}

const OURS: HeaderValue = HeaderValue::from_static(concat!("landfall/", env!("CARGO_PKG_VERSION")));

fn refuse(trouble: Trouble) -> (Result<BytesResponse, Failure>, Seen) {
    let failure = trouble.message.clone().into();
    (Err(failure), Seen { refused: Some(trouble), ..Seen::default() })
}

fn respond(status: u16, headers: HeaderMap, body: Bytes) -> Result<BytesResponse, Failure> {
    let mut response = Response::builder().status(status).body(Full::new(body))?;
    *response.headers_mut() = headers;
    Ok(BytesResponse::from(response))
}

fn nonce_header(nonce: &str) -> HeaderMap {
    HeaderValue::from_str(nonce).map(|value| HeaderMap::from_iter([(REPLAY_NONCE, value)])).unwrap_or_default()
}

fn nonce_of(headers: &HeaderMap) -> Option<String> {
    headers.get(REPLAY_NONCE)?.to_str().ok().map(str::to_owned)
}

impl Seen {
    fn of(answer: &Answer, base: &Url) -> Self {
        Self {
            status: Some(answer.status),
            retry_after: retry_after(&answer.headers, LONGEST_REST),
            alternates: alternates(&answer.headers, base),
            body: answer.body.clone(),
            refused: None,
        }
    }
}

/// `Link: <…>;rel="alternate"`.
fn alternates(headers: &HeaderMap, base: &Url) -> Vec<String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(','));
    let alternate = |link: &str| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"alternate\"" | "rel=alternate"));
        is.then(|| base.join(address).ok().map(String::from)).flatten()
    };
    links.filter_map(alternate).collect()
}

/// What went wrong where no whole answer came.
fn unanswered(why: Unanswered) -> Trouble {
    let cause = if why.reason == Reason::Timeout { Cause::Timeout } else { Cause::Server };
    Trouble { may_have_landed: why.sent, ..Trouble::new(cause, format!("the CA did not answer: {}", why.message)) }
}

pub(super) fn get(address: &str) -> Request<Bytes> {
    request(Method::GET, address, Bytes::new())
}

/// A request of ours; where the address is none, the client says so when it is sent.
pub(super) fn request(method: Method, address: &str, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    if let Ok(uri) = address.parse() {
        *request.uri_mut() = uri;
    }
    request
}
