//! What `/readyz` tells: the parts that this process needs, and how each of them is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same words are said again after this,
const SOON: Duration = Duration::from_secs(1);
/// then after twice the time, up to this.
const QUIET: Duration = Duration::from_secs(300);

/// How all parts are. Clones tell of the same.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Standing>>>);

#[derive(Debug)]
struct Standing {
    good: bool,
    words: String,
}

/// The voice of one part. Nothing is told of the part any more when this is dropped.
#[derive(Debug)]
pub struct Part {
    health: Health,
    name: String,
}

impl Health {
    /// A part that is needed, and is not there yet. Two parts never have the same name.
    pub fn part(&self, name: impl Into<String>) -> Part {
        let part = Part { health: self.clone(), name: name.into() };
        part.bad("not yet");
        part
    }

    /// One line a part; `Err` where any is away.
    pub fn check(&self) -> Result<String, String> {
        let parts = self.parts();
        let text = parts.iter().map(|(name, standing)| format!("{name}: {}\n", standing.words)).collect();
        if parts.values().all(|standing| standing.good) { Ok(text) } else { Err(text) }
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// It is there.
    pub fn good(&self) {
        self.tell("ok");
    }

    /// It is there, with something to say.
    pub fn tell(&self, words: impl Into<String>) {
        self.set(true, words.into());
    }

    /// It is away, and why.
    pub fn bad(&self, why: impl Into<String>) {
        self.set(false, why.into());
    }

    /// One line: what others have said may be several.
    fn set(&self, good: bool, words: String) {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        self.health.parts().insert(self.name.clone(), Standing { good, words });
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.health.parts().remove(&self.name);
    }
}

/// When something that lasts is said again in the log.
#[derive(Debug, Default)]
pub struct Saying {
    words: String,
    pause: Duration,
    due: Option<Instant>,
}

impl Saying {
    /// At once where it is new, then after 1 s, 2 s, 4 s and so on, up to 5 min.
    pub fn is_due(&mut self, words: &str, now: Instant) -> bool {
        if words != self.words {
            *self = Self { words: words.to_owned(), ..Self::default() };
        }
        if self.due.is_some_and(|due| now < due) {
            return false;
        }
        self.pause = (self.pause * 2).clamp(SOON, QUIET);
        self.due = now.checked_add(self.pause);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_said_ever_more_rarely_and_new_ones_at_once() {
        let (mut saying, began) = (Saying::default(), Instant::now());
        let mut said = |words: &str, second| saying.is_due(words, began + Duration::from_secs(second));
        let seconds: Vec<u64> = (0..20).filter(|second| said("refused", *second)).collect();
        assert_eq!(seconds, [0, 1, 3, 7, 15]);
        assert!(said("forbidden", 20));
        assert!((21..2000).filter(|second| said("forbidden", *second)).count() < 15);
    }

    #[test]
    fn one_part_that_is_away_is_enough_and_a_part_that_is_dropped_is_forgotten() {
        let health = Health::default();
        assert_eq!(health.check(), Ok(String::new()));
        let (a, b) = (health.part("a"), health.part("b"));
        assert_eq!(health.check(), Err("a: not yet\nb: not yet\n".into()));
        a.good();
        b.tell("stands by");
        assert_eq!(health.check(), Ok("a: ok\nb: stands by\n".into()));
        a.bad("gone\nfor good");
        assert_eq!(health.check(), Err("a: gone for good\nb: stands by\n".into()));
        drop(a);
        assert_eq!(health.check(), Ok("b: stands by\n".into()));
    }
}
