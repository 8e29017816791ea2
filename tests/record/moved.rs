//! The domain's zone becomes another one.

use kube::api::{Patch, PatchParams};
use landfall::api::OrganizationDomain;
use landfall::dns::RecordType;
use serde_json::json;

use crate::harness::{env, wait_until};
use crate::world::{At, PLENTY, World};

/// A zone for this name alone, and its address at PowerDNS.
async fn zone(fqdn: &str) -> (reqwest::Client, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let zones = format!("{}/api/v1/servers/localhost/zones", env("PDNS_URL"));
    let body = json!({"name": format!("{fqdn}."), "kind": "Native", "nameservers": [format!("ns.{fqdn}.")]});
    let made = client.post(&zones).header("x-api-key", env("PDNS_API_KEY")).json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
    (client, format!("{zones}/{fqdn}."))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_goes_with_its_domain_into_another_zone_and_stays_behind_in_none() {
    let world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("www", json!({})).await;
    world.record("kept", json!({"name": "kept", "drift": "Report"})).await;
    world.ready("www").await;
    world.ready("kept").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);

    let (client, child) = zone(&world.fqdn).await;
    let zone_id = json!({"spec": {"dns": {"zoneId": format!("{}.", world.fqdn)}}});
    let domains = world.api::<OrganizationDomain>();
    domains.patch("example", &PatchParams::default(), &Patch::Merge(zone_id)).await.unwrap();
    wait_until(PLENTY, "nothing in the parent zone", async || {
        world.stands(&owner, RecordType::A).await.is_none()
            && world.stands(&world.name("kept"), RecordType::A).await.is_none()
    })
    .await;
    let text = client.get(&child).header("x-api-key", env("PDNS_API_KEY")).send().await.unwrap().text().await.unwrap();
    for name in ["www", "kept"] {
        assert!(text.contains(&format!("\"{name}.{}.\"", world.fqdn)), "{text}");
    }
    let zones = format!("SELECT count(*) FROM landfall.record_sets WHERE gone_at IS NULL AND zone = '{}'", world.fqdn);
    wait_until(PLENTY, "the new zone on record", async || world.ask::<i64>(&zones).await == [2]).await;
    let repairs = "SELECT count(*) FROM landfall.record_sets WHERE cardinality(repaired_at) > 0";
    assert_eq!(world.ask::<i64>(repairs).await, [0], "nobody else did it");

    world.delete("www").await;
    world.gone("www").await;
    let text = client.get(&child).header("x-api-key", env("PDNS_API_KEY")).send().await.unwrap().text().await.unwrap();
    assert!(!text.contains("www."), "{text}");
    client.delete(&child).header("x-api-key", env("PDNS_API_KEY")).send().await.unwrap().error_for_status().unwrap();
}
