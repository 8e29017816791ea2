//! Two hundred objects that are what their specs say, and a minute in which nothing is written for them. A suite of its
//! own: it counts what the API server and Postgres do, so that nobody else may do anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../harness/controller.rs"]
mod controller;
#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/deployment.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::api::ListParams;
use landfall::api::{CloudCredential, Condition, Reason, TerraformDeployment};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::harness::{credential, env, wait_until};
use crate::world::World;

const CREDENTIALS: usize = 170;

/// Fewer, because each takes an engine: 30, or as many as `LANDFALL_IDLE_DEPLOYMENTS` says.
fn how_many() -> usize {
    std::env::var("LANDFALL_IDLE_DEPLOYMENTS").map_or(30, |number| number.parse().unwrap())
}

/// Two hundred objects and thirty plans on a machine with much else to do.
const PLENTY: Duration = Duration::from_secs(600);
/// How long nothing may have happened before the minute begins: longer than Postgres keeps its counts to itself.
const QUIET: Duration = Duration::from_secs(15);

/// What is told when it has been the same for so long.
async fn steady<T: PartialEq>(rest: Duration, what: &str, told: impl AsyncFn() -> T) -> T {
    let mut last = (told().await, Instant::now());
    wait_until(PLENTY, what, async || {
        let now = told().await;
        if now != last.0 {
            last = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        last.1.elapsed() > rest
    })
    .await;
    last.0
}

/// Writes so far, by what was written.
type Writes = BTreeMap<String, u64>;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_settled_objects_are_looked_after_for_a_minute_and_nothing_is_written() {
    let world = World::new().await;
    let began = Instant::now();
    fill(&world).await;
    wait_until(PLENTY, "all to be ready", async || unready(&world).await.is_empty()).await;
    eprintln!("{} objects ready after {} s", CREDENTIALS + how_many(), began.elapsed().as_secs());
    let before = steady(QUIET, "quiet", async || writes(&world).await).await;
    let probes = probes(&world);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let after = writes(&world).await;
    let differ: Vec<_> = after.iter().filter(|(what, count)| before.get(*what) != Some(count)).collect();
    // What happened before the minute may be anchored in it, once.
    let anchor = |what: &str| what.ends_with(" configmaps/");
    let anchored: u64 = differ.iter().filter(|(w, _)| anchor(w)).map(|(w, n)| **n - before.get(*w).unwrap_or(&0)).sum();
    assert!(anchored <= 1, "{differ:#?}");
    let differ: Vec<_> = differ.into_iter().filter(|(what, _)| !anchor(what)).collect();
    assert!(differ.is_empty(), "written for objects that are idle: {differ:#?}");
    let probes = self::probes(&world) - probes;
    assert!(probes > CREDENTIALS as u64, "they were looked after: {probes} probes");
    // A change is counted, or the test would prove nothing.
    world.deployment("d0", json!({"source": {"inline": {"main.tf": ""}}, "approval": "PlanOnly"})).await;
    world.ready("d0", "Planned").await;
    let counted = async || {
        let now = writes(&world).await;
        let more = |part: &str| now.iter().any(|(what, n)| what.contains(part) && before.get(what) != Some(n));
        more("terraformdeployments") && more("rows of activity_log")
    };
    wait_until(PLENTY, "a change to be counted", counted).await;
    restart(world).await;
}

/// A controller that starts looks at every deployment, and begins no run for one that is settled.
async fn restart(world: World) {
    let runs = "SELECT count(*) FROM terraform_runs";
    let before = world.count(runs).await;
    let home = world.controller.stop().await;
    let world = World { controller: home.start().await, ..world };
    let looked = |text: &str| {
        let line = |l: &&str| l.starts_with("landfall_reconciles_total{kind=\"TerraformDeployment\",result=\"Done\"}");
        text.lines().find(line).and_then(|l| l.rsplit(' ').next()?.parse::<usize>().ok()).unwrap_or_default()
    };
    let looks = || looked(&world.controller.metrics.text());
    wait_until(PLENTY, "a look at each", async || looks() >= how_many()).await;
    steady(Duration::from_secs(5), "no look for a while", async || looks()).await;
    assert_eq!(world.count(runs).await, before, "runs that were not due");
    world.controller.stop().await;
}

/// Every deployment uses a credential; of ten, eight have nothing to change, one may only plan, one has been applied.
async fn fill(world: &World) {
    world.secret("pdns", json!({"api_key": env("PDNS_API_KEY")})).await;
    let block = json!({"secretRef": {"name": "pdns"}, "endpoint": env("PDNS_URL")});
    let spec = json!({"powerdns": block, "probe": {"interval": "20s"}});
    let credentials = async |n: usize| {
        let name = format!("c{n}");
        world.put::<CloudCredential>(&name, credential(&name, spec.clone())).await;
    };
    futures::stream::iter(0..CREDENTIALS).map(credentials).buffer_unordered(8).count().await;
    let deployment = async |n: usize| {
        let (module, approval) = match n % 10 {
            8 => ("resource \"terraform_data\" \"a\" {}", "PlanOnly"),
            9 => ("resource \"terraform_data\" \"a\" {}", "Automatic"),
            _ => ("", "Manual"),
        };
        let source = json!({"inline": {"main.tf": module}});
        let spec: Value =
            json!({"source": source, "approval": approval, "credentialRef": {"name": format!("c{}", n % CREDENTIALS)}});
        world.deployment(&format!("d{n}"), spec).await;
    };
    futures::stream::iter(0..how_many()).map(deployment).buffer_unordered(8).count().await;
}

/// Objects that are not ready.
async fn unready(world: &World) -> Vec<String> {
    let all = ListParams::default();
    let credentials = world.api::<CloudCredential>().list(&all).await.unwrap().items;
    let deployments = world.api::<TerraformDeployment>().list(&all).await.unwrap().items;
    assert_eq!((credentials.len(), deployments.len()), (CREDENTIALS, how_many()));
    let ready = |conditions: &[Condition]| conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    let credentials = credentials
        .into_iter()
        .filter(|o| !o.status.as_ref().is_some_and(|s| ready(&s.conditions)))
        .map(|o| o.metadata);
    let deployments = deployments
        .into_iter()
        .filter(|o| !o.status.as_ref().is_some_and(|s| ready(&s.conditions)))
        .map(|o| o.metadata);
    credentials.chain(deployments).filter_map(|m| m.name).collect()
}

/// How often the provider was asked.
fn probes(world: &World) -> u64 {
    world.controller.metrics.probes("powerdns", Reason::Valid)
}

async fn writes(world: &World) -> Writes {
    let mut writes = requests(world).await;
    writes.extend(rows(world).await);
    writes
}

/// What the API server was asked to write, but Leases.
async fn requests(world: &World) -> Writes {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = world.client.request_text(request).await.unwrap();
    let mut writes = Writes::new();
    for (labels, count) in text.lines().filter_map(|l| l.strip_prefix("apiserver_request_total{")?.split_once("} ")) {
        let label = |name: &str| {
            let value = labels.split(',').find_map(|l| l.strip_prefix(name)?.strip_prefix("=\""));
            value.unwrap_or_default().trim_end_matches('"').to_owned()
        };
        let (verb, resource) = (label("verb"), label("resource"));
        if ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"].contains(&verb.as_str())
            && resource != "leases"
        {
            *writes.entry(format!("{verb} {resource}/{}", label("subresource"))).or_default() +=
                count.parse::<f64>().unwrap() as u64;
        }
    }
    writes
}

/// What Postgres has written to the ledger, but watermarks.
async fn rows(world: &World) -> Writes {
    let mut connection = sqlx::PgConnection::connect(&world.database.url).await.unwrap();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT relname::text, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables
         WHERE schemaname = 'landfall' AND relname <> 'mirror_watermarks'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    rows.into_iter().map(|(table, count)| (format!("rows of {table}"), u64::try_from(count).unwrap())).collect()
}
