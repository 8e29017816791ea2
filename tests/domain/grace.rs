//! What becomes of a domain when its record is missing, and when nobody can tell.

use serde_json::json;

use crate::world::{World, condition, fresh, set};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_record_costs_the_domain_after_the_grace_and_so_does_an_outage_that_outlasts_the_proof() {
    let mut world = World::new().await;
    let (fqdn, ns) = (fresh("PDNS_ZONE"), world.namespace.clone());
    let challenge = format!("_landfall-challenge.{fqdn}");
    world.domain(&ns, "main", &fqdn, json!({})).await;
    let value = world.prove(&ns, "main").await;
    world.verified(&ns, "main", "True", "Verified").await;
    let claims = "SELECT count(*) FROM landfall.domain_claims WHERE released_at IS NULL";
    let state = "SELECT state || ' ' || reason FROM landfall.domain_verifications";
    let looked = async |world: &World, expected: &str| {
        let there = async || world.ask::<String>(state).await == [expected];
        crate::harness::wait_until(crate::world::PLENTY, expected, there).await;
    };

    // For six days nobody answers.
    set(&challenge, &[]).await;
    world.later(6 * DAY, false).await;
    looked(&world, "Verified ResolverUnavailable").await;
    world.verified(&ns, "main", "True", "Verified").await;

    // They answer again, without the record.
    world.later(2 * HOUR, true).await;
    let object = world.verified(&ns, "main", "True", "Degraded").await;
    let ready = condition(&object, "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "Degraded"));
    assert!(ready.message.contains(&value) && ready.message.contains("before 20"), "{}", ready.message);
    assert!(object.status.unwrap().verification.unwrap().missing_since.is_some());
    assert_eq!(world.ask::<i64>(claims).await, [1]);

    // Silence is no answer, and makes no proof younger: it is good for a day and the week of grace.
    world.later(DAY, false).await;
    looked(&world, "Degraded ResolverUnavailable").await;
    assert_eq!(world.ask::<i64>(claims).await, [1]);
    world.later(DAY, false).await;
    looked(&world, "Unverified ResolverUnavailable").await;
    let object = world.verified(&ns, "main", "False", "Unverified").await;
    assert_eq!(condition(&object, "Ready").unwrap().status, "False");
    assert_eq!(world.ask::<i64>(claims).await, [0]);

    // The same token proves it again.
    set(&challenge, &[value]).await;
    world.later(2 * HOUR, true).await;
    world.verified(&ns, "main", "True", "Verified").await;
    assert_eq!(world.ask::<i64>(claims).await, [1]);
    let told = "SELECT string_agg(action, ' ' ORDER BY seq) FROM landfall.activity_log WHERE action LIKE 'domain.%'";
    let life = "domain.challenged domain.claimed domain.verified domain.degraded domain.released domain.unverified domain.claimed domain.verified";
    assert_eq!(world.ask::<String>(told).await, [life]);
}
