//! What the Job of a run is, and what its pod tells. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Placement;
use crate::access::text;
use crate::installation::{CA, IDENTITY, JobSettings, WORK};
use crate::run::digest::sha256_hex;
use crate::run::protocol::AUDIENCE;
use crate::{Error, Result};

/// The name of the container.
const RUNNER: &str = "runner";
/// The label that names a run.
pub(super) const RUN: &str = "landfall.dev/run";
/// The annotation that names its deployment, as `namespace/name`.
pub(super) const DEPLOYMENT: &str = "landfall.dev/deployment";
/// The annotation with a digest of all that a Job was made of.
const MADE_OF: &str = "landfall.dev/made-of";
/// nobody's user; the image's.
const USER: i64 = 65532;
/// Seconds that a runner may take, beyond an engine's grace, to tell the rest before its pod is killed.
const TO_TELL: u64 = 60;
/// Room for variables, plan file and plan JSON: twice the largest file that the run API takes, and more.
const VALUES: &str = "160Mi";
/// Life of the pod's token, seconds; the kubelet renews it.
const TOKEN_LIFE: u64 = 3600;
/// Characters of others' words in a message.
const WORDS: usize = 300;

/// All that a Job of a run says.
pub(super) struct Making<'a> {
    pub(super) run: Uuid,
    pub(super) namespace: &'a str,
    pub(super) deployment: (&'a str, &'a str),
    pub(super) settings: &'a JobSettings,
    pub(super) placement: &'a Placement,
    /// The engine's binary in the image.
    pub(super) engine: String,
    /// Its CLI configuration in the image.
    pub(super) cli_config: Option<String>,
    /// How long an engine may take to stop, seconds.
    pub(super) grace: u64,
    /// Certificates of the run API's CAs, PEM. No secret.
    pub(super) authorities: String,
    /// What else the runner's environment has.
    pub(super) environment: Vec<(String, String)>,
}

/// The name of a run's Job.
pub fn job_name(run: Uuid) -> String {
    format!("landfall-run-{run}")
}

/// The label by which a run's Job and pods are found.
pub fn selector(run: Uuid) -> String {
    format!("{RUN}={run}")
}

/// The Job. No secret stands in it: its pod shows who it is, and the run API answers with what it needs.
pub(super) fn job(of: &Making<'_>) -> Result<Job> {
    let own = [("app.kubernetes.io/part-of", "landfall"), ("app.kubernetes.io/component", "runner")];
    let mut labels: BTreeMap<_, _> = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    labels.insert(RUN.to_owned(), of.run.to_string());
    // NetworkPolicies, the watch and the run API go by Landfall's own.
    let of_pod: BTreeMap<_, _> = of.settings.pod_labels.iter().chain(&of.placement.labels).chain(&labels).collect();
    let deployment = format!("{}/{}", of.deployment.0, of.deployment.1);
    let evicted = "cluster-autoscaler.kubernetes.io/safe-to-evict";
    let own = [(DEPLOYMENT, deployment.as_str()), (evicted, "false")];
    let others = of.settings.pod_annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let metadata = json!({"labels": of_pod, "annotations": others.chain(own).collect::<BTreeMap<_, _>>()});
    let template = json!({"metadata": metadata, "spec": pod(of)});
    let annotations = json!({DEPLOYMENT: deployment, MADE_OF: sha256_hex(template.to_string().as_bytes())});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": job_name(of.run), "namespace": of.namespace, "labels": labels, "annotations": annotations},
        "spec": {
            // A run is never begun a second time by itself: whether it may be is for the ledger to say.
            "backoffLimit": 0, "completions": 1, "parallelism": 1,
            "ttlSecondsAfterFinished": of.settings.ttl_seconds_after_finished,
            "template": template,
        },
    });
    serde_json::from_value(job).map_err(|e| Error::Integrity(format!("the Job of run {}: {e}", of.run)))
}

fn pod(of: &Making<'_>) -> Value {
    let settings = of.settings;
    let secrets: Vec<_> = settings.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
    let mut volumes = vec![
        json!({"name": "work", "emptyDir": {"sizeLimit": settings.scratch}}),
        json!({"name": "values", "emptyDir": {"medium": "Memory", "sizeLimit": VALUES}}),
        json!({"name": "identity", "projected": {"defaultMode": 0o440, "sources": [{"serviceAccountToken": {
            "audience": AUDIENCE, "expirationSeconds": TOKEN_LIFE, "path": "token"}}]}}),
    ];
    volumes.extend(settings.ca_bundle.iter().map(
        |ca| json!({"name": "ca", "configMap": {"name": ca.config_map, "items": [{"key": ca.key, "path": "ca.crt"}]}}),
    ));
    volumes.extend(settings.volumes.iter().enumerate().map(|(at, volume)| match &volume.persistent_volume_claim {
        Some(claim) => {
            json!({"name": volume_name(at), "persistentVolumeClaim": {"claimName": claim, "readOnly": true}})
        }
        None => json!({"name": volume_name(at), "configMap": {"name": volume.config_map}}),
    }));
    json!({
        "restartPolicy": "Never",
        "serviceAccountName": of.placement.service_account_name,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        // The pause container is then process 1, and reaps what engines leave behind.
        "shareProcessNamespace": true,
        "terminationGracePeriodSeconds": of.grace.saturating_add(TO_TELL),
        "imagePullSecrets": secrets,
        "nodeSelector": of.placement.node_selector,
        "tolerations": of.placement.tolerations,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(of)],
        "volumes": volumes,
    })
}

fn volume_name(at: usize) -> String {
    format!("volume-{at}")
}

fn container(of: &Making<'_>) -> Value {
    let mut arguments = vec!["runner".to_owned(), format!("--run={}", of.run), format!("--api={}", of.settings.url)];
    arguments.push(format!("--dir={WORK}/run"));
    arguments.push(format!("--values-dir={WORK}/values/run"));
    arguments.push(format!("--engine-binary={}", of.engine));
    arguments.push(format!("--pod-token={IDENTITY}/token"));
    arguments.extend(of.cli_config.as_ref().map(|path| format!("--cli-config={path}")));
    let environment = of.environment.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let mut ours = vec![json!({"name": "LANDFALL_RUN_API_CA", "value": of.authorities})];
    let mut mounts = vec![
        json!({"name": "work", "mountPath": WORK}),
        json!({"name": "values", "mountPath": format!("{WORK}/values")}),
        json!({"name": "identity", "mountPath": IDENTITY, "readOnly": true}),
    ];
    if of.settings.ca_bundle.is_some() {
        ours.push(json!({"name": "SSL_CERT_DIR", "value": format!("/etc/ssl/certs:{CA}")}));
        mounts.push(json!({"name": "ca", "mountPath": CA, "readOnly": true}));
    }
    mounts.extend(
        of.settings
            .volumes
            .iter()
            .enumerate()
            .map(|(at, volume)| json!({"name": volume_name(at), "mountPath": volume.mount_path, "readOnly": true})),
    );
    json!({
        "name": RUNNER,
        "image": of.settings.image,
        "imagePullPolicy": of.settings.image_pull_policy,
        "command": ["landfall"],
        "args": arguments,
        "env": ours.into_iter().chain(environment).collect::<Vec<_>>(),
        "resources": of.placement.resources,
        // The last of what it logged then stands in the pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    })
}

/// Whether two Jobs were made of the same.
pub(super) fn are_alike(one: &Job, other: &Job) -> bool {
    let made_of = |job: &Job| job.metadata.annotations.as_ref()?.get(MADE_OF).cloned();
    made_of(one) == made_of(other)
}

/// Whether a pod's containers may run or have run.
pub(super) fn has_begun(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, None | Some("Pending"))
}

/// Whether a Job has ended, well or not.
pub(super) fn has_ended(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ends = ["Complete", "Failed"];
    conditions.into_iter().flatten().any(|c| c.status == "True" && ends.contains(&c.type_.as_str()))
}

/// Whether nothing of a pod runs any more, as the node's kubelet told.
pub(super) fn is_empty(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether its runner's container has ended: beside it a mesh's proxy may go on.
pub(super) fn is_over(pod: &Pod) -> bool {
    containers(pod).filter_map(|status| status.state.as_ref()).any(|state| state.terminated.is_some())
}

/// Whether this Job made a pod.
pub(super) fn is_of(pod: &Pod, job: &Job) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| Some(&owner.uid) == job.metadata.uid.as_ref())
}

/// Namespace and name of the deployment whose run's Job or pod has these annotations.
pub(super) fn deployment(annotations: &BTreeMap<String, String>) -> Option<(&str, &str)> {
    annotations.get(DEPLOYMENT)?.split_once('/')
}

/// The run whose pod this is.
pub(super) fn run(labels: Option<&BTreeMap<String, String>>) -> Option<Uuid> {
    labels?.get(RUN)?.parse().ok()
}

/// The runner's.
fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let all = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
    all.filter(|status| status.name == RUNNER)
}

/// Why a pod does not begin: no node takes it, its image does not come, its container cannot be made.
pub(super) fn hitch(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    let mut unplaced = conditions.filter(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unplaced.next() {
        let why = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or("no reason is given");
        return Some(format!("no node takes pod {name}: {}", text::line(why, WORDS)));
    }
    let begins = ["ContainerCreating", "PodInitializing"];
    let waiting = containers(pod).find_map(|status| status.state.as_ref()?.waiting.as_ref());
    let waiting = waiting.filter(|w| w.reason.as_deref().is_some_and(|reason| !begins.contains(&reason)))?;
    let (reason, message) = (waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref());
    Some(format!("pod {name} waits: {reason}: {}", text::line(message.unwrap_or("no message is given"), WORDS)))
}

/// Since when the runner's container runs, if it does.
pub(super) fn running_since(pod: &Pod) -> Option<Timestamp> {
    containers(pod).find_map(|status| status.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|time| time.0))
}

/// The newest warning that concerns a run's Job or pod, as a reason why it does not begin.
pub(super) fn warned(events: &[Event]) -> Option<String> {
    let newest = events.iter().max_by_key(|event| event.metadata.resource_version.as_ref()?.parse::<u64>().ok())?;
    let reason = newest.reason.as_deref().unwrap_or_default();
    Some(format!("{reason}: {}", text::line(newest.message.as_deref().unwrap_or_default(), WORDS)))
}

/// How a pod ended that did not end well: evicted, out of memory, with an exit code; and the last that it said,
/// neither redacted nor cut.
pub(super) fn ending(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if let Some(reason) = status.reason.as_deref() {
        let message = status.message.as_deref().unwrap_or("no message is given");
        return Some(format!("pod {name}: {reason}: {message}"));
    }
    let ended = containers(pod).find_map(|status| status.state.as_ref()?.terminated.as_ref())?;
    let how = match ended.reason.as_deref() {
        Some("OOMKilled") => {
            "it was killed for want of memory (OOMKilled); raise spec.runner.resources, or executor.job.resources"
                .to_owned()
        }
        Some("Error") | None => format!("exit code {}", ended.exit_code),
        Some(other) => format!("{other}, exit code {}", ended.exit_code),
    };
    let said = ended.message.as_deref().and_then(|said| said.lines().rev().find(|line| !line.trim().is_empty()));
    let said = said.map(|line| format!(": {line}")).unwrap_or_default();
    Some(format!("pod {name}: {how}{said}"))
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
