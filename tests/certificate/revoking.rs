//! Certificates that are revoked, at a real CA.

use serde_json::json;

use crate::acme::{Ca, LONG};
use crate::harness::{User, wait_until};
use crate::openssl::Openssl;
use crate::pebble::{Fault, Switches};
use crate::world::{PLENTY, World, by_ca, message, own, serial};

const REVOKE: &str = "/revoke-cert";

/// `landfall revoke` as admin; its stdout, or its stderr.
async fn revoke(world: &World, arguments: &[&str]) -> Result<String, String> {
    let home = &world.controller.as_ref().unwrap().home;
    let mut command = home.landfall(&[&["revoke", "-n", &world.namespace], arguments].concat());
    let output = command.env("KUBECONFIG", User::Admin.kubeconfig()).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// What Pebble says of a certificate.
async fn status(ca: &Ca, serial: &str) -> serde_json::Value {
    serde_json::from_str(&ca.pebble.told(&format!("/cert-status-by-serial/{serial}")).await).unwrap()
}

/// How the calls that revoke ended, in their order.
async fn calls(world: &World) -> Option<String> {
    let query = "SELECT string_agg(coalesce(outcome, 'open'), ' ' ORDER BY intent_id) FROM intents WHERE call = 'acme.revokeCert'";
    world.ask(query).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_revokes_the_certificate_in_use_when_the_next_one_stands_in_the_secret() {
    let ca = Ca::new(Switches { nonce_reject: 50, ..Switches::default() }).await;
    ca.certificate("web", json!([ca.domain])).await;
    let data = ca.verified("web", &ca.domain).await;
    let old = serial(&ca.world.get("web").await);
    // The key is to be another one, whatever the spec says of renewals.
    ca.world.patch("web", json!({"spec": {"privateKey": {"rotationPolicy": "Never"}}})).await;
    // While the CA answers no order, it is not asked to revoke either: something must stand in the Secret.
    ca.front.next(crate::acme::NEW_ORDER, Fault::Answer(503, "away", None));
    let said = revoke(&ca.world, &["lcert/web", "--reason", "keyCompromise", "--json"]).await.unwrap();
    assert_eq!(said, format!("{}\n", json!({"revoking": old, "reason": "keyCompromise", "by": "admin"})));
    let object = ca.world.until("web", "Revoked", "False", "Progressing").await;
    assert!(message(&object, "Revoked").contains("waits until the Secret holds the next certificate"));
    assert_eq!((ca.front.count(REVOKE), status(&ca, &old).await["Status"].clone()), (0, json!("Valid")));

    let object = ca.world.until_in(LONG, "web", "Revoked", "True", "Revoked").await;
    let told = status(&ca, &old).await;
    assert_eq!((&told["Status"], &told["Reason"]), (&json!("Revoked"), &json!(1)));
    let new = serial(&object);
    assert_eq!(status(&ca, &new).await["Status"], "Valid");
    let next = ca.verified("web", &ca.domain).await;
    assert!(new != old && next["tls.key"] != data["tls.key"] && next["tls.crt"] != data["tls.crt"]);
    assert_eq!(calls(&ca.world).await.as_deref(), Some("Done"));
    let revocation = object.status.unwrap().revocation.unwrap();
    assert_eq!((revocation.serial_number, revocation.reason.as_str()), (old.clone(), "keyCompromise"));
    let row = format!(
        "SELECT concat_ws(' ', revoked_serial_number, revocation_reason, revoked_at > now() - interval '5 min') FROM ssl_certificates WHERE revoked_at = '{}'",
        revocation.time
    );
    let expected = format!("{old} keyCompromise t");
    wait_until(PLENTY, "the row", async || ca.world.ask(&row).await.as_ref() == Some(&expected)).await;
    let logged = "SELECT concat_ws(' ', details ->> 'serial', details ->> 'reason', details ->> 'askedBy') FROM activity_log WHERE action = 'certificate.revoked'";
    assert_eq!(ca.world.ask(logged).await, Some(format!("{old} keyCompromise admin")));

    let said = revoke(&ca.world, &["lcert/web", "--serial", &old]).await.unwrap_err();
    assert!(said.contains("is revoked already"), "{said}");
    assert_eq!(calls(&ca.world).await.as_deref(), Some("Done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_ca_would_be_told_is_refused_with_what_to_do_instead() {
    let (world, openssl) = (World::new().await, Openssl::new());
    openssl.root("ca");
    world.secret("ca", openssl.pair(&["ca"], "ca")).await;
    world.certificate("web", own(), json!({})).await;
    world.certificate("ours", by_ca("ca"), json!({})).await;
    world.ready("web").await;
    let (ours, _) = world.ready("ours").await;
    for (name, words) in [("web", "spec.issuer.selfSigned"), ("ours", "spec.issuer.ca")] {
        let said = revoke(&world, &[&format!("lcert/{name}")]).await.unwrap_err();
        assert!(said.contains(words) && said.contains("landfall.dev/renew replaces it here"), "{said}");
    }
    let said = revoke(&world, &["lcert/ours", "--serial", "5f3a"]).await.unwrap_err();
    assert!(
        said.contains("no certificate of this object with the serial number") && said.contains(&serial(&ours)),
        "{said}"
    );
    assert_eq!((world.issued("true").await, calls(&world).await), (2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_away_is_asked_again_also_by_the_next_process_and_once_on_record() {
    let mut ca = Ca::new(Switches::default()).await;
    ca.certificate("web", json!([ca.domain])).await;
    ca.verified("web", &ca.domain).await;
    let old = serial(&ca.world.get("web").await);
    let refused =
        r#"{"type": "urn:ietf:params:acme:error:badRevocationReason", "detail": "not for that", "status": 400}"#;
    ca.front.next(REVOKE, Fault::Answer(400, refused, None));
    revoke(&ca.world, &["lcert/web", "--reason", "superseded"]).await.unwrap();
    let object = ca.world.until_in(LONG, "web", "Revoked", "False", "RevocationRefused").await;
    assert!(message(&object, "Revoked").contains("not for that"), "{}", message(&object, "Revoked"));
    assert_eq!(calls(&ca.world).await.as_deref(), Some("Failed"));
    // Another reason is another wish. The answer is lost with the process that waits for it.
    ca.front.next(REVOKE, Fault::KeepAnswer);
    let _ = revoke(&ca.world, &["lcert/web", "--serial", &old, "--no-wait"]).await;
    wait_until(LONG, "the CA to be asked", async || ca.front.count(REVOKE) > 1).await;
    let home = ca.world.controller.take().unwrap().kill().await;
    ca.world.controller = Some(home.start().await);
    ca.world.until_in(LONG, "web", "Revoked", "True", "Revoked").await;
    assert_eq!(status(&ca, &old).await["Status"], "Revoked");
    assert_eq!(calls(&ca.world).await.as_deref(), Some("Failed Unknown Settled"));
    assert_eq!(ca.world.issued("true").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_certificate_goes_with_it_waits_for_the_ca_or_for_a_person() {
    let ca = Ca::new(Switches::default()).await;
    for name in ["web", "shop", "quiet"] {
        ca.certificate(name, json!([format!("{name}.{}", ca.domain)])).await;
    }
    let mut serials = Vec::new();
    for name in ["web", "shop", "quiet"] {
        ca.verified(name, &format!("{name}.{}", ca.domain)).await;
        serials.push(serial(&ca.world.get(name).await));
    }
    let on_delete = |value: bool| json!({"spec": {"revokeOnDelete": value}});
    ca.world.patch("web", on_delete(true)).await;
    ca.world.delete("web").await;
    assert_eq!(status(&ca, &serials[0]).await["Reason"], json!(5));
    ca.world.delete("quiet").await;
    assert_eq!(status(&ca, &serials[2]).await["Status"], "Valid", "nobody asked for it");

    ca.world.patch("shop", on_delete(true)).await;
    ca.front.next(REVOKE, Fault::Answer(503, "away", Some(3600)));
    let api = ca.world.api::<landfall::api::Certificate>();
    api.delete("shop", &Default::default()).await.unwrap();
    let object = ca.world.until_in(LONG, "shop", "Revoked", "False", "CaUnavailable").await;
    assert!(
        message(&object, "Revoked").contains("set spec.revokeOnDelete to false"),
        "{}",
        message(&object, "Revoked")
    );
    ca.world.patch("shop", on_delete(false)).await;
    wait_until(PLENTY, "the object to go", async || api.get_opt("shop").await.unwrap().is_none()).await;
    assert_eq!(status(&ca, &serials[1]).await["Status"], "Valid");
    let told = "SELECT concat_ws(' ', details ->> 'serial', details ->> 'why') FROM activity_log WHERE action = 'certificate.not_revoked'";
    let expected = format!("{} spec.revokeOnDelete was switched off", serials[1]);
    assert_eq!(ca.world.ask(told).await, Some(expected));
}
