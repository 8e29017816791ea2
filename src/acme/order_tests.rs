#![allow(clippy::unwrap_used, clippy::panic)]
use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::api::Organization;
use crate::ledger::{IntentId, ObjectKind, Subject};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const TERMS: &str = "sha256:terms";

fn order(stage: AcmeStage) -> AcmeOrder {
    let subject = Subject {
        organization: Organization("o".into()),
        cluster: Uuid::nil(),
        kind: ObjectKind::Certificate,
        uid: Uuid::nil(),
        namespace: "shop".into(),
        name: "web".into(),
    };
    AcmeOrder {
        id: Uuid::nil(),
        subject,
        attempt: 1,
        account: Uuid::nil(),
        account_url: None,
        terms: TERMS.into(),
        names: vec!["a.test".into()],
        profile: None,
        replaces: None,
        stage,
        revision: 0,
        url: Some("https://ca.test/order/1".into()),
        challenges: Vec::new(),
        intent: None,
        failures: 0,
        failed_orders: 0,
        cause: None,
        message: None,
        retry_at: None,
        cleaning_failures: 0,
        clean_at: None,
        chain: None,
        made_at: NOW,
    }
}

fn challenge(value: &str) -> AcmeChallenge {
    AcmeChallenge {
        identifier: "a.test".into(),
        name: "_acme-challenge.a.test".into(),
        value: value.into(),
        place: None,
    }
}

fn with_proofs(stage: AcmeStage) -> AcmeOrder {
    AcmeOrder { challenges: vec![challenge("v")], ..order(stage) }
}

/// One whose proofs cannot be taken away for five seconds.
fn not_clean(stage: AcmeStage) -> AcmeOrder {
    AcmeOrder { clean_at: Some(later(NOW, Duration::from_secs(5))), ..with_proofs(stage) }
}

fn seen(status: OrderStatus, retry_after: Option<u64>) -> OrderSeen {
    let url = "https://ca.test/order/1".into();
    OrderSeen { url, status, problem: None, retry_after: retry_after.map(Duration::from_secs) }
}

fn polled(status: OrderStatus) -> Answer {
    Answer::Order(Ok(seen(status, Some(5))))
}

fn trouble(cause: Cause) -> Trouble {
    Trouble::new(cause, "because")
}

#[test]
fn a_call_that_never_comes_back_makes_no_order_after_order() {
    let first = begun(order(AcmeStage::Prepared), AcmeStage::Placing, NOW);
    assert_eq!((first.failures, first.retry_at), (1, Some(later(NOW, Duration::from_secs(10)))));
    assert!(matches!(next(Some(&first), TERMS, &Answer::Nothing, NOW), Step::Wait(_)));
    let again = later(NOW, Duration::from_secs(10));
    assert_eq!(next(Some(&first), TERMS, &Answer::Nothing, again), Step::Place);
    let second = begun(first, AcmeStage::Placing, again);
    assert_eq!((second.failures, second.retry_at), (2, Some(later(again, Duration::from_secs(20)))));
    let told = begun(order(AcmeStage::Presented), AcmeStage::Responding, NOW);
    assert_eq!((told.stage, told.failures, told.retry_at), (AcmeStage::Responding, 0, None), "that may be said twice");
}

#[test]
fn each_stage_asks_what_it_needs_and_goes_on_by_the_answer() {
    use AcmeStage as S;
    let five = Duration::from_secs(5);
    let lacking = Trouble::new(Cause::DnsNotReady, "ns1 lacks it");
    let rows = [
        (order(S::Prepared), Question::Nothing, Answer::Nothing, Step::Place),
        // Whoever died before the answer came asks once more.
        (order(S::Placing), Question::Nothing, Answer::Nothing, Step::Place),
        (
            order(S::Placed),
            Question::Challenges,
            Answer::Challenges(Ok(vec![challenge("v")])),
            Step::Describe(vec![challenge("v")]),
        ),
        (order(S::Placed), Question::Challenges, Answer::Challenges(Ok(vec![])), Step::Describe(vec![])),
        (
            order(S::Placed),
            Question::Challenges,
            Answer::Challenges(Err(trouble(Cause::NotFound))),
            Step::Fail(trouble(Cause::NotFound)),
        ),
        (
            order(S::Placed),
            Question::Challenges,
            Answer::Challenges(Err(trouble(Cause::Server))),
            Step::PutOff(trouble(Cause::Server), 2 * five),
        ),
        (with_proofs(S::Presenting), Question::Nothing, Answer::Nothing, Step::Present),
        (with_proofs(S::Presented), Question::Authorities, Answer::Authorities(Ok(())), Step::Respond),
        (
            with_proofs(S::Presented),
            Question::Authorities,
            Answer::Authorities(Err("ns1 lacks it".into())),
            Step::PutOff(lacking, Duration::from_secs(1)),
        ),
        (with_proofs(S::Responding), Question::Nothing, Answer::Nothing, Step::Respond),
        (with_proofs(S::Validating), Question::Order, polled(OrderStatus::Pending), Step::Rest(five)),
        (with_proofs(S::Validating), Question::Order, polled(OrderStatus::Ready), Step::Finalize),
        (with_proofs(S::Validating), Question::Order, polled(OrderStatus::Valid), Step::Download),
        (order(S::Validating), Question::Order, polled(OrderStatus::Valid), Step::Download),
        (
            with_proofs(S::Validating),
            Question::Order,
            Answer::Order(Err(trouble(Cause::AccountGone))),
            Step::Fail(trouble(Cause::AccountGone)),
        ),
        // The request is on its way, and DNS is cleaned up while the CA issues.
        (with_proofs(S::Finalizing), Question::Nothing, Answer::Nothing, Step::CleanUp),
        // It may never have arrived.
        (
            AcmeOrder { intent: Some(IntentId(Uuid::nil())), ..with_proofs(S::Finalizing) },
            Question::Order,
            polled(OrderStatus::Ready),
            Step::Finalize,
        ),
        (order(S::Finalizing), Question::Order, polled(OrderStatus::Processing), Step::Rest(five)),
        (order(S::Finalizing), Question::Order, polled(OrderStatus::Valid), Step::Download),
        (order(S::Issued), Question::Nothing, Answer::Nothing, Step::Deliver),
        (with_proofs(S::Issued), Question::Nothing, Answer::Nothing, Step::CleanUp),
        // DNS is in the way of that: nothing else waits for it but the next order.
        (not_clean(S::Finalizing), Question::Order, polled(OrderStatus::Processing), Step::Rest(five)),
        (not_clean(S::Issued), Question::Nothing, Answer::Nothing, Step::Deliver),
        (not_clean(S::Delivered), Question::Nothing, Answer::Nothing, Step::Wait(later(NOW, five))),
        (order(S::Delivered), Question::Nothing, Answer::Nothing, Step::Open),
        (with_proofs(S::Failed), Question::Nothing, Answer::Nothing, Step::CleanUp),
        (order(S::Failed), Question::Nothing, Answer::Nothing, Step::Open),
        (with_proofs(S::Abandoned), Question::Nothing, Answer::Nothing, Step::CleanUp),
        (order(S::Abandoned), Question::Nothing, Answer::Nothing, Step::Open),
    ];
    for (order, asked, answer, step) in rows {
        assert_eq!(question(Some(&order), NOW), asked, "{:?}", order.stage);
        assert_eq!(next(Some(&order), TERMS, &answer, NOW), step, "{:?} {answer:?}", order.stage);
    }
    assert_eq!((question(None, NOW), next(None, TERMS, &Answer::Nothing, NOW)), (Question::Nothing, Step::Open));
}

#[test]
fn an_order_that_failed_is_told_by_the_ca_and_the_next_waits_by_its_cause() {
    let problem = trouble(Cause::Unauthorized);
    let invalid = OrderSeen { problem: Some(problem.clone()), ..seen(OrderStatus::Invalid, None) };
    let before = AcmeOrder { failed_orders: 1, ..with_proofs(AcmeStage::Validating) };
    assert_eq!(next(Some(&before), TERMS, &Answer::Order(Ok(invalid)), NOW), Step::Fail(problem.clone()));
    let after = failed(before, &problem, NOW);
    assert_eq!(
        (after.stage, after.failed_orders, after.cause.as_deref()),
        (AcmeStage::Failed, 2, Some("Unauthorized"))
    );
    assert_eq!(next(Some(&after), TERMS, &Answer::Nothing, NOW), Step::CleanUp);
    let clean = cleaned(after);
    let at = later(NOW, Duration::from_secs(1800));
    assert_eq!(next(Some(&clean), TERMS, &Answer::Nothing, NOW), Step::Wait(at));
    assert_eq!(next(Some(&clean), "other terms", &Answer::Nothing, NOW), Step::Open);
    assert_eq!(next(Some(&clean), TERMS, &Answer::Nothing, at), Step::Open);
}

#[test]
fn a_ca_that_wants_a_proof_of_another_name_gets_none() {
    let placed = AcmeOrder { names: vec!["a.test".into(), "*.b.test".into()], ..order(AcmeStage::Placed) };
    let asked = |identifier: &str| {
        let challenge = AcmeChallenge { identifier: identifier.into(), ..challenge("v") };
        next(Some(&placed), TERMS, &Answer::Challenges(Ok(vec![challenge])), NOW)
    };
    for name in ["a.test", "b.test"] {
        assert!(matches!(asked(name), Step::Describe(_)), "{name}");
    }
    for name in ["x.a.test", "test", "*.b.test", "c.b.test", "other.test", "", "\0"] {
        assert!(matches!(asked(name), Step::Fail(trouble) if trouble.cause == Cause::Malformed), "{name:?}");
    }
}

#[test]
fn taking_proofs_away_has_a_pace_of_its_own() {
    let after = failed(with_proofs(AcmeStage::Validating), &trouble(Cause::Unauthorized), NOW);
    let next_order = after.retry_at;
    let away = not_cleaned(after, &trouble(Cause::DnsNotReady), NOW);
    assert_eq!((away.cleaning_failures, away.retry_at), (1, next_order), "the next order is as far away as before");
    let at = later(NOW, Duration::from_secs(10));
    assert_eq!((left(&away, NOW), left(&away, at)), (Some(Step::Wait(at)), Some(Step::CleanUp)));
    let often = (0..20).fold(away, |order, _| not_cleaned(order, &trouble(Cause::DnsNotReady), NOW));
    assert_eq!(often.clean_at, Some(later(NOW, LONGEST_CLEANING)));
    assert_eq!(left(&cleaned(often), NOW), None);
    assert_eq!(left(&with_proofs(AcmeStage::Placed), NOW), Some(Step::Abandon));
}

#[test]
fn what_nobody_wants_any_more_is_abandoned_at_every_stage() {
    use AcmeStage as S;
    for stage in [
        S::Prepared,
        S::Placing,
        S::Placed,
        S::Presenting,
        S::Presented,
        S::Responding,
        S::Validating,
        S::Finalizing,
        S::Issued,
    ] {
        let order = AcmeOrder { retry_at: Some(later(NOW, Duration::from_secs(9))), ..with_proofs(stage) };
        assert_eq!(next(Some(&order), "other terms", &Answer::Nothing, NOW), Step::Abandon, "{stage:?}");
    }
}

#[test]
fn a_predecessor_that_the_ca_does_not_take_is_left_out_at_once() {
    for cause in [Cause::AlreadyReplaced, Cause::Malformed, Cause::Unauthorized, Cause::NotFound] {
        let asked = AcmeOrder { replaces: Some("a.b".into()), url: None, ..order(AcmeStage::Placing) };
        let after = put_off(asked, &trouble(cause), Duration::from_secs(10), NOW);
        assert_eq!((after.stage, after.replaces.clone(), after.retry_at), (AcmeStage::Prepared, None, None));
        assert_eq!(next(Some(&after), TERMS, &Answer::Nothing, NOW), Step::Place);
        let again =
            put_off(AcmeOrder { stage: AcmeStage::Placing, ..after }, &trouble(cause), Duration::from_secs(10), NOW);
        assert_eq!(again.retry_at, Some(later(NOW, Duration::from_secs(10))), "{cause}: it was not that");
    }
}

#[test]
fn a_predecessor_at_which_the_ca_fails_again_and_again_is_left_out() {
    let mut asked = AcmeOrder { replaces: Some("a.b".into()), url: None, ..order(AcmeStage::Placing) };
    for (cause, stays) in
        [(Cause::Server, true), (Cause::Timeout, true), (Cause::Timeout, true), (Cause::Server, false)]
    {
        asked = put_off(asked, &trouble(cause), Duration::from_secs(10), NOW);
        assert_eq!(
            (asked.replaces.is_some(), asked.retry_at),
            (stays, Some(later(NOW, Duration::from_secs(10)))),
            "{cause}"
        );
        asked.stage = AcmeStage::Placing;
    }
}

#[test]
fn looks_at_the_name_servers_never_lie_half_a_minute_apart() {
    let rests = [0, 1, 4, 5, 9, 63, 64, 1000].map(|looks| until_the_next_look(looks).as_secs());
    assert_eq!(rests, [1, 2, 16, 30, 30, 30, 30, 30]);
}

/// A CA, DNS and the ledger, as simple as they can be.
#[derive(Default)]
struct World {
    ledger: Option<AcmeOrder>,
    keys: usize,
    /// Of each order at the CA: whether its proof was looked at and found, and how often it was asked for since the request.
    orders: Vec<(bool, Option<u32>)>,
    dns: BTreeSet<AcmeChallenge>,
    kills_while_placing: usize,
}

/// When a process is killed within a step, if it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kill {
    No,
    BeforeTheEffect,
    AfterTheEffect,
}

impl World {
    fn number(order: &AcmeOrder) -> usize {
        order.url.as_deref().unwrap().rsplit('/').next().unwrap().parse().unwrap()
    }

    fn at_the_ca(&self, order: &AcmeOrder) -> OrderSeen {
        let number = Self::number(order);
        let status = match *self.orders.get(number).unwrap() {
            (false, _) => OrderStatus::Pending,
            (true, None) => OrderStatus::Ready,
            (true, Some(0)) => OrderStatus::Processing,
            (true, Some(_)) => OrderStatus::Valid,
        };
        OrderSeen { url: format!("https://ca.test/order/{number}"), ..seen(status, Some(3)) }
    }

    fn answer(&mut self, question: Question) -> Answer {
        let Some(order) = self.ledger.clone() else { return Answer::Nothing };
        match question {
            Question::Nothing => Answer::Nothing,
            Question::Challenges => Answer::Challenges(Ok(vec![challenge(&format!("proof {}", Self::number(&order)))])),
            Question::Authorities => {
                let all = order.challenges.iter().all(|challenge| self.dns.contains(challenge));
                Answer::Authorities(if all { Ok(()) } else { Err("lacking".into()) })
            }
            Question::Order => {
                let seen = self.at_the_ca(&order);
                if let Some((_, Some(polls))) = self.orders.get_mut(Self::number(&order)) {
                    *polls += 1;
                }
                Answer::Order(Ok(seen))
            }
        }
    }

    /// One step, as whoever does it writes it down. Whether the certificate was delivered.
    fn act(&mut self, step: &Step, kill: Kill, now: Timestamp) -> bool {
        let mut order = match (&self.ledger, step) {
            (_, Step::Open) => {
                self.keys += 1;
                self.ledger = Some(AcmeOrder { url: None, ..order(AcmeStage::Prepared) });
                return false;
            }
            (None, step) => panic!("{step:?} without an order"),
            (Some(order), _) => order.clone(),
        };
        if let Some((stage, _)) = call(step) {
            order = AcmeOrder { stage, intent: Some(IntentId(Uuid::nil())), ..order };
            self.ledger = Some(order.clone());
        }
        if kill != Kill::No && *step == Step::Place {
            self.kills_while_placing += 1;
        }
        if kill == Kill::BeforeTheEffect {
            return false;
        }
        let after = self.effect(step, order.clone(), now);
        let delivered = *step == Step::Deliver;
        if kill == Kill::No {
            self.ledger = Some(AcmeOrder { intent: None, ..after });
        }
        delivered && kill == Kill::No
    }

    fn effect(&mut self, step: &Step, order: AcmeOrder, now: Timestamp) -> AcmeOrder {
        match step {
            Step::Place => {
                self.orders.push((false, None));
                placed(
                    order,
                    &OrderSeen {
                        url: format!("https://ca.test/order/{}", self.orders.len() - 1),
                        ..seen(OrderStatus::Pending, None)
                    },
                )
            }
            Step::Describe(challenges) => described(order, challenges.clone()),
            Step::Present => {
                self.dns.extend(order.challenges.iter().cloned());
                presented(order)
            }
            Step::Respond => {
                assert!(order.challenges.iter().all(|c| self.dns.contains(c)), "the CA is told what is not so");
                self.orders.get_mut(Self::number(&order)).unwrap().0 = true;
                responded(order, now)
            }
            Step::Finalize => {
                let at_the_ca = self.orders.get_mut(Self::number(&order)).unwrap();
                assert_eq!(*at_the_ca, (true, None), "the request of an order that is not ready");
                at_the_ca.1 = Some(0);
                let seen = self.at_the_ca(&order);
                finalized(order, &seen, now)
            }
            Step::CleanUp => {
                self.dns.retain(|challenge| !order.challenges.contains(challenge));
                cleaned(order)
            }
            Step::Download => {
                assert_eq!(self.at_the_ca(&order).status, OrderStatus::Valid);
                downloaded(order.clone(), format!("chain {}", Self::number(&order)))
            }
            Step::Deliver => AcmeOrder { stage: AcmeStage::Delivered, ..order },
            Step::PutOff(trouble, rest) => put_off(order, trouble, *rest, now),
            Step::Rest(rest) => rested(order, *rest, now),
            other => panic!("{other:?} where nothing is wrong"),
        }
    }
}

proptest! {
    #[test]
    fn whoever_is_killed_whenever_the_same_order_and_key_go_on(kills in prop::collection::vec(0u8..4, 0..60)) {
        let (mut world, mut now, mut kills) = (World::default(), NOW, kills.into_iter());
        for _ in 0..200 {
            let kill = match kills.next() {
                Some(0) => Kill::BeforeTheEffect,
                Some(1) => Kill::AfterTheEffect,
                _ => Kill::No,
            };
            let asked = question(world.ledger.as_ref(), now);
            let answer = world.answer(asked);
            let step = next(world.ledger.as_ref(), TERMS, &answer, now);
            if let Step::Wait(until) = step {
                prop_assert!(until > now, "a wait for nothing at {:?}", world.ledger);
                now = until;
                continue;
            }
            if world.act(&step, kill, now) {
                prop_assert_eq!(world.keys, 1, "one key");
                prop_assert!(world.orders.len() <= 1 + world.kills_while_placing, "{} orders", world.orders.len());
                let order = world.ledger.unwrap();
                prop_assert_eq!(order.chain, Some(format!("chain {}", world.orders.len() - 1)));
                prop_assert!(world.dns.is_empty(), "left in DNS: {:?}", world.dns);
                return Ok(());
            }
        }
        prop_assert!(false, "no certificate: {:?}", world.ledger);
    }

    #[test]
    fn a_ca_that_wants_to_be_left_alone_is_asked_nothing(rest in 1u64..1_000_000, early in 1u64..1_000_000) {
        use AcmeStage as S;
        let until = later(NOW, Duration::from_secs(rest));
        let now = later(NOW, Duration::from_secs(rest.saturating_sub(early)));
        prop_assume!(now < until);
        for stage in [S::Prepared, S::Placing, S::Placed, S::Presenting, S::Presented, S::Responding, S::Validating, S::Finalizing] {
            let order = AcmeOrder { retry_at: Some(until), ..with_proofs(stage) };
            prop_assert_eq!(question(Some(&order), now), Question::Nothing);
            prop_assert_eq!(next(Some(&order), TERMS, &Answer::Nothing, now), Step::Wait(until));
        }
    }
}
