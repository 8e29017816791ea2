//! What this process has learnt by probing, by credential. It is lost with the process, and then only costs one probe.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::ProbeResult;
use crate::api::Reason;

/// First rest after an answer that says nothing; doubles.
const FIRST_REST: Duration = Duration::from_secs(5);

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The provider was asked.
    Asked(ProbeResult),
    /// It could not be: the Secret lacks a key, or the endpoint is not permitted. No call was made.
    NotAsked {
        /// The word in the condition.
        reason: Reason,
        /// What to do.
        message: String,
    },
}

/// The last attempt to prove a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Digest of Secret and provider block.
    pub digest: String,
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub finding: Finding,
    /// Refusals in a row of the same Secret; only the second is believed.
    pub refusals: u32,
    /// Answers in a row that said nothing.
    pub doubts: u32,
    /// When this Secret was last proved, by this process.
    pub succeeded_at: Option<Timestamp>,
    /// The person's wish that it answered: when that was taken. By another clock than `at`, so it is compared with itself.
    pub asked: Option<Timestamp>,
}

impl Attempt {
    /// The attempt that follows `before`, which counts only where it is of the same digest.
    pub fn after(before: Option<&Self>, digest: &str, finding: Finding, at: Timestamp) -> Self {
        let before = before.filter(|b| b.digest == digest);
        let (refused, doubted, proved) = match &finding {
            Finding::Asked(ProbeResult::Valid { .. }) => (false, false, true),
            Finding::Asked(ProbeResult::Unknown(_)) => (false, true, false),
            Finding::Asked(_) => (true, false, false),
            Finding::NotAsked { .. } => (false, false, false),
        };
        let count = |counts: bool, kept: bool, n: Option<u32>| match (counts, kept) {
            (true, _) => n.unwrap_or_default().saturating_add(1),
            (false, true) => n.unwrap_or_default(),
            (false, false) => 0,
        };
        Self {
            digest: digest.into(),
            at,
            // An answer that says nothing neither confirms a refusal nor takes it back.
            refusals: count(refused, doubted, before.map(|b| b.refusals)),
            doubts: count(doubted, false, before.map(|b| b.doubts)),
            succeeded_at: if proved { Some(at) } else { before.and_then(|b| b.succeeded_at) },
            finding,
            asked: None,
        }
    }

    /// When to ask again: at the interval, sooner after a first refusal, and after doubts at a rest that doubles up to
    /// twice the interval, so that a failing credential costs no more calls than a good one.
    pub fn due(&self, interval: Duration, patience: Duration) -> Timestamp {
        let rest = match &self.finding {
            Finding::Asked(ProbeResult::Unknown(doubt)) => {
                let doubled = FIRST_REST.saturating_mul(1 << self.doubts.saturating_sub(1).min(20));
                doubled.min(interval.saturating_mul(2)).max(doubt.retry_after.unwrap_or_default())
            }
            Finding::Asked(result) if result.is_denied() && self.refusals == 1 => patience,
            Finding::Asked(_) | Finding::NotAsked { .. } => interval,
        };
        self.at
            .checked_add(jiff::SignedDuration::try_from(rest).unwrap_or(jiff::SignedDuration::MAX))
            .unwrap_or(Timestamp::MAX)
    }
}

/// The last attempt for each credential.
#[derive(Debug, Default)]
pub struct Probes(Mutex<HashMap<Uuid, Attempt>>);

impl Probes {
    /// The last attempt.
    pub fn last(&self, credential: Uuid) -> Option<Attempt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&credential).cloned()
    }

    /// Keeps an attempt.
    pub fn keep(&self, credential: Uuid, attempt: Attempt) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(credential, attempt);
    }

    /// The credential is gone.
    pub fn forget(&self, credential: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&credential);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::Identity;
    use crate::providers::{Denial, Doubt};

    const INTERVAL: Duration = Duration::from_secs(600);
    const PATIENCE: Duration = Duration::from_secs(6);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    fn valid() -> Finding {
        Finding::Asked(ProbeResult::Valid { identity: Identity::default(), capabilities: vec![], zones: vec![] })
    }
    fn refused() -> Finding {
        Finding::Asked(ProbeResult::Invalid(Denial { message: "no".into() }))
    }
    fn doubt(retry_after: Option<u64>) -> Finding {
        let retry_after = retry_after.map(Duration::from_secs);
        Finding::Asked(ProbeResult::Unknown(Doubt { reason: Reason::RateLimited, message: String::new(), retry_after }))
    }

    /// Calls within a day, and the seconds between the first few.
    fn a_day_of(finding: Finding) -> (usize, Vec<i64>) {
        let (mut last, mut now, mut times) = (None, at(0), vec![]);
        while now < at(86_400) {
            times.push(now.as_second());
            let next = Attempt::after(last.as_ref(), "d", finding.clone(), now);
            now = next.due(INTERVAL, PATIENCE);
            last = Some(next);
        }
        let gaps = times.iter().zip(times.iter().skip(1)).take(10).map(|(a, b)| b - a).collect();
        (times.len(), gaps)
    }

    #[test]
    fn a_failing_credential_costs_no_more_calls_than_a_good_one() {
        let (good, _) = a_day_of(valid());
        let (unknown, gaps) = a_day_of(doubt(None));
        assert_eq!(good, 144);
        assert!(unknown <= good, "{unknown}");
        assert_eq!(gaps, [5, 10, 20, 40, 80, 160, 320, 640, 1200, 1200]);
        let (refusals, gaps) = a_day_of(refused());
        assert!(refusals <= good + 1, "{refusals}");
        assert_eq!(gaps.iter().take(3).copied().collect::<Vec<_>>(), [6, 600, 600]);
    }

    #[test]
    fn a_provider_that_names_a_rest_gets_it() {
        let attempt = Attempt::after(None, "d", doubt(Some(90)), at(0));
        assert_eq!(attempt.due(INTERVAL, PATIENCE), at(90));
        let attempt = Attempt::after(None, "d", doubt(Some(1)), at(0));
        assert_eq!(attempt.due(INTERVAL, PATIENCE), at(5), "never sooner than ours");
    }

    #[test]
    fn only_refusals_of_the_same_secret_count() {
        let first = Attempt::after(None, "a", refused(), at(0));
        assert_eq!(first.refusals, 1);
        assert_eq!(Attempt::after(Some(&first), "a", refused(), at(6)).refusals, 2);
        assert_eq!(Attempt::after(Some(&first), "b", refused(), at(6)).refusals, 1);
        assert_eq!(Attempt::after(Some(&first), "a", doubt(None), at(6)).refusals, 1, "a doubt settles nothing");
        assert_eq!(Attempt::after(Some(&first), "a", valid(), at(6)).refusals, 0);
    }

    #[test]
    fn the_last_success_is_kept_through_doubts_and_lost_with_the_secret() {
        let good = Attempt::after(None, "a", valid(), at(7));
        assert_eq!(Attempt::after(Some(&good), "a", doubt(None), at(9)).succeeded_at, Some(at(7)));
        assert_eq!(Attempt::after(Some(&good), "b", doubt(None), at(9)).succeeded_at, None);
    }
}
