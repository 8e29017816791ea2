//! States: who holds a key, who has the lock, and every version that was acknowledged.
//!
//! The fence of a write is the lock of the run that writes. Within a lineage serials only grow; the same serial with the
//! same bytes is accepted again, since a runner that got no answer asks again.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgRow};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::artifacts::size;
use super::runs::{Answer, Refusal, Run};
use super::words::time;
use super::{Aad, Actor, Event, Ledger, Sealed, Subject, Transaction, Writer};
use crate::Result;
use crate::api::Organization;
use crate::run::digest::sha256_hex;
use crate::run::protocol::RunKind;
use crate::run::state::{StateFile, first_of};

mod claims;
pub(super) mod locks;

pub use locks::LockInfo;

/// The key of a deployment's state within its organization.
pub fn state_key(subject: &Subject) -> String {
    format!("{}/{}/{}", subject.cluster, subject.namespace, subject.name)
}

/// The newest version of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateHead {
    /// Serial within the lineage.
    pub serial: i64,
    /// Lineage.
    pub lineage: String,
    /// SHA-256 of the bytes, hex.
    pub sha256: String,
    /// Managed resource instances.
    pub resources: u32,
    /// The run that wrote it.
    pub run: Uuid,
    /// When it was acknowledged.
    pub written_at: Timestamp,
    /// The object that holds the key.
    pub holder_uid: Option<Uuid>,
}

/// One version, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateVersion {
    /// Lineage.
    pub lineage: String,
    /// Serial within it.
    pub serial: i64,
    /// SHA-256 of the bytes, hex.
    pub sha256: String,
    /// Bytes.
    pub size: i64,
    /// Managed resource instances.
    pub resources: i64,
    /// The run that wrote it.
    pub run: Uuid,
    /// Taken from the working directory of a run that had died.
    pub recovered: bool,
    /// When it was acknowledged.
    pub written_at: Timestamp,
}

/// What an object that comes to a state's key finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateClaim {
    /// The key is this object's.
    Held,
    /// A former object's state, with resources in it.
    Found {
        /// Its lineage, which `spec.state.adopt` names to take it over.
        lineage: String,
        /// Its newest serial.
        serial: i64,
    },
    /// A run of a former object of this name is under way: what it will leave is not known yet.
    Busy {
        /// That run.
        run: Uuid,
    },
}

/// What became of a state that a dead run left in its working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It is the newest version now.
    Accepted,
    /// It was acknowledged before.
    Same,
    /// Why not.
    Refused(String),
}

/// What a key's row says.
pub(super) struct KeyRow {
    pub(super) holder: Option<Uuid>,
    pub(super) lineage: Option<String>,
    pub(super) serial: Option<i64>,
    pub(super) lock: Option<Value>,
    pub(super) lock_id: Option<String>,
    pub(super) lock_run: Option<Uuid>,
}

impl KeyRow {
    pub(super) async fn locked(tx: &mut Transaction, organization: &Organization, key: &str) -> Result<Option<Self>> {
        let row = sqlx::query(
            "SELECT holder_uid, lineage, serial, lock, lock_id, lock_run FROM state_keys
             WHERE organization_id = $1 AND state_key = $2 FOR UPDATE",
        )
        .bind(organization.as_str())
        .bind(key)
        .fetch_optional(tx.connection())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Self {
            holder: row.try_get("holder_uid")?,
            lineage: row.try_get("lineage")?,
            serial: row.try_get("serial")?,
            lock: row.try_get("lock")?,
            lock_id: row.try_get("lock_id")?,
            lock_run: row.try_get("lock_run")?,
        }))
    }
}

fn place(cluster: Uuid, organization: &Organization, key: &str, lineage: &str, serial: i64) -> Aad {
    let row = serde_json::json!([organization.as_str(), key, lineage]).to_string();
    Aad { cluster, table: "terraform_states", row, column: "sealed", serial }
}

/// A state that never reached its backend has no lineage: it becomes the first of its run's own, by the same name
/// whenever it comes, since whoever took it in may have died before the run was given up.
fn named<'a>(run: &Run, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    first_of(bytes, run.id).ok().flatten().map_or(Cow::Borrowed(bytes), Cow::Owned)
}

/// Where a new version stands to the newest one.
enum Fit {
    Next,
    Same,
    Not(String),
}

async fn fit(tx: &mut Transaction, run: &Run, head: &KeyRow, state: &StateFile, digest: &str) -> Result<Fit> {
    let (Some(lineage), Some(serial)) = (&head.lineage, head.serial) else { return Ok(Fit::Next) };
    if *lineage != state.lineage {
        return Ok(Fit::Not(format!("the state's lineage is {lineage}, not {}; nothing was written", state.lineage)));
    }
    if state.serial > serial {
        return Ok(Fit::Next);
    }
    let known: Option<String> = sqlx::query_scalar(
        "SELECT sha256 FROM terraform_states WHERE organization_id = $1 AND state_key = $2 AND lineage = $3 AND serial = $4",
    )
    .bind(run.subject.organization.as_str())
    .bind(state_key(&run.subject))
    .bind(lineage)
    .bind(state.serial)
    .fetch_optional(tx.connection())
    .await?;
    Ok(if known.as_deref() == Some(digest) && state.serial == serial {
        Fit::Same
    } else if state.serial == serial {
        Fit::Not(format!("serial {serial} was acknowledged with other bytes; nothing was written"))
    } else {
        Fit::Not(format!("the newest serial is {serial}, and {} is older; nothing was written", state.serial))
    })
}

impl Ledger {
    /// Takes a state from the runner of an apply that has the lock.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn put_state(&self, id: Uuid, lock_id: Option<&str>, bytes: &[u8]) -> Answer<()> {
        let Some((mut tx, run)) = self.open(id).await? else { return Ok(Err(Refusal::NotFound)) };
        if run.phase.is_final() {
            return Ok(Err(Refusal::Ended));
        }
        if run.kind != RunKind::Apply {
            return Ok(Err(Refusal::Conflict("a plan run writes no state".into())));
        }
        let state = match StateFile::parse(bytes) {
            Ok(state) => state,
            Err(error) => return Ok(Err(Refusal::Conflict(error.to_string()))),
        };
        let key = state_key(&run.subject);
        let Some(head) = KeyRow::locked(&mut tx, &run.subject.organization, &key).await? else {
            return Ok(Err(Refusal::Conflict(format!("state {key} was never claimed"))));
        };
        if head.lock_run != Some(id) || lock_id.is_some_and(|given| head.lock_id.as_deref() != Some(given)) {
            return Ok(Err(match head.lock {
                Some(lock) => Refusal::Locked(lock),
                None => Refusal::Conflict("the run does not have the state's lock".into()),
            }));
        }
        let digest = sha256_hex(bytes);
        match fit(&mut tx, &run, &head, &state, &digest).await? {
            Fit::Same => return Ok(Ok(())),
            Fit::Not(why) => return Ok(Err(Refusal::Conflict(why))),
            Fit::Next => {}
        }
        self.write_state(&mut tx, &run, &state, bytes, &digest, Actor::Runner(id)).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// The newest state, for the runner of a run.
    ///
    /// # Errors
    /// Postgres's; [`crate::Error::Integrity`] where the bytes are damaged or their key is not there.
    pub async fn state_of_run(&self, id: Uuid) -> Answer<Option<Zeroizing<Vec<u8>>>> {
        let Some(run) = self.run(id).await? else { return Ok(Err(Refusal::NotFound)) };
        if run.phase.is_final() {
            return Ok(Err(Refusal::Ended));
        }
        let key = state_key(&run.subject);
        match self.state_head(&run.subject.organization, &key).await? {
            None => Ok(Ok(None)),
            Some(head) if head.holder_uid != Some(run.subject.uid) => Ok(Err(Refusal::Conflict(format!(
                "state {key} belongs to another object; adopt it with spec.state.adopt"
            )))),
            Some(_) => Ok(Ok(self.state_bytes(&run.subject.organization, &key, None).await?)),
        }
    }

    /// The newest version of a state.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn state_head(&self, organization: &Organization, key: &str) -> Result<Option<StateHead>> {
        let row = sqlx::query(
            "SELECT s.serial, s.lineage, s.sha256, s.resources, s.run_id, s.written_at, k.holder_uid
             FROM state_keys k JOIN terraform_states s USING (organization_id, state_key, lineage, serial)
             WHERE organization_id = $1 AND state_key = $2",
        )
        .bind(organization.as_str())
        .bind(key)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(StateHead {
            serial: row.try_get("serial")?,
            lineage: row.try_get("lineage")?,
            sha256: row.try_get("sha256")?,
            resources: u32::try_from(row.try_get::<i64, _>("resources")?).unwrap_or(u32::MAX),
            run: row.try_get("run_id")?,
            written_at: time(&row, "written_at")?,
            holder_uid: row.try_get("holder_uid")?,
        }))
    }

    /// Whether these bytes are a version of the run's state.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn has_state(&self, run: &Run, bytes: &[u8]) -> Result<bool> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM terraform_states WHERE organization_id = $1 AND state_key = $2 AND sha256 = $3)",
        )
        .bind(run.subject.organization.as_str())
        .bind(state_key(&run.subject))
        .bind(sha256_hex(&named(run, bytes)))
        .fetch_one(&self.pool)
        .await?)
    }

    /// The bytes of one version of the newest lineage; the newest version where no serial is given.
    ///
    /// # Errors
    /// Postgres's; [`crate::Error::Integrity`] where the bytes are damaged or their key is not there.
    pub async fn state_bytes(
        &self,
        organization: &Organization,
        key: &str,
        serial: Option<i64>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let row = sqlx::query(
            "SELECT s.lineage, s.serial, s.sealed, r.cluster_id
             FROM state_keys k JOIN terraform_states s USING (organization_id, state_key, lineage) JOIN terraform_runs r USING (run_id)
             WHERE k.organization_id = $1 AND k.state_key = $2 AND s.serial = coalesce($3, k.serial)",
        )
        .bind(organization.as_str())
        .bind(key)
        .bind(serial)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let lineage: String = row.try_get("lineage")?;
        let place = place(row.try_get("cluster_id")?, organization, key, &lineage, row.try_get("serial")?);
        self.keys().open(Sealed::from_bytes(row.try_get("sealed")?)?, &place).map(Some)
    }

    async fn write_state(
        &self,
        tx: &mut Transaction,
        run: &Run,
        state: &StateFile,
        bytes: &[u8],
        digest: &str,
        actor: Actor,
    ) -> Result<()> {
        let (organization, key) = (&run.subject.organization, state_key(&run.subject));
        let recovered = !matches!(actor, Actor::Runner(_));
        let sealed =
            self.keys().seal(bytes, &place(run.subject.cluster, organization, &key, &state.lineage, state.serial))?;
        sqlx::query(
            "WITH head AS (UPDATE state_keys SET lineage = $3, serial = $4 WHERE organization_id = $1 AND state_key = $2)
             INSERT INTO terraform_states
               (organization_id, state_key, lineage, serial, sha256, size, resources, run_id, recovered, key_id, sealed)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(organization.as_str())
        .bind(&key)
        .bind(&state.lineage)
        .bind(state.serial)
        .bind(digest)
        .bind(size(bytes))
        .bind(i64::from(state.resources()))
        .bind(run.id)
        .bind(recovered)
        .bind(sealed.key_id.clone())
        .bind(sealed.into_bytes())
        .execute(tx.connection())
        .await?;
        let details = json!({"run": run.id, "lineage": state.lineage, "serial": state.serial, "sha256": digest,
            "resources": state.resources(), "recovered": recovered});
        tx.append(Event { subject: run.subject.clone(), actor, action: "state.written", details });
        Ok(())
    }
}

impl Writer {
    /// Takes a state that a dead run left behind as the next version, if lineage and serial fit.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn recover_state(&self, id: Uuid, bytes: &[u8]) -> Result<Recovery> {
        let Some(run) = self.run(id).await? else { return Ok(Recovery::Refused("there is no such run".into())) };
        // Its runner died before it could note the answer; newer ones may have followed.
        if self.has_state(&run, bytes).await? {
            return Ok(Recovery::Same);
        }
        let mut tx = self.begin(&run.subject.organization).await?;
        let Some(run) = Run::locked(tx.connection(), id).await? else {
            return Ok(Recovery::Refused("there is no such run".into()));
        };
        let head = KeyRow::locked(&mut tx, &run.subject.organization, &state_key(&run.subject)).await?;
        let named = named(&run, bytes);
        let bytes = named.as_ref();
        let state = match StateFile::parse(bytes) {
            Ok(state) => state,
            Err(error) => return Ok(Recovery::Refused(error.to_string())),
        };
        let digest = sha256_hex(bytes);
        let fit = match &head {
            None => Fit::Not("its key was never claimed".into()),
            Some(head) => fit(&mut tx, &run, head, &state, &digest).await?,
        };
        let foreign = head.is_some_and(|head| {
            head.lock_run.is_some_and(|holder| holder != id) || head.holder != Some(run.subject.uid)
        });
        let actor = Actor::Controller(self.holder().to_owned());
        match fit {
            Fit::Same => return Ok(Recovery::Same),
            Fit::Next if !run.phase.is_final() && !foreign => {
                self.write_state(&mut tx, &run, &state, bytes, &digest, actor).await?
            }
            Fit::Next => return Ok(Recovery::Refused("the run has ended, or another one has the state".into())),
            Fit::Not(why) => return Ok(Recovery::Refused(why)),
        }
        tx.commit().await?;
        Ok(Recovery::Accepted)
    }
}

/// All versions under a key, newest first. For any role: row security says which are seen.
///
/// # Errors
/// Postgres's.
pub async fn versions(pool: &PgPool, organization: &Organization, key: &str) -> Result<Vec<StateVersion>> {
    let rows = sqlx::query(
        "SELECT lineage, serial, sha256, size, resources, run_id, recovered, written_at FROM terraform_states
         WHERE organization_id = $1 AND state_key = $2 ORDER BY written_at DESC, serial DESC",
    )
    .bind(organization.as_str())
    .bind(key)
    .fetch_all(pool)
    .await?;
    rows.iter().map(version).collect()
}

fn version(row: &PgRow) -> Result<StateVersion> {
    Ok(StateVersion {
        lineage: row.try_get("lineage")?,
        serial: row.try_get("serial")?,
        sha256: row.try_get("sha256")?,
        size: row.try_get("size")?,
        resources: row.try_get("resources")?,
        run: row.try_get("run_id")?,
        recovered: row.try_get("recovered")?,
        written_at: time(row, "written_at")?,
    })
}
