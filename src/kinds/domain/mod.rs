//! `OrganizationDomain`: proved at the domain's authoritative servers, again and again, and held by one organization.

mod act;
mod decide;
mod held;
mod look;
mod managed;
mod name;
mod observe;
mod report;

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::OrganizationDomain;
use crate::kinds::Context;
use crate::ledger::ObjectKind;
use crate::reconcile::{Kind, Report};
use crate::{Error, Result};

pub use act::Done;
pub use decide::Step;
pub use look::{Found, Verdict};
pub use managed::Home;
pub use name::Canonical;
pub use observe::Seen;

/// The kind.
#[derive(Debug)]
pub struct Domain;

impl Kind for Domain {
    type Object = OrganizationDomain;
    type Context = Context;
    type Observed = Seen;
    type Step = Step;
    type Outcome = Done;
    const KIND: ObjectKind = ObjectKind::OrganizationDomain;

    async fn observe(cx: &Context, object: &Arc<OrganizationDomain>) -> Result<Seen> {
        observe::observe(cx, object).await
    }

    fn decide(object: &OrganizationDomain, seen: &Seen, now: Timestamp) -> Step {
        decide::decide(object, seen, now)
    }

    async fn act(cx: &Context, object: &Arc<OrganizationDomain>, seen: &Seen, step: &Step) -> Result<Done> {
        act::act(cx, object, seen, step).await
    }

    fn report(
        object: &OrganizationDomain,
        seen: &Seen,
        step: &Step,
        outcome: Result<&Done, &Error>,
        now: Timestamp,
    ) -> Report {
        report::report(object, seen, step, outcome, now)
    }

    fn unobserved(object: &OrganizationDomain, error: &Error, now: Timestamp) -> Report {
        report::unobserved(object, error, now)
    }
}
