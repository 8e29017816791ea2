//! A CA that is away, asks to be left alone, loses answers, or leads elsewhere.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use landfall::acme::{AccountKey, Cause, Server};
use serde_json::json;

use crate::pebble::{Fault, Front, Switches};
use crate::world::{World, account, acme, domain, server};

const NEW_ORDER: &str = "/order-plz";

#[tokio::test]
async fn an_answer_is_told_by_what_may_have_come_of_the_request() {
    let world = World::new(Switches::default()).await;
    let front = Front::before(&world.pebble.origin).await;
    let ca = acme(&[&front.origin]).ca(&server(&front.directory())).await.unwrap();
    let account = account(&ca).await;
    let limited = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many", "status": 429}"#;
    for (fault, cause, rest, landed) in [
        (Fault::Answer(429, limited, Some(86_400)), Cause::RateLimited, Some(86_400), false),
        (Fault::Answer(429, "slow down", Some(7)), Cause::RateLimited, Some(7), false),
        (Fault::Answer(503, "<html>away</html>", Some(3)), Cause::Server, Some(3), true),
        (Fault::Answer(200, "<html>a portal</html>", None), Cause::Server, None, true),
        (Fault::LoseAnswer, Cause::Server, None, true),
    ] {
        front.next(NEW_ORDER, fault.clone());
        let trouble = account.new_order(&[domain()], None, None).await.unwrap_err();
        let told = (trouble.cause, trouble.retry_after, trouble.may_have_landed);
        assert_eq!(told, (cause, rest.map(Duration::from_secs), landed), "{fault:?}: {}", trouble.message);
    }
    assert_eq!(front.count(NEW_ORDER), 5, "nothing was repeated");
    account.new_order(&[domain()], None, None).await.unwrap();
}

#[tokio::test]
async fn a_ca_that_nobody_answers_for_was_surely_not_asked() {
    let world = World::new(Switches::default()).await;
    let (ca, account) = (world.ca.clone(), world.account.clone());
    drop(world);
    // On a connection that breaks nobody knows; the next call finds none.
    let broken = account.new_order(&[domain()], None, None).await.unwrap_err();
    assert_eq!(broken.cause, Cause::Server, "{broken:?}");
    let trouble = account.new_order(&[domain()], None, None).await.unwrap_err();
    assert!(trouble.cause == Cause::Server && !trouble.may_have_landed, "{trouble:?}");
    let key = AccountKey::generate().unwrap();
    assert!(ca.register(&key, None, None).await.is_err());
}

#[tokio::test]
async fn only_permitted_addresses_are_called_and_only_trusted_certificates_accepted() {
    let world = World::new(Switches::default()).await;
    let directory = world.pebble.directory();
    let refused = acme(&[]).ca(&server(&directory)).await.unwrap_err();
    assert_eq!(refused.cause, Cause::EndpointNotAllowed, "{}", refused.message);
    let unknown = Server { directory: directory.clone(), ca_bundle: None };
    let distrusted = acme(&[&world.pebble.origin]).ca(&unknown).await.unwrap_err();
    assert_eq!(distrusted.cause, Cause::Server, "{}", distrusted.message);
    let unread = Server { directory, ca_bundle: Some("no PEM".into()) };
    let unread = acme(&[&world.pebble.origin]).ca(&unread).await.unwrap_err();
    assert!(unread.message.contains("caBundle"), "{}", unread.message);
}

#[tokio::test]
async fn a_directory_that_leads_into_the_own_network_is_not_followed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let inside = "http://169.254.169.254/latest";
    let document = json!({"newNonce": inside, "newAccount": inside, "newOrder": inside}).to_string();
    let app = Router::new().route("/dir", get(|| async move { document }));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let ca = acme(&[&origin]).ca(&server(&format!("{origin}/dir"))).await.unwrap();
    let trouble = ca.register(&AccountKey::generate().unwrap(), None, None).await.unwrap_err();
    assert_eq!(trouble.cause, Cause::EndpointNotAllowed, "{}", trouble.message);
    let nowhere = acme(&[&origin]).ca(&server(&format!("{origin}/nothing"))).await.unwrap_err();
    assert_eq!(nowhere.cause, Cause::NotFound, "{}", nowhere.message);
}
