//! The service above the providers of DNS: who wishes what of a zone, whose its sets are, and one writer for each zone; and
//! what the authoritative servers say.
//!
//! A wish is gathered with others for a few milliseconds, compared with what stands, put on record, written in one call, and
//! answered by itself.

mod account;
mod batch;
mod calls;
mod former;
mod guard;
mod guards;
mod lookup;
mod ownership;
mod pace;
mod plan;
mod silence;
mod snapshot;
mod wish;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Turn, mpsc, oneshot, watch as signal};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::calls::Calls;
use self::guards::Guards;
use self::pace::Pace;
use self::writer::{Ask, Writer as ZoneWriter};
use crate::Result;
use crate::api::Organization;
use crate::dns::which::{Which, zone_of};
use crate::dns::{Name, RecordType, Zone};
use crate::ledger::Writer;
use crate::metrics::Metrics;
use crate::providers::Trouble;

pub use self::account::{Account, permits};
pub use self::guards::Held;
pub use self::lookup::{Answers, Heard, Lookup, Said, Through};
pub use self::wish::{Adoption, By, Effect, Look, Want, Whose, Wish};

/// How long the list of a credential's zones is believed.
const LISTED_FOR: Duration = Duration::from_secs(300);
/// How long, where a name lies in none of them, or the provider did not list.
const MISSED_FOR: Duration = Duration::from_secs(10);
/// Without a question for so long, a zone's writer ends.
const IDLE: Duration = Duration::from_secs(600);
/// Questions under way to one zone before askers wait.
const QUEUE: usize = 1024;
/// Writers that are asked one after the other, where one ends at the very moment.
const TRIES: usize = 3;

/// The zones of all credentials, in the hands of the leader. Clones share one writer for each zone; all of them end when the
/// last clone is dropped.
#[derive(Clone)]
pub struct Zones(Arc<Inner>);

struct Inner {
    ledger: Writer,
    guards: Arc<Guards>,
    alive: signal::Receiver<()>,
    idle: Duration,
    /// Of those who wait for a provider that does not answer, so many go on.
    share: usize,
    paces: Mutex<HashMap<Uuid, Arc<Mutex<Pace>>>>,
    listed: Mutex<HashMap<Uuid, Arc<Turn<Option<Listed>>>>>,
    writers: Mutex<Writers>,
}

#[derive(Default)]
struct Writers {
    tasks: JoinSet<()>,
    /// By server and zone: of several credentials for one zone, none overwrites what another has written.
    by_zone: HashMap<(String, String), mpsc::Sender<Ask>>,
}

/// The zones of an account as its provider listed them, or why it did not.
struct Listed {
    digest: String,
    at: Instant,
    zones: Result<Vec<Zone>, Trouble>,
}

/// The zone of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This one.
    One(Zone),
    /// The name lies in none of the credential's.
    None,
    /// Several have the same name; the id must be said.
    Several(Vec<Zone>),
}

impl Zones {
    /// Writes under this leadership. `alive` is held by all that works for it. Of those who wait for a credential's provider
    /// that does not answer, no more than `share` go on: the others give their place to whoever needs it.
    pub fn new(ledger: Writer, metrics: Arc<Metrics>, alive: signal::Receiver<()>, share: usize) -> Self {
        Self::ending(ledger, metrics, alive, share, IDLE)
    }

    /// The same, where a writer that nobody asks for so long ends, and what it knows of its zone with it.
    pub fn ending(
        ledger: Writer,
        metrics: Arc<Metrics>,
        alive: signal::Receiver<()>,
        share: usize,
        idle: Duration,
    ) -> Self {
        let (paces, listed, writers) = Default::default();
        let guards = Arc::new(Guards::new(metrics));
        Self(Arc::new(Inner { ledger, guards, alive, idle, share, paces, listed, writers }))
    }

    /// The zone of a name: the one of `zone_id` where that is given, else the longest. The account's list is asked for again
    /// after five minutes, or ten seconds where the name lies in none of it or it was not had.
    ///
    /// # Errors
    /// The provider does not list.
    pub async fn zone_of(&self, account: &Account, name: &Name, zone_id: Option<&str>) -> Result<Found, Trouble> {
        let turn = {
            let mut all = locked(&self.0.listed);
            let counts = |listed: &Option<Listed>| listed.as_ref().is_some_and(|l| l.at.elapsed() < LISTED_FOR);
            all.retain(|_, turn| Arc::strong_count(turn) > 1 || turn.try_lock().is_ok_and(|listed| counts(&listed)));
            all.entry(account.credential.uid).or_default().clone()
        };
        let calls = self.calls(account);
        calls.patiently(self.0.share, list_and_find(&turn, &calls, name, zone_id)).await?
    }

    /// The credential has other zones than before: they are listed anew when a zone is looked for.
    pub fn relist(&self, credential: Uuid) {
        locked(&self.0.listed).remove(&credential);
    }

    /// The credential's provider asks to be left alone for so long.
    pub fn rest(&self, credential: Uuid, rest: Duration) {
        let pace = locked(&self.0.paces).entry(credential).or_default().clone();
        locked(&pace).rest(Instant::now(), Some(rest));
    }

    /// For how long the credential's provider asks to be left alone, as far as this leader was told.
    pub fn rests(&self, credential: Uuid) -> Option<Duration> {
        let pace = locked(&self.0.paces).get(&credential)?.clone();
        locked(&pace).rests(Instant::now())
    }

    /// What stands at a name: as of `how_fresh` ago, or later. While the zone's serial stays, no more is read.
    ///
    /// # Errors
    /// The provider does not tell.
    pub async fn look(
        &self,
        account: &Account,
        zone: &Zone,
        owner: &Name,
        kind: RecordType,
        how_fresh: Duration,
    ) -> Result<Look, Trouble> {
        let (reply, answer) = oneshot::channel();
        let since = Instant::now().checked_sub(how_fresh);
        let calls = self.calls(account);
        let look = Ask::Look { calls: calls.clone(), owner: owner.clone(), kind, since, reply };
        let told = async {
            self.ask(account, zone, look).await;
            answer.await.unwrap_or_else(|_| Err(writer::ended()))
        };
        calls.patiently(self.0.share, told).await?
    }

    /// Makes a wish true, with all others that come at the time. Answers when it is settled.
    ///
    /// # Errors
    /// The ledger is away, or another leads: nothing was written.
    pub async fn change(&self, account: &Account, zone: &Zone, wish: Wish) -> Result<Effect> {
        let (reply, answer) = oneshot::channel();
        let calls = self.calls(account);
        let change = Ask::Change { calls: calls.clone(), wish: Box::new(wish), reply };
        let told = async {
            self.ask(account, zone, change).await;
            answer.await.unwrap_or_else(|_| Ok(Effect::Trouble(writer::ended())))
        };
        calls.patiently(self.0.share, told).await.unwrap_or_else(|trouble| Ok(Effect::Trouble(trouble)))
    }

    /// What is held of an organization's sets at and below a name.
    pub fn held(&self, organization: &Organization, within: &Name) -> Option<Held> {
        self.0.guards.held(organization, within)
    }

    /// Lets pass exactly what is named, in somebody's name; whoever wished it wishes it again within the hour. The ledger
    /// holds it before: another leader asks it.
    pub fn release(&self, organization: &Organization, held: &Held, by: &str) {
        self.0.guards.release(organization, held, by);
    }

    fn calls(&self, account: &Account) -> Calls {
        let mut paces = locked(&self.0.paces);
        let pace = paces.entry(account.credential.uid).or_default().clone();
        Calls::new(account.clone(), self.0.ledger.clone(), self.0.guards.metrics.clone(), pace)
    }

    async fn ask(&self, account: &Account, zone: &Zone, mut ask: Ask) {
        // One that has ended takes nothing; another one does. What is dropped tells its asker.
        for _ in 0..TRIES {
            match self.writer(account, zone).send(ask).await {
                Ok(()) => return,
                Err(returned) => ask = returned.0,
            }
        }
    }

    fn writer(&self, account: &Account, zone: &Zone) -> mpsc::Sender<Ask> {
        let mut guard = locked(&self.0.writers);
        let Writers { tasks, by_zone } = &mut *guard;
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a zone's writer broke off; another one takes its place");
            }
        }
        by_zone.retain(|_, sender| !sender.is_closed());
        let key = (account.server.endpoint(), zone.id.clone());
        let sender = by_zone.entry(key).or_insert_with(|| {
            let (sender, asks) = mpsc::channel(QUEUE);
            let writer =
                ZoneWriter::new(self.0.ledger.clone(), self.0.guards.clone(), self.calls(account), zone.clone());
            let (alive, idle) = (self.0.alive.clone(), self.0.idle);
            tasks.spawn(async move {
                writer.run(asks, idle).await;
                drop(alive);
            });
            sender
        });
        sender.clone()
    }
}

impl std::fmt::Debug for Zones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zones").finish_non_exhaustive()
    }
}

/// Looks into the list of an account's zones, and asks for it where it is too old.
async fn list_and_find(
    turn: &Turn<Option<Listed>>,
    calls: &Calls,
    name: &Name,
    zone_id: Option<&str>,
) -> Result<Found, Trouble> {
    let (mut listed, digest) = (turn.lock().await, &calls.account.digest);
    let known = listed.as_ref().filter(|l| l.digest == *digest && l.at.elapsed() < LISTED_FOR);
    if let Some(known) = known {
        let found = known.zones.as_ref().map(|zones| found(name, zones, zone_id)).map_err(Clone::clone);
        if !matches!(found, Err(_) | Ok(Found::None)) || known.at.elapsed() < MISSED_FOR {
            return found;
        }
    }
    let zones = calls.zones().await;
    let found = zones.as_ref().map(|zones| found(name, zones, zone_id)).map_err(Clone::clone);
    *listed = Some(Listed { digest: digest.clone(), at: Instant::now(), zones });
    found
}

fn found(name: &Name, zones: &[Zone], id: Option<&str>) -> Found {
    match zone_of(name, zones, id) {
        Which::One(zone) => Found::One(zone.clone()),
        Which::None => Found::None,
        Which::Several(zones) => Found::Several(zones.into_iter().cloned().collect()),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
