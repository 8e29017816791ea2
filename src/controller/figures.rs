//! What Postgres tells the leader's metrics: runs, locks, certificates. Whichever replica ends a run, the leader counts it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

use crate::Result;
use crate::api::Change;
use crate::ledger::RunFigures;
use crate::reconcile::Context;
use crate::run::protocol::RunKind;

/// How often Postgres is asked.
const INTERVAL: Duration = Duration::from_secs(15);
/// A run's id is made so long at most before it is committed: longer than any reconcile takes with the default limits.
const LATE: Duration = Duration::from_secs(120);

/// Runs that were seen, and whether they had ended.
#[derive(Default)]
struct Seen(HashMap<Uuid, bool>);

/// Asks for as long as this leadership lasts. With Postgres away what was known stays, and the runs that end meanwhile are
/// counted when it is back.
pub(super) async fn follow(cx: Context) {
    let (mut seen, mut floor, mut first) = (Seen::default(), late(), true);
    loop {
        let next = late();
        match look(&cx, &mut seen, floor, first).await {
            Ok(()) => (floor, first) = (next, false),
            Err(error) => tracing::debug!(%error, "metrics of runs, locks and certificates wait for Postgres"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The id of a run that began [`LATE`] ago.
fn late() -> Uuid {
    let at = Timestamp::now().as_second().saturating_sub_unsigned(LATE.as_secs());
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, u64::try_from(at).unwrap_or_default(), 0))
}

async fn look(cx: &Context, seen: &mut Seen, floor: Uuid, first: bool) -> Result<()> {
    let open: Vec<Uuid> = seen.0.iter().filter(|(_, ended)| !**ended).map(|(id, _)| *id).collect();
    let runs = cx.ledger.run_figures(cx.cluster, &open, floor).await?;
    for run in seen.ended(&runs, floor) {
        // What had ended before this leadership another one may have counted.
        if !first {
            cx.metrics.run_ended(kind(run), run.phase.word(), run.took);
        }
    }
    let mut under_way = BTreeMap::new();
    for run in runs.iter().filter(|run| !run.phase.is_final()) {
        *under_way.entry((kind(run), run.phase.word())).or_insert(0) += 1;
    }
    cx.metrics.runs_under_way(&under_way);
    let figures = cx.ledger.figures(cx.cluster).await?;
    cx.metrics.oldest_lock(figures.oldest_lock);
    cx.metrics.soonest_expiry(figures.soonest_expiry);
    cx.metrics.renewal_lateness(figures.renewal_lateness);
    Ok(())
}

impl Seen {
    /// Notes these runs; those of them that have ended since they were seen last, or were never seen. What ended and is not
    /// above `floor` is forgotten: it is not asked for again.
    fn ended<'a>(&mut self, runs: &'a [RunFigures], floor: Uuid) -> Vec<&'a RunFigures> {
        let news = runs.iter().filter(|run| {
            let ended = run.phase.is_final();
            self.0.insert(run.id, ended) != Some(true) && ended
        });
        let news = news.collect();
        self.0.retain(|id, ended| !*ended || *id > floor);
        news
    }
}

fn kind(run: &RunFigures) -> &'static str {
    match (run.kind, run.change) {
        (RunKind::Plan, _) => "Plan",
        (RunKind::Apply, Change::Apply) => "Apply",
        (RunKind::Apply, Change::Destroy) => "Destroy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::protocol::RunPhase;

    fn run(id: u128, phase: RunPhase) -> RunFigures {
        RunFigures { id: Uuid::from_u128(id), kind: RunKind::Plan, change: Change::Apply, phase, took: None }
    }

    #[test]
    fn each_end_is_counted_once() {
        let mut seen = Seen::default();
        let counted = |seen: &mut Seen, runs: &[RunFigures], floor| {
            seen.ended(runs, Uuid::from_u128(floor)).iter().map(|run| run.id.as_u128()).collect::<Vec<_>>()
        };
        let first = [run(1, RunPhase::Plan), run(2, RunPhase::Failed)];
        assert_eq!(counted(&mut seen, &first, 0), [2]);
        let then = [run(1, RunPhase::Succeeded), run(2, RunPhase::Failed), run(3, RunPhase::Pending)];
        assert_eq!(counted(&mut seen, &then, 1), [1]);
        assert_eq!(counted(&mut seen, &[run(2, RunPhase::Failed), run(3, RunPhase::Cancelled)], 2), [3]);
        assert_eq!(seen.0.len(), 1, "what is below the floor is not asked for again");
    }
}
