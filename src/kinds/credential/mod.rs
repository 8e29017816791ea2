//! `CloudCredential`: proved by its provider, again and again, and kept while somebody uses it.

mod act;
mod decide;
mod observe;
mod report;

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::CloudCredential;
use crate::kinds::Context;
use crate::ledger::ObjectKind;
use crate::providers::Provider;
use crate::reconcile::{Kind, Report};
use crate::{Error, Result};

pub use act::Done;
pub use decide::{Step, Verdict};
pub use observe::{Facts, Proof, Seen};

/// The kind.
#[derive(Debug)]
pub struct Credential;

impl Kind for Credential {
    type Object = CloudCredential;
    type Context = Context;
    type Observed = Seen;
    type Step = Step;
    type Outcome = Done;
    const KIND: ObjectKind = ObjectKind::CloudCredential;

    async fn observe(cx: &Context, object: &Arc<CloudCredential>) -> Result<Seen> {
        observe::observe(cx, object).await
    }

    fn decide(object: &CloudCredential, seen: &Seen, now: Timestamp) -> Step {
        decide::decide(object, seen, now)
    }

    async fn act(cx: &Context, object: &Arc<CloudCredential>, seen: &Seen, step: &Step) -> Result<Done> {
        act::act(cx, object, seen, step).await
    }

    fn report(
        object: &CloudCredential,
        seen: &Seen,
        step: &Step,
        outcome: Result<&Done, &Error>,
        now: Timestamp,
    ) -> Report {
        report::report(object, seen, step, outcome, now)
    }

    fn unobserved(object: &CloudCredential, error: &Error, now: Timestamp) -> Report {
        report::unobserved(object, error, now)
    }

    fn secrets(object: &CloudCredential) -> Vec<&str> {
        Provider::of(&object.spec).map(|p| p.secret_name()).into_iter().collect()
    }
}
