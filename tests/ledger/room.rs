//! Limits of runs under way: counted by organization and by credential in the unit of work that begins one.

use landfall::Error;
use landfall::api::{Change, Organization};
use landfall::ledger::{
    ApplyRun, Approval, Limit, NewApplyRun, NewPlanRun, Obstacle, Others, PlanRun, Room, Subject, UnderWay, Writer,
    state_key,
};
use landfall::run::protocol::{Artifact, RunPhase};
use serde_json::json;
use uuid::Uuid;

use crate::given::{PLAN_JSON, apply_of, applying, enter, holder, interrupt, plan_run, planned, result};
use crate::world::World;

/// A plan with this credential: its run, or what stands in its way.
async fn plan(writer: &Writer, subject: &Subject, credential: Option<Uuid>, room: Room) -> Result<Uuid, Obstacle> {
    let facts = json!({"variablesHmac": "hmac-sha256:00", "credential": credential.map(|uid| json!({"uid": uid}))});
    let new = NewPlanRun { room, facts, ..plan_run(subject, Change::Apply, "s") };
    let id = new.id;
    match writer.create_plan_run(new).await.unwrap() {
        PlanRun::Created => Ok(id),
        PlanRun::Hindered(obstacle) => Err(obstacle),
    }
}

fn limit<T: std::fmt::Debug>(found: Result<T, Obstacle>) -> Limit {
    match found.unwrap_err() {
        Obstacle::NoPlace { limit, .. } => limit,
        other => panic!("{other:?}"),
    }
}

fn counted(runs: &[(&str, Option<Uuid>)]) -> UnderWay {
    let mut under_way = UnderWay::default();
    runs.iter().for_each(|(of, with)| under_way.add(&Organization((*of).into()), *with));
    under_way
}

#[tokio::test]
async fn an_organization_that_has_its_places_leaves_the_others_to_others() {
    let world = World::new().await;
    let writer = world.writer().await;
    let room = Room { per_organization: Some(2), ..Room::of(3) };
    let theirs: Vec<_> = (0..3).map(|_| world.subject("a")).collect();
    let first = plan(&writer, &theirs[0], None, room).await.unwrap();
    plan(&writer, &theirs[1], None, room).await.unwrap();
    let full = Obstacle::NoPlace { limit: Limit::Organization, under_way: counted(&[("a", None), ("a", None)]) };
    assert_eq!(plan(&writer, &theirs[2], None, room).await, Err(full));
    plan(&writer, &world.subject("b"), None, room).await.unwrap();
    assert_eq!(limit(plan(&writer, &world.subject("b"), None, room).await), Limit::Runs);
    interrupt(&writer, first).await.unwrap();
    plan(&writer, &theirs[2], None, room).await.unwrap();
}

#[tokio::test]
async fn an_apply_counts_for_the_credential_of_its_plan() {
    let world = World::new().await;
    let writer = world.writer().await;
    let (credential, other) = (Uuid::now_v7(), Uuid::now_v7());
    let room = Room { per_credential: Some(1), ..Room::of(9) };
    let subject = world.subject("a");
    writer.claim_state(&subject, &state_key(&subject), None).await.unwrap();
    let planned = plan(&writer, &subject, Some(credential), room).await.unwrap();
    assert_eq!(limit(plan(&writer, &world.subject("b"), Some(credential), room).await), Limit::Credential);
    writer.claim(planned, &holder(1)).await.unwrap().unwrap();
    enter(&writer, planned, RunPhase::Plan).await;
    for artifact in Artifact::ALL {
        writer.put_artifact(planned, artifact, PLAN_JSON.as_bytes()).await.unwrap().unwrap();
    }
    writer.finish(planned, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    let digest = writer.run(planned).await.unwrap().unwrap().digest.unwrap();
    let apply = || NewApplyRun { room, ..apply_of(&subject, planned, &digest, Approval::Automatic) };

    let before = plan(&writer, &world.subject("b"), Some(credential), room).await.unwrap();
    let ApplyRun::Hindered(obstacle) = writer.create_apply_run(apply()).await.unwrap() else { panic!("it began") };
    assert_eq!(limit::<()>(Err(obstacle)), Limit::Credential);
    interrupt(&writer, before).await.unwrap();
    assert_eq!(writer.create_apply_run(apply()).await.unwrap(), ApplyRun::Created);
    let under_way = world.ledger.under_way(world.cluster).await.unwrap();
    assert_eq!(under_way, counted(&[("a", Some(credential))]));
    assert_eq!(limit(plan(&writer, &world.subject("b"), Some(credential), room).await), Limit::Credential);
    plan(&writer, &world.subject("b"), Some(other), room).await.unwrap();
    plan(&writer, &world.subject("b"), None, room).await.unwrap();
}

/// A run of a deployment of its own. Twenty who ask at once may find no connection for a while.
async fn begun(writer: &Writer, subject: &Subject, room: Room) -> PlanRun {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match try_begin(writer, subject, room).await {
            Err(Error::Ledger(_)) if std::time::Instant::now() < end => {}
            other => return other.unwrap(),
        }
    }
}

async fn try_begin(writer: &Writer, subject: &Subject, room: Room) -> Result<PlanRun, Error> {
    writer.create_plan_run(NewPlanRun { room, ..plan_run(subject, Change::Apply, "s") }).await
}

#[tokio::test]
async fn of_many_who_begin_at_once_no_more_do_than_there_are_places() {
    let world = World::new().await;
    let writer = world.writer().await;
    let room = Room::of(4);
    let subjects: Vec<_> = (0..20).map(|n| world.subject(&format!("org-{n}"))).collect();
    let results = futures::future::join_all(subjects.iter().map(|s| begun(&writer, s, room))).await;
    assert_eq!(results.iter().filter(|r| **r == PlanRun::Created).count(), 4, "{results:?}");
    let full = |r: &&PlanRun| matches!(r, PlanRun::Hindered(Obstacle::NoPlace { limit: Limit::Runs, .. }));
    assert_eq!(results.iter().filter(full).count(), 16, "{results:?}");
    // An apply needs a place, too.
    let active = world.ledger.active_runs(world.cluster).await.unwrap();
    let (first, rest) = active.split_first().unwrap();
    interrupt(&writer, first.id).await.unwrap();
    let (plan, digest) = planned(&writer, &first.subject, Change::Apply).await;
    let apply =
        || NewApplyRun { room: Room::of(rest.len()), ..apply_of(&first.subject, plan, &digest, Approval::Automatic) };
    let hindered = writer.create_apply_run(apply()).await.unwrap();
    assert!(matches!(hindered, ApplyRun::Hindered(Obstacle::NoPlace { limit: Limit::Runs, .. })), "{hindered:?}");
    interrupt(&writer, rest[0].id).await.unwrap();
    assert_eq!(writer.create_apply_run(apply()).await.unwrap(), ApplyRun::Created);
}

#[tokio::test]
async fn of_many_who_begin_at_once_only_one_organization_may_where_it_must_be_one() {
    let world = World::new().await;
    let writer = world.writer().await;
    let room = Room { one_organization: true, ..Room::of(100) };
    let subjects: Vec<_> = (0..20).map(|n| world.subject(&format!("org-{}", n % 2))).collect();
    let results = futures::future::join_all(subjects.iter().map(|s| begun(&writer, s, room))).await;
    let created = results.iter().filter(|r| **r == PlanRun::Created).count();
    assert_eq!(created, 10, "{results:?}");
    let active = world.ledger.active_runs(world.cluster).await.unwrap();
    assert!(active.iter().all(|run| run.subject.organization == active[0].subject.organization));
    let refused = PlanRun::Hindered(Obstacle::Others(Others { deployments: 0, organizations: 1 }));
    assert_eq!(results.iter().filter(|r| **r == refused).count(), 10, "{results:?}");
}

#[tokio::test]
async fn a_run_does_not_begin_while_the_state_stands_under_another_organization() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let id = applying(&writer, &subject).await;
    writer.lock(id, &json!({"ID": "l"})).await.unwrap().unwrap();
    writer.put_state(id, Some("l"), crate::states::state(1, "lineage", 1).as_bytes()).await.unwrap().unwrap();
    writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    let moved = Subject { organization: Organization("newcorp".into()), ..subject.clone() };
    let elsewhere = PlanRun::Hindered(Obstacle::StateElsewhere(subject.organization.clone()));
    let room = Room::of(100);
    assert_eq!(begun(&writer, &moved, room).await, elsewhere);
    assert_eq!(world.ledger.state_elsewhere(&moved).await.unwrap(), Some(subject.organization.clone()));
    let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
    let apply = apply_of(&moved, plan, &digest, Approval::Automatic);
    assert_eq!(writer.create_apply_run(apply).await.unwrap(), ApplyRun::Superseded, "nor with the plan made there");
}
