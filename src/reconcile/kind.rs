//! What a kind must say, and what the driver does for it.

use std::fmt::Debug;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Context;
use crate::api::{Condition, Organization, Reason};
use crate::installation::Limits;
use crate::ledger::{ObjectKind, Subject};
use crate::{Error, Result};

/// A namespaced type of the API, as the driver needs it.
pub trait Object:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl<T> Object for T where
    T: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

/// One kind: how it looks at the world, decides, acts and reports.
///
/// What is observed carries our finalizer, unless it is being deleted.
///
/// `decide` and `report` are total and touch nothing; only `observe` and `act` speak to the network, and only `act`
/// changes something, one effect a step.
pub trait Kind: Send + Sync + 'static {
    /// The API type.
    type Object: Object;
    /// The machinery's context, and the services that the kind uses.
    type Context: Deref<Target = Context> + Clone + Send + Sync + 'static;
    /// What `observe` found.
    type Observed: Send + Sync;
    /// What `decide` chose.
    type Step: Debug + Send + Sync;
    /// What came of it.
    type Outcome: Debug + Send + Sync;
    /// The kind's name in the ledger.
    const KIND: ObjectKind;

    /// How many are reconciled at once.
    fn concurrency(limits: &Limits) -> u16 {
        limits.concurrency
    }

    /// Reads the world: cluster, provider, ledger. No effects.
    fn observe(cx: &Self::Context, object: &Arc<Self::Object>) -> impl Future<Output = Result<Self::Observed>> + Send;

    /// Chooses one step.
    fn decide(object: &Self::Object, seen: &Self::Observed, now: Timestamp) -> Self::Step;

    /// Does the step: intent, effect, outcome.
    fn act(
        cx: &Self::Context,
        object: &Arc<Self::Object>,
        seen: &Self::Observed,
        step: &Self::Step,
    ) -> impl Future<Output = Result<Self::Outcome>> + Send;

    /// Says what users see, and when to look again.
    fn report(
        object: &Self::Object,
        seen: &Self::Observed,
        step: &Self::Step,
        outcome: Result<&Self::Outcome, &Error>,
        now: Timestamp,
    ) -> Report;

    /// The same, where `observe` itself failed.
    fn unobserved(object: &Self::Object, error: &Error, now: Timestamp) -> Report;

    /// Names of the Secrets of its namespace that wake this object.
    fn secrets(_object: &Self::Object) -> Vec<&str> {
        Vec::new()
    }

    /// Names of the ConfigMaps of its namespace that wake this object.
    fn config_maps(_object: &Self::Object) -> Vec<&str> {
        Vec::new()
    }
}

/// What a reconcile leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The whole new status; `None` leaves the present one.
    pub status: Option<serde_json::Value>,
    /// When to look again.
    pub next: Next,
    /// Events to publish on the object.
    pub events: Vec<Announcement>,
}

impl Report {
    /// A report with a status and no Events.
    pub fn new<S: Serialize>(status: &S, next: Next) -> Self {
        Self { status: serde_json::to_value(status).ok(), next, events: Vec::new() }
    }

    /// A report that leaves the status as it is.
    pub fn silent(next: Next) -> Self {
        Self { status: None, next, events: Vec::new() }
    }

    /// The same report with an Event where this condition has another status or reason than `before`: none for `quiet`, which
    /// only says that nothing is known yet; a warning for all but `good`.
    #[must_use]
    pub fn announce_turn(
        self,
        before: Option<&Condition>,
        after: Option<&Condition>,
        (quiet, good): (Reason, Reason),
        action: &'static str,
    ) -> Self {
        let Some(after) = after.filter(|a| before.is_none_or(|b| (&b.status, &b.reason) != (&a.status, &a.reason)))
        else {
            return self;
        };
        match Reason::ALL.iter().copied().find(|reason| reason.as_str() == after.reason) {
            None => self,
            Some(reason) if reason == quiet => self,
            Some(reason) if reason == good => self.announce(Announcement::normal(reason, action, &*after.message)),
            Some(reason) => self.announce(Announcement::warning(reason, action, &*after.message)),
        }
    }

    /// The same report with one more Event.
    #[must_use]
    pub fn announce(mut self, event: Announcement) -> Self {
        self.events.push(event);
        self
    }
}

/// When to look at an object again. Whatever wakes it comes earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At once: the step was one of several.
    Now,
    /// After this time; resets the backoff.
    After(Duration),
    /// When something wakes it; resets the backoff.
    AwaitChange,
    /// After the object's own backoff.
    Backoff,
}

/// An Event on the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// `Warning` where something needs attention.
    pub warning: bool,
    /// CamelCase word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// What was being done, CamelCase.
    pub action: &'static str,
}

/// A word of Events that is no reason of a condition.
#[derive(Debug)]
pub struct Word {
    /// CamelCase.
    pub name: &'static str,
    /// Whether its Events are of type `Warning`.
    pub warning: bool,
    /// One sentence for the documentation.
    pub meaning: &'static str,
    action: &'static str,
}

/// A command was obeyed.
pub const COMMAND_TAKEN: Word = Word {
    name: "CommandTaken",
    warning: false,
    meaning: "A command was taken; the message says whose, and what follows.",
    action: "Command",
};
/// A command was not obeyed.
pub(super) const COMMAND_IGNORED: Word = Word {
    name: "CommandIgnored",
    warning: true,
    meaning: "A command was taken away and not obeyed, as it means nothing to the object; the message says why.",
    action: "Command",
};
/// A plan is being applied.
pub const APPLY_STARTED: Word = Word {
    name: "ApplyStarted",
    warning: false,
    meaning: "A run applies a plan; the message names both.",
    action: "Run",
};
/// A record went, or its set went elsewhere, and what stood did not.
pub const RECORD_KEPT: Word = Word {
    name: "RecordKept",
    warning: false,
    meaning: "A set of a DnsRecord stays at a provider: the object was deleted, or its set is elsewhere now; the message says why.",
    action: "Delete",
};
/// All of them.
pub const WORDS: [&Word; 4] = [&COMMAND_TAKEN, &COMMAND_IGNORED, &APPLY_STARTED, &RECORD_KEPT];

impl Announcement {
    /// One of these words.
    pub fn of(word: &Word, message: impl Into<String>) -> Self {
        Self { warning: word.warning, reason: word.name, message: message.into(), action: word.action }
    }

    /// Something went as it should.
    pub fn normal(reason: Reason, action: &'static str, message: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.as_str(), message: message.into(), action }
    }

    /// Something needs attention.
    pub fn warning(reason: Reason, action: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.as_str(), message: message.into(), action }
    }
}

/// The object as the ledger names it; `None` where its uid is none.
pub fn subject_in<K: Object>(
    organization: Organization,
    cluster: Uuid,
    kind: ObjectKind,
    object: &K,
) -> Option<Subject> {
    let meta = object.meta();
    Some(Subject {
        organization,
        cluster,
        kind,
        uid: Uuid::parse_str(meta.uid.as_deref()?).ok()?,
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    })
}
