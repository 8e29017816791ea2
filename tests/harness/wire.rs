//! A wire to a server that a test can cut.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Forwards connections until it is cut; mended, it forwards new ones.
pub struct Wire {
    port: u16,
    /// Cancelled while it is cut.
    cut: Arc<Mutex<CancellationToken>>,
}

impl Wire {
    /// A wire to the server of this URL.
    pub async fn to(url: &str) -> Self {
        let url: Url = url.parse().unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self { port: listener.local_addr().unwrap().port(), cut: Arc::default() };
        let cut = wire.cut.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (cut, server) = (cut.lock().unwrap().clone(), server.clone());
                tokio::spawn(async move {
                    let forward = async {
                        let mut far = TcpStream::connect(server).await?;
                        copy_bidirectional(&mut near, &mut far).await
                    };
                    let _ = cut.run_until_cancelled(forward).await;
                });
            }
        });
        wire
    }

    /// The same URL, by way of this wire.
    pub fn url(&self, url: &str) -> String {
        let mut url: Url = url.parse().unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.into()
    }

    /// Breaks all connections, and each new one.
    pub fn cut(&self) {
        self.cut.lock().unwrap().cancel();
    }

    /// Lets new connections through.
    pub fn mend(&self) {
        *self.cut.lock().unwrap() = CancellationToken::new();
    }
}
