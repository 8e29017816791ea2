//! Which servers are the authority for a name: from the top-level domain down, by what each server says of the next.
//!
//! Recursive resolvers are asked only for what is there: the servers of a top-level domain, and the addresses of servers.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::{join_all, select_ok};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType as WireType};
use tokio::time::Instant;

use super::Inner;
use super::ask::{ask, of_wire};
use crate::access::is_public;
use crate::dns::wire::wire_type;
use crate::dns::{Name, RecordType};
use crate::installation::Authority;

/// How long a delegation is believed.
const BELIEVED: Duration = Duration::from_secs(300);
/// Delegations that are remembered.
const REMEMBERED: usize = 4096;
/// Servers of a zone that are asked for the way on; the first answer counts.
const GUIDES: usize = 4;
/// Servers of a zone whose addresses are looked up; whoever has a zone may name thousands. The root has as many.
const HOSTS: usize = 13;
/// Addresses of one zone's servers.
const ADDRESSES: usize = 32;

/// A zone and the servers that are its authority.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) zone: Name,
    pub(super) servers: Vec<Server>,
}

/// One address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) address: SocketAddr,
}

impl Cut {
    /// As the installation has it.
    pub(super) fn listed(authority: &Authority) -> Option<Self> {
        let server = |address: &SocketAddr| Server { host: address.to_string(), address: *address };
        Some(Self { zone: Name::parse(&authority.zone).ok()?, servers: authority.servers.iter().map(server).collect() })
    }
}

/// The resolvers that `resolv.conf` names.
pub(super) fn of_this_machine(text: &str) -> Vec<SocketAddr> {
    let word = |line: &str| line.trim().strip_prefix("nameserver").map(|rest| rest.trim().to_owned());
    let address = |word: String| word.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
    text.lines().filter_map(word).filter_map(address).collect()
}

/// A delegation, as the server above it tells: the zone, its servers' names, and the addresses that came along.
#[derive(Debug, PartialEq, Eq)]
struct Referral {
    zone: Name,
    hosts: Vec<Name>,
    glue: Vec<(Name, IpAddr)>,
}

impl Inner {
    /// The zone of the name and its servers.
    ///
    /// # Errors
    /// In words, where they are not found in time.
    pub(super) async fn cut_of(&self, name: &Name, kind: RecordType, end: Instant) -> Result<Arc<Cut>, String> {
        let mut cut = match self.known(name) {
            Some(cut) => cut,
            None => self.top(name, end).await?,
        };
        while let Some(referral) = self.way_on(&cut, name, kind, end).await? {
            cut = self.remember(self.servers(referral, end).await?);
        }
        Ok(cut)
    }

    /// The longest zone above the name whose servers are known: the installation's own, or one that was seen.
    fn known(&self, name: &Name) -> Option<Arc<Cut>> {
        let listed = self.authorities.iter().filter(|cut| name.is_within(&cut.zone));
        let listed = listed.max_by_key(|cut| cut.zone.as_str().len()).cloned();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut above = std::iter::successors(Some(name.clone()), Name::parent);
        let fresh = |(at, cut): &(Instant, Arc<Cut>)| (at.elapsed() < BELIEVED).then(|| cut.clone());
        let found = above.find_map(|zone| seen.get(&zone).and_then(fresh));
        let length = |cut: &Option<Arc<Cut>>| cut.as_ref().map(|cut| cut.zone.as_str().len());
        if length(&found) > length(&listed) { found } else { listed }
    }

    fn remember(&self, cut: Cut) -> Arc<Cut> {
        let cut = Arc::new(cut);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(cut.zone.clone(), (Instant::now(), cut.clone()));
        cut
    }

    /// The top-level domain, from the resolvers.
    async fn top(&self, name: &Name, end: Instant) -> Result<Arc<Cut>, String> {
        let label = name.labels().last().ok_or("the root has no servers of interest")?;
        let zone = Name::presented(label).map_err(|rule| rule.to_string())?;
        let message = self.resolve(&zone, WireType::NS, end).await?;
        let hosts = hosts(&message.answers, &zone);
        if hosts.is_empty() {
            return Err(format!("the resolvers know no servers of {zone}"));
        }
        let cut = self.servers(Referral { zone, hosts, glue: Vec::new() }, end).await?;
        Ok(self.remember(cut))
    }

    /// Where a zone's servers send on whoever asks for the name; `None` where they answer themselves.
    async fn way_on(&self, cut: &Cut, name: &Name, kind: RecordType, end: Instant) -> Result<Option<Referral>, String> {
        let guides = cut.servers.iter().take(GUIDES).map(|server| {
            Box::pin(async move {
                let message = ask(server.address, name, wire_type(kind), false, end).await?;
                let usable = matches!(message.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
                if usable { Ok(message) } else { Err(format!("{} gave no answer", server.host)) }
            })
        });
        match select_ok(guides).await {
            Ok((message, _)) => Ok(referral(&message, &cut.zone, name)),
            // Each is asked again, and the table tells what is wrong with it.
            Err(_) => Ok(None),
        }
    }

    /// The addresses of a delegation's servers: those that came along, and the resolvers' for the others.
    async fn servers(&self, referral: Referral, end: Instant) -> Result<Cut, String> {
        let Referral { zone, hosts, glue } = referral;
        let found = hosts.into_iter().map(|host| {
            let along: Vec<IpAddr> = glue.iter().filter(|(of, _)| *of == host).map(|(_, address)| *address).collect();
            async move {
                let addresses = if along.is_empty() { self.addresses(&host, end).await } else { along };
                addresses.into_iter().map(move |ip| (host.clone(), ip))
            }
        });
        let all: Vec<(Name, IpAddr)> = join_all(found).await.into_iter().flatten().collect();
        let permitted = all.iter().filter(|(_, ip)| is_public(*ip) || self.listed.contains(ip));
        let server =
            |(host, ip): &(Name, IpAddr)| Server { host: host.to_string(), address: SocketAddr::new(*ip, self.port) };
        let servers: Vec<Server> = permitted.take(ADDRESSES).map(server).collect();
        match (servers.is_empty(), all.first()) {
            (false, _) => Ok(Cut { zone, servers }),
            (true, Some((host, ip))) => Err(format!(
                "the servers of {zone} have no public address ({host} is {ip}); name them in dns.authorities of landfall.yaml"
            )),
            (true, None) => Err(format!("the servers of {zone} have no address")),
        }
    }

    async fn addresses(&self, host: &Name, end: Instant) -> Vec<IpAddr> {
        let (four, six) = tokio::join!(self.resolve(host, WireType::A, end), self.resolve(host, WireType::AAAA, end));
        let records = [four, six].into_iter().flatten().flat_map(|message| message.answers);
        records.filter_map(|record| address(&record)).collect()
    }

    /// The first good answer of any resolver.
    async fn resolve(&self, name: &Name, kind: WireType, end: Instant) -> Result<Message, String> {
        if self.resolvers.is_empty() {
            return Err("no resolver is known; name one in dns.resolvers of landfall.yaml".into());
        }
        let asked = self.resolvers.iter().map(|resolver| {
            Box::pin(async move {
                let message =
                    ask(*resolver, name, kind, true, end).await.map_err(|why| format!("{resolver}: {why}"))?;
                match message.response_code {
                    ResponseCode::NoError => Ok(message),
                    code => Err(format!("{resolver} answered with code {} for {name}", u16::from(code))),
                }
            })
        });
        select_ok(asked).await.map(|(message, _)| message).map_err(|why| format!("no resolver helps: {why}"))
    }
}

/// A referral to a zone below `above` that holds the name. A server leads down, never aside.
fn referral(message: &Message, above: &Name, name: &Name) -> Option<Referral> {
    if message.authoritative || message.response_code != ResponseCode::NoError {
        return None;
    }
    let owners =
        message.authorities.iter().filter(|r| r.record_type() == WireType::NS).filter_map(|r| of_wire(&r.name));
    let zone = owners.into_iter().find(|zone| zone != above && zone.is_within(above) && name.is_within(zone))?;
    let hosts = hosts(&message.authorities, &zone);
    let glue =
        message.additionals.iter().filter_map(|record| Some((of_wire(&record.name)?, address(record)?))).collect();
    (!hosts.is_empty()).then_some(Referral { zone, hosts, glue })
}

fn hosts(records: &[Record], zone: &Name) -> Vec<Name> {
    let of_zone = records.iter().filter(|record| of_wire(&record.name).as_ref() == Some(zone));
    let host = |record: &Record| match &record.data {
        RData::NS(host) => of_wire(&host.0),
        _ => None,
    };
    of_zone.filter_map(host).take(HOSTS).collect()
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(ip) => Some(ip.0.into()),
        RData::AAAA(ip) => Some(ip.0.into()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "servers_tests.rs"]
mod tests;
