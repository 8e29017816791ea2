//! States: serials that only grow, locks that only their run opens, keys that one object holds.

use landfall::api::Change;
use landfall::ledger::{ApplyRun, Approval, Finish, Recovery, Refusal, StateClaim, Writer, state_key};
use landfall::run::protocol::{Artifact, RunPhase};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::given::{apply_of, applying, interrupt, planned, result};
use crate::world::World;

/// A state file with so many resources.
pub(crate) fn state(serial: i64, lineage: &str, resources: usize) -> String {
    let instances: Vec<Value> =
        (0..resources).map(|n| json!({"index_key": n, "attributes": {"id": n.to_string()}})).collect();
    json!({"version": 4, "serial": serial, "lineage": lineage, "outputs": {}, "resources": [{"mode": "managed", "type": "t",
        "name": "a", "provider": "provider[\"registry.opentofu.org/hashicorp/time\"]", "instances": instances}]})
    .to_string()
}

async fn put(writer: &Writer, run: Uuid, text: &str) -> Result<(), Refusal> {
    writer.put_state(run, Some("l"), text.as_bytes()).await.unwrap()
}

#[tokio::test]
async fn within_a_lineage_serials_only_grow_and_the_same_bytes_are_taken_again() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let run = applying(&writer, &subject).await;
    assert!(matches!(put(&writer, run, &state(1, "a", 1)).await, Err(Refusal::Conflict(_))), "without the lock");
    writer.lock(run, &json!({"ID": "l"})).await.unwrap().unwrap();
    assert!(matches!(
        writer.put_state(run, Some("other"), state(1, "a", 1).as_bytes()).await.unwrap(),
        Err(Refusal::Locked(_))
    ));
    assert_eq!(put(&writer, run, &state(3, "a", 1)).await, Ok(()));
    assert_eq!(put(&writer, run, &state(3, "a", 1)).await, Ok(()));
    for refused in [state(3, "a", 2), state(2, "a", 1), state(4, "b", 1), "{}".into(), "no json".into()] {
        assert!(matches!(put(&writer, run, &refused).await, Err(Refusal::Conflict(_))), "{refused}");
    }
    assert_eq!(put(&writer, run, &state(4, "a", 2)).await, Ok(()));
    assert!(put(&writer, run, &state(3, "a", 1)).await.is_err(), "an older one, though known");

    let key = state_key(&subject);
    let head = writer.state_head(&subject.organization, &key).await.unwrap().unwrap();
    assert_eq!((head.serial, head.lineage.as_str(), head.resources, head.run), (4, "a", 2, run));
    let bytes = writer.state_bytes(&subject.organization, &key, Some(3)).await.unwrap().unwrap();
    assert_eq!(*bytes, state(3, "a", 1).into_bytes());
    assert_eq!(writer.state_of_run(run).await.unwrap().unwrap().unwrap().to_vec(), state(4, "a", 2).into_bytes());
    let versions = landfall::ledger::states::versions(writer.pool(), &subject.organization, &key).await.unwrap();
    assert_eq!(versions.iter().map(|v| v.serial).collect::<Vec<_>>(), [4, 3]);
}

#[tokio::test]
async fn a_lock_is_opened_by_its_run_and_broken_only_with_it() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let run = applying(&writer, &subject).await;
    let key = state_key(&subject);
    let info = json!({"ID": "l", "Who": "runner"});
    assert!(matches!(writer.lock(run, &json!({})).await.unwrap(), Err(Refusal::Conflict(_))));
    assert_eq!(writer.lock(run, &info).await.unwrap(), Ok(()));
    assert_eq!(writer.lock(run, &info).await.unwrap(), Ok(()));
    assert_eq!(writer.lock(run, &json!({"ID": "m"})).await.unwrap(), Err(Refusal::Locked(info.clone())));
    assert_eq!(writer.unlock(run, Some("m")).await.unwrap(), Err(Refusal::Locked(info)));
    assert_eq!(writer.lock_info(&subject.organization, &key).await.unwrap().unwrap().run, run);

    // Another deployment's run neither sees nor opens it, nor does its end break it.
    let other = world.subject("acme");
    writer.claim_state(&other, "elsewhere", None).await.unwrap();
    let (plan, digest) = planned(&writer, &other, Change::Apply).await;
    let new = apply_of(&other, plan, &digest, Approval::Automatic);
    let second = new.id;
    assert_eq!(writer.create_apply_run(new).await.unwrap(), ApplyRun::Created);
    assert!(
        matches!(writer.lock(second, &json!({"ID": "n"})).await.unwrap(), Err(Refusal::Conflict(_))),
        "not its key"
    );
    assert!(matches!(writer.unlock(second, Some("l")).await.unwrap(), Err(Refusal::Locked(_))));
    assert!(interrupt(&writer, second).await.unwrap());
    assert!(writer.lock_info(&subject.organization, &key).await.unwrap().is_some());

    assert!(interrupt(&writer, run).await.unwrap());
    assert!(writer.lock_info(&subject.organization, &key).await.unwrap().is_none());
    assert_eq!(writer.lock(run, &json!({"ID": "l"})).await.unwrap(), Err(Refusal::Ended));
    assert_eq!(put(&writer, run, &state(1, "a", 1)).await, Err(Refusal::Ended));
    let broken: i64 = sqlx::query_scalar("SELECT count(*) FROM activity_log WHERE action = 'lock.broken'")
        .fetch_one(writer.pool())
        .await
        .unwrap();
    assert_eq!(broken, 1);
}

#[tokio::test]
async fn what_a_dead_run_left_is_the_next_version_if_it_fits() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let run = applying(&writer, &subject).await;
    writer.lock(run, &json!({"ID": "l"})).await.unwrap().unwrap();
    put(&writer, run, &state(2, "a", 1)).await.unwrap();
    let recover = async |text: String| writer.recover_state(run, text.as_bytes()).await.unwrap();
    assert_eq!(recover(state(2, "a", 1)).await, Recovery::Same);
    for refused in [state(2, "a", 3), state(1, "a", 1), state(9, "b", 1), "cut".into()] {
        assert!(matches!(recover(refused).await, Recovery::Refused(_)));
    }
    assert_eq!(recover(state(5, "a", 2)).await, Recovery::Accepted);
    assert_eq!(recover(state(2, "a", 1)).await, Recovery::Same, "acknowledged, and not the newest any more");
    assert!(interrupt(&writer, run).await.unwrap());
    assert!(matches!(recover(state(6, "a", 2)).await, Recovery::Refused(_)), "after the end");
    let live = writer.inventory(subject.uid).await.unwrap();
    assert_eq!(live.len(), 2);
    let recovered: Vec<bool> = sqlx::query_scalar("SELECT recovered FROM terraform_states ORDER BY serial")
        .fetch_all(writer.pool())
        .await
        .unwrap();
    assert_eq!(recovered, [false, true]);
}

/// The leader that took it in may have died before it gave the run up; the next one comes with the same file.
#[tokio::test]
async fn a_first_state_without_lineage_is_taken_in_once_however_often_it_comes() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let run = applying(&writer, &subject).await;
    writer.lock(run, &json!({"ID": "l"})).await.unwrap().unwrap();
    let nameless = state(1, "", 1);
    let recover = async || writer.recover_state(run, nameless.as_bytes()).await.unwrap();
    assert_eq!(recover().await, Recovery::Accepted);
    assert_eq!(recover().await, Recovery::Same);
    let row = writer.run(run).await.unwrap().unwrap();
    assert!(writer.has_state(&row, nameless.as_bytes()).await.unwrap(), "its folder need not stay");
}

#[tokio::test]
async fn a_new_object_of_an_old_name_takes_nothing_over_unasked() {
    let world = World::new().await;
    let (writer, old) = (world.writer().await, world.subject("acme"));
    let key = state_key(&old);
    let run = applying(&writer, &old).await;
    writer.lock(run, &json!({"ID": "l"})).await.unwrap().unwrap();
    let new = world.subject("acme");
    let claim = async |adopt| writer.claim_state(&new, &key, adopt).await.unwrap();
    assert_eq!(claim(None).await, StateClaim::Busy { run }, "nobody knows yet what the old one builds");
    put(&writer, run, &state(1, "lineage-a", 1)).await.unwrap();
    assert_eq!(claim(Some("lineage-a")).await, StateClaim::Busy { run });
    writer.finish(run, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    let found = StateClaim::Found { lineage: "lineage-a".into(), serial: 1 };
    assert_eq!(claim(None).await, found);
    writer.release_state(&old, &key).await.unwrap();
    assert_eq!(claim(None).await, found);
    assert_eq!(claim(Some("lineage-b")).await, found);
    assert_eq!(claim(Some("lineage-a")).await, StateClaim::Held);
    assert_eq!(claim(None).await, StateClaim::Held);
    assert!(matches!(writer.claim_state(&old, &key, None).await.unwrap(), StateClaim::Found { .. }));
}

#[tokio::test]
async fn a_state_that_holds_nothing_is_free() {
    let world = World::new().await;
    let (writer, old) = (world.writer().await, world.subject("acme"));
    let key = state_key(&old);
    let run = applying(&writer, &old).await;
    writer.lock(run, &json!({"ID": "l"})).await.unwrap().unwrap();
    put(&writer, run, &state(1, "a", 1)).await.unwrap();
    put(&writer, run, &state(2, "a", 0)).await.unwrap();
    writer.finish(run, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    assert_eq!(writer.claim_state(&world.subject("acme"), &key, None).await.unwrap(), StateClaim::Held);
}

#[tokio::test]
async fn a_plan_is_superseded_by_a_state_that_moved_on() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let run = applying(&writer, &subject).await;
    writer.lock(run, &json!({"ID": "l"})).await.unwrap().unwrap();
    put(&writer, run, &state(1, "a", 1)).await.unwrap();
    assert_eq!(writer.finish(run, &result(RunPhase::Succeeded)).await.unwrap(), Ok(Finish::Recorded));
    let (destroy, destroy_digest) = planned(&writer, &subject, Change::Destroy).await;
    let (plan, digest) = planned(&writer, &subject, Change::Apply).await;
    assert_eq!(writer.run(plan).await.unwrap().unwrap().state_serial, Some(1));
    let new = apply_of(&subject, plan, &digest, Approval::Automatic);
    let second = new.id;
    assert_eq!(writer.create_apply_run(new).await.unwrap(), ApplyRun::Created);
    writer.claim(second, &crate::given::holder(3)).await.unwrap().unwrap();
    assert!(writer.artifact(second, Artifact::Plan).await.unwrap().is_some(), "its plan's file");
    crate::given::enter(&writer, second, RunPhase::Apply).await;
    writer.lock(second, &json!({"ID": "l"})).await.unwrap().unwrap();
    put(&writer, second, &state(2, "a", 2)).await.unwrap();
    writer.finish(second, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    let stale = apply_of(&subject, destroy, &destroy_digest, Approval::Automatic);
    assert_eq!(writer.create_apply_run(stale).await.unwrap(), ApplyRun::Superseded);
}
