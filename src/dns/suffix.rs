//! Public suffixes: names under which others register, such as `com`, `co.uk` and `github.io`.

use super::Name;

/// The part of a name that somebody registered: one label more than the public suffix. `None` where the name is a public
/// suffix itself. Below a suffix that the list does not know, the last label is taken for it.
pub fn registrable(name: &Name) -> Option<Name> {
    Name::parse(psl::domain_str(name.as_str())?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_registered_part_is_one_label_more_than_the_public_suffix() {
        for (name, expected) in [
            ("example.com", Some("example.com")),
            ("a.b.Example.com.", Some("example.com")),
            ("example.co.uk", Some("example.co.uk")),
            ("www.example.co.uk", Some("example.co.uk")),
            ("landfall.test", Some("landfall.test")),
            ("a.corp.internal", Some("corp.internal")),
            ("me.github.io", Some("me.github.io")),
            ("www.city.kawasaki.jp", Some("city.kawasaki.jp")),
            ("食狮.公司.cn", Some("xn--85x722f.xn--55qx5d.cn")),
            ("com", None),
            ("co.uk", None),
            ("github.io", None),
            ("公司.cn", None),
            ("c.kobe.jp", None),
            ("test", None),
        ] {
            let found = registrable(&Name::parse(name).unwrap());
            assert_eq!(found.as_ref().map(Name::as_str), expected, "{name}");
        }
    }
}
