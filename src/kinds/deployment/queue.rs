//! Deployments that wait for what others hold: a place for a run, or the executor, which serves one organization alone.
//!
//! In which order they go, [`super::turns`] says. Nobody polls: each look of a deployment ends with [`pass_on`], which calls those
//! for whom there is a place then, and a look follows each end of a run. Who is called and needs no place any more calls the
//! next. What is known here is this process's own; a new leader's queue forms as its deployments are first looked at.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::act::Outcome;
use super::decide::Step;
use super::observe::Observed;
use super::standing::Wait;
use super::turns::{self, Candidate, Served, Turn};
use uuid::Uuid;

use crate::api::{Organization, TerraformDeployment};
use crate::installation::{ExecutorKind, ExecutorSettings};
use crate::kinds::Context;
use crate::ledger::ObjectKind;
use crate::ledger::runs::{Obstacle, Room, UnderWay};
use crate::reconcile::wake::{Key, Waker, key_of};

/// One that has not looked again for so long holds nobody up: whoever waits looks more often than that.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Who waits, and for what.
pub struct Queue {
    room: Room,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    /// In the order of coming.
    waiting: Vec<Waiting>,
    /// When each organization's last run was begun.
    served: Served,
    /// The runs, as the last look found them.
    under_way: UnderWay,
}

struct Waiting {
    key: Key,
    who: Candidate,
    came: Instant,
    looked: Instant,
}

impl Line {
    fn forget(&mut self, now: Instant) {
        self.waiting.retain(|w| now.duration_since(w.looked) < FORGOTTEN);
    }

    /// Those for whom there is a place now, the first first.
    fn turns(&self, room: Room) -> Vec<Key> {
        let waiting: Vec<&Candidate> = self.waiting.iter().map(|w| &w.who).collect();
        let turns = turns::order(&waiting, &mut self.under_way.clone(), &self.served, Some(room));
        turns.into_iter().filter_map(|at| Some(self.waiting.get(at)?.key.clone())).collect()
    }

    /// One more run of this organization was begun.
    fn serve(&mut self, organization: &Organization) {
        let last = self.served.values().max().copied().unwrap_or_default();
        self.served.insert(organization.clone(), last.saturating_add(1));
    }
}

impl Queue {
    /// Nobody waits. Under `local` one organization may run its code beside the controller's keys; two may not.
    pub fn new(executor: &ExecutorSettings) -> Self {
        let room = Room {
            runs: executor.max_runs,
            per_organization: executor.max_runs_per_organization,
            per_credential: executor.max_runs_per_credential,
            one_organization: executor.kind == ExecutorKind::Local,
        };
        Self { room, line: Mutex::default() }
    }

    /// What may be under way at once.
    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// The line without those that look no more.
    fn line(&self, now: Instant) -> MutexGuard<'_, Line> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.forget(now);
        line
    }

    /// Whether it may begin a run beside those that are under way: as the last, where it does not wait yet.
    pub(super) fn turn(&self, key: &Key, who: &Candidate, under_way: &UnderWay, now: Instant) -> Turn {
        let line = self.line(now);
        let known = line.waiting.iter().position(|w| w.key == *key);
        let mut waiting: Vec<&Candidate> =
            line.waiting.iter().map(|w| if w.key == *key { who } else { &w.who }).collect();
        if known.is_none() {
            waiting.push(who);
        }
        turns::turn(&waiting, known.unwrap_or(line.waiting.len()), under_way, &line.served, self.room)
    }

    /// Whether somebody waits who could begin in the place of a run of this organization with this credential, and not without it.
    pub(super) fn wants(&self, of: (&Organization, Option<Uuid>), under_way: &UnderWay, now: Instant) -> bool {
        let line = self.line(now);
        let waiting: Vec<&Candidate> = line.waiting.iter().map(|w| &w.who).collect();
        let begin = |mut beside| turns::order(&waiting, &mut beside, &line.served, Some(self.room)).len();
        let mut without = under_way.clone();
        without.remove(of.0, of.1);
        begin(without) > begin(under_way.clone())
    }

    /// It waits, in the place that it has. `true` when it did not before.
    fn wait(&self, key: &Key, who: &Candidate, now: Instant) -> bool {
        let mut line = self.line(now);
        match line.waiting.iter_mut().find(|w| w.key == *key) {
            Some(known) => {
                (known.looked, known.who) = (now, who.clone());
                false
            }
            None => {
                line.waiting.push(Waiting { key: key.clone(), who: who.clone(), came: now, looked: now });
                true
            }
        }
    }

    /// It waits no more. For how long it did, if it did.
    fn leave(&self, key: &Key, now: Instant) -> Option<Duration> {
        let line = &mut self.line(now).waiting;
        let place = line.iter().position(|w| w.key == *key)?;
        Some(now.duration_since(line.remove(place).came))
    }

    fn len(&self, now: Instant) -> usize {
        self.line(now).waiting.len()
    }

    /// Wakes those for whom there is a place, as far as the last look knew.
    pub(in crate::kinds) fn call(&self, waker: &Waker) {
        let called = self.line(Instant::now()).turns(self.room);
        wake(waker, &called);
    }

    /// One whose look failed, or that is gone: it does not wait any more, and the next is called in its place. That one looks
    /// anew how many places there are.
    pub(in crate::kinds) fn drop_out(&self, waker: &Waker, object: &TerraformDeployment) {
        if self.leave(&key_of(object), Instant::now()).is_some() {
            self.call_next(waker);
        }
    }

    /// Calls those whose turn it is, or else the first: what was last seen under way may be over.
    pub(super) fn call_next(&self, waker: &Waker) {
        let line = self.line(Instant::now());
        let mut called = line.turns(self.room);
        if called.is_empty() {
            called.extend(line.waiting.first().map(|w| w.key.clone()));
        }
        drop(line);
        wake(waker, &called);
    }
}

fn wake(waker: &Waker, keys: &[Key]) {
    for (namespace, name) in keys {
        waker.wake(ObjectKind::TerraformDeployment, namespace, name);
    }
}

/// Where a look leaves a deployment: whether it waits, whether it has begun a run, and what is under way then.
fn after(seen: &Observed, step: &Step, outcome: Option<&Outcome>) -> (bool, bool, UnderWay) {
    let standing = match (step, outcome) {
        (_, Some(Outcome::Hindered(standing, _))) => Some(standing),
        (Step::Rest(standing), _) => Some(standing),
        _ => None,
    };
    let waits = standing.is_some_and(|standing| standing.wait == Wait::Turn);
    let hindered = matches!(outcome, Some(Outcome::Hindered(..)));
    let begun = outcome.is_some() && !hindered && matches!(step, Step::Plan { .. } | Step::Apply { .. });
    let mut under_way = match outcome {
        // It was told the truth of the places in the unit of work that would have taken one.
        Some(Outcome::Hindered(_, Some(Obstacle::NoPlace { under_way, .. }))) => under_way.clone(),
        _ => seen.under_way.clone(),
    };
    if begun {
        under_way.add(&seen.candidate.organization, seen.candidate.credential);
    }
    (waits, begun, under_way)
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
    let (waits, begun, under_way) = after(seen, step, outcome);
    if waits {
        if cx.queue.wait(&key, &seen.candidate, now) {
            // What it waits for may have come while it looked, and nobody knew of it then.
            cx.waker.wake(ObjectKind::TerraformDeployment, &key.0, &key.1);
        }
    } else {
        let waited = cx.queue.leave(&key, now).unwrap_or_default();
        if begun {
            cx.metrics.queued(waited);
        }
    }
    cx.metrics.queue_length(cx.queue.len(now));
    let mut line = cx.queue.line(now);
    line.under_way = under_way;
    if begun {
        line.serve(&seen.candidate.organization);
    }
    drop(line);
    let refused = matches!(outcome, Some(Outcome::Hindered(_, Some(Obstacle::Others(_)))));
    if seen.others.is_none() && !refused {
        cx.queue.call(&cx.waker);
    }
}
