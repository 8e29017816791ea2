//! Which of a credential's zones a name belongs to. Only the credential's own list says so, never the public suffixes.

use super::Name;

/// A zone as its provider lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zone {
    /// The provider's id of it.
    pub id: String,
    /// Its own name.
    pub name: Name,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// This one.
    One(&'a Zone),
    /// The name lies in none of them.
    None,
    /// Several have the same name, such as a public and a private one: the id must be said.
    Several(Vec<&'a Zone>),
}

/// The zone for a name: the one of `id` where that is given, else that with the longest name. A name lies only within
/// whole labels, and an id that is of another domain is no answer.
pub fn zone_of<'a>(name: &Name, zones: &'a [Zone], id: Option<&str>) -> Which<'a> {
    let fitting = || zones.iter().filter(|z| name.is_within(&z.name) && id.is_none_or(|id| z.id == id));
    let Some(longest) = fitting().map(|z| z.name.as_str().len()).max() else { return Which::None };
    let found: Vec<&Zone> = fitting().filter(|z| z.name.as_str().len() == longest).collect();
    match found.as_slice() {
        [one] => Which::One(one),
        _ => Which::Several(found),
    }
}

/// The delegation within `zone` that takes `name` away from it: the topmost NS set at or above it, the zone's own left out.
/// A record below such a cut is answered by nobody.
pub fn delegation<'a>(name: &Name, zone: &Name, ns_owners: impl IntoIterator<Item = &'a Name>) -> Option<&'a Name> {
    let cuts = ns_owners.into_iter().filter(|ns| *ns != zone && ns.is_within(zone) && name.is_within(ns));
    cuts.min_by_key(|ns| ns.as_str().len())
}

#[cfg(test)]
#[path = "which_tests.rs"]
mod tests;
