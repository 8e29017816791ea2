//! The lock of a state: one run's, told to others as the engine's own lock JSON.

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use super::{KeyRow, state_key};
use crate::Result;
use crate::api::Organization;
use crate::ledger::json::storable;
use crate::ledger::runs::{Answer, Refusal, Run};
use crate::ledger::words::time;
use crate::ledger::{Actor, Event, Ledger, Transaction};

/// Who has a state's lock.
#[derive(Clone, Debug, PartialEq)]
pub struct LockInfo {
    /// Id that the engine gave it.
    pub id: String,
    /// The run.
    pub run: Uuid,
    /// The engine's lock JSON.
    pub info: Value,
    /// Since when.
    pub since: Timestamp,
}

impl Ledger {
    /// A run takes its state's lock; the same lock again is fine.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn lock(&self, id: Uuid, info: &Value) -> Answer<()> {
        let Some(lock_id) = info.get("ID").and_then(Value::as_str).filter(|id| !id.is_empty()) else {
            return Ok(Err(Refusal::Conflict("the lock's JSON has no ID".into())));
        };
        let Some((mut tx, run)) = self.open(id).await? else { return Ok(Err(Refusal::NotFound)) };
        if run.phase.is_final() {
            return Ok(Err(Refusal::Ended));
        }
        let key = state_key(&run.subject);
        let row = KeyRow::locked(&mut tx, &run.subject.organization, &key).await?;
        let Some(row) = row.filter(|row| row.holder == Some(run.subject.uid)) else {
            return Ok(Err(Refusal::Conflict(format!(
                "state {key} is not this object's; adopt it with spec.state.adopt"
            ))));
        };
        match (row.lock, row.lock_id) {
            (Some(_), Some(known)) if known == lock_id && row.lock_run == Some(id) => return Ok(Ok(())),
            (Some(lock), _) => return Ok(Err(Refusal::Locked(lock))),
            (None, _) => {}
        }
        sqlx::query(
            "UPDATE state_keys SET lock = $3, lock_id = $4, lock_run = $5, locked_at = clock_timestamp()
             WHERE organization_id = $1 AND state_key = $2",
        )
        .bind(run.subject.organization.as_str())
        .bind(&key)
        .bind(storable(info.clone()).value)
        .bind(lock_id.replace('\0', "\\u0000"))
        .bind(id)
        .execute(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// A run gives its lock back; without a lock there is nothing to do.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn unlock(&self, id: Uuid, lock_id: Option<&str>) -> Answer<()> {
        let Some((mut tx, run)) = self.open(id).await? else { return Ok(Err(Refusal::NotFound)) };
        let row = KeyRow::locked(&mut tx, &run.subject.organization, &state_key(&run.subject)).await?;
        let Some((row, lock)) = row.and_then(|mut row| row.lock.take().map(|lock| (row, lock))) else {
            return Ok(Ok(()));
        };
        if row.lock_run != Some(id) || lock_id.is_some_and(|given| row.lock_id.as_deref() != Some(given)) {
            return Ok(Err(Refusal::Locked(lock)));
        }
        clear(&mut tx, &run).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Who has the lock of a state.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn lock_info(&self, organization: &Organization, key: &str) -> Result<Option<LockInfo>> {
        let row = sqlx::query(
            "SELECT lock_id, lock_run, lock, locked_at FROM state_keys
             WHERE organization_id = $1 AND state_key = $2 AND lock_id IS NOT NULL",
        )
        .bind(organization.as_str())
        .bind(key)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(LockInfo {
            id: row.try_get("lock_id")?,
            run: row.try_get("lock_run")?,
            info: row.try_get("lock")?,
            since: time(&row, "locked_at")?,
        }))
    }
}

/// Breaks the lock that an ended run left, and no other one.
pub(in crate::ledger) async fn break_lock(tx: &mut Transaction, run: &Run, actor: Actor) -> Result<()> {
    let key = state_key(&run.subject);
    let row = KeyRow::locked(tx, &run.subject.organization, &key).await?;
    let Some(row) = row.filter(|row| row.lock_run == Some(run.id)) else { return Ok(()) };
    clear(tx, run).await?;
    let details = json!({"run": run.id, "key": key, "lockId": row.lock_id});
    tx.append(Event { subject: run.subject.clone(), actor, action: "lock.broken", details });
    Ok(())
}

async fn clear(tx: &mut Transaction, run: &Run) -> Result<()> {
    sqlx::query(
        "UPDATE state_keys SET lock = NULL, lock_id = NULL, lock_run = NULL, locked_at = NULL
         WHERE organization_id = $1 AND state_key = $2 AND lock_run = $3",
    )
    .bind(run.subject.organization.as_str())
    .bind(state_key(&run.subject))
    .bind(run.id)
    .execute(tx.connection())
    .await?;
    Ok(())
}
