//! A Pebble of a test's own, with other switches than the bed's; and a front before it that counts, refuses and loses.
//! Pebble takes only requests that were signed for https, so the front speaks it too, with Pebble's certificate.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, Response, StatusCode, Uri};
use landfall::access::SecretText;
use landfall::dns::{Name, RecordSet, RecordType};
use landfall::providers::{Algorithm, Change, Dns, Outcome, Rfc2136};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run `make test`, or export a test bed's env"))
}

/// How a Pebble is to behave.
#[derive(Clone, Debug)]
pub struct Switches {
    /// Percentage of good nonces that are rejected.
    pub nonce_reject: u8,
    /// Percentage of orders that find a name proved already.
    pub authz_reuse: u8,
    /// The longest wait before a proof is looked up, in seconds; none without.
    pub sleep: Option<u8>,
    /// How many further roots there are.
    pub alternate_roots: u8,
    /// What differs in the configuration.
    pub config: Value,
}

impl Default for Switches {
    fn default() -> Self {
        Self { nonce_reject: 0, authz_reuse: 0, sleep: None, alternate_roots: 0, config: Value::Null }
    }
}

/// A Pebble, ended with the test.
pub struct Pebble {
    child: Child,
    _home: tempfile::TempDir,
    /// `https://127.0.0.1:PORT`.
    pub origin: String,
    /// The same of what only tests may ask.
    pub management: String,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that trusts Pebble's own certificate.
pub fn client() -> reqwest::Client {
    builder().build().unwrap()
}

fn builder() -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(ca().as_bytes()).unwrap();
    reqwest::Client::builder().no_proxy().user_agent("test").tls_certs_only([root])
}

/// PEM of the root of Pebble's own certificate.
pub fn ca() -> String {
    std::fs::read_to_string(env("PEBBLE_CA")).unwrap()
}

impl Pebble {
    /// Starts one, and waits until it answers. A port that was free a moment ago may be taken by then: others are tried.
    pub async fn start(switches: Switches) -> Self {
        for _ in 0..5 {
            let mut pebble = Self::spawn(&switches);
            if pebble.answers().await {
                return pebble;
            }
        }
        panic!("Pebble ends as soon as it is started")
    }

    fn spawn(switches: &Switches) -> Self {
        let ports = [free_port(), free_port()];
        let [origin, management] = ports.map(|port| format!("https://127.0.0.1:{port}"));
        let home = tempfile::tempdir().unwrap();
        let mut config: Value = serde_json::from_slice(&std::fs::read(env("PEBBLE_CONFIG")).unwrap()).unwrap();
        config["pebble"]["listenAddress"] = format!("127.0.0.1:{}", ports[0]).into();
        config["pebble"]["managementListenAddress"] = format!("127.0.0.1:{}", ports[1]).into();
        for (key, value) in switches.config.as_object().into_iter().flatten() {
            config["pebble"][key] = value.clone();
        }
        let file = home.path().join("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(env("PEBBLE_BIN"));
        command.arg("-strict").arg("-config").arg(&file).args(["-dnsserver", &env("PEBBLE_RESOLVER")]);
        command.env("PEBBLE_WFE_NONCEREJECT", switches.nonce_reject.to_string());
        command.env("PEBBLE_AUTHZREUSE", switches.authz_reuse.to_string());
        command.env("PEBBLE_ALTERNATE_ROOTS", switches.alternate_roots.to_string());
        match switches.sleep {
            Some(seconds) => command.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
            None => command.env("PEBBLE_VA_NOSLEEP", "1"),
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, _home: home, origin, management }
    }

    /// Whether it does, before it ends.
    async fn answers(&mut self) -> bool {
        let (client, deadline) = (client(), Instant::now() + Duration::from_secs(60));
        while client.get(self.directory()).send().await.is_err() {
            assert!(Instant::now() < deadline, "Pebble does not answer at {}", self.origin);
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// URL of its directory.
    pub fn directory(&self) -> String {
        format!("{}/dir", self.origin)
    }

    /// What it tells tests.
    pub async fn told(&self, path: &str) -> String {
        client().get(format!("{}{path}", self.management)).send().await.unwrap().text().await.unwrap()
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Has exactly these TXT values, or none, stand at a name in Knot's zone.
pub async fn set_txt(owner: &str, values: &[String]) {
    let name = |text: &str| Name::parse(text).unwrap();
    let (secret, zone) = (SecretText::new(env("KNOT_KEY_SECRET")), name(&env("KNOT_ZONE")));
    let address = env("KNOT_DNS").parse().unwrap();
    let knot = Rfc2136::new(address, &env("KNOT_KEY_NAME"), Algorithm::HmacSha256, &secret, vec![zone]).unwrap();
    let zone = knot.zones().await.unwrap().remove(0);
    let set = || RecordSet::from_spec(name(owner), RecordType::Txt, 60, values).unwrap();
    let after = (!values.is_empty()).then(set);
    let contents = knot.read(&zone, Some(&name(owner))).await.unwrap();
    let before = contents.find(&name(owner), RecordType::Txt).map(|standing| standing.set.clone());
    let change = Change::new(before, after, None).unwrap();
    assert_eq!(knot.apply(&zone, &[change]).await, [Outcome::Applied]);
}

/// What a front does with a request instead of handing it on.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers this at once: status, body, seconds of `Retry-After`.
    Answer(u16, &'static str, Option<u64>),
    /// Hands it on, and breaks the connection before the answer.
    LoseAnswer,
    /// Hands it on, and never answers.
    KeepAnswer,
    /// Neither hands it on nor answers.
    Keep,
}

/// Connections with TLS.
struct Secured {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What Pebble itself shows.
fn acceptor() -> TlsAcceptor {
    let config: Value = serde_json::from_slice(&std::fs::read(env("PEBBLE_CONFIG")).unwrap()).unwrap();
    let file = |key: &str| std::fs::read(config["pebble"][key].as_str().unwrap()).unwrap();
    let chain = CertificateDer::pem_slice_iter(&file("certificate")).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&file("privateKey")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A front before a Pebble.
#[derive(Clone)]
pub struct Front {
    /// `https://127.0.0.1:PORT`.
    pub origin: String,
    to: String,
    client: reqwest::Client,
    faults: Arc<Mutex<Vec<(String, Fault)>>>,
    seen: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Front {
    /// Starts one before the Pebble of this origin.
    pub async fn before(origin: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            origin: format!("https://{}", listener.local_addr().unwrap()),
            to: origin.to_owned(),
            // HTTP/2 would tell Pebble its own name, and not the front's.
            client: builder().http1_only().build().unwrap(),
            faults: Arc::default(),
            seen: Arc::default(),
        };
        let app = axum::Router::new().fallback(hand_on).with_state(front.clone());
        let listener = Secured { listener, acceptor: acceptor() };
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        front
    }

    /// URL of the directory.
    pub fn directory(&self) -> String {
        format!("{}/dir", self.origin)
    }

    /// The next request to a path that begins so meets this.
    pub fn next(&self, path: &str, fault: Fault) {
        self.faults.lock().unwrap().push((path.into(), fault));
    }

    /// How many requests there were to paths that begin so.
    pub fn count(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(seen, _)| seen.starts_with(path)).map(|(_, count)| count).sum()
    }

    fn fault(&self, path: &str) -> Option<Fault> {
        *self.seen.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        let mut faults = self.faults.lock().unwrap();
        let position = faults.iter().position(|(wanted, _)| path.starts_with(wanted))?;
        Some(faults.remove(position).1)
    }
}

async fn hand_on(
    State(front): State<Front>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let fault = front.fault(uri.path());
    if let Some(Fault::Answer(status, body, rest)) = fault {
        let mut answer = Response::builder().status(status).header("content-type", "application/problem+json");
        if let Some(seconds) = rest {
            answer = answer.header("retry-after", seconds);
        }
        return answer.body(Body::from(body)).unwrap();
    }
    if matches!(fault, Some(Fault::Keep)) {
        std::future::pending::<()>().await;
    }
    let mut request = front.client.request(method, format!("{}{uri}", front.to)).body(body);
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    // By the header `host`, Pebble speaks of itself as of this front.
    let answer = request.send().await.unwrap();
    if matches!(fault, Some(Fault::KeepAnswer)) {
        std::future::pending::<()>().await;
    }
    if matches!(fault, Some(Fault::LoseAnswer)) {
        return Response::builder().body(Body::from_stream(futures::stream::iter([Err::<Bytes, _>("lost")]))).unwrap();
    }
    let mut response = Response::builder().status(StatusCode::from_u16(answer.status().as_u16()).unwrap());
    for (name, value) in answer.headers().iter().filter(|(name, _)| **name != HeaderName::from_static("content-length"))
    {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
