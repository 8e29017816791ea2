//! `TerraformDeployment`: towards the module, through a gate, on the record.

mod act;
mod announce;
mod decide;
mod history;
mod inputs;
mod observe;
mod outputs;
mod overdue;
mod queue;
mod recovery;
mod report;
mod standing;
pub(super) mod sweep;
#[cfg(test)]
mod tests;
mod turns;

pub use queue::Queue;

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::{Change, DeletionPolicy, TerraformDeployment};
use crate::kinds::Context;
use crate::ledger::ObjectKind;
use crate::reconcile::{Kind, Report};
use crate::{Error, Result};

/// The kind.
pub struct Deployment;

impl Kind for Deployment {
    type Object = TerraformDeployment;
    type Context = Context;
    type Observed = observe::Observed;
    type Step = decide::Step;
    type Outcome = act::Outcome;
    const KIND: ObjectKind = ObjectKind::TerraformDeployment;

    async fn observe(cx: &Context, object: &Arc<Self::Object>) -> Result<Self::Observed> {
        let seen = observe::observe(cx, object).await;
        if seen.is_err() {
            cx.queue.drop_out(&cx.waker, object);
        }
        seen
    }

    /// The times of runs are Postgres's, and each was read with Postgres's own: this machine's clock is not asked.
    fn decide(object: &Self::Object, seen: &Self::Observed, _now: Timestamp) -> Self::Step {
        decide::decide(object, seen)
    }

    async fn act(
        cx: &Context,
        object: &Arc<Self::Object>,
        seen: &Self::Observed,
        step: &Self::Step,
    ) -> Result<Self::Outcome> {
        let outcome = act::act(cx, object, seen, step).await;
        queue::pass_on(cx, object, seen, step, outcome.as_ref().ok());
        outcome
    }

    fn report(
        object: &Self::Object,
        seen: &Self::Observed,
        step: &Self::Step,
        outcome: Result<&Self::Outcome, &Error>,
        now: Timestamp,
    ) -> Report {
        report::report(object, seen, step, outcome, now)
    }

    fn unobserved(object: &Self::Object, error: &Error, now: Timestamp) -> Report {
        report::unobserved(object, error, now)
    }

    fn secrets(object: &Self::Object) -> Vec<&str> {
        let variables =
            object.spec.variables_from.iter().filter_map(|v| v.secret_key_ref.as_ref()).map(|k| k.name.as_str());
        variables.chain(object.spec.outputs.as_ref().map(|o| o.secret_name.as_str())).collect()
    }

    fn config_maps(object: &Self::Object) -> Vec<&str> {
        let variables =
            object.spec.variables_from.iter().filter_map(|v| v.config_map_key_ref.as_ref()).map(|k| k.name.as_str());
        variables.chain(object.spec.source.config_map_ref.as_ref().map(|r| r.name.as_str())).collect()
    }
}

/// Whether the object is being deleted and all that it made is to stay.
fn is_retained(object: &TerraformDeployment) -> bool {
    object.metadata.deletion_timestamp.is_some() && object.spec.deletion_policy == DeletionPolicy::Retain
}

/// Whether the object's plans build or destroy.
fn wanted_change(object: &TerraformDeployment) -> Change {
    let leaving = object.metadata.deletion_timestamp.is_some();
    if leaving && object.spec.deletion_policy == DeletionPolicy::Destroy { Change::Destroy } else { Change::Apply }
}
