//! An installation's zone writer on a server of the test bed, with a ledger of its own.

use std::sync::Arc;
use std::time::Duration;

use landfall::Result;
use landfall::api::Organization;
use landfall::dns::{Name, RecordSet, RecordType, Zone};
use landfall::ledger::{CredentialFact, ObjectKind, Subject, Writer};
use landfall::metrics::Metrics;
use landfall::providers::{Change, Dns, Outcome, Server};
use landfall::zones::{Account, Adoption, By, Effect, Found, Look, Want, Wish, Zones};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::watch;
use uuid::Uuid;

use crate::database::Database;
use crate::pdns::powerdns;
use crate::world::{env, knot, name};

pub struct Desk {
    pub database: Database,
    pub ledger: Writer,
    pub metrics: Arc<Metrics>,
    pub zones: Zones,
    pub account: Account,
    pub zone: Zone,
    _alive: watch::Sender<()>,
}

/// A server of the test bed and the variable that names its zone.
pub fn servers() -> [(Server, &'static str); 2] {
    [(Server::PowerDns(powerdns()), "PDNS_ZONE"), (Server::Rfc2136(knot()), "KNOT_ZONE")]
}

pub fn subject_in(organization: &str, cluster: Uuid, kind: ObjectKind, name: &str) -> Subject {
    let organization = Organization(organization.into());
    Subject { organization, cluster, kind, uid: Uuid::new_v4(), namespace: "shop".into(), name: name.into() }
}

impl Desk {
    /// Another installation each time: with a cluster id of its own.
    pub async fn new(server: Server, zone: &str) -> Self {
        let database = Database::fresh().await;
        let url = database.url.clone();
        Self::on(database, &url, server, zone).await
    }

    /// The same with Postgres at `url`.
    pub async fn on(database: Database, url: &str, server: Server, zone: &str) -> Self {
        let keys = landfall::ledger::Keyring::for_test();
        let ledger = landfall::ledger::Ledger::connect(url, keys).await.unwrap();
        let cluster = Uuid::new_v4();
        ledger.register_cluster(cluster, "test").await.unwrap();
        let ledger = ledger.lead(cluster, "me").await.unwrap();
        let (_alive, alive) = watch::channel(());
        let metrics = Arc::new(Metrics::default());
        let zones = Zones::new(ledger.clone(), metrics.clone(), alive, 32);
        let credential = subject_in("acme", cluster, ObjectKind::CloudCredential, "dns");
        let account = Account::new(credential, server, "digest".into());
        let wanted = name(&env(zone));
        let found = zones.zone_of(&account, &wanted, None).await.unwrap();
        let Found::One(zone) = found else { panic!("{found:?}") };
        Self { database, ledger, metrics, zones, account, zone, _alive }
    }

    /// The ledger knows the credential as a good one.
    pub async fn proved(&self) {
        let now = jiff::Timestamp::now();
        let fact = CredentialFact {
            subject: self.account.credential.clone(),
            state: "Valid".into(),
            reason: "Valid".into(),
            account: None,
            principal: None,
            secret_digest: Some(self.account.digest.clone()),
            checked_at: now,
            succeeded_at: Some(now),
        };
        self.ledger.put_credential_fact(&fact).await.unwrap();
    }

    /// The next leader of the same installation, with a writer that knows nothing yet.
    pub async fn lead_again(&mut self) {
        self.ledger = self.ledger.lead(self.ledger.cluster(), "me again").await.unwrap();
        let (alive, held) = watch::channel(());
        self.zones = Zones::new(self.ledger.clone(), self.metrics.clone(), held, 32);
        self._alive = alive;
    }

    /// The same with writers that end when nobody has asked for so long.
    pub fn ending(&mut self, idle: std::time::Duration) {
        let (alive, held) = watch::channel(());
        self.zones = Zones::ending(self.ledger.clone(), self.metrics.clone(), held, 32, idle);
        self._alive = alive;
    }

    /// A name below the zone.
    pub fn at(&self, left: &str) -> Name {
        name(&format!("{left}.{}", self.zone.name))
    }

    pub fn a(&self, left: &str, address: &str) -> RecordSet {
        RecordSet::from_spec(self.at(left), RecordType::A, 60, &[address.to_owned()]).unwrap()
    }

    pub fn subject(&self, name: &str) -> Subject {
        self.subject_of(ObjectKind::DnsRecord, name)
    }

    pub fn subject_of(&self, kind: ObjectKind, name: &str) -> Subject {
        subject_in("acme", self.ledger.cluster(), kind, name)
    }

    pub async fn change(&self, owner: &Name, kind: RecordType, want: Want) -> Effect {
        self.change_by(None, owner, kind, want).await.unwrap()
    }

    /// The same in the name of a domain.
    pub async fn change_by(&self, by: Option<By>, owner: &Name, kind: RecordType, want: Want) -> Result<Effect> {
        let wish = Wish { subject: self.subject("web"), why: "a test".into(), owner: owner.clone(), kind, want, by };
        self.zones.change(&self.account, &self.zone, wish).await
    }

    /// A domain of this name that the ledger knows as proved.
    pub async fn domain(&self, fqdn: &str) -> Subject {
        let domain = self.subject_of(ObjectKind::OrganizationDomain, "example");
        let (cluster, uid) = (domain.cluster, domain.uid);
        let rows = format!(
            "INSERT INTO organizations (organization_id) VALUES ('acme') ON CONFLICT DO NOTHING;
             INSERT INTO domain_verifications (cluster_id, uid, organization_id, namespace, name, fqdn, registrable, token, terms,
                state, reason, since, verified_at)
             VALUES ('{cluster}', '{uid}', 'acme', 'shop', 'example', '{fqdn}', '{fqdn}', repeat('a', 32),
                     '{{\"dns\": {{\"mode\": \"External\"}}, \"policy\": {{\"allowWildcard\": true, \"allowApex\": true}}}}', 'Verified',
                     'Verified', now(), now() + interval '10 years');
             INSERT INTO domain_claims (claim_id, organization_id, cluster_id, domain_uid, namespace, name, fqdn)
             VALUES (gen_random_uuid(), 'acme', '{cluster}', '{uid}', 'shop', 'example', '{fqdn}')"
        );
        let mut sql = PgConnection::connect(&self.database.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(rows)).execute(&mut sql).await.unwrap();
        domain
    }

    pub async fn set(&self, set: &RecordSet, adoption: Adoption) -> Effect {
        self.change(set.owner(), set.kind(), Want::Set { set: set.clone(), adoption }).await
    }

    pub async fn gone(&self, set: &RecordSet) -> Effect {
        self.change(set.owner(), set.kind(), Want::Gone { leaving: 1 }).await
    }

    pub async fn share(&self, owner: &Name, value: &str) -> Effect {
        self.change(owner, RecordType::Txt, Want::Share { value: value.into(), ttl: 60 }).await
    }

    pub async fn unshare(&self, owner: &Name, value: &str) -> Effect {
        self.change(owner, RecordType::Txt, Want::Unshare { value: value.into() }).await
    }

    pub async fn look(&self, set: &RecordSet, how_fresh: Duration) -> Look {
        let look = self.zones.look(&self.account, &self.zone, set.owner(), set.kind(), how_fresh);
        look.await.unwrap()
    }

    /// Takes away all that stands at or below a name, and what any registry notes of it.
    pub async fn clear(&self, left: &str) {
        let (top, note) = (self.at(left), format!("{left}._landfall-"));
        let read = self.account.server.read(&self.zone, None).await.unwrap();
        let sets = read.sets.into_iter().map(|standing| standing.set);
        let there = sets.filter(|set| set.owner().is_within(&top) || set.owner().as_str().contains(&note));
        let changes: Vec<Change> = there.map(|set| Change::new(Some(set), None, None).unwrap()).collect();
        let outcomes = self.account.server.apply(&self.zone, &changes).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
    }

    /// Another's write: past the writer, without a marker, whatever stands there.
    pub async fn foreign(&self, set: &RecordSet) {
        let before = self.standing(set.owner(), set.kind()).await;
        let change = Change::new(before, Some(set.clone()), None).unwrap();
        assert_eq!(self.account.server.apply(&self.zone, &[change]).await, [Outcome::Applied]);
    }

    /// What stands there, read past the writer.
    pub async fn standing(&self, owner: &Name, kind: RecordType) -> Option<RecordSet> {
        let read = self.account.server.read(&self.zone, Some(owner)).await.unwrap();
        read.find(owner, kind).map(|standing| standing.set.clone())
    }

    pub async fn serial(&self) -> u32 {
        self.account.server.serial(&self.zone).await.unwrap().unwrap()
    }

    /// One JSON value out of this desk's database.
    pub async fn sql(&self, query: &str) -> Value {
        let mut sql = PgConnection::connect(&self.database.url).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut sql).await.unwrap()
    }

    /// Call, outcome and number of objects of each intent.
    pub async fn intents(&self) -> Value {
        self.sql(
            "SELECT coalesce(jsonb_agg(jsonb_build_array(call, outcome,
                        (SELECT count(*) FROM intent_objects o WHERE o.intent_id = i.intent_id)) ORDER BY created_at), '[]')
             FROM intents i",
        )
        .await
    }
}
