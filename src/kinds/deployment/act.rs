//! The one effect of each step.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::decide::{Step, Untaken};
use super::inputs::{Inputs, service_account};
use super::observe::{Observed, REFUSED};
use super::standing::Standing;
use super::{outputs, recovery};
use crate::api::{Change, DurationText, EngineKind, Reason, TerraformDeployment};
use crate::installation::ExecutorKind;
use crate::kinds::Context;
use crate::ledger::ApprovalTaken;
use crate::ledger::runs::{ApplyRun, Approval, NewApplyRun, NewPlanRun, Obstacle, PlanRun};
use crate::ledger::states::{StateClaim, state_key};
use crate::ledger::{Actor, Event, ObjectKind, Subject};
use crate::reconcile::commands::{Command, Refusal, Verb};
use crate::reconcile::{APPLY_STARTED, Announcement, COMMAND_TAKEN, commands, finalizer, watch};
use crate::run::protocol::{Limits, RunKind, RunPhase, RunSpec};
use crate::run::token;
use crate::terraform::executor::Start;
use crate::{Error, Result};

/// What became of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done; look again.
    Done,
    /// Done, and users should hear of it.
    Told(Announcement),
    /// The object was let go.
    Released,
    /// A run may not begin now; the object rests like this. With what the unit of work found in its way.
    Hindered(Standing, Option<Obstacle>),
    /// There was nothing to do.
    Rested,
}

/// Takes the step.
///
/// # Errors
/// Conditions, and what may pass by itself.
pub(super) async fn act(
    cx: &Context,
    object: &Arc<TerraformDeployment>,
    seen: &Observed,
    step: &Step,
) -> Result<Outcome> {
    match step {
        Step::Take(command) => take(cx, object, seen, command).await,
        Step::Discard { command, why } => {
            commands::discard(cx, object.as_ref(), &seen.subject, command, why).await.map(Outcome::Told)
        }
        Step::Plan { change, attempt } => plan(cx, object, seen, *change, *attempt).await,
        Step::Apply { plan, approved_by, .. } => apply(cx, object, seen, *plan, approved_by.as_deref()).await,
        Step::Start(run) => start(cx, seen, *run).await,
        Step::GiveUp(run, why) => give_up(cx, seen, *run, *why).await,
        Step::Recover(run) => recovery::recover(cx, *run).await.map(|_| Outcome::Done),
        Step::Stop { run, kill, standing } => {
            recovery::stop(cx, *run, *kill, &standing.message).await.map(|()| Outcome::Done)
        }
        Step::PublishOutputs => publish(cx, object, seen).await,
        Step::RemoveOutputs(secret) => withdraw(cx, object, seen, secret).await,
        Step::Release => release(cx, object, seen).await,
        Step::Rest(_) => Ok(Outcome::Rested),
    }
}

async fn take(cx: &Context, object: &TerraformDeployment, seen: &Observed, command: &Command) -> Result<Outcome> {
    let outcome = match command.verb {
        Verb::Approve => approve(cx, seen, command).await?,
        Verb::Cancel => told(cancel(cx, seen, command).await?),
        Verb::Retry if command.run() != seen.history.0.first().map(|run| run.id) => {
            let newest = seen.history.0.first().map_or("there is none".to_owned(), |run| run.id.to_string());
            let why = format!("it names {:?}, and the newest run is another: {newest}", command.value);
            let why = Refusal::Pointless(why);
            return commands::discard(cx, object, &seen.subject, command, &why).await.map(Outcome::Told);
        }
        Verb::Renew | Verb::Revoke => {
            let why = Refusal::Pointless("it is no command of a TerraformDeployment".into());
            return commands::discard(cx, object, &seen.subject, command, &why).await.map(Outcome::Told);
        }
        Verb::Retry | Verb::Reconcile => {
            record(cx, seen, command, command.verb.word()).await?;
            told(format!("{} by {}", command.verb.word(), command.by))
        }
    };
    commands::clear(cx, object, command).await?;
    Ok(outcome)
}

async fn record(cx: &Context, seen: &Observed, command: &Command, word: &'static str) -> Result<()> {
    cx.ledger.record_command(&seen.subject, word, &command.value, &command.by).await
}

fn told(message: String) -> Outcome {
    Outcome::Told(Announcement::of(&COMMAND_TAKEN, message))
}

async fn approve(cx: &Context, seen: &Observed, command: &Command) -> Result<Outcome> {
    Ok(match cx.ledger.record_approval(&seen.subject, &command.value, &command.by).await? {
        ApprovalTaken::Recorded => {
            record(cx, seen, command, "approve").await?;
            told(format!("{} approved {}", command.by, command.value))
        }
        ApprovalTaken::Already { by, at } => {
            record(cx, seen, command, "approve").await?;
            told(format!("{} was already approved by {by} at {at:.0}", command.value))
        }
        ApprovalTaken::Applied(run) => {
            record(cx, seen, command, "approve").await?;
            told(format!("{} was already taken up by run {run}", command.value))
        }
        ApprovalTaken::Stale => {
            record(cx, seen, command, REFUSED).await?;
            let message = format!("the approval of {} by {} is not for the current plan", command.value, command.by);
            Outcome::Told(Announcement::warning(Reason::ApprovalStale, "Command", message))
        }
    })
}

async fn cancel(cx: &Context, seen: &Observed, command: &Command) -> Result<String> {
    record(cx, seen, command, "cancel").await?;
    let under_way = [seen.history.active().map(|run| run.id), seen.former_run.map(|(run, _)| run)];
    match under_way.into_iter().flatten().find(|run| Some(*run) == command.run()) {
        Some(run) => {
            cx.ledger.request_cancel(run, &Actor::User(command.by.clone())).await?;
            Ok(format!("{} cancels run {run}", command.by))
        }
        None => Ok(format!("run {:?} is not under way; nothing was cancelled", command.value)),
    }
}

async fn plan(
    cx: &Context,
    object: &TerraformDeployment,
    seen: &Observed,
    change: Change,
    attempt: i32,
) -> Result<Outcome> {
    let inputs = inputs(seen)?;
    let adopt = object.spec.state.as_ref().and_then(|s| s.adopt.as_deref());
    match cx.ledger.claim_state(&seen.subject, &state_key(&seen.subject), adopt).await? {
        StateClaim::Held => begin_plan(cx, object, seen, inputs, change, attempt).await,
        StateClaim::Found { lineage, serial } => {
            let message = format!(
                "a state of lineage {lineage} (serial {serial}) stands under this name; adopt it with spec.state.adopt"
            );
            Err(Error::condition(Reason::StateFound, message))
        }
        StateClaim::Busy { run } => Ok(Outcome::Hindered(Standing::former(run), None)),
    }
}

async fn begin_plan(
    cx: &Context,
    object: &TerraformDeployment,
    seen: &Observed,
    inputs: &Inputs,
    change: Change,
    attempt: i32,
) -> Result<Outcome> {
    let credentials: Vec<_> = inputs.credential.iter().map(|c| c.subject.clone()).collect();
    refer(cx, seen, &credentials).await?;
    let id = Uuid::now_v7();
    let created = cx
        .ledger
        .create_plan_run(NewPlanRun {
            id,
            subject: seen.subject.clone(),
            room: cx.queue.room(),
            change,
            generation: object.metadata.generation.unwrap_or_default(),
            attempt,
            engine: inputs.engine,
            facts: json!({
                "inputDigest": inputs.digest,
                "specDigest": inputs.spec_digest,
                "serviceAccount": service_account(object),
                "variablesHmac": inputs.variables_hmac,
                "credential": inputs.credential.as_ref().map(|c| json!({"uid": c.subject.uid, "account": c.account})),
            }),
            requested_by: requester(object, seen),
            token_hash: rand::random(),
            inputs: run_spec(cx, object, seen, inputs, (id, RunKind::Plan, change), None),
            snapshot: inputs.snapshot.clone(),
        })
        .await?;
    Ok(match created {
        PlanRun::Created => {
            start_at_once(cx, seen, id, inputs.engine).await;
            Outcome::Done
        }
        PlanRun::Hindered(obstacle) => Outcome::Hindered(Standing::hindered(&obstacle), Some(obstacle)),
    })
}

async fn apply(
    cx: &Context,
    object: &TerraformDeployment,
    seen: &Observed,
    plan: Uuid,
    approved_by: Option<&str>,
) -> Result<Outcome> {
    let inputs = inputs(seen)?;
    let Some(plan) = seen.history.0.iter().find(|r| r.id == plan) else { return Ok(Outcome::Rested) };
    let digest = plan.digest.clone().ok_or_else(|| Error::Integrity(format!("plan {} has no digest", plan.id)))?;
    let id = Uuid::now_v7();
    let created = cx
        .ledger
        .create_apply_run(NewApplyRun {
            id,
            subject: seen.subject.clone(),
            room: cx.queue.room(),
            plan: plan.id,
            digest: digest.clone(),
            approval: if approved_by.is_some() { Approval::Person } else { Approval::Automatic },
            generation: plan.generation,
            attempt: plan.attempt,
            requested_by: match approved_by {
                Some(user) => Actor::User(user.to_owned()),
                None => Actor::Controller(cx.ledger.holder().to_owned()),
            },
            token_hash: rand::random(),
            inputs: run_spec(cx, object, seen, inputs, (id, RunKind::Apply, plan.change), Some(digest)),
        })
        .await?;
    Ok(match created {
        ApplyRun::Created => {
            start_at_once(cx, seen, id, plan.engine).await;
            let message = format!("run {id} applies the plan of run {}", plan.id);
            Outcome::Told(Announcement::of(&APPLY_STARTED, message))
        }
        ApplyRun::Hindered(obstacle) => Outcome::Hindered(Standing::hindered(&obstacle), Some(obstacle)),
        // The plan is marked: the next look finds it stale, and a new one follows after the pause.
        ApplyRun::Superseded => {
            let message = format!("the plan of run {} is stale", plan.id);
            Outcome::Told(Announcement::normal(Reason::StalePlan, "Run", message))
        }
        // What was observed has passed. With a pause: whoever is wrong here must not be wrong in a hot loop.
        ApplyRun::AlreadyApplied | ApplyRun::NotApproved => {
            let message =
                format!("the plan of run {} may no longer be applied ({created:?}); it is looked at again", plan.id);
            return Err(Error::condition(Reason::StalePlan, message));
        }
    })
}

/// Where it does not start, the next look starts it, and says what is wrong.
async fn start_at_once(cx: &Context, seen: &Observed, run: Uuid, engine: EngineKind) {
    if let Err(error) = hand_over(cx, seen, run, engine).await {
        tracing::warn!(%run, %error, "the run's runner was not started");
        cx.waker.wake(ObjectKind::TerraformDeployment, &seen.subject.namespace, &seen.subject.name);
    }
}

/// A run whose runner was not started with its commit, or did not take it.
async fn start(cx: &Context, seen: &Observed, run: Uuid) -> Result<Outcome> {
    let Some(run) = seen.history.0.iter().find(|r| r.id == run) else { return Ok(Outcome::Rested) };
    hand_over(cx, seen, run.id, run.engine).await.map(|()| Outcome::Done)
}

/// Starts the runner of a committed run. The token is made here and not with the run: a controller that is killed in between
/// could not hand it over. The runner of a pod makes its own, so that what counts there is that its Job stands.
async fn hand_over(cx: &Context, seen: &Observed, run: Uuid, engine: EngineKind) -> Result<()> {
    let token = token::new();
    let deployment = (seen.subject.namespace.as_str(), seen.subject.name.as_str());
    let placement = seen.placement.as_ref().map_err(|(reason, message)| Error::condition(*reason, message.clone()))?;
    let start = Start { run, engine, deployment, placement };
    match cx.installation.executor.kind {
        ExecutorKind::Local => {
            if cx.ledger.hand_over(run, Some(&token::hash(token.expose()))).await? {
                cx.executor.start(&start, &token).await?;
            }
        }
        ExecutorKind::Job => {
            // A Job that stands may be replaced, but not under a runner that has taken its run since the look.
            if cx.ledger.run(run).await?.is_none_or(|run| run.phase != RunPhase::Pending) {
                return Ok(());
            }
            cx.executor.start(&start, &token).await?;
            // What is made anew because the spec was mended has failed nobody.
            if !seen.outdated {
                cx.ledger.hand_over(run, None).await?;
            }
        }
    }
    Ok(())
}

async fn give_up(cx: &Context, seen: &Observed, run: Uuid, why: Untaken) -> Result<Outcome> {
    let Some(run) = seen.history.0.iter().find(|r| r.id == run) else { return Ok(Outcome::Rested) };
    let message = match why {
        Untaken::Refused => {
            let words = cx.executor.last_words(run.id).await?;
            let last = words.map(|words| format!("; its last words: {words}")).unwrap_or_default();
            let times = run.handed_over;
            format!(
                "the run was handed to a runner {times} times and none took it{last}; look at the controller's log and its engines"
            )
        }
        Untaken::Misplaced => {
            "spec.runner.serviceAccountName was changed before a runner took the run; a new plan follows".to_owned()
        }
        Untaken::Yielded => {
            let waited = run.read_at.duration_since(run.created_at).as_secs();
            let why = seen.hitch.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("the run did not begin for {waited} s and gave its place to others that wait for one{why}")
        }
        Untaken::Deleted => "the object was deleted before a runner took the run".to_owned(),
    };
    let reason = match (why, run.kind, run.change) {
        (Untaken::Yielded, ..) => Reason::RunnerNotStarted,
        (_, RunKind::Plan, _) => Reason::PlanFailed,
        (_, RunKind::Apply, Change::Apply) => Reason::ApplyFailed,
        (_, RunKind::Apply, Change::Destroy) => Reason::DestroyFailed,
    };
    if cx.ledger.fail_unclaimed(run, reason, message).await? {
        cx.executor.cleanup(run.id).await?;
    }
    Ok(Outcome::Done)
}

async fn publish(cx: &Context, object: &TerraformDeployment, seen: &Observed) -> Result<Outcome> {
    if !outputs::publish(cx, object, seen).await? {
        return Ok(Outcome::Rested);
    }
    let names: Vec<_> = seen.values.keys().collect();
    let secret = object.spec.outputs.as_ref().map(|o| o.secret_name.clone());
    cx.ledger
        .record(Event {
            subject: seen.subject.clone(),
            actor: Actor::Controller(cx.ledger.holder().to_owned()),
            action: outputs::PUBLISHED,
            details: json!({"secret": secret, "names": names}),
        })
        .await?;
    Ok(Outcome::Done)
}

/// On record afterwards: until then the next look finds the Secret there, or gone.
async fn withdraw(cx: &Context, object: &TerraformDeployment, seen: &Observed, secret: &str) -> Result<Outcome> {
    let deleted = outputs::remove(cx, object, secret).await?;
    cx.ledger
        .record(Event {
            subject: seen.subject.clone(),
            actor: Actor::Controller(cx.ledger.holder().to_owned()),
            action: outputs::REMOVED,
            details: json!({"from": secret, "deleted": deleted}),
        })
        .await?;
    Ok(Outcome::Done)
}

async fn release(cx: &Context, object: &TerraformDeployment, seen: &Observed) -> Result<Outcome> {
    // Before the object goes, which may have to be tried again.
    cx.ledger
        .record_once(Event {
            subject: seen.subject.clone(),
            actor: Actor::Controller(cx.ledger.holder().to_owned()),
            action: "deployment.released",
            details: json!({
                "deletionPolicy": object.spec.deletion_policy,
                "resourcesKept": seen.state.as_ref().map_or(0, |s| s.resources),
                "leftovers": seen.leftovers.len(),
            }),
        })
        .await?;
    // Under the version that was judged. Until the object is let go its state is its own: its policy may still change.
    finalizer::remove(cx, object).await?;
    cx.ledger.release_state(&seen.subject, &state_key(&seen.subject)).await?;
    if let Some(other) = &seen.elsewhere {
        let there = Subject { organization: other.clone(), ..seen.subject.clone() };
        cx.ledger.release_state(&there, &state_key(&there)).await?;
    }
    refer(cx, seen, &[]).await?;
    Ok(Outcome::Released)
}

/// The credentials that it uses now. One that it lets go of may be waiting for that.
async fn refer(cx: &Context, seen: &Observed, credentials: &[Subject]) -> Result<()> {
    for (namespace, name) in cx.ledger.put_references(&seen.subject, credentials).await? {
        cx.waker.wake(ObjectKind::CloudCredential, &namespace, &name);
    }
    Ok(())
}

fn inputs(seen: &Observed) -> Result<&Inputs> {
    seen.inputs.as_ref().map_err(|(reason, message)| Error::condition(*reason, message.clone()))
}

/// Whoever asked for it by a command, else the last writer of the spec, which nothing verifies.
fn requester(object: &TerraformDeployment, seen: &Observed) -> Actor {
    if let Some(user) = seen.asked_by() {
        return Actor::User(user.to_owned());
    }
    watch::requester(object).map_or(Actor::Unknown, |manager| Actor::FieldManager(manager.to_owned()))
}

fn run_spec(
    cx: &Context,
    object: &TerraformDeployment,
    seen: &Observed,
    inputs: &Inputs,
    (id, kind, change): (Uuid, RunKind, Change),
    plan_digest: Option<String>,
) -> RunSpec {
    let timeouts = &object.spec.timeouts;
    let seconds = |text: &DurationText| text.get().map_or(300, |d| d.as_secs());
    let apply = if change == Change::Destroy { &timeouts.destroy } else { &timeouts.apply };
    RunSpec {
        id,
        kind,
        change,
        engine: inputs.engine,
        plan_digest,
        environment: inputs.credential.as_ref().map(|c| c.environment.clone()).unwrap_or_default(),
        variables: inputs.variables.clone(),
        sensitive: inputs.sensitive.clone(),
        hidden: seen.hidden.clone(),
        limits: Limits {
            init: seconds(&timeouts.init),
            plan: seconds(&timeouts.plan),
            apply: seconds(apply),
            grace: cx.installation.executor.stop_grace_seconds,
        },
    }
}
