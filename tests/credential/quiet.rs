use std::time::Duration;

use kube::api::ListParams;
use landfall::api::CloudCredential;
use serde_json::json;

use crate::harness::{env, wait_until};
use crate::world::{Fake, World, powerdns_spec};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_idle_credentials_are_probed_and_not_written() {
    let fake = Fake::start().await;
    let mut world = World::with(|v| v["allowedEndpoints"] = json!([fake.url(), env("PDNS_URL")])).await;
    world.secret("shared", json!({"api_key": "key"})).await;
    for n in 0..50 {
        let more = json!({"probe": {"interval": "2s"}});
        world.credential(&format!("c{n}"), powerdns_spec("shared", &fake.url(), more)).await;
    }
    let versions = async |world: &World| {
        let list = world.api::<CloudCredential>().list(&ListParams::default()).await.unwrap();
        let all_ready =
            list.items.iter().all(|c| crate::world::condition(c, "Ready").is_some_and(|r| r.status == "True"));
        let mut versions: Vec<_> =
            list.items.into_iter().map(|c| (c.metadata.name, c.metadata.resource_version)).collect();
        versions.sort();
        (all_ready, versions)
    };
    let ready = async |world: &World| {
        wait_until(Duration::from_secs(60), "all to be ready", async || versions(world).await.0).await;
    };
    for round in ["after the start", "after a restart"] {
        ready(&world).await;
        settle(&world).await;
        let (before, writes, calls) = (versions(&world).await.1, writes(&world), fake.calls());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(versions(&world).await.1, before, "{round}");
        assert_eq!(self::writes(&world), writes, "{round}");
        assert!(fake.calls() > calls + 100, "{round}: they were probed: {} calls", fake.calls() - calls);
        world.restart().await;
    }
    // The same is not true of a change, or the test would prove nothing.
    let before = versions(&world).await.1;
    fake.answer(401);
    wait_until(Duration::from_secs(30), "a write", async || versions(&world).await.1 != before).await;
}

fn writes(world: &World) -> u64 {
    world.controller().metrics.status_writes("CloudCredential")
}

/// Until nothing was written for two seconds.
async fn settle(world: &World) {
    let mut last = (writes(world), std::time::Instant::now());
    wait_until(Duration::from_secs(60), "quiet", async || {
        if writes(world) != last.0 {
            last = (writes(world), std::time::Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(2)
    })
    .await;
}
