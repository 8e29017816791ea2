//! The activity chain under load, and its fence.

use std::collections::BTreeSet;
use std::time::Instant;

use landfall::Error;
use landfall::api::Organization;
use landfall::ledger::{Actor, Event, HistoryFilter, NewIntent, Outcome, audit, history};
use serde_json::{Value, json};

use crate::world::{World, event};

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_make_one_dense_chain() {
    let world = World::new().await;
    let (subject, other) = (world.subject("acme"), world.subject("other"));
    // Half of them by another replica, and some by units of work beside the appender.
    let replica = world.database.ledger().await;
    let writers = (0..32).map(|writer| {
        let ledger = if writer % 2 == 0 { world.ledger.clone() } else { replica.clone() };
        let (subject, other) = (subject.clone(), other.clone());
        tokio::spawn(async move {
            let mut seqs = Vec::new();
            for number in 0..200 {
                if number % 50 == 7 {
                    let mut transaction = ledger.begin(&subject.organization).await.unwrap();
                    transaction.append(event(&other, number));
                    transaction.append(event(&subject, number));
                    seqs.push(transaction.commit().await.unwrap()[1]);
                } else {
                    seqs.push(ledger.record(event(&subject, writer * 1000 + number)).await.unwrap());
                }
            }
            seqs
        })
    });
    let seqs: Vec<i64> = futures::future::join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(seqs.iter().copied().collect::<BTreeSet<_>>(), (1..=6400).collect());
    let reports = audit::verify(world.ledger.pool(), None, &[]).await.unwrap();
    assert_eq!(
        reports.iter().map(|report| (report.events, report.damage)).collect::<Vec<_>>(),
        [(6400, None), (128, None)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_once_however_often_connections_die() {
    let world = World::new().await;
    let subject = world.subject("acme");
    let writers = (0..16).map(|writer| {
        let (ledger, subject) = (world.ledger.clone(), subject.clone());
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in writer * 1000..writer * 1000 + 100 {
                if let Ok(seq) = ledger.record(event(&subject, number)).await {
                    acknowledged.push((seq, number));
                }
            }
            acknowledged
        })
    });
    let writers = futures::future::join_all(writers);
    let mut admin = world.database.superuser().await;
    let killer = async {
        let mut killed = 0;
        while killed < 20 {
            let appending = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                             WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'INSERT INTO activity_log%'";
            killed += sqlx::query_scalar::<_, i64>(appending).fetch_one(&mut admin).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let acknowledged: Vec<(i64, i64)> = tokio::select! {
        done = writers => done.into_iter().flat_map(Result::unwrap).collect(),
        () = killer => unreachable!("it waits when it is done"),
    };
    let rows =
        history(world.ledger.pool(), &HistoryFilter { limit: 10_000, ..HistoryFilter::default() }).await.unwrap();
    let stored: Vec<(i64, i64)> = rows.iter().map(|row| (row.seq, row.details["number"].as_i64().unwrap())).collect();
    let numbers: BTreeSet<i64> = stored.iter().map(|row| row.1).collect();
    assert_eq!(numbers.len(), stored.len(), "no event is there twice");
    let stored: BTreeSet<_> = stored.into_iter().collect();
    assert!(acknowledged.iter().all(|event| stored.contains(event)), "an acknowledged event is there under its number");
    println!("{} acknowledged, {} stored, of 1600", acknowledged.len(), stored.len());
    let reports = audit::verify(world.ledger.pool(), None, &[]).await.unwrap();
    assert_eq!((usize::try_from(reports[0].events).unwrap(), reports[0].damage), (stored.len(), None));
}

/// `cargo test --release --test ledger -- --ignored --nocapture appends_per_second`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn appends_per_second() {
    let world = World::new().await;
    for (callers, organizations) in [(1, 1), (64, 1), (256, 1), (256, 16)] {
        let subjects: Vec<_> =
            (0..organizations).map(|number| world.subject(&format!("org-{callers}-{number}"))).collect();
        let begin = Instant::now();
        let each = 20_000 / callers / if callers == 1 { 10 } else { 1 };
        let tasks = (0..callers).map(|caller| {
            let (ledger, subject) = (world.ledger.clone(), subjects[caller % organizations].clone());
            tokio::spawn(async move {
                for number in 0..each {
                    ledger.record(event(&subject, i64::try_from(number).unwrap())).await.unwrap();
                }
            })
        });
        futures::future::join_all(tasks).await;
        let count = u128::try_from(each * callers).unwrap();
        println!(
            "{callers} callers, {organizations} organizations: {} appends/s",
            count * 1000 / begin.elapsed().as_millis().max(1)
        );
    }
}

#[tokio::test]
async fn events_are_numbered_without_a_gap() {
    let world = World::new().await;
    let subject = world.subject("acme");
    for number in 1..=5 {
        assert_eq!(world.ledger.record(event(&subject, number)).await.unwrap(), number);
    }
}

#[tokio::test]
async fn odd_details_are_stored_and_verified() {
    let world = World::new().await;
    let subject = world.subject("acme");
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    for details in [
        json!({"big": u64::MAX, "small": i64::MIN, "exact": 1_u64 << 53, "float": 1.5e300, "minus": -0.0, "tiny": 5e-324}),
        json!({"zero\u{0}": "a\u{0}b", "emoji": "🦀", "quotes": "\"\\\n\u{7f}\u{2028}"}),
        json!(null),
        json!("text"),
        json!([1, 2.50, 1e2]),
        deep,
    ] {
        let event = Event { actor: Actor::FieldManager("kube\u{0}ctl".into()), details, ..event(&subject, 1) };
        world.ledger.record(event).await.unwrap();
    }
    let reports = audit::verify(world.ledger.pool(), None, &[]).await.unwrap();
    assert_eq!((reports[0].events, reports[0].damage), (6, None));
    let rows = history(world.ledger.pool(), &HistoryFilter::default()).await.unwrap();
    assert_eq!(rows[0].details["big"], json!("18446744073709551615"));
    assert_eq!(rows[1].details["zero\\u0000"], json!("a\\u0000b"));
}

#[tokio::test]
async fn a_unit_of_work_that_is_dropped_leaves_nothing() {
    let world = World::new().await;
    let subject = world.subject("acme");
    let mut transaction = world.ledger.begin(&subject.organization).await.unwrap();
    transaction.append(event(&subject, 1));
    drop(transaction);
    assert_eq!(world.ledger.record(event(&subject, 2)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_deposed_leader_writes_nothing() {
    let world = World::new().await;
    let subject = world.subject("acme");
    let old = world.writer().await;
    let new = world.writer().await;
    assert_eq!(new.epoch(), old.epoch() + 1);
    assert!(matches!(old.begin(&subject.organization).await.err(), Some(Error::Deposed(_))));
    assert!(matches!(old.record(event(&subject, 1)).await, Err(Error::Deposed(_))));
    let intent = NewIntent {
        subjects: vec![subject.clone()],
        call: "test.call",
        why: "a test".into(),
        approved_by: None,
        details: json!({}),
        parts: vec![],
    };
    assert!(matches!(old.intend(intent.clone()).await, Err(Error::Deposed(_))));
    assert_eq!(new.record(event(&subject, 1)).await.unwrap(), 1);
    let intent = new.intend(intent).await.unwrap();
    assert!(matches!(old.conclude(intent, Outcome::Done, json!({})).await, Err(Error::Deposed(_))));
    new.conclude(intent, Outcome::Done, json!({})).await.unwrap();
    assert_eq!(new.record(event(&subject, 2)).await.unwrap(), 4);
    assert!(old.begin(&Organization("unheard-of".into())).await.is_err());
    let known: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM organizations WHERE organization_id = 'unheard-of')")
            .fetch_one(world.ledger.pool())
            .await
            .unwrap();
    assert!(!known, "not even an organization");
}

#[tokio::test]
async fn no_new_leader_is_elected_inside_a_unit_of_work() {
    let world = World::new().await;
    let subject = world.subject("acme");
    let old = world.writer().await;
    let mut transaction = old.begin(&subject.organization).await.unwrap();
    transaction.append(event(&subject, 1));
    let (ledger, cluster) = (world.ledger.clone(), world.cluster);
    let mut election = tokio::spawn(async move { ledger.lead(cluster, "another").await });
    let waited = tokio::time::timeout(std::time::Duration::from_millis(300), &mut election).await;
    assert!(waited.is_err(), "the election waits for the unit of work");
    assert_eq!(transaction.commit().await.unwrap(), [1]);
    assert_eq!(election.await.unwrap().unwrap().epoch(), old.epoch() + 1);
    assert!(matches!(old.record(event(&subject, 2)).await, Err(Error::Deposed(_))));
}

#[tokio::test]
async fn a_deposed_leaders_event_does_not_take_others_with_it() {
    let world = World::new().await;
    let subject = world.subject("acme");
    let old = world.writer().await;
    let new = world.writer().await;
    let (old, new, any) = tokio::join!(
        old.record(event(&subject, 1)),
        new.record(event(&subject, 2)),
        world.ledger.record(event(&subject, 3))
    );
    assert!(matches!(old, Err(Error::Deposed(_))), "{old:?}");
    assert_eq!(BTreeSet::from([new.unwrap(), any.unwrap()]), BTreeSet::from([1, 2]));
}

#[tokio::test]
async fn an_intents_outcome_is_final_but_unknown_can_be_settled() {
    let world = World::new().await;
    let writer = world.writer().await;
    let subjects = vec![world.subject("acme"), world.subject("other")];
    let intent = NewIntent {
        subjects,
        call: "test.call",
        why: "a test".into(),
        approved_by: Some("alice".into()),
        details: json!({"plan": 1}),
        parts: vec![json!({"its": "own"})],
    };
    let intent = writer.intend(intent).await.unwrap();
    writer.conclude(intent, Outcome::Unknown, json!({})).await.unwrap();
    writer.conclude(intent, Outcome::Unknown, json!({})).await.unwrap();
    writer.conclude(intent, Outcome::Done, json!({})).await.unwrap();
    let error = writer.conclude(intent, Outcome::Failed, json!({})).await.unwrap_err();
    assert!(error.to_string().contains("ended as Done"), "{error}");
    let actions = |rows: Vec<landfall::ledger::ActivityRow>| rows.into_iter().map(|row| row.action).collect::<Vec<_>>();
    for organization in ["acme", "other"] {
        let filter = HistoryFilter { organization: Some(organization.into()), ..HistoryFilter::default() };
        let actions = actions(history(world.ledger.pool(), &filter).await.unwrap());
        assert_eq!(actions, ["intent.made", "intent.concluded", "intent.concluded"]);
    }
}

#[tokio::test]
async fn what_was_told_once_of_an_object_is_not_told_again() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    for number in [1, 1, 2, 2] {
        writer.record_once(event(&subject, number)).await.unwrap();
    }
    writer.record_once(event(&world.subject("acme"), 1)).await.unwrap();
    let told: Vec<Value> = sqlx::query_scalar("SELECT details FROM activity_log ORDER BY seq")
        .fetch_all(world.ledger.pool())
        .await
        .unwrap();
    assert_eq!(told, [json!({"number": 1}), json!({"number": 2}), json!({"number": 1})]);
}
