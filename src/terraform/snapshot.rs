//! A module as one tar: plain files from memory, or a folder as it stands after `init`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use crate::{Error, Result};

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Integrity(format!("snapshot: {what}"))
}

/// Times and owners are left out, so that the same content gives the same bytes.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

/// Packs files in the order of their names.
pub(super) fn pack_files(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = header(EntryType::Regular, 0o644, bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice()).map_err(|e| damaged(format!("{name}: {e}")))?;
    }
    tar.into_inner().map_err(damaged)
}

/// The plain files at the top of a tar.
pub(super) fn root_files(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in Archive::new(bytes).entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let plain = entry.header().entry_type() == EntryType::Regular && path.components().count() == 1;
        if let (true, Some(name)) = (plain, path.to_str()) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(damaged)?;
            files.insert(name.to_owned(), content);
        }
    }
    Ok(files)
}

/// Packs a folder: files, whether they may be executed, and links that stay inside. `keep` decides by relative path.
///
/// # Errors
/// Where the folder cannot be read.
pub fn pack_folder(root: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<Vec<u8>> {
    let mut paths = Vec::new();
    walk(root, Path::new(""), keep, &mut paths)?;
    paths.sort();
    let mut tar = Builder::new(Vec::new());
    for path in paths {
        let full = root.join(&path);
        let failed = |e| Error::Io { what: format!("pack {}", path.display()), source: e };
        let meta = fs::symlink_metadata(&full).map_err(failed)?;
        if meta.is_symlink() {
            let target = fs::read_link(&full).map_err(failed)?;
            if stays_inside(&path, &target) {
                tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), &path, &target).map_err(failed)?;
            }
        } else if meta.is_file() {
            let mode = if meta.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            let content = fs::read(&full).map_err(failed)?;
            let mut header = header(EntryType::Regular, mode, content.len() as u64);
            tar.append_data(&mut header, &path, content.as_slice()).map_err(failed)?;
        }
    }
    tar.into_inner().map_err(damaged)
}

fn walk(root: &Path, at: &Path, keep: &dyn Fn(&Path) -> bool, into: &mut Vec<PathBuf>) -> Result<()> {
    let folder = root.join(at);
    let failed = |e| Error::Io { what: format!("read {}", folder.display()), source: e };
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = at.join(entry.file_name());
        if !keep(&path) {
            continue;
        }
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(root, &path, keep, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

/// Unpacks into a folder, which must exist. Nothing is written outside of it.
///
/// # Errors
/// [`Error::Integrity`] for a path or link that leads outside; [`Error::Io`] where writing fails.
pub fn unpack(bytes: &[u8], root: &Path) -> Result<()> {
    let mut links = Vec::new();
    for entry in Archive::new(bytes).entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        if !is_inside(&path) {
            return Err(damaged(format!("{} leads outside", path.display())));
        }
        match entry.header().entry_type() {
            EntryType::Regular => {
                let mode = entry.header().mode().map_err(damaged)?;
                let mut content = Vec::new();
                entry.read_to_end(&mut content).map_err(damaged)?;
                write(&root.join(&path), &content, mode)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(damaged)?.unwrap_or_default().into_owned();
                links.push((path, target));
            }
            EntryType::Directory => {}
            _ => return Err(damaged(format!("{}: neither file nor link", path.display()))),
        }
    }
    // Links come last: no file is then written through one.
    for (path, target) in links {
        if !stays_inside(&path, &target) {
            return Err(damaged(format!("{} links outside", path.display())));
        }
        let full = root.join(&path);
        make_parent(&full)?;
        let real = |p: &Path| p.canonicalize().map_err(Error::io(format!("resolve {}", p.display())));
        if !real(full.parent().unwrap_or(root))?.starts_with(real(root)?) {
            return Err(damaged(format!("{} leads outside through another link", path.display())));
        }
        symlink(target, &full).map_err(Error::io(format!("link {}", full.display())))?;
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(Error::io(format!("create {}", parent.display())))
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    make_parent(path)?;
    let failed = || Error::io(format!("write {}", path.display()));
    fs::write(path, content).map_err(failed())?;
    let mode = if mode & 0o100 == 0 { 0o600 } else { 0o700 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed())
}

fn is_inside(path: &Path) -> bool {
    path.components().all(|c| matches!(c, Component::Normal(_))) && path.components().next().is_some()
}

/// Whether a link at `path` with this target ends inside the root, by its text.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_back_with_its_executables_and_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        fs::write(from.path().join("a/b/run.sh"), "#!").unwrap();
        fs::set_permissions(from.path().join("a/b/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(from.path().join("left"), "out").unwrap();
        symlink("b/run.sh", from.path().join("a/link")).unwrap();
        symlink("/etc/passwd", from.path().join("a/outside")).unwrap();
        let tar = pack_folder(from.path(), &|p| p != Path::new("left")).unwrap();
        assert_eq!(tar, pack_folder(from.path(), &|p| p != Path::new("left")).unwrap());
        unpack(&tar, to.path()).unwrap();
        assert_eq!(fs::metadata(to.path().join("a/b/run.sh")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read(to.path().join("a/link")).unwrap(), b"#!");
        assert!(!to.path().join("left").exists());
        assert!(fs::symlink_metadata(to.path().join("a/outside")).is_err());
    }

    fn tar_of(path: &str, link: Option<&str>) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        let mut h = header(if link.is_some() { EntryType::Symlink } else { EntryType::Regular }, 0o644, 0);
        h.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(link) = link {
            h.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        h.set_cksum();
        tar.append(&h, std::io::empty()).unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn nothing_is_written_outside_the_folder() {
        let to = tempfile::tempdir().unwrap();
        for (path, link) in [("../x", None), ("/x", None), ("a/../../x", None), ("a", Some("../x")), ("a", Some("/x"))]
        {
            assert!(unpack(&tar_of(path, link), to.path()).is_err(), "{path} {link:?}");
        }
        assert!(unpack(&tar_of("a/b", Some("../c")), to.path()).is_ok());
    }
}
