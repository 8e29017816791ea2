//! What is told of each watch: `/readyz` names it while it has not listed, the log has each of its errors once, and the
//! metrics count.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use kube::runtime::watcher::{self, Event};

use super::Context;
use super::mirror::CALM;
use crate::Error;
use crate::health::{Health, Part};
use crate::metrics::Metrics;

/// So many errors of one watch are told apart.
const MANY: usize = 100;

/// What hangs on a watch's first list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// Every reconcile of every namespace: who refers to whom is known only when all have listed.
    ByAll,
    /// That changes are noticed when they happen.
    ToBeWoken,
}

/// The watches of one resource: one a namespace, or one over all.
pub(super) struct Watches {
    resource: String,
    needed: Needed,
    health: Health,
    metrics: Arc<Metrics>,
    watches: Vec<Watched>,
}

struct Watched {
    name: String,
    listed: bool,
    /// Present while there is something to tell.
    part: Option<Part>,
    told: Told,
}

impl Watches {
    /// None of them has listed yet. They are numbered as the namespaces are.
    pub(super) fn of<K: kube::Resource<DynamicType = ()>>(cx: &Context, namespaces: &[String], needed: Needed) -> Self {
        let resource = K::plural(&()).into_owned();
        let names = match namespaces {
            [] => vec![format!("watch {resource}")],
            some => some.iter().map(|ns| format!("watch {resource} in {ns}")).collect(),
        };
        let watched = |name: String| {
            let part = Some(cx.health.part(&name));
            Watched { name, listed: false, part, told: Told::default() }
        };
        let watches = names.into_iter().map(watched).collect();
        let all = Self { resource, needed, health: cx.health.clone(), metrics: cx.metrics.clone(), watches };
        all.count();
        all
    }

    /// Passes on what one watch says; an error ends here.
    pub(super) fn pass<E>(&mut self, number: usize, event: watcher::Result<Event<E>>) -> Option<Event<E>> {
        match event {
            Ok(event) => {
                match event {
                    // A list that fails begins each time anew.
                    Event::Init | Event::InitApply(_) => {}
                    Event::InitDone => self.stands(number, true),
                    Event::Apply(_) | Event::Delete(_) => self.stands(number, false),
                }
                Some(event)
            }
            Err(error) => {
                self.broke(number, &said(error));
                None
            }
        }
    }

    fn stands(&mut self, number: usize, listed: bool) {
        let Some(watch) = self.watches.get_mut(number) else { return };
        if listed && !watch.listed {
            watch.listed = true;
            if !watch.told.words.is_empty() {
                tracing::info!("{} has listed", watch.name);
            }
        }
        watch.told = Told::default();
        if watch.listed {
            watch.part = None;
        }
        self.count();
    }

    fn broke(&mut self, number: usize, why: &str) {
        self.metrics.watch_broke(&self.resource);
        let Some(watch) = self.watches.get_mut(number) else { return };
        let part = watch.part.get_or_insert_with(|| self.health.part(&watch.name));
        let words = if watch.listed {
            format!("broke and is taken up again: {why}")
        } else if self.needed == Needed::ByAll {
            format!("{why}; nothing is reconciled, in any namespace, before it has listed")
        } else {
            format!("{why}; changes there are noticed late")
        };
        if watch.told.is_news(why, Instant::now()) {
            tracing::warn!("{}: {words}", watch.name);
        }
        // Whoever is not ready serves no runner.
        let ready = watch.listed || self.needed == Needed::ToBeWoken;
        if ready { part.tell(words) } else { part.bad(words) }
    }

    fn count(&self) {
        self.metrics.watches_unlisted(&self.resource, self.watches.iter().filter(|w| !w.listed).count());
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.metrics.watches_unlisted(&self.resource, 0);
    }
}

/// Which errors of a watch were told since it last stood.
#[derive(Default)]
struct Told {
    words: HashSet<String>,
    last: Option<Instant>,
}

impl Told {
    fn is_news(&mut self, words: &str, now: Instant) -> bool {
        let calm = self.last.is_some_and(|last| now.duration_since(last) >= CALM);
        if calm || self.words.len() >= MANY {
            self.words.clear();
        }
        self.last = Some(now);
        self.words.insert(words.to_owned())
    }
}

/// The API server's words, without what the watcher says around them.
fn said(error: watcher::Error) -> String {
    use watcher::Error as E;
    match error {
        E::InitialListFailed(error) | E::WatchStartFailed(error) | E::WatchFailed(error) => {
            Error::from(error).to_string()
        }
        E::WatchError(status) => format!("API server: {}", status.message),
        E::NoResourceVersion => "API server: a list came without a resourceVersion".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_once_until_the_watch_has_been_calm() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!(told.is_news("forbidden", now));
        assert!(!told.is_news("forbidden", now + CALM / 2));
        assert!(told.is_news("refused", now + CALM));
        assert!(!told.is_news("forbidden", now + CALM));
        assert!(told.is_news("forbidden", now + CALM * 2));
    }
}
