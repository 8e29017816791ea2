//! Pairs of records that ask for one set at the same time, and an authority that is asked all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use kube::api::ListParams;
use landfall::api::{DnsRecord, OrganizationDomain};
use landfall::dns::{Name, RecordType};
use landfall::installation::Installation;
use landfall::zones::{Lookup, Said};
use serde_json::json;

use crate::harness::{User, env, grant, wait_until};
use crate::mass::approve;
use crate::world::{At, World, condition};

const PAIRS: usize = 50;
/// So many winners go.
const GO: usize = 12;
const LONG: Duration = Duration::from_secs(240);

/// One of the bed's authorities, asked as anybody would.
struct Poller {
    done: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Poller {
    /// Asks for these names in turns, a millisecond apart, and notes each answer that has not one value, once there was one.
    fn start(names: Vec<Name>) -> Self {
        let installation: Installation = serde_json::from_value(json!({
            "encryption": {"current": "a", "keys": {}},
            "dns": {"authorities": [{"zone": env("PDNS_ZONE"), "servers": [env("PDNS_DNS")]}]},
        }))
        .unwrap();
        let (lookup, done, asked) = (Lookup::new(&installation), Arc::<AtomicBool>::default(), Arc::default());
        let (stop, count): (_, Arc<AtomicUsize>) = (done.clone(), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let (mut tick, mut bad) = (tokio::time::interval(Duration::from_millis(1)), Vec::new());
            let mut there = vec![false; names.len()];
            while !stop.load(Ordering::SeqCst) {
                for (number, name) in names.iter().enumerate() {
                    tick.tick().await;
                    let answers = lookup.ask(name, RecordType::A).await;
                    count.fetch_add(1, Ordering::SeqCst);
                    match &answers.servers[0].answer {
                        Said::Values { values, .. } if values.len() == 1 => there[number] = true,
                        // A busy machine may not answer in time; that is no empty answer.
                        Said::Nothing(_) => {}
                        _ if !there[number] => {}
                        other => bad.push(format!("{name}: {other:?}")),
                    }
                }
            }
            bad
        });
        Self { done, asked, task }
    }

    async fn stop(self) -> (usize, Vec<String>) {
        self.done.store(true, Ordering::SeqCst);
        (self.asked.load(Ordering::SeqCst), self.task.await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_pairs_each_has_one_winner_and_no_name_is_ever_empty() {
    let world = World::new(At::PowerDns).await;
    grant(&world.namespace, User::Alice, &["landfall-approver"]).await;
    let names = (0..PAIRS).map(|n| Name::parse(&world.name(&format!("n{n}"))).unwrap()).collect();
    let poller = Poller::start(names);
    let racer = |number: usize, side: u8| {
        let spec = json!({"name": format!("n{number}"), "values": [format!("192.0.2.{side}")]});
        let world = &world;
        async move { world.record(&format!("r{number}-{side}"), spec).await }
    };
    join_all((0..PAIRS).flat_map(|n| [racer(n, 1), racer(n, 2)])).await;

    let all = async || world.api::<DnsRecord>().list(&ListParams::default()).await.unwrap().items;
    let of = |records: &[DnsRecord], reason: &str| -> Vec<(String, String)> {
        let is = |r: &&DnsRecord| condition(r, "Ready").is_some_and(|c| c.reason == reason);
        records.iter().filter(is).map(|r| (r.spec.name.clone(), r.metadata.name.clone().unwrap())).collect()
    };
    let domains = world.api::<OrganizationDomain>();
    let settled = async |ready: usize, lost: usize| {
        wait_until(LONG, "one winner each", async || {
            // So many older ones that write over younger ones are a mass change, and a person lets it pass.
            let status = domains.get("example").await.unwrap().status.unwrap_or_default();
            if let Some(held) = status.held {
                approve(&world, User::Alice, &held.digest).await.unwrap();
            }
            let records = all().await;
            (of(&records, "Ready").len(), of(&records, "Conflict").len()) == (ready, lost)
        })
        .await;
    };
    settled(PAIRS, PAIRS).await;
    let mut winners = of(&all().await, "Ready");
    winners.sort();
    winners.dedup_by_key(|(name, _)| name.clone());
    assert_eq!(winners.len(), PAIRS, "one of each pair");

    let gone: Vec<(String, String)> = winners.into_iter().take(GO).collect();
    join_all(gone.iter().map(|(_, object)| world.delete(object))).await;
    settled(PAIRS, PAIRS - GO).await;
    for (name, object) in &gone {
        let heir = if object.ends_with("-1") { "192.0.2.2" } else { "192.0.2.1" };
        assert_eq!(world.values(&world.name(name), RecordType::A).await, [heir]);
    }
    let (asked, bad) = poller.stop().await;
    assert_eq!(bad, Vec::<String>::new());
    assert!(asked > PAIRS, "{asked} questions");
    let emptied = "SELECT count(*) FROM landfall.intents, jsonb_array_elements(details->'parts') AS part
                   WHERE part->>'type' = 'A' AND part->'after' = 'null'";
    assert_eq!(world.ask::<i64>(emptied).await, [0], "no set was taken away to be made anew");
}
