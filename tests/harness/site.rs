//! Deployments whose engines tell the world what they make: they are driven to their end, and what the world was told is
//! compared with what the ledger says. The crate that includes this includes `mod.rs` as `harness`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, Patch, PatchParams};
use landfall::api::{Organization, TerraformDeployment};
use landfall::ledger::{Keyring, Ledger, Resource, Standing};
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::harness::{self, User, wait_until};

/// Time for a run on a machine with much else to do.
pub const PLENTY: Duration = Duration::from_secs(180);

/// Deployments of one namespace, alice who approves them, and the ledger.
pub struct Site {
    pub namespace: String,
    pub pool: PgPool,
    pub ledger: Ledger,
    admin: Api<TerraformDeployment>,
    alice: Api<TerraformDeployment>,
}

/// What the ledger says of a run.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: Uuid,
    pub kind: String,
    pub phase: String,
    /// Its intent stands without an outcome.
    pub open: bool,
    /// How many states it wrote.
    pub states: i64,
}

/// One creation, as the provisioner told of it.
#[derive(Clone, Debug)]
pub struct Line {
    pub run: Uuid,
    pub digest: String,
    pub id: String,
}

impl Line {
    /// `RUN DIGEST ID`.
    pub fn read(line: &str) -> Self {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap();
        Self { run: word().parse().unwrap(), digest: word(), id: word() }
    }
}

/// What the world was told of resources of one deployment, by their addresses.
pub type Told = BTreeMap<&'static str, Vec<Line>>;

impl Site {
    pub async fn new(namespace: &str, database: &str, keys: Keyring) -> Self {
        Self {
            pool: PgPool::connect(database).await.unwrap(),
            ledger: Ledger::connect(database, keys).await.unwrap(),
            admin: Api::namespaced(User::Admin.client().await, namespace),
            alice: Api::namespaced(User::Alice.client().await, namespace),
            namespace: namespace.to_owned(),
        }
    }

    /// Makes a deployment, or gives it another spec.
    pub async fn put(&self, name: &str, spec: Value) {
        let object = harness::deployment(name, spec);
        let params = PatchParams::apply("test").force();
        self.admin.patch(name, &params, &Patch::Apply(&object)).await.unwrap();
    }

    pub async fn get(&self, name: &str) -> TerraformDeployment {
        self.admin.get(name).await.unwrap()
    }

    pub async fn approve(&self, name: &str, digest: &str) {
        let annotations = json!({"landfall.dev/approve": digest, "landfall.dev/command-by": "alice"});
        let patch = json!({"metadata": {"annotations": annotations}});
        self.alice.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Deletes it and waits until it is gone; what it built stays.
    pub async fn delete(&self, name: &str) {
        self.admin.delete(name, &DeleteParams::default()).await.unwrap();
        let gone = async || self.admin.get_opt(name).await.unwrap().is_none();
        wait_until(PLENTY, "the deployment to be gone", gone).await;
    }

    /// Waits until `Ready` of the current generation has one of these reasons.
    pub async fn stands(&self, name: &str, reasons: &[&str]) -> TerraformDeployment {
        let end = Instant::now() + PLENTY;
        loop {
            let object = self.get(name).await;
            if reasons.contains(&reason(&object).as_str()) {
                return object;
            }
            assert!(Instant::now() < end, "{name}: waited for {reasons:?}: {:#?}", object.status);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The newest run of a deployment.
    pub async fn newest(&self, name: &str) -> Option<Seen> {
        let row = sqlx::query(
            "SELECT r.run_id, r.kind, r.phase,
               EXISTS (SELECT FROM intents i WHERE i.intent_id = r.intent_id AND i.outcome IS NULL) AS open,
               (SELECT count(*) FROM terraform_states s WHERE s.run_id = r.run_id) AS states
             FROM terraform_runs r WHERE r.namespace = $1 AND r.name = $2 ORDER BY r.created_at DESC LIMIT 1",
        )
        .bind(&self.namespace)
        .bind(name)
        .fetch_optional(&self.pool)
        .await
        .unwrap()?;
        Some(Seen {
            id: row.get("run_id"),
            kind: row.get("kind"),
            phase: row.get("phase"),
            open: row.get("open"),
            states: row.get("states"),
        })
    }

    /// How a run ended, or where it is.
    pub async fn phase(&self, run: Uuid) -> String {
        let phase = "SELECT phase FROM terraform_runs WHERE run_id = $1";
        sqlx::query_scalar(phase).bind(run).fetch_one(&self.pool).await.unwrap()
    }

    /// A number from the ledger.
    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    /// Approves what waits for approval, each plan once, until the deployment is what its spec says.
    pub async fn drive(&self, name: &str, mut approved: Vec<String>) -> Uuid {
        let end = Instant::now() + PLENTY;
        loop {
            let object = self.get(name).await;
            match reason(&object).as_str() {
                "Applied" | "NoChanges" => return object.metadata.uid.unwrap().parse().unwrap(),
                "ApprovalRequired" | "Interrupted" | "ApprovalStale" => {
                    let plan = digest(&object);
                    // A plan that died has none.
                    if !plan.is_empty() && !approved.contains(&plan) {
                        self.approve(name, &plan).await;
                        approved.push(plan);
                    }
                }
                _ => {}
            }
            assert!(Instant::now() < end, "{name}: driven to its end: {:#?}", object.status);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Nothing twice, nothing forgotten, nothing held: `count` resources are there, each once, as state and inventory say, and whatever the
    /// world was told of is known, one creation for each plan.
    pub async fn balance(&self, name: &str, uid: Uuid, told: &Told, count: usize) {
        let (newest, versions) = self.states(uid).await;
        assert_eq!(newest.len(), count, "{name}: each resource is there once: {newest:?}");
        let inventory = self.ledger.inventory(uid).await.unwrap();
        let managed: Vec<_> = inventory.iter().filter(|r| r.standing == Standing::Managed).map(key).collect();
        assert_eq!(managed.len(), newest.len(), "{name}: {inventory:#?}");
        assert_eq!(managed.into_iter().collect::<Resources>(), newest, "{name}: the inventory is not the state");
        for (address, lines) in told {
            let mut applies: BTreeMap<&str, usize> = BTreeMap::new();
            for line in lines {
                let known = versions.iter().any(|state| state.contains(&((*address).to_owned(), line.id.clone())));
                let named = inventory.iter().any(|r| is_leftover(r, address, line));
                assert!(known || named, "{name}: nobody knows of {address} {line:?}: {inventory:#?}");
                *applies.entry(&line.digest).or_default() += 1;
            }
            assert!(applies.values().all(|count| *count == 1), "{name}: a plan was applied twice: {applies:?}");
        }
        self.nothing_held(name, uid).await;
    }

    /// The newest state, and all of its lineage.
    async fn states(&self, uid: Uuid) -> (Resources, Vec<Resources>) {
        let rows = sqlx::query(
            "SELECT organization_id, state_key, s.serial FROM state_keys k JOIN terraform_states s USING (organization_id, state_key, lineage)
             WHERE k.holder_uid = $1 ORDER BY s.serial",
        )
        .bind(uid)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let mut versions = Vec::new();
        for row in rows {
            let (organization, key) = (Organization(row.get("organization_id")), row.get::<String, _>("state_key"));
            let bytes = self.ledger.state_bytes(&organization, &key, Some(row.get("serial"))).await.unwrap().unwrap();
            versions.push(resources(&bytes));
        }
        (versions.last().cloned().unwrap_or_default(), versions)
    }

    async fn nothing_held(&self, name: &str, uid: Uuid) {
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
            let count: i64 = sqlx::query_scalar(query).bind(uid).fetch_one(&self.pool).await.unwrap();
            assert_eq!(count, 0, "{name}: {what}");
        }
    }

    /// After all of it the ledger holds nothing for anybody.
    pub async fn nothing_held_at_all(&self) {
        for (what, query) in [
            ("locks", "SELECT count(*) FROM state_keys WHERE lock_id IS NOT NULL"),
            ("slots", "SELECT count(*) FROM terraform_runs WHERE finished_at IS NULL"),
            ("open intents", "SELECT count(*) FROM intents WHERE outcome IS NULL"),
        ] {
            assert_eq!(self.count(query).await, 0, "{what} at the end");
        }
    }
}

/// Resources of a state: address and id.
type Resources = BTreeSet<(String, String)>;

fn key(resource: &Resource) -> (String, String) {
    (resource.address.clone(), resource.id.clone().unwrap_or_default())
}

fn is_leftover(resource: &Resource, address: &str, line: &Line) -> bool {
    let same = resource.id.as_ref().is_none_or(|id| *id == line.id);
    resource.standing == Standing::Leftover && resource.address == address && resource.run == line.run && same
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

/// Why `Ready` is as it is, of whatever generation.
pub fn ready(object: &TerraformDeployment) -> String {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|c| c.type_ == "Ready").map(|c| c.reason.clone()).collect()
}

/// Why `Ready` of the current generation is as it is.
pub fn reason(object: &TerraformDeployment) -> String {
    let seen = object.status.as_ref().and_then(|status| status.observed_generation);
    if seen == object.metadata.generation { ready(object) } else { String::new() }
}

/// The current plan's digest.
pub fn digest(object: &TerraformDeployment) -> String {
    object.status.as_ref().and_then(|s| s.plan.as_ref()).map(|p| p.digest.clone()).unwrap_or_default()
}
