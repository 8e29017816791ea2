//! What the authoritative servers of a name say, all of them asked at once. No resolver's memory is between them and the
//! answer: resolvers are asked only who the servers are.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use crate::access::is_public;
use crate::dns::{Data, Name, RecordType};
use crate::installation::Installation;
use crate::providers::{Reply, ask};

/// A whole look.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of it, what finding the servers may take.
const FINDING: Duration = Duration::from_secs(2);
/// Aliases that are followed one after the other.
const CHAIN: usize = 8;
/// Servers of a zone, and addresses of one.
const HOSTS: usize = 13;
const ADDRESSES: usize = 4;
/// Where servers are asked that were found by name.
const PORT: u16 = 53;
/// Where the system's resolvers are said.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Looks names up at their authoritative servers. Clones share their settings.
#[derive(Clone, Debug)]
pub struct Lookup(Arc<Settings>);

#[derive(Debug)]
struct Settings {
    resolvers: Vec<SocketAddr>,
    authorities: Vec<(Name, Vec<SocketAddr>)>,
}

/// What the servers said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Each server with its answer.
    pub servers: Vec<Heard>,
    /// Why there are no servers, or not all.
    pub trouble: Option<String>,
}

/// One server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its name, or its address where `landfall.yaml` names it.
    pub host: String,
    /// Where it was asked.
    pub address: SocketAddr,
    /// What it said.
    pub answer: Said,
}

/// What a server says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// These values.
    Values {
        /// In order.
        values: Vec<Data>,
        /// Seconds, the least of theirs.
        ttl: u32,
    },
    /// The name is there, and nothing of this type.
    NoData,
    /// There is no such name.
    NoName,
    /// Nothing that counts: no answer in time, SERVFAIL, or it does not have the zone. Why, in words.
    Nothing(String),
}

impl Answers {
    /// Whether at least one answered.
    pub fn answered(&self) -> bool {
        self.said().next().is_some()
    }

    /// Whether at least one answered, and all that answered have the value.
    pub fn all_have(&self, value: &Data) -> bool {
        self.answered() && self.said().all(|said| said.has(value))
    }

    /// Whether at least one answered, and none that answered has the value.
    pub fn none_has(&self, value: &Data) -> bool {
        self.answered() && !self.said().any(|said| said.has(value))
    }

    /// Whether they do not say the same, or nobody answered.
    pub fn undecided(&self, value: &Data) -> bool {
        !self.all_have(value) && !self.none_has(value)
    }

    /// All values that anybody said, each once.
    pub fn values(&self) -> Vec<Data> {
        let all: BTreeSet<&Data> = self.said().flat_map(Said::values).collect();
        all.into_iter().cloned().collect()
    }

    fn said(&self) -> impl Iterator<Item = &Said> {
        self.servers.iter().map(|heard| &heard.answer).filter(|said| !matches!(said, Said::Nothing(_)))
    }
}

impl Said {
    fn values(&self) -> &[Data] {
        match self {
            Self::Values { values, .. } => values,
            Self::NoData | Self::NoName | Self::Nothing(_) => &[],
        }
    }

    fn has(&self, value: &Data) -> bool {
        self.values().contains(value)
    }
}

/// A server that may be asked, or why it may not.
struct Server {
    host: String,
    address: SocketAddr,
    objection: Option<String>,
}

impl Lookup {
    /// With the resolvers and authorities of `landfall.yaml`, else with the system's resolvers.
    pub fn new(installation: &Installation) -> Self {
        let dns = &installation.dns;
        let resolvers = match dns.resolvers.as_slice() {
            [] => resolvers_of(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()),
            some => some.to_vec(),
        };
        let zone = |a: &crate::installation::Authority| Some((Name::parse(&a.zone).ok()?, a.servers.clone()));
        Self(Arc::new(Settings { resolvers, authorities: dns.authorities.iter().filter_map(zone).collect() }))
    }

    /// What all authoritative servers of the name say now, within three seconds. An alias is followed to its own.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Answers {
        let began = Instant::now();
        let (mut answers, mut seen) = (Answers::default(), BTreeSet::new());
        let mut names = vec![name.clone()];
        while let Some(name) = names.pop() {
            if seen.len() > CHAIN {
                answers.trouble = Some(format!("more than {CHAIN} aliases one after the other"));
                break;
            }
            seen.insert(name.clone());
            let (servers, trouble) = self.servers(&name, began + FINDING).await;
            answers.trouble = answers.trouble.or(trouble);
            let each = servers.into_iter().map(|server| said(server, &name, kind, began + PATIENCE));
            for (mut heard, alias) in join_all(each).await {
                match alias {
                    Some(target) if !seen.contains(&target) && !names.contains(&target) => names.push(target),
                    Some(target) if seen.contains(&target) => {
                        heard.answer = Said::Nothing(format!("its aliases lead back to {target}"));
                        answers.servers.push(heard);
                    }
                    Some(_) => {}
                    None => answers.servers.push(heard),
                }
            }
        }
        answers
    }

    /// The authoritative servers of a name, and why they are not all known.
    async fn servers(&self, name: &Name, deadline: Instant) -> (Vec<Server>, Option<String>) {
        let fitting = self.0.authorities.iter().filter(|(zone, _)| name.is_within(zone));
        if let Some((_, servers)) = fitting.max_by_key(|(zone, _)| zone.as_str().len()) {
            let server =
                |address: &SocketAddr| Server { host: address.to_string(), address: *address, objection: None };
            return (servers.iter().map(server).collect(), None);
        }
        let hosts = match self.hosts(name, deadline).await {
            Ok(hosts) => hosts,
            Err(why) => return (Vec::new(), Some(why)),
        };
        let found = join_all(hosts.iter().map(|host| self.addresses(host, deadline))).await;
        let trouble = found.iter().find_map(|found| found.as_ref().err().cloned());
        let servers = hosts.iter().zip(found).flat_map(|(host, found)| {
            found.unwrap_or_default().into_iter().map(|address| {
                let objection = (!is_public(address)).then(|| {
                    format!(
                        "{address} is not a public address; name it in dns.authorities of landfall.yaml if it is yours"
                    )
                });
                Server { host: host.as_str().to_owned(), address: (address, PORT).into(), objection }
            })
        });
        (servers.collect(), trouble)
    }

    /// The names of the servers of the zone in which a name lies: from the name upwards, the first that has some.
    async fn hosts(&self, name: &Name, deadline: Instant) -> Result<Vec<Name>, String> {
        let mut zone = name.clone();
        loop {
            let reply = self.resolve(&zone, RecordType::Ns, deadline).await?;
            let host = |answer: &crate::providers::Answered| match &answer.data {
                Data::Ns(host) if answer.owner == zone => Some(host.clone()),
                _ => None,
            };
            let hosts: BTreeSet<Name> = reply.answers.iter().filter_map(host).collect();
            if !hosts.is_empty() {
                return Ok(hosts.into_iter().take(HOSTS).collect());
            }
            let said = reply.zone.filter(|said| *said != zone && zone.is_within(said) && !said.is_root());
            zone = match said.or_else(|| zone.parent()) {
                Some(above) if !above.is_root() => above,
                _ => return Err(format!("no zone of {name} was found")),
            };
        }
    }

    /// The addresses of a server, of both families.
    async fn addresses(&self, host: &Name, deadline: Instant) -> Result<Vec<IpAddr>, String> {
        let (v4, v6) =
            tokio::join!(self.resolve(host, RecordType::A, deadline), self.resolve(host, RecordType::Aaaa, deadline));
        let address = |answer: crate::providers::Answered| match answer.data {
            Data::A(address) => Some(IpAddr::V4(address)),
            Data::Aaaa(address) => Some(IpAddr::V6(address)),
            _ => None,
        };
        let failed = v4.as_ref().err().or(v6.as_ref().err()).cloned();
        let all = [v4, v6].into_iter().flatten();
        let found: Vec<IpAddr> =
            all.flat_map(|reply| reply.answers.into_iter().filter_map(address).take(ADDRESSES)).collect();
        match failed {
            Some(why) if found.is_empty() => Err(why),
            None if found.is_empty() => Err(format!("server {host} has no address")),
            _ => Ok(found),
        }
    }

    /// The first answer of a resolver.
    async fn resolve(&self, name: &Name, kind: RecordType, deadline: Instant) -> Result<Reply, String> {
        let mut why = format!("no resolver is known; name some in dns.resolvers of landfall.yaml, or in {RESOLV_CONF}");
        for (left, resolver) in (1..=self.0.resolvers.len()).rev().zip(&self.0.resolvers) {
            let rest = deadline.saturating_duration_since(Instant::now());
            let share = rest / u32::try_from(left).unwrap_or(1);
            match ask(*resolver, name, kind, true, Instant::now() + share).await {
                Ok(reply) => return Ok(reply),
                Err(error) => why = format!("resolver {resolver} on {kind} of {name}: {error}"),
            }
        }
        Err(why)
    }
}

/// Asks one server; the target, where it says that the name is an alias.
async fn said(server: Server, name: &Name, kind: RecordType, deadline: Instant) -> (Heard, Option<Name>) {
    let Server { host, address, objection } = server;
    let heard = |answer| Heard { host, address, answer };
    if let Some(objection) = objection {
        return (heard(Said::Nothing(objection)), None);
    }
    let reply = match ask(address, name, kind, false, deadline).await {
        Ok(reply) => reply,
        Err(why) => return (heard(Said::Nothing(why)), None),
    };
    if !reply.authoritative {
        return (heard(Said::Nothing("it does not have the zone".into())), None);
    }
    let own: Vec<_> = reply.answers.into_iter().filter(|answer| answer.owner == *name).collect();
    let alias = own.iter().find_map(|answer| match &answer.data {
        Data::Cname(target) if kind != RecordType::Cname => Some(target.clone()),
        _ => None,
    });
    let ttl = own.iter().map(|answer| answer.ttl).min().unwrap_or_default();
    let mut values: Vec<Data> = own.into_iter().map(|a| a.data).filter(|data| data.kind() == kind).collect();
    values.sort();
    let answer = match (values.is_empty(), reply.exists) {
        (false, _) => Said::Values { values, ttl },
        (true, true) => Said::NoData,
        (true, false) => Said::NoName,
    };
    (heard(answer), alias)
}

/// The resolvers that a `resolv.conf` names.
fn resolvers_of(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok();
    text.lines().filter_map(server).map(|address| (address, PORT).into()).collect()
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
