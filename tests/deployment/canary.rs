//! Two secrets, of a variable and of a credential, go all the way through plans, applies and failures, and stand nowhere
//! but where they are meant to.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use landfall::api::{CloudCredential, Organization};
use landfall::ledger::{Keyring, Ledger};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::controller::Process;
use crate::harness::canary::Canary;
use crate::harness::{self, User, env, kubectl, wait_until};
use crate::world::{PLENTY, World, message};

const VARIABLE: &str = "ca\"na${r}y\\ ünd <&> %{if}\nsecond line of the canary";
const KEY: &str = "cre\"dent${i}al\\ öder <&> %{if}\nsecond line of the credential";
/// What can stand in a header; the server knows no such key.
const HEADER: &str = "hea\"d${e}r\\ <&> %{if} of the canary";

const ANSWER: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/a</Arn>\
    <Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";

/// Holds the secret in its state and gives it out.
const GOOD: &str = r#"
variable "token" { type = string }
resource "terraform_data" "holds" { input = var.token }
output "token" {
  value     = terraform_data.holds.output
  sensitive = true
}
"#;

/// An error of the plan that shows the secret in each form that the engine has a function for.
const REFUSING: &str = r#"
variable "token" { type = string }
locals { shown = nonsensitive(var.token) }
resource "terraform_data" "a" {
  lifecycle {
    precondition {
      condition     = var.token == ""
      error_message = "Around: <${local.shown}> ${jsonencode(local.shown)} ${urlencode(local.shown)} ${base64encode(local.shown)} ${base64encode("a${local.shown}")} ${base64encode("ab${local.shown}")}."
    }
  }
}
"#;

/// An apply that shows the credential, line by line and in its error.
const FAILING: &str = r#"
resource "terraform_data" "a" {
  provisioner "local-exec" {
    command = <<-EOT
      env
      printf 'around %s it\n' "$AWS_SECRET_ACCESS_KEY"
      printf %s "$AWS_SECRET_ACCESS_KEY" | base64 -w0; echo
      printf a%s "$AWS_SECRET_ACCESS_KEY" | base64 -w0; echo
      printf ab%s "$AWS_SECRET_ACCESS_KEY" | base64 -w0; echo
      printf %s "$AWS_SECRET_ACCESS_KEY" | od -An -v -tx1 | tr -d ' \n'; echo
      exit 1
    EOT
  }
}
"#;

/// An engine that notes its arguments.
fn shim(folder: &Path) -> PathBuf {
    let path = folder.join("engine");
    let note = folder.join("arguments");
    let script =
        format!("#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/cmdline >> {}\nexec {} \"$@\"\n", note.display(), env("TOFU"));
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// An STS that believes everybody: a secret key goes into signatures, never over the wire.
async fn sts() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(async || ANSWER)).await });
    url
}

/// Collects the arguments of every process of this machine, as anybody on it can, until it is told to stop.
fn onlooker(stop: Arc<AtomicBool>) -> std::thread::JoinHandle<BTreeSet<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut seen = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            seen.extend(processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok()));
            std::thread::sleep(Duration::from_millis(50));
        }
        seen
    })
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// All objects of a namespace but the Secrets that are meant to hold the values.
fn objects(namespace: &str) -> Vec<u8> {
    let run = |arguments: &[&str]| {
        let output = kubectl(User::Admin).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let kinds = run(&["api-resources", "--namespaced", "--verbs=list", "-o", "name"]);
    let kinds = kinds.split_whitespace().collect::<Vec<_>>().join(",");
    let mut list: Value = serde_json::from_str(&run(&["get", &kinds, "-n", namespace, "-o", "json"])).unwrap();
    let meant = |o: &Value| {
        o["kind"] == "Secret"
            && ["web", "key", "header", "good-outputs"].iter().any(|name| o["metadata"]["name"] == *name)
    };
    list["items"].as_array_mut().unwrap().retain(|object| !meant(object));
    list.to_string().into_bytes()
}

fn dump(url: &str) -> Vec<u8> {
    let newest =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin/pg_dump"));
    let program = newest.filter(|path| path.exists()).max().unwrap_or_else(|| "pg_dump".into());
    // The parameters after the question mark are sqlx's own.
    let output = std::process::Command::new(program).arg(url.split('?').next().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Credentials and deployments, brought to where they end.
async fn story(world: &World<Process>, sts: &str) {
    world.secret("web", json!({"token": VARIABLE})).await;
    world.secret("key", json!({"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": KEY})).await;
    world.secret("header", json!({"api_key": HEADER})).await;
    let aws = json!({"aws": {"secretRef": {"name": "key"}, "region": "eu-central-1", "endpoint": sts}});
    world.put::<CloudCredential>("aws", harness::credential("aws", aws)).await;
    let pdns = json!({"powerdns": {"secretRef": {"name": "header"}, "endpoint": env("PDNS_URL")}});
    world.put::<CloudCredential>("pdns", harness::credential("pdns", pdns)).await;
    let spec = |module: &str, token: bool| {
        let from = json!([{"secretKeyRef": {"name": "web", "key": "token"}, "as": "token"}]);
        json!({
            "source": {"inline": {"main.tf": module}}, "credentialRef": {"name": "aws"}, "approval": "Automatic",
            "variablesFrom": if token { from } else { json!([]) }, "retry": {"limit": 0},
        })
    };
    let mut good = spec(GOOD, true);
    good["outputs"] = json!({"secretName": "good-outputs"});
    world.deployment("good", good).await;
    world.deployment("refusing", spec(REFUSING, true)).await;
    world.deployment("failing", spec(FAILING, false)).await;
    world.ready("good", "Applied").await;
    for (name, reason) in [("refusing", "PlanFailed"), ("failing", "ApplyFailed")] {
        let text = message(&world.ready(name, "RetriesExhausted").await);
        assert!(text.contains(reason) && text.to_lowercase().contains("around"), "{name}: {text}");
    }
    let refused = async || {
        let object = world.api::<CloudCredential>().get("pdns").await.unwrap();
        object.status.is_some_and(|s| s.conditions.iter().any(|c| c.reason == "InvalidCredentials"))
    };
    wait_until(PLENTY, "the wrong key to be refused", refused).await;
}

/// The newest state and the outputs' Secret have it: what is searched for was there.
async fn is_where_it_belongs(world: &World<Process>, variable: &Canary) {
    let outputs = world.api::<Secret>().get("good-outputs").await.unwrap().data.unwrap();
    assert_eq!(outputs["token"].0, VARIABLE.as_bytes());
    let home = &world.controller.home;
    let keys = Keyring::from_installation(&home.installation.encryption).unwrap();
    let ledger = Ledger::connect(&home.database_url, keys).await.unwrap();
    let query = "SELECT organization_id, state_key FROM terraform_states WHERE state_key LIKE '%/good' LIMIT 1";
    let mut connection = world.database.superuser().await;
    let (organization, key): (String, String) =
        sqlx::query_as(AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
    let state = ledger.state_bytes(&Organization(organization), &key, None).await.unwrap().unwrap();
    assert!(!variable.found_in(&state).is_empty(), "the state holds the secret");
}

/// What the program tells of all this.
async fn told(world: &World<Process>) -> Vec<(String, Vec<u8>)> {
    let mut connection = world.database.superuser().await;
    let runs: Vec<(String, String)> =
        sqlx::query_as("SELECT name, run_id::text FROM terraform_runs").fetch_all(&mut connection).await.unwrap();
    assert_eq!(runs.len(), 5, "{runs:?}");
    let mut commands: Vec<Vec<String>> = Vec::new();
    for (name, run) in runs {
        commands.push(vec!["logs".into(), format!("tfd/{name}"), "--run".into(), run]);
    }
    for name in ["good", "refusing", "failing"] {
        for command in ["history", "runs"] {
            commands.push(vec![command.into(), format!("tfd/{name}"), "--json".into()]);
        }
    }
    commands.push(vec!["plan".into(), "tfd/good".into(), "--json".into()]);
    let mut places = Vec::new();
    for mut command in commands {
        command.extend(["-n".into(), world.namespace.clone()]);
        let arguments: Vec<_> = command.iter().map(String::as_str).collect();
        let output = world.controller.home.landfall(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let output = output.await.unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.is_empty(), "{command:?} says nothing");
        places.push((command.join(" "), output.stdout));
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_stands_nowhere_but_where_it_is_meant_to() {
    let (tools, sts, stop) = (tempfile::tempdir().unwrap(), sts().await, Arc::new(AtomicBool::new(false)));
    let looking = onlooker(stop.clone());
    let world = World::spawned(|value| {
        value["engines"] = json!({"OpenTofu": shim(tools.path())});
        value["allowedEndpoints"] = json!([sts, env("PDNS_URL")]);
    })
    .await;
    story(&world, &sts).await;
    let canaries = [VARIABLE, KEY, HEADER].map(Canary::new);
    is_where_it_belongs(&world, &canaries[0]).await;

    let mut places = told(&world).await;
    let mut add = |place: &str, bytes: Vec<u8>| places.push((place.to_owned(), bytes));
    add("the objects", objects(&world.namespace));
    add("Landfall's own objects", objects(&world.controller.home.namespace));
    add("the metrics", world.controller.get("metrics").await.unwrap().into_bytes());
    add("the database", dump(&world.database.url));
    stop.store(true, Ordering::Relaxed);
    let seen: Vec<_> = looking.join().unwrap().into_iter().collect();
    assert!(seen.iter().any(|c| String::from_utf8_lossy(c).contains("runner\0--run")), "no runner was seen");
    add("the arguments of a process", seen.join(&b'\n'));
    let arguments = std::fs::read(tools.path().join("arguments")).unwrap();
    assert!(String::from_utf8_lossy(&arguments).contains("apply"));
    add("the engine's arguments", arguments);
    let (_, home) = world.controller.terminate().await;
    add("the controller's log", std::fs::read(home.log()).unwrap());
    for file in files_below(&home.installation.executor.work_dir) {
        add(&file.display().to_string(), std::fs::read(&file).unwrap());
    }
    let found = |bytes: &[u8]| canaries.iter().flat_map(|c| c.found_in(bytes)).map(str::to_owned).collect::<Vec<_>>();
    let wrong: Vec<_> =
        places.iter().map(|(place, bytes)| (place, found(bytes))).filter(|(_, f)| !f.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_search_finds_each_form() {
    let canary = Canary::new(VARIABLE);
    let base64 = |before: &str| STANDARD.encode(format!("{before}{VARIABLE} and more"));
    for text in [
        format!("said {VARIABLE}!"),
        json!({"a": VARIABLE}).to_string(),
        json!({"a": json!([VARIABLE]).to_string()}).to_string(),
        hex::encode(VARIABLE),
        hex::encode_upper(VARIABLE),
        base64(""),
        base64("a"),
        base64("ab"),
        format!("\\\\x{}", hex::encode(base64("abcd"))),
        url::form_urlencoded::byte_serialize(VARIABLE.as_bytes()).collect(),
        VARIABLE.replace('\\', "\\\\").replace('\n', "\\n"),
        "│ second line of the canary".to_owned(),
    ] {
        assert!(!canary.found_in(text.as_bytes()).is_empty(), "{text}");
    }
    assert_eq!(canary.found_in(b"canary second line"), [""; 0]);
}
