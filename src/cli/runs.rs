//! `landfall runs`: what was planned and applied, newest first.

use serde::Serialize;
use uuid::Uuid;

use super::reading::{Deployment, json, pool};
use super::table::{instant, short, table};
use super::target::{Target, WhichCluster};
use crate::Result;
use crate::api::{Change, PlanSummary, Reason};
use crate::ledger::Run;
use crate::run::protocol::{RunKind, RunPhase};

/// `landfall runs`.
#[derive(Debug, clap::Args)]
pub(super) struct Runs {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    which: WhichCluster,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// A run as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    id: Uuid,
    deployment_uid: Uuid,
    kind: RunKind,
    change: Change,
    phase: RunPhase,
    generation: i64,
    attempt: i32,
    plan: Option<Uuid>,
    digest: Option<&'a str>,
    summary: Option<&'a PlanSummary>,
    has_changes: Option<bool>,
    state_serial: Option<i64>,
    engine_version: Option<&'a str>,
    requested_by: Option<&'a str>,
    requested_by_kind: &'a str,
    created_at: jiff::Timestamp,
    started_at: Option<jiff::Timestamp>,
    finished_at: Option<jiff::Timestamp>,
    exit_code: Option<i32>,
    reason: Option<Reason>,
    message: Option<&'a str>,
}

impl<'a> From<&'a Run> for Shown<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            id: run.id,
            deployment_uid: run.subject.uid,
            kind: run.kind,
            change: run.change,
            phase: run.phase,
            generation: run.generation,
            attempt: run.attempt,
            plan: run.plan,
            digest: run.digest.as_deref(),
            summary: run.summary.as_ref(),
            has_changes: run.has_changes,
            state_serial: run.state_serial,
            engine_version: run.engine_version.as_deref(),
            requested_by: run.requested_by.0.as_deref(),
            requested_by_kind: &run.requested_by.1,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            exit_code: run.exit_code,
            reason: run.reason,
            message: run.message.as_deref(),
        }
    }
}

/// Plan, Apply or Destroy, or the plan of a destroy.
pub(super) fn kind(run: &Run) -> &'static str {
    match (run.kind, run.change) {
        (RunKind::Plan, Change::Apply) => "Plan",
        (RunKind::Plan, Change::Destroy) => "Plan (destroy)",
        (RunKind::Apply, Change::Apply) => "Apply",
        (RunKind::Apply, Change::Destroy) => "Destroy",
    }
}

/// Lists runs.
///
/// # Errors
/// No run is on record, or the ledger is away.
pub(super) async fn runs(arguments: &Runs) -> Result<String> {
    let pool = pool().await?;
    let deployment = Deployment::of(&pool, &arguments.which, &arguments.target).await?;
    let found = deployment.runs(&pool, i64::from(arguments.limit)).await?;
    if arguments.target.json {
        return json(&found.iter().map(Shown::from).collect::<Vec<_>>());
    }
    Ok(table(
        ["RUN", "KIND", "PHASE", "CREATED", "DIGEST", "RESULT"],
        found.iter().map(|run| {
            let result = match (&run.summary, run.reason) {
                (_, Some(reason)) => reason.to_string(),
                (Some(summary), None) => summary.to_string(),
                (None, None) => run.state_serial.map(|serial| format!("state serial {serial}")).unwrap_or_default(),
            };
            let digest = run.digest.as_deref().map(short).unwrap_or_default();
            [
                run.id.to_string(),
                kind(run).to_owned(),
                format!("{:?}", run.phase),
                instant(run.created_at),
                digest,
                result,
            ]
        }),
    ))
}
