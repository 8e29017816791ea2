//! Domains: never two organizations hold what overlaps, whoever comes when.

use std::time::Duration;

use jiff::Timestamp;
use landfall::api::{DomainTerms, Organization, Reason};
use landfall::ledger::{DomainPut, DomainStanding, DomainState, MirrorRow, NewDomain, ObjectKind, Subject, Writer};
use serde_json::json;
use sqlx::{Connection, Executor};
use uuid::Uuid;

use crate::world::World;

/// An organization with a cluster of its own, and one object there.
pub(crate) struct Party {
    pub(crate) writer: Writer,
    pub(crate) subject: Subject,
    pub(crate) fqdn: &'static str,
}

impl Party {
    pub(crate) async fn new(world: &World, organization: &str, fqdn: &'static str) -> Self {
        let cluster = Uuid::now_v7();
        world.ledger.register_cluster(cluster, organization).await.unwrap();
        let writer = world.ledger.lead(cluster, "me").await.unwrap();
        let subject = Subject { cluster, kind: ObjectKind::OrganizationDomain, ..world.subject(organization) };
        Self { writer, subject, fqdn }
    }

    pub(crate) async fn begin(&self) -> String {
        let new = NewDomain {
            subject: self.subject.clone(),
            fqdn: self.fqdn.into(),
            registrable: "example.com".into(),
            token: Uuid::new_v4().simple().to_string(),
            terms: DomainTerms::default(),
            at: Timestamp::now(),
        };
        self.writer.begin_domain(&new).await.unwrap().token
    }

    pub(crate) async fn put(&self, standing: DomainStanding) -> DomainPut {
        self.writer.put_domain(&self.subject, &standing, json!({})).await.unwrap()
    }

    pub(crate) async fn prove(&self) -> DomainPut {
        self.put(standing(DomainState::Verified, Reason::Verified)).await
    }

    pub(crate) async fn delete(&self) {
        self.writer.release_domain(&self.subject).await.unwrap();
    }

    pub(crate) async fn state(&self) -> Option<(DomainState, Reason)> {
        let fact = self.writer.domain_fact(self.subject.cluster, self.subject.uid).await.unwrap()?;
        Some((fact.standing.state, fact.standing.reason))
    }
}

pub(crate) fn standing(state: DomainState, reason: Reason) -> DomainStanding {
    let now = Some(Timestamp::now());
    let missed_since = (state == DomainState::Degraded).then(Timestamp::now);
    DomainStanding { state, reason, verified_at: now, missed_since, checked_at: now, asked_at: None }
}

/// Organizations and names of live claims; panics where two organizations' overlap, or a state is not what the claims say.
pub(crate) async fn holders(world: &World) -> Vec<(String, String)> {
    let claims: Vec<(String, String)> = sqlx::query_as(
        "SELECT organization_id, fqdn FROM landfall.domain_claims WHERE released_at IS NULL ORDER BY fqdn, organization_id",
    )
    .fetch_all(world.ledger.pool())
    .await
    .unwrap();
    for (organization, fqdn) in &claims {
        let overlap = |other: &str| other == fqdn || other.ends_with(&format!(".{fqdn}"));
        let rival = claims.iter().find(|(other, name)| other != organization && overlap(name));
        assert_eq!(rival, None, "{claims:?}");
    }
    claims
}

pub(crate) async fn contradictions(world: &World) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM landfall.domain_verifications v
         FULL JOIN (SELECT * FROM landfall.domain_claims WHERE released_at IS NULL) c
           ON c.cluster_id = v.cluster_id AND c.domain_uid = v.uid AND v.gone_at IS NULL AND c.fqdn = v.fqdn
              AND c.organization_id = v.organization_id
         WHERE (v.gone_at IS NULL AND v.state IN ('Verified', 'Degraded')) IS DISTINCT FROM (c.claim_id IS NOT NULL)",
    )
    .fetch_one(world.ledger.pool())
    .await
    .unwrap()
}

/// Every order of two sequences of three.
fn orders() -> Vec<Vec<bool>> {
    let all = (0u32..64).filter(|bits| bits.count_ones() == 3);
    all.map(|bits| (0..6).map(|place| bits >> place & 1 == 1).collect()).collect()
}

pub(crate) const PAIRS: [(&str, &str); 3] =
    [("example.com", "example.com"), ("example.com", "dev.example.com"), ("a.dev.example.com", "dev.example.com")];

#[tokio::test]
async fn in_every_order_of_claim_proof_and_deletion_the_first_proof_holds_until_it_is_deleted() {
    let world = World::new().await;
    assert_eq!(orders().len(), 20);
    for (ours, theirs) in PAIRS {
        for order in orders() {
            let parties = [Party::new(&world, "acme", ours).await, Party::new(&world, "other", theirs).await];
            let (mut done, mut holder) = ([0, 0], None);
            for second in &order {
                let who = usize::from(*second);
                match done[who] {
                    0 => drop(parties[who].begin().await),
                    1 => {
                        let free = holder.is_none();
                        let expected = if free { DomainPut::Kept { changed: true } } else { DomainPut::Elsewhere };
                        assert_eq!(parties[who].prove().await, expected, "{ours} {theirs} {order:?}");
                        holder = holder.or(Some(who));
                    }
                    _ => {
                        parties[who].delete().await;
                        holder = holder.filter(|holder| *holder != who);
                    }
                }
                done[who] += 1;
                let claims = holders(&world).await;
                let names = ["acme", "other"];
                let held: Vec<&str> = claims.iter().map(|(organization, _)| organization.as_str()).collect();
                assert_eq!(held, holder.map(|who| names[who]).into_iter().collect::<Vec<_>>(), "{order:?}");
                assert_eq!(contradictions(&world).await, 0, "{order:?}");
            }
        }
    }
}

/// Real transactions at once: each party comes, proves and goes again and again, while somebody looks on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forty_races_have_one_winner_each() {
    let world = World::new().await;
    for round in 0..40 {
        let (ours, theirs) = PAIRS[round % PAIRS.len()];
        let a = Party::new(&world, &format!("acme-{round}"), ours).await;
        let b = Party::new(&world, &format!("other-{round}"), theirs).await;
        tokio::join!(a.begin(), b.begin());
        let (of_a, of_b) = tokio::join!(a.prove(), b.prove());
        let won = [of_a, of_b].iter().filter(|put| matches!(put, DomainPut::Kept { .. })).count();
        assert_eq!(won, 1, "{ours} {theirs}: {of_a:?} {of_b:?}");
        assert_eq!(holders(&world).await.len(), 1);

        // The holder goes while the other proves again and again: from some point on it holds.
        let (holder, rival) = if matches!(of_a, DomainPut::Kept { .. }) { (&a, &b) } else { (&b, &a) };
        let persistent = async {
            let end = std::time::Instant::now() + Duration::from_secs(60);
            while rival.prove().await == DomainPut::Elsewhere {
                assert!(std::time::Instant::now() < end, "the claim was never free");
            }
        };
        let onlooker = async {
            for _ in 0..5 {
                holders(&world).await;
            }
        };
        tokio::join!(holder.delete(), persistent, onlooker);
        assert_eq!(holders(&world).await, [(rival.subject.organization.0.clone(), rival.fqdn.to_owned())]);
        // The former holder's late proof changes nothing: its object is gone.
        let (late, _) = tokio::join!(holder.prove(), rival.prove());
        assert_eq!(late, DomainPut::Gone);
        assert_eq!(contradictions(&world).await, 0);
        rival.delete().await;
        assert_eq!(holders(&world).await, []);
    }
}

#[tokio::test]
async fn whoever_writes_past_the_controller_is_refused_too() {
    let world = World::new().await;
    let (a, b) = (Party::new(&world, "acme", "example.com").await, Party::new(&world, "other", "example.com").await);
    a.begin().await;
    b.begin().await;
    let insert = |party: &Party, fqdn: &str| {
        format!(
            "INSERT INTO landfall.domain_claims (claim_id, organization_id, cluster_id, domain_uid, namespace, name, fqdn)
             VALUES (gen_random_uuid(), '{}', '{}', gen_random_uuid(), 'shop', 'web', '{fqdn}')",
            party.subject.organization, party.subject.cluster
        )
    };
    let code = |result: Result<_, sqlx::Error>| {
        result.err().map(|e| e.as_database_error().unwrap().code().unwrap().into_owned())
    };
    let (mut first, mut second) = (world.database.superuser().await, world.database.superuser().await);
    first.execute(sqlx::AssertSqlSafe(insert(&a, "dev.example.com"))).await.unwrap();
    for name in ["example.com", "dev.example.com", "a.dev.example.com"] {
        let refused = code(second.execute(sqlx::AssertSqlSafe(insert(&b, name))).await);
        assert_eq!(refused.as_deref(), Some("23P01"), "{name}");
        second.execute(sqlx::AssertSqlSafe(insert(&a, name))).await.unwrap();
    }
    for name in ["evildev.example.org", "evildev.example.net", "example.org"] {
        second.execute(sqlx::AssertSqlSafe(insert(&b, name))).await.unwrap();
    }
    // One that is not committed yet makes the other wait, and then refuses it.
    let mut open = first.begin().await.unwrap();
    open.execute(sqlx::AssertSqlSafe(insert(&a, "late.example.info"))).await.unwrap();
    let waiting = insert(&b, "example.info");
    let other = tokio::spawn(async move { code(second.execute(sqlx::AssertSqlSafe(waiting)).await) });
    let mut third = world.database.superuser().await;
    let end = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let waits: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
                .fetch_one(&mut third)
                .await
                .unwrap();
        if waits {
            break;
        }
        assert!(std::time::Instant::now() < end && !other.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    open.commit().await.unwrap();
    assert_eq!(other.await.unwrap().as_deref(), Some("23P01"));
}

#[tokio::test]
async fn a_life_of_a_domain_is_told() {
    let world = World::new().await;
    let a = Party::new(&world, "acme", "example.com").await;
    let token = a.begin().await;
    assert_eq!(a.begin().await, token, "the token is made once");
    let reason = |reason| DomainStanding { verified_at: None, ..standing(DomainState::Pending, reason) };
    assert_eq!(a.put(reason(Reason::RecordNotFound)).await, DomainPut::Kept { changed: true });
    assert_eq!(a.put(reason(Reason::RecordNotFound)).await, DomainPut::Kept { changed: false });
    a.prove().await;
    a.prove().await;
    a.put(standing(DomainState::Degraded, Reason::RecordNotFound)).await;
    assert_eq!(holders(&world).await.len(), 1, "kept in the grace");
    a.put(standing(DomainState::Unverified, Reason::RecordNotFound)).await;
    assert_eq!(holders(&world).await, [], "and no longer");
    a.prove().await;
    a.delete().await;
    a.delete().await;
    assert_eq!(a.state().await, None);
    let told: Vec<String> = sqlx::query_scalar("SELECT action FROM landfall.activity_log ORDER BY seq")
        .fetch_all(world.ledger.pool())
        .await
        .unwrap();
    let short: Vec<&str> = told.iter().map(|action| action.strip_prefix("domain.").unwrap()).collect();
    let life =
        ["challenged", "claimed", "verified", "degraded", "released", "unverified", "claimed", "verified", "released"];
    assert_eq!(short, life);
    let text: String = sqlx::query_scalar("SELECT string_agg(details::text, ' ') FROM landfall.activity_log")
        .fetch_one(world.ledger.pool())
        .await
        .unwrap();
    assert!(!text.contains(&token), "the token is in no event");
}

#[tokio::test]
async fn a_domain_that_goes_to_another_organization_begins_anew() {
    let world = World::new().await;
    let a = Party::new(&world, "acme", "example.com").await;
    let token = a.begin().await;
    a.prove().await;
    let moved = Party { subject: Subject { organization: Organization("other".into()), ..a.subject.clone() }, ..a };
    assert_eq!(moved.prove().await, DomainPut::Gone, "a proof of the one is none of the other");
    assert_ne!(moved.begin().await, token);
    assert_eq!(moved.state().await, Some((DomainState::Pending, Reason::PendingVerification)));
    assert_eq!(holders(&world).await, []);
    let released: Vec<String> =
        sqlx::query_scalar("SELECT organization_id FROM landfall.activity_log WHERE action = 'domain.released'")
            .fetch_all(world.ledger.pool())
            .await
            .unwrap();
    assert_eq!(released, ["acme"]);
    let of = async |name: &str| world.ledger.domains_of(&Organization(name.into())).await.unwrap().len();
    assert_eq!((of("acme").await, of("other").await), (0, 1));
}

#[tokio::test]
async fn an_object_that_vanished_leaves_no_claim_and_comes_back_with_its_token() {
    let world = World::new().await;
    let a = Party::new(&world, "acme", "example.com").await;
    let token = a.begin().await;
    a.prove().await;
    let row = MirrorRow {
        subject: a.subject.clone(),
        generation: 1,
        resource_version: "7".into(),
        object: json!({"metadata": {}, "spec": {"domain": "Example.com", "usage": "Custom"}, "status": {"fqdn": "example.com"}}),
        field_manager: None,
    };
    let kind = ObjectKind::OrganizationDomain;
    a.writer.mirror_apply(kind, std::slice::from_ref(&row)).await.unwrap();
    let typed: (Option<String>, Option<String>) =
        sqlx::query_as("SELECT fqdn, usage FROM landfall.organization_domains")
            .fetch_one(world.ledger.pool())
            .await
            .unwrap();
    assert_eq!(typed, (Some("example.com".into()), Some("Custom".into())));
    a.writer.mirror_delete(kind, a.subject.uid, Timestamp::now()).await.unwrap();
    assert_eq!(holders(&world).await, []);
    assert_eq!(a.state().await, None);
    assert_eq!(a.begin().await, token);
    assert_eq!(a.prove().await, DomainPut::Kept { changed: true });
}

#[tokio::test]
async fn whoever_asks_for_unproved_domains_sees_those_first_that_will_be_lost() {
    let world = World::new().await;
    for (name, state) in
        [("pending.org", None), ("lost.org", Some(DomainState::Degraded)), ("good.org", Some(DomainState::Verified))]
    {
        let party = Party::new(&world, "acme", name).await;
        party.begin().await;
        if let Some(state) = state {
            party.prove().await;
            party.put(standing(state, Reason::RecordNotFound)).await;
        }
    }
    let seen: Vec<String> = sqlx::query_scalar("SELECT fqdn FROM landfall.v_unverified_domains")
        .fetch_all(world.ledger.pool())
        .await
        .unwrap();
    assert_eq!(seen, ["lost.org", "pending.org"]);
    let all = world.ledger.domains_of(&Organization("acme".into())).await.unwrap();
    assert_eq!(all.iter().map(|fact| fact.fqdn.as_str()).collect::<Vec<_>>(), ["pending.org", "good.org", "lost.org"]);
}
