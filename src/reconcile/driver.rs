//! Drives one kind: what is woken is observed, decided, acted on and reported, a bounded number at a time.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc;
use jiff::Timestamp;
use kube::Resource;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::{Store, store};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::backoff::{Failures, rest};
use super::mirror::{self, Pending};
use super::namespaces::Relabelled;
use super::patch::{self, Written};
use super::wake::{Waker, key_of};
use super::watch::{Change, View, events};
use super::watched::{Needed, Watches};
use super::{Context, Kind, Next, Object, Report, finalizer};
use crate::access::text;
use crate::api::Reason;
use crate::ledger::ObjectKind;
use crate::metrics::ReconcileResult;
use crate::{Error, Result};

/// Before a step that follows at once, so that the watch can bring what the last one wrote.
const AT_ONCE: Duration = Duration::from_millis(20);
/// The finalizer's own change wakes the object; this is for the case that it is missed.
const SOON: Duration = Duration::from_secs(5);
/// How long an Event is waited for.
const COURTESY: Duration = Duration::from_secs(5);
/// Longest note of an Event that the API server takes, bytes.
const NOTE_LIMIT: usize = 1024;

/// What one kind's reconciles share.
struct Driver<K: Kind> {
    cx: K::Context,
    failures: Failures,
    recorder: Recorder,
    kind: PhantomData<fn() -> K>,
}

/// Sees every change of a kind, to wake others. It must not wait.
pub type Tap<O> = Box<dyn FnMut(&Change<O>) + Send>;

/// What [`follow`] is given beside the context.
pub struct Follow<O: Object> {
    /// The kind's name in the ledger.
    pub kind: ObjectKind,
    /// Fills the store that the context reads.
    pub writer: store::Writer<O>,
    /// Sees every change.
    pub tap: Tap<O>,
    /// Told when the mirror has buried rows, or moved them to another organization. It must not wait.
    pub moved: Box<dyn Fn() + Send + Sync>,
    /// Told when everything is listed.
    pub listed: signal::Sender<bool>,
}

/// A kind that is watched and mirrored, until this is dropped.
pub struct Followed<O: Object> {
    kind: ObjectKind,
    store: Store<O>,
    pending: Arc<Pending<O>>,
    woken: mpsc::UnboundedReceiver<O>,
    _tasks: JoinSet<()>,
}

/// Watches a kind: one watch for the store, the mirror and the wake-ups.
pub fn follow<O: Object>(cx: &Context, follow: Follow<O>) -> Followed<O> {
    let store = follow.writer.as_reader();
    let (sender, woken) = mpsc::unbounded();
    let pending = Arc::new(Pending::<O>::new());
    let mut tasks = JoinSet::new();
    let Follow { kind, writer, tap, moved, listed } = follow;
    let mirror = (cx.clone(), store.clone(), pending.clone());
    tasks.spawn(async move { mirror::run(mirror.0, kind, mirror.1, &mirror.2, &moved).await });
    tasks.spawn(pump(cx.clone(), (writer, tap, listed), pending.clone(), sender));
    Followed { kind, store, pending, woken, _tasks: tasks }
}

impl<O: Object> Followed<O> {
    /// What is to be done when a namespace goes to another organization: its rows go along, its objects look again.
    pub fn relabelled(&self, waker: &Waker) -> Relabelled {
        let (kind, store, pending, waker) = (self.kind, self.store.clone(), self.pending.clone(), waker.clone());
        Box::new(move |namespace| {
            pending.relabelled(namespace);
            for object in store.state().iter().filter(|o| o.meta().namespace.as_deref() == Some(namespace)) {
                waker.wake(kind, namespace, object.meta().name.as_deref().unwrap_or_default());
            }
        })
    }
}

/// Reconciles one kind until `shutdown`; what is under way then is finished. No reconcile begins before all of
/// `await_listed` are listed: who refers to whom is known only then.
pub async fn run<K: Kind>(
    cx: K::Context,
    followed: Followed<K::Object>,
    await_listed: Vec<signal::Receiver<bool>>,
    shutdown: CancellationToken,
) {
    let calls = cx.waker.calls::<K::Object>(K::KIND);
    for mut listed in await_listed {
        tokio::select! {
            _ = listed.wait_for(|listed| *listed) => {}
            () = shutdown.cancelled() => return,
        }
    }
    let reporter = Reporter { controller: "landfall".into(), instance: Some(cx.ledger.holder().to_owned()) };
    let driver = Arc::new(Driver::<K> {
        recorder: Recorder::new(cx.client.clone(), reporter),
        failures: Failures::default(),
        kind: PhantomData,
        cx,
    });
    let config = Config::default().concurrency(K::concurrency(&driver.cx.installation.limits));
    let Followed { store, woken, _tasks, .. } = followed;
    Controller::for_stream(woken.map(Ok), store)
        .with_config(config)
        .reconcile_on(calls)
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile::<K>, |_, never: &Infallible, _| match *never {}, driver)
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(kind = K::KIND.as_str(), %error, "not reconciled");
            }
        })
        .await;
}

/// From the watch to the store, the mirror, the tap and the controller. Nothing here waits for anything but the watch.
async fn pump<O: Object>(
    cx: Context,
    (writer, mut tap, listed): (store::Writer<O>, Tap<O>, signal::Sender<bool>),
    pending: Arc<Pending<O>>,
    woken: mpsc::UnboundedSender<O>,
) {
    let namespaces = &cx.installation.watch_namespaces;
    let mut view = View::new(writer, namespaces.len().max(1));
    let mut watches = Watches::of::<O>(&cx, namespaces, Needed::ByAll);
    let mut events = events::<O>(&cx.client, namespaces);
    while let Some((number, event)) = events.next().await {
        let Some(event) = watches.pass(number, event) else {
            pending.broke();
            continue;
        };
        for change in view.take(number, event) {
            pending.note(&change, cx.clock.now());
            tap(&change);
            match change {
                Change::Applied { object, wake: true } => {
                    // The receiver is gone only while the process ends.
                    let _ = woken.unbounded_send(Arc::unwrap_or_clone(object));
                }
                Change::Listed => {
                    listed.send_replace(true);
                }
                Change::Applied { .. } | Change::Deleted(_) => {}
            }
        }
    }
}

async fn reconcile<K: Kind>(object: Arc<K::Object>, driver: Arc<Driver<K>>) -> Result<Action, Infallible> {
    let began = Instant::now();
    let cx = &driver.cx;
    let limit = Duration::from_secs(cx.installation.limits.reconcile_timeout_seconds);
    let (report, mut ended) = match timeout(limit, pass::<K>(cx, &object)).await {
        Ok((report, error)) => (report, if error { ReconcileResult::Failed } else { ReconcileResult::Done }),
        Err(_) => {
            let message =
                format!("a reconcile took longer than {} s and was given up; it is tried again", limit.as_secs());
            let error = Error::condition(Reason::Timeout, message);
            tell::<K>(cx, &object, &error);
            (K::unobserved(&object, &error, cx.clock.now()), ReconcileResult::TimedOut)
        }
    };
    if cx.deposed.is_cancelled() {
        return Ok(driver.schedule(&object, Next::AwaitChange));
    }
    let next = match driver.publish(&object, &report, limit).await {
        Ok(written) => {
            if written == Written::Conflict {
                ended = ReconcileResult::Conflict;
            }
            after(written, report.next)
        }
        Err(error) => {
            tell::<K>(cx, &object, &error);
            ended = ReconcileResult::Failed;
            Next::Backoff
        }
    };
    cx.metrics.reconciled(K::KIND.as_str(), ended, began.elapsed());
    Ok(driver.schedule(&object, next))
}

/// When the object is looked at again. A conflict backs off like a failure: while the watch lags, each further look meets
/// the same old version.
fn after(written: Written, next: Next) -> Next {
    match written {
        Written::Same | Written::Changed => next,
        Written::Conflict => Next::Backoff,
        Written::Gone => Next::AwaitChange,
    }
}

/// Observe, decide, act, report; says whether there was an error. Before anything else an object gets our finalizer.
async fn pass<K: Kind>(cx: &K::Context, object: &Arc<K::Object>) -> (Report, bool) {
    if object.meta().deletion_timestamp.is_none() && !finalizer::is_set(object.as_ref()) {
        return match finalizer::add(cx, object.as_ref()).await {
            Ok(()) => (Report::silent(Next::After(SOON)), false),
            Err(error) => {
                tell::<K>(cx, object, &error);
                (K::unobserved(object, &error, cx.clock.now()), true)
            }
        };
    }
    let seen = match K::observe(cx, object).await {
        Ok(seen) => seen,
        Err(error) => {
            let error = cx.ledger.explained(error).await;
            tell::<K>(cx, object, &error);
            return (K::unobserved(object, &error, cx.clock.now()), true);
        }
    };
    let now: Timestamp = cx.clock.now();
    let step = K::decide(object, &seen, now);
    tracing::debug!(kind = K::KIND.as_str(), object = ?key_of(object.as_ref()), ?step, "decided");
    let outcome = K::act(cx, object, &seen, &step).await;
    if let Err(error) = &outcome {
        tell::<K>(cx, object, error);
    }
    (K::report(object, &seen, &step, outcome.as_ref(), cx.clock.now()), outcome.is_err())
}

/// An error in log and metrics. One that says we no longer lead ends the process.
fn tell<K: Kind>(cx: &Context, object: &K::Object, error: &Error) {
    let (namespace, name) = key_of(object);
    let reason = error.reason();
    if error.is_conflict() {
        tracing::debug!(kind = K::KIND.as_str(), namespace, name, %error, "looked at again, for somebody else wrote it");
        return;
    }
    tracing::warn!(kind = K::KIND.as_str(), namespace, name, %reason, class = ?error.class(), %error, "not reconciled");
    cx.metrics.failed(K::KIND.as_str(), reason);
    if matches!(error, Error::Deposed(_)) {
        cx.deposed.cancel();
    }
}

impl<K: Kind> Driver<K> {
    /// Status, where it differs, then the Events that go with it.
    async fn publish(&self, object: &K::Object, report: &Report, limit: Duration) -> Result<Written> {
        let late = |_| {
            let seconds = limit.as_secs();
            let message = format!("the API server did not take the status within {seconds} s; it is written again");
            Err(Error::condition(Reason::Timeout, message))
        };
        let written = match &report.status {
            Some(status) => {
                timeout(limit, patch::status(&self.cx.client, object, status)).await.unwrap_or_else(late)?
            }
            None => Written::Same,
        };
        if written == Written::Changed {
            self.cx.metrics.wrote_status(K::KIND.as_str());
        }
        if matches!(written, Written::Changed | Written::Same) {
            let reference = object.object_ref(&());
            for event in &report.events {
                let event = Event {
                    type_: if event.warning { EventType::Warning } else { EventType::Normal },
                    reason: event.reason.into(),
                    note: Some(text::cap(&text::plain(&event.message), NOTE_LIMIT)),
                    action: event.action.into(),
                    secondary: None,
                };
                // An Event is a courtesy: it must not hold up what it tells of.
                match timeout(COURTESY, self.recorder.publish(&event, &reference)).await {
                    Ok(Err(error)) => tracing::debug!(%error, "an Event was not taken"),
                    Err(_) => tracing::debug!("an Event was not taken in time"),
                    Ok(Ok(())) => {}
                }
            }
        }
        Ok(written)
    }

    fn schedule(&self, object: &K::Object, next: Next) -> Action {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        if !matches!(next, Next::Backoff) {
            self.failures.forget(uid);
        }
        match next {
            Next::Now => Action::requeue(AT_ONCE),
            Next::After(rest) => Action::requeue(rest),
            Next::AwaitChange => Action::await_change(),
            Next::Backoff => {
                let failures = self.failures.count(uid, object.meta().generation);
                Action::requeue(rest(failures, rand::random()).max(Duration::from_millis(50)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_backs_off_and_what_is_gone_is_not_looked_at_again() {
        assert_eq!(after(Written::Conflict, Next::Now), Next::Backoff);
        assert_eq!(after(Written::Conflict, Next::AwaitChange), Next::Backoff);
        assert_eq!(after(Written::Gone, Next::Now), Next::AwaitChange);
        assert_eq!(after(Written::Changed, Next::Now), Next::Now);
        assert_eq!(after(Written::Same, Next::Backoff), Next::Backoff);
    }
}
