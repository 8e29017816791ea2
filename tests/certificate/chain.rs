//! From the proof of a domain to a certificate for it, and what becomes of that when the domain is lost.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use landfall::api::{DomainChallenge, OrganizationDomain};
use serde_json::json;
use uuid::Uuid;

use crate::acme::{Ca, LONG, NEW_ORDER};
use crate::harness::{env, object, wait_until};
use crate::pebble::{Switches, set_txt};
use crate::world::{PLENTY, condition};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

impl Ca {
    /// A domain of Knot's zone whose owner has set the challenge, and how to set it again.
    async fn proved(&self) -> (String, DomainChallenge) {
        let fqdn = format!("t{}.{}", Uuid::new_v4().simple(), env("KNOT_ZONE"));
        let spec = json!({"domain": fqdn, "verification": {"reverifyAfter": "1h", "grace": "0s"}});
        let api = self.world.api::<OrganizationDomain>();
        let domain = serde_json::from_value(object("OrganizationDomain", "own", spec)).unwrap();
        api.create(&PostParams::default(), &domain).await.unwrap();
        let challenge = async || api.get("own").await.unwrap().status.and_then(|status| status.challenge);
        wait_until(PLENTY, "a challenge", async || challenge().await.is_some()).await;
        let challenge = challenge().await.unwrap();
        set_txt(&challenge.name, std::slice::from_ref(&challenge.value)).await;
        self.verified_is("True").await;
        (fqdn, challenge)
    }

    async fn verified_is(&self, status: &str) {
        let api = self.world.api::<OrganizationDomain>();
        wait_until(PLENTY, &format!("Verified={status}"), async || {
            let conditions = api.get("own").await.unwrap().status.unwrap_or_default().conditions;
            conditions.iter().any(|c| c.type_ == "Verified" && c.status == status)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_is_lost_ends_the_order_that_it_was_for_and_leaves_the_certificate_that_stands() {
    let mut ca = Ca::new(Switches::default()).await;
    let (fqdn, challenge) = ca.proved().await;
    ca.certificate("web", json!([fqdn])).await;
    ca.world.until("web", "Issuing", "False", "ChallengeFailed").await;
    let proof = ca.world.ask("SELECT challenges -> 0 ->> 'value' FROM acme_orders").await.unwrap();
    set_txt(&format!("_acme-challenge.{fqdn}"), &[proof]).await;
    ca.verified("web", &fqdn).await;
    let data = ca.world.data("web-tls").await;

    // Another one is under way when the domain goes.
    ca.certificate("other", json!([format!("other.{fqdn}")])).await;
    ca.world.until("other", "Issuing", "False", "ChallengeFailed").await;
    let asked = ca.front.count("/");
    set_txt(&challenge.name, &[]).await;
    for _ in 0..2 {
        let looked = "SELECT checked_at FROM domain_verifications WHERE name = 'own'";
        let before = ca.world.ask(looked).await;
        ca.world.pass(HOUR * 2);
        ca.world.restart().await;
        wait_until(PLENTY, "a look in vain", async || ca.world.ask(looked).await != before).await;
    }
    ca.verified_is("False").await;
    ca.world.until_in(LONG, "other", "Ready", "False", "DomainNotVerified").await;
    let order = "SELECT stage FROM acme_orders WHERE name = 'other'";
    wait_until(PLENTY, "the order's end", async || ca.world.ask(order).await.as_deref() == Some("Abandoned")).await;
    let object = ca.world.until("web", "Issuing", "False", "DomainNotVerified").await;
    assert_eq!(condition(&object, "Ready").map(|c| c.status), Some("True".into()), "what stands, stands");
    assert!(ca.world.data("web-tls").await == data);
    assert_eq!((ca.front.count(NEW_ORDER), ca.front.count("/")), (2, asked), "the CA is asked nothing more");

    // Whose it is again has it again.
    set_txt(&challenge.name, std::slice::from_ref(&challenge.value)).await;
    ca.world.pass(HOUR * 2);
    ca.world.restart().await;
    ca.verified_is("True").await;
    ca.world.until_in(LONG, "other", "Issuing", "False", "ChallengeFailed").await;
    let proof = "SELECT challenges -> 0 ->> 'value' FROM acme_orders WHERE name = 'other' AND stage = 'Presented'";
    let proof = ca.world.ask(proof).await.unwrap();
    set_txt(&format!("_acme-challenge.other.{fqdn}"), &[proof]).await;
    ca.verified("other", &format!("other.{fqdn}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_bound_to_one_that_the_ca_gave_by_another_way() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let config = json!({"externalAccountBindingRequired": true, "externalAccountMACKeys": {"kid-1": KEY}});
    let ca = Ca::new(Switches { config, ..Switches::default() }).await;
    ca.certificate("unbound", json!([ca.domain])).await;
    ca.world.until("unbound", "Issuing", "False", "OrderInvalid").await;
    let secret = json!({"metadata": {"name": "eab"}, "stringData": {"hmac_key": KEY}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    ca.world.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    let mut issuer = ca.issuer();
    issuer["acme"]["externalAccountBinding"] = json!({"keyId": "kid-1", "secretRef": {"name": "eab"}});
    let spec = json!({"dnsNames": [ca.domain], "secretName": "web-tls", "issuer": issuer});
    ca.world.create("web", spec).await;
    ca.verified("web", &ca.domain).await;
    let accounts = "SELECT string_agg(external_key_id || ' ' || (url IS NOT NULL), ', ' ORDER BY external_key_id) FROM acme_accounts";
    assert_eq!(ca.world.ask(accounts).await.as_deref(), Some(" false, kid-1 true"));
    let everything = "SELECT string_agg(details::text, ' ') FROM activity_log";
    assert!(!ca.world.ask(everything).await.unwrap().contains(KEY));
}
