//! `landfall runner`: one run, from its claim to its result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval_at, sleep, timeout_at};
use url::Url;
use uuid::Uuid;

use super::backend::Loopback;
use super::client::{CallError, Client};
use super::engine::Engine;
use super::layout::Layout;
use super::procfs;
use super::spool::{Spool, make_private_folder};
use super::transcript::Transcript;
use super::verdict::{Cause, Stop};
use super::work::{Work, state_refused};
use crate::run::protocol::{
    Attach, Claim, DELIVERY, EVENT_BATCH, Progress, RunKind, RunPhase, RunResult, RunSpec, SecretText,
};
use crate::run::secrets::redactor;
use crate::run::token;
use crate::{Error, Result};

/// How long a claim is repeated while nobody answers.
const CLAIM_PATIENCE: Duration = Duration::from_secs(600);

/// What the runner is told on its command line: nothing secret.
#[derive(Clone, Debug)]
pub struct RunnerArgs {
    /// The run's folder. Without `pod_token` the executor made it, with the file `token` in it.
    pub dir: PathBuf,
    /// Where values of variables and the plan are written; the run's folder where it is not named.
    pub values_dir: Option<PathBuf>,
    /// The pod's own token, by which the run is taken where the runner stands in a pod.
    pub pod_token: Option<PathBuf>,
    /// Certificates, PEM, that vouch for the run API; none where it is plain HTTP.
    pub authorities: Option<String>,
    /// Address of the run API.
    pub api: Url,
    /// The run.
    pub id: Uuid,
    /// The engine's binary.
    pub engine: PathBuf,
    /// CLI configuration of the engine.
    pub cli_config: Option<PathBuf>,
}

/// Does the run. 0: the ledger has the result; 3: the run is not ours to do; 4: the ledger has not got everything, and the
/// run's folder has the rest.
pub async fn run(args: RunnerArgs) -> ExitCode {
    match take(&args).await {
        Ok((client, spec)) => match carry_out(&args, client, spec).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, run = %args.id, "the run's end could not be told");
                ExitCode::from(4)
            }
        },
        Err(error) => {
            tracing::error!(%error, run = %args.id, "the run was not taken");
            ExitCode::from(3)
        }
    }
}

impl RunnerArgs {
    fn layout(&self) -> Layout {
        Layout::at(self.dir.clone(), self.values_dir.clone())
    }

    fn client(&self, token: SecretText) -> Result<Client> {
        Client::new(&self.api, self.id, token, self.authorities.as_deref()).map_err(unusable)
    }
}

/// Claims the run before anything in its folder is touched, so that a second runner leaves no trace.
async fn take(args: &RunnerArgs) -> Result<(Client, RunSpec)> {
    // What runs beside us as the same user, the tenant's code, must not read the run's token out of our memory.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // Fails when we lead a session already, which is as well; whoever looks for us looks for our session.
    let _ = rustix::process::setsid();
    procfs::leads_session()?;
    match &args.pod_token {
        Some(file) => attach(args, file).await,
        None => claim(args).await,
    }
}

/// As a process, with the token that the executor left.
async fn claim(args: &RunnerArgs) -> Result<(Client, RunSpec)> {
    let layout = args.layout();
    let token = fs::read_to_string(layout.token()).map_err(Error::io("read the run's token"))?;
    let client = args.client(SecretText::new(token.trim()))?;
    let holder = procfs::identity(rustix::process::getpid().as_raw_nonzero().get())?;
    let claim = Claim { holder: holder.clone() };
    let spec = client.claim(&claim, Instant::now() + CLAIM_PATIENCE).await.map_err(unusable)?;
    layout.keep_holder(&holder)?;
    let _ = fs::remove_file(layout.token());
    Ok((client, spec))
}

/// As a pod, with a token of our own making that nobody else in the pod knows.
async fn attach(args: &RunnerArgs, pod_token: &Path) -> Result<(Client, RunSpec)> {
    let pod = fs::read_to_string(pod_token).map_err(Error::io(format!("read {}", pod_token.display())))?;
    let token = token::new();
    let attach = Attach { token_sha256: hex::encode(token::hash(token.expose())) };
    let until = Instant::now() + CLAIM_PATIENCE;
    let spec = args.client(SecretText::new(pod.trim()))?.attach(&attach, until).await.map_err(unusable)?;
    make_private_folder(&args.dir)?;
    Ok((args.client(token)?, spec))
}

fn unusable(error: CallError) -> Error {
    Error::Integrity(error.to_string())
}

async fn carry_out(args: &RunnerArgs, client: Client, spec: RunSpec) -> Result<()> {
    let layout = args.layout();
    layout.make()?;
    let loopback = Loopback::start(client.outlasting(), Spool::open(layout.spool())?, spec.kind).await?;
    let ours = [
        ("LANDFALL_RUN_ID", spec.id.to_string()),
        ("LANDFALL_CHANGE", format!("{:?}", spec.change)),
        ("LANDFALL_PLAN_DIGEST", spec.plan_digest.clone().unwrap_or_default()),
    ];
    let ours = ours.into_iter().chain(loopback.environment());
    let engine = Engine::new(&args.engine, args.cli_config.as_deref(), &layout, &spec.environment, ours)?;
    let engine = if args.pod_token.is_some() { engine.alone() } else { engine };
    let redactor = redactor(&spec);
    let (stopper, stop) = watch::channel(None);
    let mut watchers = JoinSet::new();
    watchers.spawn(watch_signals(stopper.clone())?);
    watchers.spawn(watch_control(client.clone(), stopper.clone()));
    watchers.spawn(watch_states(loopback.progress(), stopper));
    let log = LogShipper::start(client.clone(), Transcript::new(layout.clone(), redactor.clone()));
    let mut work = Work { spec, client, layout, engine, loopback, redactor, stop };
    let result = work.run().await;
    let ended = finish(&work, result, log).await;
    watchers.shutdown().await;
    ended
}

/// First the states, then the lock, then the result: whoever sees the result sees all before it.
async fn finish(work: &Work, mut result: RunResult, log: LogShipper) -> Result<()> {
    let until = Instant::now() + DELIVERY;
    let ((), states, ()) = tokio::join!(tell_finishing(work, until), work.loopback.finish(until), log.finish(until));
    let complete = states.is_ok();
    if let Err(reason) = states {
        result = work.failed(state_refused(work.spec.id, &reason));
    }
    if result.phase == RunPhase::Interrupted {
        tell_events(work, until).await;
    }
    // A plan that does not get there is made anew.
    let client = if work.spec.kind == RunKind::Apply { work.client.outlasting() } else { work.client.clone() };
    client.result(&result, until).await.map_err(|e| Error::Integrity(e.to_string()))?;
    if complete { work.layout.sweep() } else { Err(Error::Integrity(result.message.unwrap_or_default())) }
}

/// A plan leaves no states that could be on their way.
async fn tell_finishing(work: &Work, until: Instant) {
    if work.spec.kind == RunKind::Plan {
        return;
    }
    let entered = Progress { phase: RunPhase::Finishing };
    if let Err(error) = work.client.phase(&entered, until).await {
        tracing::warn!(%error, "the last phase was not told");
    }
}

/// After an interruption the events tell what no state knows, so they wait for the ledger as states do. Those that it has
/// are passed over by their numbers.
async fn tell_events(work: &Work, until: Instant) {
    let mut transcript = Transcript::new(work.layout.clone(), work.redactor.clone());
    transcript.finish();
    let mut offset = 0;
    for events in transcript.events.chunks(EVENT_BATCH) {
        if let Err(error) = work.client.outlasting().put_resources(offset, events, until).await {
            tracing::error!(%error, "the ledger did not get all resource events");
            return;
        }
        offset += events.len() as u64;
    }
}

/// Asks for a stop. The first cause stands: a machine that goes down after a person's cancel does not undo the cancel. But
/// a person's wish comes before a signal, which is nobody's.
fn ask(stopper: &watch::Sender<Option<Stop>>, stop: Stop) {
    stopper.send_if_modified(|asked| {
        let yields = asked.as_ref().is_none_or(|a| a.cause == Cause::Signal && stop.cause == Cause::Person);
        if yields {
            *asked = Some(stop);
        }
        yields
    });
}

/// SIGTERM and SIGINT ask for a graceful end.
fn watch_signals(stopper: watch::Sender<Option<Stop>>) -> Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).map_err(Error::io("listen for signals"));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        let name = tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
        let words = format!("the runner was told to stop by {name}, which is no cancel");
        ask(&stopper, Stop { cause: Cause::Signal, words });
    })
}

/// Asks every two seconds whether the run is still wanted. No answer means nothing.
async fn watch_control(client: Client, stopper: watch::Sender<Option<Stop>>) {
    let pause = Duration::from_secs(2);
    let mut tick = interval_at(Instant::now() + pause, pause);
    loop {
        tick.tick().await;
        let stop = match client.control().await {
            Ok(control) if control.cancel => Stop::person(),
            Err(error) if error.status().is_some_and(|s| s.as_u16() == 410) => {
                Stop { cause: Cause::GivenUp, words: format!("the run was given up: {error}") }
            }
            _ => continue,
        };
        ask(&stopper, stop);
        return;
    }
}

/// A state that the ledger refuses ends the run: what came after it could never be kept.
async fn watch_states(mut progress: watch::Receiver<super::backend::Progress>, stopper: watch::Sender<Option<Stop>>) {
    let refused = progress.wait_for(|p| p.refused.is_some()).await.ok().and_then(|p| p.refused.clone());
    if let Some(words) = refused {
        ask(&stopper, Stop { cause: Cause::StateRefused, words });
    }
}

/// Sends log and resource events while the engine works. It waits for nobody, and nobody but the end waits for it.
struct LogShipper {
    task: JoinHandle<()>,
    last: watch::Sender<bool>,
}

impl LogShipper {
    fn start(client: Client, transcript: Transcript) -> Self {
        let (last, over) = watch::channel(false);
        Self { task: tokio::spawn(ship(client, transcript, over)), last }
    }

    /// The result does not depend on the log, but the files from which it is made go with the run.
    async fn finish(mut self, until: Instant) {
        self.last.send_replace(true);
        if timeout_at(until, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("the end of the log was not sent");
        }
    }
}

async fn ship(client: Client, mut transcript: Transcript, mut over: watch::Receiver<bool>) {
    let (mut log_offset, mut event_offset) = (0u64, 0u64);
    loop {
        let last = *over.borrow();
        if last {
            transcript.finish();
        } else {
            while transcript.poll() {}
        }
        let until = Instant::now() + Duration::from_secs(if last { 60 } else { 5 });
        let batch = transcript.events.len().min(EVENT_BATCH);
        let events: Vec<_> = transcript.events.iter().take(batch).cloned().collect();
        if batch > 0 {
            match client.put_resources(event_offset, &events, until).await {
                Ok(()) => {
                    event_offset += batch as u64;
                    transcript.events.drain(..batch);
                }
                Err(error) if is_final(&error, last) => return,
                Err(_) => {}
            }
        }
        let part: Vec<u8> = transcript.log.iter().take(1 << 20).copied().collect();
        let length = part.len();
        if length > 0 {
            match client.append_log(log_offset, part, until).await {
                Ok(()) => {
                    log_offset += length as u64;
                    transcript.log.drain(..length);
                }
                Err(error) if is_final(&error, last) => return,
                Err(_) => {}
            }
        }
        if last && transcript.log.is_empty() && transcript.events.is_empty() {
            return;
        }
        tokio::select! {
            () = sleep(Duration::from_millis(if last { 50 } else { 500 })) => {}
            _ = over.changed(), if !last => {}
        }
    }
}

/// The run is over for the ledger, so nothing of it is wanted any more; or, at the end, nothing would change its answer.
fn is_final(error: &CallError, last: bool) -> bool {
    let refused = last && error.status().is_some();
    if refused {
        tracing::warn!(%error, "the end of the log is not wanted");
    }
    refused || error.is_over()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_of_a_stop_stands_unless_it_was_nobodys_wish() {
        use Cause as C;
        for (first, second, expected) in [
            (C::Person, C::Signal, C::Person),
            (C::Person, C::StateRefused, C::Person),
            (C::GivenUp, C::Signal, C::GivenUp),
            (C::StateRefused, C::Signal, C::StateRefused),
            (C::Signal, C::Person, C::Person),
            (C::Signal, C::GivenUp, C::Signal),
        ] {
            let (stopper, stop) = watch::channel(None);
            for cause in [first, second] {
                ask(&stopper, Stop { cause, words: format!("{cause:?}") });
            }
            let found = stop.borrow().as_ref().map(|stop| stop.cause);
            assert_eq!(found, Some(expected), "{first:?}, then {second:?}");
        }
    }
}
