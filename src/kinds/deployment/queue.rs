//! Deployments that wait for what others hold: a place for a run, or the executor, which serves one organization alone.
//!
//! Who came first goes first. Nobody polls: each look of a deployment ends with [`pass_on`], which calls as many of those that
//! wait as places are free then, and a look follows each end of a run. Who is called and needs no place any more calls the
//! next. What is known here is this process's own; a new leader's queue forms as its deployments are first looked at.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::act::Outcome;
use super::decide::Step;
use super::observe::Observed;
use super::standing::Wait;
use crate::api::TerraformDeployment;
use crate::kinds::Context;
use crate::ledger::ObjectKind;
use crate::reconcile::wake::{Key, Waker, key_of};

/// One that has not looked again for so long holds nobody up: whoever waits looks more often than that.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Who waits, the first first.
#[derive(Default)]
pub struct Queue(Mutex<Vec<Waiting>>);

struct Waiting {
    key: Key,
    looked: Instant,
}

impl Queue {
    /// Those that still wait.
    fn waiting(&self, now: Instant) -> MutexGuard<'_, Vec<Waiting>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|w| now.duration_since(w.looked) < FORGOTTEN);
        waiting
    }

    /// How many go before this one: all, where it does not wait yet.
    pub(super) fn ahead(&self, key: &Key, now: Instant) -> usize {
        let waiting = self.waiting(now);
        waiting.iter().position(|w| w.key == *key).unwrap_or(waiting.len())
    }

    /// It waits, in the place that it has. `true` when it did not before.
    fn wait(&self, key: &Key, now: Instant) -> bool {
        let mut waiting = self.waiting(now);
        match waiting.iter_mut().find(|w| w.key == *key) {
            Some(known) => {
                known.looked = now;
                false
            }
            None => {
                waiting.push(Waiting { key: key.clone(), looked: now });
                true
            }
        }
    }

    /// It waits no more. `true` when it did.
    fn leave(&self, key: &Key, now: Instant) -> bool {
        let mut waiting = self.waiting(now);
        let before = waiting.len();
        waiting.retain(|w| w.key != *key);
        waiting.len() < before
    }

    /// Wakes the first so many.
    pub(in crate::kinds) fn call(&self, waker: &Waker, count: usize) {
        for w in self.waiting(Instant::now()).iter().take(count) {
            let (namespace, name) = &w.key;
            waker.wake(ObjectKind::TerraformDeployment, namespace, name);
        }
    }

    /// One whose look failed, or that is gone: it does not wait any more, and the next is called in its place.
    pub(in crate::kinds) fn drop_out(&self, waker: &Waker, object: &TerraformDeployment) {
        if self.leave(&key_of(object), Instant::now()) {
            self.call(waker, 1);
        }
    }
}

/// Where a look leaves a deployment: whether it waits, and how many places are free for those that do.
fn after(seen: &Observed, step: &Step, outcome: Option<&Outcome>) -> (bool, usize) {
    let standing = match (step, outcome) {
        (_, Some(Outcome::Hindered(standing))) => Some(standing),
        (Step::Rest(standing), _) => Some(standing),
        _ => None,
    };
    let waits = standing.is_some_and(|standing| standing.wait == Wait::Turn);
    let taken = outcome.is_some() && matches!(step, Step::Plan { .. } | Step::Apply { .. });
    let free = match outcome {
        // It was told the truth of the places in the unit of work that would have taken one.
        Some(Outcome::Hindered(_)) => 0,
        _ if seen.others.is_some() => 0,
        _ => seen.free.saturating_sub(usize::from(taken)),
    };
    (waits, free)
}

/// After a look: notes whether the deployment waits, and calls those for whom there is a place.
pub(super) fn pass_on(
    cx: &Context,
    object: &TerraformDeployment,
    seen: &Observed,
    step: &Step,
    outcome: Option<&Outcome>,
) {
    let (key, now) = (key_of(object), Instant::now());
    let (waits, free) = after(seen, step, outcome);
    if waits {
        if cx.queue.wait(&key, now) {
            // What it waits for may have come while it looked, and nobody knew of it then.
            cx.waker.wake(ObjectKind::TerraformDeployment, &key.0, &key.1);
        }
    } else {
        cx.queue.leave(&key, now);
    }
    cx.queue.call(&cx.waker, free);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("a".to_owned(), name.to_owned())
    }

    #[test]
    fn who_waits_keeps_the_place_and_who_comes_is_last() {
        let (queue, now) = (Queue::default(), Instant::now());
        assert_eq!(queue.ahead(&key("x"), now), 0);
        assert!(queue.wait(&key("x"), now) && queue.wait(&key("y"), now));
        assert!(!queue.wait(&key("x"), now), "it waits already");
        assert_eq!([queue.ahead(&key("x"), now), queue.ahead(&key("y"), now), queue.ahead(&key("z"), now)], [0, 1, 2]);
        assert!(queue.leave(&key("x"), now) && !queue.leave(&key("x"), now));
        assert_eq!(queue.ahead(&key("y"), now), 0);
    }

    #[test]
    fn one_that_never_looks_again_holds_nobody_up() {
        let (queue, now) = (Queue::default(), Instant::now());
        queue.wait(&key("dead"), now);
        queue.wait(&key("live"), now + FORGOTTEN / 2);
        assert_eq!(queue.ahead(&key("live"), now + FORGOTTEN / 2), 1);
        assert_eq!(queue.ahead(&key("live"), now + FORGOTTEN), 0);
    }
}
