//! What people type: one module a command, and the exit code that each answer has.

mod generate;
mod rbac;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Write what derives from the code: crds/, manifests/install/clusterroles.yaml, docs/reasons.md.
    #[command(hide = true)]
    Generate {
        /// Top of the work tree.
        directory: PathBuf,
    },
}

/// Runs one command: 0 done, 1 a negative answer, 2 usage, 3 unavailable.
pub fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::Crds => custom_resources().and_then(|text| print(&text)),
        Command::Generate { directory } => generate::write(&directory),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "landfall: {error}");
            ExitCode::from(3)
        }
    }
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Error::io("standard output"))
}
