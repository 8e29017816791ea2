//! The image as `tests/image/build` makes it: what it holds, and that it does for the user that it names.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::top;
use crate::runners::image;

fn entry(archive: &Path, name: &str) -> Vec<u8> {
    let mut tar = tar::Archive::new(std::fs::File::open(archive).unwrap());
    let mut found = tar.entries().unwrap().map(Result::unwrap).find(|e| e.path().unwrap() == Path::new(name)).unwrap();
    let mut bytes = Vec::new();
    found.read_to_end(&mut bytes).unwrap();
    bytes
}

fn entry_json(archive: &Path, name: &str) -> Value {
    serde_json::from_slice(&entry(archive, name)).unwrap()
}

/// The words of the Dockerfile's last stage that say how the image is run.
fn dockerfile() -> Value {
    let text = std::fs::read_to_string(top().join("Dockerfile")).unwrap();
    let last = text.rsplit("\nFROM ").next().unwrap();
    let word = |name: &str| last.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    json!({
        "User": word("USER "),
        "Entrypoint": serde_json::from_str::<Value>(word("ENTRYPOINT ")).unwrap(),
        "Env": [word("ENV ")],
        "WorkingDir": word("WORKDIR "),
    })
}

#[test]
fn the_image_holds_two_programs_and_what_they_need() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
    image(&one, &[]);
    image(&two, &[]);
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap(), "two builds of the same programs differ");
    assert_eq!(entry_json(&one, "config.json")["config"], dockerfile());
    assert_eq!(entry_json(&one, "manifest.json")[0]["RepoTags"], json!(["landfall.test/landfall:test"]));

    let layer = entry(&one, "layer.tar");
    let mut tar = tar::Archive::new(layer.as_slice());
    let mut files = BTreeSet::new();
    for entry in tar.entries().unwrap().map(Result::unwrap) {
        let (header, path) = (entry.header(), entry.path().unwrap().display().to_string());
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{path}");
        assert_eq!(header.mode().unwrap() & 0o7022, 0, "{path} is written by root alone, and changes nobody's rights");
        let library = path.starts_with("lib") && path.contains(".so");
        if header.entry_type().is_file() && !library {
            files.insert(path);
        }
    }
    let expected = [
        "etc/group",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/local/bin/landfall",
        "usr/local/bin/tofu",
    ];
    assert_eq!(files, expected.map(str::to_owned).into());

    runs(&layer, &folder.path().join("root"));
}

/// Whatever the rights of what it is made from, and of who makes it: the image's user is another.
#[test]
fn the_images_user_may_read_all_and_run_both_programs() {
    let folder = tempfile::tempdir().unwrap();
    let (tofu, root) = (folder.path().join("tofu"), folder.path().join("root"));
    std::fs::write(&tofu, "").unwrap();
    std::fs::set_permissions(&tofu, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut lay = Command::new("bash");
    lay.args(["-c", "umask 077; exec \"$@\"", "bash"]).arg(top().join("image/root"));
    let output = lay.arg(&root).arg(env!("CARGO_BIN_EXE_landfall")).arg(&tofu).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut folders = vec![root.clone()];
    while let Some(of) = folders.pop() {
        for entry in std::fs::read_dir(of).unwrap().map(Result::unwrap) {
            let (metadata, path) = (entry.metadata().unwrap(), entry.path());
            let runs = metadata.is_dir() || path.parent().is_some_and(|folder| folder.ends_with("usr/local/bin"));
            let wanted = if runs { 0o055 } else { 0o044 };
            assert_eq!(metadata.permissions().mode() & wanted, wanted, "{}", path.display());
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
}

/// Both programs answer inside it, as its user. Only root can change into it.
fn runs(layer: &[u8], root: &Path) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: running the image's programs, because only root can change into its directory");
        return;
    }
    tar::Archive::new(layer).unpack(root).unwrap();
    for program in ["landfall", "tofu"] {
        let mut inside = Command::new("chroot");
        inside.arg("--userspec=65532:65532").arg(root).arg(format!("/usr/local/bin/{program}")).arg("--version");
        let output = inside.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
