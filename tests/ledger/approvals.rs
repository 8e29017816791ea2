//! Approvals: what one is good for, and that it is used up once.

use landfall::api::{Change, Reason};
use landfall::ledger::{ApplyRun, Approval, ApprovalTaken, Subject};
use landfall::run::protocol::RunPhase;

use crate::given::{actions, apply_of, interrupt, planned};
use crate::world::World;

#[tokio::test]
async fn of_many_who_would_apply_one_plan_exactly_one_does() {
    let world = World::new().await;
    let writer = world.writer().await;
    for (name, approval) in [("one", Approval::Person), ("two", Approval::Automatic)] {
        let subject = Subject { name: name.into(), ..world.subject("acme") };
        let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
        writer.record_approval(&subject, &digest, "alice").await.unwrap();
        let tries = (0..20).map(|_| writer.create_apply_run(apply_of(&subject, plan, &digest, approval)));
        let results: Vec<_> = futures::future::join_all(tries).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results.iter().filter(|r| **r == ApplyRun::Created).count(), 1, "{results:?}");
        assert_eq!(results.iter().filter(|r| **r == ApplyRun::AlreadyApplied).count(), 19, "{results:?}");
        let active = world.ledger.active_runs(world.cluster).await.unwrap();
        assert!(interrupt(&writer, active[0].id).await.unwrap());
        let intents: i64 = sqlx::query_scalar("SELECT count(*) FROM intents WHERE outcome = 'Failed'")
            .fetch_one(world.ledger.pool())
            .await
            .unwrap();
        assert!(intents > 0, "an apply that never began has changed nothing");
    }
}

#[tokio::test]
async fn an_approval_is_used_up_by_one_apply_and_a_second_one_hears_of_it() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
    let apply = || apply_of(&subject, plan, &digest, Approval::Person);
    assert_eq!(writer.create_apply_run(apply()).await.unwrap(), ApplyRun::NotApproved);
    assert_eq!(writer.record_approval(&subject, &digest, "alice").await.unwrap(), ApprovalTaken::Recorded);
    let again = writer.record_approval(&subject, &digest, "bob").await.unwrap();
    assert!(matches!(&again, ApprovalTaken::Already { by, .. } if by == "alice"), "{again:?}");
    let other = format!("sha256:{}", "0".repeat(64));
    assert_eq!(writer.record_approval(&subject, &other, "alice").await.unwrap(), ApprovalTaken::Stale);
    assert_eq!(
        writer.create_apply_run(apply_of(&subject, plan, &other, Approval::Automatic)).await.unwrap(),
        ApplyRun::NotApproved
    );
    assert_eq!(writer.create_apply_run(apply()).await.unwrap(), ApplyRun::Created);
    assert_eq!(writer.create_apply_run(apply()).await.unwrap(), ApplyRun::AlreadyApplied);
    let again = writer.record_approval(&subject, &digest, "alice").await.unwrap();
    let row = world.ledger.approval(&subject.organization, &digest).await.unwrap().unwrap();
    assert!(row.by == "alice" && row.consumed_by.is_some());
    assert_eq!(again, ApprovalTaken::Applied(row.consumed_by.unwrap()));
    let seen = actions(&world).await;
    let count = |action: &str| seen.iter().filter(|a| *a == action).count();
    assert_eq!((count("approval.given"), count("approval.refused"), count("apply.started")), (1, 1, 1), "{seen:?}");
}

#[tokio::test]
async fn an_approval_for_an_older_plan_is_refused() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let (old, old_digest) = planned(&writer, &subject, Change::Apply).await;
    writer.record_approval(&subject, &old_digest, "alice").await.unwrap();
    let (_, new_digest) = planned(&writer, &subject, Change::Apply).await;
    assert_ne!(old_digest, new_digest, "the same input, another plan");
    assert_eq!(writer.record_approval(&subject, &old_digest, "alice").await.unwrap(), ApprovalTaken::Stale);
    let apply = apply_of(&subject, old, &old_digest, Approval::Person);
    assert_eq!(writer.create_apply_run(apply).await.unwrap(), ApplyRun::Superseded);
    planned(&writer, &subject, Change::Destroy).await;
    assert_eq!(writer.record_approval(&subject, &new_digest, "alice").await.unwrap(), ApprovalTaken::Recorded);
}

#[tokio::test]
async fn another_deployment_cannot_use_the_plan_or_its_approval() {
    let world = World::new().await;
    let (writer, subject, thief) = (world.writer().await, world.subject("acme"), world.subject("acme"));
    let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
    writer.record_approval(&subject, &digest, "alice").await.unwrap();
    assert_eq!(writer.record_approval(&thief, &digest, "alice").await.unwrap(), ApprovalTaken::Stale);
    for approval in [Approval::Person, Approval::Automatic] {
        let apply = apply_of(&thief, plan, &digest, approval);
        assert_eq!(writer.create_apply_run(apply).await.unwrap(), ApplyRun::Superseded);
    }
}

#[tokio::test]
async fn a_plan_that_may_no_longer_be_applied_is_marked_so_that_another_one_follows() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let (old, digest) = planned(&writer, &subject, Change::Apply).await;
    planned(&writer, &subject, Change::Apply).await;
    for _ in 0..2 {
        let apply = apply_of(&subject, old, &digest, Approval::Automatic);
        assert_eq!(writer.create_apply_run(apply).await.unwrap(), ApplyRun::Superseded);
    }
    let run = writer.run(old).await.unwrap().unwrap();
    assert_eq!((run.phase, run.reason), (RunPhase::Succeeded, Some(Reason::StalePlan)));
    let seen = actions(&world).await;
    assert_eq!(seen.iter().filter(|a| *a == "plan.superseded").count(), 1, "{seen:?}");
}
