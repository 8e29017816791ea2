//! What a run came to: told late, unknown, settled by a later one.

use landfall::api::{Change, Reason};
use landfall::ledger::{Actor, Approval, Finish, Refusal, Standing, Subject};
use landfall::run::protocol::{Progress, ResourceAction, ResourceEvent, RunPhase};
use serde_json::json;

use crate::given::{
    NO_CHANGES, actions, apply_of, applying, approved, enter, holder, interrupt, plan_of, planned, result,
};
use crate::world::World;

/// What an auditor is told of intents without a known end: the deployment's name and the outcome.
async fn unknown(world: &World) -> Vec<String> {
    sqlx::query_scalar("SELECT o.name FROM intents i JOIN intent_objects o USING (intent_id) WHERE i.outcome IS NULL OR i.outcome = 'Unknown' ORDER BY i.created_at")
        .fetch_all(world.ledger.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_result_after_the_run_was_given_up_is_recorded_and_changes_nothing() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = applying(&writer, &subject).await;
    let event = |what, id: Option<&str>| ResourceEvent {
        address: "t.a".into(),
        resource_type: "t".into(),
        provider: None,
        id: id.map(Into::into),
        what,
    };
    let events = [event(ResourceAction::CreateStarted, None), event(ResourceAction::Created, Some("i-1"))];
    for _ in 0..2 {
        assert_eq!(writer.put_resources(id, 0, &events).await.unwrap(), Ok(()));
    }
    assert!(interrupt(&writer, id).await.unwrap());
    assert!(!interrupt(&writer, id).await.unwrap());
    for _ in 0..2 {
        assert_eq!(writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap(), Ok(Finish::Late));
    }
    let run = writer.run(id).await.unwrap().unwrap();
    assert_eq!((run.phase, run.reason), (RunPhase::Interrupted, Some(Reason::Interrupted)));
    let outcome: String =
        sqlx::query_scalar("SELECT outcome FROM intents").fetch_one(world.ledger.pool()).await.unwrap();
    assert_eq!(outcome, "Done", "its own runner told it, if late");
    let left = world.ledger.inventory(subject.uid).await.unwrap();
    assert_eq!((left.len(), left[0].id.as_deref(), left[0].standing), (1, Some("i-1"), Standing::Leftover));
    let seen = actions(&world).await;
    assert_eq!(seen.iter().filter(|a| *a == "run.late-result").count(), 1, "{seen:?}");
    assert_eq!(writer.put_resources(id, 2, &events).await.unwrap(), Err(Refusal::Ended));
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_the_next_plan_that_finds_nothing_to_change() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let other = Subject { name: "other".into(), ..world.subject("acme") };
    for subject in [&subject, &other] {
        let id = applying(&writer, subject).await;
        assert!(interrupt(&writer, id).await.unwrap());
    }
    planned(&writer, &subject, Change::Apply).await;
    assert_eq!(unknown(&world).await, ["web", "other"], "a plan that would change something says nothing");
    let found = plan_of(&writer, &subject, Change::Apply, NO_CHANGES).await;
    assert_eq!(unknown(&world).await, ["other"]);
    let (outcome, by): (String, String) =
        sqlx::query_as("SELECT outcome, outcome_details ->> 'run' FROM intents WHERE outcome = 'Settled'")
            .fetch_one(world.ledger.pool())
            .await
            .unwrap();
    assert_eq!((outcome.as_str(), by), ("Settled", found.0.to_string()));
    let told: serde_json::Value = sqlx::query_scalar(
        "SELECT details FROM activity_log WHERE action = 'intent.concluded' AND object_name = 'web' ORDER BY seq DESC LIMIT 1",
    )
    .fetch_one(world.ledger.pool())
    .await
    .unwrap();
    assert_eq!((&told["outcome"], &told["details"]["run"]), (&json!("Settled"), &json!(found.0)), "{told}");
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_the_next_apply_that_succeeds() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let dead = applying(&writer, &subject).await;
    assert!(interrupt(&writer, dead).await.unwrap());
    let failed = approved(&writer, &subject).await;
    writer.finish(failed, &result(RunPhase::Failed)).await.unwrap().unwrap();
    assert_eq!(unknown(&world).await, ["web"], "an apply that failed says nothing");
    let id = approved(&writer, &subject).await;
    writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    assert!(unknown(&world).await.is_empty());
    // What is settled stays so, whatever the dead run's runner tells afterwards.
    assert_eq!(writer.finish(dead, &result(RunPhase::Failed)).await.unwrap(), Ok(Finish::Late));
    let outcomes: Vec<String> = sqlx::query_scalar("SELECT outcome FROM intents ORDER BY created_at")
        .fetch_all(world.ledger.pool())
        .await
        .unwrap();
    assert_eq!(outcomes, ["Settled", "Failed", "Done"]);
}

#[tokio::test]
async fn an_apply_whose_cancel_was_acknowledged_does_not_begin() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
    let new = apply_of(&subject, plan, &digest, Approval::Automatic);
    let id = new.id;
    writer.create_apply_run(new).await.unwrap();
    writer.claim(id, &holder(2)).await.unwrap().unwrap();
    enter(&writer, id, RunPhase::Init).await;
    assert!(writer.request_cancel(id, &Actor::User("alice".into())).await.unwrap());
    let progress = Progress { phase: RunPhase::Apply };
    assert_eq!(writer.set_phase(id, &progress).await.unwrap(), Err(Refusal::Cancelled));
    assert_eq!(writer.run(id).await.unwrap().unwrap().applying_at, None);
    writer.finish(id, &result(RunPhase::Cancelled)).await.unwrap().unwrap();
    assert!(unknown(&world).await.is_empty());
}
