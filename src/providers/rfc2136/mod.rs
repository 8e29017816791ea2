//! Any server that takes UPDATE (RFC 2136), signed with TSIG (RFC 8945), over TCP. Prerequisites make each change a
//! compare-and-swap at the server; a zone is read by AXFR, which alone tells what stands there from what is synthesised.

mod probe;
mod records;
mod update;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType as WireType};

use self::update::Spelled;
use self::wire::Wire;
use super::dns::{Change, Contents, Dns, Outcome, Trouble, unfit};
use super::isolation::{Isolation, Reply};
use super::lots::{lots, units};
use crate::Result;
use crate::access::SecretText;
use crate::api::Reason;
pub use crate::api::TsigAlgorithm as Algorithm;
use crate::dns::{Name, RecordType, Zone};

/// From the connection to the last byte of an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Changes of one message.
const LOT: usize = 200;
/// Octets of one message before its names are compressed; there is room for 65,535.
const LOT_OCTETS: usize = 60_000;

/// A server with a key and the zones that the key is for.
pub struct Rfc2136 {
    endpoint: String,
    wire: Wire,
    zones: Vec<Name>,
}

impl Rfc2136 {
    /// Which server it is.
    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// `server` is an address that was permitted; `key_name` and `secret` (base64) are those of the server's key.
    ///
    /// # Errors
    /// `InvalidCredentials` where name or secret can be none.
    pub fn new(
        server: SocketAddr,
        key_name: &str,
        algorithm: Algorithm,
        secret: &SecretText,
        zones: Vec<Name>,
    ) -> Result<Self> {
        let wire = Wire::new(server, key_name, algorithm, secret, TIMEOUT)?;
        Ok(Self { endpoint: format!("dns://{server}"), wire, zones })
    }

    /// The same, known by this endpoint: a host may have several addresses, and others tomorrow.
    #[must_use]
    pub(crate) fn known_as(self, endpoint: String) -> Self {
        Self { endpoint, ..self }
    }

    /// The same with another timeout.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeout = timeout;
        self
    }
}

impl Dns for Rfc2136 {
    fn marks(&self) -> bool {
        false
    }

    async fn zones(&self) -> Result<Vec<Zone>, Trouble> {
        let zone = |name: &Name| Zone { id: name.to_string(), name: name.clone() };
        Ok(self.zones.iter().map(zone).collect())
    }

    async fn read(&self, zone: &Zone, name: Option<&Name>) -> Result<Contents, Trouble> {
        let mut contents = records::contents(self.wire.transfer(&zone.name).await?);
        if let Some(name) = name {
            contents.sets.retain(|standing| standing.set.owner() == name);
            contents.others.retain(|other| Name::presented(&other.name).is_ok_and(|n| n == *name));
        }
        Ok(contents)
    }

    async fn apply(&self, zone: &Zone, changes: &[Change]) -> Vec<Outcome> {
        let mut isolation = Isolation::new(units(changes), lots(changes, LOT, LOT_OCTETS));
        while let Some(group) = isolation.next() {
            let lot: Vec<(usize, &Change)> = group.iter().filter_map(|n| Some((*n, changes.get(*n)?))).collect();
            let reply = self.update(zone, &lot).await;
            isolation.settle(group, reply);
        }
        isolation.outcomes()
    }

    async fn serial(&self, zone: &Zone) -> Result<Option<u32>, Trouble> {
        let answer = self.wire.ask(&zone.name, WireType::SOA).await?;
        refused(&answer, &zone.name)?;
        let soa = answer.answers.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        });
        soa.map(Some).ok_or_else(|| {
            Trouble::new(Reason::ProviderUnavailable, format!("the server tells no SOA of {}", zone.name))
        })
    }
}

impl Rfc2136 {
    /// One UPDATE, which the server takes as a whole or not at all.
    async fn update(&self, zone: &Zone, lot: &[(usize, &Change)]) -> Reply {
        match self.send(zone, lot, &Spelled::new()).await {
            Ok(reply) => reply,
            Err(_) => self.compare(zone, lot).await,
        }
    }

    /// Sends it. `Err` is the code of a server for which a condition does not hold.
    async fn send(&self, zone: &Zone, lot: &[(usize, &Change)], spelled: &Spelled) -> Result<Reply, ResponseCode> {
        let message = match update::message(&zone.name, lot, spelled) {
            Ok(message) => message,
            Err(text) => return Ok(Reply::Refused(text)),
        };
        let answer = match self.wire.exchange(message).await {
            Ok(answer) => answer,
            Err(trouble) => return Ok(Reply::Trouble(trouble)),
        };
        Ok(match answer.response_code {
            ResponseCode::NoError => Reply::Done,
            code
            @ (ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::NXDomain | ResponseCode::YXDomain) => {
                return Err(code);
            }
            code @ (ResponseCode::Refused | ResponseCode::FormErr | ResponseCode::NotZone) => {
                Reply::Refused(told(code))
            }
            _ => Reply::Trouble(
                refused(&answer, &zone.name)
                    .err()
                    .unwrap_or_else(|| Trouble::new(Reason::ProviderUnavailable, told(answer.response_code))),
            ),
        })
    }

    /// A condition did not hold: reads the zone to learn whose.
    async fn compare(&self, zone: &Zone, lot: &[(usize, &Change)]) -> Reply {
        let records = match self.wire.transfer(&zone.name).await {
            Ok(records) => records,
            Err(trouble) => return Reply::Trouble(trouble),
        };
        let spelled = update::spelled(lot, &records);
        let contents = records::contents(records);
        let mut settled = unfit(lot, &contents);
        if settled.is_empty() {
            let hindered =
                lot.iter().filter_map(|(number, change)| Some((*number, hindrance(change, &contents, lot)?)));
            settled = hindered.map(|(number, text)| (number, Outcome::Rejected(text))).collect();
        }
        if !settled.is_empty() {
            return Reply::Settled(settled);
        }
        // To us all stands as it was read. The server may have it in another spelling; or it was changed there and back again,
        // and each by itself tells.
        self.send(zone, lot, &spelled).await.unwrap_or_else(|code| Reply::Refused(told(code)))
    }
}

/// What stands at the name of a change and keeps it from being made: a CNAME stands alone (RFC 2136, 3.4.2.2).
fn hindrance(change: &Change, contents: &Contents, lot: &[(usize, &Change)]) -> Option<String> {
    let (owner, kind) = change.key()?;
    let goes = |other: RecordType| {
        lot.iter().any(|(_, c)| c.after().is_none() && c.key().is_some_and(|key| key == (owner, other)))
    };
    let apart = |other: RecordType| other != kind && (kind == RecordType::Cname || other == RecordType::Cname);
    let sets = contents.sets.iter().map(|s| &s.set).filter(|set| set.owner() == owner).map(|set| set.kind());
    let known = sets.filter(|other| apart(*other) && !goes(*other)).map(|other| other.to_string());
    let foreign = contents.others.iter().filter(|other| Name::presented(&other.name).is_ok_and(|n| n == *owner));
    let foreign = foreign.filter(|_| kind == RecordType::Cname).map(|other| other.kind.clone());
    let beside: Vec<String> = known.chain(foreign).collect();
    (change.after().is_some() && !beside.is_empty())
        .then(|| format!("{} stands at {owner}, and a CNAME stands alone", beside.join(", ")))
}

/// An answer with another code than NOERROR, as trouble.
fn refused(answer: &Message, zone: &Name) -> Result<(), Trouble> {
    let (reason, what) = match answer.response_code {
        ResponseCode::NoError => return Ok(()),
        ResponseCode::Refused => (Reason::InsufficientPermissions, "permit it to this key there"),
        ResponseCode::NotAuth => (Reason::InsufficientPermissions, "it is not that zone's primary"),
        _ => (Reason::ProviderUnavailable, "it is tried again"),
    };
    Err(Trouble::new(reason, format!("{} for {zone}; {what}", told(answer.response_code))))
}

fn told(code: ResponseCode) -> String {
    let word = match code {
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::YXDomain => "YXDOMAIN",
        ResponseCode::YXRRSet => "YXRRSET",
        ResponseCode::NXRRSet => "NXRRSET",
        ResponseCode::NotAuth => "NOTAUTH",
        ResponseCode::NotZone => "NOTZONE",
        _ => return format!("the server answered with code {}", u16::from(code)),
    };
    format!("the server answered {word}")
}
