//! Calls to one credential's provider, at its pace.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::account::Account;
use super::locked;
use super::pace::{Pace, Turn};
use crate::api::Reason;
use crate::dns::{Name, Zone};
use crate::ledger::Writer;
use crate::metrics::Metrics;
use crate::providers::{Change, Contents, Dns, Outcome, Trouble};

/// How often who waits asks whether others need its place.
const CHECK: Duration = Duration::from_millis(500);

/// An account with the pace of its credential.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) account: Account,
    ledger: Writer,
    metrics: Arc<Metrics>,
    pace: Arc<Mutex<Pace>>,
}

impl Calls {
    pub(super) fn new(account: Account, ledger: Writer, metrics: Arc<Metrics>, pace: Arc<Mutex<Pace>>) -> Self {
        Self { account, ledger, metrics, pace }
    }

    pub(super) async fn zones(&self) -> Result<Vec<Zone>, Trouble> {
        self.made(self.account.server.zones()).await
    }

    pub(super) async fn serial(&self, zone: &Zone) -> Result<Option<u32>, Trouble> {
        self.made(self.account.server.serial(zone)).await
    }

    pub(super) async fn read(&self, zone: &Zone, name: Option<&Name>) -> Result<Contents, Trouble> {
        self.made(self.account.server.read(zone, name)).await
    }

    pub(super) async fn apply(&self, zone: &Zone, changes: &[Change]) -> Vec<Outcome> {
        if let Err(trouble) = self.turn().await {
            return vec![Outcome::Unsettled(trouble); changes.len()];
        }
        let open = Open::new(&self.pace);
        let outcomes = self.account.server.apply(zone, changes).await;
        let troubles = || {
            outcomes.iter().filter_map(|outcome| match outcome {
                Outcome::Unsettled(trouble) => Some(trouble),
                _ => None,
            })
        };
        self.metrics.called(self.account.server.name(), troubles().next().map(|trouble| trouble.reason));
        match troubles().find(|trouble| trouble.reason == Reason::RateLimited) {
            Some(trouble) => self.heard(&open, Some(trouble)).await,
            // A change that was not answered is asked about at once.
            None if troubles().next().is_some() => {}
            None => self.heard(&open, None).await,
        }
        outcomes
    }

    /// Does what asks the provider, as long as no other credential's objects need the place more: of those who wait for a
    /// provider that does not answer, `share` go on.
    ///
    /// # Errors
    /// It was given up; whatever it wished may have been made.
    pub(super) async fn patiently<T>(&self, share: usize, work: impl Future<Output = T>) -> Result<T, Trouble> {
        let mut waits = Waits::new(&self.pace);
        let mut work = std::pin::pin!(work);
        loop {
            waits.unless_crowded(share)?;
            if let Ok(done) = tokio::time::timeout(CHECK, &mut work).await {
                return Ok(done);
            }
        }
    }

    /// Makes a call in its turn.
    async fn made<T>(&self, call: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        self.turn().await?;
        let open = Open::new(&self.pace);
        let answer = call.await;
        self.metrics.called(self.account.server.name(), answer.as_ref().err().map(|trouble| trouble.reason));
        self.heard(&open, answer.as_ref().err()).await;
        answer
    }

    /// Waits for a turn; while the provider asks to be left alone, or did not answer a moment ago, there is none.
    async fn turn(&self) -> Result<(), Trouble> {
        self.recall().await;
        loop {
            let turn = {
                let (mut pace, now) = (locked(&self.pace), Instant::now());
                if let Some(trouble) = pace.silence.refusal(now, &self.account.digest) {
                    return Err(trouble);
                }
                pace.turn(now)
            };
            match turn {
                Turn::Now => return Ok(()),
                Turn::After(rest) => tokio::time::sleep(rest).await,
                Turn::Rest(left) => return Err(Trouble::resting(left)),
            }
        }
    }

    /// What an earlier leader was asked holds.
    async fn recall(&self) {
        if locked(&self.pace).is_recalled {
            return;
        }
        let credential = &self.account.credential;
        match self.ledger.rest_of(credential.cluster, credential.uid).await {
            Ok(left) => {
                let mut pace = locked(&self.pace);
                left.into_iter().for_each(|left| pace.rest(Instant::now(), Some(left)));
                pace.is_recalled = true;
            }
            Err(error) => tracing::warn!(%error, "whether a provider asked to be left alone is not known"),
        }
    }

    async fn heard(&self, open: &Open, trouble: Option<&Trouble>) {
        let rest = {
            let (mut pace, now) = (locked(&self.pace), Instant::now());
            pace.silence.heard(now, open.call, &self.account.digest, trouble);
            let asks = trouble.filter(|t| t.reason == Reason::RateLimited || t.retry_after.is_some());
            asks.inspect(|trouble| pace.rest(now, trouble.retry_after)).and_then(|trouble| trouble.retry_after)
        };
        let Some(rest) = rest else { return };
        // What the ledger does not hear, this leader knows.
        if let Err(error) = self.ledger.put_rest(&self.account.credential, rest).await {
            tracing::warn!(%error, "that a provider asks to be left alone is not on record");
        }
    }
}

/// A call without an answer, as long as somebody waits for it.
struct Open {
    pace: Arc<Mutex<Pace>>,
    call: u64,
}

impl Open {
    fn new(pace: &Arc<Mutex<Pace>>) -> Self {
        let call = locked(pace).silence.begin(Instant::now());
        Self { pace: pace.clone(), call }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        locked(&self.pace).silence.end(self.call);
    }
}

/// One who waits.
struct Waits {
    pace: Arc<Mutex<Pace>>,
    is_counted: bool,
}

impl Waits {
    fn new(pace: &Arc<Mutex<Pace>>) -> Self {
        locked(pace).silence.enter();
        Self { pace: pace.clone(), is_counted: true }
    }

    /// Whoever must go is counted no more from the same moment on: those who stay are as many as may.
    fn unless_crowded(&mut self, share: usize) -> Result<(), Trouble> {
        let mut pace = locked(&self.pace);
        let Some(trouble) = pace.silence.crowd(Instant::now(), share) else { return Ok(()) };
        pace.silence.leave();
        self.is_counted = false;
        Err(trouble)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if self.is_counted {
            locked(&self.pace).silence.leave();
        }
    }
}
