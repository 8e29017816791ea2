//! What is told, and by whom.
#![allow(clippy::unwrap_used)]
use super::*;

/// One of each, so that each is in the text.
fn all() -> Metrics {
    let metrics = Metrics::default();
    metrics.reconciled("DnsRecord", ReconcileResult::Done, Duration::ZERO);
    metrics.failed("DnsRecord", Reason::Timeout);
    metrics.wrote_status("DnsRecord");
    metrics.probed("aws", Reason::Valid);
    metrics.called("powerdns", Some(Reason::RateLimited));
    metrics.run_ended("Plan", "Succeeded", Some(Duration::from_secs(3)));
    metrics.runs_under_way(&[(("Apply", "Pending"), 2)].into());
    metrics.queue_length(7);
    metrics.queued(Duration::ZERO);
    metrics.oldest_lock(Some(4.0));
    metrics.soonest_expiry(Some(5.0));
    metrics.renewal_lateness(Some(0.5));
    metrics.lags("DnsRecord", Some(Instant::now()));
    metrics.mirror_pending("DnsRecord", 1);
    metrics.watches_unlisted("dnsrecords", 1);
    metrics.watch_broke("dnsrecords");
    metrics.anchors_lost(1);
    metrics.dns_held(1);
    metrics.leading(true);
    metrics
}

/// The labels of each metric and its type.
fn told(text: &str) -> BTreeMap<(String, String), String> {
    let mut told = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE landfall_")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let starts = |line: &&str| line.starts_with(&format!("landfall_{name}")) && !line.starts_with('#');
        let sample = text.lines().filter(starts).find(|line| {
            let rest = line.trim_start_matches(&format!("landfall_{name}"));
            ["{", " ", "_total", "_count", "_sum"].iter().any(|next| rest.starts_with(next))
        });
        let labels =
            sample.and_then(|line| line.split_once('{')).map_or("", |(_, rest)| rest.split('}').next().unwrap());
        let labels: Vec<_> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
        told.insert((name.to_owned(), kind.to_owned()), labels.join(", "));
    }
    told
}

#[test]
fn the_catalogue_is_what_is_told() {
    let listed: BTreeMap<_, _> =
        CATALOGUE.iter().map(|e| ((e.name.to_owned(), e.kind.to_owned()), e.labels.to_owned())).collect();
    assert_eq!(told(&all().text()), listed);
    assert_eq!(listed.len(), CATALOGUE.len());
}

#[test]
fn who_leads_no_more_tells_nothing_that_only_a_leader_knows() {
    let metrics = all();
    assert!(metrics.text().contains("landfall_state_lock_oldest_seconds{} 4.0"), "{}", metrics.text());
    metrics.leading(false);
    let text = metrics.text();
    let gauges: Vec<_> = CATALOGUE.iter().filter(|e| e.kind == "gauge" && e.name != "watches_unlisted").collect();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let gauge = gauges.iter().any(|e| name == format!("landfall_{}", e.name));
        assert!(!gauge || line.ends_with(" 0"), "{line}");
    }
    assert!(!text.contains("expiry_timestamp_seconds{"), "{text}");
}
