//! How runs begin: by the leader, under its epoch, each in one transaction.

use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::permit::{consume, permit, supersede};
use super::room::obstacle;
use super::{Obstacle, Room, Run};
use crate::api::{Change, EngineKind, Reason};
use crate::ledger::words::word;
use crate::ledger::{Aad, Actor, Event, Ledger, NewIntent, Subject, Transaction, Writer, artifacts};
use crate::run::protocol::{Artifact, Limits, RunKind, RunPhase, RunSpec};
use crate::{Error, Result};

/// A plan to be made.
pub struct NewPlanRun {
    /// UUID v7.
    pub id: Uuid,
    /// The deployment.
    pub subject: Subject,
    /// What else may be under way.
    pub room: Room,
    /// Build or destroy.
    pub change: Change,
    /// Generation that is planned.
    pub generation: i64,
    /// Which try of it.
    pub attempt: i32,
    /// Which engine.
    pub engine: EngineKind,
    /// `variablesHmac` and `credential` (null, or `uid` and `account`), and what the kind keeps for itself. No values.
    pub facts: Value,
    /// Who asked for it.
    pub requested_by: Actor,
    /// SHA-256 of the run's token.
    pub token_hash: [u8; 32],
    /// What the runner gets; sealed, and wiped when the run ends.
    pub inputs: RunSpec,
    /// The module as a tar.
    pub snapshot: Vec<u8>,
}

/// A plan to be applied.
pub struct NewApplyRun {
    /// UUID v7.
    pub id: Uuid,
    /// The deployment.
    pub subject: Subject,
    /// What else may be under way.
    pub room: Room,
    /// The plan run.
    pub plan: Uuid,
    /// The plan's digest, as it was approved.
    pub digest: String,
    /// On whose word.
    pub approval: Approval,
    /// Generation for which it is applied.
    pub generation: i64,
    /// Which try of it.
    pub attempt: i32,
    /// Who asked for it.
    pub requested_by: Actor,
    /// SHA-256 of the run's token.
    pub token_hash: [u8; 32],
    /// What the runner gets; sealed, and wiped when the run ends.
    pub inputs: RunSpec,
}

/// On whose word a plan is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// A person's, taken by [`Writer::record_approval`]; this apply uses it up.
    Person,
    /// The spec's, within the guardrails.
    Automatic,
}

/// What became of a plan that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanRun {
    /// It is committed.
    Created,
    /// It may not begin now.
    Hindered(Obstacle),
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Live,
    /// It is over; a late result is all that is taken.
    Ended,
}

/// What became of an apply that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyRun {
    /// Intent and run are committed.
    Created,
    /// This plan was applied before, or its approval used up.
    AlreadyApplied,
    /// The digest is not this plan's, or nobody approved it, and it may not be applied unattended.
    NotApproved,
    /// There is a newer plan, or the state has moved since: the plan is marked as stale.
    Superseded,
    /// It may not begin now.
    Hindered(Obstacle),
}

impl Writer {
    /// Commits a plan run, its sealed inputs, its snapshot and the provider lock file of the last apply, which the runner uses
    /// where the module brings none.
    ///
    /// # Errors
    /// [`Reason::Progressing`] while another run of the deployment is active; [`Error::Deposed`]; facts that are missing.
    pub async fn create_plan_run(&self, new: NewPlanRun) -> Result<PlanRun> {
        super::finish::Facts::read(&new.facts)?;
        // Read before the unit of work opens: it would otherwise hold two connections.
        let lock_file = self.applied_lock_file(&new.subject).await?;
        let mut tx = self.begin(&new.subject.organization).await?;
        let row = Row {
            id: new.id,
            subject: &new.subject,
            kind: RunKind::Plan,
            change: new.change,
            generation: new.generation,
            attempt: new.attempt,
            engine: new.engine,
            engine_version: None,
            facts: &new.facts,
            requested_by: &new.requested_by,
            limits: new.inputs.limits,
            apply: None,
        };
        row.insert(&mut tx).await?;
        self.insert_secrets(&mut tx, &new.subject, new.id, &new.token_hash, &new.inputs).await?;
        artifacts::put(self, &mut tx, &new.subject, new.id, Artifact::Snapshot, &new.snapshot).await?;
        if let Some(lock_file) = lock_file {
            artifacts::put(self, &mut tx, &new.subject, new.id, Artifact::LockFile, &lock_file).await?;
        }
        if let Some(obstacle) = obstacle(&mut tx, &new.subject, &new.facts, new.room).await? {
            return Ok(PlanRun::Hindered(obstacle));
        }
        tx.append(Event {
            subject: new.subject.clone(),
            actor: new.requested_by.clone(),
            action: "plan.started",
            details: json!({"run": new.id, "change": new.change, "generation": new.generation, "attempt": new.attempt,
                "engine": new.engine}),
        });
        tx.commit().await?;
        Ok(PlanRun::Created)
    }

    /// Commits the intent to apply a plan, if the plan is the newest, approved, and was never applied.
    ///
    /// # Errors
    /// [`Reason::Progressing`] while another run of the deployment is active; [`Error::Deposed`].
    pub async fn create_apply_run(&self, new: NewApplyRun) -> Result<ApplyRun> {
        let mut tx = self.begin(&new.subject.organization).await?;
        let Some(plan) = Run::locked(tx.connection(), new.plan).await? else { return Ok(ApplyRun::Superseded) };
        let by = match permit(&mut tx, &plan, &new).await? {
            Ok(by) => by,
            Err(ApplyRun::Superseded) => {
                let actor = Actor::Controller(self.holder().to_owned());
                return supersede(tx, plan, &new, actor).await;
            }
            Err(refusal) => return Ok(refusal),
        };
        let details = json!({"run": new.id, "plan": plan.id, "digest": new.digest, "change": plan.change,
            "approvedBy": by, "summary": plan.summary, "generation": new.generation, "attempt": new.attempt});
        let intent = tx
            .intend(NewIntent {
                subjects: vec![new.subject.clone()],
                call: plan_call(plan.change),
                why: format!("plan {} of generation {}", new.digest, plan.generation),
                approved_by: by.clone(),
                details: details.clone(),
                parts: Vec::new(),
            })
            .await?;
        let row = Row {
            id: new.id,
            subject: &new.subject,
            kind: RunKind::Apply,
            change: plan.change,
            generation: new.generation,
            attempt: new.attempt,
            engine: plan.engine,
            engine_version: plan.engine_version.as_deref(),
            facts: &Value::Object(serde_json::Map::new()),
            requested_by: &new.requested_by,
            limits: new.inputs.limits,
            apply: Some((plan.id, &new.digest, intent.0)),
        };
        row.insert(&mut tx).await?;
        self.insert_secrets(&mut tx, &new.subject, new.id, &new.token_hash, &new.inputs).await?;
        if new.approval == Approval::Person {
            consume(&mut tx, &new).await?;
        }
        if let Some(obstacle) = obstacle(&mut tx, &new.subject, &plan.facts, new.room).await? {
            return Ok(ApplyRun::Hindered(obstacle));
        }
        let action = if plan.change == Change::Destroy { "destroy.started" } else { "apply.started" };
        tx.append(Event { subject: new.subject.clone(), actor: new.requested_by.clone(), action, details });
        tx.commit().await?;
        Ok(ApplyRun::Created)
    }

    /// Counts that a run which nobody has claimed is handed to a runner, with a token of its own where that is given one: what a
    /// former leader made died with it. `false` when the run was claimed or has ended.
    ///
    /// # Errors
    /// [`Error::Deposed`].
    pub async fn hand_over(&self, id: Uuid, token_hash: Option<&[u8; 32]>) -> Result<bool> {
        let Some(run) = self.run(id).await? else { return Ok(false) };
        let mut tx = self.begin(&run.subject.organization).await?;
        let Some(run) = Run::locked(tx.connection(), id).await? else { return Ok(false) };
        if run.phase != RunPhase::Pending {
            return Ok(false);
        }
        sqlx::query(
            "WITH run AS (UPDATE terraform_runs SET handed_over = handed_over + 1 WHERE run_id = $1)
             UPDATE run_secrets SET token_hash = coalesce($2, token_hash) WHERE run_id = $1",
        )
        .bind(id)
        .bind(token_hash.map(<[u8; 32]>::as_slice))
        .execute(tx.connection())
        .await?;
        let actor = Actor::Controller(self.holder().to_owned());
        tx.append(Event {
            subject: run.subject,
            actor,
            action: "run.handed-over",
            details: json!({"run": id, "times": run.handed_over + 1}),
        });
        tx.commit().await?;
        Ok(true)
    }

    async fn insert_secrets(
        &self,
        tx: &mut Transaction,
        subject: &Subject,
        id: Uuid,
        token: &[u8; 32],
        spec: &RunSpec,
    ) -> Result<()> {
        let text =
            serde_json::to_vec(spec).map(Zeroizing::new).map_err(|e| Error::Integrity(format!("run inputs: {e}")))?;
        let sealed = self.keys().seal(&text, &inputs_place(subject.cluster, id))?;
        sqlx::query(
            "INSERT INTO run_secrets (run_id, organization_id, token_hash, key_id, inputs) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(subject.organization.as_str())
        .bind(token.as_slice())
        .bind(sealed.key_id.clone())
        .bind(sealed.into_bytes())
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

fn plan_call(change: Change) -> &'static str {
    match change {
        Change::Apply => "terraform.apply",
        Change::Destroy => "terraform.destroy",
    }
}

pub(super) fn inputs_place(cluster: Uuid, id: Uuid) -> Aad {
    Aad { cluster, table: "run_secrets", row: id.to_string(), column: "inputs", serial: 0 }
}

/// What a new run's row holds.
struct Row<'a> {
    id: Uuid,
    subject: &'a Subject,
    kind: RunKind,
    change: Change,
    generation: i64,
    attempt: i32,
    engine: EngineKind,
    /// Of an apply: its plan's, since no other version applies it.
    engine_version: Option<&'a str>,
    facts: &'a Value,
    requested_by: &'a Actor,
    limits: Limits,
    /// Plan run, digest, intent.
    apply: Option<(Uuid, &'a str, Uuid)>,
}

impl Row<'_> {
    async fn insert(&self, tx: &mut Transaction) -> Result<()> {
        let (plan, digest, intent) = match self.apply {
            Some((plan, digest, intent)) => (Some(plan), Some(digest), Some(intent)),
            None => (None, None, None),
        };
        sqlx::query(
            "INSERT INTO terraform_runs (run_id, organization_id, cluster_id, deployment_uid, namespace, name, kind, change, phase,
               generation, attempt, engine, facts, requested_by, requested_by_kind, plan_run_id, plan_digest, intent_id, limits,
               engine_version)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'Pending', $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        )
        .bind(self.id)
        .bind(self.subject.organization.as_str())
        .bind(self.subject.cluster)
        .bind(self.subject.uid)
        .bind(&self.subject.namespace)
        .bind(&self.subject.name)
        .bind(word(self.kind)?)
        .bind(word(self.change)?)
        .bind(self.generation)
        .bind(self.attempt)
        .bind(word(self.engine)?)
        .bind(crate::ledger::json::storable(self.facts.clone()).value)
        .bind(self.requested_by.name())
        .bind(self.requested_by.kind())
        .bind(plan)
        .bind(digest)
        .bind(intent)
        .bind(Json(self.limits))
        .bind(self.engine_version)
        .execute(tx.connection())
        .await
        .map_err(|error| self.busy(error))?;
        Ok(())
    }

    fn busy(&self, error: sqlx::Error) -> Error {
        match error.as_database_error().and_then(|e| e.constraint()) {
            Some("terraform_runs_one_active") => Error::condition(
                Reason::Progressing,
                format!("another run of {}/{} is active; it ends first", self.subject.namespace, self.subject.name),
            ),
            _ => error.into(),
        }
    }
}

impl Ledger {
    /// Whether this is the token of that run, and if so, whether the run goes on. The comparison takes the same time
    /// wherever they differ.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn authorize_run(&self, id: Uuid, token_hash: &[u8; 32]) -> Result<Option<Standing>> {
        let row: Option<(Vec<u8>, bool)> = sqlx::query_as(
            "SELECT token_hash, finished_at IS NOT NULL FROM run_secrets JOIN terraform_runs USING (run_id) WHERE run_id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        let (known, ended) = row.unwrap_or_else(|| (vec![0; 32], true));
        let differs = known.iter().zip(token_hash).fold(0u8, |all, (a, b)| all | (a ^ b));
        let standing = if ended { Standing::Ended } else { Standing::Live };
        Ok((std::hint::black_box(differs) == 0).then_some(standing))
    }
}
