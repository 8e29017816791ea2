//! `landfall approve`, `cancel`, `retry`: commands as annotations, in the caller's own name.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::target::{Target, kubeconfig};
use crate::api::{ApprovalStatus, PlanStatus, Reason, TerraformDeployment, annotation};
use crate::reconcile::patch::is_conflict;
use crate::{Error, Result};

/// Field manager of what people command.
const MANAGER: &str = "landfall-cli";
/// The controller writes status whenever it likes: so often a command is sent again.
const CONFLICTS: u32 = 5;
/// Before the first time; each further one takes so much longer.
const PAUSE: Duration = Duration::from_millis(100);

/// `landfall approve`.
#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    #[command(flatten)]
    target: Target,
    /// The digest that you have read; the command fails where another plan is current.
    #[arg(long, value_name = "sha256:…")]
    digest: Option<String>,
}

/// `landfall cancel` and `landfall retry`.
#[derive(Debug, clap::Args)]
pub(super) struct OnRun {
    #[command(flatten)]
    target: Target,
    /// The run; the newest where it is left out.
    #[arg(long)]
    run: Option<String>,
}

/// Approves the current plan.
///
/// # Errors
/// No plan waits, another one than `--digest` is current, or admission refuses.
pub(super) async fn approve(arguments: &Approve) -> Result<String> {
    let mut world = World::of(&arguments.target).await?;
    let plan = waiting(&world.object)?.clone();
    if let Some(read) = arguments.digest.as_deref().filter(|d| *d != plan.digest) {
        return Err(stale(&format!("--digest {read}"), &plan.digest));
    }
    let same = |object: &TerraformDeployment| match waiting(object)? {
        now if now.digest == plan.digest => Ok(approval_of(object, &plan.digest).is_none()),
        now => Err(stale(&format!("the plan {} that was read first", plan.digest), &now.digest)),
    };
    let by = world.command(annotation::APPROVE, &plan.digest, same).await?;
    let json = arguments.target.json;
    Ok(match (by, approval_of(&world.object, &plan.digest)) {
        (None, Some(before)) => already(before, json),
        (by, _) => approved(&by.unwrap_or_default(), &plan, json),
    })
}

fn stale(read: &str, current: &str) -> Error {
    Error::condition(
        Reason::ApprovalStale,
        format!("{read}: the current plan is {current}; read it with `landfall plan`"),
    )
}

fn approval_of<'a>(object: &'a TerraformDeployment, digest: &str) -> Option<&'a ApprovalStatus> {
    object.status.as_ref()?.approval.as_ref().filter(|approval| approval.digest == digest)
}

fn approved(by: &str, plan: &PlanStatus, json: bool) -> String {
    let (digest, s) = (&plan.digest, plan.summary);
    if json {
        return format!("{}\n", json!({"approved": digest, "by": by, "run": plan.run_id, "summary": s}));
    }
    let (add, change, destroy, replace) = (s.add, s.change, s.destroy, s.replace);
    format!("{by} approved {digest} ({add} to add, {change} to change, {destroy} to destroy, {replace} to replace)\n")
}

/// That somebody approved it before is no failure: it is what was asked for.
fn already(before: &ApprovalStatus, json: bool) -> String {
    let ApprovalStatus { digest, by, at, run_id } = before;
    if json {
        return format!("{}\n", json!({"approved": digest, "by": by, "already": true, "at": at, "appliedBy": run_id}));
    }
    match run_id {
        Some(run) => format!("{digest} was already applied by run {run}; {by} approved it at {at}\n"),
        None => format!("{digest} was already approved by {by} at {at}\n"),
    }
}

fn waiting(object: &TerraformDeployment) -> Result<&PlanStatus> {
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
/// There is no run, or admission refuses.
pub(super) async fn cancel(arguments: &OnRun) -> Result<String> {
    on_run(arguments, annotation::CANCEL, "cancels").await
}

/// Starts over after failed attempts.
///
/// # Errors
/// There is no run, or admission refuses.
pub(super) async fn retry(arguments: &OnRun) -> Result<String> {
    on_run(arguments, annotation::RETRY, "retries").await
}

async fn on_run(arguments: &OnRun, annotation: &'static str, verb: &str) -> Result<String> {
    let mut world = World::of(&arguments.target).await?;
    let newest = world.object.status.as_ref().and_then(|s| s.last_run.as_ref()).map(|r| r.id.clone());
    let Some(run) = arguments.run.clone().or(newest) else {
        return Err(Error::condition(Reason::Progressing, format!("tfd/{} has no run yet", world.object.name_any())));
    };
    let by = world.command(annotation, &run, |_| Ok(true)).await?.unwrap_or_default();
    Ok(if arguments.target.json {
        format!("{}\n", json!({"command": annotation, "run": run, "by": by}))
    } else {
        format!("{by} {verb} run {run}\n")
    })
}

struct World {
    client: Client,
    api: Api<TerraformDeployment>,
    object: TerraformDeployment,
}

impl World {
    async fn of(target: &Target) -> Result<Self> {
        let config = kubeconfig().await?;
        let namespace = target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)?;
        let api: Api<TerraformDeployment> = Api::namespaced(client.clone(), &namespace);
        let object = api.get(&target.object.0).await?;
        Ok(Self { client, api, object })
    }

    /// Sets the annotation in the caller's name, as admission demands, and says that name; `None` where `wanted` says that
    /// there is no need. Where somebody else wrote the object meanwhile, it is read and asked again.
    async fn command(
        &mut self,
        annotation: &str,
        value: &str,
        wanted: impl Fn(&TerraformDeployment) -> Result<bool>,
    ) -> Result<Option<String>> {
        let user = self.caller().await?;
        let name = self.object.name_any();
        for attempt in 0..=CONFLICTS {
            if !wanted(&self.object)? {
                return Ok(None);
            }
            let body = json!({"metadata": {
                "resourceVersion": self.object.resource_version(),
                "annotations": {annotation: value, annotation::COMMAND_BY: user},
            }});
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            match self.api.patch(&name, &params, &Patch::Merge(&body)).await {
                Err(error) if is_conflict(&error) && attempt < CONFLICTS => {
                    tokio::time::sleep(PAUSE * (attempt + 1)).await
                }
                done => return Ok(done.map(|_| Some(user))?),
            }
            self.object = self.api.get(&name).await?;
        }
        Ok(None)
    }

    /// The name by which the API server knows the caller.
    async fn caller(&self) -> Result<String> {
        let reviews = Api::<SelfSubjectReview>::all(self.client.clone());
        let who = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
        Ok(who.status.and_then(|s| s.user_info).and_then(|u| u.username).unwrap_or_default())
    }
}
