//! States on disk, in the order in which the engine wrote them, until the ledger has them.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A folder of `NNNNNN.tfstate`, each with an empty `NNNNNN.acked` beside it once the ledger has it.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    folder: PathBuf,
}

impl Spool {
    /// Opens the folder, and makes it where it is missing.
    pub(super) fn open(folder: PathBuf) -> Result<Self> {
        make_private_folder(&folder)?;
        Ok(Self { folder })
    }

    fn file(&self, number: u64, end: &str) -> PathBuf {
        self.folder.join(format!("{number:06}.{end}"))
    }

    /// Keeps a state: when this returns, it outlives a loss of power.
    pub(super) fn put(&self, state: &[u8]) -> Result<u64> {
        let number = self.numbers("tfstate")?.last().map_or(1, |n| n + 1);
        let (draft, path) = (self.file(number, "draft"), self.file(number, "tfstate"));
        write_private(&draft, state)?;
        let whole = File::open(&draft).and_then(|file| file.sync_all());
        whole.map_err(Error::io(format!("sync {}", draft.display())))?;
        fs::rename(&draft, &path).map_err(Error::io(format!("rename {}", draft.display())))?;
        let folder = File::open(&self.folder).and_then(|f| f.sync_all());
        folder.map_err(Error::io(format!("sync {}", self.folder.display())))?;
        Ok(number)
    }

    /// The ledger has it.
    pub(super) fn acknowledge(&self, number: u64) -> Result<()> {
        let path = self.file(number, "acked");
        File::create(&path).map(drop).map_err(Error::io(format!("create {}", path.display())))
    }

    /// States that the ledger does not have, oldest first.
    pub(super) fn pending(&self) -> Result<Vec<u64>> {
        let acked = self.numbers("acked")?;
        Ok(self.numbers("tfstate")?.difference(&acked).copied().collect())
    }

    /// The newest state, acknowledged or not.
    pub(super) fn newest(&self) -> Result<Option<Vec<u8>>> {
        self.numbers("tfstate")?.last().map(|n| self.read(*n)).transpose()
    }

    /// Where a state is kept.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.file(number, "tfstate")
    }

    /// A state's bytes.
    pub(super) fn read(&self, number: u64) -> Result<Vec<u8>> {
        let path = self.file(number, "tfstate");
        fs::read(&path).map_err(Error::io(format!("read {}", path.display())))
    }

    fn numbers(&self, end: &str) -> Result<BTreeSet<u64>> {
        let entries = fs::read_dir(&self.folder).map_err(Error::io(format!("read {}", self.folder.display())))?;
        let mut numbers = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(Error::io("read the spool"))?.file_name();
            let number = name.to_str().and_then(|n| n.split_once('.'));
            if let Some((number, found)) = number
                && found == end
                && let Ok(number) = number.parse()
            {
                numbers.insert(number);
            }
        }
        Ok(numbers)
    }
}

/// A folder that nobody else may enter.
pub(super) fn make_private_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io(format!("create {}", path.display())))
}

/// Writes a file that nobody else may read, in place of what was there. After a loss of power it may be gone.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let _ = fs::remove_file(path); // an old file would keep its old mode
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    written.and_then(|mut file| file.write_all(bytes)).map_err(Error::io(format!("write {}", path.display())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn states_wait_in_order_until_they_are_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path().join("spool")).unwrap();
        assert_eq!(spool.newest().unwrap(), None);
        let numbers: Vec<u64> = (0..3u8).map(|n| spool.put(&[n]).unwrap()).collect();
        spool.acknowledge(2).unwrap();
        // Another process finds the same.
        let spool = Spool::open(folder.path().join("spool")).unwrap();
        assert_eq!((numbers, spool.pending().unwrap()), (vec![1, 2, 3], vec![1, 3]));
        assert_eq!(spool.newest().unwrap().unwrap(), [2]);
        assert_eq!(spool.put(&[3]).unwrap(), 4);
    }
}
