//! How long a failing object rests.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// First rest at most this long.
const BASE: Duration = Duration::from_secs(1);
/// No rest is longer.
const CAP: Duration = Duration::from_secs(300);

/// The rest after `failures` in a row: somewhere in `0..=min(300 s, 1 s · 2^failures)`, where `share` in `0..=1` says
/// where (full jitter: objects that failed together must not come back together).
pub fn rest(failures: u32, share: f64) -> Duration {
    let ceiling =
        BASE.saturating_mul(1u32.checked_shl(failures).filter(|_| failures < 31).unwrap_or(u32::MAX)).min(CAP);
    ceiling.mul_f64(if share.is_finite() { share.clamp(0.0, 1.0) } else { 1.0 })
}

/// 0 to 999, the same for the same thing: what was made together is not to come back together for ever.
pub fn share(of: &impl Hash) -> u16 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    u16::try_from(hasher.finish() % 1000).unwrap_or_default()
}

/// Failures in a row, by object. A change of the spec begins anew.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<String, (Option<i64>, u32)>>);

impl Failures {
    /// Counts one more failure of this object and says how many came before it.
    pub(super) fn count(&self, uid: &str, generation: Option<i64>) -> u32 {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = map.entry(uid.to_owned()).or_insert((generation, 0));
        if entry.0 != generation {
            *entry = (generation, 0);
        }
        let before = entry.1;
        entry.1 = before.saturating_add(1);
        before
    }

    /// Forgets the object: it went well, or it is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_number_of_failures_overflows_or_passes_the_cap(n in 0..=u32::MAX, share in 0.0..=1.0f64) {
            prop_assert!(rest(n, share) <= CAP);
        }

        #[test]
        fn the_ceiling_never_falls_as_failures_rise(n in 0..u32::MAX) {
            prop_assert!(rest(n + 1, 1.0) >= rest(n, 1.0));
        }
    }

    #[test]
    fn the_ceiling_doubles_to_the_cap() {
        let ceilings: Vec<u64> = (0..12).map(|n| rest(n, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(rest(u32::MAX, 1.0), CAP);
        assert_eq!(rest(7, 0.0), Duration::ZERO);
        assert_eq!(rest(0, f64::NAN), BASE);
    }

    #[test]
    fn a_change_of_the_spec_begins_anew() {
        let failures = Failures::default();
        assert_eq!(
            [failures.count("a", Some(1)), failures.count("a", Some(1)), failures.count("b", Some(1))],
            [0, 1, 0]
        );
        assert_eq!(failures.count("a", Some(2)), 0);
        assert_eq!(failures.count("a", Some(2)), 1);
        failures.forget("a");
        assert_eq!(failures.count("a", Some(2)), 0);
    }
}
