//! Serves over TLS, with a certificate that may be another one from one connection to the next, and so that no peer holds the door
//! against the others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::peers::{Guest, Peer, Peers};

/// Between two tries after the system had no connection to give.
const REST: Duration = Duration::from_millis(100);

/// How much of the door there is. What is beyond is closed at once; runners come again.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Of these from one address. A run has about five; behind a NAT or a proxy many runs share an address.
    pub of_one: usize,
    /// Of one address in their handshake.
    pub handshakes_of_one: usize,
    /// A handshake that takes longer is broken off.
    pub handshake: Duration,
    /// So long a connection may wait for the head of a request, the next one too.
    pub head: Duration,
    /// So long a peer may take none of an answer.
    pub stuck: Duration,
}

impl Limits {
    /// For so many runs at once: each with all that one address may have, and some more.
    pub fn of(runs: usize) -> Self {
        let of_one = 64;
        Self {
            connections: of_one * (runs + 8),
            of_one,
            handshakes_of_one: 32,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            stuck: Duration::from_secs(30),
        }
    }
}

/// Serves `routes` over TLS 1.2 or 1.3, with the newest certificate; where there is none yet, connections are refused. Ends
/// only when it is dropped, and every connection with it.
pub async fn serve(
    listener: TcpListener,
    certificate: watch::Receiver<Option<Arc<CertifiedKey>>>,
    routes: Router,
    limits: Limits,
) -> io::Result<()> {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(Newest(certificate)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (guests, hands) = (Peers::new(limits.of_one), Peers::new(limits.handshakes_of_one));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                tracing::debug!(%error, "no connection was accepted");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let room = (open.len() < limits.connections).then(|| guests.enter(peer).zip(hands.enter(peer))).flatten();
        let Some((guest, hand)) = room else {
            tracing::debug!(%peer, "too many connections");
            continue;
        };
        let (acceptor, routes) = (acceptor.clone(), routes.clone());
        open.spawn(async move {
            let _guest = guest;
            if let Some(stream) = shake(stream, &acceptor, hand, limits.handshake).await
                && let Err(error) = converse(stream, Peer(peer), routes, limits).await
            {
                tracing::debug!(%error, %peer, "a connection ended");
            }
        });
    }
}

async fn shake(stream: TcpStream, acceptor: &TlsAcceptor, _hand: Guest, within: Duration) -> Option<Stream> {
    match timeout(within, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
        Err(_) => tracing::debug!("no TLS in time"),
    }
    None
}

type Stream = tokio_rustls::server::TlsStream<TcpStream>;

async fn converse(stream: Stream, peer: Peer, routes: Router, limits: Limits) -> hyper::Result<()> {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        routes.clone().oneshot(request)
    });
    let stream = TokioIo::new(Patient::new(stream, limits.stuck));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(stream, service)
        .await
}

/// A stream whose peer must take what is written to it.
struct Patient {
    stream: Stream,
    patience: Duration,
    stuck: Pin<Box<Sleep>>,
    waits: bool,
}

impl Patient {
    fn new(stream: Stream, patience: Duration) -> Self {
        Self { stream, patience, stuck: Box::pin(sleep_until(Instant::now() + patience)), waits: false }
    }

    /// What became of a try to write. The time counts from the first that had to wait.
    fn told<T>(&mut self, cx: &mut Context<'_>, answer: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if answer.is_ready() {
            self.waits = false;
            return answer;
        }
        if !self.waits {
            self.waits = true;
            self.stuck.as_mut().reset(Instant::now() + self.patience);
        }
        self.stuck.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.told(cx, answer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.stream).poll_flush(cx);
        self.told(cx, answer)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.told(cx, answer)
    }
}

/// The newest certificate, whatever name is asked for.
#[derive(Debug)]
struct Newest(watch::Receiver<Option<Arc<CertifiedKey>>>);

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}
