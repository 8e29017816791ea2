//! What the process counts. Every label's values are words of ours: kinds, reasons, results, providers; never names of objects.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::Reason;

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
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("landfall"),
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
        };
        let registry = &mut metrics.registry;
        registry.register("reconciles", "Reconciles by how they ended", metrics.reconciles.clone());
        registry.register("reconcile_seconds", "Time of a reconcile", metrics.seconds.clone());
        registry.register("reconcile_errors", "Errors of reconciles by reason", metrics.errors.clone());
        registry.register("status_writes", "Status updates that were sent", metrics.status_writes.clone());
        registry.register("credential_probes", "Calls that prove a credential", metrics.probes.clone());
        registry.register(
            "mirror_pending",
            "Objects that Postgres has not heard of yet",
            metrics.mirror_pending.clone(),
        );
        registry.register(
            "watches_unlisted",
            "Watches that have not listed yet, of which /readyz tells the namespaces",
            metrics.watches_unlisted.clone(),
        );
        registry.register("watch_errors", "How often a watch broke", metrics.watch_errors.clone());
        registry.register(
            "anchors_lost",
            "Anchored events that the activity log does not hold any more",
            metrics.anchors_lost.clone(),
        );
        registry.register(
            "dns_changes_held",
            "Changes of DNS sets that the guard against mass changes holds",
            metrics.dns_held.clone(),
        );
        registry.register("leading", "1 while this replica leads", metrics.leading.clone());
        metrics
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
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

    /// Whether this replica leads.
    pub fn leading(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    /// The text form (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
