//! `landfall logs`: what the engine wrote.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::json;

use super::reading::{Deployment, Keys, json as document};
use super::target::{Target, WhichCluster, run_id};
use crate::access::text;
use crate::{Error, Result};

/// `landfall logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    which: WhichCluster,
    /// The run; the newest where it is left out.
    #[arg(long, value_parser = run_id)]
    run: Option<String>,
    /// Go on until the run ends.
    #[arg(short, long, conflicts_with = "json")]
    follow: bool,
    #[command(flatten)]
    keys: Keys,
}

/// The JSON where there is none.
pub(super) const NONE: &str = r#"{"run": null, "phase": null, "log": ""}"#;

/// How often a run that goes on is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints a run's log.
///
/// # Errors
/// No such run, no keys, or the ledger is away.
pub(super) async fn logs(arguments: &Logs) -> Result<String> {
    let ledger = arguments.keys.ledger().await?;
    let deployment = Deployment::of(ledger.pool(), &arguments.which, &arguments.target).await?;
    let run = deployment.run(ledger.pool(), arguments.run.as_deref(), |_| true, "run").await?;
    if arguments.target.json {
        let (log, _) = ledger.log(run.id, 0).await?;
        return document(&json!({"run": run.id, "phase": run.phase, "log": String::from_utf8_lossy(&log)}));
    }
    let mut shown = 0;
    loop {
        // First the phase, then the log: nothing that was written before the end is missed.
        let ended = ledger.run(run.id).await?.is_none_or(|run| run.phase.is_final());
        let (log, position) = ledger.log(run.id, shown).await?;
        show(&log)?;
        shown = position;
        if ended || !arguments.follow {
            return Ok(String::new());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// On a terminal without what could move the cursor: the module's code decides what stands in a log.
fn show(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let done = if out.is_terminal() {
        let text = text::plain(&String::from_utf8_lossy(bytes));
        out.write_all(text.as_bytes())
    } else {
        out.write_all(bytes)
    };
    done.and_then(|()| out.flush()).map_err(Error::io("standard output"))
}
