//! Where Postgres is. The URL holds a password, so it is never an argument.

use std::path::{Path, PathBuf};

use crate::api::Reason;
use crate::{Error, Result};

/// The variable that names a file with the URL.
const FILE: &str = "DATABASE_URL_FILE";

#[derive(Debug, clap::Args)]
pub(super) struct Database {
    /// File with the database URL; else the variable DATABASE_URL is read.
    #[arg(long, env = FILE)]
    database_url_file: Option<PathBuf>,
}

impl Database {
    /// Of a command that can be told of a file.
    pub(super) fn url(&self) -> Result<String> {
        read(self.database_url_file.as_deref())
    }
}

/// As the environment says it: a pod of the chart has the file.
pub(super) fn url() -> Result<String> {
    read(std::env::var_os(FILE).filter(|name| !name.is_empty()).as_deref().map(Path::new))
}

fn read(file: Option<&Path>) -> Result<String> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(Error::io(path.display().to_string()))?,
        None => std::env::var("DATABASE_URL").unwrap_or_default(),
    };
    match text.trim() {
        "" => Err(Error::condition(
            Reason::LedgerUnavailable,
            "no database URL: set DATABASE_URL to the ledger's, or DATABASE_URL_FILE to a file with it",
        )),
        url => Ok(url.to_owned()),
    }
}
