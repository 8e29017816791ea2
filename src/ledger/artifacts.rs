//! The files of plan runs and the logs of all runs, sealed.

use std::borrow::Cow;

use sqlx::Row;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::runs::{Answer, Refusal, Run};
use super::{Aad, Ledger, Sealed, Subject, Transaction};
use crate::Result;
use crate::run::digest::sha256_hex;
use crate::run::protocol::{Artifact, RunKind};

/// No log of a run is longer, bytes: several times what a runner sends.
pub const LARGEST_LOG: i64 = 64 << 20;

fn place(cluster: Uuid, run: Uuid, artifact: Artifact) -> Aad {
    Aad { cluster, table: "run_artifacts", row: format!("{run}/{}", artifact.as_str()), column: "sealed", serial: 0 }
}

fn log_place(cluster: Uuid, run: Uuid, offset: i64) -> Aad {
    Aad { cluster, table: "run_logs", row: run.to_string(), column: "sealed", serial: offset }
}

/// What still fits into a log beside `other` bytes, with a last line where it is cut; nothing where it is full.
fn fitting(bytes: &[u8], other: i64) -> Option<Cow<'_, [u8]>> {
    let room = usize::try_from(LARGEST_LOG.saturating_sub(other)).ok().filter(|room| *room > 0)?;
    match bytes.get(..room) {
        Some(part) if part.len() < bytes.len() => Some([part, b"\n[the log is cut off here]\n"].concat().into()),
        _ => Some(bytes.into()),
    }
}

/// A size for a bigint column.
pub(super) fn size(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

/// One file of a run, sealed. A large one takes its time, in which no unit of work need stand open.
struct File {
    artifact: Artifact,
    sha256: String,
    size: i64,
    sealed: Sealed,
}

impl File {
    fn seal(ledger: &Ledger, cluster: Uuid, run: Uuid, artifact: Artifact, bytes: &[u8]) -> Result<Self> {
        let sealed = ledger.keys().seal(bytes, &place(cluster, run, artifact))?;
        Ok(Self { artifact, sha256: sha256_hex(bytes), size: size(bytes), sealed })
    }
}

/// Writes one file of a run, in place of what stood there.
pub(super) async fn put(
    ledger: &Ledger,
    tx: &mut Transaction,
    subject: &Subject,
    run: Uuid,
    artifact: Artifact,
    bytes: &[u8],
) -> Result<()> {
    write(tx, subject, run, File::seal(ledger, subject.cluster, run, artifact, bytes)?).await
}

async fn write(tx: &mut Transaction, subject: &Subject, run: Uuid, file: File) -> Result<()> {
    sqlx::query(
        "INSERT INTO run_artifacts (run_id, name, organization_id, sha256, size, key_id, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (run_id, name) DO UPDATE SET sha256 = excluded.sha256, size = excluded.size, key_id = excluded.key_id,
           sealed = excluded.sealed, written_at = clock_timestamp()",
    )
    .bind(run)
    .bind(file.artifact.as_str())
    .bind(subject.organization.as_str())
    .bind(file.sha256)
    .bind(file.size)
    .bind(file.sealed.key_id.clone())
    .bind(file.sealed.into_bytes())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The SHA-256 of one file of a plan run.
pub(super) async fn digest_of(tx: &mut Transaction, run: Uuid, artifact: Artifact) -> Result<Option<String>> {
    let found = sqlx::query_scalar("SELECT sha256 FROM run_artifacts WHERE run_id = $1 AND name = $2")
        .bind(run)
        .bind(artifact.as_str())
        .fetch_optional(tx.connection())
        .await?;
    Ok(found)
}

impl Ledger {
    /// A file of a plan run; asked for an apply run, a file of its plan.
    ///
    /// # Errors
    /// Postgres's; [`crate::Error::Integrity`] where the bytes are damaged or their key is not there.
    pub async fn artifact(&self, run: Uuid, artifact: Artifact) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let row = sqlx::query(
            "SELECT a.run_id, r.cluster_id, a.sealed FROM terraform_runs r
             JOIN run_artifacts a ON a.run_id = coalesce(r.plan_run_id, r.run_id) WHERE r.run_id = $1 AND a.name = $2",
        )
        .bind(run)
        .bind(artifact.as_str())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let sealed = Sealed::from_bytes(row.try_get("sealed")?)?;
        let place = place(row.try_get("cluster_id")?, row.try_get("run_id")?, artifact);
        self.keys().open(sealed, &place).map(Some)
    }

    /// The provider lock file of the plan that was applied last to a deployment's state, whoever held that.
    ///
    /// # Errors
    /// Postgres's; [`crate::Error::Integrity`] where the bytes are damaged or their key is not there.
    pub(super) async fn applied_lock_file(&self, subject: &Subject) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let applied: Option<Uuid> = sqlx::query_scalar(
            "SELECT run_id FROM terraform_runs
             WHERE namespace = $1 AND name = $2 AND organization_id = $3 AND cluster_id = $4 AND applying_at IS NOT NULL
             ORDER BY created_at DESC, run_id DESC LIMIT 1",
        )
        .bind(&subject.namespace)
        .bind(&subject.name)
        .bind(subject.organization.as_str())
        .bind(subject.cluster)
        .fetch_optional(&self.pool)
        .await?;
        match applied {
            Some(run) => self.artifact(run, Artifact::LockFile).await,
            None => Ok(None),
        }
    }

    /// Takes a file from the runner of a plan. After the run's end only the same bytes again are fine.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn put_artifact(&self, id: Uuid, artifact: Artifact, bytes: &[u8]) -> Answer<()> {
        let Some(run) = self.run(id).await? else { return Ok(Err(Refusal::NotFound)) };
        if run.kind != RunKind::Plan {
            return Ok(Err(Refusal::Conflict(format!(
                "{}: an apply uses its plan's files and stores none",
                artifact.as_str()
            ))));
        }
        let file = File::seal(self, run.subject.cluster, id, artifact, bytes)?;
        let Some((mut tx, run)) = self.open(id).await? else { return Ok(Err(Refusal::NotFound)) };
        if run.phase.is_final() {
            let same = digest_of(&mut tx, id, artifact).await? == Some(file.sha256);
            return Ok(if same { Ok(()) } else { Err(Refusal::Ended) });
        }
        write(&mut tx, &run.subject, id, file).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Takes a piece of a run's log. A piece at an offset that is known replaces it only if it is longer: a runner that got no
    /// answer sends the same offset again, with what was written since.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn append_log(&self, id: Uuid, offset: i64, bytes: &[u8]) -> Answer<()> {
        let Some((mut tx, run)) = self.open(id).await? else { return Ok(Err(Refusal::NotFound)) };
        if run.phase.is_final() {
            return Ok(Err(Refusal::Ended));
        }
        if offset < 0 {
            return Ok(Err(Refusal::Conflict(format!("log offset {offset} is below 0"))));
        }
        if bytes.is_empty() {
            return Ok(Ok(()));
        }
        let other: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(size), 0)::bigint FROM run_logs WHERE run_id = $1 AND log_offset <> $2",
        )
        .bind(id)
        .bind(offset)
        .fetch_one(tx.connection())
        .await?;
        let Some(bytes) = fitting(bytes, other) else { return Ok(Ok(())) };
        let sealed = self.keys().seal(&bytes, &log_place(run.subject.cluster, id, offset))?;
        sqlx::query(
            "INSERT INTO run_logs (run_id, log_offset, organization_id, size, key_id, sealed) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (run_id, log_offset) DO UPDATE SET size = excluded.size, key_id = excluded.key_id, sealed = excluded.sealed
             WHERE run_logs.size < excluded.size",
        )
        .bind(id)
        .bind(offset)
        .bind(run.subject.organization.as_str())
        .bind(size(&bytes))
        .bind(sealed.key_id.clone())
        .bind(sealed.into_bytes())
        .execute(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// What the engine wrote in a run, from a position on; and the position at its end.
    ///
    /// # Errors
    /// Postgres's; [`crate::Error::Integrity`] where the bytes are damaged or their key is not there.
    pub async fn log(&self, id: Uuid, from: i64) -> Result<(Vec<u8>, i64)> {
        let rows = sqlx::query(
            "SELECT l.log_offset, l.sealed, r.cluster_id FROM run_logs l JOIN terraform_runs r USING (run_id)
             WHERE run_id = $1 AND log_offset + l.size > $2 ORDER BY log_offset",
        )
        .bind(id)
        .bind(from)
        .fetch_all(&self.pool)
        .await?;
        let mut pieces = Vec::with_capacity(rows.len());
        for row in &rows {
            let offset: i64 = row.try_get("log_offset")?;
            let sealed = Sealed::from_bytes(row.try_get("sealed")?)?;
            pieces.push((offset, self.keys().open(sealed, &log_place(row.try_get("cluster_id")?, id, offset))?));
        }
        Ok(join(&pieces, from))
    }

    /// A unit of work with the run locked in it. Whoever has a run is known as an organization.
    pub(super) async fn open(&self, id: Uuid) -> Result<Option<(Transaction, Run)>> {
        let mut tx = self.begin_for(&[]).await?;
        Ok(Run::locked(tx.connection(), id).await?.map(|run| (tx, run)))
    }
}

/// Pieces in the order of their offsets; what two of them hold is taken once, what none holds is told.
fn join<B: AsRef<[u8]>>(pieces: &[(i64, B)], from: i64) -> (Vec<u8>, i64) {
    let (mut log, mut position) = (Vec::new(), from);
    for (offset, bytes) in pieces {
        let bytes = bytes.as_ref();
        if *offset > position {
            log.extend_from_slice(format!("\n[{} bytes of the log are missing here]\n", offset - position).as_bytes());
            position = *offset;
        }
        let known = usize::try_from(position - offset).unwrap_or(usize::MAX);
        let new = bytes.get(known..).unwrap_or_default();
        log.extend_from_slice(new);
        position += size(new);
    }
    (log, position)
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn pieces_of_a_log_may_overlap_and_a_gap_is_told() {
        assert_eq!(join(&[(0, "abc"), (2, "cde"), (3, "d"), (5, "f")], 0), (b"abcdef".to_vec(), 6));
        assert_eq!(join(&[(2, "cde"), (5, "f")], 4), (b"ef".to_vec(), 6), "from a position on");
        assert_eq!(join(&[(0, "ab"), (4, "e")], 0), (b"ab\n[2 bytes of the log are missing here]\ne".to_vec(), 5));
        assert_eq!(join::<&str>(&[], 7), (Vec::new(), 7));
    }
}
