//! A bed of the test's own, for what would disturb the others.
#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::top;

/// Some components, up until it is dropped.
pub struct Bed(PathBuf);

impl Bed {
    /// Starts these components, as `apiserver,postgres`.
    pub fn up(only: &str) -> Self {
        let bed = Self(tempfile::tempdir().unwrap().keep());
        bed.tell(&["up"], &["--only", only]);
        bed
    }

    /// A command of the test bed, to this bed.
    pub fn tell(&self, command: &[&str], options: &[&str]) {
        let mut testbed = Command::new(top().join("tests/testbed/testbed"));
        testbed.args(&command[..1]).arg(&self.0).args(&command[1..]).args(options);
        // What the other tests use counts as brought along, and would not be started.
        testbed.env_remove("KUBECONFIG").env_remove("DATABASE_SUPERUSER_URL").stdin(Stdio::null());
        let output = testbed.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The directory of its parts.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its environment.
    pub fn values(&self) -> HashMap<String, String> {
        let text = std::fs::read_to_string(self.0.join("env")).unwrap();
        text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let down = Command::new(top().join("tests/testbed/testbed")).arg("down").arg(&self.0).arg("--purge").status();
        let _ = down.and(std::fs::remove_dir_all(&self.0));
    }
}
