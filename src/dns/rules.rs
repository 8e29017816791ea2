//! What a spec may not say though DNS could hold it: it would serve nobody, or break what it stands in.

use super::{Data, Invalid, Name, quoted, text};

/// Tags of CAA that have a meaning: RFC 8659 and 9495, and the CA/Browser Forum's contacts and mark certificates.
const CAA_TAGS: [&str; 7] = ["issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"];

/// Checks one value of a spec.
pub(super) fn check(data: &Data) -> Result<(), Invalid> {
    match data {
        Data::A(_) | Data::Aaaa(_) => Ok(()),
        Data::Cname(target) => not_root("CNAME target", target),
        Data::Ptr(target) => not_root("PTR target", target),
        Data::Ns(host) => not_root("NS host", host).and_then(|()| is_host("NS host", host)),
        Data::Mx { preference: 1.., exchange } if exchange.is_root() => {
            Err(Invalid::new("MX preference: \"no mail\" is \"0 .\" and has no other preference"))
        }
        Data::Mx { exchange, .. } => is_host("MX exchange", exchange),
        Data::Srv { target, .. } => is_host("SRV target", target),
        Data::Txt(bytes) if bytes.contains(&0) => Err(Invalid::new("TXT holds U+0000, which is no text")),
        Data::Txt(_) => Ok(()),
        Data::Caa { tag, value, .. } => caa(tag, value),
    }
}

fn not_root(part: &str, name: &Name) -> Result<(), Invalid> {
    if name.is_root() { Err(Invalid::new(format!("{part}: the root leads nowhere"))) } else { Ok(()) }
}

fn is_host(part: &str, name: &Name) -> Result<(), Invalid> {
    if name.is_host() {
        return Ok(());
    }
    Err(Invalid::new(format!("{part}: {name} is no host name; those have letters, digits and \"-\" alone")))
}

fn caa(tag: &str, value: &[u8]) -> Result<(), Invalid> {
    if !CAA_TAGS.contains(&tag) {
        return Err(Invalid::new(format!("CAA tag: {} is not among {}", quoted(tag), CAA_TAGS.join(" "))));
    }
    let refuse = |rule: &str| Err(Invalid::new(format!("CAA value of {tag}: {} {rule}", text::print_one(value))));
    let Some(value) = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| matches!(b, b' '..=b'~'))) else {
        return refuse("holds more than printable ASCII");
    };
    match tag {
        "iodef" if !["mailto:", "https://", "http://"].iter().any(|scheme| value.starts_with(scheme)) => {
            refuse("begins with none of mailto: https:// http://")
        }
        "issue" | "issuewild" | "issuemail" | "issuevmc" => {
            let issuer = value.split(';').next().unwrap_or_default().trim_ascii();
            match Name::presented(issuer) {
                Ok(name) if name.is_host() && !issuer.ends_with('.') => Ok(()),
                _ => refuse("begins with no domain of a CA; \";\" alone permits none"),
            }
        }
        _ => Ok(()),
    }
}
