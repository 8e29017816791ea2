//! Alerts and dashboard ask for what the controller counts.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use landfall::api::Reason;
use landfall::metrics::{Metrics, ReconcileResult};
use serde_json::{Value, json};

use crate::harness::top;
use crate::helm::{combinations, find, render};

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
    metrics.renewal_lateness(Some(0.0));
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
                let of_the_scrape = ["cluster", "namespace"].contains(&label);
                assert!(of_the_scrape || known.contains(label), "{query}: {name} has no label {label}, but {known:?}");
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

/// An alert, the series that raise it with a value for each minute, and the minutes at which it is silent yet and fires.
struct Raised(&'static str, &'static [(&'static str, &'static str)], u32, u32);

const LEADS: (&str, &str) = ("landfall_leading{namespace=\"landfall-system\",pod=\"a\"}", "1x60");
const STANDS_BY: (&str, &str) = ("landfall_leading{namespace=\"landfall-system\",pod=\"b\"}", "0x60");
const ANOTHER_LEADS: (&str, &str) = ("landfall_leading{namespace=\"another\",pod=\"a\"}", "1x60");

const RAISED: &[Raised] = &[
    Raised("LandfallNobodyLeads", &[STANDS_BY, ANOTHER_LEADS], 4, 6),
    Raised("LandfallNobodyLeads", &[ANOTHER_LEADS], 4, 6),
    Raised("LandfallActivityLogLostEvents", &[LEADS, ("landfall_anchors_lost", "0 0 2x60")], 1, 3),
    Raised("LandfallWatchUnlisted", &[LEADS, ("landfall_watches_unlisted{resource=\"secrets\"}", "1x60")], 9, 11),
    Raised("LandfallMirrorBehind", &[LEADS, ("landfall_mirror_pending{kind=\"DnsRecord\"}", "3x60")], 14, 16),
    Raised(
        "LandfallReconcilesFail",
        &[
            LEADS,
            ("landfall_reconciles_total{kind=\"DnsRecord\",result=\"Failed\"}", "0+2x60"),
            ("landfall_reconciles_total{kind=\"DnsRecord\",result=\"TimedOut\"}", "0+1x60"),
            ("landfall_reconciles_total{kind=\"DnsRecord\",result=\"Done\"}", "0+2x60"),
        ],
        14,
        20,
    ),
    Raised("LandfallDnsChangesHeld", &[LEADS, ("landfall_dns_changes_held", "1x60")], 4, 6),
    Raised("LandfallPostgresBehind", &[LEADS, ("landfall_ledger_lag_seconds{writer=\"DnsRecord\"}", "301x60")], 4, 6),
    Raised(
        "LandfallCertificateExpires",
        &[LEADS, ("landfall_certificate_renewal_lateness_ratio", "0.4 0.4 0.6x60")],
        6,
        8,
    ),
    Raised("LandfallStateLocked", &[LEADS, ("landfall_state_lock_oldest_seconds", "14400 14460x60")], 0, 1),
];

/// What is counted while all is well.
const WELL: &[(&str, &str)] = &[
    LEADS,
    STANDS_BY,
    ("landfall_leading{namespace=\"another\",pod=\"a\"}", "0x60"),
    ("landfall_anchors_lost", "0x60"),
    ("landfall_watches_unlisted{resource=\"secrets\"}", "0x60"),
    ("landfall_mirror_pending{kind=\"DnsRecord\"}", "0 5 0x60"),
    ("landfall_reconciles_total{kind=\"DnsRecord\",result=\"Failed\"}", "0+1x60"),
    ("landfall_reconciles_total{kind=\"DnsRecord\",result=\"Done\"}", "0+9x60"),
    ("landfall_dns_changes_held", "0x60"),
    ("landfall_ledger_lag_seconds{writer=\"DnsRecord\"}", "299x60"),
    ("landfall_certificate_renewal_lateness_ratio", "0.1x60"),
    ("landfall_state_lock_oldest_seconds", "3600x60"),
];

/// The rules as Prometheus has them from the chart.
#[test]
fn each_alert_fires_when_it_should_and_none_while_all_is_well() {
    let (_, values) = combinations().pop().unwrap();
    let rendered = render(&values).unwrap();
    let alerts = &find(&rendered, "PrometheusRule", "landfall")["spec"];
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(rules.path(), alerts.to_string()).unwrap();
    let fires = |minute: u32, alert: Option<&str>| {
        let samples = alert.map(|alert| json!({"labels": format!("{{alertname={alert:?}}}"), "value": 1}));
        json!({"expr": "count by (alertname) (ALERTS{alertstate=\"firing\"})", "eval_time": format!("{minute}m"),
            "exp_samples": samples.into_iter().collect::<Vec<_>>()})
    };
    let group = |series: &[(&str, &str)], expected: Vec<Value>| {
        let series: Vec<_> =
            series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
        json!({"interval": "1m", "input_series": series, "promql_expr_test": expected})
    };
    let raised = RAISED.iter().map(|Raised(alert, series, silent, loud)| {
        group(series, vec![fires(*silent, None), fires(*loud, Some(alert))])
    });
    let groups: Vec<_> = raised.chain([group(WELL, vec![fires(60, None)])]).collect();
    let tests = tempfile::NamedTempFile::new().unwrap();
    let whole = json!({"rule_files": [rules.path()], "evaluation_interval": "1m", "tests": groups});
    std::fs::write(tests.path(), whole.to_string()).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(tests.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let named: BTreeSet<_> =
        alerts["groups"][0]["rules"].as_array().unwrap().iter().map(|of| of["alert"].as_str().unwrap()).collect();
    assert_eq!(named, RAISED.iter().map(|raised| raised.0).collect());
}
