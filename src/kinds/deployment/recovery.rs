//! A run whose process is gone: what it left is taken in, and then it is given up. Needs no object.

use uuid::Uuid;

use crate::api::Reason;
use crate::kinds::Context;
use crate::ledger::runs::{Heard, Refusal, Run, Stopping};
use crate::ledger::states::Recovery;
use crate::run::protocol::{EVENT_BATCH, ResourceEvent, RunKind, RunSpec};
use crate::run::state;
use crate::terraform::executor::Liveness;
use crate::{Error, Result};

/// What is said where the engine's events are not all known.
const LOST: &str = "What it had not told went with it, so all that its plan would make may be there";

/// Ends a run that should have ended by itself. What it leaves is taken in when nothing of it lives.
///
/// # Errors
/// What may pass by itself.
pub(super) async fn stop(cx: &Context, run: Uuid, kill: bool, why: &str) -> Result<()> {
    match cx.ledger.record_stop(run, kill, why).await? {
        Stopping::Ended => return Ok(()),
        Stopping::New => tracing::warn!(%run, kill, why, "a run that should have ended is stopped"),
        Stopping::Known => {}
    }
    if kill { cx.executor.kill(run).await } else { cx.executor.terminate(run).await }
}

/// States first, then the inventory, and only then is the lock broken and the run given up. `false` where it had ended
/// well between the look at its row and the look at its process, or a runner has taken it since.
///
/// # Errors
/// What may pass by itself.
pub(super) async fn recover(cx: &Context, run: Uuid) -> Result<bool> {
    let Some(run) = cx.ledger.run(run).await?.filter(|run| !run.phase.is_final()) else { return Ok(false) };
    if cx.executor.liveness(run.id, run.holder.as_ref()).await? != Liveness::Absent {
        return Ok(false);
    }
    let found = cx.executor.recover(run.id, inputs(cx, &run).await?.as_ref()).await?;
    let mut refused = Vec::new();
    for left in &found.states {
        if let Recovery::Refused(why) = cx.ledger.recover_state(run.id, &left.bytes).await? {
            refused.push(state::refused(&left.bytes, &why, &left.path));
        }
    }
    let heard = if found.resources.is_some() { Heard::All } else { Heard::Part };
    let lost = heard == Heard::Part && run.applying_at.is_some();
    resources(cx, &run, &found.resources.unwrap_or_default()).await?;
    if let Err(error) = log(cx, &run, &found.log).await {
        match error {
            Error::Integrity(why) => tracing::warn!(run = %run.id, why, "the dead run's log is not taken in"),
            other => return Err(other),
        }
    }
    let ended = if refused.is_empty() {
        let words = found.words.map(|words| format!("the last words of its runner: {words}"));
        let words = words.map(|words| if lost { format!("{words}. {LOST}") } else { words });
        cx.ledger.interrupt(&run, Reason::Interrupted, words, heard).await?
    } else {
        let message = state::refusal(run.id, &refused.join("; "));
        cx.ledger.interrupt(&run, Reason::StateRegressed, Some(message), heard).await?
    };
    if ended && refused.is_empty() {
        cx.executor.cleanup(run.id).await?;
    }
    Ok(ended)
}

/// What the runner was given, to redact its log. Without it the rest is taken in all the same: states and inventory
/// must not wait for a key that is gone.
async fn inputs(cx: &Context, run: &Run) -> Result<Option<RunSpec>> {
    match cx.ledger.run_spec(run.id).await {
        Err(Error::Integrity(why)) => {
            tracing::warn!(run = %run.id, why, "the dead run's inputs do not open; its log stays out");
            Ok(None)
        }
        other => other,
    }
}

async fn resources(cx: &Context, run: &Run, events: &[ResourceEvent]) -> Result<()> {
    if run.kind != RunKind::Apply {
        return Ok(());
    }
    // Part by part: what is in stays in, however often recovery begins anew.
    for (offset, part) in (0..).step_by(EVENT_BATCH).zip(events.chunks(EVENT_BATCH)) {
        cx.ledger.put_resources(run.id, offset, part).await?.map_err(|refusal| refused(run, &refusal))?;
    }
    Ok(())
}

async fn log(cx: &Context, run: &Run, log: &[u8]) -> Result<()> {
    if log.is_empty() {
        return Ok(());
    }
    let (_, offset) = cx.ledger.log(run.id, 0).await?;
    match usize::try_from(offset).ok().and_then(|known| log.get(known..)) {
        Some(rest) if !rest.is_empty() => {
            cx.ledger.append_log(run.id, offset, rest).await?.map_err(|refusal| refused(run, &refusal))
        }
        Some(_) | None => Ok(()),
    }
}

fn refused(run: &Run, refusal: &Refusal) -> Error {
    Error::Integrity(format!("run {}: what it left was refused: {refusal:?}", run.id))
}
