//! Orders that nobody waits for any more leave nothing behind.

use super::super::super::act::Done;
use super::*;
use crate::ledger::{AcmeChallenge, AcmeOrder, AcmeStage};

/// With a proof in DNS.
pub(super) fn order(stage: AcmeStage, subject: &Subject) -> AcmeOrder {
    let name = "_acme-challenge.example.com".to_owned();
    AcmeOrder {
        id: Uuid::nil(),
        subject: subject.clone(),
        attempt: 1,
        account: Uuid::nil(),
        account_url: None,
        terms: "sha256:terms".into(),
        names: vec!["example.com".into()],
        profile: None,
        replaces: None,
        stage,
        revision: 0,
        url: Some("https://ca.test/order/1".into()),
        challenges: vec![AcmeChallenge { identifier: "example.com".into(), name, value: "v".into(), place: None }],
        intent: None,
        failures: 0,
        failed_orders: 0,
        cause: None,
        message: None,
        retry_at: None,
        cleaning_failures: 0,
        clean_at: None,
        chain: None,
        made_at: at(0),
    }
}

fn with(mut world: World, stage: AcmeStage) -> World {
    world.seen.order = Some(order(stage, &world.seen.subject));
    world
}

fn step(world: &World) -> Option<order::Step> {
    match world.decide(1) {
        Step::Advance(step) => Some(*step),
        _ => None,
    }
}

#[test]
fn an_order_that_the_spec_does_not_ask_for_is_abandoned_and_cleaned_up() {
    let leaving = || {
        let mut world = World::issued(json!({}));
        world.object.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
        world
    };
    let closed = || {
        let mut world = World::new(json!({}));
        world.seen.gate = Err(refusal(Reason::DomainNotVerified));
        world
    };
    let nonsense = || {
        let mut world = World::new(json!({}));
        world.seen.wanted = Err(refusal(Reason::CertificateInvalid));
        world
    };
    let foreign = || {
        let mut world = World::new(json!({}));
        world.seen.secret = Held::Foreign("theirs".into());
        world
    };
    let brought =
        || World::new(json!({"secretName": "brought", "issuer": {"imported": {"secretRef": {"name": "brought"}}}}));
    let worlds: [&dyn Fn() -> World; 6] =
        [&|| World::issued(json!({})), &leaving, &closed, &nonsense, &foreign, &brought];
    for (n, world) in worlds.iter().enumerate() {
        assert_eq!(step(&with(world(), AcmeStage::Presented)), Some(order::Step::Abandon), "{n}");
        assert_eq!(step(&with(world(), AcmeStage::Abandoned)), Some(order::Step::CleanUp), "{n}");
        assert_eq!(step(&with(world(), AcmeStage::Failed)), Some(order::Step::CleanUp), "{n}");
        let mut later = with(world(), AcmeStage::Failed);
        later.seen.order.as_mut().unwrap().clean_at = Some(at(10));
        assert_eq!(later.rests(1).0, Some(at(10)), "{n}");
    }
    let mut clean = with(leaving(), AcmeStage::Abandoned);
    clean.seen.order.as_mut().unwrap().challenges.clear();
    assert_eq!(clean.decide(1), Step::LetGo);
}

#[test]
fn an_order_whose_certificate_is_in_use_was_delivered() {
    let mut world = with(World::issued(json!({})), AcmeStage::Issued);
    let chain = world.seen.facts.current.as_ref().unwrap().certificate.chain.clone();
    world.seen.order.as_mut().unwrap().chain = Some(format!("{chain}\n"));
    assert_eq!(step(&world), Some(order::Step::Close));
}

#[test]
fn a_suspended_object_keeps_its_order() {
    let world = with(World::new(json!({"suspend": true})), AcmeStage::Presented);
    assert_eq!(world.rests(1).1, Some(Reason::Suspended));
}

#[test]
fn while_there_is_none_yet_ready_says_how_far_it_is() {
    let shown = |world: World| {
        let rest = Step::Rest { until: None, refused: None };
        let report = super::super::super::report::report(&world.object, &world.seen, &rest, Ok(&Done::Nothing), at(1));
        let status: crate::api::CertificateStatus = serde_json::from_value(report.status.unwrap()).unwrap();
        let told = |c: &crate::api::Condition| format!("{}={} {}", c.type_, c.status, c.reason);
        let all: Vec<String> = status.conditions.iter().map(told).collect();
        (all.join(", "), status.conditions.first().unwrap().message.clone())
    };
    let (all, message) = shown(with(World::new(json!({})), AcmeStage::Validating));
    assert_eq!(all, "Ready=False Issuing, Reconciling=True Issuing");
    assert!(message.ends_with("one is being issued: the CA looks at the proofs in DNS"), "{message}");
    let brought = json!({"secretName": "brought", "issuer": {"imported": {"secretRef": {"name": "brought"}}}});
    assert_eq!(shown(World::new(brought)).0, "Ready=False SecretNotFound");
}
