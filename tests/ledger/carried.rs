//! What a plan is given of the runs before it.

use landfall::api::Change;
use landfall::ledger::{ApplyRun, Approval, Finish, Subject, Writer};
use landfall::run::protocol::{Artifact, RunPhase};
use uuid::Uuid;

use crate::given::{apply_of, enter, holder, new_plan, planned, result};
use crate::world::World;

/// The provider lock file that a new plan finds.
async fn found(writer: &Writer, subject: &Subject, change: Change) -> Option<Vec<u8>> {
    let plan = new_plan(writer, subject, change, "module").await.unwrap();
    let found = writer.artifact(plan, Artifact::LockFile).await.unwrap().map(|bytes| bytes.to_vec());
    crate::given::interrupt(writer, plan).await.unwrap();
    found
}

/// A plan whose init wrote this lock file.
async fn locked(writer: &Writer, subject: &Subject, lock: &[u8]) -> (Uuid, String) {
    let id = new_plan(writer, subject, Change::Apply, "module").await.unwrap();
    writer.claim(id, &holder(1)).await.unwrap().unwrap();
    enter(writer, id, RunPhase::Plan).await;
    for artifact in Artifact::ALL {
        let bytes = if artifact == Artifact::LockFile { lock } else { crate::given::PLAN_JSON.as_bytes() };
        writer.put_artifact(id, artifact, bytes).await.unwrap().unwrap();
    }
    assert_eq!(writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap(), Ok(Finish::Recorded));
    (id, writer.run(id).await.unwrap().unwrap().digest.unwrap())
}

#[tokio::test]
async fn a_plan_is_given_the_lock_file_of_the_last_apply() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    assert_eq!(found(&writer, &subject, Change::Apply).await, None, "nothing was applied");
    locked(&writer, &subject, b"version 1").await;
    assert_eq!(found(&writer, &subject, Change::Apply).await, None, "a plan alone binds nobody");

    let (plan, digest) = locked(&writer, &subject, b"version 2").await;
    let apply = apply_of(&subject, plan, &digest, Approval::Automatic);
    let id = apply.id;
    assert_eq!(writer.create_apply_run(apply).await.unwrap(), ApplyRun::Created);
    writer.claim(id, &holder(2)).await.unwrap().unwrap();
    enter(&writer, id, RunPhase::Apply).await;
    writer.finish(id, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    planned(&writer, &subject, Change::Apply).await;

    let expected = Some(b"version 2".to_vec());
    assert_eq!(found(&writer, &subject, Change::Apply).await, expected);
    assert_eq!(found(&writer, &subject, Change::Destroy).await, expected, "a destroy, too");
    let again = Subject { uid: Uuid::now_v7(), ..subject.clone() };
    assert_eq!(found(&writer, &again, Change::Apply).await, expected, "whoever adopts the state");
    let other = Subject { uid: Uuid::now_v7(), name: "other".into(), ..subject.clone() };
    assert_eq!(found(&writer, &other, Change::Apply).await, None);
    let other = Subject { organization: landfall::api::Organization("globex".into()), ..again };
    assert_eq!(found(&writer, &other, Change::Apply).await, None, "another organization's");
}
