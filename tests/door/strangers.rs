//! One address, that of a pod, against the others at the same door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use landfall::pki::{Algorithm, Key, Term, self_signed};
use landfall::web::tls::{Limits, serve};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::wait_until;

const PLENTY: Duration = Duration::from_secs(60);

struct Door {
    address: SocketAddr,
    connector: TlsConnector,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Door {
    async fn open(routes: Router, limits: Limits) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (key, now) = (Key::make(Algorithm::EcdsaP256).unwrap(), Timestamp::now());
        let term =
            Term { not_before: now - SignedDuration::from_hours(1), not_after: now + SignedDuration::from_hours(1) };
        let certificate: CertificateDer<'static> =
            self_signed(&key, &[landfall::dns::Name::parse("door.test").unwrap()], term).unwrap().der.into();
        let private = PrivateKeyDer::try_from(key.pkcs8().unwrap().to_vec()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(vec![certificate.clone()], private, &provider).unwrap();
        let (_, newest) = watch::channel(Some(Arc::new(certified)));
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, newest, routes, limits));
        Self { address, connector: TlsConnector::from(Arc::new(config)), serving }
    }

    /// A connection from that address.
    async fn from(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// One that has shaken hands, if it may.
    async fn shaken(&self, source: &str) -> Option<TlsStream<TcpStream>> {
        let name = ServerName::try_from("door.test").unwrap();
        self.connector.connect(name, self.from(source).await).await.ok()
    }

    /// Whether a request from that address is answered.
    async fn answers(&self, source: &str) -> bool {
        let Some(mut stream) = self.shaken(source).await else { return false };
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.is_ok() && text.starts_with("HTTP/1.1 200")
    }
}

/// Whether the other side has closed it.
async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    !matches!(timeout(Duration::from_millis(20), stream.read(&mut [0; 1])).await, Err(_) | Ok(Ok(1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_silent_connections_of_one_address_keep_no_other_from_the_door() {
    let limits = Limits { handshake: PLENTY, ..Limits::of(20) };
    let door = Door::open(Router::new().route("/", get(async || "ok")), limits).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(door.from("127.0.0.2").await);
    }
    let began = std::time::Instant::now();
    assert!(door.answers("127.0.0.3").await, "another is served at once");
    assert!(began.elapsed() < limits.handshake / 2, "{:?}", began.elapsed());
    let mut open = 0;
    for stream in &mut silent {
        open += usize::from(!is_closed(stream).await);
    }
    assert_eq!(open, limits.handshakes_of_one);
    assert!(!door.answers("127.0.0.2").await, "its own hands are full");
    drop(silent);
    wait_until(PLENTY, "the same address to be served again", async || door.answers("127.0.0.2").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections_and_no_more() {
    let limits = Limits { of_one: 6, connections: 10, head: PLENTY, ..Limits::of(20) };
    let door = Door::open(Router::new().route("/", get(async || "ok")), limits).await;
    let mut kept = Vec::new();
    for source in ["127.0.0.2", "127.0.0.3"] {
        for _ in 0..8 {
            kept.extend(door.shaken(source).await);
        }
    }
    assert_eq!(kept.len(), 10, "six of the first, and what was left for the second");
    assert!(!door.answers("127.0.0.4").await, "there is no more room at all");
    kept.truncate(9);
    wait_until(PLENTY, "room again", async || door.answers("127.0.0.4").await).await;
}

/// Bytes that tell when they are let go.
struct Held(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_says_half_or_takes_nothing_is_let_go() {
    let short = Duration::from_secs(3);
    let limits = Limits { handshake: short, head: short, stuck: short, ..Limits::of(20) };
    let gone = Arc::new(AtomicBool::new(false));
    let held = gone.clone();
    let large = get(async move || Bytes::from_owner(Held(vec![0; 32 << 20], held)));
    let door = Door::open(Router::new().route("/", large), limits).await;
    let mut silent = door.from("127.0.0.2").await;
    let mut shaken = door.shaken("127.0.0.2").await.unwrap();
    let mut half = door.shaken("127.0.0.2").await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut deaf = door.shaken("127.0.0.2").await.unwrap();
    deaf.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    wait_until(PLENTY, "the silent one", async || is_closed(&mut silent).await).await;
    wait_until(PLENTY, "the one without a request", async || is_closed(&mut shaken).await).await;
    wait_until(PLENTY, "the one with half a request", async || is_closed(&mut half).await).await;
    wait_until(PLENTY, "what nobody takes to be let go", async || gone.load(Ordering::SeqCst)).await;
}
