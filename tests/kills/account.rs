//! The account after a kill: the deployment is driven to its end, and what the world holds is compared with what the
//! ledger says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use landfall::api::Organization;
use landfall::ledger::{Resource, Standing};
use serde_json::Value;
use sqlx::Row;
use uuid::Uuid;

use crate::ground::{Ground, PLENTY, Seen, digest, reason};

/// Approves what waits for approval, each plan once, until the deployment is what its spec says.
pub(crate) async fn drive(ground: &Ground, name: &str, mut approved: Vec<String>) -> Uuid {
    let end = Instant::now() + PLENTY;
    loop {
        let object = ground.get(name).await;
        match reason(&object).as_str() {
            "Applied" | "NoChanges" => return object.metadata.uid.unwrap().parse().unwrap(),
            "ApprovalRequired" | "Interrupted" | "ApprovalStale" => {
                let plan = digest(&object);
                // A plan that died has none.
                if !plan.is_empty() && !approved.contains(&plan) {
                    ground.approve(name, &plan).await;
                    approved.push(plan);
                }
            }
            _ => {}
        }
        assert!(Instant::now() < end, "{name}: driven to its end: {:#?}", object.status);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// One creation, as the provisioner told of it.
#[derive(Debug)]
struct Line {
    run: Uuid,
    digest: String,
    id: String,
}

/// What the world holds of a resource.
fn lines(files: &Path, resource: &str) -> Vec<Line> {
    let text = std::fs::read_to_string(files.join(resource)).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap();
        Line { run: word().parse().unwrap(), digest: word(), id: word() }
    };
    text.lines().map(line).collect()
}

/// Resources of a state: address and id.
type Resources = BTreeSet<(String, String)>;

/// Nothing twice, nothing forgotten, nothing held.
pub(crate) async fn balance(ground: &Ground, name: &str, uid: Uuid, turn: u32, hit: &Seen) -> String {
    let files = ground.files(name);
    let last = std::fs::read_to_string(files.join("last")).unwrap_or_default();
    assert_eq!(last, turn.to_string(), "{name}: the last file is not what the spec says");
    let (newest, versions) = states(ground, uid).await;
    assert_eq!(newest.len(), 3, "{name}: each resource is there once: {newest:?}");
    let inventory = ground.ledger.inventory(uid).await.unwrap();
    let managed: Vec<_> = inventory.iter().filter(|r| r.standing == Standing::Managed).map(key).collect();
    assert_eq!(managed.len(), newest.len(), "{name}: {inventory:#?}");
    assert_eq!(managed.into_iter().collect::<Resources>(), newest, "{name}: the inventory is not the state");
    for resource in ["early", "count"] {
        let address = format!("terraform_data.{resource}");
        let mut applies: BTreeMap<String, usize> = BTreeMap::new();
        for line in lines(&files, resource) {
            let known = versions.iter().any(|state| state.contains(&(address.clone(), line.id.clone())));
            let named = inventory.iter().any(|r| is_leftover(r, &address, &line));
            assert!(known || named, "{name}: nobody knows of {address} {line:?}: {inventory:#?}");
            *applies.entry(line.digest).or_default() += 1;
        }
        assert!(applies.values().all(|count| *count == 1), "{name}: a plan was applied twice: {applies:?}");
    }
    nothing_held(ground, name, uid).await;
    sqlx::query_scalar("SELECT phase FROM terraform_runs WHERE run_id = $1")
        .bind(hit.id)
        .fetch_one(&ground.pool)
        .await
        .unwrap()
}

fn key(resource: &Resource) -> (String, String) {
    (resource.address.clone(), resource.id.clone().unwrap_or_default())
}

fn is_leftover(resource: &Resource, address: &str, line: &Line) -> bool {
    let same = resource.id.as_ref().is_none_or(|id| *id == line.id);
    resource.standing == Standing::Leftover && resource.address == address && resource.run == line.run && same
}

/// The newest state, and all of its lineage.
async fn states(ground: &Ground, uid: Uuid) -> (Resources, Vec<Resources>) {
    let rows = sqlx::query(
        "SELECT organization_id, state_key, s.serial FROM state_keys k JOIN terraform_states s USING (organization_id, state_key, lineage)
         WHERE k.holder_uid = $1 ORDER BY s.serial",
    )
    .bind(uid)
    .fetch_all(&ground.pool)
    .await
    .unwrap();
    let mut versions = Vec::new();
    for row in rows {
        let (organization, key) = (Organization(row.get("organization_id")), row.get::<String, _>("state_key"));
        let bytes = ground.ledger.state_bytes(&organization, &key, Some(row.get("serial"))).await.unwrap().unwrap();
        versions.push(resources(&bytes));
    }
    (versions.last().cloned().unwrap_or_default(), versions)
}

fn resources(state: &[u8]) -> Resources {
    let state: Value = serde_json::from_slice(state).unwrap();
    let of = |resource: &Value| {
        let address = format!("{}.{}", resource["type"].as_str().unwrap(), resource["name"].as_str().unwrap());
        let ids = resource["instances"].as_array().unwrap().iter().map(|i| i["attributes"]["id"].as_str().unwrap());
        ids.map(|id| (address.clone(), id.to_owned())).collect::<Vec<_>>()
    };
    state["resources"].as_array().unwrap().iter().flat_map(of).collect()
}

async fn nothing_held(ground: &Ground, name: &str, uid: Uuid) {
    for (what, query) in [
        ("a lock stands", "SELECT count(*) FROM state_keys WHERE holder_uid = $1 AND lock_id IS NOT NULL"),
        (
            "a run holds its slot",
            "SELECT count(*) FROM terraform_runs WHERE deployment_uid = $1 AND finished_at IS NULL",
        ),
        (
            "an intent is open",
            "SELECT count(*) FROM intents JOIN intent_objects USING (intent_id) WHERE object_uid = $1 AND outcome IS NULL",
        ),
        (
            "a run kept its secrets",
            "SELECT count(*) FROM run_secrets JOIN terraform_runs USING (run_id) WHERE deployment_uid = $1 AND inputs IS NOT NULL",
        ),
    ] {
        let count: i64 = sqlx::query_scalar(query).bind(uid).fetch_one(&ground.pool).await.unwrap();
        assert_eq!(count, 0, "{name}: {what}");
    }
}
