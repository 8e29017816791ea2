//! Limits of runs under way: counted by organization and by credential in the unit of work that begins one.

use landfall::api::{Change, Organization};
use landfall::ledger::{
    ApplyRun, Approval, Limit, NewApplyRun, NewPlanRun, Obstacle, PlanRun, Room, Subject, UnderWay, Writer, state_key,
};
use landfall::run::protocol::{Artifact, RunPhase};
use serde_json::json;
use uuid::Uuid;

use crate::runs::{PLAN_JSON, apply_of, enter, holder, interrupt, plan_run, result};
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
