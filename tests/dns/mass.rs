//! The guard against mass changes: what would empty a zone is held until somebody lets it pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use futures::future::join_all;
use landfall::api::{Organization, Reason};
use landfall::dns::{Name, RecordSet};
use landfall::ledger::{ObjectKind, Release};
use landfall::providers::Server;
use landfall::zones::{Account, Adoption, Effect, Want};
use serde_json::json;

use crate::desk::{Desk, servers, subject_in};
use crate::pdns::powerdns_at;
use crate::world::turn;

async fn all_gone(desk: &Desk, sets: &[RecordSet], leaving: usize) -> Vec<Effect> {
    join_all(sets.iter().map(|set| desk.change(set.owner(), set.kind(), Want::Gone { leaving }))).await
}

async fn stand(desk: &Desk, sets: &[RecordSet]) -> usize {
    let looks = join_all(sets.iter().map(|set| desk.look(set, Duration::ZERO))).await;
    looks.into_iter().filter(|look| look.set.is_some()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_vanish_at_once_nothing_goes_until_it_is_released() {
    let _turn = turn().await;
    for (server, zone) in servers() {
        let desk = Desk::new(server, zone).await;
        desk.clear("mass").await;
        let sets: Vec<RecordSet> = (0..200).map(|n| desk.a(&format!("n{n}.mass"), "192.0.2.1")).collect();
        let made = join_all(sets.iter().map(|set| desk.set(set, Adoption::Never))).await;
        assert!(made.iter().all(|effect| matches!(effect, Effect::Applied { .. })), "{made:?}");
        let whose = &desk.account.credential.organization;
        let held = |within: &Name| desk.zones.held(whose, within);

        // Eight at a time, as workers would.
        for some in sets.chunks(8).take(2) {
            let told = all_gone(&desk, some, sets.len()).await;
            assert!(told.iter().all(|effect| *effect == Effect::Held), "{told:?}");
        }
        assert_eq!(held(&desk.zone.name).map(|held| (held.count(), held.owned)), Some((16, 200)));
        let early = held(&desk.zone.name).unwrap();
        let told = all_gone(&desk, &sets, sets.len()).await;
        assert!(told.iter().all(|effect| *effect == Effect::Held), "{told:?}");
        let all = held(&desk.at("mass")).unwrap();
        assert_eq!(all.count(), 200);
        assert_ne!(all.digest, early.digest);
        assert_eq!(held(&desk.at("n7.mass")).map(|held| held.count()), Some(1), "a part of it is told apart");
        assert_eq!(held(&desk.at("elsewhere")), None);
        assert_eq!(desk.zones.held(&Organization("other".into()), &desk.zone.name), None);
        assert!(desk.metrics.text().contains("landfall_dns_changes_held 200"));
        assert_eq!(stand(&desk, &sets).await, 200, "nothing is deleted");
        // What is new is made all the same, and one that is wanted again is held no more.
        let new = desk.a("new.mass", "192.0.2.1");
        assert!(matches!(desk.set(&new, Adoption::Never).await, Effect::Applied { .. }));
        assert_eq!(desk.set(&sets[0], Adoption::Never).await, Effect::Unchanged);
        assert_eq!(held(&desk.zone.name).map(|held| held.count()), Some(199));

        // What was read is released, and nothing that came after.
        desk.zones.release(whose, &early, "alice");
        assert_eq!(held(&desk.zone.name).map(|held| held.count()), Some(184));
        let gone = all_gone(&desk, &sets[..16], sets.len()).await;
        assert!(gone[1..].iter().all(|effect| matches!(effect, Effect::Applied { after: None, .. })), "{gone:?}");
        assert_eq!(gone[0], Effect::Held);
        desk.zones.release(whose, &held(&desk.zone.name).unwrap(), "alice");
        assert!(desk.metrics.text().contains("landfall_dns_changes_held 0"));
        let gone = all_gone(&desk, &sets, sets.len()).await;
        assert!(gone[1..16].iter().all(|effect| *effect == Effect::Unchanged), "{gone:?}");
        assert!(gone[16..].iter().all(|effect| matches!(effect, Effect::Applied { after: None, .. })), "{gone:?}");
        assert_eq!(stand(&desk, &sets).await, 0);
        let approved = "SELECT to_jsonb(count(*)) FROM intents i JOIN intent_objects USING (intent_id) WHERE approved_by = 'alice'";
        assert_eq!(desk.sql(approved).await, json!(200), "who approved it stands with each");
        desk.clear("mass").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_passes_with_the_next_leader_too_and_once() {
    let _turn = turn().await;
    let mut desk = Desk::new(servers().into_iter().next().unwrap().0, "PDNS_ZONE").await;
    desk.clear("next").await;
    let sets: Vec<RecordSet> = (0..20).map(|n| desk.a(&format!("n{n}.next"), "192.0.2.1")).collect();
    join_all(sets.iter().map(|set| desk.set(set, Adoption::Never))).await;
    assert!(all_gone(&desk, &sets, 20).await.iter().all(|effect| *effect == Effect::Held));
    let whose = desk.account.credential.organization.clone();
    let held = desk.zones.held(&whose, &desk.zone.name).unwrap();
    let release = Release {
        domain: subject_in(whose.as_str(), desk.ledger.cluster(), ObjectKind::OrganizationDomain, "d"),
        digest: held.digest.clone(),
        changes: held.lines().collect(),
        by: "alice".into(),
        details: json!({}),
    };
    desk.ledger.record_release(&release).await.unwrap();
    desk.zones.release(&whose, &held, "alice");
    let applied = |effects: Vec<Effect>| {
        assert!(effects.iter().all(|effect| matches!(effect, Effect::Applied { .. })), "{effects:?}");
    };
    applied(all_gone(&desk, &sets[..8], 20).await);

    desk.lead_again().await;
    applied(all_gone(&desk, &sets[8..], 12).await);
    join_all(sets.iter().map(|set| desk.set(set, Adoption::Never))).await;
    desk.lead_again().await;
    let again = all_gone(&desk, &sets, 20).await;
    assert!(again.iter().all(|effect| *effect == Effect::Held), "{again:?}");
    desk.clear("next").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_go_together_after_a_second_and_one_that_is_wanted_again_stays() {
    let _turn = turn().await;
    for (server, zone) in servers() {
        let desk = Desk::new(server, zone).await;
        desk.clear("few").await;
        let sets: Vec<RecordSet> = (0..12).map(|n| desk.a(&format!("n{n}.few"), "192.0.2.1")).collect();
        join_all(sets.iter().map(|set| desk.set(set, Adoption::Never))).await;
        let before = desk.intents().await.as_array().unwrap().len();
        let begin = Instant::now();
        let gone = all_gone(&desk, &sets[..2], 2).await;
        assert!(gone.iter().all(|effect| matches!(effect, Effect::Applied { .. })), "{gone:?}");
        assert!(begin.elapsed() >= Duration::from_secs(1), "they wait for others");
        assert_eq!(desk.intents().await.as_array().unwrap().len() - before, 1, "one call for both");
        let (gone, set) = tokio::join!(desk.gone(&sets[3]), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            desk.set(&sets[3], Adoption::Never).await
        });
        assert_eq!((gone, set), (Effect::Unchanged, Effect::Unchanged));
        assert_eq!(stand(&desk, &sets).await, 10);
        desk.clear("few").await;
    }
}

/// What was made before a leader died counts for the next, and for whoever reaches the zone by another credential.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_away_counts_for_the_next_leader_and_for_other_credentials() {
    let _turn = turn().await;
    for (server, zone) in servers() {
        let mut desk = Desk::new(server, zone).await;
        desk.clear("window").await;
        let sets: Vec<RecordSet> = (0..20).map(|n| desk.a(&format!("n{n}.window"), "192.0.2.1")).collect();
        join_all(sets.iter().map(|set| desk.set(set, Adoption::Never))).await;
        let applied = |effects: Vec<Effect>| {
            assert!(effects.iter().all(|effect| matches!(effect, Effect::Applied { .. })), "{effects:?}");
        };
        applied(all_gone(&desk, &sets[..3], 3).await);
        desk.lead_again().await;
        let four = all_gone(&desk, &sets[3..7], 4).await;
        assert!(four.iter().all(|effect| *effect == Effect::Held), "three of six are left: {four:?}");
        desk.lead_again().await;
        applied(all_gone(&desk, &sets[3..5], 2).await);
        // By another credential of the organization.
        let second = subject_in("acme", desk.ledger.cluster(), ObjectKind::CloudCredential, "second");
        let server = servers().into_iter().find(|(_, name)| *name == zone).unwrap().0;
        desk.account = Account::new(second, server, "another".into());
        let two = all_gone(&desk, &sets[5..7], 2).await;
        assert!(two.iter().all(|effect| *effect == Effect::Held), "one of six is left: {two:?}");
        desk.clear("window").await;
    }
}

/// A small tenant of a large zone is a zone of its own to the guard.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_in_a_zone_does_not_count() {
    let _turn = turn().await;
    let desk = Desk::new(servers().into_iter().next().unwrap().0, "PDNS_ZONE").await;
    desk.clear("share").await;
    let sets: Vec<RecordSet> = (0..40).map(|n| desk.a(&format!("n{n}.share"), "192.0.2.1")).collect();
    join_all(sets.iter().map(|set| desk.set(set, Adoption::Never))).await;
    desk.sql("INSERT INTO organizations (organization_id) VALUES ('other') RETURNING 'null'::jsonb").await;
    let theirs = format!(
        "WITH rows AS (INSERT INTO record_sets (cluster_id, uid, organization_id, namespace, name, fqdn, type, object_created_at,
                 credential_uid, zone_id, zone, ttl, data, digest, written_at)
             SELECT '{}', gen_random_uuid(), 'other', 'theirs', 'n' || n, 'n' || n || '.share', 'A', now(), gen_random_uuid(), '{}', '{}', 60,
                 '[]', 'sha256:{}', now() FROM generate_series(20, 39) AS n RETURNING uid)
         SELECT to_jsonb(count(*)) FROM rows",
        desk.ledger.cluster(), desk.zone.id, desk.zone.name, "0".repeat(64),
    );
    assert_eq!(desk.sql(&theirs).await, json!(20));
    let seven = all_gone(&desk, &sets[..7], 7).await;
    assert!(seven.iter().all(|effect| *effect == Effect::Held), "of twenty: {seven:?}");
    assert_eq!(desk.zones.held(&desk.account.credential.organization, &desk.zone.name).map(|h| h.owned), Some(20));
    let six = all_gone(&desk, &sets[7..8], 1).await;
    assert!(six.iter().all(|effect| *effect == Effect::Held), "what is held counts: {six:?}");
    desk.clear("share").await;
}

/// Whoever is told to wait calls nobody, for all objects of the credential; other credentials go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_asks_to_be_left_alone_is() {
    let _turn = turn().await;
    let (calls, busy) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counter, is_busy, target) = (calls.clone(), busy.clone(), crate::world::env("PDNS_URL"));
    let client = crate::pdns::client();
    let answer = move |request: axum::extract::Request| {
        counter.fetch_add(1, Ordering::SeqCst);
        let (client, target, busy) = (client.clone(), target.clone(), is_busy.load(Ordering::SeqCst));
        async move {
            if busy {
                let slow = axum::http::Response::builder().status(429).header("Retry-After", "120");
                return slow.body(axum::body::Body::empty()).unwrap();
            }
            let path = request.uri().path_and_query().unwrap().to_string();
            let far = client.get(format!("{target}{path}")).header("X-API-Key", request.headers()["x-api-key"].clone());
            axum::http::Response::new(axum::body::Body::from(far.send().await.unwrap().bytes().await.unwrap()))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let server = || Server::PowerDns(powerdns_at(&base, &crate::world::env("PDNS_API_KEY")));
    let mut desk = Desk::new(server(), "PDNS_ZONE").await;
    let wanted = desk.a("slow", "192.0.2.1");
    desk.proved().await;
    busy.store(true, Ordering::SeqCst);
    let first = desk.set(&wanted, Adoption::Never).await;
    let Effect::Trouble(trouble) = &first else { panic!("{first:?}") };
    assert_eq!((trouble.reason, trouble.retry_after), (Reason::RateLimited, Some(Duration::from_secs(120))));
    let before = calls.load(Ordering::SeqCst);
    busy.store(false, Ordering::SeqCst);
    for round in 0..5 {
        // Neither a look nor another leader forgets it.
        if round == 2 {
            desk.lead_again().await;
        }
        let Effect::Trouble(trouble) = desk.set(&wanted, Adoption::Never).await else { panic!("a call was made") };
        assert_eq!(trouble.reason, Reason::RateLimited);
        assert!(trouble.retry_after.is_some_and(|left| left > Duration::from_secs(60)), "{trouble:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), before);
    let other = Desk::new(server(), "PDNS_ZONE").await;
    assert_eq!(other.look(&wanted, Duration::ZERO).await.set, None);
}
