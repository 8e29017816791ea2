//! A world that engines change: each provisioner tells it what it makes, and the second of a module waits for leave to go on.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::env;
use crate::site::{Line, Told};

/// What it is told with: there is no shell in Landfall's own image.
pub(crate) const SHELL: &str = "/bin/bash";

const MODULE: &str = r#"
variable "turn" { type = number }
resource "terraform_data" "early" {
  triggers_replace = var.turn
  TELL early TOLD
}
resource "terraform_data" "count" {
  depends_on       = [terraform_data.early]
  triggers_replace = var.turn
  TELL count TOLD
}
resource "terraform_data" "last" {
  depends_on = [terraform_data.count]
  input      = var.turn
}
"#;

const TELL: &str = r#"provisioner "local-exec" {
    interpreter = ["SHELL", "-ec"]
    command     = "exec 3<>/dev/tcp/WORLD; echo NAME"#;
const TOLD: &str = r#"$LANDFALL_RUN_ID $LANDFALL_PLAN_DIGEST ${self.id} >&3; read -r word <&3"
  }"#;

#[derive(Default)]
struct Book(Mutex<HashMap<(String, String), Vec<Line>>>);

pub(crate) struct World {
    address: SocketAddr,
    book: Arc<Book>,
    held: watch::Sender<HashSet<String>>,
    _tasks: JoinSet<()>,
}

impl World {
    /// Where the pods of the test's node reach it.
    pub(crate) async fn begin() -> Self {
        let gateway: std::net::IpAddr = env("NODE_GATEWAY").parse().unwrap();
        let listener = TcpListener::bind((gateway, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (held, holding) = watch::channel(HashSet::new());
        let book = Arc::<Book>::default();
        let mut tasks = JoinSet::new();
        let kept = book.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(listen(stream, kept.clone(), holding.clone()));
            }
        });
        Self { address, book, held, _tasks: tasks }
    }

    /// The spec of a deployment that tells of itself.
    pub(crate) fn spec(&self, name: &str, turn: u32) -> Value {
        let world = format!("{}/{}", self.address.ip(), self.address.port());
        let module = MODULE
            .replace("TELL", TELL)
            .replace("TOLD", TOLD)
            .replace("WORLD", &world)
            .replace("NAME", name)
            .replace("SHELL", SHELL);
        json!({"source": {"inline": {"main.tf": module}}, "variables": {"turn": turn}})
    }

    /// The second creations of this deployment wait from now on, or no longer.
    pub(crate) fn hold(&self, name: &str, hold: bool) {
        self.held.send_modify(|held| {
            if hold {
                held.insert(name.to_owned())
            } else {
                held.remove(name)
            };
        });
    }

    /// What it was told of this deployment.
    pub(crate) fn told(&self, name: &str) -> Told {
        let of = |resource: &str| self.lines(name, resource);
        Told::from([("terraform_data.early", of("early")), ("terraform_data.count", of("count"))])
    }

    pub(crate) fn lines(&self, name: &str, resource: &str) -> Vec<Line> {
        let book = self.book.0.lock().unwrap();
        book.get(&(name.to_owned(), resource.to_owned())).cloned().unwrap_or_default()
    }
}

async fn listen(stream: TcpStream, book: Arc<Book>, mut held: watch::Receiver<HashSet<String>>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await.is_err() || !line.ends_with('\n') {
        return;
    }
    let (name, rest) = line.trim_end().split_once(' ').unwrap();
    let (resource, rest) = rest.split_once(' ').unwrap();
    let key = (name.to_owned(), resource.to_owned());
    book.0.lock().unwrap().entry(key).or_default().push(Line::read(rest));
    if resource == "count" {
        let _ = held.wait_for(|held| !held.contains(name)).await;
    }
    let _ = stream.write_all(b"go\n").await;
}
