//! Accounts: made, found by their key, bound to an external one, and lost by the CA.

use landfall::access::SecretText;
use landfall::acme::{AccountKey, Cause, Eab};
use serde_json::json;

use crate::pebble::{Pebble, Switches};
use crate::world::{World, acme, domain, server};

#[tokio::test]
async fn a_key_has_one_account_however_often_it_is_asked_for() {
    let world = World::new(Switches { nonce_reject: 50, ..Switches::default() }).await;
    let key = AccountKey::generate().unwrap();
    let url = world.ca.register(&key, Some("team@example.org"), None).await.unwrap();
    let kept = AccountKey::from_pkcs8(key.pkcs8()).unwrap();
    assert_eq!(world.ca.register(&kept, None, None).await.unwrap(), url);
    let other = AccountKey::generate().unwrap();
    assert_ne!(world.ca.register(&other, None, None).await.unwrap(), url);
    assert!(!format!("{key:?}").contains('['), "no bytes of a key are shown");
}

#[tokio::test]
async fn a_ca_that_wants_accounts_bound_takes_the_right_binding_alone() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let config = json!({"externalAccountBindingRequired": true, "externalAccountMACKeys": {"kid-1": KEY}});
    let pebble = Pebble::start(Switches { nonce_reject: 50, config, ..Switches::default() }).await;
    let ca = acme(&[&pebble.origin]).ca(&server(&pebble.directory())).await.unwrap();
    assert!(ca.meta().external_account_required);
    let key = AccountKey::generate().unwrap();
    let binding = |id: &str, hmac: &str| Eab::new(id, SecretText::new(hmac));
    let wrong = KEY.replace('z', "y");
    for refused in
        [None, Some(binding("kid-1", &wrong)), Some(binding("kid-9", KEY)), Some(binding("kid-1", "no base64!"))]
    {
        let trouble = ca.register(&key, None, refused.as_ref()).await.unwrap_err();
        assert_eq!(trouble.cause, Cause::ExternalAccount, "{}", trouble.message);
        assert!(!trouble.message.contains("zWND") && !trouble.message.contains("base64!"), "{}", trouble.message);
    }
    let url = ca.register(&key, None, Some(&binding("kid-1", KEY))).await.unwrap();
    ca.account(&url, &key).new_order(&[domain()], None, None).await.unwrap();
}

#[tokio::test]
async fn an_account_or_order_that_the_ca_has_forgotten_is_told_as_such() {
    let (before, after) = (World::new(Switches::default()).await, World::new(Switches::default()).await);
    let key = AccountKey::generate().unwrap();
    let url = before.ca.register(&key, None, None).await.unwrap();
    let moved = url.replace(&before.pebble.origin, &after.pebble.origin);
    let trouble = after.ca.account(&moved, &key).new_order(&[domain()], None, None).await.unwrap_err();
    assert_eq!(trouble.cause, Cause::AccountGone, "{}", trouble.message);
    let order = before.account.new_order(&[domain()], None, None).await.unwrap().url;
    let moved = order.replace(&before.pebble.origin, &after.pebble.origin);
    let trouble = after.account.poll(&moved).await.unwrap_err();
    assert_eq!(trouble.cause, Cause::NotFound, "{}", trouble.message);
}
