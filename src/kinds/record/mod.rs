//! `DnsRecord`: one record set below a proved domain, kept as the spec says, by the oldest object that asks for it.

mod act;
mod decide;
mod gate;
mod observe;
mod report;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::DnsRecord;
use crate::installation::Limits;
use crate::kinds::{Context, Refusal};
use crate::ledger::ObjectKind;
use crate::reconcile::{Kind, Report};
use crate::{Error, Result};

pub use act::Done;
pub use decide::{Step, Verdict};
pub use observe::Seen;

/// The kind.
#[derive(Debug)]
pub struct Record;

impl Kind for Record {
    type Object = DnsRecord;
    type Context = Context;
    type Observed = Seen;
    type Step = Step;
    type Outcome = Done;
    const KIND: ObjectKind = ObjectKind::DnsRecord;

    /// Most of a reconcile is waiting for a zone's writer, which takes the wishes of all that wait in one call.
    fn concurrency(limits: &Limits) -> u16 {
        limits.concurrency.saturating_mul(16)
    }

    async fn observe(cx: &Context, object: &Arc<DnsRecord>) -> Result<Seen> {
        observe::observe(cx, object).await
    }

    fn decide(object: &DnsRecord, seen: &Seen, now: Timestamp) -> Step {
        decide::decide(object, seen, now)
    }

    async fn act(cx: &Context, object: &Arc<DnsRecord>, seen: &Seen, step: &Step) -> Result<Done> {
        act::act(cx, object, seen, step).await
    }

    fn report(object: &DnsRecord, seen: &Seen, step: &Step, outcome: Result<&Done, &Error>, now: Timestamp) -> Report {
        report::report(object, seen, step, outcome, now)
    }

    fn unobserved(object: &DnsRecord, error: &Error, now: Timestamp) -> Report {
        report::unobserved(object, error, now)
    }
}
