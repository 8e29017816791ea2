//! Which Events a deployment emits: one for each run that ended badly, and one when what `Ready` says becomes another thing
//! that somebody should know. A reconcile that finds everything as before emits none.

use super::history::History;
use super::standing::{Standing, failure_reason};
use crate::Class;
use crate::api::{Condition, DeploymentPhase, Reason, RunStatus, TerraformDeploymentStatus};
use crate::ledger::runs::Run;
use crate::reconcile::{Announcement, conditions};
use crate::run::protocol::RunPhase;

/// Events of the step from one status to the next.
pub(super) fn events(
    before: Option<&TerraformDeploymentStatus>,
    after: &TerraformDeploymentStatus,
    standing: Option<&Standing>,
    history: &History,
) -> Vec<Announcement> {
    let old_run = before.and_then(|status| status.last_run.as_ref());
    let ended = history.0.first().filter(|_| changed(old_run, after.last_run.as_ref())).and_then(bad_end);
    let old = before.and_then(|status| conditions::get(&status.conditions, "Ready"));
    let new = conditions::get(&after.conditions, "Ready");
    let news = standing.filter(|_| differs(old, new)).and_then(standing_event);
    ended.into_iter().chain(news).collect()
}

fn changed(old: Option<&RunStatus>, new: Option<&RunStatus>) -> bool {
    let key = |run: &RunStatus| (run.id.clone(), run.phase.clone());
    old.map(key) != new.map(key)
}

fn differs(old: Option<&Condition>, new: Option<&Condition>) -> bool {
    let key = |c: &Condition| (c.status.clone(), c.reason.clone(), c.observed_generation);
    old.map(key) != new.map(key)
}

fn bad_end(run: &Run) -> Option<Announcement> {
    matches!(run.phase, RunPhase::Failed | RunPhase::Interrupted)
        .then(|| Announcement::warning(failure_reason(run), "Run", super::standing::ended(run)))
}

fn standing_event(standing: &Standing) -> Option<Announcement> {
    let (reason, message) = (standing.reason, standing.message.clone());
    match reason {
        Reason::Applied | Reason::ApprovalRequired => Some(Announcement::normal(reason, "Reconcile", message)),
        // Told where it happens: by a person's command, or by the run that ended.
        Reason::SourceInvalid if standing.phase == Some(DeploymentPhase::Failed) => None,
        Reason::ApprovalStale | Reason::Cancelled | Reason::Interrupted | Reason::Suspended => None,
        _ if standing.ready || reason.class() == Class::Transient => None,
        _ => Some(Announcement::warning(reason, "Reconcile", message)),
    }
}
