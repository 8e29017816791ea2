use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::controller::Home;
use crate::database::Database;
use crate::harness::{User, env, namespace, wait_until};
use crate::world::{PLENTY, World};

/// A Lease is lost and had again within a few of its durations.
const TURNS: Duration = Duration::from_secs(40);

async fn text(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("http://{address}{path}")).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

/// Waits until `/readyz` has this line and `/metrics` the same in numbers.
async fn leading(address: SocketAddr, line: &str, leads: bool) {
    let gauge = format!("landfall_leading {}\n", u8::from(leads));
    wait_until(TURNS, line, async || {
        let says = |answer: Option<(u16, String)>, words: &str| answer.is_some_and(|(_, text)| text.contains(words));
        says(text(address, "/metrics").await, &gauge) && says(text(address, "/readyz").await, line)
    })
    .await;
}

async fn epoch(sql: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT writer_epoch FROM landfall.clusters").fetch_one(sql).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served_and_a_stopped_leader_frees_the_lease() {
    let lease = 60;
    let mut world = World::with(|values| values["limits"]["leaseSeconds"] = json!(lease)).await;
    let address = world.controller().address;
    wait_until(PLENTY, "readiness", async || text(address, "/readyz").await.is_some_and(|(s, _)| s == 200)).await;
    assert_eq!(text(address, "/livez").await.unwrap().0, 200);
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let (_, metrics) = text(address, "/metrics").await.unwrap();
    assert!(metrics.contains("landfall_leading 1"), "{metrics}");
    assert!(metrics.contains(r#"landfall_credential_probes_total{provider="powerdns",result="Valid"} 1"#), "{metrics}");
    let began = std::time::Instant::now();
    world.restart().await;
    world.powerdns("next", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("next", PLENTY, "True", "Valid").await;
    assert!(began.elapsed() < Duration::from_secs(lease / 2), "the next leader did not wait: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_the_ledger_has_deposed_leads_again_with_a_higher_epoch() {
    let world = World::new().await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let mut sql = world.database.superuser().await;
    sqlx::query("UPDATE landfall.clusters SET writer_epoch = writer_epoch + 1").execute(&mut sql).await.unwrap();
    let others = epoch(&mut sql).await;
    world.secret("pdns", json!({"api_key": "other"})).await;
    leading(world.controller().address, &format!("leadership: leads with epoch {}", others + 1), true).await;
    world.valid("pdns", PLENTY, "False", "InvalidCredentials").await;
    assert_eq!(epoch(&mut sql).await, others + 1);
}

/// Writes itself into the Lease, as another replica would.
struct Thief {
    api: Api<Lease>,
}

impl Thief {
    async fn write(&self, holder: Option<&str>, transitions: Option<i32>) {
        let mut spec = json!({"holderIdentity": holder, "renewTime": MicroTime(Timestamp::now())});
        if let Some(transitions) = transitions {
            spec["leaseTransitions"] = transitions.into();
        }
        let patch = Patch::Merge(json!({"spec": spec}));
        self.api.patch("landfall-controller", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn transitions(&self) -> i32 {
        self.api.get("landfall-controller").await.unwrap().spec.unwrap().lease_transitions.unwrap()
    }

    /// Keeps the Lease for so many seconds.
    async fn keep(&self, seconds: u32) {
        for _ in 0..seconds {
            self.write(Some("thief"), None).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// All that a controller writes: versions of the objects, and the record.
async fn written(world: &World, sql: &mut PgConnection) -> (Vec<Value>, i64, i64) {
    let mut objects = Vec::new();
    for name in ["pdns", "meanwhile"] {
        let object = world.get(name).await;
        objects.push(json!([object.metadata.resource_version, object.status]));
    }
    let query = "SELECT (SELECT count(*) FROM landfall.activity_log) + (SELECT count(*) FROM landfall.cloud_provider_credentials)";
    (objects, sqlx::query_scalar(query).fetch_one(&mut *sql).await.unwrap(), epoch(sql).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_lease_stops_in_the_same_process_and_goes_on_when_it_is_free() {
    let world = World::new().await;
    let (controller, key) = (world.controller(), env("PDNS_API_KEY"));
    world.powerdns("pdns", &key, &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let thief = Thief { api: Api::namespaced(User::Admin.client().await, &controller.home.namespace) };
    let transitions = thief.transitions().await + 1;
    thief.write(Some("thief"), Some(transitions)).await;
    let stopped = leading(controller.address, "leadership: stands by", false);
    tokio::select! {
        () = stopped => {}
        () = thief.keep(60) => panic!("it goes on"),
    }
    assert_eq!(text(controller.address, "/readyz").await.unwrap().0, 200, "a standby serves");

    world.secret("pdns", json!({"api_key": "other"})).await;
    world.powerdns("meanwhile", &key, &env("PDNS_URL"), json!({})).await;
    let mut sql = world.database.superuser().await;
    let before = written(&world, &mut sql).await;
    // More than twice what a silent holder gets.
    thief.keep(12).await;
    assert_eq!(written(&world, &mut sql).await, before, "nothing is written without the Lease");

    thief.write(None, None).await;
    leading(controller.address, &format!("leadership: leads with epoch {}", before.2 + 1), true).await;
    world.valid("meanwhile", PLENTY, "True", "Valid").await;
    world.valid("pdns", PLENTY, "False", "InvalidCredentials").await;
    assert_eq!(thief.transitions().await, transitions + 1);
    let (_, metrics) = text(controller.address, "/metrics").await.unwrap();
    assert!(metrics.contains("landfall_leading 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_one_line() {
    let (watched, database) = (namespace().await, Database::fresh().await);
    let mut home = Home::new(&[watched], &database, |_| {}).await;
    home.database_url = home.database_url.replace(&database.name, "no_such_database");
    let ended = tokio::time::timeout(PLENTY, home.start().await.ended()).await.expect("an end");
    let line = ended.unwrap_err().to_string();
    assert!(line.contains("no_such_database") && line.lines().count() == 1, "{line}");
}
