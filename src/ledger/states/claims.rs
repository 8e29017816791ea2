//! Which object holds a state's key. A re-created object of an old name must not build everything twice, nor take over
//! unasked what another one built.

use serde_json::json;
use uuid::Uuid;

use super::{KeyRow, StateClaim};
use crate::Result;
use crate::api::Organization;
use crate::ledger::{Actor, Event, Ledger, Subject, Transaction, Writer};

impl Ledger {
    /// The run of a former object of this one's name that is under way: what it will leave is not known yet.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn former_run(&self, subject: &Subject) -> Result<Option<Uuid>> {
        run_of_another(&self.pool, subject).await
    }
}

impl Writer {
    /// An object comes to its key. A state that holds nothing is free; one with resources needs its lineage named.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn claim_state(&self, subject: &Subject, key: &str, adopt: Option<&str>) -> Result<StateClaim> {
        let mut tx = self.begin(&subject.organization).await?;
        sqlx::query("INSERT INTO state_keys (organization_id, state_key, cluster_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(subject.organization.as_str())
            .bind(key)
            .bind(subject.cluster)
            .execute(tx.connection())
            .await?;
        let row = KeyRow::locked(&mut tx, &subject.organization, key).await?;
        if row.as_ref().is_some_and(|row| row.holder == Some(subject.uid)) {
            return Ok(StateClaim::Held);
        }
        if let Some(run) = run_of_another(tx.connection(), subject).await? {
            return Ok(StateClaim::Busy { run });
        }
        let found = row.as_ref().and_then(|row| Some((row.lineage.clone()?, row.serial?)));
        if let Some((lineage, serial)) = &found
            && adopt != Some(lineage.as_str())
            && has_resources(&mut tx, &subject.organization, key).await?
        {
            return Ok(StateClaim::Found { lineage: lineage.clone(), serial: *serial });
        }
        set_holder(&mut tx, &subject.organization, key, Some(subject.uid)).await?;
        let resources = take_over_inventory(&mut tx, subject).await?;
        let (lineage, serial) = found.unzip();
        let former = row.and_then(|row| row.holder);
        let details = json!({"key": key, "lineage": lineage, "serial": serial, "formerHolder": former, "adopt": adopt,
            "resources": resources});
        let actor = Actor::Controller(self.holder().to_owned());
        tx.append(Event { subject: subject.clone(), actor, action: "state.claimed", details });
        tx.commit().await?;
        Ok(StateClaim::Held)
    }

    /// An object leaves its key; the state stays. Of no effect where another object holds it.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn release_state(&self, subject: &Subject, key: &str) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        let Some(row) = KeyRow::locked(&mut tx, &subject.organization, key).await? else { return Ok(()) };
        if row.holder != Some(subject.uid) {
            return Ok(());
        }
        set_holder(&mut tx, &subject.organization, key, None).await?;
        let details = json!({"key": key, "lineage": row.lineage, "serial": row.serial});
        let actor = Actor::Controller(self.holder().to_owned());
        tx.append(Event { subject: subject.clone(), actor, action: "state.released", details });
        tx.commit().await?;
        Ok(())
    }
}

async fn set_holder(tx: &mut Transaction, organization: &Organization, key: &str, holder: Option<Uuid>) -> Result<()> {
    sqlx::query(
        "UPDATE state_keys SET holder_uid = $3, claimed_at = clock_timestamp() WHERE organization_id = $1 AND state_key = $2",
    )
    .bind(organization.as_str())
    .bind(key)
    .bind(holder)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A live run of another object of this very name. It writes to the same key, whenever it ends.
async fn run_of_another(executor: impl sqlx::PgExecutor<'_>, subject: &Subject) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar(
        "SELECT run_id FROM terraform_runs
         WHERE organization_id = $1 AND cluster_id = $2 AND namespace = $3 AND name = $4 AND deployment_uid <> $5
           AND phase NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted')
         LIMIT 1",
    )
    .bind(subject.organization.as_str())
    .bind(subject.cluster)
    .bind(&subject.namespace)
    .bind(&subject.name)
    .bind(subject.uid)
    .fetch_optional(executor)
    .await?)
}

/// What stands in the world is the new holder's from now on, leftovers of a run that died included. How many entries.
async fn take_over_inventory(tx: &mut Transaction, subject: &Subject) -> Result<u64> {
    let done = sqlx::query(
        "UPDATE resource_inventory SET deployment_uid = $5
         WHERE organization_id = $1 AND cluster_id = $2 AND gone_at IS NULL AND deployment_uid <> $5 AND deployment_uid IN (
           SELECT deployment_uid FROM terraform_runs
           WHERE organization_id = $1 AND cluster_id = $2 AND namespace = $3 AND name = $4)",
    )
    .bind(subject.organization.as_str())
    .bind(subject.cluster)
    .bind(&subject.namespace)
    .bind(&subject.name)
    .bind(subject.uid)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}

async fn has_resources(tx: &mut Transaction, organization: &Organization, key: &str) -> Result<bool> {
    let found: Option<bool> = sqlx::query_scalar(
        "SELECT s.resources > 0 FROM state_keys k JOIN terraform_states s USING (organization_id, state_key, lineage, serial)
         WHERE organization_id = $1 AND state_key = $2",
    )
    .bind(organization.as_str())
    .bind(key)
    .fetch_optional(tx.connection())
    .await?;
    Ok(found.unwrap_or(false))
}
