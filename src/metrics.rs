//! What the process counts. Every label's values are words of ours: kinds, reasons, results, providers; never names of objects.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::api::Reason;

mod catalogue;

pub use catalogue::{CATALOGUE, Entry};

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum ReconcileResult {
    /// A step was done and reported.
    Done,
    /// It failed and is tried again.
    Failed,
    /// It took longer than it may.
    TimedOut,
    /// Somebody else wrote the object meanwhile.
    Conflict,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    kind: &'static str,
    result: ReconcileResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    provider: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    kind: &'static str,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriterLabel {
    writer: &'static str,
}

/// A gauge that is there only while there is something to tell.
type Perhaps = Family<[(&'static str, &'static str); 0], Gauge<f64, AtomicU64>>;

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ResultLabels, Counter>,
    seconds: Family<KindLabel, Histogram>,
    errors: Family<ErrorLabels, Counter>,
    status_writes: Family<KindLabel, Counter>,
    probes: Family<ProbeLabels, Counter>,
    mirror_pending: Family<KindLabel, Gauge>,
    watches_unlisted: Family<ResourceLabel, Gauge>,
    watch_errors: Family<ResourceLabel, Counter>,
    leading: Gauge,
    dns_held: Gauge,
    anchors_lost: Gauge,
    calls: Family<ProbeLabels, Counter>,
    runs: Family<RunLabels, Counter>,
    run_seconds: Family<KindLabel, Histogram>,
    under_way: Family<RunLabels, Gauge>,
    queue: Gauge,
    queue_seconds: Histogram,
    oldest_lock: Perhaps,
    soonest_expiry: Perhaps,
    renewal_lateness: Perhaps,
    lag: Family<WriterLabel, Gauge<f64, AtomicU64>>,
    /// Who writes to Postgres, and since when something of it waits.
    waiting: Mutex<BTreeMap<&'static str, Option<Instant>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            reconciles: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 2.0, 14))),
            errors: Family::default(),
            status_writes: Family::default(),
            probes: Family::default(),
            mirror_pending: Family::default(),
            watches_unlisted: Family::default(),
            watch_errors: Family::default(),
            leading: Gauge::default(),
            dns_held: Gauge::default(),
            anchors_lost: Gauge::default(),
            calls: Family::default(),
            runs: Family::default(),
            run_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 14))),
            under_way: Family::default(),
            queue: Gauge::default(),
            queue_seconds: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            oldest_lock: Family::default(),
            soonest_expiry: Family::default(),
            renewal_lateness: Family::default(),
            lag: Family::default(),
            waiting: Mutex::default(),
        };
        metrics.register();
        metrics
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    fn register(&mut self) {
        let mut registry = Registry::with_prefix("landfall");
        add(&mut registry, "reconciles", self.reconciles.clone());
        add(&mut registry, "reconcile_seconds", self.seconds.clone());
        add(&mut registry, "reconcile_errors", self.errors.clone());
        add(&mut registry, "status_writes", self.status_writes.clone());
        add(&mut registry, "credential_probes", self.probes.clone());
        add(&mut registry, "provider_calls", self.calls.clone());
        add(&mut registry, "runs", self.runs.clone());
        add(&mut registry, "run_seconds", self.run_seconds.clone());
        add(&mut registry, "runs_under_way", self.under_way.clone());
        add(&mut registry, "queue_length", self.queue.clone());
        add(&mut registry, "queue_seconds", self.queue_seconds.clone());
        add(&mut registry, "state_lock_oldest_seconds", self.oldest_lock.clone());
        add(&mut registry, "certificate_soonest_expiry_timestamp_seconds", self.soonest_expiry.clone());
        add(&mut registry, "certificate_renewal_lateness_ratio", self.renewal_lateness.clone());
        add(&mut registry, "ledger_lag_seconds", self.lag.clone());
        add(&mut registry, "mirror_pending", self.mirror_pending.clone());
        add(&mut registry, "watches_unlisted", self.watches_unlisted.clone());
        add(&mut registry, "watch_errors", self.watch_errors.clone());
        add(&mut registry, "anchors_lost", self.anchors_lost.clone());
        add(&mut registry, "dns_changes_held", self.dns_held.clone());
        add(&mut registry, "leading", self.leading.clone());
        self.registry = registry;
    }

    /// A reconcile ended.
    pub fn reconciled(&self, kind: &'static str, result: ReconcileResult, took: Duration) {
        self.reconciles.get_or_create(&ResultLabels { kind, result }).inc();
        self.seconds.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
    }

    /// A reconcile met an error.
    pub fn failed(&self, kind: &'static str, reason: Reason) {
        self.errors.get_or_create(&ErrorLabels { kind, reason: reason.as_str() }).inc();
    }

    /// A status was sent.
    pub fn wrote_status(&self, kind: &'static str) {
        self.status_writes.get_or_create(&KindLabel { kind }).inc();
    }

    /// A provider was asked.
    pub fn probed(&self, provider: &'static str, result: Reason) {
        self.probes.get_or_create(&ProbeLabels { provider, result: result.as_str() }).inc();
    }

    /// How many providers' answers of this kind there were, for tests.
    pub fn probes(&self, provider: &'static str, result: Reason) -> u64 {
        self.probes.get_or_create(&ProbeLabels { provider, result: result.as_str() }).get()
    }

    /// How many statuses were sent, for tests.
    pub fn status_writes(&self, kind: &'static str) -> u64 {
        self.status_writes.get_or_create(&KindLabel { kind }).get()
    }

    /// How many objects wait for the mirror.
    pub fn mirror_pending(&self, kind: &'static str, objects: usize) {
        self.mirror_pending.get_or_create(&KindLabel { kind }).set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// How many watches of this resource have not listed yet.
    pub fn watches_unlisted(&self, resource: &str, watches: usize) {
        let label = ResourceLabel { resource: resource.into() };
        self.watches_unlisted.get_or_create(&label).set(i64::try_from(watches).unwrap_or(i64::MAX));
    }

    /// A watch of this resource broke.
    pub fn watch_broke(&self, resource: &str) {
        self.watch_errors.get_or_create(&ResourceLabel { resource: resource.into() }).inc();
    }

    /// How many anchored events the log does not hold.
    pub fn anchors_lost(&self, events: usize) {
        self.anchors_lost.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// So many changes of DNS sets are held.
    pub fn dns_held(&self, changes: usize) {
        self.dns_held.set(i64::try_from(changes).unwrap_or(i64::MAX));
    }

    /// A provider of DNS was called: it answered, or there was this trouble.
    pub fn called(&self, provider: &'static str, trouble: Option<Reason>) {
        let result = trouble.map_or("Done", Reason::as_str);
        self.calls.get_or_create(&ProbeLabels { provider, result }).inc();
    }

    /// A run of this kind ended in this phase, so long after its runner claimed it; `None` where none did.
    pub fn run_ended(&self, kind: &'static str, phase: &'static str, took: Option<Duration>) {
        self.runs.get_or_create(&RunLabels { kind, phase }).inc();
        if let Some(took) = took {
            self.run_seconds.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
        }
    }

    /// The runs that have not ended, by kind and phase.
    pub fn runs_under_way(&self, runs: &BTreeMap<(&'static str, &'static str), i64>) {
        self.under_way.clear();
        for ((kind, phase), count) in runs {
            self.under_way.get_or_create(&RunLabels { kind, phase }).set(*count);
        }
    }

    /// So many deployments wait.
    pub fn queue_length(&self, deployments: usize) {
        self.queue.set(i64::try_from(deployments).unwrap_or(i64::MAX));
    }

    /// One that waited has begun its run.
    pub fn queued(&self, waited: Duration) {
        self.queue_seconds.observe(waited.as_secs_f64());
    }

    /// Age of the oldest lock of a state, seconds.
    pub fn oldest_lock(&self, seconds: Option<f64>) {
        tell(&self.oldest_lock, seconds);
    }

    /// When the first certificate expires, Unix time.
    pub fn soonest_expiry(&self, seconds: Option<f64>) {
        tell(&self.soonest_expiry, seconds);
    }

    /// Which share of the time from its renewal to its end has passed, of the certificate that is the latest.
    pub fn renewal_lateness(&self, share: Option<f64>) {
        tell(&self.renewal_lateness, share);
    }

    /// Since when something waits to be written to Postgres by this writer.
    pub fn lags(&self, writer: &'static str, since: Option<Instant>) {
        self.waiting().insert(writer, since);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<Instant>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this replica leads. What only a leader knows is not told any more when it does not.
    pub fn leading(&self, leads: bool) {
        self.leading.set(i64::from(leads));
        if !leads {
            self.waiting().clear();
            self.lag.clear();
            self.mirror_pending.clear();
            self.under_way.clear();
            self.oldest_lock.clear();
            self.soonest_expiry.clear();
            self.renewal_lateness.clear();
            for gauge in [&self.queue, &self.dns_held, &self.anchors_lost] {
                gauge.set(0);
            }
        }
    }

    /// The text form (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        for (writer, since) in self.waiting().iter() {
            let age = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
            self.lag.get_or_create(&WriterLabel { writer }).set(age);
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn add(registry: &mut Registry, name: &str, metric: impl Metric) {
    let help = CATALOGUE.iter().find(|entry| entry.name == name).map_or("", |entry| entry.help);
    registry.register(name, help, metric);
}

fn tell(gauge: &Perhaps, value: Option<f64>) {
    match value {
        Some(value) => {
            gauge.get_or_create(&[]).set(value);
        }
        None => gauge.clear(),
    }
}

#[cfg(test)]
mod tests;
