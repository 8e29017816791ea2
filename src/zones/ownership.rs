//! Whose a set is. Where the provider holds markers, by its marker; else by an entry of a registry: a TXT set in the same
//! zone, at a name that neither a delegation nor a wildcard at the set's own name hides.

use uuid::Uuid;

use super::snapshot::Snapshot;
use super::wish::Whose;
use crate::access::text;
use crate::dns::reserved::OWN;
use crate::dns::{Data, Name, RecordSet, RecordType, Zone};

/// What our markers begin with.
const MARKER: &str = "landfall:";
/// Digits of the cluster's id in a marker, which has 40 characters at most; the id has 32.
const DIGITS: usize = 31;
/// What stands in the registry for the `*` of a wildcard.
const WILDCARD: &str = "_wildcard";
/// Seconds, of entries of the registry.
const TTL: u32 = 300;

/// Who we are, and how that is said at a provider.
#[derive(Clone, Debug)]
pub(super) struct Ownership {
    marker: String,
    text: String,
    marks: bool,
}

impl Ownership {
    /// Of the installation with this cluster id, at a provider that holds markers or not.
    pub(super) fn new(cluster: Uuid, marks: bool) -> Self {
        let digits: String = cluster.simple().to_string().chars().take(DIGITS).collect();
        Self { marker: format!("{MARKER}{digits}"), text: format!("heritage=landfall,cluster={cluster}"), marks }
    }

    /// The marker for sets of ours, where there are markers.
    pub(super) fn marker(&self) -> Option<String> {
        self.marks.then(|| self.marker.clone())
    }

    /// Whose the set of this name and type is, or would be.
    pub(super) fn whose(&self, zone: &Zone, snapshot: &Snapshot, owner: &Name, kind: RecordType) -> Whose {
        let own = if self.marks {
            self.by_marker(snapshot, owner, kind)
        } else {
            self.by_registry(zone, snapshot, owner, kind)
        };
        if own != Whose::Nobody {
            return own;
        }
        if let Some(word) = external_dns(snapshot, owner, kind) {
            return Whose::Another(word);
        }
        match snapshot.odd(owner).find(|other| other.kind.eq_ignore_ascii_case(kind.as_str())) {
            Some(other) => Whose::Another(format!("unknown, in a form that cannot be read: {}", other.why)),
            None => Whose::Nobody,
        }
    }

    fn by_marker(&self, snapshot: &Snapshot, owner: &Name, kind: RecordType) -> Whose {
        let markers = snapshot.find(owner, kind).map(|s| s.markers.as_slice()).unwrap_or_default();
        if markers.contains(&self.marker) {
            return Whose::Ours;
        }
        match markers.iter().find(|marker| marker.starts_with(MARKER)) {
            Some(other) => Whose::Another(format!("another installation of Landfall, with the marker {other}")),
            None => Whose::Nobody,
        }
    }

    fn by_registry(&self, zone: &Zone, snapshot: &Snapshot, owner: &Name, kind: RecordType) -> Whose {
        let Ok(entry) = entry_name(zone, owner, kind) else { return Whose::Nobody };
        match snapshot.find(&entry, RecordType::Txt) {
            Some(standing) if standing.set.values() == [self.value()] => Whose::Ours,
            Some(standing) => {
                let said = standing.set.values().iter().map(said).collect::<Vec<_>>().join(" ");
                Whose::Another(format!("another, by the entry {entry}: {}", text::line(&said, 200)))
            }
            None => Whose::Nobody,
        }
    }

    /// The entry that says of a set that it is ours.
    ///
    /// # Errors
    /// The name that it would have is none.
    pub(super) fn entry(&self, zone: &Zone, owner: &Name, kind: RecordType) -> Result<RecordSet, String> {
        let name = entry_name(zone, owner, kind)?;
        let records = vec![(TTL, self.value())];
        RecordSet::gathered(name, RecordType::Txt, records).map_err(|e| e.to_string())
    }

    /// Sets of this zone that are ours and stand.
    pub(super) fn owned(&self, zone: &Zone, snapshot: &Snapshot) -> usize {
        let ours = |(owner, kind): &(&Name, RecordType)| {
            let whose = match self.marks {
                true => self.by_marker(snapshot, owner, *kind),
                false => self.by_registry(zone, snapshot, owner, *kind),
            };
            whose == Whose::Ours
        };
        snapshot.keys().filter(ours).count()
    }

    fn value(&self) -> Data {
        Data::Txt(self.text.clone().into_bytes())
    }
}

/// `www.dev` of `example.com`, type A: `www.dev._landfall-a.example.com`.
fn entry_name(zone: &Zone, owner: &Name, kind: RecordType) -> Result<Name, String> {
    let left = owner.relative_to(&zone.name).ok_or_else(|| format!("{owner} does not lie within {}", zone.name))?;
    if left.split('.').next() == Some(WILDCARD) {
        return Err(format!("the label {WILDCARD} stands for \"*\" in the registry of owners; take another name"));
    }
    let label = format!("{OWN}{}", kind.as_str().to_ascii_lowercase());
    let text = match left {
        "@" => format!("{label}.{}", zone.name),
        "*" => format!("{WILDCARD}.{label}.{}", zone.name),
        other => match other.strip_prefix("*.") {
            Some(rest) => format!("{WILDCARD}.{rest}.{label}.{}", zone.name),
            None => format!("{other}.{label}.{}", zone.name),
        },
    };
    Name::presented(&text).map_err(|_| {
        format!("{owner} is too long: the provider keeps no owners, and the entry of the registry, {label} in its midst, has no room")
    })
}

/// Whether a name is of the registry, and no set's own.
pub(super) fn is_reserved(owner: &Name) -> bool {
    let of_type = |label: &str| {
        let kind = label.strip_prefix(OWN);
        kind.is_some_and(|kind| RecordType::ALL.iter().any(|known| known.as_str().eq_ignore_ascii_case(kind)))
    };
    owner.labels().any(of_type)
}

/// The names that tell whose a set is, beside its own.
pub(super) fn telling(owner: &Name, kind: RecordType) -> Option<Name> {
    Name::presented(&format!("{}-{owner}", kind.as_str().to_ascii_lowercase())).ok()
}

/// What external-dns says of the set in its registry: at the name itself, or with the type before it.
fn external_dns(snapshot: &Snapshot, owner: &Name, kind: RecordType) -> Option<String> {
    let entries = std::iter::once(owner.clone()).chain(telling(owner, kind));
    let texts: Vec<String> = entries
        .filter_map(|name| snapshot.find(&name, RecordType::Txt))
        .flat_map(|s| s.set.values())
        .map(said)
        .collect();
    let text = texts.iter().map(|t| t.trim_matches('"')).find(|t| t.starts_with("heritage=external-dns"))?;
    Some(format!("external-dns, by its registry: {}", text::line(text, 200)))
}

fn said(data: &Data) -> String {
    match data {
        Data::Txt(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.present(),
    }
}

#[cfg(test)]
#[path = "ownership_tests.rs"]
mod tests;
