//! Serves over TLS, with a certificate that may be another one from one connection to the next.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections that may be in their handshake at once. More wait at the door.
const HANDSHAKES: usize = 64;
/// A handshake that takes longer is broken off.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries after the system had no connection to give.
const REST: Duration = Duration::from_millis(100);

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// A listener whose connections speak TLS 1.2 or 1.3. One that is slow to shake hands holds no other one up.
pub struct Tls {
    address: SocketAddr,
    ready: mpsc::Receiver<Connection>,
    accepting: JoinHandle<()>,
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Tls {
    /// Serves with the newest certificate; where there is none yet, connections are refused.
    ///
    /// # Errors
    /// Where the listener has no address.
    pub fn new(listener: TcpListener, certificate: watch::Receiver<Option<Arc<CertifiedKey>>>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(Newest(certificate)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (sender, ready) = mpsc::channel(HANDSHAKES);
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), sender));
        Ok(Self { address, ready, accepting })
    }
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The task that accepts ends with us alone.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<Connection>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "no connection was accepted");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(ready.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(%error, %peer, "no TLS"),
                Err(_) => tracing::debug!(%peer, "no TLS in time"),
            }
        });
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
