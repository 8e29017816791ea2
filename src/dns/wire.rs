//! Our names and values, and the wire's.

use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME, MX, NS, PTR, SRV, TXT};
use hickory_proto::rr::{Name as WireName, RData, RecordType as WireType};

use super::{Data, Invalid, Name, RecordType};

/// The name as the wire has it.
///
/// # Errors
/// Where it does not fit.
pub fn wire_name(name: &Name) -> Result<WireName, String> {
    let mut wire = WireName::from_labels(name.labels().map(str::as_bytes)).map_err(|e| format!("{name}: {e}"))?;
    wire.set_fqdn(true);
    Ok(wire)
}

/// A name of the wire, in presentation form with decimal escapes. Case is kept.
pub fn presented(wire: &WireName) -> String {
    let byte = |byte: &u8| match byte {
        b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*' | b'/') => char::from(*b).to_string(),
        other => format!("\\{other:03}"),
    };
    wire.iter().map(|label| label.iter().map(byte).collect::<String>() + ".").collect()
}

/// The type as the wire has it.
pub const fn wire_type(kind: RecordType) -> WireType {
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
///
/// # Errors
/// Where a name in it does not fit.
pub fn wire_data(data: &Data) -> Result<RData, String> {
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
        Data::Txt(bytes) => RData::TXT(TXT::from_bytes(super::text::strings(bytes).collect())),
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
///
/// # Errors
/// Where a name in it is held by no record set of ours.
pub fn data(wire: &RData) -> Option<Result<Data, Invalid>> {
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
