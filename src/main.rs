//! The `landfall` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    landfall::cli::run(landfall::cli::Arguments::of_process())
}
