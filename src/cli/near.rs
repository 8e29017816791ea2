//! Which name was meant, where there is none of that name.

/// So many are named.
const NAMED: usize = 3;

/// Those of the names that differ from this one by little, the nearest first.
pub(super) fn near<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let most = (name.chars().count() / 3).max(1);
    let distance = |other: &str| strsim::osa_distance(&name.to_lowercase(), &other.to_lowercase());
    let close = |other: &str| distance(other) <= most || other.starts_with(name) || name.starts_with(other);
    let mut found: Vec<_> = names.into_iter().filter(|other| !other.is_empty() && close(other)).collect();
    found.sort_by_key(|other| (distance(other), *other));
    found.dedup();
    found.truncate(NAMED);
    found
}

/// Where an object of that name is, or which names are like it; else where names are listed.
pub(super) fn hint(
    kind: &str,
    (namespace, name): (&str, &str),
    found: impl IntoIterator<Item = (String, String)>,
    list: &str,
) -> String {
    let found: Vec<_> = found.into_iter().collect();
    let mut elsewhere: Vec<_> =
        found.iter().filter(|(_, other)| other == name).map(|(place, _)| place.as_str()).collect();
    elsewhere.sort_unstable();
    elsewhere.dedup();
    if elsewhere.contains(&namespace) {
        return "there is one in another cluster: say which with --cluster".to_owned();
    }
    elsewhere.truncate(NAMED);
    if !elsewhere.is_empty() {
        return format!("there is one in {}: say which with -n", elsewhere.join(", "));
    }
    let here = found.iter().filter(|(place, _)| place == namespace).map(|(_, other)| other.as_str());
    match near(name, here).as_slice() {
        [] => format!("name another namespace with -n; {list} lists what there is"),
        names => format!("did you mean {kind}/{}?", names.join(&format!(" or {kind}/"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_found() {
        assert_eq!(near("wbe", ["web", "database"]), ["web"]);
        assert_eq!(near("Shop", ["shop", "shop-eu", "team"]), ["shop"]);
        assert_eq!(near("shop", ["shop-eu", "team"]), ["shop-eu"]);
        assert!(near("x", ["database"]).is_empty());
    }

    #[test]
    fn another_namespace_is_named_before_another_name() {
        let found =
            || [("a", "web"), ("b", "webs"), ("c", "web")].map(|(place, name)| (place.to_owned(), name.to_owned()));
        assert_eq!(hint("tfd", ("b", "web"), found(), ""), "there is one in a, c: say which with -n");
        assert_eq!(hint("tfd", ("b", "wbes"), found(), ""), "did you mean tfd/webs?");
        assert!(hint("tfd", ("a", "web"), found(), "").starts_with("there is one in another cluster"));
        let said = hint("tfd", ("b", "other"), found(), "`kubectl get tfd -A`");
        assert_eq!(said, "name another namespace with -n; `kubectl get tfd -A` lists what there is");
    }
}
