//! Whether a credential's provider answers, and how many may wait for it while it does not. No effects.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::api::Reason;
use crate::providers::Trouble;

/// A call that is without an answer for so long is one that others wait for no more.
const SLOW: Duration = Duration::from_secs(5);
/// How long a call that took so long and failed is not made again.
const KEPT: Duration = Duration::from_secs(10);
/// Of those who wait after such a call, so many find out whether it is over.
const FEW: usize = 2;

/// What is known of one credential's provider.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Calls without an answer, and since when.
    open: BTreeMap<u64, Instant>,
    next: u64,
    /// The last call, where it took long and failed; with what account.
    failed: Option<(Instant, String, Trouble)>,
    waiting: usize,
}

impl Silence {
    /// A call begins; answers its number.
    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        self.next += 1;
        self.open.insert(self.next, now);
        self.next
    }

    /// A call is over, or nobody waits for it any more.
    pub(super) fn end(&mut self, call: u64) {
        self.open.remove(&call);
    }

    /// What came of a call with this account, that began then.
    pub(super) fn heard(&mut self, now: Instant, call: u64, account: &str, trouble: Option<&Trouble>) {
        let Some(began) = self.open.remove(&call) else { return };
        let slow = now.saturating_duration_since(began) >= SLOW;
        self.failed = trouble.filter(|_| slow).map(|trouble| (now, account.to_owned(), trouble.clone()));
    }

    /// Why no call is made now with this account.
    pub(super) fn refusal(&self, now: Instant, account: &str) -> Option<Trouble> {
        let (at, whose, trouble) = self.failed.as_ref()?;
        let left = KEPT.checked_sub(now.saturating_duration_since(*at)).filter(|left| !left.is_zero())?;
        let told = Trouble { retry_after: Some(left), may_have_landed: false, ..trouble.clone() };
        (whose == account).then_some(told)
    }

    /// One more waits.
    pub(super) fn enter(&mut self) {
        self.waiting += 1;
    }

    /// One waits no more.
    pub(super) fn leave(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Why one of those who wait must go: others would have no place. While the provider answers, all may wait; where it
    /// takes its time, `share`; where it did not answer the last call, a few.
    pub(super) fn crowd(&self, now: Instant, share: usize) -> Option<Trouble> {
        let longest = self.open.values().map(|began| now.saturating_duration_since(*began)).max().unwrap_or_default();
        let most = match (&self.failed, longest >= SLOW) {
            (Some(_), _) => FEW.min(share),
            (None, true) => share,
            (None, false) => return None,
        };
        let message = || format!("the provider has not answered for {} s; others wait for it", longest.as_secs());
        let last = || self.failed.as_ref().map(|(_, _, trouble)| trouble.clone());
        let new = || Trouble { reason: Reason::Timeout, message: message(), retry_after: None, may_have_landed: false };
        let told = || Trouble { retry_after: Some(KEPT), may_have_landed: true, ..last().unwrap_or_else(new) };
        (self.waiting > most).then(told)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn trouble() -> Trouble {
        Trouble { reason: Reason::Timeout, message: "no answer".into(), retry_after: None, may_have_landed: true }
    }

    #[test]
    fn while_the_provider_answers_all_may_wait_and_while_it_does_not_a_share() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        (0..100).for_each(|_| silence.enter());
        let call = silence.begin(start);
        assert_eq!(silence.crowd(start + SLOW / 2, 10), None);
        let told = silence.crowd(start + SLOW, 10).unwrap();
        assert_eq!((told.reason, told.may_have_landed), (Reason::Timeout, true));
        (0..90).for_each(|_| silence.leave());
        assert_eq!(silence.crowd(start + SLOW, 10), None);
        silence.enter();
        assert!(silence.crowd(start + SLOW, 10).is_some());
        silence.heard(start + SLOW, call, "a", None);
        assert_eq!((silence.crowd(start + SLOW, 10), silence.refusal(start + SLOW, "a")), (None, None));
    }

    #[test]
    fn a_call_that_took_long_and_failed_is_not_made_again_at_once_with_the_same_account() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        let quick = silence.begin(start);
        silence.heard(start, quick, "a", Some(&trouble()));
        assert_eq!(silence.refusal(start, "a"), None, "who says no at once keeps nobody waiting");
        let slow = silence.begin(start);
        let late = start + SLOW;
        silence.heard(late, slow, "a", Some(&trouble()));
        let told = silence.refusal(late + KEPT / 2, "a").unwrap();
        assert_eq!((told.retry_after, told.may_have_landed), (Some(KEPT / 2), false));
        assert_eq!((silence.refusal(late, "b"), silence.refusal(late + KEPT, "a")), (None, None));
        (0..FEW).for_each(|_| silence.enter());
        assert_eq!(silence.crowd(late + KEPT, 10), None, "a few find out whether it is over");
        silence.enter();
        assert_eq!(silence.crowd(late + KEPT, 10).map(|told| told.message), Some("no answer".into()));
        let again = silence.begin(late + KEPT);
        silence.heard(late + KEPT, again, "a", None);
        assert_eq!(silence.crowd(late + KEPT, 10), None);
        silence.end(again);
    }
}
