//! Alerts and dashboard ask for what the controller counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use landfall::api::Reason;
use landfall::metrics::{Metrics, ReconcileResult};

use crate::harness::top;

/// Each metric as a query names it, with the labels that it has.
fn counted() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = Metrics::default();
    metrics.reconciled("DnsRecord", ReconcileResult::Failed, Duration::ZERO);
    metrics.reconciled("DnsRecord", ReconcileResult::TimedOut, Duration::ZERO);
    metrics.failed("DnsRecord", Reason::Timeout);
    metrics.wrote_status("DnsRecord");
    metrics.probed("AWS", Reason::Timeout);
    metrics.called("powerdns", Some(Reason::RateLimited));
    metrics.run_ended("Plan", "Succeeded", Some(Duration::ZERO));
    metrics.runs_under_way(&[(("Plan", "Pending"), 1)].into());
    metrics.queued(Duration::ZERO);
    metrics.oldest_lock(Some(0.0));
    metrics.soonest_expiry(Some(0.0));
    metrics.lags("DnsRecord", None);
    metrics.mirror_pending("DnsRecord", 0);
    metrics.watches_unlisted("dnsrecords", 0);
    metrics.watch_broke("dnsrecords");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in metrics.text().lines().filter(|line| !line.starts_with('#')) {
        let name: String = line.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
        found.entry(name).or_default().extend(labels);
    }
    found
}

/// Maximal words of a text.
fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
}

/// The labels that a query groups by or selects.
fn labels(query: &str) -> Vec<&str> {
    let grouped = query.split("by (").skip(1).filter_map(|rest| rest.split_once(')')).flat_map(|(list, _)| words(list));
    let selected = query.split('{').skip(1).filter_map(|rest| rest.split_once(['=', '!'])).map(|(label, _)| label);
    grouped.chain(selected).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let files = top().join("charts/landfall/files");
    let alerts: serde_json::Value =
        serde_yaml::from_str(&std::fs::read_to_string(files.join("alerts.yaml")).unwrap()).unwrap();
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(files.join("dashboard.json")).unwrap()).unwrap();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap().iter();
    let panels = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<_> = rules.chain(panels).map(|of| of["expr"].as_str().unwrap()).collect();
    let counted = counted();
    let mut asked = BTreeSet::new();
    for query in &queries {
        let names: Vec<_> = words(query).into_iter().filter(|word| word.starts_with("landfall_")).collect();
        assert!(!names.is_empty(), "{query}");
        for name in &names {
            let known = counted.get(*name).unwrap_or_else(|| panic!("{name} is not among {:?}", counted.keys()));
            for label in labels(query) {
                assert!(known.contains(label), "{query}: {name} has no label {label}, but {known:?}");
            }
        }
        asked.extend(names);
    }
    // What is counted and never looked at is a metric too many, or a panel too few.
    let parts = ["_bucket", "_sum", "_count"];
    let whole = counted.keys().filter(|name| !parts.iter().any(|part| name.ends_with(part)));
    let unseen: Vec<_> = whole.filter(|name| !asked.contains(name.as_str())).collect();
    assert_eq!(unseen, Vec::<&String>::new());
}
