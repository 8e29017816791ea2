//! `landfall approve`, `cancel`, `retry`: commands as annotations, in the caller's own name.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::target::{Target, kubeconfig};
use crate::api::{PlanStatus, Reason, TerraformDeployment, annotation};
use crate::{Error, Result};

/// Field manager of what people command.
const MANAGER: &str = "landfall-cli";

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
    let world = World::of(&arguments.target).await?;
    let plan = waiting(&world.object)?;
    if let Some(read) = arguments.digest.as_deref().filter(|d| *d != plan.digest) {
        return Err(Error::condition(
            Reason::ApprovalStale,
            format!("--digest {read}: the current plan is {}; read it with `landfall plan`", plan.digest),
        ));
    }
    let by = world.command(annotation::APPROVE, &plan.digest).await?;
    let s = plan.summary;
    Ok(if arguments.target.json {
        format!("{}\n", json!({"approved": plan.digest, "by": by, "run": plan.run_id, "summary": s}))
    } else {
        format!(
            "{by} approved {} ({} to add, {} to change, {} to destroy, {} to replace)\n",
            plan.digest, s.add, s.change, s.destroy, s.replace
        )
    })
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
    let world = World::of(&arguments.target).await?;
    let newest = world.object.status.as_ref().and_then(|s| s.last_run.as_ref()).map(|r| r.id.clone());
    let Some(run) = arguments.run.clone().or(newest) else {
        return Err(Error::condition(Reason::Progressing, format!("tfd/{} has no run yet", world.object.name_any())));
    };
    let by = world.command(annotation, &run).await?;
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

    /// Sets the annotation in the caller's name, as admission demands, and says that name.
    async fn command(&self, annotation: &str, value: &str) -> Result<String> {
        let who = Api::<SelfSubjectReview>::all(self.client.clone())
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await?;
        let user = who.status.and_then(|s| s.user_info).and_then(|u| u.username).unwrap_or_default();
        let body = json!({"metadata": {
            "resourceVersion": self.object.resource_version(),
            "annotations": {annotation: value, annotation::COMMAND_BY: user},
        }});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.api.patch(&self.object.name_any(), &params, &Patch::Merge(&body)).await?;
        Ok(user)
    }
}
