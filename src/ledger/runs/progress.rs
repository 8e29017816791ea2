//! What a runner asks while its run goes on.

use serde_json::json;
use sqlx::types::Json;
use uuid::Uuid;

use super::create::inputs_place;
use super::{Answer, Refusal};
use crate::ledger::words::word;
use crate::ledger::{Actor, Event, Ledger, Sealed, Transaction};
use crate::run::protocol::{Control, Holder, PodIdentity, ProcessIdentity, Progress, RunKind, RunPhase, RunSpec};
use crate::{Error, Result};

impl Ledger {
    /// A process takes a run. The same process may ask again; another one is refused for as long as the run lives.
    ///
    /// # Errors
    /// Postgres's; [`Error::Integrity`] where the sealed inputs do not open.
    pub async fn claim(&self, id: Uuid, process: &ProcessIdentity) -> Answer<RunSpec> {
        self.take(id, &Holder::Process(process.clone()), None).await
    }

    /// A pod takes a run, with a token that its runner made. The same pod may ask again with the same token: another one there
    /// is not the runner's.
    ///
    /// # Errors
    /// Postgres's; [`Error::Integrity`] where the sealed inputs do not open.
    pub async fn attach(&self, id: Uuid, pod: &PodIdentity, token_hash: &[u8; 32]) -> Answer<RunSpec> {
        self.take(id, &Holder::Pod(pod.clone()), Some(token_hash)).await
    }

    async fn take(&self, id: Uuid, holder: &Holder, token_hash: Option<&[u8; 32]>) -> Answer<RunSpec> {
        let Some((mut tx, run)) = self.open(id).await? else { return Ok(Err(Refusal::NotFound)) };
        if run.phase.is_final() {
            return Ok(Err(Refusal::Ended));
        }
        match &run.holder {
            Some(known) if known != holder => {
                return Ok(Err(Refusal::Conflict(format!("the run is held by {known}"))));
            }
            Some(_) => {
                let known: Vec<u8> = sqlx::query_scalar("SELECT token_hash FROM run_secrets WHERE run_id = $1")
                    .bind(id)
                    .fetch_one(tx.connection())
                    .await?;
                return match token_hash {
                    Some(hash) if known != hash => {
                        Ok(Err(Refusal::Conflict(format!("{holder} has taken the run with another token"))))
                    }
                    _ => self.granted(tx, id).await,
                };
            }
            None => {}
        }
        if let Some(hash) = token_hash {
            sqlx::query("UPDATE run_secrets SET token_hash = $2 WHERE run_id = $1")
                .bind(id)
                .bind(hash.as_slice())
                .execute(tx.connection())
                .await?;
        }
        sqlx::query(
            "UPDATE terraform_runs SET phase = 'Claimed', holder = $2, claimed_at = clock_timestamp(), phase_at = clock_timestamp()
             WHERE run_id = $1",
        )
        .bind(id)
        .bind(Json(holder))
        .execute(tx.connection())
        .await?;
        tx.append(Event {
            subject: run.subject,
            actor: Actor::Runner(id),
            action: "run.claimed",
            details: claimed(id, holder),
        });
        self.granted(tx, id).await
    }

    /// The unit of work ends before the inputs are read, which takes another connection.
    async fn granted(&self, tx: Transaction, id: Uuid) -> Answer<RunSpec> {
        tx.commit().await?;
        Ok(self.run_spec(id).await?.ok_or(Refusal::Ended))
    }

    /// What a run's runner was given; `None` from the run's end on. For the leader, who redacts what a dead run left.
    ///
    /// # Errors
    /// Postgres's; [`Error::Integrity`] where the sealed inputs do not open.
    pub async fn run_spec(&self, id: Uuid) -> Result<Option<RunSpec>> {
        let row: Option<(Option<Vec<u8>>, Uuid)> = sqlx::query_as(
            "SELECT inputs, cluster_id FROM run_secrets JOIN terraform_runs USING (run_id) WHERE run_id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        let Some((Some(sealed), cluster)) = row else { return Ok(None) };
        let text = self.keys().open(Sealed::from_bytes(&sealed)?, &inputs_place(cluster, id))?;
        // The parser's message could quote a value.
        let spec = serde_json::from_slice(&text);
        spec.map(Some).map_err(|_| Error::Integrity(format!("run {id}: its inputs are not readable")))
    }

    /// What a runner must obey.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn control(&self, id: Uuid) -> Answer<Control> {
        Ok(match self.run(id).await? {
            None => Err(Refusal::NotFound),
            Some(run) if run.phase.is_final() => Err(Refusal::Ended),
            Some(run) => Ok(Control { cancel: run.cancel_requested_at.is_some() }),
        })
    }

    /// A runner enters a phase; forward only. An apply has changed nothing before this has said yes to [`RunPhase::Apply`].
    ///
    /// # Errors
    /// Postgres's.
    pub async fn set_phase(&self, id: Uuid, progress: &Progress) -> Answer<()> {
        let Some((mut tx, run)) = self.open(id).await? else { return Ok(Err(Refusal::NotFound)) };
        let next = progress.phase;
        if run.phase.is_final() {
            return Ok(Err(Refusal::Ended));
        }
        let odd = match run.kind {
            RunKind::Plan => next == RunPhase::Apply,
            RunKind::Apply => next == RunPhase::Plan,
        };
        if odd || next.is_final() || run.phase == RunPhase::Pending || next < run.phase {
            let (from, to) = (word(run.phase)?, word(next)?);
            return Ok(Err(Refusal::Conflict(format!("a run that is in {from} does not enter {to}"))));
        }
        if next == RunPhase::Apply && run.cancel_requested_at.is_some() {
            return Ok(Err(Refusal::Cancelled));
        }
        sqlx::query(
            "UPDATE terraform_runs SET phase = $2,
               phase_at = CASE WHEN phase = $2 THEN phase_at ELSE clock_timestamp() END,
               applying_at = CASE WHEN $2 = 'Apply' THEN coalesce(applying_at, clock_timestamp()) ELSE applying_at END
             WHERE run_id = $1",
        )
        .bind(id)
        .bind(word(next)?)
        .execute(tx.connection())
        .await?;
        if next == RunPhase::Apply && run.phase != RunPhase::Apply {
            let action = run.action("plan.running", "apply.running", "destroy.running");
            let details = json!({"run": id, "digest": run.digest, "engineVersion": run.engine_version});
            tx.append(Event { subject: run.subject, actor: Actor::Runner(id), action, details });
        }
        tx.commit().await?;
        Ok(Ok(()))
    }
}

fn claimed(run: Uuid, holder: &Holder) -> serde_json::Value {
    match holder {
        Holder::Process(process) => json!({"run": run, "pid": process.pid, "bootId": process.boot_id}),
        Holder::Pod(pod) => json!({"run": run, "pod": pod.pod, "podUid": pod.pod_uid}),
    }
}
