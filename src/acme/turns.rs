//! What many want from a CA at once, and one asks for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use super::Trouble;

/// How long a failure is told to those who come after it: so many who wait for a CA that does not answer wait for it once.
const KEPT: Duration = Duration::from_secs(10);

type Slot = Arc<tokio::sync::Mutex<Option<(Trouble, Instant)>>>;

/// A turn for each key.
#[derive(Debug)]
pub(super) struct Turns<K>(Mutex<HashMap<K, Slot>>);

/// As long as it is held, all others of its key wait.
pub struct Turn(OwnedMutexGuard<Option<(Trouble, Instant)>>);

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Turns<K> {
    /// Waits for the turn. Who has it looks first whether what was wanted is there by now.
    ///
    /// # Errors
    /// What was in the way of the one before, a moment ago.
    pub(super) async fn take(&self, key: K) -> Result<Turn, Trouble> {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody holds or waits for is of use as long as it tells of a failure.
            slots.retain(|_, slot| {
                Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|slot| lately(&slot).is_some())
            });
            slots.entry(key).or_default().clone()
        };
        let turn = slot.lock_owned().await;
        match lately(&turn) {
            Some(trouble) => Err(trouble),
            None => Ok(Turn(turn)),
        }
    }
}

fn lately(slot: &Option<(Trouble, Instant)>) -> Option<Trouble> {
    slot.as_ref().filter(|(_, at)| at.elapsed() < KEPT).map(|(trouble, _)| trouble.clone())
}

impl Turn {
    /// Ends it: who waits for it, or comes a moment later, hears of a failure.
    ///
    /// # Errors
    /// The one that it is given.
    pub fn end<T>(mut self, answer: Result<T, Trouble>) -> Result<T, Trouble> {
        *self.0 = answer.as_ref().err().map(|trouble| (trouble.clone(), Instant::now()));
        answer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::acme::Cause;

    #[tokio::test]
    async fn one_asks_and_those_who_wait_hear_of_its_failure() {
        let turns = Turns::default();
        let first = turns.take("ca").await.unwrap();
        let other = turns.take("another").await.unwrap();
        let waiting = futures::future::join_all((0..3).map(|_| turns.take("ca")));
        let failing = async { first.end::<()>(Err(Trouble::new(Cause::Timeout, "no answer"))) };
        let (heard, told) = futures::join!(waiting, failing);
        assert!(heard.into_iter().all(|turn| turn.is_err_and(|trouble| trouble.cause == Cause::Timeout)));
        assert!(told.is_err());
        assert_eq!(other.end(Ok(1)), Ok(1));
        assert!(turns.take("another").await.is_ok(), "nothing failed there");
    }

    #[tokio::test]
    async fn a_turn_that_is_given_up_lets_the_next_one_ask() {
        let turns = Turns::default();
        drop(turns.take("ca").await.unwrap());
        let turn = turns.take("ca").await.unwrap();
        assert_eq!(turn.end(Ok("there")), Ok("there"));
        assert_eq!(turns.0.lock().unwrap().len(), 1);
        drop(turns.take("another").await);
        assert!(!turns.0.lock().unwrap().contains_key("ca"), "what nobody needs is not kept");
    }
}
