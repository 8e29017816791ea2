use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::wait_until;
use crate::kills::Gate;
use crate::openssl::Openssl;
use crate::world::{PLENTY, World, message, own, serial};

fn encoded(text: &str) -> Value {
    use base64::Engine as _;
    json!(base64::engine::general_purpose::STANDARD.encode(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_around_a_sound_key_is_put_right_without_another_certificate() {
    let world = World::new().await;
    world.certificate("web", own(), json!({})).await;
    let (first, whole) = world.ready("web").await;
    let damages = [
        json!({"tls.crt": encoded("damaged")}),
        json!({"tls.crt": encoded(&whole["tls.crt"].as_str().unwrap().replace("MII", "MIE"))}),
        json!({"tls.crt": null, "ca.crt": null}),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        // The API server lets no kubernetes.io/tls lack its keys.
        let damage = if damage["tls.crt"].is_null() && damage.get("tls.crt").is_some() {
            json!({"tls.crt": "", "ca.crt": null})
        } else {
            damage
        };
        world.touch("web-tls", json!({"data": damage})).await;
        let told = format!(
            "SELECT 1 FROM activity_log WHERE action = 'certificate.restored' HAVING count(*) = {}",
            number + 1
        );
        wait_until(PLENTY, "the Secret to be whole", async || world.ask(&told).await.is_some()).await;
        assert_eq!(world.data("web-tls").await, whole, "{number}");
    }
    assert_eq!((serial(&world.ready("web").await.0), world.issued("true").await), (serial(&first), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_lost_or_replaced_asks_for_another_certificate() {
    let (world, openssl) = (World::new().await, Openssl::new());
    openssl.key("other", "ecparam -name prime256v1 -genkey -noout");
    world.certificate("web", own(), json!({})).await;
    let (first, _) = world.ready("web").await;
    world.touch("web-tls", json!({"data": {"tls.key": encoded(&openssl.read("other.key"))}})).await;
    let (second, data) = world.next("web", &serial(&first)).await;
    openssl.verifies(&data, "www.example.com");
    world.touch("web-tls", json!({"data": {"tls.key": ""}})).await;
    let (third, _) = world.next("web", &serial(&second)).await;
    world.api::<Secret>().delete("web-tls", &DeleteParams::default()).await.unwrap();
    let (_, data) = world.next("web", &serial(&third)).await;
    openssl.verifies(&data, "www.example.com");
    let lost = world.issued("why = 'the private key was lost or replaced'").await;
    assert_eq!((lost, world.issued("superseded_at IS NULL").await), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_is_never_written() {
    let world = World::new().await;
    let theirs = json!({"tls.crt": "theirs", "tls.key": "theirs"});
    world.secret("web-tls", theirs.clone()).await;
    world.certificate("web", own(), json!({})).await;
    let object = world.until("web", "Ready", "False", "SecretNotOwned").await;
    assert!(message(&object, "Ready").contains("was made by somebody else"), "{}", message(&object, "Ready"));
    assert_eq!(world.data("web-tls").await, theirs);
    assert_eq!(
        (world.issued("true").await, world.ask("SELECT 1 FROM intents").await),
        (0, None),
        "no key was made for it"
    );
    world.api::<Secret>().delete("web-tls", &DeleteParams::default()).await.unwrap();
    world.ready("web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_certificates_on_one_secret_the_first_has_it() {
    let world = World::new().await;
    world.certificate("one", own(), json!({"secretName": "shared"})).await;
    world.ready("one").await;
    world.certificate("two", own(), json!({"secretName": "shared"})).await;
    let object = world.until("two", "Ready", "False", "SecretNotOwned").await;
    assert!(message(&object, "Ready").contains("belongs to Certificate \"one\""), "{}", message(&object, "Ready"));
    let held = world.data("shared").await;
    world.patch("two", json!({"spec": {"secretName": "two-tls"}})).await;
    world.ready("two").await;
    assert_eq!(world.data("shared").await, held);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_wait_for_one_secret_the_older_gets_it_and_then_the_other() {
    let world = World::new().await;
    let outside = json!({"secretName": "shared", "dnsNames": ["www.example.org"]});
    world.certificate("one", own(), outside).await;
    world.until("one", "Ready", "False", "DomainNotVerified").await;
    // Objects of one second are put in order by their uids.
    let second = world.get("one").await.metadata.creation_timestamp.unwrap().0.as_second();
    wait_until(PLENTY, "the next second", async || jiff::Timestamp::now().as_second() > second).await;
    world.certificate("two", own(), json!({"secretName": "shared"})).await;
    let object = world.until("two", "Ready", "False", "SecretNotOwned").await;
    assert!(message(&object, "Ready").contains("Certificate \"one\" names Secret \"shared\" too and is older"));
    world.delete("one").await;
    world.ready("two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_somebody_changes_again_and_again_is_left_alone_for_a_while() {
    let world = World::new().await;
    world.certificate("web", own(), json!({})).await;
    let (_, data) = world.ready("web").await;
    let spoilt = format!("{}\n", data["tls.crt"].as_str().unwrap());
    let restored = "SELECT count(*)::text FROM activity_log WHERE action = 'certificate.restored'";
    for number in 1..=3 {
        world.touch("web-tls", json!({"stringData": {"tls.crt": spoilt}})).await;
        let again = async || world.ask(restored).await == Some(number.to_string());
        wait_until(PLENTY, "the certificate to be put right", again).await;
        assert_eq!(world.data("web-tls").await["tls.crt"], data["tls.crt"]);
    }
    world.touch("web-tls", json!({"stringData": {"tls.crt": spoilt}})).await;
    let object = world.until("web", "Issuing", "False", "Contended").await;
    assert_eq!(crate::world::condition(&object, "Ready").unwrap().status, "True", "it serves all the same");
    assert_eq!(world.data("web-tls").await["tls.crt"], json!(spoilt));
    let calls = "SELECT string_agg(outcome, ' ') FROM intents WHERE call = 'certificate.restore'";
    assert_eq!(world.ask(calls).await.as_deref(), Some("Done Done Done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_the_api_server_refuses_costs_no_certificate() {
    let world = World::new().await;
    world.certificate("web", own(), json!({})).await;
    world.ready("web").await;
    world.touch("web-tls", json!({"immutable": true})).await;
    world.patch("web", json!({"spec": {"dnsNames": ["shop.example.com"]}})).await;
    let object = world.until("web", "Issuing", "False", "SecretRejected").await;
    assert!(message(&object, "Issuing").contains("immutable"), "{}", message(&object, "Issuing"));
    assert_eq!(
        (world.issued("true").await, world.ask("SELECT count(*) FROM intents").await.as_deref()),
        (1, Some("1"))
    );
    world.api::<Secret>().delete("web-tls", &DeleteParams::default()).await.unwrap();
    let issued = async || world.issued("'shop.example.com' = ANY(dns_names) AND state = 'Issued'").await == 1;
    wait_until(PLENTY, "the next one", issued).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_whose_end_is_not_known_is_settled_by_what_stands_there() {
    let mut world = World::new().await;
    world.certificate("web", own(), json!({})).await;
    let (_, data) = world.ready("web").await;
    let ends = "NEW.restore_intent_id IS NULL AND NEW.state = 'Issued'";
    let mut gate = Gate::before(&world.database.url, "certificates_issued", ends).await;
    world.touch("web-tls", json!({"stringData": {"tls.crt": "damaged"}})).await;
    let whole = async || world.data("web-tls").await["tls.crt"] == data["tls.crt"];
    wait_until(PLENTY, "the Secret to be whole", whole).await;
    gate.reached("the outcome to be written").await;
    let home = world.controller.take().unwrap().kill().await;
    gate.open().await;
    world.controller = Some(home.start().await);
    let calls = "SELECT string_agg(outcome, ' ') FROM intents WHERE call = 'certificate.restore'";
    wait_until(PLENTY, "its outcome", async || world.ask(calls).await.as_deref() == Some("Settled")).await;
    let told = "SELECT count(*) FROM activity_log WHERE action = 'certificate.restored'";
    assert_eq!((world.ask(told).await.as_deref(), world.issued("true").await), (Some("1"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_secret_holds_the_same_pair_and_the_former_one_goes() {
    let world = World::new().await;
    world.certificate("web", own(), json!({})).await;
    let (first, data) = world.ready("web").await;
    world.patch("web", json!({"spec": {"secretName": "next-tls"}})).await;
    let secrets = world.api::<Secret>();
    let gone = async || secrets.get_opt("web-tls").await.unwrap().is_none();
    wait_until(PLENTY, "the former Secret to go", gone).await;
    let (second, moved) = world.ready("web").await;
    assert_eq!((serial(&second), moved), (serial(&first), data));
    let calls = "SELECT string_agg(concat_ws(' ', call, outcome), ', ' ORDER BY intent_id) FROM intents";
    let told = "certificate.issue Done, certificate.issue Done, certificate.remove_secret Done";
    wait_until(PLENTY, "all of it on record", async || world.ask(calls).await.as_deref() == Some(told)).await;
    assert_eq!(world.issued("why = 'spec.secretName is another one' AND superseded_at IS NULL").await, 1);
}
