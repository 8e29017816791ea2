//! A run that died in mid-apply: nothing is applied unattended until somebody has answered for it, however long ago it was,
//! whose object it was, and wherever the namespace belongs now.

use landfall::api::{Change, Organization};
use landfall::ledger::{ApplyRun, Approval, Finish, Standing, Subject, Writer, state_key};
use landfall::run::protocol::{ResourceAction, ResourceEvent, RunPhase};
use uuid::Uuid;

use crate::given::{NO_CHANGES, apply_of, applying, approved, enter, holder, interrupt, plan_of, planned, result};
use crate::world::World;

/// Whether a plan is applied on nobody's word but the spec's. The run that comes of it fails at once.
async fn goes_on_unattended(writer: &Writer, subject: &Subject) -> bool {
    writer.claim_state(subject, &state_key(subject), None).await.unwrap();
    let (plan, digest) = planned(writer, subject, Change::Apply).await;
    let new = apply_of(subject, plan, &digest, Approval::Automatic);
    let id = new.id;
    match writer.create_apply_run(new).await.unwrap() {
        ApplyRun::Created => {
            writer.claim(id, &holder(3)).await.unwrap().unwrap();
            writer.finish(id, &result(RunPhase::Failed)).await.unwrap().unwrap();
            true
        }
        other => {
            assert_eq!(other, ApplyRun::NotApproved);
            false
        }
    }
}

/// An apply that dies; `begun`: what its engine said it began to create.
async fn dies(writer: &Writer, subject: &Subject, begun: &[&str]) -> Uuid {
    let id = applying(writer, subject).await;
    let events: Vec<_> = begun
        .iter()
        .map(|address| ResourceEvent {
            address: (*address).into(),
            resource_type: "t".into(),
            provider: None,
            id: None,
            what: ResourceAction::CreateStarted,
        })
        .collect();
    writer.put_resources(id, 0, &events).await.unwrap().unwrap();
    assert!(interrupt(writer, id).await.unwrap());
    id
}

async fn past(writer: &Writer, subject: &Subject) -> (bool, bool) {
    let past = writer.past(subject).await.unwrap();
    (past.needs_a_person, past.applied)
}

#[tokio::test]
async fn what_died_is_remembered_however_many_plans_were_made_since() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    assert_eq!(past(&writer, &subject).await, (false, false));
    dies(&writer, &subject, &[]).await;
    sqlx::query(
        "INSERT INTO terraform_runs (run_id, organization_id, cluster_id, deployment_uid, namespace, name, kind, change, phase,
           generation, attempt, engine, limits, requested_by_kind, finished_at)
         SELECT gen_random_uuid(), organization_id, cluster_id, deployment_uid, namespace, name, 'Plan', change, 'Failed',
           n, 0, engine, limits, requested_by_kind, clock_timestamp()
         FROM terraform_runs, generate_series(1, 300) AS n WHERE phase = 'Interrupted'",
    )
    .execute(world.ledger.pool())
    .await
    .unwrap();
    assert!(!goes_on_unattended(&writer, &subject).await);
    assert_eq!(past(&writer, &subject).await, (true, true));
}

#[tokio::test]
async fn what_died_is_remembered_under_every_organization_of_its_namespace_and_by_the_next_object_of_its_name() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    dies(&writer, &subject, &[]).await;
    let relabelled = Subject { organization: Organization("newcorp".into()), ..subject.clone() };
    assert!(!goes_on_unattended(&writer, &relabelled).await);
    assert_eq!(past(&writer, &relabelled).await, (true, true));
    // The former object is gone: its state, if any, and its name are the next one's.
    writer.release_state(&subject, &state_key(&subject)).await.unwrap();
    let next = world.subject("acme");
    assert!(!goes_on_unattended(&writer, &next).await);
    assert_eq!(past(&writer, &next).await, (true, false), "an apply of another object is not its own");
    let stranger = Subject { organization: Organization("newcorp".into()), ..world.subject("acme") };
    assert_eq!(past(&writer, &stranger).await, (false, false), "another organization's object of the same name");
    let other = Subject { name: "other".into(), ..world.subject("acme") };
    assert!(goes_on_unattended(&writer, &other).await);

    // Whoever answers under the new organization has answered for the object.
    let answer = approved(&writer, &relabelled).await;
    writer.finish(answer, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    assert!(goes_on_unattended(&writer, &relabelled).await);
    assert!(goes_on_unattended(&writer, &next).await);
    let settled: i64 = sqlx::query_scalar("SELECT count(*) FROM intents WHERE outcome = 'Settled'")
        .fetch_one(world.ledger.pool())
        .await
        .unwrap();
    assert_eq!(settled, 1, "in the chain of the organization where it died");
}

#[tokio::test]
async fn only_an_apply_that_a_person_approved_and_that_succeeds_answers_for_what_died() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, world.subject("acme"));
    let dead = dies(&writer, &subject, &["t.lost"]).await;
    for phase in [RunPhase::Failed, RunPhase::Cancelled, RunPhase::Interrupted] {
        let tried = approved(&writer, &subject).await;
        writer.finish(tried, &result(phase)).await.unwrap().unwrap();
        assert!(!goes_on_unattended(&writer, &subject).await, "{phase:?}");
    }
    assert_eq!(writer.finish(dead, &result(RunPhase::Succeeded)).await.unwrap(), Ok(Finish::Late));
    assert!(!goes_on_unattended(&writer, &subject).await, "what is told late does not say what the ledger missed");
    let answer = approved(&writer, &subject).await;
    writer.finish(answer, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    assert!(goes_on_unattended(&writer, &subject).await);
    let by: Vec<Uuid> =
        sqlx::query_scalar("SELECT DISTINCT settled_by FROM terraform_runs WHERE phase = 'Interrupted'")
            .fetch_all(world.ledger.pool())
            .await
            .unwrap();
    assert_eq!(by, [answer], "on record with each");
}

#[tokio::test]
async fn a_plan_without_changes_answers_for_what_died_only_while_nothing_is_left_over() {
    let world = World::new().await;
    let (writer, clean, dirty) = (world.writer().await, world.subject("acme"), world.subject("acme"));
    let dirty = Subject { name: "dirty".into(), ..dirty };
    dies(&writer, &clean, &[]).await;
    dies(&writer, &dirty, &["t.lost"]).await;
    for subject in [&clean, &dirty] {
        plan_of(&writer, subject, Change::Apply, NO_CHANGES).await;
    }
    assert!(goes_on_unattended(&writer, &clean).await);
    assert!(!goes_on_unattended(&writer, &dirty).await, "a module cut down to what the state has");
    let outcomes: Vec<String> = sqlx::query_scalar(
        "SELECT o.name || ' ' || i.outcome FROM intents i JOIN intent_objects o USING (intent_id)
         JOIN terraform_runs r ON r.intent_id = i.intent_id WHERE r.phase = 'Interrupted' ORDER BY 1",
    )
    .fetch_all(world.ledger.pool())
    .await
    .unwrap();
    assert_eq!(outcomes, ["dirty Unknown", "web Settled"]);

    let left = writer.inventory(dirty.uid).await.unwrap();
    assert_eq!(left.iter().map(|r| r.standing).collect::<Vec<_>>(), [Standing::Leftover]);
    let answer = approved(&writer, &dirty).await;
    enter(&writer, answer, RunPhase::Finishing).await;
    writer.finish(answer, &result(RunPhase::Succeeded)).await.unwrap().unwrap();
    assert!(goes_on_unattended(&writer, &dirty).await);
}
