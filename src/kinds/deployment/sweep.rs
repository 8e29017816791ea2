//! What no reconcile looks after: runs whose object is gone, and folders or Jobs of runs that are over.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::overdue::{Measure, Overdue, overdue};
use super::recovery::{recover, stop};
use crate::kinds::Context;
use crate::ledger::runs::Run;
use crate::terraform::executor::Liveness;
use crate::{Error, Result};

/// How often, beside the beginning of each leadership.
const INTERVAL: Duration = Duration::from_secs(120);

/// Sweeps until this process no longer leads. The deployments' store must have been filled before.
pub(in crate::kinds) async fn run(cx: Context) {
    let mut told = HashSet::new();
    loop {
        match sweep(&cx, &mut told).await {
            Ok(()) => {}
            Err(Error::Deposed(why)) => {
                tracing::error!(%why, "runs may no longer be swept");
                return cx.deposed.cancel();
            }
            Err(error) => tracing::warn!(%error, "the sweep is tried again in {} s", INTERVAL.as_secs()),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Once over all. One run or folder that cannot be looked at holds no other one up.
async fn sweep(cx: &Context, told: &mut HashSet<Uuid>) -> Result<()> {
    for run in cx.ledger.active_runs(cx.cluster).await? {
        tell(run.id, orphan(cx, &run, told).await)?;
    }
    for id in cx.executor.left().await? {
        tell(id, folder(cx, id, told).await)?;
    }
    Ok(())
}

fn tell(run: Uuid, result: Result<()>) -> Result<()> {
    match result {
        Err(deposed @ Error::Deposed(_)) => Err(deposed),
        Err(error) => {
            tracing::warn!(%run, %error, "what is left of this run waits for the next sweep");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// A run whose object went without its finalizer: while it lives it goes on; dead, it would hold its lock and its place
/// for ever.
async fn orphan(cx: &Context, run: &Run, told: &mut HashSet<Uuid>) -> Result<()> {
    let uid = run.subject.uid.to_string();
    let present = cx.stores.deployments.state().iter().any(|o| o.metadata.uid.as_deref() == Some(uid.as_str()));
    if present {
        return Ok(());
    }
    let liveness = cx.executor.liveness(run.id, run.holder.as_ref()).await?;
    if liveness != Liveness::Absent {
        return match overdue(run, liveness) {
            Some(Overdue { measure: Measure::Wait, why }) => {
                if told.insert(run.id) {
                    tracing::warn!(run = %run.id, why, "its object is gone, and its pod may hold states that it cannot deliver: \
                        it is waited for until its Job is deleted, or a new object of its name cancels it");
                }
                Ok(())
            }
            None => Ok(()),
            Some(Overdue { measure, why }) => stop(cx, run.id, measure.kills(), &why).await,
        };
    }
    if recover(cx, run.id).await? {
        tracing::info!(run = %run.id, namespace = run.subject.namespace, name = run.subject.name,
            "its object is gone and so is its process: what it left was taken in");
        cx.queue.call_next(&cx.waker);
    }
    Ok(())
}

/// A folder goes when its run is over, nothing of it lives, and the ledger has its states. Else it stays, for a person. A Job
/// goes by itself when it has ended; one whose run was given up, or cancelled before it was taken, goes here.
async fn folder(cx: &Context, id: Uuid, told: &mut HashSet<Uuid>) -> Result<()> {
    let why = match cx.ledger.run(id).await? {
        None => "the ledger knows no such run",
        Some(run) if !run.phase.is_final() || cx.executor.lingers(id, run.holder.as_ref()).await? => return Ok(()),
        Some(run) => {
            let mut known = true;
            for state in cx.executor.states_left(id)? {
                known &= cx.ledger.has_state(&run, &state.bytes).await?;
            }
            if known {
                return cx.executor.cleanup(id).await;
            }
            "it holds a state that the ledger refused"
        }
    };
    if told.insert(id) {
        tracing::warn!(run = %id, why, "what is left of a run stays");
    }
    Ok(())
}
