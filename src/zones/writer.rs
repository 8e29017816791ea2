//! The one writer of a zone: takes what is asked in rounds, keeps the zone as it was last read, answers each asker.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::calls::Calls;
use super::guard::LEAST;
use super::guards::Guards;
use super::ownership::{self, Ownership};
use super::snapshot::Snapshot;
use super::wish::{Effect, Look, Want, Wish};
use crate::api::Reason;
use crate::dns::which::delegation;
use crate::dns::{Name, RecordType, Zone};
use crate::ledger::{self, ZonePart};
use crate::providers::{Dns, Trouble};
use crate::{Error, Result};

/// How long the first wish of a batch waits for others.
const GATHER: Duration = Duration::from_millis(5);
/// Deletions in a guarded zone wait until no more come for so long, so that those that belong together are judged together.
const QUIET: Duration = Duration::from_secs(1);
/// The longest that one waits for others.
const LONGEST: Duration = Duration::from_secs(10);
/// Between two tries to tell Postgres of an outcome.
const REST: Duration = Duration::from_secs(5);
/// The most that one round takes.
const ROUND: usize = 4096;
/// Names that are read one by one; for more, the zone is.
const SINGLE_READS: usize = 4;
/// How often a shared set is merged anew when others write to it at the same time.
const MERGES: u8 = 5;

/// What is asked of a zone's writer.
pub(super) enum Ask {
    /// What stands there.
    Look {
        calls: Calls,
        owner: Name,
        kind: RecordType,
        /// As of when it must be known; `None` for however long ago.
        since: Option<Instant>,
        reply: oneshot::Sender<Result<Look, Trouble>>,
    },
    /// A wish.
    Change { calls: Calls, wish: Box<Wish>, reply: oneshot::Sender<Result<Effect>> },
}

/// A wish that waits for its effect.
pub(super) struct Waiting {
    pub(super) wish: Wish,
    pub(super) tries: u8,
    calls: Calls,
    /// It has waited for others that leave.
    waited: bool,
    reply: oneshot::Sender<Result<Effect>>,
}

impl Waiting {
    /// Answers it.
    pub(super) fn answer(self, effect: Result<Effect>) {
        // Who does not wait any more looks again.
        let _ = self.reply.send(effect);
    }

    /// Whether anybody still waits for it. Who does not may wish something else by now: it is not made true.
    pub(super) fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    /// Whether it may be merged once more with what another has written.
    pub(super) fn may_merge_again(&self) -> bool {
        self.tries < MERGES
    }
}

/// Deletions that wait for others.
#[derive(Default)]
struct Leaving {
    wishes: Vec<Waiting>,
    /// When the first and the last of them came.
    came: Option<(Instant, Instant)>,
}

impl Leaving {
    /// When they are judged.
    fn due(&self) -> Option<Instant> {
        self.came.map(|(first, last)| (last + QUIET).min(first + LONGEST))
    }

    fn push(&mut self, waiting: Waiting, now: Instant) {
        self.came = Some((self.came.map_or(now, |(first, _)| first), now));
        self.wishes.push(Waiting { waited: true, ..waiting });
    }
}

struct Looking {
    calls: Calls,
    owner: Name,
    kind: RecordType,
    since: Option<Instant>,
    reply: oneshot::Sender<Result<Look, Trouble>>,
}

/// The writer.
pub(super) struct Writer {
    pub(super) ledger: ledger::Writer,
    pub(super) guards: Arc<Guards>,
    /// Of the credential whose turn it is.
    pub(super) calls: Calls,
    pub(super) zone: Zone,
    pub(super) ownership: Ownership,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) unconcluded: Vec<super::batch::Conclusion>,
    /// Credentials whose open intents of former writers are settled.
    pub(super) settled: BTreeSet<Uuid>,
    wishes: VecDeque<Waiting>,
    leaving: Leaving,
    looks: Vec<Looking>,
}

/// Why nobody answers: the writer ended in the middle of it. The next one asks is answered by another.
pub(super) fn ended() -> Trouble {
    let message = "the writer of the zone ended before it answered; it is asked again".into();
    Trouble { reason: Reason::ProviderUnavailable, message, retry_after: None, may_have_landed: true }
}

impl Writer {
    pub(super) fn new(ledger: ledger::Writer, guards: Arc<Guards>, calls: Calls, zone: Zone) -> Self {
        let ownership = Ownership::new(ledger.cluster(), calls.account.server.marks());
        Self {
            ledger,
            guards,
            calls,
            zone,
            ownership,
            snapshot: None,
            unconcluded: Vec::new(),
            settled: BTreeSet::new(),
            wishes: VecDeque::new(),
            leaving: Leaving::default(),
            looks: Vec::new(),
        }
    }

    /// Works until nobody can ask any more, or nobody has for so long: what it knows, the credential's secret with it, goes
    /// along.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>, idle: Duration) {
        loop {
            let mut taken = Vec::new();
            if self.wishes.is_empty() && self.looks.is_empty() {
                match tokio::time::timeout(self.rest(idle), asks.recv_many(&mut taken, ROUND)).await {
                    Ok(0) if self.has_nothing_left() => return,
                    Ok(0) => {
                        tokio::time::sleep(self.rest(idle)).await;
                        self.conclude_late().await;
                    }
                    Ok(_) => {}
                    // What was asked until now is still answered.
                    Err(_) if self.has_nothing_left() => asks.close(),
                    Err(_) => self.conclude_late().await,
                }
            }
            if taken.iter().any(|ask| matches!(ask, Ask::Change { .. })) {
                tokio::time::sleep(GATHER).await;
            }
            while let (true, Ok(ask)) = (taken.len() < ROUND, asks.try_recv()) {
                taken.push(ask);
            }
            taken.into_iter().for_each(|ask| self.take(ask));
            self.part_leaving().await;
            self.round().await;
        }
    }

    /// How long there is nothing to do, if nobody asks.
    fn rest(&self, idle: Duration) -> Duration {
        let due = self.leaving.due().map(|due| due.saturating_duration_since(Instant::now()));
        let late = (!self.unconcluded.is_empty()).then_some(REST);
        due.into_iter().chain(late).min().unwrap_or(idle)
    }

    fn has_nothing_left(&self) -> bool {
        self.unconcluded.is_empty() && self.leaving.wishes.is_empty()
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Look { calls, owner, kind, since, reply } => {
                self.looks.push(Looking { calls, owner, kind, since, reply });
            }
            Ask::Change { calls, wish, reply } => {
                self.wishes.push_back(Waiting { wish: *wish, tries: 0, calls, waited: false, reply });
            }
        }
    }

    /// Deletions in a guarded zone are put aside until they are due; a set that is wanted again needs none.
    async fn part_leaving(&mut self) {
        let now = Instant::now();
        let first = |waiting: &Waiting| waiting.wish.goes() && !waiting.waited;
        if let Some(waiting) = self.wishes.iter().find(|waiting| first(waiting)) {
            if self.snapshot.is_none() {
                self.calls = waiting.calls.clone();
                // What cannot be read is told when it is needed.
                let _ = self.read_whole().await;
            }
            if self.owned() >= LEAST {
                let (go, stay) = std::mem::take(&mut self.wishes).into_iter().partition(first);
                self.wishes = stay;
                let go: VecDeque<Waiting> = go;
                go.into_iter().for_each(|waiting| self.leaving.push(waiting, now));
            }
        }
        let sets = self.wishes.iter().map(|w| &w.wish).filter(|wish| !wish.goes());
        let wanted: BTreeSet<(&Name, RecordType)> = sets.map(|wish| (&wish.owner, wish.kind)).collect();
        let (again, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.leaving.wishes)
            .into_iter()
            .partition(|w| wanted.contains(&(&w.wish.owner, w.wish.kind)));
        again.into_iter().for_each(|waiting| waiting.answer(Ok(Effect::Unchanged)));
        match self.leaving.due() {
            Some(due) if due <= now => {
                self.leaving.came = None;
                self.wishes.extend(go);
            }
            _ => self.leaving.wishes = go,
        }
    }

    /// What the credential whose turn it is has to do with here.
    pub(super) fn part(&self) -> ZonePart {
        let account = &self.calls.account;
        ZonePart {
            server: account.server.endpoint(),
            zone: self.zone.id.clone(),
            organization: account.credential.organization.clone(),
        }
    }

    /// Sets of the zone that are ours.
    pub(super) fn owned(&self) -> usize {
        self.snapshot.as_ref().map_or(0, |snapshot| self.ownership.owned(&self.zone, snapshot))
    }

    /// Reads what is needed for all, writes, and answers those who look: what was wished before they asked is made by then.
    async fn round(&mut self) {
        let Some(calls) = self.next_calls() else { return };
        let credential = calls.account.credential.uid;
        self.calls = calls;
        let (looks, others) = std::mem::take(&mut self.looks)
            .into_iter()
            .partition(|look| look.calls.account.credential.uid == credential);
        self.looks = others;
        let looks: Vec<Looking> = looks;
        let batch = self.next_batch(credential);
        let now = Instant::now();
        let since = match batch.is_empty() {
            true => looks.iter().filter_map(|look| look.since).max(),
            false => Some(now),
        };
        let asked = looks.iter().map(|l| (&l.owner, l.kind));
        let names = self.names(asked.chain(batch.iter().map(|w| (&w.wish.owner, w.wish.kind))));
        let mut read = self.refresh(since, &names, !looks.is_empty()).await;
        match &read {
            Ok(()) => self.settle_and_write(batch).await,
            Err(trouble) => batch.into_iter().for_each(|w| w.answer(Ok(Effect::Trouble(trouble.clone())))),
        }
        if read.is_ok() && self.snapshot.is_none() && !looks.is_empty() {
            read = self.read_whole().await;
        }
        for look in looks {
            let answer = match &read {
                Ok(()) => self.seen(&look.owner, look.kind),
                Err(trouble) => Err(trouble.clone()),
            };
            let _ = look.reply.send(answer);
        }
    }

    async fn settle_and_write(&mut self, mut batch: Vec<Waiting>) {
        // Reading may have taken longer than somebody waits.
        batch.retain(Waiting::is_awaited);
        if batch.is_empty() {
            return;
        }
        match self.settle_former().await {
            Ok(()) => self.write(batch).await,
            Err(error) => batch.into_iter().for_each(|waiting| waiting.answer(Err(same(&error)))),
        }
    }

    /// The way of the credential whose turn it is, with its newest Secret: a call is made by one credential, for its own.
    fn next_calls(&self) -> Option<Calls> {
        let all = || self.looks.iter().map(|look| &look.calls).chain(self.wishes.iter().map(|wish| &wish.calls));
        let first = all().next()?.account.credential.uid;
        all().rfind(|calls| calls.account.credential.uid == first).cloned()
    }

    /// The wishes of the next batch: of one set one, or all where it is shared. The others wait for the next.
    fn next_batch(&mut self, credential: Uuid) -> Vec<Waiting> {
        let mut taken: BTreeSet<(Name, RecordType)> = BTreeSet::new();
        let (mut batch, mut later) = (Vec::new(), VecDeque::new());
        for waiting in std::mem::take(&mut self.wishes).into_iter().filter(Waiting::is_awaited) {
            let shares = matches!(waiting.wish.want, Want::Share { .. } | Want::Unshare { .. });
            let is_its = waiting.calls.account.credential.uid == credential;
            let is_free = is_its && taken.insert((waiting.wish.owner.clone(), waiting.wish.kind));
            if is_free || (is_its && shares) { batch.push(waiting) } else { later.push_back(waiting) }
        }
        self.wishes = later;
        batch
    }

    /// The wish goes into the next batch.
    pub(super) fn again(&mut self, waiting: Waiting) {
        self.wishes.push_back(Waiting { tries: waiting.tries + 1, ..waiting });
    }

    /// All names that tell of these sets.
    fn names<'a>(&self, sets: impl Iterator<Item = (&'a Name, RecordType)>) -> BTreeSet<Name> {
        let telling = |(owner, kind): (&Name, RecordType)| {
            let entry = self.ownership.marker().is_none().then(|| self.ownership.entry(&self.zone, owner, kind).ok());
            let entry = entry.flatten().map(|set| set.owner().clone());
            [Some(owner.clone()), ownership::telling(owner, kind), entry].into_iter().flatten()
        };
        sets.flat_map(telling).filter(|name| name.is_within(&self.zone.name)).collect()
    }

    fn seen(&self, owner: &Name, kind: RecordType) -> Result<Look, Trouble> {
        let snapshot = self.snapshot.as_ref().ok_or_else(ended)?;
        Ok(Look {
            set: snapshot.set(owner, kind).cloned(),
            whose: self.ownership.whose(&self.zone, snapshot, owner, kind),
            beside: snapshot.beside(owner, kind),
            delegation: delegation(owner, &self.zone.name, snapshot.delegations()).cloned(),
        })
    }

    /// Sees to it that what stands at these names is known as of `since`. Who looks will look at the rest too: for them the
    /// whole is read.
    async fn refresh(&mut self, since: Option<Instant>, names: &BTreeSet<Name>, whole: bool) -> Result<(), Trouble> {
        let now = Instant::now();
        let Some(snapshot) = &mut self.snapshot else { return self.read_whole().await };
        if since.is_none_or(|since| snapshot.since >= since) {
            return Ok(());
        }
        let serial = self.calls.serial(&self.zone).await?;
        if serial.is_some() && serial == snapshot.serial {
            snapshot.since = now;
            return Ok(());
        }
        if whole || names.len() > SINGLE_READS || !self.calls.account.server.reads_names() {
            return self.read_whole().await;
        }
        self.read_names(names).await
    }

    /// What stands at these names and no others. As of when the whole is known stays as it was.
    pub(super) async fn read_names(&mut self, names: &BTreeSet<Name>) -> Result<(), Trouble> {
        let (calls, zone) = (&self.calls, &self.zone);
        let reads = names.iter().map(async |name| Ok((name, calls.read(zone, Some(name)).await?)));
        let read = futures::future::try_join_all(reads).await?;
        if let Some(snapshot) = &mut self.snapshot {
            read.into_iter().for_each(|(name, contents)| snapshot.renew(name, contents));
        }
        Ok(())
    }

    /// The whole zone. The serial goes first: what changes while it is read is then seen by the next look.
    pub(super) async fn read_whole(&mut self) -> Result<(), Trouble> {
        let since = Instant::now();
        let serial = self.calls.serial(&self.zone).await?;
        let contents = self.calls.read(&self.zone, None).await?;
        self.snapshot = Some(Snapshot::new(contents, serial, since));
        Ok(())
    }
}

/// The same error for another who waits.
pub(super) fn same(error: &Error) -> Error {
    match error {
        Error::Deposed(words) => Error::Deposed(words.clone()),
        other => Error::condition(other.reason(), other.to_string()),
    }
}
