//! What is asked about a certificate that is there: another chain, when to renew it, its revocation.

use landfall::acme::{Cause, cert_id};
use serde_json::json;

use crate::pebble::{Switches, client};
use crate::world::{World, domain, leaf, order};

fn issuer_of_last(chain: &str) -> String {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let last = CertificateDer::pem_slice_iter(chain.as_bytes()).last().unwrap().unwrap();
    let (_, last) = x509_parser::parse_x509_certificate(&last).unwrap();
    last.issuer().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
}

fn name_of(pem: &str) -> String {
    let der = leaf(pem);
    let (_, root) = x509_parser::parse_x509_certificate(&der).unwrap();
    root.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_chain_that_is_preferred_is_taken_where_the_ca_has_it() {
    let world = World::new(Switches { nonce_reject: 50, alternate_roots: 2, ..Switches::default() }).await;
    let (url, _) = order(&world.account, &[domain()], None).await;
    let usual = world.account.download(&url, None).await.unwrap();
    for root in 0..3 {
        let wanted = name_of(&world.pebble.told(&format!("/roots/{root}")).await);
        let chain = world.account.download(&url, Some(&wanted)).await.unwrap();
        assert_eq!(issuer_of_last(&chain), wanted);
        assert_eq!(leaf(&chain), leaf(&usual), "the certificate is the same");
    }
    assert_eq!(world.account.download(&url, Some("Nobody's Root")).await.unwrap(), usual);
}

#[tokio::test]
async fn the_ca_tells_when_to_renew_and_takes_one_successor() {
    let world = World::new(Switches { nonce_reject: 50, ..Switches::default() }).await;
    let names = [domain()];
    let (url, _) = order(&world.account, &names, None).await;
    let chain = world.account.download(&url, None).await.unwrap();
    let told = world.ca.renewal_info(&leaf(&chain)).await.unwrap();
    assert!(jiff::Timestamp::now() < told.start && told.start < told.end, "{told:?}");
    assert_eq!(told.retry_after.as_secs(), 6 * 3600);

    let set = async |window: serde_json::Value| {
        let body = json!({"certificate": chain, "ariResponse": window.to_string()}).to_string();
        let url = format!("{}/set-renewal-info/", world.pebble.management);
        assert_eq!(client().post(url).body(body).send().await.unwrap().status(), 200);
    };
    let window = json!({"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"});
    set(json!({"suggestedWindow": window, "explanationURL": "https://ca.example/why"})).await;
    let told = world.ca.renewal_info(&leaf(&chain)).await.unwrap();
    assert_eq!(told.end.to_string(), "2020-01-02T00:00:00Z");
    assert_eq!(told.explanation_url.as_deref(), Some("https://ca.example/why"));
    set(json!({"suggestedWindow": {"start": window["end"], "end": window["start"]}})).await;
    assert_eq!(world.ca.renewal_info(&leaf(&chain)).await.unwrap_err().cause, Cause::Server);

    let id = cert_id(&leaf(&chain)).unwrap();
    order(&world.account, &names, Some(&id)).await;
    let trouble = world.account.new_order(&names, Some(&id), None).await.unwrap_err();
    assert_eq!(trouble.cause, Cause::AlreadyReplaced, "{}", trouble.message);
    assert!(world.account.new_order(&names, None, None).await.is_ok());
}

#[tokio::test]
async fn a_revoked_certificate_is_revoked_and_may_be_revoked_again() {
    let world = World::new(Switches { nonce_reject: 50, ..Switches::default() }).await;
    let (url, _) = order(&world.account, &[domain()], None).await;
    let certificate = leaf(&world.account.download(&url, None).await.unwrap());
    let serial = {
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
        hex::encode(parsed.raw_serial())
    };
    let status = async || world.pebble.told(&format!("/cert-status-by-serial/{serial}")).await;
    assert!(status().await.contains("Valid"), "{}", status().await);
    assert!(!world.account.revoke(&certificate, 4).await.unwrap(), "it was not revoked before");
    let told = status().await;
    assert!(told.contains("Revoked") && told.contains('4'), "{told}");
    assert!(world.account.revoke(&certificate, 4).await.unwrap(), "it was");
    let stranger = crate::world::account(&world.ca).await;
    let (other, _) = order(&world.account, &[domain()], None).await;
    let other = leaf(&world.account.download(&other, None).await.unwrap());
    assert_eq!(stranger.revoke(&other, 0).await.unwrap_err().cause, Cause::Unauthorized);
}

#[tokio::test]
async fn a_profile_that_the_ca_has_is_used_and_another_refused() {
    let world = World::new(Switches::default()).await;
    assert!(world.ca.meta().profiles.contains_key("shortlived"));
    assert!(world.account.new_order(&[domain()], None, Some("shortlived")).await.is_ok());
    assert!(world.account.new_order(&[domain()], None, Some("eternal")).await.is_err());
}
