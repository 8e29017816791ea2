//! What `/readyz` tells: the parts that this process needs, and how each of them is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

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

#[cfg(test)]
mod tests {
    use super::*;

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
