//! The controller's process is killed at each step of an order, after the intent and after the effect: whoever comes next goes on
//! with the same order and key.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::acme::{Ca, LONG, NEW_ORDER};
use crate::controller::Process;
use crate::harness::wait_until;
use crate::pebble::{Fault, Switches};
use crate::world::PLENTY;

/// What holds the controller while it is killed.
enum At {
    /// A call of the CA that is never answered.
    Call(&'static str, Fault),
    /// Postgres, just before such a row is written: table, and a condition on it.
    Row(&'static str, &'static str),
}

/// A write to the ledger that waits as long as the test holds it.
pub(crate) struct Gate {
    lock: PgConnection,
    table: &'static str,
}

impl Gate {
    pub(crate) async fn before(url: &str, table: &'static str, condition: &str) -> Self {
        let mut lock = PgConnection::connect(url).await.unwrap();
        let build = format!(
            "SELECT pg_advisory_lock(4711);
             CREATE OR REPLACE FUNCTION landfall.wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END';
             CREATE TRIGGER gate BEFORE INSERT OR UPDATE ON landfall.{table} FOR EACH ROW
               WHEN ({condition}) EXECUTE FUNCTION landfall.wait_at_gate()"
        );
        sqlx::raw_sql(AssertSqlSafe(build)).execute(&mut lock).await.unwrap();
        Self { lock, table }
    }

    /// Waits until somebody waits there.
    pub(crate) async fn reached(&mut self, what: &str) {
        let end = Instant::now() + LONG;
        while !self.holds().await {
            assert!(Instant::now() < end, "waited for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn holds(&mut self) -> bool {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
        sqlx::query_scalar(waits).fetch_one(&mut self.lock).await.unwrap()
    }

    pub(crate) async fn open(mut self) {
        let gone = format!("SELECT pg_advisory_unlock(4711); DROP TRIGGER gate ON landfall.{}", self.table);
        sqlx::raw_sql(AssertSqlSafe(gone)).execute(&mut self.lock).await.unwrap();
    }
}

/// Has a certificate issued by a controller that is killed there, and by the one after it.
async fn killed(ca: &Ca, process: Process, number: usize, at: &At, orders: usize) -> Process {
    let (name, host) = (format!("web-{number}"), format!("n{number}.{}", ca.domain));
    let what = match at {
        At::Call(path, fault) => format!("{path} {fault:?}"),
        At::Row(table, condition) => format!("{table} {condition}"),
    };
    let before = ca.front.count(NEW_ORDER);
    let home = match at {
        At::Call(path, fault) => {
            let asked = ca.front.count(path);
            ca.front.next(path, fault.clone());
            ca.certificate(&name, json!([host])).await;
            wait_until(LONG, &format!("{what} to be asked"), async || ca.front.count(path) > asked).await;
            process.kill().await
        }
        At::Row(table, condition) => {
            let condition = format!("NEW.name = '{name}' AND {condition}");
            let mut gate = Gate::before(&ca.world.database.url, table, &condition).await;
            ca.certificate(&name, json!([host])).await;
            gate.reached(&what).await;
            let home = process.kill().await;
            gate.open().await;
            home
        }
    };
    let key = format!(
        "SELECT encode(sealed, 'hex') FROM acme_keys k JOIN acme_orders o ON o.order_id = k.owner_id WHERE name = '{name}'"
    );
    let key_before = ca.world.ask(&key).await;
    let process = home.spawn().await;
    ca.verified(&name, &host).await;
    assert_eq!(ca.front.count(NEW_ORDER) - before, orders, "{what}");
    if key_before.is_some() {
        assert_eq!(ca.world.ask(&key).await, key_before, "{what}: the same key");
    }
    on_record(ca, &name, &what).await;
    process
}

/// One order, one Secret, one outcome of each call.
async fn on_record(ca: &Ca, name: &str, what: &str) {
    let order = format!(
        "SELECT string_agg(attempt || ' ' || stage || ' ' || challenges, ', ') FROM acme_orders WHERE name = '{name}'"
    );
    let whole = async || ca.world.ask(&order).await.as_deref() == Some("1 Delivered []");
    wait_until(PLENTY, &format!("{what}: one order, delivered and cleaned up"), whole).await;
    let of = format!(
        "FROM intents i JOIN intent_objects o USING (intent_id) WHERE o.object_uid = (SELECT object_uid FROM acme_orders WHERE name = '{name}')"
    );
    for call in ["acme.new_order", "acme.respond", "acme.finalize", "certificate.issue"] {
        let done = format!("SELECT count(*) {of} AND i.call = '{call}' AND i.outcome IN ('Done', 'Settled')");
        assert_eq!(ca.world.ask(&done).await.as_deref(), Some("1"), "{what}: {call}");
    }
    let open = format!("SELECT string_agg(i.call, ' ') {of} AND i.outcome IS NULL");
    assert_eq!(ca.world.ask(&open).await, None, "{what}: all of it has an outcome");
    let current = format!("name = '{name}' AND state = 'Issued' AND superseded_at IS NULL");
    assert_eq!(ca.world.issued(&current).await, 1, "{what}");
    assert_eq!(ca.world.issued(&format!("name = '{name}' AND state = 'Issuing'")).await, 0, "{what}");
    let secrets = ca.world.api::<Secret>().list(&ListParams::default()).await.unwrap();
    let made =
        secrets.iter().filter(|s| s.metadata.name.as_ref().is_some_and(|n| n.starts_with(&format!("{name}-tls"))));
    assert_eq!(made.count(), 1, "{what}");
}

async fn each(all: &[(At, usize)]) {
    let mut ca = Ca::new(Switches::default()).await;
    let mut process = ca.world.controller.take().unwrap().stop().await.spawn().await;
    for (number, (at, orders)) in all.iter().enumerate() {
        process = killed(&ca, process, number, at, *orders).await;
    }
    drop(process);
    assert_eq!(ca.left_in_dns().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_with_an_intent_and_without_its_effect_the_same_order_and_key_go_on() {
    each(&[
        (At::Call("/sign-me-up", Fault::Keep), 1),
        (At::Call(NEW_ORDER, Fault::Keep), 2),
        (At::Call("/authZ/", Fault::Keep), 1),
        (At::Row("acme_orders", "NEW.stage = 'Presented'"), 1),
        (At::Call("/chalZ/", Fault::Keep), 1),
        (At::Call("/my-order/", Fault::Keep), 1),
        (At::Call("/finalize-order/", Fault::Keep), 1),
        (At::Call("/certZ/", Fault::Keep), 1),
        (At::Row("certificates_issued", "NEW.state = 'Issuing'"), 1),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_with_an_effect_and_without_its_outcome_the_same_order_and_key_go_on() {
    each(&[
        (At::Row("acme_orders", "NEW.stage = 'Placing'"), 1),
        (At::Row("acme_orders", "NEW.stage = 'Placed'"), 2),
        (At::Row("acme_orders", "NEW.stage = 'Presenting'"), 1),
        (At::Row("acme_orders", "NEW.stage = 'Validating'"), 1),
        (At::Row("acme_orders", "NEW.stage = 'Finalizing'"), 1),
        (At::Row("acme_orders", "NEW.stage = 'Finalizing' AND NEW.intent_id IS NULL"), 1),
        (At::Row("acme_orders", "NEW.stage = 'Issued'"), 1),
        (At::Row("certificates_issued", "NEW.state = 'Issued'"), 1),
        (At::Row("acme_orders", "NEW.stage = 'Delivered'"), 1),
    ])
    .await;
}
