//! A controller that knows the test bed's authoritative servers, and the zones in which tests set records.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use landfall::access::SecretText;
use landfall::api::{Condition, OrganizationDomain};
use landfall::dns::{Name, RecordSet, RecordType};
use landfall::providers::{Algorithm, Change, Dns, Outcome, Rfc2136};
use landfall::reconcile::Clock;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::types::Uuid;

use crate::controller::{Controller, Home};
use crate::database::Database;
use crate::harness::{self, User, env, namespace, wait_until};

/// Time for everything.
pub(crate) const PLENTY: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) controller: Option<Controller>,
    /// By how many seconds the controller's clock is ahead.
    ahead: Arc<AtomicI64>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::watching(Vec::new()).await
    }

    /// The same, with more namespaces.
    pub(crate) async fn watching(more: Vec<String>) -> Self {
        Self::of(more, |_| {}).await
    }

    /// The same, and `landfall.yaml` says something else.
    pub(crate) async fn of(mut more: Vec<String>, change: impl FnOnce(&mut Value)) -> Self {
        let (own, database) = (namespace().await, Database::fresh().await);
        more.push(own.clone());
        let mut home = Home::new(&more, &database, change).await;
        let ahead: Arc<AtomicI64> = Arc::default();
        let offset = ahead.clone();
        home.clock = Clock::of(move || Timestamp::now() + SignedDuration::from_secs(offset.load(Ordering::SeqCst)));
        let controller = Some(home.start().await);
        Self { namespace: own, client: User::Admin.client().await, database, controller, ahead }
    }

    /// Starts the controller anew, with a clock that is further ahead, and servers that answer or do not.
    pub(crate) async fn later(&mut self, seconds: i64, reachable: bool) {
        let mut home = self.controller.take().unwrap().stop().await;
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
        let servers = [("PDNS_ZONE", "PDNS_DNS"), ("KNOT_ZONE", "KNOT_DNS")].map(|(zone, server)| {
            // Nobody listens on the port of discard.
            let server = if reachable { env(server) } else { "127.0.0.1:9".to_owned() };
            json!({"zone": env(zone), "servers": [server]})
        });
        home.installation.dns.authorities = serde_json::from_value(json!(servers)).unwrap();
        self.controller = Some(home.start().await);
    }

    pub(crate) fn api(&self, namespace: &str) -> Api<OrganizationDomain> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) async fn domain(&self, namespace: &str, name: &str, fqdn: &str, more: Value) {
        let mut spec = json!({"domain": fqdn});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let object = serde_json::from_value(harness::object("OrganizationDomain", name, spec)).unwrap();
        self.api(namespace).create(&PostParams::default(), &object).await.unwrap();
    }

    /// Waits until `Verified` has this status and reason.
    pub(crate) async fn verified(&self, namespace: &str, name: &str, status: &str, reason: &str) -> OrganizationDomain {
        let end = std::time::Instant::now() + PLENTY;
        loop {
            let object = self.api(namespace).get(name).await.unwrap();
            let found = condition(&object, "Verified");
            if found.as_ref().is_some_and(|c| c.status == status && c.reason == reason) {
                return object;
            }
            assert!(std::time::Instant::now() < end, "{name}: waited for {status} {reason}: {:#?}", object.status);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn delete(&self, namespace: &str, name: &str) {
        let api = self.api(namespace);
        api.delete(name, &DeleteParams::default()).await.unwrap();
        wait_until(PLENTY, "the domain to be gone", async || api.get_opt(name).await.unwrap().is_none()).await;
    }

    /// Waits until the object has a challenge, and sets it at the authoritative server.
    pub(crate) async fn prove(&self, namespace: &str, name: &str) -> String {
        let end = std::time::Instant::now() + PLENTY;
        let challenge = loop {
            let object = self.api(namespace).get(name).await.unwrap();
            if let Some(challenge) = object.status.as_ref().and_then(|status| status.challenge.clone()) {
                break challenge;
            }
            assert!(std::time::Instant::now() < end, "{name}: no challenge: {:#?}", object.status);
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(challenge.kind, "TXT");
        set(&challenge.name, std::slice::from_ref(&challenge.value)).await;
        challenge.value
    }

    pub(crate) async fn ask<T>(&self, query: &str) -> Vec<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let mut connection = self.database.superuser().await;
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await.unwrap()
    }

    pub(crate) async fn patch(&self, user: User, name: &str, patch: Value) {
        let api: Api<OrganizationDomain> = Api::namespaced(user.client().await, &self.namespace);
        api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

pub(crate) fn condition(object: &OrganizationDomain, kind: &str) -> Option<Condition> {
    object.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind).cloned()
}

/// A name that no other test has, in the zone that this variable names.
pub(crate) fn fresh(zone: &str) -> String {
    format!("d{}.{}", Uuid::new_v4().simple(), env(zone))
}

/// The TXT values that PowerDNS has at a name.
pub(crate) async fn standing(owner: &str) -> BTreeSet<String> {
    let url = format!("{}/api/v1/servers/localhost/zones/{}.", env("PDNS_URL"), env("PDNS_ZONE"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).header("X-API-Key", env("PDNS_API_KEY")).send().await.unwrap();
    let zone: Value = answer.json().await.unwrap();
    let sets = zone["rrsets"].as_array().unwrap().iter();
    let sets = sets.filter(|set| set["name"] == format!("{owner}.") && set["type"] == "TXT");
    let values = sets.flat_map(|set| set["records"].as_array().unwrap());
    values.map(|record| record["content"].as_str().unwrap().trim_matches('"').to_owned()).collect()
}

/// Has exactly these TXT values stand at a name of PowerDNS' or Knot's zone; none takes the set away.
pub(crate) async fn set(owner: &str, values: &[String]) {
    if owner.ends_with(&env("PDNS_ZONE")) {
        let records: Vec<Value> =
            values.iter().map(|v| json!({"content": format!("\"{v}\""), "disabled": false})).collect();
        let kind = if values.is_empty() { "DELETE" } else { "REPLACE" };
        let set =
            json!({"name": format!("{owner}."), "type": "TXT", "ttl": 60, "changetype": kind, "records": records});
        let url = format!("{}/api/v1/servers/localhost/zones/{}.", env("PDNS_URL"), env("PDNS_ZONE"));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.patch(url).header("X-API-Key", env("PDNS_API_KEY")).json(&json!({"rrsets": [set]}));
        request.send().await.unwrap().error_for_status().unwrap();
    } else {
        let secret = SecretText::new(env("KNOT_KEY_SECRET"));
        let zones = vec![Name::parse(&env("KNOT_ZONE")).unwrap()];
        let (server, key) = (env("KNOT_DNS").parse().unwrap(), env("KNOT_KEY_NAME"));
        let knot = Rfc2136::new(server, &key, Algorithm::HmacSha256, &secret, zones).unwrap();
        update(&knot, owner, values).await;
    }
}

async fn update(dns: &Rfc2136, owner: &str, values: &[String]) {
    let (owner, name) = (Name::parse(owner).unwrap(), Name::parse(&env("KNOT_ZONE")).unwrap());
    let zone = dns.zones().await.unwrap().into_iter().find(|zone| zone.name == name).unwrap();
    let before = dns.read(&zone, Some(&owner)).await.unwrap();
    let before = before.find(&owner, RecordType::Txt).map(|standing| standing.set.clone());
    let after = (!values.is_empty()).then(|| RecordSet::from_spec(owner, RecordType::Txt, 60, values).unwrap());
    if before != after {
        let change = Change::new(before, after, None).unwrap();
        assert_eq!(dns.apply(&zone, &[change]).await, [Outcome::Applied]);
    }
}
