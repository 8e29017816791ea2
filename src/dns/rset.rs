//! A record set: all values of one name and type. It is read, compared and written as a whole.

use sha2::{Digest, Sha256};

use super::{Data, Invalid, Name, RecordType};

/// Values of a set.
const VALUES_LIMIT: usize = 100;
/// Characters of a value in a spec.
const TEXT_LIMIT: usize = 4096;
/// Seconds.
const TTL_LIMIT: u32 = 86_400;
/// Octets of a set in an answer: a DNS message has at most 65,535, and needs some for itself.
const WIRE_LIMIT: usize = 60_000;
/// The form of what is hashed; a change of it is another form.
const FORM: &str = "landfall.dev/record-set/1";

/// A set in canonical form: values in order, none twice. Two sets are the same when they are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordSet {
    owner: Name,
    kind: RecordType,
    ttl: u32,
    values: Vec<Data>,
}

impl RecordSet {
    /// The set that a spec wants.
    ///
    /// # Errors
    /// Names the field of the spec and the rule.
    pub fn from_spec(owner: Name, kind: RecordType, ttl: u32, values: &[String]) -> Result<Self, Invalid> {
        if !(1..=TTL_LIMIT).contains(&ttl) {
            return Err(Invalid::new(format!("spec.ttl: {ttl} is not within 1 to {TTL_LIMIT}")));
        }
        if values.is_empty() || values.len() > VALUES_LIMIT {
            let rule = format!("spec.values: a set has 1 to {VALUES_LIMIT} values; here are {}", values.len());
            return Err(Invalid::new(rule));
        }
        let mut all: Vec<Data> = Vec::with_capacity(values.len());
        for (place, value) in values.iter().enumerate() {
            let field = format!("spec.values[{place}]");
            if value.chars().nth(TEXT_LIMIT).is_some() {
                return Err(Invalid::new(format!("{field}: has more than {TEXT_LIMIT} characters")));
            }
            let data = Data::from_spec(kind, value).map_err(|e| e.at(&field))?;
            if let Some(first) = all.iter().position(|other| *other == data) {
                return Err(Invalid::new(format!("{field}: is the same as spec.values[{first}]")));
            }
            all.push(data);
        }
        let set = Self::sorted(owner, kind, ttl, all);
        set.check().map_err(|e| e.at("spec.values"))?;
        Ok(set)
    }

    /// A set as a provider has it, from its records: TTL and value of each, all of type `kind`. Doubles are dropped.
    ///
    /// # Errors
    /// Where there is no record, one is of another type, or their TTLs differ, which RFC 2181 forbids.
    pub fn gathered(owner: Name, kind: RecordType, records: Vec<(u32, Data)>) -> Result<Self, Invalid> {
        let Some(ttl) = records.first().map(|(ttl, _)| *ttl) else {
            return Err(Invalid::new(format!("{owner} {kind}: has no value")));
        };
        if records.iter().any(|(other, _)| *other != ttl) {
            return Err(Invalid::new(format!("{owner} {kind}: its records have different TTLs")));
        }
        if records.iter().any(|(_, data)| data.kind() != kind) {
            return Err(Invalid::new(format!("{owner} {kind}: a record has another type")));
        }
        Ok(Self::sorted(owner, kind, ttl, records.into_iter().map(|(_, data)| data).collect()))
    }

    fn sorted(owner: Name, kind: RecordType, ttl: u32, mut values: Vec<Data>) -> Self {
        values.sort_unstable();
        values.dedup();
        Self { owner, kind, ttl, values }
    }

    /// Whose it is.
    pub fn owner(&self) -> &Name {
        &self.owner
    }

    /// Its type.
    pub fn kind(&self) -> RecordType {
        self.kind
    }

    /// Seconds.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The values in canonical order, at least one.
    pub fn values(&self) -> &[Data] {
        &self.values
    }

    /// The same with another TTL, such as a provider's least.
    #[must_use]
    pub fn with_ttl(self, ttl: u32) -> Self {
        Self { ttl, ..self }
    }

    /// Checks what depends on the zone that is to hold it.
    ///
    /// # Errors
    /// Where it lies outside, or where the zone's own name may not have this type.
    pub fn check_zone(&self, zone: &Name) -> Result<(), Invalid> {
        if !self.owner.is_within(zone) {
            return Err(Invalid::new(format!("spec.name: {} does not lie within the zone {zone}", self.owner)));
        }
        match self.kind {
            RecordType::Cname if self.owner == *zone => {
                Err(Invalid::new(format!("spec.type: a CNAME may not stand at the zone's own name {zone}")))
            }
            RecordType::Ns if self.owner == *zone => {
                Err(Invalid::new(format!("spec.type: NS at the zone's own name {zone} is the provider's own")))
            }
            _ => Ok(()),
        }
    }

    /// `sha256:<64 hex>` over owner, type, TTL and values. Equal sets have equal digests, in every version.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let head = [FORM, self.owner.as_str(), self.kind.as_str(), &self.ttl.to_string()].map(str::to_owned);
        for part in head.into_iter().chain(self.values.iter().map(Data::present)) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    }

    /// What holds for the values together.
    fn check(&self) -> Result<(), Invalid> {
        let alone = match self.values.as_slice() {
            [_] => true,
            _ => !self.values.iter().any(is_alone),
        };
        if !alone {
            return Err(Invalid::new(match self.kind {
                RecordType::Cname => "a CNAME has one value",
                _ => "\".\" says that there is none, and stands alone",
            }));
        }
        if self.kind == RecordType::Cname && self.values.iter().any(|v| *v == Data::Cname(self.owner.clone())) {
            return Err(Invalid::new("a CNAME may not lead to itself"));
        }
        if self.kind == RecordType::Ns && self.owner.is_wildcard() {
            return Err(Invalid::new("NS may not stand at a wildcard"));
        }
        let octets: usize = self.values.iter().map(|v| v.wire_len() + 12).sum();
        if octets > WIRE_LIMIT {
            return Err(Invalid::new(format!("{octets} octets fit into no DNS answer; at most {WIRE_LIMIT}")));
        }
        Ok(())
    }
}

/// Whether a value is the only one of its set.
fn is_alone(data: &Data) -> bool {
    match data {
        Data::Cname(_) => true,
        Data::Mx { exchange: name, .. } | Data::Srv { target: name, .. } => name.is_root(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "rset_tests.rs"]
mod tests;
