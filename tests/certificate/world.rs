//! A namespace with proved domains, a controller that watches it, and a clock that can be put.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use landfall::api::{Certificate, Condition};
use landfall::reconcile::Clock;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::controller::{Controller, Home};
use crate::database::Database;
use crate::harness::{User, namespace, object, wait_until};

/// Time for everything.
pub(crate) const PLENTY: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) controller: Option<Controller>,
    /// How far the controller's clock is ahead, seconds.
    ahead: Arc<AtomicI64>,
}

impl World {
    /// With `example.com` proved.
    pub(crate) async fn new() -> Self {
        Self::of(|_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn of(change: impl FnOnce(&mut Value)) -> Self {
        let (namespace, database) = (namespace().await, Database::fresh().await);
        let ahead = Arc::new(AtomicI64::new(0));
        let mut home = Home::new(std::slice::from_ref(&namespace), &database, change).await;
        let put = ahead.clone();
        home.clock = Clock::of(move || Timestamp::now() + SignedDuration::from_secs(put.load(Ordering::SeqCst)));
        let client = User::Admin.client().await;
        let world = Self { namespace, client, database, controller: Some(home.start().await), ahead };
        wait_until(PLENTY, "the controller to lead", async || {
            world.ask("SELECT 1 FROM clusters WHERE writer_epoch > 0").await.is_some()
        })
        .await;
        world.prove("example.com", json!({})).await;
        world
    }

    pub(crate) async fn restart(&mut self) {
        let home = self.controller.take().unwrap().stop().await;
        self.controller = Some(home.start().await);
    }

    /// Puts the clock on.
    pub(crate) fn pass(&self, time: SignedDuration) {
        self.ahead.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    /// Writes a domain down as one that was proved for this namespace, by a proof that stays young however far the clock is put.
    pub(crate) async fn prove(&self, fqdn: &str, terms: Value) {
        let mut all = json!({"dns": {"mode": "External"}, "policy": {"allowWildcard": true, "allowApex": true}});
        all.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
        let mut sql = PgConnection::connect(&self.database.url).await.unwrap();
        let cluster = "SELECT cluster_id FROM clusters";
        let organization = format!("(SELECT format('ns:%s/%s', cluster_id, '{}') FROM clusters)", self.namespace);
        let statements = format!(
            "INSERT INTO organizations (organization_id) VALUES ({organization}) ON CONFLICT DO NOTHING;
             INSERT INTO domain_verifications (cluster_id, uid, organization_id, namespace, name, fqdn, registrable, token, terms,
                state, reason, since, verified_at)
             VALUES (({cluster}), gen_random_uuid(), {organization}, '{}', replace('{fqdn}', '.', '-'), '{fqdn}', '{fqdn}',
                     repeat('a', 32), '{all}', 'Verified', 'Verified', now(), now() + interval '10 years');
             INSERT INTO domain_claims (claim_id, organization_id, cluster_id, domain_uid, namespace, name, fqdn)
             SELECT gen_random_uuid(), organization_id, cluster_id, uid, namespace, name, fqdn FROM domain_verifications
             WHERE fqdn = '{fqdn}'",
            self.namespace
        );
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut sql).await.unwrap();
    }

    /// Writes a domain down as one that this namespace asked for, and nobody proved.
    pub(crate) async fn ask_for(&self, fqdn: &str) {
        self.prove(fqdn, json!({})).await;
        self.without_claim(fqdn, "state = 'Pending', reason = 'Pending', verified_at = NULL").await;
    }

    /// Writes a proved domain down as lost.
    pub(crate) async fn lose(&self, fqdn: &str) {
        self.without_claim(fqdn, "state = 'Unverified', reason = 'Unverified'").await;
    }

    async fn without_claim(&self, fqdn: &str, standing: &str) {
        let mut sql = PgConnection::connect(&self.database.url).await.unwrap();
        let statements = format!(
            "DELETE FROM domain_claims WHERE fqdn = '{fqdn}';
             UPDATE domain_verifications SET {standing} WHERE fqdn = '{fqdn}'"
        );
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut sql).await.unwrap();
    }

    /// The first column of the first row, as text.
    pub(crate) async fn ask(&self, query: &str) -> Option<String> {
        let mut sql = PgConnection::connect(&self.database.url).await.unwrap();
        let query = format!("SELECT (q.a)::text FROM ({query}) AS q(a)");
        let row = sqlx::query(AssertSqlSafe(query)).fetch_optional(&mut sql).await.unwrap()?;
        row.get::<Option<String>, _>(0)
    }

    /// How many rows a condition on certificates_issued finds.
    pub(crate) async fn issued(&self, condition: &str) -> i64 {
        let count = self.ask(&format!("SELECT count(*) FROM certificates_issued WHERE {condition}")).await;
        count.unwrap().parse().unwrap()
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn create(&self, name: &str, spec: Value) {
        let object = serde_json::from_value(object("Certificate", name, spec)).unwrap();
        self.api::<Certificate>().create(&PostParams::default(), &object).await.unwrap();
    }

    /// For `www.example.com`, in the Secret `NAME-tls`.
    pub(crate) async fn certificate(&self, name: &str, issuer: Value, more: Value) {
        let mut spec = json!({"dnsNames": ["www.example.com"], "secretName": format!("{name}-tls"), "issuer": issuer});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.create(name, spec).await;
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) {
        let params = PatchParams::default();
        self.api::<Certificate>().patch(name, &params, &Patch::Merge(&patch)).await.unwrap();
    }

    pub(crate) async fn get(&self, name: &str) -> Certificate {
        self.api::<Certificate>().get(name).await.unwrap()
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.api::<Certificate>().delete(name, &DeleteParams::default()).await.unwrap();
        let api = self.api::<Certificate>();
        wait_until(PLENTY, "the certificate to be gone", async || api.get_opt(name).await.unwrap().is_none()).await;
    }

    /// Waits for a condition with this status and reason; answers the object.
    pub(crate) async fn until(&self, name: &str, kind: &str, status: &str, reason: &str) -> Certificate {
        self.until_in(PLENTY, name, kind, status, reason).await
    }

    /// The same with another patience.
    pub(crate) async fn until_in(
        &self,
        patience: Duration,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Certificate {
        let end = Instant::now() + patience;
        loop {
            let object = self.get(name).await;
            let found = condition(&object, kind);
            if found.is_some_and(|c| c.status == status && c.reason == reason) {
                return object;
            }
            assert!(Instant::now() < end, "{name}: waited for {kind}={status} {reason}: {:#?}", object.status);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until it is ready; answers the object and the Secret's data.
    pub(crate) async fn ready(&self, name: &str) -> (Certificate, Value) {
        let object = self.until(name, "Ready", "True", "Issued").await;
        let data = self.data(&secret_of(&object)).await;
        (object, data)
    }

    /// Waits until the serial number is another one than this.
    pub(crate) async fn next(&self, name: &str, serial: &str) -> (Certificate, Value) {
        let changed = async || self.get(name).await.status.unwrap().serial_number.as_deref() != Some(serial);
        wait_until(PLENTY, "another certificate", changed).await;
        self.ready(name).await
    }

    /// Makes or replaces a Secret.
    pub(crate) async fn secret(&self, name: &str, data: Value) {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
                            "stringData": data});
        let params = PatchParams::apply("test").force();
        self.api::<Secret>().patch(name, &params, &Patch::Apply(&object)).await.unwrap();
    }

    /// Changes a Secret as anyone could who may.
    pub(crate) async fn touch(&self, name: &str, patch: Value) {
        self.api::<Secret>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Lets the controller look again.
    pub(crate) async fn wake(&self, secret: &str) {
        let mark = Timestamp::now().as_nanosecond().to_string();
        self.touch(secret, json!({"metadata": {"labels": {"test/woken": mark}}})).await;
    }

    /// What a Secret holds, as text.
    pub(crate) async fn data(&self, name: &str) -> Value {
        let secret = self.api::<Secret>().get(name).await.unwrap();
        let data = secret.data.unwrap_or_default();
        data.into_iter()
            .map(|(key, value)| (key, json!(String::from_utf8(value.0).unwrap())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

pub(crate) fn secret_of(object: &Certificate) -> String {
    object.spec.secret_name.clone().unwrap_or_default()
}

pub(crate) fn condition(object: &Certificate, kind: &str) -> Option<Condition> {
    object.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind).cloned()
}

pub(crate) fn message(object: &Certificate, kind: &str) -> String {
    condition(object, kind).map(|c| c.message).unwrap_or_default()
}

pub(crate) fn serial(object: &Certificate) -> String {
    object.status.as_ref().unwrap().serial_number.clone().unwrap()
}

pub(crate) fn own() -> Value {
    json!({"selfSigned": {}})
}

pub(crate) fn by_ca(secret: &str) -> Value {
    json!({"ca": {"secretRef": {"name": secret}}})
}
