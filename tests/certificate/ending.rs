use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::wait_until;
use crate::kills::Gate;
use crate::openssl::Openssl;
use crate::world::{PLENTY, World, own, serial};

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_soon_is_one_question_away_until_its_object_goes() {
    let world = World::new().await;
    world.certificate("short", own(), json!({"duration": "240h"})).await;
    world.certificate("long", own(), json!({})).await;
    let (short, _) = world.ready("short").await;
    world.ready("long").await;
    let view = "SELECT string_agg(concat_ws(' ', name, serial_number, secret_name, dns_names[1], ready), ',' ORDER BY not_after)
                FROM v_expiring_certificates WHERE remaining < interval '11 days' AND renewal_time < not_after";
    let expected = format!("short {} short-tls www.example.com True", serial(&short));
    wait_until(PLENTY, "the view", async || world.ask(view).await.as_ref() == Some(&expected)).await;
    world.delete("short").await;
    wait_until(PLENTY, "an empty view", async || world.ask(view).await.is_none()).await;
    let told = "SELECT details ->> 'serial' FROM activity_log WHERE action = 'certificate.released'";
    assert_eq!(world.ask(told).await, Some(serial(&short)));
    assert_eq!(world.issued("gone_at IS NOT NULL").await, 1, "the record stays");
}

/// Wherever the controller dies, each certificate ends with one row in use, which is the one in its Secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_killed_leaves_no_certificate_in_doubt() {
    const COUNT: usize = 24;
    let mut world = World::new().await;
    for number in 0..COUNT {
        world.certificate(&format!("c{number}"), own(), json!({})).await;
        if number % 8 == 7 {
            // In the middle of the last ones.
            let home = world.controller.take().unwrap().kill().await;
            world.controller = Some(home.start().await);
        }
    }
    for number in 0..COUNT {
        let (object, data) = world.ready(&format!("c{number}")).await;
        let shown = Openssl::new().shows(&data, "-serial").trim().to_lowercase();
        assert_eq!(shown, format!("serial={}", serial(&object)));
    }
    let count = i64::try_from(COUNT).unwrap();
    assert_eq!(world.issued("state = 'Issued' AND superseded_at IS NULL").await, count);
    assert_eq!(world.issued("state = 'Issuing'").await, 0);
    let open = "SELECT count(*) FROM intents WHERE outcome IS NULL OR outcome = 'Unknown'";
    wait_until(PLENTY, "every outcome", async || world.ask(open).await.as_deref() == Some("0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_dies_between_the_secret_and_its_outcome_makes_no_other_certificate() {
    let mut world = World::new().await;
    let mut gate = Gate::before(&world.database.url, "certificates_issued", "NEW.state = 'Issued'", "web").await;
    world.certificate("web", own(), json!({})).await;
    let end = Instant::now() + PLENTY;
    while !gate.holds().await {
        assert!(Instant::now() < end, "waited for the outcome to be written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let data = world.data("web-tls").await;
    let home = world.controller.take().unwrap().kill().await;
    gate.open().await;
    world.controller = Some(home.start().await);
    let (_, held) = world.ready("web").await;
    assert!(held == data, "the same pair");
    assert_eq!(world.issued("true").await, 1);
    let calls = "SELECT string_agg(outcome, ' ') FROM intents";
    assert_eq!(world.ask(calls).await.as_deref(), Some("Settled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_has_forgotten_is_taken_in_and_not_issued_again() {
    let mut world = World::new().await;
    world.certificate("web", own(), json!({})).await;
    let (first, data) = world.ready("web").await;
    let home = world.controller.take().unwrap().stop().await;
    // As in a database that was restored from before.
    let mut sql = world.database.superuser().await;
    sqlx::raw_sql("DELETE FROM certificates_issued").execute(&mut sql).await.unwrap();
    world.controller = Some(home.start().await);
    wait_until(PLENTY, "the row", async || world.issued("why = 'it stood in the Secret'").await == 1).await;
    let (again, held) = world.ready("web").await;
    assert_eq!((serial(&again), held), (serial(&first), data));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_for_gone_is_known_again_when_its_object_is_back() {
    let mut world = World::new().await;
    world.certificate("web", own(), json!({})).await;
    let (first, data) = world.ready("web").await;
    wait_until(PLENTY, "the mirror", async || {
        world.ask("SELECT 1 FROM ssl_certificates WHERE ready = 'True'").await.is_some()
    })
    .await;
    let home = world.controller.take().unwrap().stop().await;
    // As when the namespace was not watched for a while.
    let mut sql = world.database.superuser().await;
    let gone = "UPDATE certificates_issued SET gone_at = now();
                UPDATE ssl_certificates SET deleted_at = now(), delete_reason = 'NotWatched'";
    sqlx::raw_sql(gone).execute(&mut sql).await.unwrap();
    world.controller = Some(home.start().await);
    wait_until(PLENTY, "the row", async || world.issued("gone_at IS NULL").await == 1).await;
    let (again, held) = world.ready("web").await;
    assert_eq!((serial(&again), held, world.issued("true").await), (serial(&first), data, 1));
}
