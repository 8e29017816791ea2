//! The provider lock file of the last apply, carried forward. Pure.

/// A lock file without the providers whose locked version the module no longer admits, by what `init` said; `None` where it
/// named none. Nobody else could take them out: the file is not in the module.
pub(super) fn without_misfits(lock: &str, said: &str) -> Option<String> {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let misfits = |address: &str| {
        let words = format!("locked provider {address} ");
        said.match_indices(&words).any(|(at, _)| {
            let rest = said.get(at + words.len()..).and_then(|rest| rest.split_once(' '));
            rest.is_some_and(|(_, rest)| rest.starts_with("does not match configured version constraint"))
        })
    };
    let (mut kept, mut inside, mut found) = (String::new(), false, false);
    for line in lock.split_inclusive('\n') {
        let address = line.strip_prefix("provider \"").and_then(|rest| rest.split('"').next());
        if address.is_some_and(misfits) {
            (inside, found) = (true, true);
        }
        if !inside {
            kept.push_str(line);
        }
        if line.trim_end() == "}" {
            inside = false;
        }
    }
    found.then_some(kept)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::without_misfits;

    const LOCK: &str = "# By \"tofu init\".\n\nprovider \"r/h/local\" {\n  version = \"1.3.0\"\n  hashes = [\n    \"h1:a=\",\n  ]\n}\n\n\
                        provider \"r/h/time\" {\n  version = \"0.13.0\"\n}\n";

    #[test]
    fn only_what_the_module_no_longer_admits_is_taken_out() {
        let said = "Error: Failed\n\nlocked provider\nr/h/local 1.3.0 does not match configured version\nconstraint 1.4.0; \
                    must use tofu init -upgrade";
        let kept = without_misfits(LOCK, said).unwrap();
        assert_eq!(kept, "# By \"tofu init\".\n\n\nprovider \"r/h/time\" {\n  version = \"0.13.0\"\n}\n");
        let both = format!("{said}\nlocked provider r/h/time 0.13.0 does not match configured version constraint 1");
        assert_eq!(without_misfits(LOCK, &both).unwrap(), "# By \"tofu init\".\n\n\n");
    }

    #[test]
    fn another_error_takes_nothing_out() {
        for said in [
            "the locked provider r/h/local 1.3.0 has other checksums",
            "locked provider r/h/loc 1.3.0 does not match configured version constraint 1.4.0",
            "locked provider r/h/local",
            "",
        ] {
            assert_eq!(without_misfits(LOCK, said), None, "{said}");
        }
    }
}
