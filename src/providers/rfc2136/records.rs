//! Our names, values and sets, and the wire's.

use std::collections::BTreeMap;

use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME, MX, NS, PTR, SRV, TXT};
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType as WireType};

use crate::dns::{Data, Invalid, Name, RecordSet, RecordType, text};
use crate::providers::dns::{Contents, Other, Standing};

/// The name as the wire has it.
pub(super) fn wire_name(name: &Name) -> Result<WireName, String> {
    let mut wire = WireName::from_labels(name.labels().map(str::as_bytes)).map_err(|e| format!("{name}: {e}"))?;
    wire.set_fqdn(true);
    Ok(wire)
}

/// A name of the wire, in presentation form with decimal escapes. Case is kept.
fn presented(wire: &WireName) -> String {
    let byte = |byte: &u8| match byte {
        b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*' | b'/') => char::from(*b).to_string(),
        other => format!("\\{other:03}"),
    };
    wire.iter().map(|label| label.iter().map(byte).collect::<String>() + ".").collect()
}

/// The type as the wire has it.
pub(super) const fn wire_type(kind: RecordType) -> WireType {
    match kind {
        RecordType::A => WireType::A,
        RecordType::Aaaa => WireType::AAAA,
        RecordType::Cname => WireType::CNAME,
        RecordType::Mx => WireType::MX,
        RecordType::Txt => WireType::TXT,
        RecordType::Srv => WireType::SRV,
        RecordType::Caa => WireType::CAA,
        RecordType::Ns => WireType::NS,
        RecordType::Ptr => WireType::PTR,
    }
}

/// The value as the wire has it.
pub(super) fn wire_data(data: &Data) -> Result<RData, String> {
    Ok(match data {
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Cname(name) => RData::CNAME(CNAME(wire_name(name)?)),
        Data::Ns(name) => RData::NS(NS(wire_name(name)?)),
        Data::Ptr(name) => RData::PTR(PTR(wire_name(name)?)),
        Data::Mx { preference, exchange } => RData::MX(MX::new(*preference, wire_name(exchange)?)),
        Data::Srv { priority, weight, port, target } => {
            RData::SRV(SRV::new(*priority, *weight, *port, wire_name(target)?))
        }
        Data::Txt(bytes) => RData::TXT(TXT::from_bytes(text::strings(bytes).collect())),
        Data::Caa { flags, tag, value } => {
            let mut caa = CAA::new_issue(flags & 0x80 != 0, None, Vec::new());
            caa.reserved_flags = flags & 0x7f;
            caa.tag.clone_from(tag);
            caa.value.clone_from(value);
            RData::CAA(caa)
        }
    })
}

/// Reads a value; `None` where it is of a type that is none of ours.
fn data(wire: &RData) -> Option<Result<Data, Invalid>> {
    let name = |wire: &WireName| Name::presented(&presented(wire));
    Some(match wire {
        RData::A(address) => Ok(Data::A(address.0)),
        RData::AAAA(address) => Ok(Data::Aaaa(address.0)),
        RData::CNAME(target) => name(target).map(Data::Cname),
        RData::NS(host) => name(host).map(Data::Ns),
        RData::PTR(target) => name(target).map(Data::Ptr),
        RData::MX(mx) => name(&mx.exchange).map(|exchange| Data::Mx { preference: mx.preference, exchange }),
        RData::SRV(srv) => name(&srv.target).map(|target| Data::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target,
        }),
        RData::TXT(txt) => Ok(Data::Txt(txt.txt_data.concat())),
        RData::CAA(caa) => {
            Ok(Data::Caa { flags: caa.flags(), tag: caa.tag.to_ascii_lowercase(), value: caa.value.clone() })
        }
        _ => return None,
    })
}

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
