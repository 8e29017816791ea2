//! What would empty a zone is held until a person lets it pass.

use std::time::Duration;

use futures::future::join_all;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use landfall::api::{DnsRecord, OrganizationDomain};
use landfall::dns::{Name, RecordType};
use landfall::installation::Installation;
use landfall::zones::{Lookup, Said};
use serde_json::json;

use crate::harness::{User, env, grant, wait_until};
use crate::world::{At, World, condition};

const COUNT: usize = 200;
/// Two hundred objects take a while on a busy machine.
const LONG: Duration = Duration::from_secs(240);

/// How many of the names the zone's authority answers.
async fn answered(world: &World) -> usize {
    let installation: Installation = serde_json::from_value(json!({
        "encryption": {"current": "a", "keys": {}},
        "dns": {"authorities": [{"zone": env("PDNS_ZONE"), "servers": [env("PDNS_DNS")]}]},
    }))
    .unwrap();
    let lookup = Lookup::new(&installation);
    let names: Vec<Name> = (0..COUNT).map(|n| Name::parse(&world.name(&format!("n{n}"))).unwrap()).collect();
    let answers = join_all(names.iter().map(|name| lookup.ask(name, RecordType::A))).await;
    let has = |answers: &landfall::zones::Answers| matches!(answers.servers[0].answer, Said::Values { .. });
    answers.iter().filter(|answers| has(answers)).count()
}

/// The domain, once it tells that so many changes are held.
async fn held(world: &World, count: usize) -> OrganizationDomain {
    let domains = world.api::<OrganizationDomain>();
    let told = async || domains.get("example").await.unwrap();
    let is = |domain: &OrganizationDomain| {
        let status = domain.status.clone().unwrap_or_default();
        let condition = status.conditions.iter().any(|c| c.type_ == "MassChangeHeld" && c.status == "True");
        condition && status.held.is_some_and(|held| held.count as usize == count)
    };
    wait_until(LONG, "what is held", async || is(&told().await)).await;
    told().await
}

fn digest(domain: &OrganizationDomain) -> String {
    domain.status.clone().unwrap().held.unwrap().digest
}

pub(crate) async fn approve(world: &World, user: User, digest: &str) -> kube::Result<OrganizationDomain> {
    let api: Api<OrganizationDomain> = Api::namespaced(user.client().await, &world.namespace);
    let annotations = json!({"landfall.dev/approve": digest, "landfall.dev/command-by": user.name()});
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    api.patch("example", &PatchParams::default(), &patch).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_that_vanish_at_once_are_held_until_one_approval() {
    let mut world = World::new(At::PowerDns).await;
    grant(&world.namespace, User::Alice, &["landfall-approver"]).await;
    grant(&world.namespace, User::Bob, &["landfall-editor"]).await;
    let records = world.api::<DnsRecord>();
    let list = async || records.list(&ListParams::default()).await.unwrap().items;
    for n in 0..COUNT {
        world.record(&format!("r{n}"), json!({"name": format!("n{n}")})).await;
    }
    let is = |record: &DnsRecord, status: &str, reason: &str| {
        condition(record, "Ready").is_some_and(|c| c.status == status && c.reason == reason)
    };
    wait_until(LONG, "all to be ready", async || list().await.iter().all(|r| is(r, "True", "Ready"))).await;
    assert_eq!(answered(&world).await, COUNT);
    let intents = world.intents().await;

    records.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let domain = held(&world, COUNT).await;
    let told = domain.status.as_ref().unwrap().conditions.iter().find(|c| c.type_ == "MassChangeHeld").unwrap();
    assert!(told.message.contains(&format!("of {COUNT} sets of ours {COUNT} would go")), "{}", told.message);
    assert!(told.message.contains(&digest(&domain)), "{}", told.message);
    wait_until(LONG, "all to say why", async || list().await.iter().all(|r| is(r, "False", "MassChangeHeld"))).await;
    assert_eq!((list().await.len(), answered(&world).await), (COUNT, COUNT));
    assert_eq!(world.intents().await, intents, "nothing was written");

    // Another controller asks for the very same.
    world.restart().await;
    let metrics = world.metrics();
    wait_until(LONG, "all to be asked for again", async || {
        metrics.text().contains(&format!("landfall_dns_changes_held {COUNT}"))
    })
    .await;
    let again = held(&world, COUNT).await;
    assert_eq!(digest(&again), digest(&domain));
    assert_eq!(answered(&world).await, COUNT);

    let refused = approve(&world, User::Bob, &digest(&domain)).await.unwrap_err().to_string();
    assert!(refused.contains("\"bob\" lacks the verb approve"), "{refused}");
    approve(&world, User::Alice, &format!("sha256:{}", "0".repeat(64))).await.unwrap();
    let domains = world.api::<OrganizationDomain>();
    let handled =
        async |word: &str| domains.get("example").await.unwrap().status.unwrap().last_handled.get(word).cloned();
    wait_until(LONG, "the refusal", async || handled("discarded").await.is_some_and(|said| said.contains("stale")))
        .await;
    assert_eq!((list().await.len(), answered(&world).await), (COUNT, COUNT));

    let said = world.landfall(User::Alice, &["approve", "orgdomain/example", "--timeout", "4m"]).await;
    assert!(said.starts_with(&format!("alice lets {COUNT} held changes of sets pass: {}", digest(&domain))), "{said}");
    wait_until(LONG, "all to be gone", async || list().await.is_empty()).await;
    wait_until(LONG, "no answer", async || answered(&world).await == 0).await;
    wait_until(LONG, "nothing to be held", async || {
        let status = domains.get("example").await.unwrap().status.unwrap();
        status.held.is_none() && status.conditions.iter().all(|c| c.type_ != "MassChangeHeld")
    })
    .await;
    assert_eq!(handled("approve").await, Some(digest(&domain)));
    let given = "SELECT actor || ' ' || (details->>'count') || ' ' || (details->>'digest') FROM landfall.activity_log
                 WHERE action = 'release.given'";
    assert_eq!(world.ask::<String>(given).await, [format!("alice {COUNT} {}", digest(&domain))]);
    let approved = "SELECT count(*) FROM landfall.intents JOIN landfall.intent_objects USING (intent_id) WHERE approved_by = 'alice'";
    assert_eq!(world.ask::<i64>(approved).await, [COUNT as i64], "each write names who let it pass");
}
