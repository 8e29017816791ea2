//! Two controllers, of which the one that leads falls silent: the other follows soon, nothing is told twice, and whoever comes
//! back writes nothing.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::controller::{Home, Process};
use crate::database::Database;
use crate::harness::{User, env, namespace, wait_until};
use crate::start::home;
use crate::wire::Wire;
use crate::world::{PLENTY, World};

/// A leader with something to lead, its ways to the API server and to Postgres, and who stands by.
struct Two {
    world: World,
    leader: Process,
    standby: Process,
    cluster: Wire,
    postgres: Wire,
}

impl Two {
    async fn new(change: impl FnOnce(&mut Home)) -> Self {
        let (watched, database) = (namespace().await, Database::fresh().await);
        let (mut first, postgres, cluster) = home(watched.clone(), &database).await;
        change(&mut first);
        let mut second = Home::new(std::slice::from_ref(&watched), &database, |_| {}).await;
        (second.namespace, second.installation) = (first.namespace.clone(), first.installation.clone());
        let leader = first.spawn().await;
        let client = User::Admin.client().await;
        let world = World { namespace: watched, client, database, controller: None };
        world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
        world.valid("pdns", PLENTY, "True", "Valid").await;
        let standby = second.spawn().await;
        says(&standby, "readyz", "leadership: stands by").await;
        Self { world, leader, standby, cluster, postgres }
    }

    fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.leader.lives()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits until the other leads, within fifteen seconds, and has done something.
    async fn follows(&self, what: &str) {
        let began = Instant::now();
        says(&self.standby, "metrics", "landfall_leading 1\n").await;
        let took = began.elapsed();
        eprintln!("the other leads {:.1} s after the leader {what}", took.as_secs_f64());
        assert!(took <= Duration::from_secs(15), "{took:?}");
        self.world.secret("pdns", json!({"api_key": "other"})).await;
        self.world.valid("pdns", PLENTY, "False", "InvalidCredentials").await;
        let sql = tokio::sync::Mutex::new(self.world.database.superuser().await);
        let is_told = async || events(&mut *sql.lock().await).await.iter().any(|(_, of)| of["state"] == "Invalid");
        wait_until(PLENTY, "that to be on record", is_told).await;
    }

    /// The epochs so far, and the record in order. Nothing stands there twice.
    async fn record(&self) -> (i64, Vec<(String, Value)>) {
        let mut sql = self.world.database.superuser().await;
        let events: Vec<(String, Value)> = events(&mut sql).await;
        let mut once = events.clone();
        once.sort_by_key(|(action, details)| format!("{action} {details}"));
        once.dedup();
        assert_eq!(once.len(), events.len(), "{events:#?}");
        let epoch = sqlx::query_scalar("SELECT writer_epoch FROM landfall.clusters").fetch_one(&mut sql).await.unwrap();
        (epoch, events)
    }

    /// The former leader is back and stands by, and nothing was written for it.
    async fn comes_back(&self, before: (i64, Vec<(String, Value)>)) {
        says(&self.leader, "readyz", "leadership: stands by").await;
        says(&self.leader, "metrics", "landfall_leading 0\n").await;
        assert_eq!(self.record().await, before);
        let text = self.leader.get("metrics").await.unwrap();
        assert!(!text.contains("landfall_ledger_lag_seconds{writer=\"CloudCredential\"}"), "{text}");
    }
}

async fn events(sql: &mut PgConnection) -> Vec<(String, Value)> {
    let query = "SELECT action, details FROM landfall.activity_log WHERE object_name = 'pdns' ORDER BY seq";
    sqlx::query_as(query).fetch_all(sql).await.unwrap()
}

async fn says(process: &Process, path: &str, words: &str) {
    wait_until(PLENTY, words, async || process.get(path).await.is_some_and(|text| text.contains(words))).await;
}

fn default_lease(home: &mut Home) {
    home.installation.limits = landfall::installation::Limits::default();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_followed_within_fifteen_seconds() {
    let mut two = Two::new(default_lease).await;
    let (epoch, _) = two.record().await;
    two.signal(Signal::KILL);
    two.follows("was killed, with the default lease").await;
    assert_eq!(two.record().await.0, epoch + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_for_a_minute_finds_another_when_it_wakes_and_writes_nothing() {
    let mut two = Two::new(|_| {}).await;
    let (epoch, _) = two.record().await;
    two.signal(Signal::STOP);
    let stopped = Instant::now();
    two.follows("was stopped, with a lease of 5 s").await;
    let before = two.record().await;
    assert_eq!(before.0, epoch + 1);
    tokio::time::sleep(Duration::from_secs(60).saturating_sub(stopped.elapsed())).await;
    two.signal(Signal::CONT);
    two.comes_back(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_the_api_server_does_not_hear_is_followed_and_writes_nothing() {
    let two = Two::new(|_| {}).await;
    let (epoch, _) = two.record().await;
    two.cluster.cut();
    two.follows("was cut off from the API server, with a lease of 5 s").await;
    says(&two.leader, "metrics", "landfall_leading 0\n").await;
    let before = two.record().await;
    assert_eq!(before.0, epoch + 1);
    two.cluster.mend();
    two.comes_back(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_postgres_does_not_hear_gives_way_to_one_that_it_does() {
    let two = Two::new(|_| {}).await;
    let (epoch, _) = two.record().await;
    two.postgres.cut();
    two.follows("was cut off from Postgres, with a lease of 5 s").await;
    says(&two.leader, "metrics", "landfall_leading 0\n").await;
    let before = two.record().await;
    assert_eq!(before.0, epoch + 1);
    two.postgres.mend();
    two.comes_back(before).await;
}

/// Packets are lost, and no connection breaks.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_for_which_postgres_falls_silent_gives_way_as_soon() {
    let two = Two::new(default_lease).await;
    let (epoch, _) = two.record().await;
    two.postgres.silence();
    two.follows("heard no more of Postgres, with the default lease").await;
    says(&two.leader, "metrics", "landfall_leading 0\n").await;
    let before = two.record().await;
    assert_eq!(before.0, epoch + 1);
    two.postgres.mend();
    two.comes_back(before).await;
}
