//! One value of a record set. Two are the same when they are equal here, however they were spelled.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{Invalid, Name, quoted, text};

/// The types that record sets may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name for this one.
    Cname,
    /// Who takes mail.
    Mx,
    /// Any bytes.
    Txt,
    /// Where a service is.
    Srv,
    /// Who may issue certificates.
    Caa,
    /// Who answers for what lies below.
    Ns,
    /// A name for an address.
    Ptr,
}

impl RecordType {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::A, Self::Aaaa, Self::Cname, Self::Mx, Self::Txt, Self::Srv, Self::Caa, Self::Ns, Self::Ptr];

    /// As zone files write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Srv => "SRV",
            Self::Caa => "CAA",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RecordType {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word)).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(" ");
            Invalid::new(match word {
                "SOA" => "SOA is the provider's own".to_owned(),
                _ => format!("{} is not among {known}", quoted(word)),
            })
        })
    }
}

/// A value, by type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The canonical name.
    Cname(Name),
    /// Who takes mail; the root for nobody.
    Mx {
        /// The lowest goes first.
        preference: u16,
        /// A host.
        exchange: Name,
    },
    /// The bytes as they are meant, without quotes, escapes or cuts.
    Txt(Vec<u8>),
    /// Where a service is; the root for nowhere.
    Srv {
        /// The lowest goes first.
        priority: u16,
        /// Share among those of the same priority.
        weight: u16,
        /// The port.
        port: u16,
        /// A host.
        target: Name,
    },
    /// Who may issue certificates.
    Caa {
        /// 128 for critical.
        flags: u8,
        /// In lower case.
        tag: String,
        /// What the tag says.
        value: Vec<u8>,
    },
    /// A host.
    Ns(Name),
    /// A name.
    Ptr(Name),
}

impl Data {
    /// A value as a spec writes it: names end with a dot, TXT is the logical text.
    ///
    /// # Errors
    /// Names the part and the rule.
    pub fn from_spec(kind: RecordType, value: &str) -> Result<Self, Invalid> {
        let data = match kind {
            RecordType::Txt => Self::Txt(value.as_bytes().to_vec()),
            _ => Self::read(kind, value, Name::target)?,
        };
        super::rules::check(&data)?;
        Ok(data)
    }

    /// A value in a provider's presentation form, with its odd spellings.
    ///
    /// # Errors
    /// Where it cannot be read. What can be read is taken, also where a spec may not say it.
    pub fn presented(kind: RecordType, value: &str) -> Result<Self, Invalid> {
        match kind {
            RecordType::Txt => text::parse(value).map(Self::Txt),
            _ => Self::read(kind, value, Name::presented),
        }
    }

    /// Its type.
    pub const fn kind(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::Aaaa,
            Self::Cname(_) => RecordType::Cname,
            Self::Mx { .. } => RecordType::Mx,
            Self::Txt(_) => RecordType::Txt,
            Self::Srv { .. } => RecordType::Srv,
            Self::Caa { .. } => RecordType::Caa,
            Self::Ns(_) => RecordType::Ns,
            Self::Ptr(_) => RecordType::Ptr,
        }
    }

    /// The one presentation form that we write: names end with a dot, strings are quoted.
    pub fn present(&self) -> String {
        match self {
            Self::Txt(bytes) => text::print(bytes),
            Self::Caa { flags, tag, value } => format!("{flags} {tag} {}", text::print_one(value)),
            _ => self.to_spec(),
        }
    }

    /// As a spec writes it. Bytes that are no UTF-8, which no spec holds, are replaced.
    pub fn to_spec(&self) -> String {
        match self {
            Self::A(address) => address.to_string(),
            // PowerDNS does not take an IPv4 address within, which is how these are printed.
            Self::Aaaa(address) => match (address.to_ipv4_mapped(), address.segments()) {
                (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
                (None, _) => address.to_string(),
            },
            Self::Cname(name) | Self::Ns(name) | Self::Ptr(name) => name.absolute(),
            Self::Mx { preference, exchange } => format!("{preference} {}", exchange.absolute()),
            Self::Txt(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Srv { priority, weight, port, target } => {
                format!("{priority} {weight} {port} {}", target.absolute())
            }
            Self::Caa { flags, tag, value } => format!("{flags} {tag} {}", text::print_one(value)),
        }
    }

    /// Octets on the wire, names not compressed.
    pub fn wire_len(&self) -> usize {
        match self {
            Self::A(_) => 4,
            Self::Aaaa(_) => 16,
            Self::Cname(name) | Self::Ns(name) | Self::Ptr(name) => name.wire_len(),
            Self::Mx { exchange, .. } => 2 + exchange.wire_len(),
            Self::Txt(bytes) => text::strings(bytes).map(|s| s.len() + 1).sum(),
            Self::Srv { target, .. } => 6 + target.wire_len(),
            Self::Caa { tag, value, .. } => 2 + tag.len() + value.len(),
        }
    }

    fn read(kind: RecordType, value: &str, name: fn(&str) -> Result<Name, Invalid>) -> Result<Self, Invalid> {
        let value = value.trim_ascii();
        let named = |part: &str, text: &str| name(text).map_err(|e| e.at(part));
        match kind {
            RecordType::A => address(value, "an IPv4 address").map(Self::A),
            RecordType::Aaaa => address(value, "an IPv6 address").map(Self::Aaaa),
            RecordType::Cname => named("CNAME target", value).map(Self::Cname),
            RecordType::Ns => named("NS host", value).map(Self::Ns),
            RecordType::Ptr => named("PTR target", value).map(Self::Ptr),
            RecordType::Mx => {
                let [preference, exchange] = fields(kind, value, "10 mail.example.com.")?;
                let preference = number(preference, "MX preference")?;
                Ok(Self::Mx { preference, exchange: named("MX exchange", exchange)? })
            }
            RecordType::Srv => {
                let [priority, weight, port, target] = fields(kind, value, "10 5 443 host.example.com.")?;
                Ok(Self::Srv {
                    priority: number(priority, "SRV priority")?,
                    weight: number(weight, "SRV weight")?,
                    port: number(port, "SRV port")?,
                    target: named("SRV target", target)?,
                })
            }
            RecordType::Caa => caa(value),
            RecordType::Txt => text::parse(value).map(Self::Txt),
        }
    }
}

fn address<T: FromStr>(text: &str, what: &str) -> Result<T, Invalid> {
    text.parse().map_err(|_| Invalid::new(format!("{} is not {what}", quoted(text))))
}

/// Exactly `N` words.
fn fields<'a, const N: usize>(kind: RecordType, value: &'a str, example: &str) -> Result<[&'a str; N], Invalid> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let count = words.len();
    words.try_into().map_err(|_| Invalid::new(format!("{kind} has {N} parts, as in {example:?}; here are {count}")))
}

/// A number in decimal digits alone.
fn number<T: FromStr + Bounded>(text: &str, part: &str) -> Result<T, Invalid> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| Invalid::new(format!("{part}: {} is no number from 0 to {}", quoted(text), T::LARGEST)))
}

/// The largest of a type's numbers, for messages.
trait Bounded {
    const LARGEST: u16;
}
impl Bounded for u8 {
    const LARGEST: u16 = u8::MAX as u16;
}
impl Bounded for u16 {
    const LARGEST: u16 = u16::MAX;
}

/// `FLAGS TAG VALUE`; the value is one quoted string, or all that follows.
fn caa(text: &str) -> Result<Data, Invalid> {
    let shape = || Invalid::new("CAA has 3 parts, as in \"0 issue letsencrypt.org\"");
    let (flags, rest) = text.split_once(|c: char| c.is_ascii_whitespace()).ok_or_else(shape)?;
    let (tag, value) = rest.trim_ascii_start().split_once(|c: char| c.is_ascii_whitespace()).ok_or_else(shape)?;
    if tag.is_empty() || !tag.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Invalid::new(format!("CAA tag: {} holds more than letters and digits", quoted(tag))));
    }
    let value = value.trim_ascii();
    let bytes = if value.starts_with('"') { text::parse(value) } else { text::parse_unquoted(value) };
    Ok(Data::Caa {
        flags: number(flags, "CAA flags")?,
        tag: tag.to_ascii_lowercase(),
        value: bytes.map_err(|e| e.at("CAA value"))?,
    })
}

#[cfg(test)]
#[path = "rdata_tests.rs"]
pub(super) mod tests;
