//! The message of an UPDATE: conditions first, then what is taken away, then what is put there.

use std::collections::BTreeMap;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType as WireType};

use crate::dns::wire::{presented, wire_data, wire_name, wire_type};
use crate::dns::{Data, Name, RecordSet, RecordType};
use crate::providers::dns::Change;

/// Values as they stand on the wire. A text may be cut elsewhere than ours, or a tag be in capitals: to us it is the same value,
/// to a server's comparison another one.
pub(super) type Spelled = BTreeMap<(Name, RecordType), Vec<RData>>;

/// The label at which nothing is changed.
const IDLE: &str = "_landfall-probe";

/// One message for these changes of a zone, not yet signed. Sets that stand in another spelling than ours are `spelled` so in
/// their conditions.
///
/// # Errors
/// Where a name does not fit onto the wire.
pub(super) fn message(zone: &Name, lot: &[(usize, &Change)], spelled: &Spelled) -> Result<Message, String> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Update);
    message.add_query(Query::query(wire_name(zone)?, WireType::SOA));
    for (_, change) in lot {
        for part in change.parts() {
            message.answers.extend(conditions(part, lot, spelled)?);
        }
    }
    // Of one name, a CNAME goes before another type comes. What stays as it is was only a condition.
    let parts = || lot.iter().flat_map(|(_, change)| change.parts()).filter(|part| part.before() != part.after());
    for part in parts() {
        if let (Some(before), Some((owner, _))) = (part.before(), part.key()) {
            message.authorities.push(empty(wire_name(owner)?, wire_type(before.kind()), DNSClass::ANY));
        }
    }
    for part in parts() {
        if let Some(after) = part.after() {
            message.authorities.extend(records(after, after.ttl())?);
        }
    }
    Ok(message)
}

/// An UPDATE that changes nothing and needs the right to: what it takes away must not be there, by its own condition.
pub(super) fn idle(zone: &Name) -> Result<Message, String> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Update);
    message.add_query(Query::query(wire_name(zone)?, WireType::SOA));
    let name = wire_name(&Name::parse(&format!("{IDLE}.{zone}")).map_err(|e| e.to_string())?)?;
    message.answers.push(empty(name.clone(), WireType::TXT, DNSClass::NONE));
    message.authorities.push(empty(name, WireType::TXT, DNSClass::ANY));
    Ok(message)
}

/// What must hold: the set is what was read. A server lets a CNAME that would not stand alone fall without a word, so that
/// this, too, is made a condition.
fn conditions(change: &Change, lot: &[(usize, &Change)], spelled: &Spelled) -> Result<Vec<Record>, String> {
    let Some((owner, kind)) = change.key() else { return Ok(Vec::new()) };
    if let Some(before) = change.before() {
        return match spelled.get(&(owner.clone(), kind)) {
            Some(stands) => {
                let name = wire_name(owner)?;
                Ok(stands.iter().map(|data| Record::from_rdata(name.clone(), 0, data.clone())).collect())
            }
            None => records(before, 0),
        };
    }
    let name = wire_name(owner)?;
    let none = |kind: WireType| empty(name.clone(), kind, DNSClass::NONE);
    let beside = |other: RecordType| lot.iter().any(|(_, c)| c.key().is_some_and(|key| key == (owner, other)));
    let alone = !lot.iter().any(|(_, c)| c.key().is_some_and(|(name, other)| name == owner && other != kind));
    Ok(match kind {
        RecordType::Cname if alone => vec![none(WireType::ANY)],
        RecordType::Cname => {
            RecordType::ALL.into_iter().filter(|k| *k == kind || !beside(*k)).map(|k| none(wire_type(k))).collect()
        }
        _ if beside(RecordType::Cname) => vec![none(wire_type(kind))],
        _ => vec![none(wire_type(kind)), none(WireType::CNAME)],
    })
}

/// The sets that these changes are of, as they stand among the records of a zone.
pub(super) fn spelled(lot: &[(usize, &Change)], records: &[Record]) -> Spelled {
    let parts = lot.iter().flat_map(|(_, change)| change.parts()).filter(|part| part.before().is_some());
    let mut spelled: Spelled =
        parts.filter_map(|part| part.key()).map(|(owner, kind)| ((owner.clone(), kind), Vec::new())).collect();
    for record in records {
        let kind = RecordType::ALL.into_iter().find(|kind| wire_type(*kind) == record.record_type());
        let key = Name::presented(&presented(&record.name)).ok().zip(kind);
        if let Some(values) = key.and_then(|key| spelled.get_mut(&key)) {
            values.push(record.data.clone());
        }
    }
    spelled
}

fn records(set: &RecordSet, ttl: u32) -> Result<Vec<Record>, String> {
    let name = wire_name(set.owner())?;
    let record = |data: &Data| Ok(Record::from_rdata(name.clone(), ttl, wire_data(data)?));
    set.values().iter().map(record).collect()
}

/// A record without a value, which says something of its type.
fn empty(name: WireName, kind: WireType, class: DNSClass) -> Record {
    let mut record = Record::update0(name, 0, kind);
    record.dns_class = class;
    record
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
