//! The `landfall` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    landfall::cli::run(landfall::cli::Arguments::parse())
}
