//! What the authoritative servers of a name say. All of them are asked at once, and no resolver in between is: what one
//! remembers of a name that is not there yet would be told to others for a while.

mod ask;
mod servers;
mod table;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use self::servers::Cut;
use crate::dns::{Name, RecordType};
use crate::installation::Installation;

pub use self::table::{Answers, Heard, Said, Through};

/// From the question to the whole table.
const PATIENCE: Duration = Duration::from_secs(3);
/// Names that an alias may lead over.
const ALIASES: usize = 8;
/// The port of every authoritative server that is found.
const PORT: u16 = 53;

/// Asks authoritative servers. Clones share what is known of delegations.
#[derive(Clone)]
pub struct Lookup(Arc<Inner>);

struct Inner {
    /// Recursive resolvers.
    resolvers: Vec<SocketAddr>,
    /// The installation's own, and the only ones that need not be public.
    authorities: Vec<Arc<Cut>>,
    listed: Vec<IpAddr>,
    port: u16,
    /// Delegations that were seen.
    seen: Mutex<HashMap<Name, (Instant, Arc<Cut>)>>,
}

impl Lookup {
    /// With the resolvers and authorities of `landfall.yaml`; the machine's resolvers where none are named.
    pub fn new(installation: &Installation) -> Self {
        let dns = &installation.dns;
        let authorities: Vec<Arc<Cut>> = dns.authorities.iter().filter_map(Cut::listed).map(Arc::new).collect();
        let listed = dns.authorities.iter().flat_map(|a| &a.servers).map(SocketAddr::ip).collect();
        let resolvers = match dns.resolvers.as_slice() {
            [] => servers::of_this_machine(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
            named => named.to_vec(),
        };
        Self(Arc::new(Inner { resolvers, authorities, listed, port: PORT, seen: Mutex::default() }))
    }

    /// The same where servers that are found listen on another port.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        let Inner { resolvers, authorities, listed, .. } = &*self.0;
        let (resolvers, authorities, listed) = (resolvers.clone(), authorities.clone(), listed.clone());
        Self(Arc::new(Inner { resolvers, authorities, listed, port, seen: Mutex::default() }))
    }

    /// What each server of the name's zone says of it, within three seconds. An alias on which all agree is followed, but
    /// from elsewhere not into the installation's own zones; one that is not followed is no answer.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Answers {
        self.ask_through(name, kind).await.last
    }

    /// The same, with what was said of the name itself.
    pub async fn ask_through(&self, name: &Name, kind: RecordType) -> Through {
        let end = Instant::now() + PATIENCE;
        let own = |name: &Name| self.0.authorities.iter().any(|cut| name.is_within(&cut.zone));
        let may_follow = |target: &Name| own(name) || !own(target);
        let first = self.once(name, kind, end).await;
        let (mut last, mut passed) = (first.clone(), vec![name.clone()]);
        while let Some(target) =
            last.alias(kind).filter(|t| passed.len() <= ALIASES && !passed.contains(t) && may_follow(t))
        {
            last = self.once(&target, kind, end).await;
            passed.push(target);
        }
        Through { first, last: last.without_aliases(kind) }
    }

    /// What is said of the name itself: an alias is the answer, and is not followed.
    pub async fn ask_here(&self, name: &Name, kind: RecordType) -> Answers {
        self.once(name, kind, Instant::now() + PATIENCE).await
    }

    /// What each server of the zone above says of a delegation at this name. Those to whom it leads are not asked: they may not
    /// be there yet.
    pub async fn ask_delegation(&self, name: &Name) -> Answers {
        let above = name.parent().unwrap_or_else(|| name.clone());
        self.each(&above, name, RecordType::Ns, Instant::now() + PATIENCE).await
    }

    async fn once(&self, name: &Name, kind: RecordType, end: Instant) -> Answers {
        self.each(name, name, kind, end).await
    }

    /// Asks each server of the zone of `of` for the name, which is `of` or delegated below it.
    async fn each(&self, of: &Name, name: &Name, kind: RecordType, end: Instant) -> Answers {
        let cut = match self.0.cut_of(of, kind, end).await {
            Ok(cut) => cut,
            Err(trouble) => return Answers { servers: Vec::new(), trouble: Some(trouble) },
        };
        let heard = cut.servers.iter().map(async |server| {
            let answer = match of == name {
                true => ask::authority(server.address, name, kind, end).await,
                false => ask::delegation(server.address, name, end).await,
            };
            Heard { host: server.host.clone(), address: server.address, answer }
        });
        Answers { servers: futures::future::join_all(heard).await, trouble: None }
    }
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").field("resolvers", &self.0.resolvers).finish_non_exhaustive()
    }
}
