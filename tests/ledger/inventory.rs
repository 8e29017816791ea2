//! The inventory, beside what is told of it with the runs.

use std::time::Duration;

use landfall::api::Reason;
use landfall::ledger::{Finish, Heard, Refusal, Standing};
use landfall::run::protocol::{ResourceAction, ResourceEvent, RunPhase};
use serde_json::json;

use crate::given::{applying, result};
use crate::states::state;
use crate::world::World;

fn event(number: usize, what: ResourceAction) -> ResourceEvent {
    ResourceEvent {
        address: format!("t.a[{number}]"),
        resource_type: "t".into(),
        provider: None,
        id: (what == ResourceAction::Created).then(|| format!("i-{number}")),
        what,
    }
}

#[tokio::test]
async fn thousands_of_events_at_once_are_each_taken_once() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let run = applying(&writer, &subject).await;
    let events: Vec<_> =
        (0..1200).flat_map(|n| [event(n, ResourceAction::CreateStarted), event(n, ResourceAction::Created)]).collect();
    writer.put_resources(run, 0, &events[..7]).await.unwrap().unwrap();
    for _ in 0..2 {
        writer.put_resources(run, 0, &events).await.unwrap().unwrap();
    }
    let found = writer.inventory(subject.uid).await.unwrap();
    assert_eq!(found.len(), 1200);
    assert!(found.iter().all(|r| r.standing == Standing::Managed && r.id.is_some()));
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM run_resource_events").fetch_one(writer.pool()).await.unwrap();
    assert_eq!(kept, 2400);
}

/// `given::PLAN_JSON` makes `t.a`.
#[tokio::test]
async fn what_a_lost_run_planned_and_nobody_heard_of_is_left_over() {
    let world = World::new().await;
    for (organization, heard, expected) in [("heard", Heard::All, 0), ("unheard", Heard::Part, 1)] {
        let (writer, subject) = (world.writer().await, world.subject(organization));
        let run = applying(&writer, &subject).await;
        let lost = writer.run(run).await.unwrap().unwrap();
        assert!(writer.interrupt(&lost, Reason::Interrupted, None, heard).await.unwrap());
        let found = writer.inventory(subject.uid).await.unwrap();
        assert_eq!(found.len(), expected, "{found:?}");
        let is = |r: &landfall::ledger::Resource| {
            (r.address.as_str(), r.standing, r.run) == ("t.a", Standing::Leftover, run)
        };
        assert!(found.iter().all(is), "{found:?}");
    }
}

#[tokio::test]
async fn an_id_that_the_run_itself_made_a_secret_is_in_no_inventory() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let run = applying(&writer, &subject).await;
    writer.lock(run, &json!({"ID": "l"})).await.unwrap().unwrap();
    let path = json!([[{"type": "get_attr", "value": "id"}]]);
    let bytes = json!({"version": 4, "serial": 1, "lineage": "a", "outputs": {}, "resources": [{"mode": "managed",
        "type": "t", "name": "a", "provider": "p", "instances": [
            {"attributes": {"id": "made-secret-by-itself"}, "sensitive_attributes": path},
            {"index_key": "made-secret-by-itself", "attributes": {"id": "plain"}}]}]});
    writer.put_state(run, Some("l"), bytes.to_string().as_bytes()).await.unwrap().unwrap();
    writer.finish(run, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    let found = writer.inventory(subject.uid).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(!format!("{found:?}").contains("made-secret"), "{found:?}");
    assert!(found.iter().any(|r| r.id.as_deref() == Some("plain")));
}

/// Both wait for the run's lock: the write came first, and the end must not go by the state before it.
#[tokio::test]
async fn a_state_that_was_under_way_when_the_run_ended_is_the_one_that_it_ends_with() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let run = applying(&writer, &subject).await;
    writer.lock(run, &json!({"ID": "l"})).await.unwrap().unwrap();
    writer.put_state(run, Some("l"), state(1, "a", 1).as_bytes()).await.unwrap().unwrap();

    let mut other = world.database.superuser().await;
    let hold = "BEGIN; SET LOCAL search_path = landfall; SELECT FROM terraform_runs FOR UPDATE";
    sqlx::Executor::execute(&mut other, hold).await.unwrap();
    let waiting = async |wanted: i64| {
        let mut watcher = world.database.superuser().await;
        let count =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut watcher).await.unwrap() < wanted {
            assert!(std::time::Instant::now() < end, "{wanted} wait");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (first, second) = (writer.clone(), writer.clone());
    let write =
        tokio::spawn(async move { first.put_state(run, Some("l"), state(2, "a", 3).as_bytes()).await.unwrap() });
    waiting(1).await;
    let end = tokio::spawn(async move { second.finish(run, &result(RunPhase::Succeeded)).await.unwrap() });
    waiting(2).await;
    sqlx::Executor::execute(&mut other, "COMMIT").await.unwrap();
    assert_eq!(write.await.unwrap(), Ok(()));
    assert_eq!(end.await.unwrap(), Ok(Finish::Recorded));
    assert_eq!(writer.run(run).await.unwrap().unwrap().state_serial, Some(2));
    let live = writer.inventory(subject.uid).await.unwrap();
    assert_eq!(live.iter().filter(|r| r.standing == Standing::Managed).count(), 3, "{live:?}");
    assert_eq!(writer.append_log(run, 0, b"late").await.unwrap(), Err(Refusal::Ended), "nor is its log written on");
}

#[tokio::test]
async fn an_id_that_is_a_secret_is_not_in_the_inventory() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = applying(&writer, &subject).await;
    writer.lock(id, &json!({"ID": "l"})).await.unwrap().unwrap();
    let bytes = crate::states::state(1, "a", 1)
        .replace("\"id\":\"0\"", "\"id\":\"key-s3cret\"")
        .replace("\"index_key\":0", "\"index_key\":\"s3cret\"");
    writer.put_state(id, Some("l"), bytes.as_bytes()).await.unwrap().unwrap();
    writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    let found = &writer.inventory(subject.uid).await.unwrap()[0];
    assert_eq!((found.address.as_str(), found.id.as_deref()), ("t.a[\"«redacted»\"]", Some("key-«redacted»")));
}
