//! `landfall approve`, `cancel`, `retry`, `renew`, `revoke`: commands as annotations, in the caller's own name.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::give::{Given, Patience, Wish, World};
use super::release;
use super::target::{Approvable, Target, object_name, run_id};
use crate::api::{
    ApprovalStatus, Change, DeploymentPhase, PlanStatus, Reason, RunStatus, TerraformDeployment, annotation,
};
use crate::reconcile::commands::Verb;
use crate::reconcile::conditions;
use crate::{Error, Result};

/// `landfall approve`.
#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    /// The deployment whose plan is approved, or the domain of whose records changes are held: `tfd/NAME` or `orgdomain/NAME`.
    #[arg(value_name = "tfd/NAME")]
    object: Approvable,
    /// Its namespace; the kubeconfig's where it is left out.
    #[arg(short, long, value_parser = object_name)]
    namespace: Option<String>,
    /// JSON for scripts.
    #[arg(long)]
    json: bool,
    /// The digest that you have read; the command fails where another plan is current, or something else is held.
    #[arg(long, value_name = "sha256:…", value_parser = full_digest)]
    digest: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

/// `landfall cancel` and `landfall retry`.
#[derive(Debug, clap::Args)]
pub(super) struct OnRun {
    #[command(flatten)]
    target: Target,
    /// The run; the newest where it is left out.
    #[arg(long, value_parser = run_id)]
    run: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

fn full_digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    match hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        true => Ok(text.to_owned()),
        false => Err("write a full digest, sha256: and 64 hex digits, as `landfall plan` shows it".to_owned()),
    }
}

/// Approves the current plan, or what is held, and says what the controller made of it.
///
/// # Errors
/// Nothing waits or none is ever applied, another one is current, admission refuses, the approval was discarded, or nobody answered in time.
pub(super) async fn approve(arguments: &Approve) -> Result<String> {
    let Approve { namespace, digest, patience, json, .. } = arguments;
    match &arguments.object {
        Approvable::Plan(name) => approve_plan(arguments, name).await,
        Approvable::Held(name) => {
            release::release((namespace.as_ref(), name), digest.as_deref(), patience, *json).await
        }
    }
}

async fn approve_plan(arguments: &Approve, name: &str) -> Result<String> {
    let mut world = World::of(arguments.namespace.as_ref(), name).await?;
    let plan = waiting(&world.object)?.clone();
    if let Some(read) = arguments.digest.as_deref().filter(|d| *d != plan.digest) {
        return Err(stale(&format!("--digest {read}"), Some(&plan.digest)));
    }
    let needed = |object: &TerraformDeployment| match waiting(object)? {
        now if now.digest == plan.digest => Ok(approval_of(object, &plan.digest).is_none()),
        now => Err(stale(&format!("the plan {} that was read first", plan.digest), Some(&now.digest))),
    };
    let wish = Wish { verb: Verb::Approve, value: &plan.digest, patience: &arguments.patience };
    let given = world.give(wish, needed).await?;
    let (json, before) = (arguments.json, approval_of(&world.object, &plan.digest));
    match (given, before) {
        (Given::Sent(by), _) => Ok(sent(Verb::Approve, &plan.digest, &by, json)),
        (Given::Stale, _) => {
            let now =
                world.object.status.clone().and_then(|status| status.plan).filter(|now| now.digest != plan.digest);
            Err(stale(&format!("the plan {}", plan.digest), now.as_ref().map(|now| now.digest.as_str())))
        }
        // What is destroyed is let go.
        (Given::Gone(by), _) if plan.kind == Change::Destroy => Ok(approved(&by, &plan, json)),
        (Given::Gone(_), _) => Err(gone(&world.object)),
        (Given::Taken(by), Some(first)) if first.by != by => Ok(already(first, json)),
        (Given::Needless, Some(first)) => Ok(already(first, json)),
        (Given::Taken(by), _) => Ok(approved(&by, &plan, json)),
        (Given::Needless, None) => Err(stale(&format!("the plan {}", plan.digest), None)),
    }
}

fn stale(read: &str, current: Option<&str>) -> Error {
    let now = match current {
        Some(digest) => format!("the current plan is {digest}; read it with `landfall plan`"),
        None => "it is not current any more, and a newer one follows; read that with `landfall plan`".to_owned(),
    };
    Error::condition(Reason::ApprovalStale, format!("stale, nothing was approved: {read}: {now}"))
}

fn gone(object: &TerraformDeployment) -> Error {
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let told = format!("`landfall history tfd/{name} -n {namespace}` tells what became of it");
    Error::condition(Reason::Progressing, format!("tfd/{name} was deleted meanwhile; {told}"))
}

fn approval_of<'a>(object: &'a TerraformDeployment, digest: &str) -> Option<&'a ApprovalStatus> {
    object.status.as_ref()?.approval.as_ref().filter(|approval| approval.digest == digest)
}

fn approved(by: &str, plan: &PlanStatus, json: bool) -> String {
    let (digest, summary) = (&plan.digest, &plan.summary);
    if json {
        return line(&json!({"approved": digest, "by": by, "run": plan.run_id, "summary": summary}));
    }
    format!("{by} approved {digest} ({summary})\n")
}

/// That somebody approved it before is no failure: it is what was asked for.
fn already(before: &ApprovalStatus, json: bool) -> String {
    let ApprovalStatus { digest, by, at, run_id } = before;
    if json {
        return line(&json!({"approved": digest, "by": by, "already": true, "at": at, "appliedBy": run_id}));
    }
    match run_id {
        Some(run) => format!(
            "{digest} was already taken up by run {run}, and `landfall runs` says what it came to; {by} approved it at {at}\n"
        ),
        None => format!("{digest} was already approved by {by} at {at}\n"),
    }
}

/// What nobody has answered yet is no answer.
pub(super) fn sent(verb: Verb, value: &str, by: &str, json: bool) -> String {
    let word = verb.word();
    if json {
        return line(&json!({"sent": word, "value": value, "by": by}));
    }
    format!("{by} gave {word} {value}; whether it is taken stands in status.lastHandled\n")
}

pub(super) fn line(value: &Value) -> String {
    format!("{value}\n")
}

fn waiting(object: &TerraformDeployment) -> Result<&PlanStatus> {
    if let Some(why) = object.never_applied() {
        return Err(Error::condition(Reason::Planned, format!("nothing was approved: {why}")));
    }
    if let Some(held) = ready(object).filter(|ready| ready.reason == Reason::GuardrailBreached.to_string()) {
        return Err(Error::condition(Reason::GuardrailBreached, format!("nothing was approved: {}", held.message)));
    }
    let plan = object.status.as_ref().and_then(|s| s.plan.as_ref());
    plan.ok_or_else(|| {
        let name = object.name_any();
        Error::condition(
            Reason::ApprovalRequired,
            format!("tfd/{name} has no plan yet; see `kubectl describe tfd {name}`"),
        )
    })
}

/// Stops a run gracefully.
///
/// # Errors
/// No such run is under way, admission refuses, the command was discarded, or nobody answered in time.
pub(super) async fn cancel(arguments: &OnRun) -> Result<String> {
    on_run(arguments, Verb::Cancel).await
}

/// Starts over after failed attempts.
///
/// # Errors
/// There is nothing to start over, admission refuses, the command was discarded, or nobody answered in time.
pub(super) async fn retry(arguments: &OnRun) -> Result<String> {
    on_run(arguments, Verb::Retry).await
}

async fn on_run(arguments: &OnRun, verb: Verb) -> Result<String> {
    let mut world = World::of(arguments.target.namespace.as_ref(), &arguments.target.object.0).await?;
    let former = arguments.run.clone().filter(|run| verb == Verb::Cancel && waits_for(&world.object, run));
    let run = match former {
        Some(run) => run,
        None => newest(&world.object, arguments.run.as_deref())?.id.clone(),
    };
    let needed = |object: &TerraformDeployment| {
        if waits_for(object, &run) {
            return Ok(true);
        }
        let newest = newest(object, Some(&run))?;
        match verb {
            Verb::Cancel => cancellable(newest)?,
            _ => retriable(object, newest)?,
        }
        let handled = object.status.as_ref().map(|status| &status.last_handled);
        Ok(handled.is_none_or(|handled| handled.get(verb.word()) != Some(&run)))
    };
    let given = world.give(Wish { verb, value: &run, patience: &arguments.patience }, needed).await?;
    let json = arguments.target.json;
    let by = match given {
        Given::Sent(by) => return Ok(sent(verb, &run, &by, json)),
        // A retry that lets an object go under deletion has done what was asked for.
        Given::Gone(by) if verb == Verb::Retry && world.object.metadata.deletion_timestamp.is_some() => Some(by),
        Given::Gone(_) | Given::Stale => return Err(gone(&world.object)),
        Given::Needless => None,
        Given::Taken(by) => Some(by),
    };
    // One that ended by itself before the command came was not cancelled.
    if let (Verb::Cancel, Ok(now)) = (verb, newest(&world.object, Some(&run)))
        && now.phase != "Cancelled"
    {
        cancellable(now)?;
    }
    Ok(if json {
        line(&json!({"command": verb.annotation(), "run": run, "by": by, "already": by.is_none()}))
    } else {
        match (by, verb) {
            (Some(by), Verb::Cancel) => format!("{by} cancels run {run}\n"),
            (Some(by), _) => format!("{by} retries run {run}\n"),
            (None, _) => format!("{} of run {run} was taken before; {}\n", verb.word(), standing(&world.object)),
        }
    })
}

/// Whether it waits for this run, of a former object of its name, of which nothing else tells.
fn waits_for(object: &TerraformDeployment, run: &str) -> bool {
    let locked = Reason::StateLocked.to_string();
    ready(object)
        .is_some_and(|ready| ready.reason == locked && ready.message.contains(&format!("run {run} of a former object")))
}

/// The newest run, which is the only other one that a command may name.
fn newest<'a>(object: &'a TerraformDeployment, named: Option<&str>) -> Result<&'a RunStatus> {
    let name = object.name_any();
    let Some(run) = object.status.as_ref().and_then(|s| s.last_run.as_ref()) else {
        return Err(Error::condition(Reason::Progressing, format!("tfd/{name} has no run yet; {}", standing(object))));
    };
    match named.filter(|id| *id != run.id) {
        None => Ok(run),
        Some(id) => Err(Error::condition(
            Reason::Progressing,
            format!("run {id} is not the newest run of tfd/{name}: that is {} ({} {})", run.id, run.kind, run.phase),
        )),
    }
}

fn under_way(run: &RunStatus) -> bool {
    matches!(run.phase.as_str(), "Pending" | "Running")
}

fn cancellable(run: &RunStatus) -> Result<()> {
    if under_way(run) {
        return Ok(());
    }
    let message = format!("nothing to cancel: the newest run, {} ({}), has ended: {}", run.id, run.kind, run.phase);
    Err(Error::condition(Reason::Progressing, message))
}

/// Whether there is something to start over: a run that ended badly, or an object that a person must look at.
fn retriable(object: &TerraformDeployment, run: &RunStatus) -> Result<()> {
    use DeploymentPhase::{Applied, AwaitingApproval, Destroyed, NoChanges};
    let nothing = |why: String| Err(Error::condition(Reason::Progressing, format!("nothing to retry: {why}")));
    if under_way(run) {
        return nothing(format!("run {} ({}) is under way; `landfall cancel` stops it", run.id, run.kind));
    }
    let phase = object.status.as_ref().and_then(|s| s.phase);
    if run.phase == "Succeeded" && matches!(phase, Some(Applied | AwaitingApproval | Destroyed | NoChanges)) {
        let again = annotation::RECONCILE;
        return nothing(format!(
            "the newest run, {} ({}), succeeded; for a new plan set the annotation {again}",
            run.id, run.kind
        ));
    }
    Ok(())
}

fn ready(object: &TerraformDeployment) -> Option<&Condition> {
    conditions::get(&object.status.as_ref()?.conditions, "Ready")
}

/// `it is Pending, SourceNotFound: …`.
fn standing(object: &TerraformDeployment) -> String {
    match ready(object) {
        Some(ready) => format!("it stands at {}: {}", ready.reason, ready.message),
        None => "the controller has not looked at it yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::PlanSummary;

    #[test]
    fn under_plan_only_there_is_nothing_to_approve_but_a_destroy_plan() {
        let object = |approval: &str, deleted: Value| -> TerraformDeployment {
            let plan = json!({"digest": "d", "runId": "r", "createdAt": "t", "kind": "Apply",
                              "summary": PlanSummary::default()});
            serde_json::from_value(json!({
                "apiVersion": "landfall.dev/v1alpha1", "kind": "TerraformDeployment",
                "metadata": {"name": "web", "deletionTimestamp": deleted},
                "spec": {"source": {"inline": {"main.tf": ""}}, "approval": approval}, "status": {"plan": plan},
            }))
            .unwrap()
        };
        let refused = waiting(&object("PlanOnly", Value::Null)).unwrap_err();
        assert_eq!(refused.to_string(), "nothing was approved: spec.approval is PlanOnly, nothing is applied");
        assert!(waiting(&object("PlanOnly", json!("2026-11-20T12:00:00Z"))).is_ok());
        assert!(waiting(&object("Manual", Value::Null)).is_ok());
    }

    #[test]
    fn what_a_guardrail_stops_is_not_approved() {
        let stands = |reason: &str| -> TerraformDeployment {
            let ready = json!({"type": "Ready", "status": "False", "reason": reason, "message": "destroys 2 of 2",
                               "lastTransitionTime": "2026-11-20T12:00:00Z"});
            let plan = json!({"digest": "d", "runId": "r", "createdAt": "t", "kind": "Apply",
                              "summary": PlanSummary::default()});
            serde_json::from_value(json!({
                "apiVersion": "landfall.dev/v1alpha1", "kind": "TerraformDeployment", "metadata": {"name": "web"},
                "spec": {"source": {"inline": {"main.tf": ""}}}, "status": {"plan": plan, "conditions": [ready]},
            }))
            .unwrap()
        };
        let refused = waiting(&stands("GuardrailBreached")).unwrap_err();
        assert_eq!(refused.to_string(), "nothing was approved: destroys 2 of 2");
        assert!(waiting(&stands("ApprovalRequired")).is_ok());
    }
}
