//! The sets of a transferred zone.

use std::collections::BTreeMap;

use hickory_proto::rr::{Record, RecordType as WireType};

use crate::dns::wire::{data, presented};
use crate::dns::{Name, RecordSet};
use crate::providers::dns::{Contents, Other, Standing};

/// What a signed zone has beside its data.
fn is_made_by_the_server(kind: WireType) -> bool {
    matches!(
        kind,
        WireType::SOA
            | WireType::RRSIG
            | WireType::NSEC
            | WireType::NSEC3
            | WireType::NSEC3PARAM
            | WireType::DNSKEY
            | WireType::CDS
            | WireType::CDNSKEY
    )
}

/// The sets of a transferred zone.
pub(super) fn contents(records: Vec<Record>) -> Contents {
    let mut groups: BTreeMap<(String, u16), Vec<Record>> = BTreeMap::new();
    for record in records.into_iter().filter(|r| !is_made_by_the_server(r.record_type())) {
        let key = (presented(&record.name).to_ascii_lowercase(), u16::from(record.record_type()));
        groups.entry(key).or_default().push(record);
    }
    let mut contents = Contents::default();
    for ((name, _), group) in groups {
        match set(&name, &group) {
            Ok(set) => contents.sets.push(Standing { set, markers: Vec::new() }),
            Err(why) => {
                let kind = group.first().map(|r| r.record_type().to_string()).unwrap_or_default();
                contents.others.push(Other { name, kind, why });
            }
        }
    }
    contents
}

fn set(name: &str, group: &[Record]) -> Result<RecordSet, String> {
    let mut values = Vec::with_capacity(group.len());
    for record in group {
        let data = data(&record.data).ok_or("its type is none of ours")?;
        values.push((record.ttl, data.map_err(|e| e.to_string())?));
    }
    let kind = values.first().map(|(_, data)| data.kind()).ok_or("it is empty")?;
    let owner = Name::presented(name).map_err(|e| e.to_string())?;
    RecordSet::gathered(owner, kind, values).map_err(|e| e.to_string())
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
