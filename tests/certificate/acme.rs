//! Certificates from a CA: Pebble, strict, by way of a front that counts; its proofs stand in PowerDNS.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use landfall::api::CloudCredential;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{env, object, wait_until};
use crate::openssl::Openssl;
use crate::pebble::{Fault, Front, Pebble, Switches, set_txt};
use crate::proxy::Proxy;
use crate::world::{PLENTY, World, message, serial};

/// Time for what waits as the CA asks it to.
pub(crate) const LONG: Duration = Duration::from_secs(90);
pub(crate) const NEW_ORDER: &str = "/order-plz";

pub(crate) struct Ca {
    pub(crate) world: World,
    pub(crate) pebble: Pebble,
    pub(crate) front: Front,
    /// A proved domain in PowerDNS that is this test's own.
    pub(crate) domain: String,
}

impl Ca {
    pub(crate) async fn new(switches: Switches) -> Self {
        Self::with(switches, |_| {}).await
    }

    /// The same, where `change` has changed `landfall.yaml`.
    async fn with(switches: Switches, change: impl FnOnce(&mut Value)) -> Self {
        let pebble = Pebble::start(switches).await;
        let front = Front::before(&pebble.origin).await;
        let origin = front.origin.clone();
        let world = World::of(move |value| {
            value["allowedEndpoints"].as_array_mut().unwrap().push(json!(origin));
            let zone = |zone: &str, server: &str| json!({"zone": env(zone), "servers": [env(server)]});
            value["dns"] = json!({"authorities": [zone("PDNS_ZONE", "PDNS_DNS"), zone("KNOT_ZONE", "KNOT_DNS")]});
            change(value);
        })
        .await;
        let ca = Self { world, pebble, front, domain: format!("t{}.{}", Uuid::new_v4().simple(), env("PDNS_ZONE")) };
        ca.credential().await;
        let managed = json!({"dns": {"mode": "Managed", "credentialRef": {"name": "pdns"}}});
        ca.world.prove(&ca.domain, managed).await;
        ca
    }

    async fn credential(&self) {
        let secret = json!({"metadata": {"name": "pdns"}, "stringData": {"api_key": env("PDNS_API_KEY")}});
        let secret: Secret = serde_json::from_value(secret).unwrap();
        self.world.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
        let spec = json!({"powerdns": {"secretRef": {"name": "pdns"}, "endpoint": env("PDNS_URL")}});
        let credential: CloudCredential = serde_json::from_value(object("CloudCredential", "pdns", spec)).unwrap();
        self.world.api::<CloudCredential>().create(&PostParams::default(), &credential).await.unwrap();
        let proved = "SELECT 1 FROM provider_health WHERE name = 'pdns' AND state = 'Valid'";
        wait_until(PLENTY, "the credential to be valid", async || self.world.ask(proved).await.is_some()).await;
    }

    pub(crate) fn issuer(&self) -> Value {
        json!({"acme": {"server": self.front.directory(), "email": "team@example.org", "caBundle": crate::pebble::ca()}})
    }

    pub(crate) async fn certificate(&self, name: &str, names: Value) {
        let spec = json!({"dnsNames": names, "secretName": format!("{name}-tls"), "issuer": self.issuer()});
        self.world.create(name, spec).await;
    }

    /// Waits until it is ready, and has OpenSSL verify it for a host against Pebble's root.
    pub(crate) async fn verified(&self, name: &str, host: &str) -> Value {
        self.world.until_in(LONG, name, "Ready", "True", "Issued").await;
        let (_, mut data) = self.world.ready(name).await;
        data["ca.crt"] = json!(self.pebble.told("/roots/0").await);
        Openssl::new().verifies(&data, host);
        data
    }

    /// What of the orders a query tells.
    async fn orders(&self, what: &str) -> String {
        self.world
            .ask(&format!("SELECT string_agg(({what})::text, ' ' ORDER BY made_at) FROM acme_orders"))
            .await
            .unwrap_or_default()
    }

    /// TXT values that stand below the domain in PowerDNS.
    pub(crate) async fn left_in_dns(&self) -> usize {
        let url = format!("{}/api/v1/servers/localhost/zones/{}.", env("PDNS_URL"), env("PDNS_ZONE"));
        let answer =
            reqwest::Client::builder().no_proxy().build().unwrap().get(url).header("X-API-Key", env("PDNS_API_KEY"));
        let zone: Value = answer.send().await.unwrap().json().await.unwrap();
        let sets = zone["rrsets"].as_array().unwrap().iter();
        sets.filter(|set| set["type"] == "TXT" && set["name"].as_str().unwrap().contains(&self.domain)).count()
    }
}

/// What nobody proved says nothing of the names below it, nor of where their proofs are written.
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_was_asked_for_and_never_proved_leads_no_proof_astray() {
    let ca = Ca::new(Switches::default()).await;
    let host = format!("www.{}", ca.domain);
    ca.world.ask_for(&host).await;
    ca.certificate("web", json!([host])).await;
    ca.verified("web", &host).await;
}

/// Nobody here resolves the names of two of these CAs; PowerDNS and the third are listed, and called without the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_beyond_the_proxy_is_reached_by_it() {
    let proxy = Proxy::start(&["ca.example"]).await;
    let url = proxy.url.clone();
    let ca = Ca::with(Switches::default(), |value| value["proxy"] = json!({"https": url, "resolves": true})).await;
    let host = format!("www.{}", ca.domain);
    let certificate = async |name: &str, server: String| {
        let mut issuer = ca.issuer();
        issuer["acme"]["server"] = json!(server);
        ca.world.create(name, json!({"dnsNames": [host], "secretName": format!("{name}-tls"), "issuer": issuer})).await;
    };
    certificate("web", ca.front.directory().replace("127.0.0.1", "ca.example")).await;
    ca.verified("web", &host).await;
    certificate("listed", ca.front.directory()).await;
    ca.verified("listed", &host).await;
    assert!(
        proxy.asked().iter().all(|asked| asked == "ca.example") && !proxy.asked().is_empty(),
        "{:?}",
        proxy.asked()
    );
    certificate("shop", "https://elsewhere.example/dir".into()).await;
    let object = ca.world.until("shop", "Ready", "False", "CaUnavailable").await;
    let said = message(&object, "Ready");
    assert!(said.contains("no connection by way of proxy.https of landfall.yaml"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn apex_and_wildcard_are_one_order_and_all_of_it_is_on_record() {
    let ca = Ca::new(Switches { nonce_reject: 50, ..Switches::default() }).await;
    ca.certificate("web", json!([ca.domain, format!("*.{}", ca.domain)])).await;
    ca.verified("web", &ca.domain).await;
    let data = ca.verified("web", &format!("any.{}", ca.domain)).await;
    assert_eq!(data["tls.crt"].as_str().unwrap().matches("BEGIN CERTIFICATE").count(), 2, "leaf and intermediate");
    assert_eq!(ca.orders("stage || ' ' || challenges").await, "Delivered []");
    assert_eq!(ca.left_in_dns().await, 0);
    let calls =
        "SELECT string_agg(call || ' ' || outcome, ', ' ORDER BY intent_id) FROM intents WHERE call LIKE 'acme.%'";
    let told = "acme.new_account Done, acme.new_order Done, acme.respond Done, acme.finalize Done";
    assert_eq!(ca.world.ask(calls).await.as_deref(), Some(told));
    assert_eq!(
        ca.world.ask("SELECT count(*) FROM intents WHERE outcome IS DISTINCT FROM 'Done'").await.as_deref(),
        Some("0")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_whose_owner_writes_the_zone_waits_for_him_and_goes_on_when_it_is_right() {
    let ca = Ca::new(Switches::default()).await;
    let domain = format!("t{}.{}", Uuid::new_v4().simple(), env("KNOT_ZONE"));
    ca.world.prove(&domain, json!({"dns": {"mode": "External"}})).await;
    ca.certificate("web", json!([domain])).await;
    let object = ca.world.until("web", "Issuing", "False", "ChallengeFailed").await;
    let value = ca.orders("challenges -> 0 ->> 'value'").await;
    let shown = serde_json::to_value(object.status.as_ref().unwrap().acme.as_ref()).unwrap();
    assert_eq!(shown["challenges"], json!([{"domain": domain, "type": "Dns01", "state": "Pending"}]));
    assert!(shown["orderUrl"].as_str().unwrap().starts_with(&ca.front.origin), "{shown}");
    let told = message(&object, "Issuing");
    assert!(told.contains(&format!("_acme-challenge.{domain}")) && told.contains(&value), "{told}");
    assert_eq!(ca.front.count("/chalZ/"), 0, "the CA is told nothing that is not so");
    set_txt(&format!("_acme-challenge.{domain}"), std::slice::from_ref(&value)).await;
    ca.verified("web", &domain).await;
    assert_eq!(ca.front.count(NEW_ORDER), 1);
    let clean = async || ca.world.get("web").await.status.unwrap().acme.is_some_and(|acme| acme.challenges.is_empty());
    wait_until(PLENTY, "a status without proofs", clean).await;
    let known =
        ca.world.ask("SELECT o.url || ' ' || a.url FROM acme_orders o JOIN acme_accounts a USING (account_id)").await;
    let acme = ca.world.get("web").await.status.unwrap().acme.unwrap();
    assert_eq!(known, Some(format!("{} {}", acme.order_url.unwrap(), acme.account.unwrap())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_wants_to_be_left_alone_is_left_alone_over_a_restart() {
    let mut ca = Ca::new(Switches::default()).await;
    let limited = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many", "status": 429}"#;
    ca.front.next(NEW_ORDER, Fault::Answer(429, limited, Some(60)));
    ca.certificate("web", json!([ca.domain])).await;
    let object = ca.world.until("web", "Issuing", "False", "RateLimited").await;
    assert!(message(&object, "Issuing").contains("too many"), "{}", message(&object, "Issuing"));
    ca.world.restart().await;
    let late = "retry_at - stage_at > '59 s' AND retry_at > clock_timestamp() AND stage = 'Prepared'";
    assert_eq!(ca.orders(late).await, "true");
    assert_eq!(ca.front.count(NEW_ORDER), 1);
    ca.world.pass(SignedDuration::from_secs(60));
    ca.world.restart().await;
    ca.verified("web", &ca.domain).await;
    assert_eq!(ca.front.count(NEW_ORDER), 2);
    assert_eq!(ca.orders("attempt").await, "1", "the same order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_certificate_is_put_right_without_an_order_and_a_lost_key_is_not() {
    let ca = Ca::new(Switches::default()).await;
    ca.certificate("web", json!([ca.domain])).await;
    let data = ca.verified("web", &ca.domain).await;
    let before = serial(&ca.world.get("web").await);
    ca.world.touch("web-tls", json!({"stringData": {"tls.crt": "damaged"}})).await;
    let api = ca.world.api::<Secret>();
    let whole = async || ca.world.data("web-tls").await["tls.crt"] == data["tls.crt"];
    wait_until(PLENTY, "the certificate to be put right", whole).await;
    assert_eq!(ca.front.count(NEW_ORDER), 1);
    api.delete("web-tls", &Default::default()).await.unwrap();
    wait_until(LONG, "another certificate", async || serial(&ca.world.get("web").await) != before).await;
    assert_eq!(ca.front.count(NEW_ORDER), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_of_thirty_at_a_ca_that_rejects_half_of_the_nonces_and_takes_its_time() {
    for authz_reuse in [0, 100] {
        let ca = Ca::new(Switches { nonce_reject: 50, authz_reuse, sleep: Some(3), ..Switches::default() }).await;
        for number in 0..30 {
            ca.certificate(&format!("web-{number}"), json!([format!("n{number}.{}", ca.domain), ca.domain])).await;
        }
        for number in 0..30 {
            ca.verified(&format!("web-{number}"), &ca.domain).await;
        }
        assert_eq!(ca.world.ask("SELECT count(*) FROM acme_orders").await.as_deref(), Some("30"));
        assert_eq!(ca.world.ask("SELECT count(*) FROM acme_accounts").await.as_deref(), Some("1"));
        let registered = "SELECT count(*) FROM intents WHERE call = 'acme.new_account'";
        assert_eq!(ca.world.ask(registered).await.as_deref(), Some("1"), "one asks for all");
        wait_until(PLENTY, "DNS to be clean", async || ca.left_in_dns().await == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_deletes_a_certificate_in_mid_order_leaves_nothing_in_dns() {
    let ca = Ca::new(Switches::default()).await;
    ca.front.next("/chalZ/", Fault::Answer(503, "away", Some(3600)));
    ca.certificate("web", json!([ca.domain])).await;
    wait_until(LONG, "the proof to be there", async || ca.front.count("/chalZ/") > 0).await;
    ca.world.delete("web").await;
    assert_eq!(ca.left_in_dns().await, 0);
    assert_eq!(ca.orders("stage").await, "Abandoned");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_another_issuer_in_mid_order_leaves_nothing_in_dns() {
    let ca = Ca::new(Switches::default()).await;
    ca.front.next("/chalZ/", Fault::Answer(503, "away", Some(3600)));
    ca.certificate("web", json!([ca.domain])).await;
    wait_until(LONG, "the proof to be there", async || ca.front.count("/chalZ/") > 0).await;
    ca.world.patch("web", json!({"spec": {"issuer": {"acme": null, "selfSigned": {}}}})).await;
    ca.world.ready("web").await;
    let over = async || ca.orders("stage || ' ' || challenges").await == "Abandoned []";
    wait_until(PLENTY, "the order to be abandoned and cleaned up", over).await;
    assert_eq!(ca.left_in_dns().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_wants_a_certificate_renewed_is_followed_and_told_which_one_goes() {
    let ca = Ca::new(Switches::default()).await;
    ca.certificate("web", json!([ca.domain])).await;
    let data = ca.verified("web", &ca.domain).await;
    let (first, usual) = (serial(&ca.world.get("web").await), ca.world.get("web").await.status.unwrap().renewal_time);
    ca.world.pass(SignedDuration::from_mins(61));
    ca.world.wake("web-tls").await;
    let page = "SELECT details ->> 'page' FROM activity_log WHERE action = 'certificate.renewal_window' ORDER BY seq DESC LIMIT 1";
    let told = "SELECT count(*) FROM certificates_issued WHERE renew_from > now() AND ask_at > now()";
    wait_until(PLENTY, "a window", async || ca.world.ask(told).await.as_deref() == Some("1")).await;
    let moved = async || ca.world.get("web").await.status.unwrap().renewal_time != usual;
    wait_until(PLENTY, "the renewal to be in the window", moved).await;
    let window = ca
        .world
        .ask("SELECT to_char(renew_from AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM certificates_issued")
        .await;
    let ari = ca.world.get("web").await.status.unwrap().acme.unwrap().ari.unwrap();
    assert_eq!((Some(ari.window.start), ari.explanation_url), (window, None));

    let past = json!({"suggestedWindow": {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}, "explanationURL": "https://ca.example/why"});
    let body = json!({"certificate": data["tls.crt"], "ariResponse": past.to_string()}).to_string();
    let url = format!("{}/set-renewal-info/", ca.pebble.management);
    assert_eq!(crate::pebble::client().post(url).body(body).send().await.unwrap().status(), 200);
    ca.world.pass(SignedDuration::from_hours(25));
    ca.world.wake("web-tls").await;
    ca.world.next("web", &first).await;
    assert_eq!(ca.world.ask(page).await.as_deref(), Some("https://ca.example/why"));
    let why = ca.world.ask("SELECT why FROM certificates_issued WHERE superseded_at IS NULL").await;
    assert_eq!(why.as_deref(), Some("its time has come"));
    assert_eq!(ca.orders("replaces IS NOT NULL").await, "false true");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_renewed_after_the_ledgers_backup_is_taken_in_without_an_order() {
    let mut ca = Ca::new(Switches::default()).await;
    ca.certificate("web", json!([ca.domain])).await;
    ca.verified("web", &ca.domain).await;
    let first = serial(&ca.world.get("web").await);
    let renew = json!({"metadata": {"annotations": {"landfall.dev/renew": first, "landfall.dev/command-by": "admin"}}});
    ca.world.patch("web", renew).await;
    let (second, data) = ca.world.next("web", &first).await;
    assert_eq!(ca.front.count(NEW_ORDER), 2);
    let home = ca.world.controller.take().unwrap().stop().await;
    // As in a database that was restored from before the renewal.
    let older = "DELETE FROM certificates_issued WHERE superseded_at IS NULL; UPDATE certificates_issued SET superseded_at = NULL;
                 DELETE FROM commands; DELETE FROM acme_keys WHERE owner_id IN (SELECT order_id FROM acme_orders WHERE attempt = 2);
                 DELETE FROM acme_orders WHERE attempt = 2";
    let mut sql = ca.world.database.superuser().await;
    sqlx::raw_sql(older).execute(&mut sql).await.unwrap();
    ca.world.controller = Some(home.start().await);
    wait_until(PLENTY, "the row", async || ca.world.issued("why = 'it stood in the Secret'").await == 1).await;
    let (again, held) = ca.world.ready("web").await;
    assert_eq!((serial(&again), held, ca.front.count(NEW_ORDER)), (serial(&second), data, 2));
}
