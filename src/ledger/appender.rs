//! The batching appender: a chain's head is one row, so events that come together share one lock and one commit.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use super::activity::append_all;
use super::{Event, Fence, Ledger};
use crate::api::Reason;
use crate::{Error, Result};

/// The most events of one transaction: what is queued is taken, nothing waits for more.
const BATCH: usize = 256;
/// Events under way before callers wait.
pub(super) const QUEUE: usize = 1024;

/// One event, under whose leadership it is written, and where its number goes.
pub(super) struct Entry {
    event: Event,
    fence: Option<Arc<Fence>>,
    reply: oneshot::Sender<Result<i64>>,
}

/// Since when the events that are being written wait; those that came later wait behind them.
#[derive(Default)]
pub(super) struct Since(Mutex<Option<Instant>>);

impl Since {
    fn put(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

impl Ledger {
    /// Since when the oldest event waits that this process has not got into the log yet.
    pub fn log_waits_since(&self) -> Option<Instant> {
        *self.since.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one event to its organization's chain; answers its number after the commit.
    ///
    /// # Errors
    /// [`Error::Deposed`] in the hands of a leader that was followed by another; Postgres's. Then it was not appended, except when the connection broke during the commit.
    pub async fn record(&self, event: Event) -> Result<i64> {
        let (reply, answer) = oneshot::channel();
        let fence = self.fence.clone();
        self.appender.send(Entry { event, fence, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::condition(Reason::LedgerUnavailable, "the activity log's appender has ended with its runtime")
}

/// Runs until the last ledger is dropped.
pub(super) async fn run(pool: PgPool, mut entries: mpsc::Receiver<Entry>, since: Arc<Since>) {
    let mut batch = Vec::with_capacity(BATCH);
    while entries.recv_many(&mut batch, BATCH).await > 0 {
        since.put(Some(Instant::now()));
        flush(&pool, std::mem::take(&mut batch)).await;
        since.put(None);
    }
}

async fn flush(pool: &PgPool, batch: Vec<Entry>) {
    let events = batch.iter().map(|entry| entry.event.clone()).collect();
    let fences: BTreeSet<_> = batch.iter().filter_map(|e| e.fence.as_ref()).map(|f| (f.cluster, f.epoch)).collect();
    match append(pool, &fences, events).await {
        Ok(seqs) => {
            for (entry, seq) in batch.into_iter().zip(seqs) {
                let _ = entry.reply.send(Ok(seq));
            }
        }
        // One entry was refused, by its fence or by Postgres: the others must not fail with it.
        Err(Error::Deposed(_) | Error::Integrity(_) | Error::Ledger(sqlx::Error::Database(_))) if batch.len() > 1 => {
            for entry in batch {
                Box::pin(flush(pool, vec![entry])).await;
            }
        }
        Err(error) => fail(batch, error),
    }
}

/// The first waiter gets the error itself, the others its words.
fn fail(batch: Vec<Entry>, error: Error) {
    let (reason, words) = (error.reason(), error.to_string());
    let mut first = Some(error);
    for entry in batch {
        let error = first.take().unwrap_or_else(|| Error::condition(reason, words.clone()));
        let _ = entry.reply.send(Err(error));
    }
}

async fn append(pool: &PgPool, fences: &BTreeSet<(uuid::Uuid, i64)>, events: Vec<Event>) -> Result<Vec<i64>> {
    let mut transaction = pool.begin().await?;
    for &(cluster, epoch) in fences {
        Fence { cluster, epoch }.check(&mut transaction).await?;
    }
    let seqs = append_all(&mut transaction, events).await?;
    transaction.commit().await?;
    Ok(seqs)
}
