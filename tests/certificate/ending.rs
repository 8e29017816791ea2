use serde_json::json;

use crate::acme::{Ca, LONG};
use crate::harness::wait_until;
use crate::kills::Gate;
use crate::pebble::{Fault, Switches};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_dies_between_the_secret_and_its_outcome_makes_no_other_certificate() {
    let mut world = World::new().await;
    let mut gate = Gate::before(&world.database.url, "certificates_issued", "NEW.state = 'Issued'").await;
    world.certificate("web", own(), json!({})).await;
    gate.reached("the outcome to be written").await;
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
async fn a_controller_that_dies_with_a_former_secret_removed_says_so_whatever_the_spec_names_by_then() {
    let mut world = World::new().await;
    world.certificate("web", own(), json!({})).await;
    world.ready("web").await;
    let condition = "NEW.call = 'certificate.remove_secret' AND NEW.outcome IS NOT NULL";
    let mut gate = Gate::before(&world.database.url, "intents", condition).await;
    world.patch("web", json!({"spec": {"secretName": "second-tls"}})).await;
    gate.reached("the outcome of the removal to be written").await;
    let home = world.controller.take().unwrap().kill().await;
    gate.open().await;
    world.patch("web", json!({"spec": {"secretName": "third-tls"}})).await;
    world.controller = Some(home.start().await);
    let removals = "SELECT string_agg(details ->> 'secret' || ' ' || outcome, ', ' ORDER BY created_at) FROM intents
                    WHERE call = 'certificate.remove_secret'";
    wait_until(PLENTY, "both removals on record", async || {
        world.ask(removals).await.as_deref() == Some("web-tls Settled, second-tls Done")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_finalizer_was_taken_in_mid_order_leaves_no_order_open() {
    let mut ca = Ca::new(Switches::default()).await;
    ca.front.next("/chalZ/", Fault::Keep);
    ca.certificate("web", json!([ca.domain])).await;
    wait_until(LONG, "the CA to be told of the proof", async || ca.front.count("/chalZ/") > 0).await;
    let home = ca.world.controller.take().unwrap().kill().await;
    ca.world.patch("web", json!({"metadata": {"finalizers": null}})).await;
    ca.world.delete("web").await;
    ca.world.controller = Some(home.start().await);
    let orders = "SELECT string_agg(stage || ' ' || challenges || ' ' || coalesce(intent_id::text, 'settled'), ', ') FROM acme_orders";
    wait_until(PLENTY, "the end of the order", async || {
        ca.world.ask(orders).await.as_deref() == Some("Abandoned [] settled")
    })
    .await;
    let calls = "SELECT string_agg(outcome, ' ') FROM intents WHERE call = 'acme.respond'";
    assert_eq!(ca.world.ask(calls).await.as_deref(), Some("Unknown"));
    let left = "SELECT string_agg(details ->> 'name', ' ') FROM activity_log WHERE action = 'acme.challenge_left'";
    assert_eq!(ca.world.ask(left).await, Some(format!("_acme-challenge.{}", ca.domain)));
    assert_eq!(ca.left_in_dns().await, 1, "what is said to be left is there");
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
