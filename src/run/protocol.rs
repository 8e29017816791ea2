//! What runner and run API say to each other, as JSON over HTTP with a bearer token per run.
//!
//! | call | body → answer |
//! |---|---|
//! | `POST /runs/{id}/claim` | [`Claim`] → [`RunSpec`]; 409 when another holds the run, 410 when it has ended |
//! | `POST /runs/{id}/attach` | [`Attach`] → [`RunSpec`]: the claim of a runner in a pod. Its bearer token is the pod's own, from its service account, for [`AUDIENCE`]; from then on the run's token is the one that the runner made |
//! | `GET /runs/{id}/control` | → [`Control`] |
//! | `POST /runs/{id}/phase` | [`Progress`] → 204, committed before it answers |
//! | `GET`, `PUT /runs/{id}/artifacts/{name}` | bytes of an [`Artifact`] |
//! | `PUT /runs/{id}/logs/{offset}` | bytes from that offset of the log → 204; the same again is a no-op |
//! | `GET /runs/{id}/state` | → bytes, or 404 |
//! | `PUT /runs/{id}/state` | bytes → 204; the same serial and bytes again too; 409 otherwise |
//! | `POST`, `DELETE /runs/{id}/lock` | lock JSON → 204; 423 with the holder's lock JSON |
//! | `PUT /runs/{id}/resources/{offset}` | `Vec<`[`ResourceEvent`]`>`, the first being number `offset` of the run → 204 |
//! | `POST /runs/{id}/result` | [`RunResult`] → 204; the same again too |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use crate::access::SecretText;
use crate::api::{Change, EngineKind, Reason};

/// Header with the SHA-256 of a body, hex, on both ways.
pub const SHA256: &str = "x-landfall-sha256";

/// Audience of the tokens by which pods show who they are.
pub const AUDIENCE: &str = "landfall.dev/runs";

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunKind {
    /// init, plan, show.
    Plan,
    /// init with the stored lock file, apply of the stored plan file.
    Apply,
}

/// Where a run stands. A run moves forward only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RunPhase {
    /// Committed, not yet claimed by a runner.
    Pending,
    /// Claimed; the runner prepares.
    Claimed,
    /// `init`.
    Init,
    /// `plan`.
    Plan,
    /// From here on the world may have changed.
    Apply,
    /// The engine is done; the last state is being acknowledged.
    Finishing,
    /// Ended well.
    Succeeded,
    /// Ended badly, and the engine said so.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Runner or engine died; what the run did is found by observing.
    Interrupted,
}

impl RunPhase {
    /// No more is to come from this run.
    pub fn is_final(self) -> bool {
        self >= Self::Succeeded
    }

    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Claimed => "Claimed",
            Self::Init => "Init",
            Self::Plan => "Plan",
            Self::Apply => "Apply",
            Self::Finishing => "Finishing",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Interrupted => "Interrupted",
        }
    }
}

/// The process that holds a run. A pid alone is reused; with start time and boot id it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id, which is also session and process group.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`, clock ticks since boot.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// The pod that holds a run. A name alone is reused; the uid is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodIdentity {
    /// `metadata.name`, in Landfall's own namespace.
    pub pod: String,
    /// `metadata.uid`.
    pub pod_uid: String,
}

/// Who holds a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Holder {
    /// A process of the controller's machine.
    Process(ProcessIdentity),
    /// A pod of the cluster.
    Pod(PodIdentity),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(process) => write!(f, "process {}", process.pid),
            Self::Pod(pod) => write!(f, "pod {}", pod.pod),
        }
    }
}

/// A runner takes a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Who takes it.
    pub holder: ProcessIdentity,
}

/// A runner in a pod takes a run. Whatever else runs in the pod can show the pod's token too, but does not know the run's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attach {
    /// SHA-256 of the run's token, hex.
    pub token_sha256: String,
}

/// All that a runner needs. Lives in memory and in 0600 files, never in argv or logs.
#[derive(Clone, Serialize, Deserialize)]
pub struct RunSpec {
    /// Run id.
    pub id: Uuid,
    /// Plan or apply.
    pub kind: RunKind,
    /// Build or destroy.
    pub change: Change,
    /// Which engine.
    pub engine: EngineKind,
    /// Digest of the plan that is applied; for `LANDFALL_PLAN_DIGEST`.
    pub plan_digest: Option<String>,
    /// Environment of the engine: the credential's.
    #[serde(with = "exposed")]
    pub environment: BTreeMap<String, SecretText>,
    /// Values of variables, as JSON text.
    #[serde(with = "exposed")]
    pub variables: BTreeMap<String, SecretText>,
    /// Variables to be declared sensitive.
    pub sensitive: BTreeSet<String>,
    /// What the state before this run marks as sensitive, wherever it came from: not to be shown either.
    #[serde(default, with = "exposed_list")]
    pub hidden: Vec<SecretText>,
    /// How long its steps may take.
    pub limits: Limits,
}

/// How long the steps of a run may take, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `init`.
    pub init: u64,
    /// `plan`.
    pub plan: u64,
    /// `apply` or `destroy`.
    pub apply: u64,
    /// How long an engine may take to stop in mid-apply: its providers finish what they began.
    pub grace: u64,
}

/// How long a runner whose engine has ended tries to tell the last state, its lock and the result. After that its folder tells
/// the rest, where it survives the runner.
pub const DELIVERY: Duration = Duration::from_secs(24 * 3600);

impl Limits {
    /// How long the runner asks the run API the same before it gives up.
    pub fn patience(&self) -> u64 {
        self.init.max(60)
    }
}

/// The one place where secrets become JSON: on their way to the runner, and sealed.
mod exposed {
    use super::{BTreeMap, Deserialize, SecretText};

    pub(super) fn serialize<S: serde::Serializer>(
        map: &BTreeMap<String, SecretText>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(name, text)| (name, text.expose())))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, SecretText>, D::Error> {
        let plain = BTreeMap::<String, String>::deserialize(from)?;
        Ok(plain.into_iter().map(|(name, text)| (name, SecretText::new(text))).collect())
    }
}

/// The same for values without names.
mod exposed_list {
    use super::{Deserialize, SecretText};

    pub(super) fn serialize<S: serde::Serializer>(list: &[SecretText], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(SecretText::expose))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<SecretText>, D::Error> {
        Ok(Vec::<String>::deserialize(from)?.into_iter().map(SecretText::new).collect())
    }
}

/// What the runner must obey, asked every two seconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Control {
    /// Stop gracefully.
    pub cancel: bool,
}

/// The runner enters a phase. [`RunPhase::Apply`] is entered only after the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The phase.
    pub phase: RunPhase,
}

/// The files of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Artifact {
    /// Uncompressed tar of the module as handed to the run. For a plan run the controller puts it; the plan run replaces
    /// it by what stood there after `init` (with fetched modules, without providers and values).
    Snapshot,
    /// `.terraform.lock.hcl`. For a plan run the controller puts that of the last apply; the plan run replaces it by what
    /// stood there after `init`.
    LockFile,
    /// The engine's plan file.
    Plan,
    /// `show -json` of it.
    PlanJson,
}

impl Artifact {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Snapshot, Self::LockFile, Self::Plan, Self::PlanJson];

    /// Name in paths and rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::LockFile => "lock-file",
            Self::Plan => "plan",
            Self::PlanJson => "plan-json",
        }
    }
}

/// One thing that the engine's event stream said about a resource instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceEvent {
    /// Address in the module tree.
    pub address: String,
    /// Resource type.
    pub resource_type: String,
    /// Provider's source address, where the event tells it.
    pub provider: Option<String>,
    /// Provider's id, where the event tells it.
    pub id: Option<String>,
    /// What happened.
    pub what: ResourceAction,
}

/// Resource events in one call.
pub const EVENT_BATCH: usize = 1000;

/// What happened to a resource instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words say it")]
pub enum ResourceAction {
    CreateStarted,
    Created,
    CreateFailed,
    UpdateStarted,
    Updated,
    UpdateFailed,
    DeleteStarted,
    Deleted,
    DeleteFailed,
}

impl ResourceAction {
    /// What was begun: itself, or that of which it is the end.
    pub fn begun(self) -> Self {
        match self {
            Self::CreateStarted | Self::Created | Self::CreateFailed => Self::CreateStarted,
            Self::UpdateStarted | Self::Updated | Self::UpdateFailed => Self::UpdateStarted,
            Self::DeleteStarted | Self::Deleted | Self::DeleteFailed => Self::DeleteStarted,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// A final phase. [`RunPhase::Interrupted`]: the engine was cut off in mid-apply, while the runner lived.
    pub phase: RunPhase,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// First error block of the engine, redacted, 2,048 bytes at most.
    pub message: Option<String>,
    /// Exit code of the engine's last command.
    pub exit_code: Option<i32>,
}
