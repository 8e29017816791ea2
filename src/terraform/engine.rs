//! The engine's command line: arguments, environment, and how it is stopped.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::layout::Layout;
use super::procfs;
use super::verdict::Stop;
use crate::api::{Change, Reason};
use crate::run::protocol::SecretText;
use crate::{Error, Result};

/// How long killed processes may take to be gone.
const CLEARED: Duration = Duration::from_secs(10);

/// Of the runner's own environment the engine gets these: how to reach the network, and where programs are.
const PASSED_ON: [&str; 9] = [
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// And these, where the run has no credential that says otherwise: what a cloud's workload identity put into the pod for its
/// service account. None is a secret: they name roles, and files that the module can read all the same.
const IDENTITY: [&str; 12] = [
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// One engine for one run.
pub(super) struct Engine {
    pub(super) binary: PathBuf,
    pub(super) layout: Layout,
    environment: BTreeMap<String, SecretText>,
    /// Whether it has a PID namespace for itself.
    alone: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) how: How,
    /// What made us stop it.
    pub(super) stopped: Option<Stopped>,
    /// How much it had written when it was stopped, bytes.
    pub(super) cut: Option<u64>,
}

/// By itself, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// A stop came before it.
    NotStarted,
    /// It ended with an exit code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl How {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }

    /// The exit code, where there is one.
    pub(super) fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::NotStarted | Self::Signal(_) => None,
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("nothing done"),
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(6) => f.write_str("SIGABRT"),
            Self::Signal(9) => {
                f.write_str("SIGKILL (for want of memory, too: a Job's is spec.runner.resources.limits.memory)")
            }
            Self::Signal(11) => f.write_str("SIGSEGV"),
            Self::Signal(15) => f.write_str("SIGTERM"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What made us stop a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    Asked,
    Late,
}

/// How long a command may take, and then to end by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) run: Duration,
    pub(super) grace: Duration,
}

impl Engine {
    /// `given` are the credential's variables; those that would steer the engine or the loader are refused.
    pub(super) fn new(
        binary: &Path,
        cli_config: Option<&Path>,
        layout: &Layout,
        given: &BTreeMap<String, SecretText>,
        ours: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self> {
        let steers = |name: &str| {
            ["TF_", "TOFU_", "LANDFALL_", "LD_"].iter().any(|p| name.starts_with(p))
                || ["PATH", "HOME", "TMPDIR", "CHECKPOINT_DISABLE"].contains(&name)
        };
        if let Some(name) = given.keys().find(|name| steers(name)) {
            return Err(Error::Integrity(format!("the run's environment may not set {name}")));
        }
        let mut environment = with_identity(given, |name| std::env::var(name).ok());
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?)));
        let text = |path: &Path| path.display().to_string();
        let fixed = [
            ("HOME", text(&layout.home())),
            ("TMPDIR", text(&layout.temporary())),
            ("TF_IN_AUTOMATION", "1".into()),
            ("TF_INPUT", "0".into()),
            ("CHECKPOINT_DISABLE", "1".into()),
        ];
        let config = cli_config.map(|path| ("TF_CLI_CONFIG_FILE", text(path)));
        for (name, value) in passed_on.chain(fixed).chain(config).chain(ours) {
            environment.insert(name.to_owned(), SecretText::new(value));
        }
        Ok(Self { binary: binary.to_owned(), layout: layout.clone(), environment, alone: false })
    }

    /// The same in a pod, where all processes but the first are ours to end.
    #[must_use]
    pub(super) fn alone(self) -> Self {
        Self { alone: procfs::is_contained(), ..self }
    }

    /// Starts a command whose output goes to a file: on a pipe it would die with its reader, and lose its state.
    fn spawn(&self, arguments: &[&str], output: &Path, errors: Option<&Path>) -> Result<Child> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
            file.map_err(Error::io(format!("open {}", path.display())))
        };
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.layout.module()).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value.expose())));
        let out = open(output)?;
        let err = match errors {
            Some(path) => open(path)?,
            None => out.try_clone().map_err(Error::io("share the output file"))?,
        };
        command.stdin(Stdio::null()).stdout(out).stderr(err).kill_on_drop(false);
        // First forgotten: while it is not known which process it is, nobody takes it for gone.
        self.layout.forget_engine()?;
        let child = command.spawn().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let path = self.binary.display();
                Error::condition(Reason::EngineNotFound, format!("no engine at {path}: install it, or mend the path"))
            }
            _ => Error::io(format!("start {}", self.binary.display()))(e),
        })?;
        let identity = child.id().and_then(|pid| procfs::identity(i32::try_from(pid).ok()?).ok());
        if let Some(Err(error)) = identity.map(|identity| self.layout.keep_engine(&identity)) {
            tracing::warn!(%error, "nobody but this runner can tell whether its engine lives");
        }
        Ok(child)
    }

    /// Runs a command; on a stop or when time is up it is interrupted once, and killed when its grace is over.
    pub(super) async fn run(
        &self,
        arguments: &[&str],
        output: &Path,
        limits: Patience,
        stop: &mut watch::Receiver<Option<Stop>>,
    ) -> Result<Ended> {
        if stop.borrow().is_some() {
            return Ok(Ended { how: How::NotStarted, stopped: Some(Stopped::Asked), cut: None });
        }
        let mut child = self.spawn(arguments, output, None)?;
        let (mut status, stopped) = tokio::select! {
            status = child.wait() => (Some(status), None),
            () = sleep(limits.run) => (None, Some(Stopped::Late)),
            () = asked(stop) => (None, Some(Stopped::Asked)),
        };
        let mut cut = None;
        if status.is_none() {
            cut = fs::metadata(output).map(|file| file.len()).ok();
            interrupt(&child);
            status = timeout(limits.grace, child.wait()).await.ok();
        }
        let status = match status {
            Some(status) => status,
            None => {
                child.start_kill().map_err(Error::io("kill the engine"))?;
                child.wait().await
            }
        };
        let how = How::of(status.map_err(Error::io("wait for the engine"))?);
        if stopped.is_some() || matches!(how, How::Signal(_)) {
            clear_session().await?;
        }
        self.clear_pod().await?;
        Ok(Ended { how, stopped, cut })
    }

    /// Asks something whose answer is the whole output.
    pub(super) async fn ask(&self, arguments: &[&str], answer: &Path, limit: Duration) -> Result<Option<i32>> {
        absent(answer);
        let mut child = self.spawn(arguments, answer, Some(&self.layout.aside()))?;
        match timeout(limit, child.wait()).await {
            Ok(status) => {
                let status = status.map_err(Error::io("wait for the engine"))?;
                self.clear_pod().await?;
                Ok(status.code())
            }
            Err(_) => {
                child.start_kill().map_err(Error::io("kill the engine"))?;
                child.wait().await.map_err(Error::io("wait for the engine"))?;
                clear_session().await?;
                self.clear_pod().await?;
                Ok(None)
            }
        }
    }

    /// In a pod of its own nothing of a command outlives it, not even what made itself a session: what the module's code left
    /// behind could write to the files that the next step reads, and show another plan than the one that is kept.
    async fn clear_pod(&self) -> Result<()> {
        if self.alone { clear(procfs::of_our_namespace).await } else { Ok(()) }
    }
}

/// The JSON that an engine answered: warnings of its CLI configuration stand before it, on the same stream.
pub(super) fn document(answer: &[u8]) -> Option<&[u8]> {
    let at = if answer.starts_with(b"{") { 0 } else { answer.windows(2).position(|pair| pair == b"\n{")? + 1 };
    answer.get(at..)
}

fn absent(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Completes when a stop is asked for; never, when nobody can ask any more.
async fn asked(stop: &mut watch::Receiver<Option<Stop>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The engine alone: it tells its providers and provisioners itself, and a second signal would make it abandon them.
fn interrupt(child: &Child) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        let _ = kill_process(pid, Signal::INT);
    }
}

/// An engine that died leaves providers and provisioners that nobody hears any more, and one that was stopped ends the shell
/// of a provisioner, but not what the shell had started. They are ended before the run is, or they would go on to change the
/// world beside the next one.
async fn clear_session() -> Result<()> {
    if procfs::leads_session().is_err() {
        return Ok(()); // not our own session, so its members are not ours to kill
    }
    let us = rustix::process::getpid().as_raw_nonzero().get();
    clear(|| procfs::members(us)).await
}

/// What the run's credential gives, and what of a workload's identity it says nothing about.
fn with_identity(
    given: &BTreeMap<String, SecretText>,
    own: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, SecretText> {
    let identity = IDENTITY.iter().filter_map(|name| Some(((*name).to_owned(), SecretText::new(own(name)?))));
    identity.chain(given.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
}

/// Kills all of these but ourselves, until none is left, for a while.
async fn clear(who: impl Fn() -> Result<Vec<procfs::Process>>) -> Result<()> {
    let us = rustix::process::getpid();
    let until = Instant::now() + CLEARED;
    loop {
        let members = who()?.into_iter().filter_map(|member| Pid::from_raw(member.pid)).filter(|pid| *pid != us);
        // What is another user's, as a sidecar is, is not the module's.
        let left = members.filter(|pid| kill_process(*pid, Signal::KILL) != Err(Errno::PERM)).count();
        if left == 0 || Instant::now() > until {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Arguments of `init`.
pub(super) fn init_arguments(variables: Option<&str>, locked: bool) -> Vec<String> {
    let mut arguments = vec!["init".to_owned(), "-input=false".into(), "-no-color".into()];
    if locked {
        arguments.push("-lockfile=readonly".into());
    }
    arguments.extend(variables.map(|path| format!("-var-file={path}")));
    arguments
}

/// Arguments of `plan`.
pub(super) fn plan_arguments(variables: Option<&str>, plan: &str, change: Change) -> Vec<String> {
    let mut arguments = vec!["plan".to_owned(), "-json".into(), "-input=false".into(), "-lock-timeout=10s".into()];
    arguments.push(format!("-out={plan}"));
    if change == Change::Destroy {
        arguments.push("-destroy".into());
    }
    arguments.extend(variables.map(|path| format!("-var-file={path}")));
    arguments
}

/// Arguments of `apply`. There is no form without a plan file.
pub(super) fn apply_arguments(plan: &str) -> Vec<String> {
    vec!["apply".into(), "-json".into(), "-input=false".into(), "-lock-timeout=10s".into(), plan.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_has_the_identity_of_its_pod_and_the_credential_goes_first() {
        let own = |name: &str| match name {
            "AWS_ROLE_ARN" | "AWS_REGION" | "LANDFALL_RUN_API_CA" | "KUBERNETES_SERVICE_HOST" => {
                Some(format!("pod's {name}"))
            }
            _ => None,
        };
        let given = BTreeMap::from([("AWS_REGION".to_owned(), SecretText::new("eu-central-1"))]);
        let environment = with_identity(&given, own);
        let shown: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(shown, [("AWS_REGION", "eu-central-1"), ("AWS_ROLE_ARN", "pod's AWS_ROLE_ARN")]);
    }

    #[test]
    fn what_an_engine_warns_of_before_its_json_is_not_the_json() {
        let plain = b"{\"a\": {}}\n";
        assert_eq!(document(plain), Some(&plain[..]));
        let warned = b"\nWarning: {no} such file\nat \"/nope\".\n{\"a\": {}}\n";
        assert_eq!(document(warned), Some(&plain[..]));
        assert_eq!(document(b"Warning: {}"), None);
        assert_eq!(document(b""), None);
    }
}
