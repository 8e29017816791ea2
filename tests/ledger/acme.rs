//! Accounts and orders at CAs: what is written down before the CA is asked is found again, by whoever comes next.

use jiff::Timestamp;
use landfall::ledger::{
    AcmeChallenge, AcmeIdentity, AcmeOrder, AcmeStage, Mark, NewAcmeOrder, ObjectKind, Outcome, Subject, Writer,
};
use serde_json::json;
use sqlx::Row;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::world::World;

const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----";

fn identity(email: &str) -> AcmeIdentity {
    AcmeIdentity { server: "https://ca.test/dir".into(), email: email.into(), external_key_id: String::new() }
}

fn certificate(world: &World, organization: &str) -> Subject {
    Subject { kind: ObjectKind::Certificate, ..world.subject(organization) }
}

async fn open(writer: &Writer, subject: &Subject) -> landfall::Result<AcmeOrder> {
    let account = writer.acme_account(subject, &identity("team@example.org"), b"account key").await.unwrap();
    let new = NewAcmeOrder {
        subject: subject.clone(),
        account: account.id,
        terms: "sha256:terms".into(),
        names: vec!["a.test".into(), "*.a.test".into()],
        profile: Some("shortlived".into()),
        replaces: Some("aki.serial".into()),
        key: Zeroizing::new(KEY.to_vec()),
    };
    writer.open_acme_order(new, &[], Timestamp::now()).await
}

/// An account and an order whose keys are this.
pub(crate) async fn sealed(writer: &Writer, subject: &Subject, key: &str) {
    let subject = Subject { kind: ObjectKind::Certificate, uid: Uuid::now_v7(), ..subject.clone() };
    let account = writer.acme_account(&subject, &identity("a@example.org"), key.as_bytes()).await.unwrap();
    let order = open(writer, &subject).await.unwrap();
    let order =
        writer.write_acme_order(AcmeOrder { stage: AcmeStage::Abandoned, ..order }, Mark::Nothing).await.unwrap();
    let (names, terms) = (order.names, order.terms);
    let key = Zeroizing::new(key.as_bytes().to_vec());
    let new = NewAcmeOrder { subject, account: account.id, terms, names, profile: None, replaces: None, key };
    writer.open_acme_order(new, &[], Timestamp::now()).await.unwrap();
}

fn challenge(value: &str) -> AcmeChallenge {
    AcmeChallenge {
        identifier: "a.test".into(),
        name: "_acme-challenge.a.test".into(),
        value: value.into(),
        place: None,
    }
}

/// Call and outcome of each intent of an object, oldest first.
async fn intents(writer: &Writer, subject: &Subject) -> Vec<(String, Option<String>)> {
    let rows = sqlx::query(
        "SELECT i.call, i.outcome FROM intents i JOIN intent_objects o USING (intent_id) WHERE o.object_uid = $1 ORDER BY i.intent_id",
    )
    .bind(subject.uid)
    .fetch_all(writer.pool())
    .await
    .unwrap();
    rows.iter().map(|row| (row.get("call"), row.get("outcome"))).collect()
}

fn begins(call: &'static str) -> Mark {
    Mark::Begins { call, why: "a certificate is wanted".into() }
}

#[tokio::test]
async fn an_organization_has_one_account_for_an_address_and_its_first_key_stays() {
    let world = World::new().await;
    let writer = world.writer().await;
    let (one, two, other) = (certificate(&world, "acme"), certificate(&world, "acme"), certificate(&world, "globex"));
    let asked = [(&one, b"first".as_slice()), (&two, b"second"), (&one, b"third")];
    let accounts = asked.map(|(subject, key)| {
        let writer = writer.clone();
        async move { writer.acme_account(subject, &identity("team@example.org"), key).await.unwrap() }
    });
    let accounts = futures::future::join_all(accounts).await;
    assert!(accounts.iter().all(|a| a.id == accounts[0].id && a.key == accounts[0].key && a.url.is_none()));
    for stranger in [
        writer.acme_account(&other, &identity("team@example.org"), b"other").await.unwrap(),
        writer.acme_account(&one, &identity(""), b"other").await.unwrap(),
    ] {
        assert_ne!(stranger.id, accounts[0].id);
        assert_eq!(stranger.key.as_slice(), b"other");
    }

    writer.acme_registers(&one, &identity("team@example.org")).await.unwrap();
    let intent = writer.acme_registers(&one, &identity("team@example.org")).await.unwrap();
    writer.acme_registered(&one, accounts[0].id, intent, "https://ca.test/account/1").await.unwrap();
    let found = writer.acme_account_of(world.cluster, accounts[0].id).await.unwrap();
    assert_eq!((found.url.as_deref(), &found.key), (Some("https://ca.test/account/1"), &accounts[0].key));
    let told = ["Unknown", "Done"].map(|outcome| ("acme.new_account".to_owned(), Some(outcome.to_owned())));
    assert_eq!(intents(&writer, &one).await, told);
    let url = async || writer.acme_account_of(world.cluster, accounts[0].id).await.unwrap().url;
    writer.acme_account_lost(&one, accounts[0].id, "https://ca.test/account/0").await.unwrap();
    assert!(url().await.is_some(), "a former one was lost");
    writer.acme_account_lost(&one, accounts[0].id, "https://ca.test/account/1").await.unwrap();
    let lost = writer.acme_account(&two, &identity("team@example.org"), b"new").await.unwrap();
    assert_eq!((lost.url, &lost.key), (None, &accounts[0].key), "the key is the same");
}

#[tokio::test]
async fn an_order_is_found_as_it_was_written_by_the_next_leader() {
    let world = World::new().await;
    let (first, subject) = (world.writer().await, certificate(&world, "acme"));
    assert_eq!(first.acme_order(world.cluster, subject.uid).await.unwrap(), None);
    let order = open(&first, &subject).await.unwrap();
    assert_eq!((order.stage, order.attempt, order.names.len()), (AcmeStage::Prepared, 1, 2));
    let placing = AcmeOrder { stage: AcmeStage::Placing, ..order };
    let placing = first.write_acme_order(placing, begins("acme.new_order")).await.unwrap();

    let second = world.ledger.lead(world.cluster, "next").await.unwrap();
    let refused = first.write_acme_order(placing.clone(), Mark::Nothing).await.unwrap_err();
    assert!(matches!(refused, landfall::Error::Deposed(_)), "{refused}");
    let found = second.acme_order(world.cluster, subject.uid).await.unwrap().unwrap();
    assert_eq!(found, placing);
    assert_eq!(second.acme_order_key(&found).await.unwrap().as_slice(), KEY);

    // What the former leader asked for was never answered: that is on record when the next one asks.
    let again = second.write_acme_order(found, begins("acme.new_order")).await.unwrap();
    let placed = AcmeOrder {
        stage: AcmeStage::Presenting,
        url: Some("https://ca.test/order/1".into()),
        challenges: vec![challenge("v1"), challenge("v2")],
        retry_at: Some(Timestamp::from_second(2_000_000_000).unwrap()),
        failures: 3,
        failed_orders: 2,
        cause: Some("RateLimited".into()),
        message: Some("too many".into()),
        ..again
    };
    let ends = Mark::Ends(Outcome::Done, json!({"order": "https://ca.test/order/1"}));
    let placed = second.write_acme_order(placed, ends).await.unwrap();
    assert_eq!(second.acme_order(world.cluster, subject.uid).await.unwrap().unwrap(), placed);
    let told = intents(&second, &subject).await;
    assert_eq!(
        told,
        [("acme.new_order".into(), Some("Unknown".into())), ("acme.new_order".into(), Some("Done".into()))]
    );
    assert!(second.write_acme_order(placed, Mark::Ends(Outcome::Done, json!({}))).await.is_err(), "nothing was begun");
}

#[tokio::test]
async fn an_object_has_one_order_under_way_and_a_write_that_comes_late_changes_nothing() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, certificate(&world, "acme"));
    let order = open(&writer, &subject).await.unwrap();
    assert!(open(&writer, &subject).await.is_err());
    let moved = writer.write_acme_order(AcmeOrder { failures: 1, ..order.clone() }, Mark::Nothing).await.unwrap();
    let late = writer.write_acme_order(AcmeOrder { failures: 9, ..order }, begins("acme.new_order")).await;
    assert!(late.is_err() && intents(&writer, &subject).await.is_empty());

    let failed = AcmeOrder { stage: AcmeStage::Failed, failed_orders: 4, cause: Some("Caa".into()), ..moved };
    let failed = writer.write_acme_order(failed, Mark::Fails).await.unwrap();
    let told: i64 =
        sqlx::query_scalar("SELECT count(*) FROM activity_log WHERE object_uid = $1 AND action = 'acme.order_failed'")
            .bind(subject.uid)
            .fetch_one(writer.pool())
            .await
            .unwrap();
    assert_eq!(told, 1);
    let next = open(&writer, &subject).await.unwrap();
    assert_eq!((next.attempt, next.failed_orders), (2, 4), "what failed in a row is carried over");
    assert_ne!(next.id, failed.id);
    writer.write_acme_order(AcmeOrder { stage: AcmeStage::Abandoned, ..next }, Mark::Nothing).await.unwrap();
    assert_eq!(open(&writer, &subject).await.unwrap().failed_orders, 0, "nothing failed there");
}

#[tokio::test]
async fn a_proof_is_needed_while_another_order_asks_for_the_same() {
    let world = World::new().await;
    let writer = world.writer().await;
    let with = async |value: &str| {
        let order = open(&writer, &certificate(&world, "acme")).await.unwrap();
        let challenges = vec![challenge("another"), challenge(value)];
        let url = Some("https://ca.example/order/1".into());
        let shown = AcmeOrder { challenges, url, stage: AcmeStage::Presented, ..order };
        writer.write_acme_order(shown, Mark::Nothing).await.unwrap()
    };
    let (one, two) = (with("shared").await, with("shared").await);
    assert!(writer.acme_needs(&challenge("shared"), &one).await.unwrap());
    assert!(!writer.acme_needs(&challenge("its own"), &one).await.unwrap());
    writer.write_acme_order(AcmeOrder { stage: AcmeStage::Failed, ..two }, Mark::Fails).await.unwrap();
    assert!(!writer.acme_needs(&challenge("shared"), &one).await.unwrap());
}

#[tokio::test]
async fn a_stage_that_needs_what_is_not_there_is_refused_by_postgres() {
    let world = World::new().await;
    let (writer, subject) = (world.writer().await, certificate(&world, "acme"));
    let order = open(&writer, &subject).await.unwrap();
    for stage in [AcmeStage::Placed, AcmeStage::Validating, AcmeStage::Issued] {
        assert!(
            writer.write_acme_order(AcmeOrder { stage, ..order.clone() }, Mark::Nothing).await.is_err(),
            "{stage:?}"
        );
    }
    let unread = AcmeOrder { subject: Subject { cluster: Uuid::now_v7(), ..subject }, ..order };
    assert!(writer.acme_order_key(&unread).await.is_err(), "a key opens at its own place alone");
}
