//! A module's files, and what must hold of them before any engine reads them.

use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::is_nfc;

use super::{snapshot, syntax};
use crate::api::Reason;
use crate::{Error, Result};

/// Our override file. Override files are merged in the order of their names, so it comes last.
pub const OVERRIDE_FILE: &str = "zzzz_landfall_override.tf.json";
/// The provider lock file.
pub const LOCK_FILE: &str = ".terraform.lock.hcl";

/// Blocks inside `terraform` that take the state elsewhere, or make it unreadable to the ledger.
pub(super) const FORBIDDEN: [&str; 4] = ["backend", "cloud", "state_store", "encryption"];

/// Files by their path in the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Bytes by path, `/` between folders.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What a module declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Variables of the root module, and whether each has a default.
    pub variables: BTreeMap<String, bool>,
    /// Outputs of the root module.
    pub outputs: BTreeSet<String>,
    /// A file could be read by nobody but perhaps the engine, so `variables` and `outputs` may lack some.
    pub partial: bool,
}

impl Module {
    /// Checks names, encoding and forbidden blocks, in each file that some engine reads.
    ///
    /// # Errors
    /// `SourceInvalid`, naming the file.
    pub fn check(&self) -> Result<Declared> {
        if !self.files.keys().any(|name| !name.contains('/') && is_configuration(name)) {
            return Err(invalid("the source has no file with a name ending in .tf, .tf.json, .tofu or .tofu.json"));
        }
        let mut declared = Declared::default();
        for (name, bytes) in &self.files {
            check_name(name)?;
            if is_configuration(name) {
                check_file(name, bytes, &mut declared)?;
                check_order(name)?;
            }
        }
        Ok(declared)
    }

    /// A tar of the files: the same files give the same bytes.
    ///
    /// # Errors
    /// Where a path is too long for the format.
    pub fn to_tar(&self) -> Result<Vec<u8>> {
        snapshot::pack_files(&self.files)
    }

    /// What a module declares that was planned once, read from its snapshot. Its names were checked when it came; what
    /// `init` has fetched since stands below `.terraform` and may have any.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a tar that does not open; `SourceInvalid`, naming the file.
    pub fn stored(tar: &[u8]) -> Result<Declared> {
        let mut declared = Declared::default();
        for (name, bytes) in snapshot::root_files(tar)?.iter().filter(|(name, _)| is_configuration(name)) {
            check_file(name, bytes, &mut declared)?;
        }
        Ok(declared)
    }
}

fn check_file(name: &str, bytes: &[u8], declared: &mut Declared) -> Result<()> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| invalid(format!("{name} is not UTF-8 (byte {}): save it as UTF-8", e.valid_up_to())))?;
    if !is_nfc(text) {
        return Err(invalid(format!(
            "{name} is not in Unicode normal form C: the engine would read other bytes than were planned"
        )));
    }
    let found = if is_json(name) { syntax::json(text) } else { syntax::native(text) };
    let found = found.map_err(|e| invalid(format!("{name}: {e}")))?;
    if let Some(block) = found.forbidden {
        return Err(invalid(format!(
            "{name} has a `{block}` block inside `terraform`: Landfall keeps the state itself; remove the block"
        )));
    }
    if !name.contains('/') {
        for (variable, has_default) in found.variables {
            *declared.variables.entry(variable).or_default() |= has_default;
        }
        declared.outputs.extend(found.outputs);
        declared.partial |= found.partial;
    }
    Ok(())
}

fn is_json(name: &str) -> bool {
    name.ends_with(".json")
}

/// Whether some engine reads the file as configuration.
fn is_configuration(name: &str) -> bool {
    [".tf", ".tofu", ".tf.json", ".tofu.json"].iter().any(|end| name.ends_with(end))
}

fn check_name(name: &str) -> Result<()> {
    let plain = |part: &str| {
        !part.is_empty()
            && (!part.starts_with('.') || part == LOCK_FILE)
            && part.len() <= 200
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if name.len() > 900 || !name.split('/').all(plain) {
        return Err(invalid(format!("file name {name:?}: use letters, digits, `.`, `_` and `-`, and no leading dot")));
    }
    let base = name.rsplit('/').next().unwrap_or(name);
    // The engine would take them for its own state, and so would recovery; and `x.tofu.json` hides `x.tf.json`.
    if base.contains(".tfstate") || base.starts_with("zzzz_landfall") {
        return Err(invalid(format!("file name {name:?} is reserved: rename the file")));
    }
    Ok(())
}

/// What an override of the source says must not come after ours, which says which variables are not shown.
fn check_order(name: &str) -> Result<()> {
    let stem = [".tf.json", ".tofu.json", ".tf", ".tofu"].iter().find_map(|end| name.strip_suffix(end));
    let overrides = stem.is_some_and(|stem| stem == "override" || stem.ends_with("_override"));
    if overrides && !name.contains('/') && name > OVERRIDE_FILE {
        return Err(invalid(format!(
            "file name {name:?} is reserved, as it sorts after Landfall's own: rename the file"
        )));
    }
    Ok(())
}

/// Every given variable must be declared, and every declared one without a default must be given.
///
/// # Errors
/// `SourceInvalid`, naming the variables.
pub fn check_variables<'a>(declared: &Declared, given: impl IntoIterator<Item = &'a str>) -> Result<()> {
    if declared.partial {
        return Ok(()); // the engine says what is wrong with the file, and checks the variables itself
    }
    let given: BTreeSet<&str> = given.into_iter().collect();
    let undeclared: Vec<_> = given.iter().filter(|name| !declared.variables.contains_key(**name)).copied().collect();
    if !undeclared.is_empty() {
        let names = undeclared.join(", ");
        return Err(invalid(format!("the module declares no variable {names}: declare it, or remove its value")));
    }
    let lacks = |(name, has_default): &(&String, &bool)| !**has_default && !given.contains(name.as_str());
    let missing: Vec<_> = declared.variables.iter().filter(lacks).map(|(name, _)| name.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(", ");
    Err(invalid(format!(
        "no value for variable {names}: set it in spec.variables or spec.variablesFrom, or give it a default"
    )))
}

/// Every output that is to be published must be declared.
///
/// # Errors
/// `SourceInvalid`, naming the outputs.
pub fn check_outputs(declared: &Declared, include: &[String]) -> Result<()> {
    let lacks = |name: &&String| !declared.partial && !declared.outputs.contains(*name);
    let missing: Vec<_> = include.iter().filter(lacks).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(", ");
    Err(invalid(format!("spec.outputs.include: the module declares no output {names}: declare it, or remove its name")))
}

/// A value must be UTF-8 in NFC, since the engine normalises and would then apply other bytes than were digested.
///
/// # Errors
/// `SourceInvalid`, naming the variable and never the value.
pub fn check_value<'a>(variable: &str, bytes: &'a [u8]) -> Result<&'a str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_nfc(text) => Ok(text),
        Ok(_) => {
            Err(invalid(format!("the value of variable {variable} is not in Unicode normal form C: normalise it")))
        }
        Err(_) => {
            Err(invalid(format!("the value of variable {variable} is not UTF-8: encode it, for instance as base64")))
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::condition(Reason::SourceInvalid, message)
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
