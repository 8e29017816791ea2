//! How often one credential's provider is called. No effects.

use std::time::{Duration, Instant};

use super::silence::Silence;

/// Between two calls in the long run.
const INTERVAL: Duration = Duration::from_millis(10);
/// How far calls may be ahead of that: 200 at once.
const AHEAD: Duration = Duration::from_secs(2);
/// The rest where a provider asks to slow down and does not say for how long.
const REST: Duration = Duration::from_secs(5);

/// One credential's turns.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next call would be due if all came one by one.
    due: Option<Instant>,
    /// Until when the provider asks to be left alone.
    rests_until: Option<Instant>,
    /// Whether what an earlier leader was asked is known.
    pub(super) is_recalled: bool,
    /// Whether it answers.
    pub(super) silence: Silence,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Now; it is counted.
    Now,
    /// After this time, if nothing else comes.
    After(Duration),
    /// The provider asks to be left alone for so long.
    Rest(Duration),
}

impl Pace {
    /// Asks for a call.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        if let Some(left) = self.rests(now) {
            return Turn::Rest(left);
        }
        let due = self.due.map_or(now, |due| due.max(now));
        let ahead = due.saturating_duration_since(now);
        if ahead > AHEAD {
            return Turn::After(ahead - AHEAD);
        }
        self.due = Some(due + INTERVAL);
        Turn::Now
    }

    /// For how long the provider asks to be left alone from now on.
    pub(super) fn rests(&self, now: Instant) -> Option<Duration> {
        let left = self.rests_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// The provider asked to slow down, for so long if it said.
    pub(super) fn rest(&mut self, now: Instant, asked: Option<Duration>) {
        let until = now + asked.unwrap_or(REST);
        self.rests_until = Some(self.rests_until.map_or(until, |before| before.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_calls_at_once_are_made_and_then_one_by_one() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at_once = (0..1000).take_while(|_| pace.turn(start) == Turn::Now).count();
        assert_eq!(at_once, 201);
        assert_eq!(pace.turn(start), Turn::After(INTERVAL));
        let later = start + INTERVAL;
        assert_eq!((pace.turn(later), pace.turn(later)), (Turn::Now, Turn::After(INTERVAL)));
        let rested = start + Duration::from_secs(60);
        assert_eq!((0..1000).take_while(|_| pace.turn(rested) == Turn::Now).count(), 201, "no more is saved up");
    }

    #[test]
    fn who_asks_to_be_left_alone_is() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let seconds = Duration::from_secs;
        pace.rest(start, Some(seconds(120)));
        pace.rest(start, Some(seconds(10)));
        assert_eq!(pace.turn(start + seconds(60)), Turn::Rest(seconds(60)), "the longer rest counts");
        assert_eq!(pace.turn(start + seconds(120)), Turn::Now);
        pace.rest(start + seconds(200), None);
        assert_eq!(pace.turn(start + seconds(200)), Turn::Rest(REST));
    }
}
