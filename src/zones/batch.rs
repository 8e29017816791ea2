//! One batch of wishes: planned, put on record, written, settled, answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::guard::{Risk, WINDOW};
use super::plan::{Write, plan};
use super::wish::{By, Effect, Want, Wish};
use super::writer::{Waiting, Writer, ended, same};
use crate::api::Reason;
use crate::dns::{Data, Name, RecordSet, RecordType, reserved};
use crate::ledger::{IntentId, NewIntent, Outcome as Told, Subject, TakenAway};
use crate::providers::{Outcome, Standing, Trouble};
use crate::{Error, Result};

/// An outcome that the ledger has to hear of.
pub(super) struct Conclusion {
    intent: IntentId,
    outcome: Told,
    parts: Vec<Value>,
}

/// What became of a write.
struct Settled {
    write: Write,
    outcome: Outcome,
    /// It was read, since the provider did not tell.
    by_reading: bool,
}

impl Writer {
    /// Writes what the wishes need, and answers each.
    pub(super) async fn write(&mut self, batch: Vec<Waiting>) {
        let Some(snapshot) = &self.snapshot else {
            let unread = || Trouble { may_have_landed: false, ..ended() };
            return batch.into_iter().for_each(|waiting| waiting.answer(Ok(Effect::Trouble(unread()))));
        };
        let wishes: Vec<&Wish> = batch.iter().map(|waiting| &waiting.wish).collect();
        let plan = plan(&self.zone, snapshot, &self.ownership, &wishes);
        let sets: BTreeSet<(&Name, RecordType)> = wishes.iter().map(|wish| (&wish.owner, wish.kind)).collect();
        let risks: Vec<Risk> = plan.writes.iter().filter_map(Write::risk).collect();
        self.guards.with(&self.part(), |guard| guard.wished(&sets, &risks));
        let mut waiting: Vec<Option<Waiting>> = batch.into_iter().map(Some).collect();
        for (number, effect) in plan.settled {
            if let Some(waiting) = take(&mut waiting, number) {
                waiting.answer(Ok(effect));
            }
        }
        let owned = match risks.is_empty() {
            true => Ok(0),
            false => self.count().await,
        };
        let owned = match owned {
            Ok(owned) => owned,
            Err(error) => {
                return waiting.into_iter().flatten().for_each(|waiting| waiting.answer(Err(same(&error))));
            }
        };
        for (approved_by, writes) in self.guarded(plan.writes, owned, &mut waiting) {
            match self.make(writes, approved_by, &mut waiting).await {
                Ok(settled) => settled.into_iter().for_each(|settled| self.tell(settled, &mut waiting)),
                Err(error) => {
                    let words = same(&error);
                    return waiting.into_iter().flatten().for_each(|waiting| waiting.answer(Err(same(&words))));
                }
            }
        }
    }

    /// How many sets of the zone the organization has; and has the guard know what was made there lately.
    ///
    /// # Errors
    /// Postgres's.
    async fn count(&self) -> Result<usize> {
        let part = self.part();
        let taken = self.ledger.taken_away(&part, WINDOW).await?;
        // A shared set is nobody's to lose.
        let shared = |taken: &TakenAway| {
            let key = Name::presented(&taken.fqdn).ok().zip(taken.kind.parse().ok());
            key.is_none_or(|(owner, kind)| reserved::is_shared(&owner, kind))
        };
        let done = taken.iter().filter(|taken| !shared(taken)).map(|taken| (taken.age, taken.is_gone));
        self.guards.with(&part, |guard| guard.recall(Instant::now(), done));
        Ok(self.owned().saturating_sub(self.ledger.sets_of_others(&part).await?))
    }

    /// The writes that may be made, by who approved them. Where the guard holds, none that takes something away but those.
    fn guarded(
        &mut self,
        writes: Vec<Write>,
        owned: usize,
        waiting: &mut [Option<Waiting>],
    ) -> BTreeMap<Option<String>, Vec<Write>> {
        let risks: Vec<Risk> = writes.iter().filter_map(Write::risk).collect();
        let wishes = || waiting.iter().flatten().map(|waiting| &waiting.wish);
        let leaving = wishes().filter_map(|wish| match wish.want {
            Want::Gone { leaving } => Some(leaving),
            _ => None,
        });
        let (now, leaving) = (Instant::now(), leaving.max().unwrap_or_default());
        let mut made: BTreeMap<Option<String>, Vec<Write>> = BTreeMap::new();
        let mut held = Vec::new();
        self.guards.with(&self.part(), |guard| {
            let passes = risks.is_empty() || guard.judge(now, owned, leaving, &risks);
            for write in writes {
                let risk = write.risk();
                let by = risk.as_ref().and_then(|risk| guard.approver(risk)).map(str::to_owned);
                match passes || risk.is_none() || by.is_some() {
                    true => made.entry(by).or_default().push(write),
                    false => held.extend(write.wishes),
                }
            }
        });
        for number in held {
            if let Some(waiting) = take(waiting, number) {
                waiting.answer(Ok(Effect::Held));
            }
        }
        made
    }

    /// Intent, call, outcome. What goes by a domain that is lost is not made.
    ///
    /// # Errors
    /// The intent could not be committed: nothing was written.
    async fn make(
        &mut self,
        mut writes: Vec<Write>,
        approved_by: Option<String>,
        waiting: &mut [Option<Waiting>],
    ) -> Result<Vec<Settled>> {
        self.conclude_late().await;
        let intent = loop {
            let intent = NewIntent { approved_by: approved_by.clone(), ..self.intent(&writes, waiting) };
            match self.ledger.intend_by(intent, &domains(&writes, waiting)).await? {
                Ok(intent) => break intent,
                Err(lost) => writes = self.without(&lost, writes, waiting),
            }
            if writes.is_empty() {
                return Ok(Vec::new());
            }
        };
        let mut settled = self.apply(writes, waiting).await;
        self.learn(&mut settled).await;
        let now = Instant::now();
        self.guards.with(&self.part(), |guard| {
            for (settled, risk) in settled.iter().filter_map(|s| Some((s, s.write.risk()?))) {
                match &settled.outcome {
                    Outcome::Applied => guard.made(now, &risk, true),
                    Outcome::Unsettled(trouble) if trouble.may_have_landed => guard.made(now, &risk, false),
                    _ => {}
                }
            }
        });
        self.unconcluded.push(conclusion(intent, &settled));
        self.conclude_late().await;
        Ok(settled)
    }

    /// The writes that do not go by this domain, which is lost. What others wish of the same set is planned anew.
    fn without(&mut self, lost: &Subject, writes: Vec<Write>, waiting: &mut [Option<Waiting>]) -> Vec<Write> {
        let goes = |waiting: &Waiting| waiting.wish.by.as_ref().is_some_and(|by| by.domain.uid == lost.uid);
        let (left, stays): (Vec<Write>, Vec<Write>) = writes.into_iter().partition(|write| {
            write.wishes.iter().any(|number| waiting.get(*number).and_then(Option::as_ref).is_some_and(goes))
        });
        for waiting in left.iter().flat_map(|write| &write.wishes).filter_map(|number| take(waiting, *number)) {
            match goes(&waiting) {
                true => {
                    let words = format!("OrganizationDomain {:?} was lost a moment ago; see its status", lost.name);
                    waiting.answer(Err(Error::condition(Reason::DomainNotVerified, words)));
                }
                false => self.again(waiting),
            }
        }
        stays
    }

    /// The call. Postgres may have been waited for longer than an asker does: what nobody waits for any more is not written.
    async fn apply(&self, writes: Vec<Write>, waiting: &[Option<Waiting>]) -> Vec<Settled> {
        let awaited = |number: &usize| waiting.get(*number).and_then(Option::as_ref).is_some_and(Waiting::is_awaited);
        let (writes, left): (Vec<Write>, Vec<Write>) =
            writes.into_iter().partition(|write| write.wishes.iter().any(awaited));
        let changes: Vec<_> = writes.iter().map(|write| write.change.clone()).collect();
        let outcomes = match changes.is_empty() {
            true => Vec::new(),
            false => self.calls.apply(&self.zone, &changes).await,
        };
        let settled = |(write, outcome)| Settled { write, outcome, by_reading: false };
        let left = left.into_iter().map(|write| settled((write, Outcome::Unsettled(unawaited()))));
        writes.into_iter().zip(outcomes).map(settled).chain(left).collect()
    }

    /// What the ledger is told before the call: each wish with its set, as it stands and as it shall be.
    fn intent(&self, writes: &[Write], waiting: &[Option<Waiting>]) -> NewIntent {
        let (mut subjects, mut parts, mut reasons) = (Vec::new(), Vec::new(), BTreeSet::new());
        for write in writes {
            for waiting in write.wishes.iter().filter_map(|number| waiting.get(*number)?.as_ref()) {
                let wish = &waiting.wish;
                subjects.push(wish.subject.clone());
                reasons.insert(wish.why.as_str());
                parts.push(json!({
                    "name": write.change.key().map_or(wish.owner.as_str(), |(owner, _)| owner.as_str()),
                    "type": wish.kind.as_str(),
                    "before": shown(write.change.before()),
                    "after": shown(write.change.after()),
                }));
            }
        }
        let why = match reasons.len() {
            1 => reasons.into_iter().collect(),
            _ => format!("{} wishes for {}", subjects.len(), self.zone.name),
        };
        NewIntent {
            subjects,
            call: self.calls.account.server.call(),
            why,
            approved_by: None,
            details: json!({
                "credential": self.calls.account.credential.uid,
                "server": self.calls.account.server.endpoint(),
                "zone": self.zone.id,
                "zoneName": self.zone.name.as_str(),
            }),
            parts,
        }
    }

    /// Takes into the snapshot what was written or found. What the provider did not tell is read.
    async fn learn(&mut self, settled: &mut [Settled]) {
        let is_open = |s: &Settled| matches!(&s.outcome, Outcome::Unsettled(trouble) if trouble.may_have_landed);
        let known = match settled.iter().any(is_open) {
            true => self.read_whole().await.is_ok(),
            false => self.advance(settled).await,
        };
        if !known {
            self.snapshot = None;
            return;
        }
        let Some(snapshot) = &self.snapshot else { return };
        for settled in settled.iter_mut().filter(|s| is_open(s)) {
            let Some((owner, kind)) = settled.write.change.key() else { continue };
            settled.by_reading = true;
            if snapshot.set(owner, kind) == settled.write.change.after() {
                settled.outcome = Outcome::Applied;
            }
        }
    }

    /// The snapshot goes on by what was written. Where the zone's serial went on by one step alone, nobody else wrote.
    /// Answers whether the snapshot is still good.
    async fn advance(&mut self, settled: &[Settled]) -> bool {
        let marker = self.ownership.marker();
        let Some(snapshot) = &mut self.snapshot else { return false };
        let mut all = true;
        for Settled { write, outcome, .. } in settled {
            all &= *outcome == Outcome::Applied;
            let Some((owner, kind)) = write.change.key() else { continue };
            match outcome {
                Outcome::Applied => {
                    let marker = marker.clone().filter(|_| !write.shared);
                    for part in write.change.parts() {
                        let Some((owner, kind)) = part.key() else { continue };
                        let mut markers = snapshot.find(owner, kind).map(|s| s.markers.clone()).unwrap_or_default();
                        markers.extend(marker.clone().filter(|marker| !markers.contains(marker)));
                        snapshot.put(owner, kind, part.after().map(|set| Standing { set: set.clone(), markers }));
                    }
                }
                Outcome::Changed(now) => snapshot.put(owner, kind, now.clone()),
                _ => {}
            }
        }
        let before = snapshot.serial.take();
        let Some(before) = before.filter(|_| all) else { return true };
        let after = self.calls.serial(&self.zone).await.ok().flatten();
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.serial = after.filter(|after| *after == before.wrapping_add(1));
        }
        true
    }

    /// Answers the wishes of a write. A shared set that another changed is merged again.
    fn tell(&mut self, settled: Settled, waiting: &mut [Option<Waiting>]) {
        let Settled { write, outcome, .. } = settled;
        let again = write.shared && matches!(outcome, Outcome::Changed(_));
        let effect = match outcome {
            Outcome::Applied => {
                Effect::Applied { before: write.change.before().cloned(), after: write.change.after().cloned() }
            }
            Outcome::Rejected(text) => Effect::Rejected(text),
            Outcome::Changed(now) => Effect::Changed(now.map(|standing| standing.set)),
            Outcome::Unsettled(trouble) => Effect::Trouble(trouble),
        };
        for waiting in write.wishes.iter().filter_map(|number| take(waiting, *number)) {
            match again && waiting.may_merge_again() {
                true => self.again(waiting),
                false => waiting.answer(Ok(effect.clone())),
            }
        }
    }

    /// Tells the ledger of outcomes; what it does not hear now, it hears later.
    pub(super) async fn conclude_late(&mut self) {
        while let Some(next) = self.unconcluded.pop() {
            let details = json!({});
            let told = self.ledger.conclude_parts(next.intent, next.outcome, details, next.parts.clone()).await;
            match told {
                Ok(()) => {}
                Err(error) if error.is_away() => {
                    tracing::warn!(intent = %next.intent, error = %error, "an outcome is not on record yet");
                    self.unconcluded.push(next);
                    return;
                }
                Err(error) => tracing::error!(intent = %next.intent, error = %error, "an outcome is not on record"),
            }
        }
    }
}

/// The domains in whose name these writes are made.
fn domains(writes: &[Write], waiting: &[Option<Waiting>]) -> Vec<(Subject, Timestamp)> {
    let wishes = writes.iter().flat_map(|write| &write.wishes);
    let by = wishes.filter_map(|number| waiting.get(*number)?.as_ref()?.wish.by.as_ref());
    let latest: BTreeMap<Uuid, &By> = by.map(|by| (by.domain.uid, by)).collect();
    latest.into_values().map(|by| (by.domain.clone(), by.at)).collect()
}

/// Why a write was not made: whoever wished it has given up.
fn unawaited() -> Trouble {
    let message = "nobody waits for it any more".to_owned();
    Trouble { reason: Reason::Timeout, message, retry_after: None, may_have_landed: false }
}

fn take(waiting: &mut [Option<Waiting>], number: usize) -> Option<Waiting> {
    waiting.get_mut(number).and_then(Option::take)
}

/// A set as the ledger holds it.
pub(super) fn shown(set: Option<&RecordSet>) -> Value {
    set.map_or(Value::Null, |set| {
        let values: Vec<String> = set.values().iter().map(Data::present).collect();
        json!({"ttl": set.ttl(), "values": values})
    })
}

/// What the ledger is told of a call: `Done` where anything of it was made, `Failed` where surely nothing was.
fn conclusion(intent: IntentId, settled: &[Settled]) -> Conclusion {
    let open = |s: &Settled| matches!(&s.outcome, Outcome::Unsettled(trouble) if trouble.may_have_landed);
    let outcome = match () {
        () if settled.iter().any(open) => Told::Unknown,
        () if settled.iter().any(|s| s.by_reading) => Told::Settled,
        () if settled.iter().any(|s| s.outcome == Outcome::Applied) => Told::Done,
        () => Told::Failed,
    };
    let parts = settled.iter().flat_map(|s| std::iter::repeat_n(part(s), s.write.wishes.len())).collect();
    Conclusion { intent, outcome, parts }
}

/// What an object's event tells of its own write.
fn part(settled: &Settled) -> Value {
    match &settled.outcome {
        Outcome::Applied if settled.by_reading => json!({"outcome": "Applied", "found": "by reading"}),
        Outcome::Applied => json!({"outcome": "Applied"}),
        Outcome::Rejected(text) => json!({"outcome": "Rejected", "text": text}),
        Outcome::Changed(now) => json!({"outcome": "Changed", "now": shown(now.as_ref().map(|s| &s.set))}),
        Outcome::Unsettled(trouble) => {
            let word = if trouble.may_have_landed { "Unknown" } else { "NotMade" };
            json!({"outcome": word, "reason": trouble.reason, "text": trouble.message})
        }
    }
}
