//! `Certificate`: issued for names of proved domains, put into its Secret whole, renewed in time.

mod act;
mod decide;
mod issuers;
mod observe;
mod renewal;
mod report;
mod revoking;
mod secret;
mod standing;

use std::sync::Arc;

use jiff::Timestamp;

use crate::api;
use crate::installation::Limits;
use crate::kinds::{Context, Refusal};
use crate::ledger::ObjectKind;
use crate::reconcile::{Kind, Report};
use crate::{Error, Result};

/// The kind.
#[derive(Debug)]
pub struct Certificate;

impl Kind for Certificate {
    type Object = api::Certificate;
    type Context = Context;
    type Observed = observe::Seen;
    type Step = decide::Step;
    type Outcome = act::Done;
    const KIND: ObjectKind = ObjectKind::Certificate;

    /// Most of a reconcile is waiting for the CA and for what its challenge needs in the zone.
    fn concurrency(limits: &Limits) -> u16 {
        limits.concurrency.saturating_mul(8)
    }

    async fn observe(cx: &Context, object: &Arc<Self::Object>) -> Result<Self::Observed> {
        observe::observe(cx, object).await
    }

    fn decide(object: &Self::Object, seen: &Self::Observed, now: Timestamp) -> Self::Step {
        decide::decide(object, seen, now)
    }

    async fn act(
        cx: &Context,
        object: &Arc<Self::Object>,
        seen: &Self::Observed,
        step: &Self::Step,
    ) -> Result<Self::Outcome> {
        act::act(cx, object, seen, step).await
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
        let issuer = &object.spec.issuer;
        let read = [&issuer.ca, &issuer.imported].into_iter().flatten().map(|issuer| issuer.secret_ref.name.as_str());
        let bound = issuer.acme.as_ref().and_then(|acme| acme.external_account_binding.as_ref());
        let read = read.chain(bound.map(|binding| binding.secret_ref.name.as_str()));
        read.chain(object.spec.secret_name.as_deref()).collect()
    }
}
