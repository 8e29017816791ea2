//! All metrics, as they are registered and as `docs/metrics.md` lists them.

/// Name, type, labels and meaning of each metric, as they are registered and as `docs/metrics.md` lists them. A counter's name
/// ends with `_total` where it is read.
pub const CATALOGUE: [Entry; 21] = [
    entry("reconciles", "counter", "kind, result", "Reconciles by how they ended"),
    entry("reconcile_seconds", "histogram", "kind", "Time of a reconcile"),
    entry("reconcile_errors", "counter", "kind, reason", "Errors of reconciles by reason"),
    entry("status_writes", "counter", "kind", "Status updates that were sent"),
    entry("credential_probes", "counter", "provider, result", "Calls that prove a credential"),
    entry(
        "provider_calls",
        "counter",
        "provider, result",
        "Calls to providers of DNS, but probes: Done, or why there was no answer, RateLimited where they asked to slow down",
    ),
    entry("runs", "counter", "kind, phase", "Runs that ended, by the phase in which they did"),
    entry("run_seconds", "histogram", "kind", "Time from a runner's claim of a run to its end"),
    entry("runs_under_way", "gauge", "kind, phase", "Runs that have not ended"),
    entry("queue_length", "gauge", "", "Deployments that wait for a place or for the executor"),
    entry("queue_seconds", "histogram", "", "Time that a deployment waited before its run was begun"),
    entry("state_lock_oldest_seconds", "gauge", "", "Age of the oldest lock of a state; absent while none is locked"),
    entry(
        "certificate_soonest_expiry_timestamp_seconds",
        "gauge",
        "",
        "When the first certificate that is in use expires, Unix time; absent where there is none",
    ),
    entry(
        "certificate_renewal_lateness_ratio",
        "gauge",
        "",
        "Of the certificate whose renewal is the latest: which share of the time from its renewal to its end has passed; 0 while none is due",
    ),
    entry(
        "ledger_lag_seconds",
        "gauge",
        "writer",
        "Age of the oldest change that Postgres has not heard of: of the mirror by kind, and of the activity log",
    ),
    entry("mirror_pending", "gauge", "kind", "Objects that Postgres has not heard of yet"),
    entry(
        "watches_unlisted",
        "gauge",
        "resource",
        "Watches that have not listed yet, of which /readyz tells the namespaces",
    ),
    entry("watch_errors", "counter", "resource", "How often a watch broke"),
    entry("anchors_lost", "gauge", "", "Anchored events that the activity log does not hold any more"),
    entry("dns_changes_held", "gauge", "", "Changes of DNS sets that the guard against mass changes holds"),
    entry("leading", "gauge", "", "1 while this replica leads"),
];

/// One metric of [`CATALOGUE`].
pub struct Entry {
    /// Without the prefix `landfall_`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// With commas between.
    pub labels: &'static str,
    /// What it counts.
    pub help: &'static str,
}

const fn entry(name: &'static str, kind: &'static str, labels: &'static str, help: &'static str) -> Entry {
    Entry { name, kind, labels, help }
}
