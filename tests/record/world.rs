//! A proved domain in the zone of a real server, whose calls are counted, and records below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use landfall::access::{SecretBytes, SecretText};
use landfall::api::{Condition, DnsRecord, OrganizationDomain, PowerDnsCredential};
use landfall::dns::{Name, RecordSet, RecordType, Zone};
use landfall::installation::Installation;
use landfall::providers::{Algorithm, Change, Dns, Http, Outcome, PowerDns, Rfc2136, Server, Standing};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::controller::{Controller, Home};
use crate::database::Database;
use crate::harness::{self, User, env, grant, namespace, wait_until};

pub(crate) const PLENTY: Duration = Duration::from_secs(60);

/// Whose zone it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    PowerDns,
    Knot,
}

pub(crate) struct World {
    pub(crate) namespace: String,
    pub(crate) client: Client,
    controller: Option<Controller>,
    pub(crate) database: Database,
    /// The proved domain.
    pub(crate) fqdn: String,
    /// Calls to PowerDNS that concern a zone, and of them the writes.
    pub(crate) reads: Arc<AtomicUsize>,
    pub(crate) writes: Arc<AtomicUsize>,
    server: Server,
    zone: Zone,
}

impl World {
    /// With a proved domain `example`, by a credential of this server.
    pub(crate) async fn new(at: At) -> Self {
        let world = Self::without_domain(at).await;
        world.domain("example", &world.fqdn, json!({})).await;
        world.proved("example").await;
        world
    }

    /// With a credential for the zone, and no domain yet.
    pub(crate) async fn without_domain(at: At) -> Self {
        Self::beside(at, &[], |_| {}).await
    }

    /// The same in an installation that serves these namespaces too, and differs in this from what it would be.
    pub(crate) async fn beside(at: At, others: &[String], change: impl FnOnce(&mut Value)) -> Self {
        let (namespace, database) = (namespace().await, Database::fresh().await);
        let (url, reads, writes) = counted(env("PDNS_URL")).await;
        let watched = [std::slice::from_ref(&namespace), others].concat();
        let home = Home::new(&watched, &database, |v| {
            // A machine that is busy with two hundred records changes no leader.
            v["limits"]["leaseSeconds"] = json!(30);
            v["allowedEndpoints"] = json!([url, env("PDNS_URL"), format!("dns://{}", env("KNOT_DNS"))]);
            v["dns"] = json!({"authorities": [
                {"zone": env("PDNS_ZONE"), "servers": [env("PDNS_DNS")]},
                {"zone": env("KNOT_ZONE"), "servers": [env("KNOT_DNS")]},
            ]});
            change(v);
        });
        let controller = home.await.start().await;
        let client = User::Admin.client().await;
        let (server, zone) = server(at).await;
        let fqdn = format!("d{}.{}", uuid::Uuid::new_v4().simple(), zone.name);
        let world =
            Self { namespace, client, controller: Some(controller), database, fqdn, reads, writes, server, zone };
        let (secret, spec) = match at {
            At::PowerDns => {
                let spec = json!({"powerdns": {"secretRef": {"name": "dns"}, "endpoint": url}});
                (json!({"api_key": env("PDNS_API_KEY")}), spec)
            }
            At::Knot => {
                let block = json!({"secretRef": {"name": "dns"}, "server": env("KNOT_DNS"),
                    "tsigKeyName": env("KNOT_KEY_NAME"), "zones": [env("KNOT_ZONE")]});
                (json!({"tsig_secret": env("KNOT_KEY_SECRET")}), json!({ "rfc2136": block }))
            }
        };
        let secret = json!({"metadata": {"name": "dns"}, "stringData": secret});
        world.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
        world.create("CloudCredential", "dns", spec).await;
        world
    }

    /// Another controller takes the former one's place.
    pub(crate) async fn restart(&mut self) {
        self.without_controller(async |_| ()).await;
    }

    /// The same, and something happens before it comes.
    pub(crate) async fn without_controller(&mut self, meanwhile: impl AsyncFnOnce(&Self)) {
        let home = self.controller.take().unwrap().stop().await;
        meanwhile(self).await;
        self.controller = Some(home.start().await);
    }

    /// Starts the controller anew, in an installation that is another one.
    pub(crate) async fn installed(&mut self, change: impl FnOnce(&mut Installation)) {
        let mut home = self.controller.take().unwrap().stop().await;
        change(&mut home.installation);
        self.controller = Some(home.start().await);
    }

    /// What the program says to a user who has it do something in the test's namespace, and it did.
    pub(crate) async fn landfall(&self, user: User, arguments: &[&str]) -> String {
        let mut command = self.controller.as_ref().unwrap().home.landfall(arguments);
        command.args(["-n", &self.namespace]).env("KUBECONFIG", user.kubeconfig());
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The counters of the controller that runs.
    pub(crate) fn metrics(&self) -> Arc<landfall::metrics::Metrics> {
        self.controller.as_ref().unwrap().metrics.clone()
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create(&self, kind: &str, name: &str, spec: Value) {
        self.create_in(&self.namespace, kind, name, spec).await;
    }

    pub(crate) async fn create_in(&self, namespace: &str, kind: &str, name: &str, spec: Value) {
        let object = harness::object(kind, name, spec);
        let api =
            kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("landfall.dev", "v1alpha1", kind));
        let api: Api<kube::core::DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &api);
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// A domain whose zone the credential `dns` has.
    pub(crate) async fn domain(&self, name: &str, fqdn: &str, more: Value) {
        let mut spec = json!({"domain": fqdn, "dns": {"mode": "Managed", "credentialRef": {"name": "dns"}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.create("OrganizationDomain", name, spec).await;
    }

    /// Waits until a managed domain has proved itself.
    pub(crate) async fn proved(&self, name: &str) {
        let api = self.api::<OrganizationDomain>();
        wait_until(PLENTY, "the proof", async || {
            let status = api.get(name).await.unwrap().status.unwrap_or_default();
            status.conditions.iter().any(|c| c.type_ == "Verified" && c.status == "True")
        })
        .await;
    }

    /// A record `name` of the spec, below `example` where it says no other.
    pub(crate) async fn record(&self, name: &str, more: Value) {
        let mut spec = json!({"domainRef": {"name": "example"}, "name": "www", "type": "A", "values": ["192.0.2.1"]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.create("DnsRecord", name, spec).await;
    }

    pub(crate) async fn patch(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api::<DnsRecord>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Takes its finalizer off, as people do by hand.
    pub(crate) async fn bare(&self, name: &str) {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        self.api::<DnsRecord>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.api::<DnsRecord>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn gone(&self, name: &str) {
        let api = self.api::<DnsRecord>();
        wait_until(PLENTY, "the record to be gone", async || api.get_opt(name).await.unwrap().is_none()).await;
    }

    /// Waits until a condition of a record has this status and reason.
    pub(crate) async fn told(&self, name: &str, kind: &str, status: &str, reason: &str) -> DnsRecord {
        self.told_in(&self.namespace, name, (kind, status, reason)).await
    }

    pub(crate) async fn told_in(
        &self,
        namespace: &str,
        name: &str,
        (kind, status, reason): (&str, &str, &str),
    ) -> DnsRecord {
        let api: Api<DnsRecord> = Api::namespaced(self.client.clone(), namespace);
        let end = Instant::now() + PLENTY;
        loop {
            let object = api.get(name).await.unwrap();
            let current = object.status.as_ref().and_then(|s| s.observed_generation) == object.metadata.generation;
            let found = condition(&object, kind);
            if current && found.as_ref().is_some_and(|c| c.status == status && c.reason == reason) {
                return object;
            }
            assert!(Instant::now() < end, "{name}: waited for {kind}={status} {reason}: {:#?}", object.status);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn ready(&self, name: &str) -> DnsRecord {
        self.told(name, "Ready", "True", "Ready").await
    }

    /// Alice, who may operate, has the controller look now, and it did.
    pub(crate) async fn look(&self, name: &str) {
        static GRANTED: tokio::sync::Mutex<Vec<String>> = tokio::sync::Mutex::const_new(Vec::new());
        let mut granted = GRANTED.lock().await;
        if !granted.contains(&self.namespace) {
            grant(&self.namespace, User::Alice, &["landfall-operator"]).await;
            granted.push(self.namespace.clone());
        }
        drop(granted);
        let value = uuid::Uuid::new_v4().to_string();
        let api: Api<DnsRecord> = Api::namespaced(User::Alice.client().await, &self.namespace);
        let annotations = json!({"landfall.dev/reconcile": value, "landfall.dev/command-by": "alice"});
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        api.patch(name, &PatchParams::default(), &patch).await.unwrap();
        wait_until(PLENTY, "the look", async || {
            let status = self.api::<DnsRecord>().get(name).await.unwrap().status;
            status.is_some_and(|status| status.last_handled.get("reconcile") == Some(&value))
        })
        .await;
    }

    /// What stands at the provider.
    pub(crate) async fn stands(&self, owner: &str, kind: RecordType) -> Option<Standing> {
        let owner = Name::parse(owner).unwrap();
        self.server.read(&self.zone, Some(&owner)).await.unwrap().find(&owner, kind).cloned()
    }

    /// The values that stand at the provider, as a spec writes them.
    pub(crate) async fn values(&self, owner: &str, kind: RecordType) -> Vec<String> {
        let standing = self.stands(owner, kind).await;
        standing.map(|s| s.set.values().iter().map(|v| v.to_spec()).collect()).unwrap_or_default()
    }

    /// Somebody else has these values stand there; none takes the set away.
    pub(crate) async fn outside(&self, owner: &str, kind: RecordType, values: &[&str]) {
        let name = Name::parse(owner).unwrap();
        let before = self.stands(owner, kind).await.map(|s| s.set);
        let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        let after = (!values.is_empty()).then(|| RecordSet::from_spec(name, kind, 60, &values).unwrap());
        let change = Change::new(before, after, None).unwrap();
        assert_eq!(self.server.apply(&self.zone, &[change]).await, [Outcome::Applied]);
    }

    /// `www.` and so on, of the proved domain.
    pub(crate) fn name(&self, left: &str) -> String {
        format!("{left}.{}", self.fqdn)
    }

    /// How many calls that write were put on record.
    pub(crate) async fn intents(&self) -> i64 {
        self.ask("SELECT count(*) FROM landfall.intents").await.remove(0)
    }

    pub(crate) async fn ask<T>(&self, query: &str) -> Vec<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let mut connection = self.database.superuser().await;
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await.unwrap()
    }

    pub(crate) fn calls(&self) -> (usize, usize) {
        (self.reads.load(Ordering::SeqCst), self.writes.load(Ordering::SeqCst))
    }
}

pub(crate) fn condition(object: &DnsRecord, kind: &str) -> Option<Condition> {
    object.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind).cloned()
}

pub(crate) fn message(object: &DnsRecord, kind: &str) -> String {
    condition(object, kind).map(|c| c.message).unwrap_or_default()
}

/// The test's own way to the servers.
async fn server(at: At) -> (Server, Zone) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (server, variable) = match at {
        At::PowerDns => (Server::PowerDns(powerdns()), "PDNS_ZONE"),
        At::Knot => {
            let secret = SecretText::new(env("KNOT_KEY_SECRET"));
            let zones = vec![Name::parse(&env("KNOT_ZONE")).unwrap()];
            let (address, key) = (env("KNOT_DNS").parse().unwrap(), env("KNOT_KEY_NAME"));
            let knot = Rfc2136::new(address, &key, Algorithm::HmacSha256, &secret, zones).unwrap();
            (Server::Rfc2136(knot), "KNOT_ZONE")
        }
    };
    let name = Name::parse(&env(variable)).unwrap();
    let zone = server.zones().await.unwrap().into_iter().find(|zone| zone.name == name).unwrap();
    (server, zone)
}

fn powerdns() -> PowerDns {
    let url = env("PDNS_URL");
    let installation = json!({"encryption": {"current": "a", "keys": {}}, "allowedEndpoints": [url]});
    let installation: Installation = serde_json::from_value(installation).unwrap();
    let http = Http::new(&installation).unwrap();
    let spec = json!({"secretRef": {"name": "s"}, "endpoint": url});
    let spec: PowerDnsCredential = serde_json::from_value(spec).unwrap();
    let secret = SecretBytes::new("s", "1", [("api_key".to_owned(), env("PDNS_API_KEY").into_bytes())]);
    spec.zones(&http, &url.parse().unwrap(), &secret).unwrap()
}

/// A server in this process that forwards each request to PowerDNS, and counts those that concern one zone.
async fn counted(target: String) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (reads, writes) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (read, written) = (reads.clone(), writes.clone());
    let forward = move |request: Request| {
        let path = request.uri().path_and_query().unwrap().to_string();
        if path.contains("/zones/") {
            let counter = if request.method() == "GET" { &read } else { &written };
            counter.fetch_add(1, Ordering::SeqCst);
        }
        let (client, url) = (client.clone(), format!("{target}{path}"));
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let key = head.headers["x-api-key"].clone();
            let far = client.request(head.method, url).header("x-api-key", key).body(body);
            let answer = far.send().await.unwrap();
            let near = Response::builder().status(answer.status().as_u16());
            near.body(Body::from(answer.bytes().await.unwrap())).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(forward)).await });
    (base, reads, writes)
}
