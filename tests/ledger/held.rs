//! Domains that are held while something goes by them, that nobody proves any more, and that two organizations want at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use landfall::api::{DomainTerms, Organization, Reason};
use landfall::ledger::{
    CertificateTerms, DomainPut, DomainStanding, DomainState, MirrorRow, NewCertificate, ObjectKind, RecordClaim,
    Subject, WrittenSet,
};
use serde_json::json;
use sqlx::{Connection, Executor};
use uuid::Uuid;

use crate::domains::{PAIRS, Party, contradictions, holders, standing};
use crate::objects::Dice;
use crate::world::World;

/// The controller of whoever proved first is off: what it held is free when its proof is too old, and not before.
#[tokio::test]
async fn a_claim_that_nobody_proves_any_more_does_not_bar_another_organization() {
    let world = World::new().await;
    for (ours, theirs) in PAIRS {
        let (a, b) = (Party::new(&world, "acme", ours).await, Party::new(&world, "other", theirs).await);
        a.begin().await;
        b.begin().await;
        a.prove().await;
        let at = |hours| {
            let now = Timestamp::now() + SignedDuration::from_hours(hours);
            let new = standing(DomainState::Verified, Reason::Verified);
            DomainStanding { verified_at: Some(now), checked_at: Some(now), ..new }
        };
        assert_eq!(b.put(at(8 * 24)).await, DomainPut::Elsewhere);
        assert_eq!(b.put(at(8 * 24 + 2)).await, DomainPut::Kept { changed: true });
        assert_eq!(holders(&world).await, [("other".to_owned(), theirs.to_owned())]);
        let told: Vec<String> = sqlx::query_scalar(
            "SELECT details ->> 'why' FROM landfall.activity_log WHERE organization_id = 'acme' AND action = 'domain.released'
             ORDER BY seq DESC LIMIT 1",
        )
        .fetch_all(world.ledger.pool())
        .await
        .unwrap();
        assert_eq!(told, ["Stale"], "on the chain of the one that held it");
        // The former holder comes back with a good proof, and finds another one.
        assert_eq!(a.put(at(8 * 24 + 3)).await, DomainPut::Elsewhere);
        assert_eq!(a.state().await, Some((DomainState::Unverified, Reason::ClaimedElsewhere)));
        assert_eq!(contradictions(&world).await, 0);
        a.delete().await;
        b.delete().await;
    }
}

impl Party {
    /// A record of the same organization and cluster.
    fn record(&self, name: &str) -> RecordClaim {
        RecordClaim {
            subject: Subject {
                kind: ObjectKind::DnsRecord,
                uid: Uuid::now_v7(),
                name: name.into(),
                ..self.subject.clone()
            },
            fqdn: format!("{name}.{}", self.fqdn),
            kind: "A".into(),
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    async fn claim(&self, record: &RecordClaim) -> Result<(), Reason> {
        let claimed = self.writer.claim_record_set(record, &self.subject, Timestamp::now()).await;
        claimed.map(drop).map_err(|error| error.reason())
    }

    /// One for the domain itself, up to the intent to put it into its Secret.
    async fn certificate(&self) -> Result<(), Reason> {
        let terms = CertificateTerms {
            names: vec![self.fqdn.into()],
            algorithm: "ECDSA P-256".into(),
            life: 3600,
            issuer: "selfSigned".into(),
            signer: None,
        };
        let digest = "0".repeat(64);
        let new = NewCertificate {
            subject: Subject { kind: ObjectKind::Certificate, uid: Uuid::now_v7(), ..self.subject.clone() },
            secret: "tls".into(),
            why: "there was none".into(),
            terms,
            issuer: "CN=test".into(),
            serial: "01".into(),
            fingerprint: digest.clone(),
            public_key: digest,
            not_before: Timestamp::now(),
            not_after: Timestamp::now() + SignedDuration::from_hours(1),
            chain: "-----BEGIN CERTIFICATE-----".into(),
            roots: None,
            made_at: Timestamp::now(),
        };
        let begun = self.writer.begin_certificate(new, std::slice::from_ref(&self.subject)).await;
        begun.map(drop).map_err(|error| error.reason())
    }
}

/// Waits until somebody waits for a lock in this database.
async fn until_one_waits(world: &World) {
    let mut watcher = world.database.superuser().await;
    let end = std::time::Instant::now() + Duration::from_secs(60);
    let waiting =
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut watcher).await.unwrap() {
        assert!(std::time::Instant::now() < end, "nobody waits");
        tokio::task::yield_now().await;
    }
}

/// What was looked at before the intent may be gone when it is written down: the intent's own transaction asks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_claim_and_no_certificate_is_begun_by_a_domain_that_has_just_been_lost() {
    let world = World::new().await;
    for lost_by in ["look", "deletion", "relabel"] {
        let a = Party::new(&world, &format!("acme-{lost_by}"), "example.com").await;
        a.begin().await;
        assert_eq!(a.claim(&a.record("early")).await, Err(Reason::DomainNotVerified), "it is not proved yet");
        assert_eq!(a.certificate().await, Err(Reason::DomainNotVerified));
        a.prove().await;
        // Somebody is in the middle of releasing it.
        let mut other = world.database.superuser().await;
        let mut open = other.begin().await.unwrap();
        let release = format!(
            "UPDATE landfall.domain_claims SET released_at = now(), release_reason = '{lost_by}' WHERE domain_uid = '{}'",
            a.subject.uid
        );
        open.execute(sqlx::AssertSqlSafe(release)).await.unwrap();
        let record = a.record("www");
        let begin = async { tokio::join!(a.claim(&record), a.certificate()) };
        let commit = async {
            until_one_waits(&world).await;
            open.commit().await.unwrap();
        };
        let (begun, ()) = tokio::join!(begin, commit);
        assert_eq!(begun, (Err(Reason::DomainNotVerified), Err(Reason::DomainNotVerified)), "{lost_by}");
        let rows =
            "SELECT (SELECT count(*) FROM landfall.record_sets) + (SELECT count(*) FROM landfall.certificates_issued)
                        + (SELECT count(*) FROM landfall.intents)";
        assert_eq!(sqlx::query_scalar::<_, i64>(rows).fetch_one(world.ledger.pool()).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_domain_is_not_let_go_of_while_a_record_comes_to_refer_to_it() {
    let world = World::new().await;
    let a = Party::new(&world, "acme", "example.com").await;
    a.begin().await;
    a.prove().await;
    // A record has its claim, and commits later.
    let mut other = world.database.superuser().await;
    let mut open = other.begin().await.unwrap();
    let hold = format!("SELECT FROM landfall.domain_claims WHERE domain_uid = '{}' FOR SHARE", a.subject.uid);
    open.execute(sqlx::AssertSqlSafe(hold)).await.unwrap();
    let refer = format!(
        "INSERT INTO landfall.resolved_references (cluster_id, from_uid, to_uid, organization_id, from_kind, from_namespace,
            from_name, to_kind, to_namespace, to_name)
         VALUES ('{}', gen_random_uuid(), '{}', 'acme', 'DnsRecord', 'shop', 'www', 'OrganizationDomain', 'shop', 'web')",
        a.subject.cluster, a.subject.uid
    );
    open.execute(sqlx::AssertSqlSafe(refer)).await.unwrap();
    let release = async { a.writer.release_domain(&a.subject).await.map_err(|error| error.reason()) };
    let commit = async {
        until_one_waits(&world).await;
        open.commit().await.unwrap();
    };
    let (released, ()) = tokio::join!(release, commit);
    assert_eq!(released, Err(Reason::InUse));
    assert_eq!(holders(&world).await.len(), 1);
    assert_eq!(a.claim(&a.record("www")).await, Ok(()));
}

#[tokio::test]
async fn what_others_go_by_changes_on_record_and_for_its_organization_alone() {
    let world = World::new().await;
    let a = Party::new(&world, "acme", "example.com").await;
    a.begin().await;
    let mut terms = DomainTerms::default();
    assert_eq!(a.writer.put_domain_terms(&a.subject, &terms).await.unwrap(), DomainPut::Kept { changed: false });
    terms.policy.allow_wildcard = false;
    let foreign = Subject { organization: Organization("other".into()), ..a.subject.clone() };
    assert_eq!(a.writer.put_domain_terms(&foreign, &terms).await.unwrap(), DomainPut::Gone);
    assert_eq!(a.writer.put_domain_terms(&a.subject, &terms).await.unwrap(), DomainPut::Kept { changed: true });
    let fact = a.writer.domain_fact(a.subject.cluster, a.subject.uid).await.unwrap().unwrap();
    assert!(!fact.terms.policy.allow_wildcard);
    let told: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', organization_id, details #>> '{before,policy,allowWildcard}', details #>> '{after,policy,allowWildcard}')
         FROM landfall.activity_log WHERE action = 'domain.terms'",
    )
    .fetch_all(world.ledger.pool())
    .await
    .unwrap();
    assert_eq!(told, ["acme true false"]);
}

/// A namespace that is left out of a file by mistake.
#[tokio::test]
async fn a_domain_that_is_not_watched_for_a_while_gives_nothing_away() {
    let world = World::new().await;
    let (a, b) = (Party::new(&world, "acme", "example.com").await, Party::new(&world, "other", "example.com").await);
    let token = a.begin().await;
    b.begin().await;
    a.prove().await;
    let row = MirrorRow {
        subject: a.subject.clone(),
        generation: 1,
        resource_version: "5".into(),
        object: json!({"metadata": {}, "spec": {"domain": "example.com"}}),
        field_manager: None,
    };
    let kind = ObjectKind::OrganizationDomain;
    a.writer.mirror_apply(kind, &[row]).await.unwrap();
    assert_eq!(a.writer.mirror_scopes(kind, &[Some("elsewhere")]).await.unwrap(), 1);
    assert_eq!(a.state().await, None, "nothing goes by it");
    assert_eq!(a.claim(&a.record("www")).await, Err(Reason::DomainNotVerified));
    assert_eq!(b.prove().await, DomainPut::Elsewhere, "and nobody has it");
    assert_eq!(a.begin().await, token);
    assert_eq!(a.state().await, Some((DomainState::Verified, Reason::Verified)), "it goes on as it stood");
    assert_eq!(a.claim(&a.record("www")).await, Ok(()));
}

/// What was written for one organization, name or type is not another's: it is left, on the record of the one that wrote it.
#[tokio::test]
async fn an_object_that_asks_for_another_set_leaves_what_it_had_and_says_so() {
    let world = World::new().await;
    let (a, b) = (Party::new(&world, "acme", "example.com").await, Party::new(&world, "other", "example.net").await);
    for party in [&a, &b] {
        party.begin().await;
        party.prove().await;
    }
    let written = WrittenSet {
        credential: Uuid::now_v7(),
        zone_id: "z".into(),
        zone: "example.com".into(),
        server: Some("dns://192.0.2.53:53".into()),
        ttl: 60,
        data: vec!["192.0.2.1".into()],
        digest: format!("sha256:{}", "0".repeat(64)),
    };
    let fact = async |claim: &RecordClaim| a.writer.record_fact(a.subject.cluster, claim.subject.uid).await.unwrap();
    let told =
        "SELECT concat_ws(' ', organization_id, details ->> 'fqdn', details ->> 'data') FROM landfall.activity_log
                WHERE action = 'record.left' ORDER BY at";
    let told = async || sqlx::query_scalar::<_, String>(told).fetch_all(world.ledger.pool()).await.unwrap();
    let first = a.record("www");
    assert_eq!(a.claim(&first).await, Ok(()));
    a.writer.put_record_set(&first, &written, false).await.unwrap();
    assert_eq!(a.claim(&first).await, Ok(()));
    assert_eq!((fact(&first).await.unwrap().written, told().await), (Some(written.clone()), vec![]), "the same set");

    let second = RecordClaim { fqdn: "www.dev.example.com".into(), ..first.clone() };
    assert_eq!(a.claim(&second).await, Ok(()));
    assert_eq!(fact(&first).await.unwrap().written, None);
    assert_eq!(told().await, ["acme www.example.com [\"192.0.2.1\"]"]);
    a.writer.put_record_set(&second, &written, false).await.unwrap();

    // The namespace goes to another organization.
    let row = MirrorRow {
        subject: second.subject.clone(),
        generation: 1,
        resource_version: "5".into(),
        object: json!({"metadata": {}, "spec": {}}),
        field_manager: None,
    };
    a.writer.mirror_apply(ObjectKind::DnsRecord, &[row]).await.unwrap();
    let (namespace, other) = (&a.subject.namespace, &b.subject.organization);
    assert_eq!(a.writer.mirror_relabel(ObjectKind::DnsRecord, namespace, other).await.unwrap(), 1);
    assert_eq!(fact(&second).await, None, "it keeps nobody from the set");
    assert_eq!(told().await.len(), 2);
    assert!(told().await[1].starts_with("acme www.dev.example.com"));

    // Another domain of the same organization: one reference at a time.
    let again = Party::new(&world, "acme", "example.com").await;
    let again = Party {
        subject: Subject { cluster: a.subject.cluster, ..again.subject.clone() },
        writer: a.writer.clone(),
        ..again
    };
    again.begin().await;
    again.prove().await;
    assert_eq!(a.claim(&first).await, Ok(()));
    assert_eq!(again.claim(&first).await, Ok(()));
    let below = a.writer.referred(a.subject.cluster, first.subject.uid, ObjectKind::OrganizationDomain).await.unwrap();
    assert_eq!(below, [again.subject.uid]);
}

/// What a party does next, and how far the clock has gone on before.
async fn act(party: &Party, what: usize, hours: i64) {
    let now = Timestamp::now() + SignedDuration::from_hours(hours);
    let (state, reason) = match what {
        1 | 2 => (DomainState::Verified, Reason::Verified),
        3 => (DomainState::Degraded, Reason::RecordNotFound),
        _ => (DomainState::Unverified, Reason::RecordNotFound),
    };
    match what {
        0 => drop(party.begin().await),
        5 => party.delete().await,
        _ => {
            let new = standing(state, reason);
            // A look that found nothing makes no proof younger.
            let known = party.writer.domain_fact(party.subject.cluster, party.subject.uid).await.unwrap();
            let before = known.and_then(|fact| fact.standing.verified_at);
            let verified_at = if state == DomainState::Verified { Some(now) } else { before };
            if verified_at.is_some() || !state.holds() {
                party.put(DomainStanding { verified_at, checked_at: Some(now), ..new }).await;
            }
        }
    }
}

/// Two organizations, each with three domains that overlap with the other's, do what they like at once: beginning, proving,
/// missing, losing, deleting, on a clock that goes on. However it falls out, no two organizations hold what overlaps.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forty_seeded_interleavings_have_never_two_holders() {
    let world = World::new().await;
    for round in 0..40u64 {
        let seed: u64 = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
        println!("round {round}: SEED={seed}");
        let mut dice = Dice::new(seed);
        let names = ["example.com", "dev.example.com", "a.dev.example.com", "evildev.example.com"];
        let mut parties = Vec::new();
        for number in 0..6 {
            let organization = format!("{}-{round}", if number % 2 == 0 { "acme" } else { "other" });
            parties.push(Party::new(&world, &organization, names[dice.below(names.len())]).await);
        }
        let mut plans = Vec::new();
        for _ in &parties {
            let (mut plan, mut hours) = (vec![(0, 0)], 0);
            for _ in 0..5 {
                hours += dice.pick(&[0, 0, 1, 100]);
                plan.push((dice.below(6), hours));
            }
            plans.push(plan);
        }
        let lives = parties.iter().zip(&plans).map(|(party, plan)| async move {
            for (what, hours) in plan {
                act(party, *what, *hours).await;
            }
        });
        let lives = futures::future::join_all(lives);
        let onlooker = async {
            for _ in 0..5 {
                holders(&world).await;
            }
        };
        tokio::join!(lives, onlooker);
        holders(&world).await;
        for party in &parties {
            party.delete().await;
        }
        assert_eq!(holders(&world).await, [], "SEED={seed}");
    }
}
