//! The way of an order: what to ask next, and what to do with the answer. Pure; what it goes by stands in the ledger, so that
//! whoever comes next goes on where the former one was.

use std::time::Duration;

use jiff::Timestamp;

use super::steps::{OrderSeen, OrderStatus};
use super::trouble::{Cause, Trouble};
use crate::ledger::{AcmeChallenge, AcmeOrder, AcmeStage};

/// Between two questions to a CA that does not say how long to wait.
const USUAL_REST: Duration = Duration::from_secs(2);
/// Between two looks at the name servers: never longer, so that a zone that is put right is found soon.
const LONGEST_LOOK: Duration = Duration::from_secs(30);
/// Between two attempts to take away what stands in DNS: an object that is deleted waits for them.
const LONGEST_CLEANING: Duration = Duration::from_secs(60);

/// What must be looked at before it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Nothing.
    Nothing,
    /// What the CA wants to see in DNS.
    Challenges,
    /// What the name servers answer for all challenges.
    Authorities,
    /// What has become of the order.
    Order,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Nothing was asked.
    Nothing,
    /// What the CA wants to see in DNS.
    Challenges(Result<Vec<AcmeChallenge>, Trouble>),
    /// Whether each name server that answers has each value; else which lacks what, in words.
    Authorities(Result<(), String>),
    /// What has become of the order.
    Order(Result<OrderSeen, Trouble>),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write down an order with a key: there is none that could be gone on with.
    Open,
    /// Ask for the order.
    Place,
    /// Write down what is to be put into DNS.
    Describe(Vec<AcmeChallenge>),
    /// Put it there.
    Present,
    /// Tell the CA that it is there.
    Respond,
    /// Send the certificate's request.
    Finalize,
    /// Take away what stands in DNS.
    CleanUp,
    /// Fetch the chain.
    Download,
    /// The certificate is whole: hand it over.
    Deliver,
    /// Write down that it was.
    Close,
    /// Write down that something was in the way, and when to go on.
    PutOff(Trouble, Duration),
    /// Write down that the order came to nothing, and when the next may be made.
    Fail(Trouble),
    /// Write down that nobody wants the order any more.
    Abandon,
    /// Write down that the CA wants to be left alone for so long.
    Rest(Duration),
    /// Nothing before this.
    Wait(Timestamp),
}

/// What must be looked at before [`next`]. Nothing before its time.
pub fn question(order: Option<&AcmeOrder>, now: Timestamp) -> Question {
    let Some(order) = order.filter(|order| order.retry_at.is_none_or(|at| at <= now)) else { return Question::Nothing };
    match order.stage {
        AcmeStage::Placed => Question::Challenges,
        AcmeStage::Presented => Question::Authorities,
        AcmeStage::Validating => Question::Order,
        // While the CA issues, DNS is cleaned up.
        AcmeStage::Finalizing if !may_clean(order, now) || order.intent.is_some() => Question::Order,
        _ => Question::Nothing,
    }
}

/// The next step for what `terms` are a digest of. `answer` is the one to [`question`] for the same order and time.
pub fn next(order: Option<&AcmeOrder>, terms: &str, answer: &Answer, now: Timestamp) -> Step {
    let Some(order) = order else { return Step::Open };
    if order.stage.is_over() {
        return over(order, terms, now);
    }
    if order.terms != terms {
        return Step::Abandon;
    }
    if let Some(at) = order.retry_at.filter(|at| *at > now) {
        return Step::Wait(at);
    }
    match (order.stage, answer) {
        (AcmeStage::Prepared | AcmeStage::Placing, _) => Step::Place,
        (AcmeStage::Placed, Answer::Challenges(found)) => match found {
            Ok(challenges) => match challenges.iter().find(|challenge| !is_ordered(order, &challenge.identifier)) {
                // Whatever a CA asks for, nothing is written for a name that was not to be proved.
                Some(other) => {
                    let words = format!("the CA wants a proof of {:?}, which is not of the order", other.identifier);
                    Step::Fail(Trouble::new(Cause::Malformed, words))
                }
                None => Step::Describe(challenges.clone()),
            },
            Err(trouble) => in_the_way(order, trouble),
        },
        (AcmeStage::Presenting, _) => Step::Present,
        (AcmeStage::Presented, Answer::Authorities(Ok(()))) => Step::Respond,
        (AcmeStage::Presented, Answer::Authorities(Err(lacking))) => {
            Step::PutOff(Trouble::new(Cause::DnsNotReady, lacking), until_the_next_look(order.failures))
        }
        (AcmeStage::Responding, _) => Step::Respond,
        (AcmeStage::Validating | AcmeStage::Finalizing, Answer::Order(Ok(seen))) => seen_at_the_ca(seen),
        (AcmeStage::Validating | AcmeStage::Finalizing, Answer::Order(Err(trouble))) => in_the_way(order, trouble),
        (AcmeStage::Finalizing, _) => Step::CleanUp,
        (AcmeStage::Issued, _) if may_clean(order, now) => Step::CleanUp,
        (AcmeStage::Issued, _) => Step::Deliver,
        // Asked for at the next look.
        _ => Step::Wait(now),
    }
}

/// What a former order leaves behind, and when the next may begin. One that failed is not repeated before its time, but for
/// other terms.
fn over(order: &AcmeOrder, terms: &str, now: Timestamp) -> Step {
    if let Some(step) = left(order, now) {
        return step;
    }
    let held = order.stage == AcmeStage::Failed && order.terms == terms;
    match order.retry_at.filter(|at| held && *at > now) {
        Some(at) => Step::Wait(at),
        None => Step::Open,
    }
}

/// Whether something is to be taken away from DNS, and may be now.
fn may_clean(order: &AcmeOrder, now: Timestamp) -> bool {
    !order.challenges.is_empty() && order.clean_at.is_none_or(|at| at <= now)
}

/// What is still to be done for an order that nobody wants any more; nothing where it left nothing behind.
pub fn left(order: &AcmeOrder, now: Timestamp) -> Option<Step> {
    match order.clean_at {
        _ if !order.stage.is_over() => Some(Step::Abandon),
        _ if order.challenges.is_empty() => None,
        Some(at) if at > now => Some(Step::Wait(at)),
        _ => Some(Step::CleanUp),
    }
}

/// Whether an authorization of this name belongs to the order; that of a wildcard is of the name below it.
fn is_ordered(order: &AcmeOrder, identifier: &str) -> bool {
    order.names.iter().any(|name| name.strip_prefix("*.").unwrap_or(name) == identifier)
}

fn seen_at_the_ca(seen: &OrderSeen) -> Step {
    match seen.status {
        OrderStatus::Ready => Step::Finalize,
        OrderStatus::Valid => Step::Download,
        OrderStatus::Invalid => Step::Fail(
            seen.problem.clone().unwrap_or_else(|| Trouble::new(Cause::Unauthorized, "the order is invalid")),
        ),
        OrderStatus::Pending | OrderStatus::Processing => Step::Rest(seen.retry_after.unwrap_or(USUAL_REST)),
    }
}

/// An order that the CA does not know any more cannot be gone on with; all else passes.
fn in_the_way(order: &AcmeOrder, trouble: &Trouble) -> Step {
    match trouble.cause {
        Cause::NotFound | Cause::AccountGone => Step::Fail(trouble.clone()),
        _ => Step::PutOff(trouble.clone(), trouble.pause(order.failures.saturating_add(1))),
    }
}

/// How long after so many looks in vain the next one is.
fn until_the_next_look(looks: u32) -> Duration {
    let seconds = 1u64.checked_shl(looks).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(LONGEST_LOOK)
}

/// A call of the CA that changes something there: the stage in which it is written down before it is made, and its word.
pub const fn call(step: &Step) -> Option<(AcmeStage, &'static str)> {
    match step {
        Step::Place => Some((AcmeStage::Placing, "acme.new_order")),
        Step::Respond => Some((AcmeStage::Responding, "acme.respond")),
        Step::Finalize => Some((AcmeStage::Finalizing, "acme.finalize")),
        _ => None,
    }
}

/// What of the order is written down before such a call is made. A call that never comes back is made again, but not at once:
/// each may have made an order at the CA.
pub fn begun(order: AcmeOrder, stage: AcmeStage, now: Timestamp) -> AcmeOrder {
    if stage != AcmeStage::Placing {
        return AcmeOrder { stage, ..order };
    }
    let failures = order.failures.saturating_add(1);
    let rest = Trouble::new(Cause::Timeout, "").pause(failures);
    AcmeOrder { stage, failures, retry_at: Some(later(now, rest)), ..order }
}

/// The order one stage further.
fn on(order: AcmeOrder, stage: AcmeStage) -> AcmeOrder {
    AcmeOrder { stage, failures: 0, cause: None, message: None, retry_at: None, ..order }
}

/// The CA took the order.
pub fn placed(order: AcmeOrder, seen: &OrderSeen) -> AcmeOrder {
    AcmeOrder { url: Some(seen.url.clone()), ..on(order, AcmeStage::Placed) }
}

/// What the CA wants to see is known; of names that were proved before, nothing.
pub fn described(order: AcmeOrder, challenges: Vec<AcmeChallenge>) -> AcmeOrder {
    let stage = if challenges.is_empty() { AcmeStage::Validating } else { AcmeStage::Presenting };
    AcmeOrder { challenges, ..on(order, stage) }
}

/// DNS has all of it.
pub fn presented(order: AcmeOrder) -> AcmeOrder {
    on(order, AcmeStage::Presented)
}

/// The CA was told.
pub fn responded(order: AcmeOrder, now: Timestamp) -> AcmeOrder {
    AcmeOrder { retry_at: Some(later(now, USUAL_REST)), ..on(order, AcmeStage::Validating) }
}

/// The CA has the request.
pub fn finalized(order: AcmeOrder, seen: &OrderSeen, now: Timestamp) -> AcmeOrder {
    let rest = match seen.status {
        OrderStatus::Valid => None,
        _ => Some(later(now, seen.retry_after.unwrap_or(USUAL_REST))),
    };
    AcmeOrder { retry_at: rest, ..on(order, AcmeStage::Finalizing) }
}

/// Nothing stands in DNS any more.
pub fn cleaned(order: AcmeOrder) -> AcmeOrder {
    AcmeOrder { challenges: Vec::new(), cleaning_failures: 0, clean_at: None, ..order }
}

/// DNS is in the way of taking it away. The order itself goes its way.
pub fn not_cleaned(order: AcmeOrder, trouble: &Trouble, now: Timestamp) -> AcmeOrder {
    let cleaning_failures = order.cleaning_failures.saturating_add(1);
    let rest = trouble.pause(cleaning_failures).min(LONGEST_CLEANING);
    AcmeOrder { cleaning_failures, clean_at: Some(later(now, rest)), ..order }
}

/// The chain is here.
pub fn downloaded(order: AcmeOrder, chain: String) -> AcmeOrder {
    AcmeOrder { chain: Some(chain), failed_orders: 0, ..on(order, AcmeStage::Issued) }
}

/// The CA wants to be left alone.
pub fn rested(order: AcmeOrder, rest: Duration, now: Timestamp) -> AcmeOrder {
    AcmeOrder { retry_at: Some(later(now, rest)), ..order }
}

/// Failures of a CA after which it may be the certificate that is to be replaced that it fails at.
const FAILS_AGAIN: u32 = 3;

/// Something was in the way. Where the CA does not take the certificate that is to be replaced, it is asked for one without a
/// predecessor, and at once. Where it fails again and again, too: without one an order only counts against a rate limit.
pub fn put_off(order: AcmeOrder, trouble: &Trouble, rest: Duration, now: Timestamp) -> AcmeOrder {
    let stage = if order.stage == AcmeStage::Placing { AcmeStage::Prepared } else { order.stage };
    let refused = matches!(
        trouble.cause,
        Cause::AlreadyReplaced | Cause::Malformed | Cause::NotFound | Cause::Unauthorized | Cause::Unsupported
    );
    let replaces = order.stage == AcmeStage::Placing && order.replaces.is_some();
    let failures = order.failures.saturating_add(1);
    let replaced = replaces && refused;
    let fails = replaces && trouble.cause == Cause::Server && failures >= FAILS_AGAIN;
    AcmeOrder {
        stage,
        replaces: order.replaces.filter(|_| !replaced && !fails),
        failures,
        cause: Some(trouble.cause.as_str().to_owned()),
        message: Some(trouble.message.clone()),
        retry_at: (!replaced).then(|| later(now, rest)),
        ..order
    }
}

/// Nothing came of it. The next order waits the longer, the more have failed before.
pub fn failed(order: AcmeOrder, trouble: &Trouble, now: Timestamp) -> AcmeOrder {
    let failed_orders = order.failed_orders.saturating_add(1);
    AcmeOrder {
        stage: AcmeStage::Failed,
        failed_orders,
        cause: Some(trouble.cause.as_str().to_owned()),
        message: Some(trouble.message.clone()),
        retry_at: Some(later(now, trouble.pause(failed_orders))),
        ..order
    }
}

/// `now` and so long, or the end of time.
fn later(now: Timestamp, rest: Duration) -> Timestamp {
    now.checked_add(rest).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
