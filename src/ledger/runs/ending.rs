//! The end of a run, whoever brings it about: one transaction that makes the run final, wipes its inputs, concludes the
//! intent, breaks a lock that was left, and sets the inventory right.

use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use super::finish::Planned;
use super::{Run, settle};
use crate::Result;
use crate::api::Reason;
use crate::ledger::inventory::World;
use crate::ledger::words::word;
use crate::ledger::{Actor, Event, Outcome, StateHead, Transaction, Writer, inventory, states};
use crate::run::protocol::{RunKind, RunPhase, RunResult};

/// The longest message that is kept, bytes.
const MESSAGE: usize = 2048;

/// What is on record of a run that should have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// It was put there now.
    New,
    /// It was there.
    Known,
    /// The run has ended.
    Ended,
}

/// What is known of what a dead run's engine did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// All of its events.
    All,
    /// What it told last went with its pod or its folder: whatever its plan makes may be there.
    Part,
}

/// How a run ends.
pub(super) struct Ending {
    actor: Actor,
    phase: RunPhase,
    reason: Option<Reason>,
    message: Option<String>,
    exit_code: Option<i32>,
    result: Option<RunResult>,
    planned: Option<Planned>,
    state: Option<(String, i64)>,
    details: Value,
}

impl Ending {
    /// As its runner told it.
    pub(super) fn of(result: &RunResult, actor: Actor) -> Self {
        Self {
            actor,
            phase: result.phase,
            reason: result.reason,
            message: result.message.clone(),
            exit_code: result.exit_code,
            result: Some(RunResult { message: result.message.as_deref().map(clean), ..result.clone() }),
            planned: None,
            state: None,
            details: Value::Null,
        }
    }

    /// By the controller.
    fn by(actor: Actor, phase: RunPhase, reason: Reason, details: Value) -> Self {
        Self {
            actor,
            phase,
            reason: Some(reason),
            message: None,
            exit_code: None,
            result: None,
            planned: None,
            state: None,
            details,
        }
    }

    /// The state that stands at the end.
    pub(super) fn state(&mut self, head: Option<&StateHead>) {
        self.state = head.map(|head| (head.lineage.clone(), head.serial));
    }

    /// A plan is ready.
    pub(super) fn planned(&mut self, planned: Planned) {
        self.planned = Some(planned);
    }

    /// It failed after all.
    pub(super) fn fail(&mut self, reason: Reason, message: &str) {
        self.phase = RunPhase::Failed;
        self.reason = Some(reason);
        self.message = Some(message.to_owned());
    }

    /// Somebody wanted it to stop. One that failed meanwhile, by a signal that came first or otherwise, is not made again.
    pub(super) fn as_wished(&mut self) {
        if self.phase == RunPhase::Failed {
            self.phase = RunPhase::Cancelled;
            self.reason = Some(Reason::Cancelled);
        }
    }

    /// Ends the run.
    pub(super) async fn write(self, tx: &mut Transaction, run: &Run, world: &World) -> Result<()> {
        self.update(tx, run).await?;
        sqlx::query("UPDATE run_secrets SET inputs = NULL, key_id = NULL WHERE run_id = $1")
            .bind(run.id)
            .execute(tx.connection())
            .await?;
        states::locks::break_lock(tx, run, self.actor.clone()).await?;
        if run.kind == RunKind::Apply && run.applying_at.is_some() {
            inventory::settle(tx, run, world, self.phase == RunPhase::Interrupted).await?;
        }
        if let Some(intent) = run.intent {
            let details = json!({"run": run.id, "phase": self.phase, "exitCode": self.exit_code});
            tx.conclude(intent, self.outcome(run), details, self.actor.clone()).await?;
        }
        let has_changes = self.planned.as_ref().map(|planned| planned.has_changes);
        settle::others(tx, run, self.phase, has_changes, &self.actor).await?;
        tx.append(self.event(run));
        Ok(())
    }

    async fn update(&self, tx: &mut Transaction, run: &Run) -> Result<()> {
        let planned = self.planned.as_ref();
        sqlx::query(
            "UPDATE terraform_runs SET phase = $2, phase_at = clock_timestamp(), finished_at = clock_timestamp(), reason = $3,
               message = $4, exit_code = $5, result = $6, plan_digest = coalesce($7, plan_digest), summary = $8, has_changes = $9,
               state_lineage = $10, state_serial = $11, engine_version = coalesce($12, engine_version)
             WHERE run_id = $1",
        )
        .bind(run.id)
        .bind(word(self.phase)?)
        .bind(self.reason.map(Reason::as_str))
        .bind(self.message.as_deref().map(clean))
        .bind(self.exit_code)
        .bind(self.result.as_ref().map(Json))
        .bind(planned.map(|planned| &planned.digest))
        .bind(planned.map(|planned| Json(&planned.summary)))
        .bind(planned.map(|planned| planned.has_changes))
        .bind(self.state.as_ref().map(|(lineage, _)| lineage))
        .bind(self.state.as_ref().map_or(0, |(_, serial)| *serial))
        .bind(planned.map(|planned| &planned.engine_version))
        .execute(tx.connection())
        .await?;
        Ok(())
    }

    /// An engine that was never let at the world has done nothing; one that died there, nobody knows.
    fn outcome(&self, run: &Run) -> Outcome {
        match self.phase {
            RunPhase::Succeeded => Outcome::Done,
            RunPhase::Interrupted if run.applying_at.is_some() => Outcome::Unknown,
            _ => Outcome::Failed,
        }
    }

    /// The message stays out: the chain cannot forget.
    fn event(&self, run: &Run) -> Event {
        let action = match self.phase {
            RunPhase::Succeeded => run.action("plan.created", "apply.succeeded", "destroy.succeeded"),
            RunPhase::Cancelled => run.action("plan.cancelled", "apply.cancelled", "destroy.cancelled"),
            RunPhase::Interrupted => "run.interrupted",
            _ => run.action("plan.failed", "apply.failed", "destroy.failed"),
        };
        let planned = self.planned.as_ref();
        let details = json!({
            "run": run.id, "change": run.change,
            "digest": planned.map(|planned| &planned.digest).or(run.digest.as_ref()),
            "summary": planned.map(|planned| &planned.summary),
            "reason": self.reason, "exitCode": self.exit_code,
            "serial": self.state.as_ref().map(|(_, serial)| serial.to_string()),
            "applied": (run.kind == RunKind::Apply).then_some(run.applying_at.is_some()),
            "more": self.details,
        });
        Event { subject: run.subject.clone(), actor: self.actor.clone(), action, details: without_nulls(details) }
    }
}

fn without_nulls(mut details: Value) -> Value {
    if let Some(fields) = details.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    details
}

/// Text for a column: without U+0000, and capped at a character's boundary.
fn clean(text: &str) -> String {
    let text = text.replace('\0', "\\u0000");
    match text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MESSAGE).last() {
        Some(end) if end < text.len() => text.get(..end).unwrap_or_default().to_owned(),
        _ => text,
    }
}

/// Whether the chain tells this of the run already.
async fn told(tx: &mut Transaction, run: &Run, action: &str) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM activity_log
                        WHERE organization_id = $1 AND object_uid = $2 AND action = $3 AND details ->> 'run' = $4)",
    )
    .bind(run.subject.organization.as_str())
    .bind(run.subject.uid)
    .bind(action)
    .bind(run.id.to_string())
    .fetch_one(tx.connection())
    .await?)
}

impl Writer {
    /// Gives a run up whose process is gone. What it left (states, resource events, log) was fed in before; `reason` is
    /// `StateRegressed` where the ledger did not take a state of it. `false` when it had ended already, or another process
    /// has claimed it since.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn interrupt(&self, dead: &Run, reason: Reason, message: Option<String>, heard: Heard) -> Result<bool> {
        let actor = Actor::Controller(self.holder().to_owned());
        let details = match reason {
            Reason::StateRegressed => json!({"stateRefused": true}),
            _ => json!({}),
        };
        let ending = Ending { message, ..Ending::by(actor, RunPhase::Interrupted, reason, details) };
        self.end(dead.id, ending, heard, |run| run.holder == dead.holder).await
    }

    /// Ends a run that no runner would take. `false` when one has, or the run had ended already.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn fail_unclaimed(&self, run: &Run, reason: Reason, message: String) -> Result<bool> {
        let actor = Actor::Controller(self.holder().to_owned());
        let mut ending = Ending::by(actor, RunPhase::Failed, reason, json!({"handedOver": run.handed_over}));
        ending.message = Some(message);
        self.end(run.id, ending, Heard::All, |run| run.phase == RunPhase::Pending).await
    }

    /// Somebody wants a run to stop: its runner learns of it within two seconds. One that was never claimed is cancelled here
    /// and now. `false` when it had ended already.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn request_cancel(&self, id: Uuid, by: &Actor) -> Result<bool> {
        let ending = Ending::by(by.clone(), RunPhase::Cancelled, Reason::Cancelled, Value::Null);
        if self.end(id, ending, Heard::All, |run| run.phase == RunPhase::Pending).await? {
            return Ok(true);
        }
        let Some(run) = self.run(id).await? else { return Ok(false) };
        let mut tx = self.begin(&run.subject.organization).await?;
        let Some(run) = Run::locked(tx.connection(), id).await? else { return Ok(false) };
        if run.phase.is_final() || run.cancel_requested_at.is_some() {
            return Ok(!run.phase.is_final());
        }
        sqlx::query("UPDATE terraform_runs SET cancel_requested_at = clock_timestamp() WHERE run_id = $1")
            .bind(id)
            .execute(tx.connection())
            .await?;
        tx.append(Event {
            subject: run.subject,
            actor: by.clone(),
            action: "run.cancel-requested",
            details: json!({"run": id}),
        });
        tx.commit().await?;
        Ok(true)
    }

    /// Puts on record, once, that a run which should have ended is told to stop, or that its processes are killed.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn record_stop(&self, id: Uuid, kill: bool, why: &str) -> Result<Stopping> {
        let Some(run) = self.run(id).await? else { return Ok(Stopping::Ended) };
        let mut tx = self.begin(&run.subject.organization).await?;
        let Some(run) = Run::locked(tx.connection(), id).await? else { return Ok(Stopping::Ended) };
        if run.phase.is_final() {
            return Ok(Stopping::Ended);
        }
        let action = if kill { "run.killed" } else { "run.terminated" };
        if told(&mut tx, &run, action).await? {
            return Ok(Stopping::Known);
        }
        if !kill {
            sqlx::query("UPDATE terraform_runs SET terminated_at = clock_timestamp() WHERE run_id = $1")
                .bind(id)
                .execute(tx.connection())
                .await?;
        }
        let actor = Actor::Controller(self.holder().to_owned());
        tx.append(Event { subject: run.subject, actor, action, details: json!({"run": id, "why": why}) });
        tx.commit().await?;
        Ok(Stopping::New)
    }

    async fn end(&self, id: Uuid, mut ending: Ending, heard: Heard, fits: impl Fn(&Run) -> bool) -> Result<bool> {
        let Some(run) = self.run(id).await? else { return Ok(false) };
        let Some((mut tx, run, head, world)) = self.open_with_world(&run, heard).await? else { return Ok(false) };
        if run.phase.is_final() || !fits(&run) {
            return Ok(false);
        }
        ending.state(head.as_ref());
        ending.write(&mut tx, &run, &world).await?;
        tx.commit().await?;
        Ok(true)
    }
}
