//! A wire to a server that a test can cut.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

/// Forwards connections until it is cut or silent; mended, it forwards new ones.
pub struct Wire {
    port: u16,
    way: watch::Sender<Way>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Through,
    /// Connections break.
    Cut,
    /// Connections stand, and nothing is heard of them.
    Silent,
}

impl Wire {
    /// A wire to the server of this URL.
    pub async fn to(url: &str) -> Self {
        let url: Url = url.parse().unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self { port: listener.local_addr().unwrap().port(), way: watch::channel(Way::Through).0 };
        let way = wire.way.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, server.clone(), way.clone()));
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
        self.way.send_replace(Way::Cut);
    }

    /// Says nothing more on any connection, nor on a new one, as a network that drops packets.
    pub fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// Lets new connections through.
    pub fn mend(&self) {
        self.way.send_replace(Way::Through);
    }
}

async fn carry(mut near: TcpStream, server: (String, u16), mut way: watch::Receiver<Way>) {
    let forward = async {
        let mut far = TcpStream::connect(server).await?;
        copy_bidirectional(&mut near, &mut far).await
    };
    let silent = tokio::select! {
        biased;
        changed = way.wait_for(|way| *way != Way::Through) => changed.is_ok_and(|way| *way == Way::Silent),
        _ = forward => false,
    };
    if silent {
        let _ = way.wait_for(|way| *way != Way::Silent).await;
    }
}
