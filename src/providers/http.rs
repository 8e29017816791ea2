//! The one HTTP client: no redirects, no proxy but the installation's, short patience, small answers, public addresses only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::{Doubt, ProbeResult};
use crate::access;
use crate::api::Reason;
use crate::installation::Installation;
use crate::{Error, Result};

/// No answer about an identity is larger.
const BODY_LIMIT: usize = 64 * 1024;
/// From the first byte sent to the last received.
const TIMEOUT: Duration = Duration::from_secs(10);
/// No rest that a provider asks for is longer.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// The client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body, of at most 64 KiB where no other limit was said.
    pub body: Bytes,
    /// How long the provider asks to be left alone, of at most an hour: `Retry-After`, of a 429 else `RateLimit-Reset`.
    pub retry_after: Option<Duration>,
    /// All headers.
    pub headers: http::HeaderMap,
}

/// No answer, or too much of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// `Timeout` or `ProviderUnavailable`.
    pub reason: Reason,
    /// What happened, without the URL.
    pub message: String,
    /// Whether the request may have arrived all the same.
    pub sent: bool,
}

impl Http {
    /// Makes the client. It calls public addresses, and the hosts that the installation lists.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn new(installation: &Installation) -> Result<Self> {
        Self::with_timeout(installation, TIMEOUT)
    }

    /// The same with another timeout.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn with_timeout(installation: &Installation, timeout: Duration) -> Result<Self> {
        Self::make(installation, timeout, None)
    }

    /// The same, which trusts the certificates of this PEM and none else.
    ///
    /// # Errors
    /// Where the PEM holds no certificate, or TLS cannot be set up.
    pub fn trusting(installation: &Installation, timeout: Duration, pem: &str) -> Result<Self> {
        let unread = |why: String| Error::condition(Reason::EndpointNotAllowed, format!("caBundle: {why}"));
        let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(|e| unread(e.to_string()))?;
        if roots.is_empty() {
            return Err(unread("holds no certificate; write them in PEM".into()));
        }
        Self::make(installation, timeout, Some(roots))
    }

    fn make(installation: &Installation, timeout: Duration, roots: Option<Vec<reqwest::Certificate>>) -> Result<Self> {
        let unmade = |e: reqwest::Error| Error::Integrity(format!("the HTTP client cannot be made: {e}"));
        let proxy = installation.proxy.https.as_deref();
        let resolver = PublicOnly {
            listed: installation.allowed_endpoints.clone().into(),
            proxy: proxy.and_then(|url| Some(Url::parse(url).ok()?.host_str()?.to_owned())),
        };
        // Settings of the environment count for nothing.
        let builder = reqwest::Client::builder().no_proxy();
        let builder = match proxy {
            Some(url) => {
                let straight = reqwest::NoProxy::from_string(&installation.called_straight().join(","));
                builder.proxy(reqwest::Proxy::https(url).map_err(unmade)?.no_proxy(straight))
            }
            None => builder,
        };
        let builder = match roots {
            Some(roots) => builder.tls_certs_only(roots),
            None => builder,
        };
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .timeout(timeout)
            .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(resolver))
            .build()
            .map_err(unmade)?;
        Ok(Self { client })
    }

    /// Sends one request, once.
    ///
    /// # Errors
    /// Where no whole answer came.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<Answer, Unanswered> {
        self.send_up_to(request, BODY_LIMIT).await
    }

    /// The same for an answer of at most `limit` bytes.
    ///
    /// # Errors
    /// Where no whole answer came.
    pub async fn send_up_to(&self, request: http::Request<Bytes>, limit: usize) -> Result<Answer, Unanswered> {
        let request = reqwest::Request::try_from(request).map_err(|e| Unanswered::from(&e))?;
        let mut response = self.client.execute(request).await.map_err(|e| Unanswered::from(&e))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| Unanswered::from(&e))? {
            if body.len() + chunk.len() > limit {
                let message = format!("the answer ({status}) is larger than {limit} bytes; check the endpoint");
                return Err(Unanswered { reason: Reason::ProviderUnavailable, message, sent: true });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body: body.into(), retry_after: rest(status, &headers), headers })
    }
}

impl From<&reqwest::Error> for Unanswered {
    /// Says what failed without the URL, whose path and query may be anything.
    fn from(error: &reqwest::Error) -> Self {
        let (reason, what) = match error {
            e if e.is_timeout() => (Reason::Timeout, "no whole answer in time"),
            e if e.is_connect() => (Reason::ProviderUnavailable, "no connection"),
            e if e.is_builder() => (Reason::ProviderUnavailable, "the request cannot be made of this Secret and spec"),
            _ => (Reason::ProviderUnavailable, "the connection broke"),
        };
        let causes = || std::iter::successors(std::error::Error::source(error), |e| e.source());
        let by_proxy = causes().any(|cause| cause.to_string().starts_with("tunnel error"));
        let what = if by_proxy { "no connection by way of proxy.https of landfall.yaml" } else { what };
        let cause = causes().last();
        let mut message = cause.as_ref().map_or_else(|| what.to_owned(), |cause| format!("{what} ({cause})"));
        if cause.is_some_and(|cause| cause.to_string().contains("UnknownIssuer")) {
            message.push_str(
                "; where a private CA signed the server's certificate, its root belongs into a field caBundle",
            );
        }
        Self { reason, message, sent: !error.is_connect() && !error.is_builder() }
    }
}

impl Unanswered {
    /// As a doubt about the credential.
    pub(super) fn into_doubt(self, provider: &str) -> ProbeResult {
        let message = format!("{provider}: {}; it is tried again", self.message);
        ProbeResult::Unknown(Doubt { reason: self.reason, message, retry_after: None })
    }
}

/// How long to rest: `Retry-After`; else, of a provider that says no more, `RateLimit-Reset`, the second at which all calls
/// are permitted again.
fn rest(status: u16, headers: &http::HeaderMap) -> Option<Duration> {
    let reset = || {
        let at: i64 = headers.get("ratelimit-reset")?.to_str().ok()?.trim().parse().ok()?;
        u64::try_from(at - jiff::Timestamp::now().as_second()).ok()
    };
    let reset = || reset().map(|seconds| Duration::from_secs(seconds).min(LONGEST_REST));
    retry_after(headers, LONGEST_REST).or_else(|| if status == 429 { reset() } else { None })
}

/// `Retry-After`, be it in seconds or a date, of at most `longest`.
pub(crate) fn retry_after(headers: &http::HeaderMap, longest: Duration) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            u64::try_from(at.as_second() - jiff::Timestamp::now().as_second()).ok()?
        }
    };
    Some(Duration::from_secs(seconds).min(longest))
}

/// Resolves names to public addresses alone, so that a name cannot lead elsewhere between the check and the call.
struct PublicOnly {
    listed: Arc<[String]>,
    /// The proxy's own host.
    proxy: Option<String>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let is_proxy = self.proxy.as_deref() == Some(name.as_str());
        let listed = is_proxy || access::is_listed_host(&self.listed, name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept: Vec<SocketAddr> = found.filter(|a| listed || access::is_public(a.ip())).collect();
            if kept.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}
