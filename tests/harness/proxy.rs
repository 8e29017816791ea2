//! An HTTP proxy for tunnels (`CONNECT`, RFC 9110 section 9.3.6), the only one that knows some hosts: they stand on loopback, on
//! whichever port is asked for. Others it refuses.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// One that runs until its test ends.
pub struct Proxy {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that knows these hosts.
    pub async fn start(known: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { url: format!("http://{}", listener.local_addr().unwrap()), asked: Arc::default() };
        let asked = proxy.asked.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(tunnel(stream, known, asked.clone()));
            }
        });
        proxy
    }

    /// The hosts that it was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn tunnel(stream: TcpStream, known: &[&str], asked: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_until(b'\n', &mut head).await.ok().filter(|read| *read > 0)?;
    }
    let head = String::from_utf8(head).ok()?;
    let (host, port) = head.strip_prefix("CONNECT ")?.split_once(' ')?.0.rsplit_once(':')?;
    asked.lock().unwrap().push(host.to_owned());
    if !known.contains(&host) {
        return stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.ok();
    }
    let mut there = TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse().ok()?)).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut stream, &mut there).await.ok().map(drop)
}
