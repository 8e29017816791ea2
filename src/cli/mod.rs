//! What people type: one module a command, and the exit code that each answer has.

mod audit;
mod command;
mod controller;
mod database;
mod generate;
mod give;
mod history;
mod logs;
mod near;
mod plan;
mod rbac;
mod reading;
mod release;
mod renew;
mod revoke;
mod runner;
mod runs;
mod settings;
mod state;
mod table;
mod target;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::api::Reason;
use crate::{Error, Result};

pub use generate::{Artifact, artifacts, custom_resources};

/// Manifests become Terraform runs and provider calls, each on a tamper-evident record.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller until SIGTERM.
    #[command(
        after_help = "Examples:\n  DATABASE_URL=postgres://landfall:…@db/landfall landfall controller --config /etc/landfall/landfall.yaml\n  landfall controller --database-url-file /etc/landfall/database-url"
    )]
    Controller(controller::Controller),
    /// Bring the database's schema up to date, as landfall_migrator or its owner.
    #[command(after_help = "Examples:\n  DATABASE_URL=postgres://postgres:…@db/landfall landfall migrate")]
    Migrate(database::Database),
    /// Print the CustomResourceDefinitions as YAML.
    #[command(after_help = "Examples:\n  landfall crds | kubectl apply --server-side -f -")]
    Crds,
    /// Approve the current plan of a deployment, or what is held of a domain.
    #[command(
        after_help = "Examples:\n  landfall approve tfd/web -n shop\n  landfall approve tfd/web --digest sha256:…        only if that plan is the current one\n  landfall approve orgdomain/example-com -n shop      lets pass what is held of its records"
    )]
    Approve(command::Approve),
    /// Stop a run gracefully.
    #[command(after_help = "Examples:\n  landfall cancel tfd/web -n shop")]
    Cancel(command::OnRun),
    /// Start over after failed attempts.
    #[command(after_help = "Examples:\n  landfall retry tfd/web -n shop")]
    Retry(command::OnRun),
    /// Issue the next certificate now.
    #[command(
        after_help = "Examples:\n  landfall renew lcert/www -n shop\n  landfall renew lcert/www --serial 5f3a…            only if that certificate is in use"
    )]
    Renew(renew::Renew),
    /// Have a certificate revoked by its CA; one in use is followed by another first.
    #[command(
        after_help = "Examples:\n  landfall revoke lcert/www -n shop --reason keyCompromise\n  landfall revoke lcert/www --serial 5f3a… --reason superseded        a former one"
    )]
    Revoke(revoke::Revoke),
    /// List the runs of a deployment, newest first.
    #[command(after_help = "Examples:\n  landfall runs tfd/web -n shop\n  landfall runs tfd/web --limit 5 --json")]
    Runs(runs::Runs),
    /// Print what the engine wrote in a run.
    #[command(after_help = "Examples:\n  landfall logs tfd/web -n shop --follow\n  landfall logs tfd/web --run 0199…")]
    Logs(logs::Logs),
    /// Show what a plan would do, without values.
    #[command(after_help = "Examples:\n  landfall plan tfd/web -n shop\n  landfall plan tfd/web --json")]
    Plan(plan::Plan),
    /// Tell who did what, from the activity log.
    #[command(after_help = "Examples:\n  landfall history tfd/web -n shop\n  landfall history --since 2h --json")]
    History(history::History),
    /// Look at states.
    #[command(subcommand)]
    State(state::State),
    /// Check the activity log.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Write what derives from the code: crds/, manifests/install/clusterroles.yaml, pages and schema below docs/.
    #[command(hide = true)]
    Generate {
        /// Top of the work tree.
        directory: PathBuf,
    },
    /// Do one run: what an executor starts.
    #[command(hide = true)]
    Runner(runner::Arguments),
}

impl Arguments {
    /// Of this process' command line. What is wrong with it, help and version end the process.
    pub fn of_process() -> Self {
        let mut command = Self::command();
        command.build();
        let mut matches = command.mut_subcommands(with_usage).get_matches();
        Self::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
    }
}

/// With the usage that help shows. That of an error would name options that the environment has set, as if they were needed.
fn with_usage(mut command: clap::Command) -> clap::Command {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let command = if command.has_subcommands() { command } else { command.override_usage(usage) };
    command.mut_subcommands(with_usage)
}

/// Runs one command: 0 done, 1 a negative answer, 2 usage, 3 unavailable.
pub fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::Controller(arguments) => controller::controller(&arguments),
        Command::Migrate(arguments) => controller::migrate(&arguments),
        Command::Crds => custom_resources().and_then(|text| print(&text)),
        Command::Approve(arguments) => answer(command::approve(&arguments)),
        Command::Cancel(arguments) => answer(command::cancel(&arguments)),
        Command::Retry(arguments) => answer(command::retry(&arguments)),
        Command::Renew(arguments) => answer(renew::renew(&arguments)),
        Command::Revoke(arguments) => answer(revoke::revoke(&arguments)),
        Command::Runs(arguments) => read(arguments.target.json, "[]", runs::runs(&arguments)),
        Command::Logs(arguments) => read(arguments.target.json, logs::NONE, logs::logs(&arguments)),
        Command::Plan(arguments) => read(arguments.target.json, plan::NONE, plan::plan(&arguments)),
        Command::History(arguments) => read(arguments.json, "[]", history::history(&arguments)),
        Command::State(command) => read(command.json(), "[]", state::state(&command)),
        Command::Audit(command) => verdict(audit::audit(&command)),
        Command::Generate { directory } => generate::write(&directory),
        Command::Runner(arguments) => return runner::execute(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads no further, as `head`, has had enough.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "landfall: {}", told(&error));
            ExitCode::from(code(&error))
        }
    }
}

/// One line: what, why, and what to do where the error itself does not say.
fn told(error: &Error) -> String {
    let text = error.to_string().replace(['\n', '\r'], " ");
    let next = match (error, error.reason()) {
        (Error::Ledger(_), Reason::LedgerUnavailable) => {
            "; see whether Postgres is up, and whether DATABASE_URL leads to it"
        }
        // Tables that a role may not see are no tables to it.
        (Error::Ledger(_), reason) if reason == Reason::Forbidden || text.contains("does not exist") => {
            "; the role of DATABASE_URL must be a member of landfall_reader or landfall_auditor, and the schema be up to \
             date (`landfall migrate`)"
        }
        _ => "",
    };
    text + next
}

/// 1 where somebody said no or what is stored is damaged, 2 where the question is at fault, 3 where nobody could be asked.
fn code(error: &Error) -> u8 {
    match error {
        Error::Cluster(cause) => match cause.as_ref() {
            kube::Error::Api(status) if status.code < 500 => 1,
            _ => 3,
        },
        Error::Ledger(_) | Error::Condition { .. } => {
            if error.is_away() || error.reason() == Reason::Timeout {
                3
            } else {
                1
            }
        }
        Error::Integrity(_) => 1,
        Error::Usage(_) => 2,
        Error::Deposed(_) | Error::Io { .. } => 3,
    }
}

/// Runs what needs the network, and prints its answer.
fn answer(work: impl Future<Output = Result<String>>) -> Result<()> {
    verdict(async { Ok((work.await?, Ok(()))) })
}

/// The same for what reads: where there is nothing to show, scripts get `none` beside the error.
fn read(json: bool, none: &str, work: impl Future<Output = Result<String>>) -> Result<()> {
    verdict(async {
        match work.await {
            Err(error) if json && error.reason() == Reason::Progressing => Ok((format!("{none}\n"), Err(error))),
            done => Ok((done?, Ok(()))),
        }
    })
}

/// The same, where the answer may be a bad one: it is printed all the same.
fn verdict(work: impl Future<Output = Result<(String, Result<()>)>>) -> Result<()> {
    // The second of two installations of the same provider changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::io("runtime"))?;
    let (text, verdict) = runtime.block_on(work)?;
    print(&text)?;
    verdict
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Error::io("standard output"))
}
