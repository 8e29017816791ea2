use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use landfall::dns::{Name, RecordType};
use landfall::installation::Installation;
use landfall::zones::{Lookup, Said};
use serde_json::json;

use crate::harness::env;
use crate::world::{At, World, message};

/// Asks the authority again and again; counts the answers, and those without a value.
fn watch(owner: &str) -> (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (answers, empty, stop) =
        (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let installation: Installation = serde_json::from_value(json!({
        "encryption": {"current": "a", "keys": {}},
        "dns": {"authorities": [
            {"zone": env("PDNS_ZONE"), "servers": [env("PDNS_DNS")]}, {"zone": env("KNOT_ZONE"), "servers": [env("KNOT_DNS")]},
        ]},
    }))
    .unwrap();
    let (lookup, owner) = (Lookup::new(&installation), Name::parse(owner).unwrap());
    let counters = (answers.clone(), empty.clone(), stop.clone());
    tokio::spawn(async move {
        let (answers, empty, stop) = counters;
        while !stop.load(Ordering::SeqCst) {
            let heard = lookup.ask(&owner, RecordType::A).await;
            for server in heard.servers {
                match server.answer {
                    Said::Values { .. } => answers.fetch_add(1, Ordering::SeqCst),
                    Said::NoData | Said::NoName => empty.fetch_add(1, Ordering::SeqCst),
                    Said::Nothing(_) => 0,
                };
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    (answers, empty, stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_wins_and_the_younger_takes_over_without_a_moment_of_emptiness_at_powerdns() {
    takeover(At::PowerDns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_wins_and_the_younger_takes_over_without_a_moment_of_emptiness_at_knot() {
    takeover(At::Knot).await;
}

async fn takeover(at: At) {
    let world = World::new(at).await;
    let owner = world.name("www");
    world.record("older", json!({})).await;
    world.ready("older").await;
    // Ages count in seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.record("younger", json!({"values": ["192.0.2.2"]})).await;
    let object = world.told("younger", "Ready", "False", "Conflict").await;
    assert!(message(&object, "Ready").starts_with("DnsRecord \"older\" is older"), "{}", message(&object, "Ready"));
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);

    let (answers, empty, stop) = watch(&owner);
    crate::harness::wait_until(crate::world::PLENTY, "answers", async || answers.load(Ordering::SeqCst) > 5).await;
    world.delete("older").await;
    world.gone("older").await;
    world.ready("younger").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.2"]);
    stop.store(true, Ordering::SeqCst);
    assert_eq!(empty.load(Ordering::SeqCst), 0, "of {} answers", answers.load(Ordering::SeqCst));
    let inherited =
        "SELECT count(*) FROM landfall.activity_log WHERE object_name = 'younger' AND action = 'record.inherited'";
    assert_eq!(world.ask::<i64>(inherited).await, [1]);
    world.delete("younger").await;
    world.gone("younger").await;
    assert_eq!(world.stands(&owner, RecordType::A).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cname_and_another_type_of_one_name_exclude_each_other() {
    let world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("address", json!({})).await;
    world.ready("address").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.record("alias", json!({"type": "CNAME", "values": ["target.example."]})).await;
    let object = world.told("alias", "Ready", "False", "Conflict").await;
    assert!(message(&object, "Ready").contains("\"address\""), "{}", message(&object, "Ready"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // Who has nothing keeps nobody from anything, until his turn comes.
    world.record("text", json!({"type": "TXT", "values": ["beside"]})).await;
    world.ready("text").await;
    world.delete("address").await;
    world.ready("alias").await;
    assert_eq!(world.values(&owner, RecordType::Cname).await, ["target.example."]);
    for kind in [RecordType::A, RecordType::Txt] {
        assert_eq!(world.stands(&owner, kind).await, None);
    }
    let object = world.told("text", "Ready", "False", "Conflict").await;
    assert!(message(&object, "Ready").contains("\"alias\""), "{}", message(&object, "Ready"));
    world.delete("alias").await;
    world.ready("text").await;
    assert_eq!(world.values(&owner, RecordType::Txt).await, ["beside"]);
}

/// An object that changes all the time is let go only at the second try or later.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_takes_over_also_from_one_whose_finalizer_does_not_come_off_at_once() {
    let world = World::new(At::PowerDns).await;
    world.record("older", json!({})).await;
    world.ready("older").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.record("younger", json!({"type": "CNAME", "values": ["target.example."]})).await;
    world.told("younger", "Ready", "False", "Conflict").await;
    let records = world.api::<landfall::api::DnsRecord>();
    let changes = tokio::spawn(async move {
        let mut often = tokio::time::interval(Duration::from_millis(5));
        for number in 0.. {
            often.tick().await;
            let patch = json!({"metadata": {"labels": {"number": number.to_string()}}});
            if records.patch("older", &Default::default(), &kube::api::Patch::Merge(patch)).await.is_err() {
                return;
            }
        }
    });
    world.delete("older").await;
    let left = "SELECT count(*) FROM landfall.record_sets WHERE name = 'older' AND gone_at IS NOT NULL";
    crate::harness::wait_until(crate::world::PLENTY, "the older to leave", async || {
        world.ask::<i64>(left).await == [1]
    })
    .await;
    world.ready("younger").await;
    changes.abort();
    world.gone("older").await;
}

/// An older object that only looks, or whose values are bad, has no set that it could keep from a younger one.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_nothing_keeps_nobody_from_it() {
    let world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("older", json!({})).await;
    world.ready("older").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.record("younger", json!({"values": ["192.0.2.2"]})).await;
    world.told("younger", "Ready", "False", "Conflict").await;
    world.patch("older", json!({"policy": "Observe"})).await;
    world.ready("younger").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.2"]);
    // It may have looked before the other wrote, and nobody wakes who asks for nothing.
    world.look("older").await;
    world.told("older", "Ready", "True", "Drifted").await;
    world.patch("older", json!({"policy": "Sync"})).await;
    world.told("younger", "Ready", "False", "Conflict").await;
    world.ready("older").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);
    // What the loser once wrote is no inheritance.
    world.delete("younger").await;
    world.gone("younger").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);
    let inherited = "SELECT count(*) FROM landfall.activity_log WHERE action = 'record.inherited'";
    assert_eq!(world.ask::<i64>(inherited).await, [0]);
}

/// A cluster that is switched off for good asks for its sets until its domains' proofs have grown old.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_cluster_counts_while_that_cluster_proves_the_domain() {
    let world = World::new(At::PowerDns).await;
    world.record("www", json!({})).await;
    world.ready("www").await;
    let there = uuid::Uuid::new_v4();
    let as_there = |table: &str, changes: &str| {
        format!(
            "INSERT INTO landfall.{table} SELECT (jsonb_populate_record(mine, jsonb_build_object('cluster_id', '{there}', {changes}))).*
             FROM landfall.{table} mine RETURNING cluster_id::text"
        )
    };
    world.ask::<String>(&as_there("clusters", "'name', 'there'")).await;
    world.ask::<String>(&as_there("domain_verifications", "'name', 'there'")).await;
    let older = "'object_created_at', '2020-01-01T00:00:00Z'";
    world.ask::<String>(&as_there("record_sets", older)).await;
    world.look("www").await;
    let object = world.told("www", "Ready", "False", "Conflict").await;
    assert!(message(&object, "Ready").contains("a DnsRecord of another cluster is older"));
    let old = format!(
        "UPDATE landfall.domain_verifications SET verified_at = now() - interval '100 days', checked_at = now() - interval '100 days'
         WHERE cluster_id = '{there}' RETURNING name"
    );
    world.ask::<String>(&old).await;
    world.look("www").await;
    world.ready("www").await;
    let asks = format!("SELECT asks FROM landfall.record_sets WHERE cluster_id = '{there}' AND gone_at IS NULL");
    assert_eq!(world.ask::<bool>(&asks).await, [true], "what is there is left as it is");
}

/// Several at once, none of which has seen another: one wins, and it is the oldest.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_are_made_at_once_one_wins() {
    let world = World::new(At::PowerDns).await;
    let names: Vec<String> = (0..6).map(|n| format!("r{n}")).collect();
    let made = names.iter().zip(1..).map(|(name, n)| world.record(name, json!({"values": [format!("192.0.2.{n}")]})));
    futures::future::join_all(made).await;
    let winners = async || {
        let mut ready = Vec::new();
        for name in &names {
            let object = world.api::<landfall::api::DnsRecord>().get(name).await.unwrap();
            let found = crate::world::condition(&object, "Ready");
            ready.push(found.map(|c| (c.status, c.reason)));
        }
        ready
    };
    let settled = |all: &[Option<(String, String)>]| {
        let count = |word: &str| all.iter().flatten().filter(|(_, reason)| reason == word).count();
        (count("Ready"), count("Conflict")) == (1, 5)
    };
    crate::harness::wait_until(crate::world::PLENTY, "one winner", async || settled(&winners().await)).await;
    let oldest = "SELECT name FROM landfall.record_sets WHERE gone_at IS NULL ORDER BY object_created_at, uid LIMIT 1";
    let winner = world.ask::<String>(oldest).await.remove(0);
    let place = names.iter().position(|name| *name == winner).unwrap();
    let owner = world.name("www");
    let expected = vec![format!("192.0.2.{}", place + 1)];
    crate::harness::wait_until(crate::world::PLENTY, "the oldest's values", async || {
        world.values(&owner, RecordType::A).await == expected
    })
    .await;
}
