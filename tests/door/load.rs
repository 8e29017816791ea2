//! What a replica holds in memory while many runners send large files.

use landfall::web::runs::BODIES;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::controller::{Home, Process};
use crate::database::Database;
use crate::runs::{Runs, TOKEN};

/// Three of them are all that there is room for.
const LARGE: usize = BODIES / 3;
const SENDERS: usize = 8;
/// What a controller takes beside bodies, MiB: a debug build, its connections, and what the allocator keeps.
const BESIDE: u64 = 48;

/// A runner that sends a file and keeps back its last byte.
async fn send(process: &Process, run: Uuid) -> TcpStream {
    let mut stream = TcpStream::connect(process.address).await.unwrap();
    let head = format!(
        "PUT /runs/{run}/artifacts/plan HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {LARGE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The head of the answer.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 1024];
    let length = stream.read(&mut bytes).await.unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).to_lowercase()
}

/// The most that the process ever had in memory, MiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_files_at_once_wait_for_their_place_and_none_is_in_memory_before_it_has_one() {
    let database = Database::fresh().await;
    let mut process = Home::new(&[], &database, |_| {}).await.spawn().await;
    let runs = Runs::beside(&process.home).await;
    let before = peak(process.lives());
    let body = vec![b'x'; LARGE - 1];
    let mut senders = Vec::new();
    for number in 0..SENDERS {
        let (mut stream, body) = (send(&process, runs.plan(number).await).await, body.clone());
        senders.push(tokio::spawn(async move {
            // Whoever has no place is told to come again before it has sent all.
            let sent = {
                let (mut reading, mut writing) = stream.split();
                let mut first = [0; 12];
                tokio::select! {
                    sent = writing.write_all(&body) => sent.is_ok(),
                    _ = reading.peek(&mut first) => false,
                }
            };
            (sent, stream)
        }));
    }
    // In between, what is small goes on.
    let small = runs.plan(SENDERS).await;
    let put = reqwest::Client::new().put(format!("http://{}/runs/{small}/artifacts/plan", process.address));
    assert_eq!(put.bearer_auth(TOKEN).body("plan").send().await.unwrap().status(), 204);

    let (mut placed, mut refused) = (Vec::new(), 0);
    for sender in senders {
        let (sent, mut stream) = sender.await.unwrap();
        if sent {
            placed.push(stream);
        } else {
            let told = answer(&mut stream).await;
            assert!(told.starts_with("http/1.1 503") && told.contains("retry-after: 1"), "{told}");
            refused += 1;
        }
    }
    assert_eq!((placed.len(), refused), (3, SENDERS - 3));
    // One is written, while the others stand as they came.
    let mut written = placed.pop().unwrap();
    written.write_all(b"x").await.unwrap();
    let told = answer(&mut written).await;
    assert!(told.starts_with("http/1.1 204"), "{told}");
    let (after, large) = (peak(process.lives()), (LARGE >> 20) as u64);
    println!("{before} MiB, then at most {after} MiB");
    assert!(
        after <= before + (3 + 2) * large + BESIDE,
        "{before} MiB, then {after} MiB with three files of {large} MiB"
    );
}
