//! The domain's zone becomes another one.

use kube::api::{Patch, PatchParams};
use landfall::api::{CloudCredential, OrganizationDomain};
use landfall::dns::RecordType;
use serde_json::json;

use crate::harness::{env, wait_until};
use crate::world::{At, PLENTY, World, message};

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

/// Nobody can tell by an address whether it is another server's: what was written to the former one is on record.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_to_a_credentials_former_endpoint_is_told_and_put_down() {
    let world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("www", json!({})).await;
    world.ready("www").await;
    let server = "SELECT server FROM landfall.record_sets";
    let former = world.ask::<String>(server).await.remove(0);
    assert!(!former.starts_with(&env("PDNS_URL")), "{former}");

    let endpoint = json!({"spec": {"powerdns": {"endpoint": env("PDNS_URL")}}});
    let credentials = world.api::<CloudCredential>();
    credentials.patch("dns", &PatchParams::default(), &Patch::Merge(endpoint)).await.unwrap();
    let object = world.told("www", "Kept", "True", "SetKept").await;
    let words = format!("{owner} A stays in zone {} of {former}: its CloudCredential has another", env("PDNS_ZONE"));
    assert!(message(&object, "Kept").starts_with(&words), "{}", message(&object, "Kept"));
    let kept = "SELECT details ->> 'server' FROM landfall.activity_log WHERE action = 'record.kept'";
    assert_eq!(world.ask::<String>(kept).await, [former]);
    let now = world.ask::<String>(server).await.remove(0);
    assert!(now.starts_with(&env("PDNS_URL")), "{now}");
    world.ready("www").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);
}
