//! Calls to one credential's provider, at its pace.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::account::Account;
use super::locked;
use super::pace::{Pace, Turn};
use crate::api::Reason;
use crate::dns::{Name, Zone};
use crate::providers::{Change, Contents, Dns, Outcome, Trouble};

/// An account with the pace of its credential.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) account: Account,
    pace: Arc<Mutex<Pace>>,
}

impl Calls {
    pub(super) fn new(account: Account, pace: Arc<Mutex<Pace>>) -> Self {
        Self { account, pace }
    }

    pub(super) async fn zones(&self) -> Result<Vec<Zone>, Trouble> {
        self.turn().await?;
        self.heard(self.account.server.zones().await)
    }

    pub(super) async fn serial(&self, zone: &Zone) -> Result<Option<u32>, Trouble> {
        self.turn().await?;
        self.heard(self.account.server.serial(zone).await)
    }

    pub(super) async fn read(&self, zone: &Zone, name: Option<&Name>) -> Result<Contents, Trouble> {
        self.turn().await?;
        self.heard(self.account.server.read(zone, name).await)
    }

    pub(super) async fn apply(&self, zone: &Zone, changes: &[Change]) -> Vec<Outcome> {
        if let Err(trouble) = self.turn().await {
            return vec![Outcome::Unsettled(trouble); changes.len()];
        }
        let outcomes = self.account.server.apply(zone, changes).await;
        let trouble = outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Unsettled(trouble) if trouble.reason == Reason::RateLimited => Some(trouble),
            _ => None,
        });
        if let Some(trouble) = trouble {
            locked(&self.pace).rest(Instant::now(), trouble.retry_after);
        }
        outcomes
    }

    /// Waits for a turn; while the provider asks to be left alone there is none.
    async fn turn(&self) -> Result<(), Trouble> {
        loop {
            let turn = locked(&self.pace).turn(Instant::now());
            match turn {
                Turn::Now => return Ok(()),
                Turn::After(rest) => tokio::time::sleep(rest).await,
                Turn::Rest(left) => {
                    let message =
                        format!("the provider asked to be left alone; {} s are left of it", left.as_secs() + 1);
                    return Err(Trouble {
                        reason: Reason::RateLimited,
                        message,
                        retry_after: Some(left),
                        may_have_landed: false,
                    });
                }
            }
        }
    }

    fn heard<T>(&self, answer: Result<T, Trouble>) -> Result<T, Trouble> {
        if let Err(trouble) = &answer
            && (trouble.reason == Reason::RateLimited || trouble.retry_after.is_some())
        {
            locked(&self.pace).rest(Instant::now(), trouble.retry_after);
        }
        answer
    }
}
