//! A thousand sets at once, nothing when nothing changed, and never a moment without an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use landfall::dns::{Data, RecordType};
use landfall::installation::Installation;
use landfall::providers::Server;
use landfall::zones::{Adoption, Effect, Lookup, Said};
use serde_json::json;

use crate::desk::{Desk, servers};
use crate::pdns::{counted, powerdns_at};
use crate::world::{env, turn};

async fn all(desk: &Arc<Desk>, count: usize, address: &str) -> (Vec<Effect>, Duration) {
    let begin = Instant::now();
    let tasks = (0..count).map(|n| {
        let (desk, set) = (desk.clone(), desk.a(&format!("n{n}.thousand"), address));
        tokio::spawn(async move { desk.set(&set, Adoption::Never).await })
    });
    let effects = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    (effects, begin.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sets_of_a_thousand_tasks_are_a_few_calls_and_none_when_nothing_changed() {
    let _turn = turn().await;
    let (base, calls) = counted(&env("PDNS_URL")).await;
    let powerdns = Server::PowerDns(powerdns_at(&base, &env("PDNS_API_KEY")));
    let [_, (knot, _)] = servers();
    for (server, zone, count) in [(powerdns, "PDNS_ZONE", 1000), (knot, "KNOT_ZONE", 1000)] {
        let desk = Arc::new(Desk::new(server, zone).await);
        desk.clear("thousand").await;
        let before = calls.load(Ordering::SeqCst);
        let (effects, took) = all(&desk, count, "192.0.2.1").await;
        let spent = calls.load(Ordering::SeqCst) - before;
        assert!(effects.iter().all(|effect| matches!(effect, Effect::Applied { .. })), "{effects:?}");
        assert!(spent <= 20, "{spent} calls");
        let intents = desk.intents().await.as_array().unwrap().len();
        assert!(intents <= 5, "{intents} intents");

        let (serial, before) = (desk.serial().await, calls.load(Ordering::SeqCst));
        let (effects, again) = all(&desk, count, "192.0.2.1").await;
        assert!(effects.iter().all(|effect| *effect == Effect::Unchanged), "{effects:?}");
        assert_eq!(desk.serial().await, serial, "a second pass writes nothing");
        assert_eq!(desk.intents().await.as_array().unwrap().len(), intents);
        let reads = calls.load(Ordering::SeqCst) - before;
        assert!(reads <= 4, "{reads} calls to see that nothing changed");
        println!(
            "{zone}: {count} sets in {took:?}, {spent} calls, {intents} intents; second pass {again:?}, {reads} calls"
        );
        desk.clear("thousand").await;
    }
}

/// Two objects that want one set differently, in turns; a client asks the authority each millisecond.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_two_race_for_is_never_empty() {
    let _turn = turn().await;
    for ((server, zone), address) in servers().into_iter().zip([env("PDNS_DNS"), env("KNOT_DNS")]) {
        let desk = Arc::new(Desk::new(server, zone).await);
        desk.clear("race").await;
        let first = desk.a("www.race", "192.0.2.1");
        assert!(matches!(desk.set(&first, Adoption::Never).await, Effect::Applied { .. }));
        let installation: Installation = serde_json::from_value(json!({
            "encryption": {"current": "a", "keys": {}},
            "dns": {"authorities": [{"zone": desk.zone.name.as_str(), "servers": [address]}]},
        }))
        .unwrap();
        let (lookup, done, asked) =
            (Lookup::new(&installation), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let answers = lookup.ask(first.owner(), RecordType::A).await;
        assert!(answers.all_have(&Data::A([192, 0, 2, 1].into())), "{answers:?}");
        let poller = tokio::spawn({
            let (done, asked, owner) = (done.clone(), asked.clone(), first.owner().clone());
            async move {
                let mut tick = tokio::time::interval(Duration::from_millis(1));
                while !done.load(Ordering::SeqCst) {
                    tick.tick().await;
                    let answers = lookup.ask(&owner, RecordType::A).await;
                    let said = &answers.servers[0].answer;
                    // A machine that is busy may answer too late; it never answers that there is nothing.
                    if !matches!(said, Said::Nothing(_)) {
                        assert!(matches!(said, Said::Values { values, .. } if values.len() == 1), "{said:?}");
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
        let racer = |last: u8| {
            let desk = desk.clone();
            tokio::spawn(async move {
                for round in 0..25 {
                    let set = desk.a("www.race", &format!("192.0.2.{}", last + 2 * (round % 2)));
                    let effect = desk.set(&set, Adoption::Never).await;
                    let fine = matches!(effect, Effect::Applied { after: Some(_), .. } | Effect::Unchanged);
                    assert!(fine, "{effect:?}");
                }
            })
        };
        let (one, two) = tokio::join!(racer(10), racer(11));
        one.unwrap();
        two.unwrap();
        done.store(true, Ordering::SeqCst);
        poller.await.unwrap();
        assert!(asked.load(Ordering::SeqCst) > 50, "{asked:?} questions");
        assert!(desk.standing(first.owner(), RecordType::A).await.is_some());
        desk.clear("race").await;
    }
}
