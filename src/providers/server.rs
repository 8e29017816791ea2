//! The providers of DNS as one.

use super::dns::{Change, Contents, Dns, Outcome, Trouble};
use super::{PowerDns, Rfc2136};
use crate::Result;
use crate::dns::{Name, Zone};

/// A provider of DNS with a credential. A new one is a variant here.
pub enum Server {
    /// PowerDNS.
    PowerDns(PowerDns),
    /// Any server that takes UPDATE.
    Rfc2136(Rfc2136),
}

impl Server {
    /// The provider, as [`super::Provider::name`] says it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PowerDns(_) => "powerdns",
            Self::Rfc2136(_) => "rfc2136",
        }
    }

    /// What an intent says is called.
    pub const fn call(&self) -> &'static str {
        match self {
            Self::PowerDns(_) => "powerdns.patch_zone",
            Self::Rfc2136(_) => "rfc2136.update",
        }
    }

    /// Where calls go: two credentials with one endpoint change the same zones.
    pub fn endpoint(&self) -> String {
        match self {
            Self::PowerDns(dns) => dns.endpoint(),
            Self::Rfc2136(dns) => dns.endpoint(),
        }
    }

    /// Whether one name is read with less than the whole zone.
    pub const fn reads_names(&self) -> bool {
        match self {
            Self::PowerDns(_) => true,
            Self::Rfc2136(_) => false,
        }
    }
}

impl Dns for Server {
    fn marks(&self) -> bool {
        match self {
            Self::PowerDns(dns) => dns.marks(),
            Self::Rfc2136(dns) => dns.marks(),
        }
    }

    async fn zones(&self) -> Result<Vec<Zone>, Trouble> {
        match self {
            Self::PowerDns(dns) => dns.zones().await,
            Self::Rfc2136(dns) => dns.zones().await,
        }
    }

    async fn read(&self, zone: &Zone, name: Option<&Name>) -> Result<Contents, Trouble> {
        match self {
            Self::PowerDns(dns) => dns.read(zone, name).await,
            Self::Rfc2136(dns) => dns.read(zone, name).await,
        }
    }

    async fn apply(&self, zone: &Zone, changes: &[Change]) -> Vec<Outcome> {
        match self {
            Self::PowerDns(dns) => dns.apply(zone, changes).await,
            Self::Rfc2136(dns) => dns.apply(zone, changes).await,
        }
    }

    async fn serial(&self, zone: &Zone) -> Result<Option<u32>, Trouble> {
        match self {
            Self::PowerDns(dns) => dns.serial(zone).await,
            Self::Rfc2136(dns) => dns.serial(zone).await,
        }
    }
}
