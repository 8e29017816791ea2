//! Runs: one plan or one apply each. The leader creates them; the runner, through any replica, moves them forward; whoever
//! comes first ends them. Each transition is one transaction with its event in the chain.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use uuid::Uuid;

use super::words::{json_maybe, parse, time, time_maybe, variant};
use super::{IntentId, Ledger, ObjectKind, Subject};
use crate::Result;
use crate::api::Organization;
use crate::api::{Change, EngineKind, PlanSummary, Reason};
use crate::run::protocol::{Holder, Limits, RunKind, RunPhase};

mod create;
mod ending;
mod finish;
mod permit;
mod progress;
mod room;
mod settle;

pub use create::{ApplyRun, Approval, NewApplyRun, NewPlanRun, PlanRun, Standing};
pub use ending::{Heard, Stopping};
pub use finish::Finish;
pub(super) use permit::{is_current, is_newest};
pub(crate) use room::credential;
pub use room::{Limit, Obstacle, Others, Room, UnderWay};
pub use settle::Past;

/// A run, as far as it may be shown: its inputs and files are sealed elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// UUID v7: runs sort by creation.
    pub id: Uuid,
    /// The deployment.
    pub subject: Subject,
    /// Plan or apply.
    pub kind: RunKind,
    /// Build or destroy.
    pub change: Change,
    /// Where it stands.
    pub phase: RunPhase,
    /// `metadata.generation` that it was made for.
    pub generation: i64,
    /// Counts the tries of one generation.
    pub attempt: i32,
    /// Of an apply: the plan run whose plan it applies.
    pub plan: Option<Uuid>,
    /// The plan's digest: of a plan run from its end on, of an apply from the start.
    pub digest: Option<String>,
    /// What the digest binds and no other field tells, and whatever else the kind keeps there. No values.
    pub facts: Value,
    /// Counts of a finished plan.
    pub summary: Option<PlanSummary>,
    /// Whether applying a finished plan would write anything, outputs included.
    pub has_changes: Option<bool>,
    /// Serial of the state that a plan was made on (0 for none), or that an apply left.
    pub state_serial: Option<i64>,
    /// Lineage of that state.
    pub state_lineage: Option<String>,
    /// Of an apply: the intent.
    pub intent: Option<IntentId>,
    /// Who claimed it.
    pub holder: Option<Holder>,
    /// Which engine.
    pub engine: EngineKind,
    /// Its version: of a plan from its end on, of an apply from the start.
    pub engine_version: Option<String>,
    /// How long its steps may take.
    pub limits: Limits,
    /// When a person asked it to stop.
    pub cancel_requested_at: Option<Timestamp>,
    /// When the controller told its runner to stop, because it should have ended.
    pub terminated_at: Option<Timestamp>,
    /// How often it was handed to a runner.
    pub handed_over: i32,
    /// Who asked for it, and how far the name can be trusted; see [`super::Actor::kind`].
    pub requested_by: (Option<String>, String),
    /// When it was committed.
    pub created_at: Timestamp,
    /// When a runner claimed it.
    pub started_at: Option<Timestamp>,
    /// When it entered its phase.
    pub phase_at: Timestamp,
    /// From here on the world may have changed.
    pub applying_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Of the engine's last command.
    pub exit_code: Option<i32>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// First error block of the engine.
    pub message: Option<String>,
    /// When this was read, by the clock that wrote all its times: Postgres's. How long ago something was is said against
    /// this, and never against the clock of another machine.
    pub read_at: Timestamp,
}

/// Why the run API does not do what a runner asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// There is no such thing.
    NotFound,
    /// The run has ended; the runner should, too.
    Ended,
    /// A person asked the run to stop before it changed anything.
    Cancelled,
    /// It contradicts what is recorded.
    Conflict(String),
    /// Somebody else has the lock: its JSON.
    Locked(Value),
}

/// What the run API answers, unless the ledger itself fails.
pub type Answer<T> = Result<std::result::Result<T, Refusal>>;

/// `SELECT` of all that [`Run`] holds, with what follows `FROM terraform_runs`.
macro_rules! select_run {
    ($rest:literal) => {
        concat!(
            "SELECT run_id, organization_id, cluster_id, deployment_uid, namespace, name, kind, change, phase, generation, attempt, \
             plan_run_id, plan_digest, facts, summary, has_changes, state_serial, state_lineage, intent_id, holder, engine, \
             engine_version, limits, cancel_requested_at, terminated_at, handed_over, requested_by, requested_by_kind, created_at, claimed_at, phase_at, applying_at, \
             finished_at, exit_code, reason, message, clock_timestamp() AS read_at FROM terraform_runs ",
            $rest
        )
    };
}

impl Run {
    pub(super) fn from_row(row: &PgRow) -> Result<Self> {
        Ok(Self {
            id: row.try_get("run_id")?,
            subject: Subject {
                organization: Organization(row.try_get("organization_id")?),
                cluster: row.try_get("cluster_id")?,
                kind: ObjectKind::TerraformDeployment,
                uid: row.try_get("deployment_uid")?,
                namespace: row.try_get("namespace")?,
                name: row.try_get("name")?,
            },
            kind: variant(row, "kind")?,
            change: variant(row, "change")?,
            phase: variant(row, "phase")?,
            generation: row.try_get("generation")?,
            attempt: row.try_get("attempt")?,
            plan: row.try_get("plan_run_id")?,
            digest: row.try_get("plan_digest")?,
            facts: row.try_get("facts")?,
            summary: json_maybe(row, "summary")?,
            has_changes: row.try_get("has_changes")?,
            state_serial: row.try_get("state_serial")?,
            state_lineage: row.try_get("state_lineage")?,
            intent: row.try_get::<Option<Uuid>, _>("intent_id")?.map(IntentId),
            holder: json_maybe(row, "holder")?,
            engine: variant(row, "engine")?,
            engine_version: row.try_get("engine_version")?,
            handed_over: row.try_get("handed_over")?,
            limits: row.try_get::<Json<Limits>, _>("limits")?.0,
            cancel_requested_at: time_maybe(row, "cancel_requested_at")?,
            terminated_at: time_maybe(row, "terminated_at")?,
            requested_by: (row.try_get("requested_by")?, row.try_get("requested_by_kind")?),
            created_at: time(row, "created_at")?,
            started_at: time_maybe(row, "claimed_at")?,
            phase_at: time(row, "phase_at")?,
            applying_at: time_maybe(row, "applying_at")?,
            finished_at: time_maybe(row, "finished_at")?,
            exit_code: row.try_get("exit_code")?,
            reason: row.try_get::<Option<String>, _>("reason")?.as_deref().and_then(parse),
            message: row.try_get("message")?,
            read_at: time(row, "read_at")?,
        })
    }

    /// The run, locked until the transaction ends, so that two who would move it come one after the other.
    pub(super) async fn locked(connection: &mut PgConnection, id: Uuid) -> Result<Option<Self>> {
        let row =
            sqlx::query(select_run!("WHERE run_id = $1 FOR NO KEY UPDATE")).bind(id).fetch_optional(connection).await?;
        row.as_ref().map(Self::from_row).transpose()
    }

    /// First word of its events: an apply of a destroy plan is a destroy.
    pub(super) fn action(&self, plan: &'static str, apply: &'static str, destroy: &'static str) -> &'static str {
        match (self.kind, self.change) {
            (RunKind::Plan, _) => plan,
            (RunKind::Apply, Change::Apply) => apply,
            (RunKind::Apply, Change::Destroy) => destroy,
        }
    }
}

/// Runs of one deployment, newest first. For any role: row security says which are seen.
///
/// # Errors
/// Postgres's.
pub async fn list(pool: &sqlx::PgPool, uid: Uuid, limit: i64) -> Result<Vec<Run>> {
    let rows = sqlx::query(select_run!("WHERE deployment_uid = $1 ORDER BY created_at DESC, run_id DESC LIMIT $2"))
        .bind(uid)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    rows.iter().map(Run::from_row).collect()
}

/// Runs of all deployments that had this name, in one cluster or in any, newest first. For any role: row security says which
/// are seen.
///
/// # Errors
/// Postgres's.
pub async fn named(
    pool: &sqlx::PgPool,
    cluster: Option<Uuid>,
    namespace: &str,
    name: &str,
    limit: i64,
) -> Result<Vec<Run>> {
    let rows = sqlx::query(select_run!(
        "WHERE namespace = $1 AND name = $2 AND ($4::uuid IS NULL OR cluster_id = $4) ORDER BY created_at DESC, run_id DESC LIMIT $3"
    ))
    .bind(namespace)
    .bind(name)
    .bind(limit)
    .bind(cluster)
    .fetch_all(pool)
    .await?;
    rows.iter().map(Run::from_row).collect()
}

/// A run by its id. For any role: row security says which are seen.
///
/// # Errors
/// Postgres's.
pub async fn by_id(pool: &sqlx::PgPool, id: Uuid) -> Result<Option<Run>> {
    let row = sqlx::query(select_run!("WHERE run_id = $1")).bind(id).fetch_optional(pool).await?;
    row.as_ref().map(Run::from_row).transpose()
}

impl Ledger {
    /// A run by its id.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn run(&self, id: Uuid) -> Result<Option<Run>> {
        by_id(&self.pool, id).await
    }

    /// Runs of one deployment, newest first.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn runs_of(&self, uid: Uuid, limit: i64) -> Result<Vec<Run>> {
        list(&self.pool, uid, limit).await
    }

    /// All runs of a cluster that have not ended, oldest first.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn active_runs(&self, cluster: Uuid) -> Result<Vec<Run>> {
        let rows = sqlx::query(select_run!(
            "WHERE cluster_id = $1 AND phase NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted') ORDER BY run_id"
        ))
        .bind(cluster)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(Run::from_row).collect()
    }
}
