//! Rows that follow objects, fed as the watch feeds them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use landfall::Error;
use landfall::api::Organization;
use landfall::ledger::{CredentialFact, HistoryFilter, MirrorRow, Mirrored, ObjectKind, Subject, Writer, history};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use crate::world::World;

const KIND: ObjectKind = ObjectKind::TerraformDeployment;

fn row(subject: &Subject, rv: &str, generation: i64, spec: Value) -> MirrorRow {
    MirrorRow {
        subject: subject.clone(),
        generation,
        resource_version: rv.into(),
        object: json!({"metadata": {"labels": {"team": "a"}}, "spec": spec,
                       "status": {"phase": "Applied", "conditions": [{"type": "Ready", "status": "True", "reason": "Applied", "message": "ok"}]}}),
        field_manager: Some("kubectl-client-side-apply".into()),
    }
}

/// Name, resourceVersion, and why it was deleted, of every row.
async fn rows(world: &World) -> Vec<(String, String, Option<String>)> {
    sqlx::query_as("SELECT name, resource_version::text, delete_reason FROM terraform_deployments ORDER BY name, uid")
        .fetch_all(world.ledger.pool())
        .await
        .unwrap()
}

async fn actions(world: &World) -> Vec<String> {
    let rows = history(world.ledger.pool(), &HistoryFilter::default()).await.unwrap();
    rows.into_iter().map(|row| row.action).collect()
}

fn named(world: &World, name: &str) -> Subject {
    Subject { name: name.into(), ..world.subject("acme") }
}

async fn world() -> (World, Writer) {
    let world = World::new().await;
    let writer = world.writer().await;
    (world, writer)
}

#[tokio::test]
async fn a_life_of_an_object_is_mirrored_and_told() {
    let (world, writer) = world().await;
    let web = named(&world, "web");
    writer.mirror_apply(KIND, &[row(&web, "999", 1, json!({"a": 1}))]).await.unwrap();
    writer.mirror_apply(KIND, &[row(&web, "1000", 1, json!({"a": 1}))]).await.unwrap();
    writer.mirror_apply(KIND, &[row(&web, "1180591620717411303424", 2, json!({"a": 2, "b": 1}))]).await.unwrap();
    let stale = writer.mirror_apply(KIND, &[row(&web, "1001", 1, json!({"a": 1}))]).await.unwrap();
    assert_eq!(stale, Mirrored { unchanged: 1, ..Mirrored::default() });
    assert!(writer.mirror_delete(KIND, web.uid, Timestamp::now()).await.unwrap());
    assert!(!writer.mirror_delete(KIND, web.uid, Timestamp::now()).await.unwrap());
    let late = writer.mirror_apply(KIND, &[row(&web, "2000000000000000000000000", 3, json!({}))]).await.unwrap();
    assert_eq!(late.unchanged, 1, "a tombstone is final within a watch");
    assert_eq!(rows(&world).await, [("web".into(), "1180591620717411303424".into(), Some("Deleted".into()))]);
    assert_eq!(actions(&world).await, ["object.created", "spec.changed", "object.deleted"]);
    let history =
        history(world.ledger.pool(), &HistoryFilter { uid: Some(web.uid), ..HistoryFilter::default() }).await.unwrap();
    assert_eq!(history[1].actor.as_deref(), Some("kubectl-client-side-apply"));
    assert_eq!(history[1].actor_kind, "field-manager-unverified");
    assert_eq!(history[1].details, json!({"generation": 2, "fields": ["a", "b"]}));
}

#[tokio::test]
async fn a_list_is_the_truth() {
    let (world, writer) = world().await;
    let (kept, missed, back) = (named(&world, "kept"), named(&world, "missed"), named(&world, "restored"));
    let first = [&kept, &missed, &back].map(|subject| row(subject, "500", 1, json!({})));
    writer.mirror_relist(KIND, None, &first, Some("500")).await.unwrap();
    writer.mirror_delete(KIND, back.uid, Timestamp::now()).await.unwrap();
    // After a restore of etcd, resourceVersions run backwards and a deleted uid is back; one deletion went unseen.
    let second = [row(&kept, "90", 1, json!({})), row(&back, "80", 1, json!({}))];
    let mirrored = writer.mirror_relist(KIND, None, &second, Some("95")).await.unwrap();
    assert_eq!((mirrored.written, mirrored.buried), (2, 1));
    let expected = [("kept", "90", None), ("missed", "500", Some("ObservedAbsent")), ("restored", "80", None)];
    assert_eq!(
        rows(&world).await,
        expected.map(|(name, rv, why)| (name.to_owned(), rv.to_owned(), why.map(str::to_owned)))
    );
    assert_eq!(actions(&world).await.last().unwrap(), "object.deleted");
    assert!(actions(&world).await.contains(&"object.returned".to_owned()));
    let again = writer.mirror_relist(KIND, None, &second, Some("96")).await.unwrap();
    assert_eq!(again, Mirrored { unchanged: 2, ..Mirrored::default() }, "an unchanged list writes no row");
}

#[tokio::test]
async fn a_list_of_one_namespace_buries_nothing_elsewhere() {
    let (world, writer) = world().await;
    let here = named(&world, "here");
    let there = Subject { namespace: "elsewhere".into(), ..named(&world, "there") };
    writer
        .mirror_relist(KIND, None, &[row(&here, "1", 1, json!({})), row(&there, "2", 1, json!({}))], None)
        .await
        .unwrap();
    assert_eq!(writer.mirror_relist(KIND, Some("shop"), &[], None).await.unwrap().buried, 1);
    let live: Vec<String> = rows(&world).await.into_iter().filter(|row| row.2.is_none()).map(|row| row.0).collect();
    assert_eq!(live, ["there"]);
}

#[tokio::test]
async fn what_is_watched_no_more_counts_no_more_until_it_is_watched_again() {
    let (world, writer) = world().await;
    let here = named(&world, "here");
    let there = Subject {
        namespace: "elsewhere".into(),
        organization: Organization("globex".into()),
        ..named(&world, "there")
    };
    let (mine, theirs) = (row(&here, "1", 1, json!({})), row(&there, "2", 1, json!({})));
    let both = [Some("shop"), Some("elsewhere")];
    for (scope, row) in both.iter().zip([&mine, &theirs]) {
        writer.mirror_relist(KIND, *scope, std::slice::from_ref(row), None).await.unwrap();
    }
    let live = async || {
        let count = "SELECT count(DISTINCT organization_id) FROM terraform_deployments WHERE deleted_at IS NULL";
        sqlx::query_scalar::<_, i64>(count).fetch_one(world.ledger.pool()).await.unwrap()
    };
    assert_eq!(writer.mirror_scopes(KIND, &both).await.unwrap(), 0);
    assert_eq!(live().await, 2);

    assert_eq!(writer.mirror_scopes(KIND, &both[..1]).await.unwrap(), 1);
    assert_eq!(live().await, 1);
    assert_eq!(rows(&world).await[1].2.as_deref(), Some("NotWatched"));
    assert_eq!(actions(&world).await.last().unwrap(), "object.unwatched");
    let fresh = async || {
        let scopes: Vec<String> = sqlx::query_scalar("SELECT namespace FROM mirror_freshness ORDER BY namespace")
            .fetch_all(world.ledger.pool())
            .await
            .unwrap();
        scopes
    };
    assert_eq!(fresh().await, ["shop"], "what nobody watches is not stale");
    assert_eq!(writer.mirror_scopes(KIND, &both[..1]).await.unwrap(), 0, "once");

    writer.mirror_relist(KIND, both[1], &[theirs], None).await.unwrap();
    assert_eq!(writer.mirror_scopes(KIND, &[None]).await.unwrap(), 0);
    assert_eq!(live().await, 2);
    assert_eq!(actions(&world).await.last().unwrap(), "object.returned");
    assert_eq!(fresh().await, Vec::<String>::new(), "all namespaces are one scope, not listed yet");
}

#[tokio::test]
async fn of_an_object_twice_in_a_batch_the_last_counts() {
    let (world, writer) = world().await;
    let web = named(&world, "web");
    let batch =
        [row(&web, "1", 1, json!({})), row(&named(&world, "other"), "2", 1, json!({})), row(&web, "3", 2, json!({}))];
    assert_eq!(writer.mirror_apply(KIND, &batch).await.unwrap().written, 2);
    assert_eq!(rows(&world).await[1].1, "3");
}

#[tokio::test]
async fn odd_objects_are_taken_or_quarantined_and_never_fail_the_others() {
    let (world, writer) = world().await;
    let zero = named(&world, "zero");
    let odd = named(&world, "odd");
    let poison = Subject { name: "poi\u{0}son".into(), ..named(&world, "") };
    let batch = [
        row(&named(&world, "good"), "1", 1, json!({"deep": (0..100).fold(json!(1), |inner, _| json!([inner]))})),
        row(&odd, "007", 1, json!({})),
        row(&poison, "2", 1, json!({})),
        row(&zero, "3", 1, json!({"text": "a\u{0}b", "big": u64::MAX, "float": 1e300})),
        MirrorRow { object: Value::Null, ..row(&named(&world, "void"), "4", 1, json!({})) },
    ];
    let mirrored = writer.mirror_apply(KIND, &batch).await.unwrap();
    assert_eq!((mirrored.written, mirrored.unchanged), (3, 0));
    assert_eq!(mirrored.quarantined, [odd.uid, poison.uid]);
    assert_eq!(world.ledger.quarantined(world.cluster).await.unwrap(), 2);
    let row_of_zero = sqlx::query("SELECT escaped, spec FROM terraform_deployments WHERE uid = $1").bind(zero.uid);
    let row_of_zero = row_of_zero.fetch_one(world.ledger.pool()).await.unwrap();
    assert!(row_of_zero.get::<bool, _>("escaped"));
    assert_eq!(row_of_zero.get::<Value, _>("spec"), json!({"text": "a\\u0000b", "big": u64::MAX, "float": 1e300}));
    let error: String = sqlx::query_scalar("SELECT error FROM mirror_quarantine WHERE uid = $1")
        .bind(odd.uid)
        .fetch_one(world.ledger.pool())
        .await
        .unwrap();
    assert!(error.contains("metadata.resourceVersion: found \"007\""), "{error}");
    // Quarantined rows of a list are present, so they are not tombstones either; a good row leaves the quarantine.
    writer.mirror_relist(KIND, None, &[row(&odd, "8", 1, json!({}))], None).await.unwrap();
    assert_eq!(world.ledger.quarantined(world.cluster).await.unwrap(), 1);
}

#[tokio::test]
async fn a_deposed_leader_mirrors_nothing() {
    let (world, old) = world().await;
    let web = named(&world, "web");
    world.writer().await;
    assert!(matches!(old.mirror_apply(KIND, &[row(&web, "1", 1, json!({}))]).await, Err(Error::Deposed(_))));
    assert!(matches!(old.mirror_relist(KIND, None, &[], None).await, Err(Error::Deposed(_))));
    assert!(matches!(old.mirror_delete(KIND, web.uid, Timestamp::now()).await, Err(Error::Deposed(_))));
    assert!(rows(&world).await.is_empty());
}

#[tokio::test]
async fn a_deletion_is_told_when_it_is_asked_for() {
    let (world, writer) = world().await;
    let web = named(&world, "web");
    writer.mirror_apply(KIND, &[row(&web, "1", 1, json!({}))]).await.unwrap();
    let mut leaving = row(&web, "2", 2, json!({}));
    leaving.object["metadata"]["deletionTimestamp"] = json!("2026-11-20T10:00:00Z");
    writer.mirror_apply(KIND, &[leaving.clone()]).await.unwrap();
    writer.mirror_apply(KIND, &[MirrorRow { resource_version: "3".into(), ..leaving }]).await.unwrap();
    assert_eq!(actions(&world).await, ["object.created", "deletion.requested"]);
}

#[tokio::test]
async fn a_relabelled_namespace_takes_its_live_rows_along() {
    let (world, writer) = world().await;
    let web = named(&world, "web");
    writer.mirror_apply(KIND, &[row(&web, "1", 1, json!({}))]).await.unwrap();
    let new = Organization("newcorp".into());
    assert_eq!(writer.mirror_relabel(KIND, "shop", &new).await.unwrap(), 1);
    assert_eq!(writer.mirror_relabel(KIND, "shop", &new).await.unwrap(), 0);
    let of = |organization: &str| HistoryFilter { organization: Some(organization.into()), ..HistoryFilter::default() };
    assert_eq!(history(world.ledger.pool(), &of("acme")).await.unwrap().len(), 2, "created and left");
    assert_eq!(history(world.ledger.pool(), &of("newcorp")).await.unwrap().len(), 1, "joined");
}

#[tokio::test]
async fn freshness_is_data() {
    let (world, writer) = world().await;
    writer.mirror_relist(KIND, None, &[], Some("12")).await.unwrap();
    writer.mirror_alive(KIND, None).await.unwrap();
    let fresh: (String, bool, i64) = sqlx::query_as(
        "SELECT kind, age < interval '10 seconds' AND cluster = 'test', quarantined FROM mirror_freshness",
    )
    .fetch_one(world.ledger.pool())
    .await
    .unwrap();
    assert_eq!(fresh, ("TerraformDeployment".into(), true, 0));
}

#[tokio::test]
async fn references_end_when_they_are_dropped_or_their_object_goes() {
    let (world, writer) = world().await;
    let credential = Subject { kind: ObjectKind::CloudCredential, ..named(&world, "dns") };
    let (web, api) = (named(&world, "web"), named(&world, "api"));
    writer
        .mirror_relist(KIND, None, &[row(&web, "1", 1, json!({})), row(&api, "2", 1, json!({}))], None)
        .await
        .unwrap();
    writer.put_references(&web, std::slice::from_ref(&credential)).await.unwrap();
    writer.put_references(&api, std::slice::from_ref(&credential)).await.unwrap();
    assert_eq!(world.ledger.referrers(world.cluster, credential.uid).await.unwrap(), [api.clone(), web.clone()]);
    assert_eq!(
        writer.put_references(&web, &[]).await.unwrap(),
        [(credential.namespace.clone(), credential.name.clone())]
    );
    assert_eq!(writer.put_references(&web, &[]).await.unwrap(), [], "it was told already");
    assert_eq!(world.ledger.referrers(world.cluster, credential.uid).await.unwrap(), std::slice::from_ref(&api));
    writer.put_references(&web, std::slice::from_ref(&credential)).await.unwrap();
    writer.mirror_delete(KIND, api.uid, Timestamp::now()).await.unwrap();
    assert_eq!(world.ledger.referrers(world.cluster, credential.uid).await.unwrap(), [web]);
}

#[tokio::test]
async fn a_finding_is_told_when_it_differs_and_ends_with_its_credential() {
    let (world, writer) = world().await;
    let subject = Subject { kind: ObjectKind::CloudCredential, ..named(&world, "dns") };
    let mut at = Timestamp::from_second(1_800_000_000).unwrap();
    let mut fact = CredentialFact {
        subject: subject.clone(),
        state: "Valid".into(),
        reason: "Valid".into(),
        account: Some("123".into()),
        principal: None,
        secret_digest: Some("hmac-sha256:00".into()),
        checked_at: at,
        succeeded_at: Some(at),
    };
    assert!(writer.put_credential_fact(&fact).await.unwrap());
    at += jiff::SignedDuration::from_mins(10);
    fact.checked_at = at;
    assert!(!writer.put_credential_fact(&fact).await.unwrap(), "a later probe with the same finding");
    fact.state = "Invalid".into();
    assert!(writer.put_credential_fact(&fact).await.unwrap());
    assert_eq!(world.ledger.credential_fact(world.cluster, subject.uid).await.unwrap(), Some(fact));
    assert_eq!(actions(&world).await, ["credential.probed", "credential.probed"]);
    writer.mirror_apply(ObjectKind::CloudCredential, &[row(&subject, "1", 1, json!({}))]).await.unwrap();
    writer.mirror_delete(ObjectKind::CloudCredential, subject.uid, Timestamp::now()).await.unwrap();
    assert_eq!(world.ledger.credential_fact(world.cluster, subject.uid).await.unwrap(), None);
}

/// JSON of any shape, with what jsonb, JCS and parsers are afraid of.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1e308),
            json!(-0.0),
            json!((1_u64 << 53) + 1)
        ]),
        ".{0,8}".prop_map(Value::from),
        Just(json!("zero\u{0}zero")),
        Just((0..90).fold(json!({}), |inner, _| json!({"": [inner]}))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let object = prop::collection::hash_map(prop_oneof![".{0,4}", Just("\u{0}".to_owned())], inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|map| Value::Object(map.into_iter().collect()))
        ]
    })
}

#[tokio::test]
async fn two_thousand_objects_of_any_shape_wedge_nothing() {
    let (world, writer) = world().await;
    let mut runner = TestRunner::deterministic();
    // Each object takes five of these, in another combination than the others.
    let pool: Vec<Value> = (0..250).map(|_| any_json().new_tree(&mut runner).unwrap().current()).collect();
    let mut taken = 0;
    let mut generate = || {
        taken += 7919;
        pool[(taken + taken / 250) % 250].clone()
    };
    let rows: Vec<MirrorRow> = (0..2000)
        .map(|number| MirrorRow {
            object: json!({"metadata": {"labels": generate(), "creationTimestamp": generate(), "deletionTimestamp": generate()},
                           "spec": generate(), "status": generate()}),
            ..row(&named(&world, &format!("n{number}")), if number % 100 == 0 { "0" } else { "7" }, number, json!({}))
        })
        .collect();
    let mirrored = writer.mirror_relist(KIND, None, &rows, None).await.unwrap();
    assert_eq!((mirrored.written, mirrored.quarantined.len()), (1980, 20));
    let again = writer.mirror_apply(KIND, &rows).await.unwrap();
    assert_eq!((again.written, again.unchanged), (0, 1980));
    let reports = landfall::ledger::audit::verify(world.ledger.pool(), None, &[]).await.unwrap();
    assert_eq!((reports[0].events, reports[0].damage), (1980, None));
}

/// What the API server does to six objects, and what of it the watch delivers.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Change { object: usize, delivered: u8 },
    Delete { object: usize, delivered: bool },
    Relist,
}

fn any_turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        6 => (0..6usize, 0..3u8).prop_map(|(object, delivered)| Turn::Change { object, delivered }),
        2 => (0..6usize, any::<bool>()).prop_map(|(object, delivered)| Turn::Delete { object, delivered }),
        1 => Just(Turn::Relist),
    ]
}

#[tokio::test]
async fn after_a_relist_the_live_rows_are_the_list_whatever_came_before() {
    let (world, writer) = world().await;
    let mut runner = TestRunner::deterministic();
    let mut subjects: Vec<Subject> = (0..6).map(|number| named(&world, &format!("n{number}"))).collect();
    let mut live: BTreeMap<String, MirrorRow> = BTreeMap::new();
    let mut late: Vec<MirrorRow> = Vec::new();
    let mut rv = 98;
    let turns = prop::collection::vec(any_turn(), 250).new_tree(&mut runner).unwrap().current();
    for turn in turns.into_iter().chain([Turn::Relist]) {
        rv += 1;
        match turn {
            Turn::Change { object, delivered } => {
                let changed = row(&subjects[object], &rv.to_string(), rv, json!({"rv": rv}));
                live.insert(subjects[object].name.clone(), changed.clone());
                // Lost until the next list, kept back to come late, or delivered twice with what was kept back after it.
                match delivered {
                    0 => {}
                    1 => late.push(changed),
                    _ => {
                        writer.mirror_apply(KIND, &[changed.clone(), changed]).await.unwrap();
                        writer.mirror_apply(KIND, &std::mem::take(&mut late)).await.unwrap();
                    }
                }
            }
            Turn::Delete { object, delivered } => {
                if live.remove(&subjects[object].name).is_some() && delivered {
                    writer.mirror_delete(KIND, subjects[object].uid, Timestamp::now()).await.unwrap();
                }
                subjects[object].uid = uuid::Uuid::now_v7();
            }
            Turn::Relist => {
                late.clear();
                let list: Vec<MirrorRow> = live.values().cloned().collect();
                writer.mirror_relist(KIND, None, &list, Some(&rv.to_string())).await.unwrap();
                let found: Vec<(String, String)> =
                    sqlx::query_as("SELECT name, resource_version::text FROM terraform_deployments WHERE deleted_at IS NULL ORDER BY name")
                        .fetch_all(world.ledger.pool())
                        .await
                        .unwrap();
                let expected: Vec<_> =
                    live.iter().map(|(name, row)| (name.clone(), row.resource_version.clone())).collect();
                assert_eq!(found, expected, "at {rv}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_counts_for_the_watch_that_it_came_by() {
    let (world, writer) = world().await;
    let web = world.subject("acme");
    for namespace in ["shop", "other"] {
        writer.mirror_relist(KIND, Some(namespace), &[], None).await.unwrap();
    }
    writer.mirror_apply(KIND, &[row(&web, "1", 1, json!({}))]).await.unwrap();
    let marks = async || -> Vec<(String, bool)> {
        sqlx::query_as("SELECT namespace, last_event_at IS NOT NULL FROM mirror_watermarks ORDER BY namespace")
            .fetch_all(world.ledger.pool())
            .await
            .unwrap()
    };
    assert_eq!(marks().await, [("other".into(), false), ("shop".into(), true)]);
    // Another configuration, after a restart: all namespaces at once.
    let writer = world.writer().await;
    sqlx::query("UPDATE mirror_watermarks SET last_event_at = NULL").execute(world.ledger.pool()).await.unwrap();
    writer.mirror_relist(KIND, None, &[row(&web, "1", 1, json!({}))], None).await.unwrap();
    writer.mirror_delete(KIND, web.uid, Timestamp::now()).await.unwrap();
    assert_eq!(marks().await, [(String::new(), true), ("other".into(), false), ("shop".into(), false)]);
}

/// Of an hour as of a year: how much of what was left at the renewal is gone.
#[tokio::test]
async fn the_latest_renewal_is_told_as_a_share_of_what_was_left_for_it() {
    let world = World::new().await;
    let writer = world.writer().await;
    let late = async || world.ledger.figures(world.cluster).await.unwrap().renewal_lateness;
    assert_eq!(late().await, None);
    let of = async |name: &str, renewal: Option<i64>, end: i64| {
        let subject = Subject { kind: ObjectKind::Certificate, uid: Uuid::now_v7(), ..named(&world, name) };
        let at = |minutes: i64| (Timestamp::now() + SignedDuration::from_mins(minutes)).strftime("%FT%TZ").to_string();
        let begin = if renewal.is_some() { -60 } else { end - 90 * 24 * 60 };
        let status = json!({"renewalTime": renewal.map(at), "notBefore": at(begin), "notAfter": at(end)});
        let object = json!({"metadata": {}, "spec": {}, "status": status});
        let row = MirrorRow { object, ..row(&subject, "1", 1, json!({})) };
        assert_eq!(writer.mirror_apply(ObjectKind::Certificate, &[row]).await.unwrap().written, 1);
        late().await.unwrap()
    };
    assert_eq!(of("fresh", Some(20), 40).await, 0.0);
    assert!((of("short", Some(-5), 15).await - 0.25).abs() < 0.02, "a quarter of the last twenty minutes");
    assert!((of("imported", None, 7 * 24 * 60).await - 0.5).abs() < 0.02, "due 14 days before its end");
    assert!(of("over", Some(-60), -20).await > 1.0);
    assert!(of("backwards", Some(60), 20).await > 1.0, "the latest counts");
}
