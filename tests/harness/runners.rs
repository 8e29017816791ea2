//! Runners on the test bed's node: the image that they have, and their processes as this machine sees them. The crate that
//! includes this includes `mod.rs` as `harness`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use uuid::Uuid;

use crate::harness::{env, top};

/// Builds the image of this build, with these files of this machine at their paths.
pub fn image(out: &Path, files: &[PathBuf]) {
    let mut build = Command::new(top().join("tests/image/build"));
    build.arg(out).arg(env!("CARGO_BIN_EXE_landfall"));
    succeeds(build.args(files.iter().map(|file| format!("{0}={0}", file.display()))));
}

/// The same, on the node.
pub fn import(files: &[PathBuf]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.tar");
    image(&file, files);
    let address = env("NODE_CONTAINERD");
    succeeds(Command::new("ctr").args(["--address", &address, "--namespace", "k8s.io", "images", "import"]).arg(&file));
}

/// A program of this machine with the libraries that it needs.
pub fn with_libraries(program: &str) -> Vec<PathBuf> {
    let output = succeeds(Command::new("ldd").arg(program));
    let text = String::from_utf8(output.stdout).unwrap();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    libraries.chain([program]).map(PathBuf::from).collect()
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The processes of which this is true, by pid and command line.
pub fn processes(is: impl Fn(i32, &[String]) -> bool) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let found = pids.filter_map(|pid| Some((pid, std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?)));
    let split = |line: String| line.split('\0').map(str::to_owned).collect::<Vec<_>>();
    found.filter_map(|(pid, line)| is(pid, &split(line)).then_some(pid)).collect()
}

/// The runners of this run: one, or none.
pub fn runners(run: Uuid) -> Vec<i32> {
    let argument = format!("--run={run}");
    processes(|_, line| line.contains(&argument))
}

/// The runner of this run.
pub fn runner(run: Uuid) -> Option<i32> {
    runners(run).first().copied()
}
