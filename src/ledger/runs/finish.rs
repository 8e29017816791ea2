//! How runs end by themselves: what a runner reports, and what follows from it.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use super::ending::{Ending, Heard};
use super::{Answer, Refusal, Run, settle};
use crate::api::{PlanSummary, Reason};
use crate::ledger::artifacts::digest_of;
use crate::ledger::inventory::World;
use crate::ledger::states::state_key;
use crate::ledger::{Actor, Event, Ledger, StateHead, Transaction};
use crate::run::digest::{CredentialFact, DigestInput, EngineFact, plan_digest};
use crate::run::plan::{self, Creation};
use crate::run::protocol::{Artifact, RunKind, RunPhase, RunResult};
use crate::run::secrets;
use crate::run::state::StateFile;
use crate::{Error, Result};

/// What became of a runner's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The run has ended with it.
    Recorded,
    /// It was reported before.
    Same,
    /// The run had been given up: the report is on record, and settles the intent if nobody did; nothing else follows from it.
    Late,
}

/// What the digest of a plan binds and only the controller knows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Facts {
    variables_hmac: String,
    credential: Option<Credential>,
}

#[derive(Deserialize)]
struct Credential {
    uid: Uuid,
    account: Option<String>,
}

impl Facts {
    pub(super) fn read(facts: &Value) -> Result<Self> {
        Self::deserialize(facts).map_err(|e| {
            Error::Integrity(format!("facts of a plan run: {e}; variablesHmac and credential must be there"))
        })
    }
}

/// How often the state may have moved between a look at it and the lock: a run has one runner, which waits for each answer.
const TRIES: usize = 10;

/// What a finished plan is.
pub(super) struct Planned {
    pub(super) digest: String,
    pub(super) engine_version: String,
    pub(super) summary: PlanSummary,
    pub(super) has_changes: bool,
}

impl Ledger {
    /// A runner reports how its run ended. The digest of a plan is computed here, from what was stored.
    ///
    /// # Errors
    /// Postgres's; [`Error::Integrity`] where stored bytes do not open.
    pub async fn finish(&self, id: Uuid, result: &RunResult) -> Answer<Finish> {
        if !result.phase.is_final() {
            return Ok(Err(Refusal::Conflict("a result is Succeeded, Failed, Cancelled or Interrupted".into())));
        }
        let Some(run) = self.run(id).await? else { return Ok(Err(Refusal::NotFound)) };
        // Read before the unit of work opens: it would otherwise hold two connections.
        let plan_json = match run.kind {
            RunKind::Plan => self.artifact(id, Artifact::PlanJson).await?,
            RunKind::Apply => None,
        };
        let Some((mut tx, run, head, world)) = self.open_with_world(&run, Heard::All).await? else {
            return Ok(Err(Refusal::NotFound));
        };
        if run.phase.is_final() {
            return finished_before(tx, run, result).await;
        }
        if run.phase == RunPhase::Pending {
            return Ok(Err(Refusal::Conflict("the run was never claimed".into())));
        }
        let head = head.as_ref();
        let mut ending = Ending::of(result, Actor::Runner(id));
        ending.state(head);
        if run.kind == RunKind::Plan && result.phase == RunPhase::Succeeded {
            let Some(json) = plan_json else { return Ok(Err(missing(Artifact::PlanJson))) };
            match read(&json) {
                Ok((summary, has_changes, engine_version)) => {
                    match digest_input(&mut tx, &run, head, engine_version.clone()).await? {
                        Ok(input) => {
                            let digest = plan_digest(&input)?;
                            ending.planned(Planned { digest, engine_version, summary, has_changes });
                        }
                        Err(refusal) => return Ok(Err(refusal)),
                    }
                }
                Err(error) => ending.fail(Reason::PlanFailed, &error.to_string()),
            }
        }
        if run.cancel_requested_at.is_some() {
            ending.as_wished();
        }
        ending.write(&mut tx, &run, &world).await?;
        tx.commit().await?;
        Ok(Ok(Finish::Recorded))
    }

    /// A unit of work with the run locked in it, so that nobody writes its state any more, the newest version of that, and
    /// what it says of the world.
    pub(super) async fn open_with_world(
        &self,
        run: &Run,
        heard: Heard,
    ) -> Result<Option<(Transaction, Run, Option<StateHead>, World)>> {
        for _ in 0..TRIES {
            // Read before the unit of work opens: it would otherwise hold two connections.
            let (seen, world) = self.world_now(run, heard).await?;
            let Some((mut tx, run)) = self.open(run.id).await? else { return Ok(None) };
            let head: Option<(Option<String>, Option<i64>)> =
                sqlx::query_as("SELECT lineage, serial FROM state_keys WHERE organization_id = $1 AND state_key = $2")
                    .bind(run.subject.organization.as_str())
                    .bind(state_key(&run.subject))
                    .fetch_optional(tx.connection())
                    .await?;
            let head = head.and_then(|(lineage, serial)| lineage.zip(serial));
            if head == seen.as_ref().map(|seen| (seen.lineage.clone(), seen.serial)) {
                return Ok(Some((tx, run, seen, world)));
            }
            // A write that was under way came in between.
        }
        Err(Error::Integrity(format!("run {}: its state moves on while it ends", run.id)))
    }

    /// The newest version of the run's state, and what that and its plan say of the world, as the inventory may show it.
    async fn world_now(&self, run: &Run, heard: Heard) -> Result<(Option<StateHead>, World)> {
        let (organization, key) = (&run.subject.organization, state_key(&run.subject));
        let head = self.state_head(organization, &key).await?;
        let bytes = match &head {
            Some(head) => self.state_bytes(organization, &key, Some(head.serial)).await?,
            None => None,
        };
        let instances = bytes.as_ref().map(|bytes| StateFile::parse(bytes)).transpose()?.map(|file| file.instances);
        let (forgotten, unheard) = self.planned(run, heard).await?;
        let mut world = World { instances: instances.unwrap_or_default(), forgotten, unheard };
        let redactor = match self.run_spec(run.id).await {
            // What was secret before the run, and what the run made so.
            Ok(Some(mut spec)) => {
                if let Some(bytes) = &bytes {
                    spec.hidden.extend(secrets::of_state(bytes)?);
                }
                Some(secrets::redactor(&spec))
            }
            Ok(None) => None,
            // Without its key nobody can tell an id from a secret.
            Err(Error::Integrity(_)) => None,
            Err(other) => return Err(other),
        };
        let clean = |text: String| redactor.as_ref().map_or_else(|| text.clone(), |r| r.clean(&text));
        for instance in &mut world.instances {
            instance.id = redactor.as_ref().zip(instance.id.take()).map(|(redactor, id)| redactor.clean(&id));
            instance.address = clean(std::mem::take(&mut instance.address));
        }
        for creation in &mut world.unheard {
            creation.address = clean(std::mem::take(&mut creation.address));
        }
        world.forgotten = world.forgotten.into_iter().map(clean).collect();
        Ok((head.filter(|_| bytes.is_some()), world))
    }

    /// Addresses that an apply's plan has the engine forget, and where not every event is known, all that it makes.
    async fn planned(&self, run: &Run, heard: Heard) -> Result<(BTreeSet<String>, Vec<Creation>)> {
        let Some(plan) = run.plan else { return Ok(Default::default()) };
        let forgets = self.run(plan).await?.and_then(|plan| plan.summary).is_some_and(|summary| summary.forget > 0);
        let wanted = forgets || heard == Heard::Part;
        let json = if wanted { self.artifact(plan, Artifact::PlanJson).await? } else { None };
        let Some(json) = json else { return Ok(Default::default()) };
        let unheard = if heard == Heard::Part { plan::creations(&json)? } else { Vec::new() };
        Ok((plan::forgets(&json)?, unheard))
    }
}

/// Counts, whether there is anything to write, and the engine's version.
fn read(json: &[u8]) -> Result<(PlanSummary, bool, String)> {
    Ok((plan::summary(json)?, plan::has_changes(json)?, plan::engine_version(json)?.unwrap_or_default()))
}

fn missing(artifact: Artifact) -> Refusal {
    Refusal::Conflict(format!("{} was not put; a plan that succeeded has it", artifact.as_str()))
}

async fn digest_input(
    tx: &mut Transaction,
    run: &Run,
    head: Option<&StateHead>,
    engine_version: String,
) -> Result<std::result::Result<DigestInput, Refusal>> {
    let mut found = Vec::new();
    for artifact in [Artifact::Plan, Artifact::PlanJson, Artifact::Snapshot] {
        match digest_of(tx, run.id, artifact).await? {
            Some(sha256) => found.push(sha256),
            None => return Ok(Err(missing(artifact))),
        }
    }
    let [plan_sha256, plan_json_sha256, snapshot_sha256]: [String; 3] =
        found.try_into().map_err(|_| Error::Integrity("artifacts of a plan".into()))?;
    let facts = Facts::read(&run.facts)?;
    Ok(Ok(DigestInput {
        cluster: run.subject.cluster,
        uid: run.subject.uid,
        generation: run.generation,
        run: run.id,
        change: run.change,
        plan_sha256,
        plan_json_sha256,
        snapshot_sha256,
        lock_file_sha256: digest_of(tx, run.id, Artifact::LockFile).await?,
        variables_hmac: facts.variables_hmac,
        credential: facts.credential.map(|c| CredentialFact { uid: c.uid, account: c.account }),
        backend: "landfall".into(),
        targets: Vec::new(),
        lineage: head.map(|head| head.lineage.clone()),
        serial: head.map_or(0, |head| head.serial),
        engine: EngineFact { kind: run.engine, version: engine_version },
    }))
}

async fn finished_before(mut tx: Transaction, run: Run, result: &RunResult) -> Answer<Finish> {
    let (known, late): (Option<Json<RunResult>>, Option<Json<RunResult>>) =
        sqlx::query_as("SELECT result, late_result FROM terraform_runs WHERE run_id = $1")
            .bind(run.id)
            .fetch_one(tx.connection())
            .await?;
    if let Some(Json(known)) = known {
        let same = known == *result;
        return Ok(if same {
            Ok(Finish::Same)
        } else {
            Err(Refusal::Conflict("the run has ended with another result".into()))
        });
    }
    if late.is_some_and(|Json(late)| late == *result) {
        return Ok(Ok(Finish::Late));
    }
    sqlx::query("UPDATE terraform_runs SET late_result = $2 WHERE run_id = $1")
        .bind(run.id)
        .bind(Json(result))
        .execute(tx.connection())
        .await?;
    settle::late(&mut tx, &run, result).await?;
    tx.append(Event {
        actor: Actor::Runner(run.id),
        action: "run.late-result",
        details: json!({"run": run.id, "phase": result.phase, "exitCode": result.exit_code, "reason": result.reason}),
        subject: run.subject,
    });
    tx.commit().await?;
    Ok(Ok(Finish::Late))
}
