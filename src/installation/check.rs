//! Whether the values of `landfall.yaml` make sense: one sentence with the field and what it permits.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Component, Path};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use url::Url;

use super::{ExecutorKind, ExecutorSettings, IDENTITY, Installation, JobSettings, WORK};
use crate::dns::Name;

/// Where a run's pod, or the controller's of the chart, has volumes of its own, the image its programs, and the kubelet its own and
/// a cloud's tokens.
const OWN_MOUNTS: [&str; 6] = [WORK, IDENTITY, "/etc/landfall", "/usr/local/bin", "/var/run/secrets", "/run"];

/// The first thing that is wrong.
pub(super) fn check(of: &Installation) -> Result<(), String> {
    namespace("namespace", &of.namespace)?;
    let mut named = HashSet::new();
    for (at, name) in of.watch_namespaces.iter().enumerate() {
        let field = format!("watchNamespaces[{at}]");
        namespace(&field, name)?;
        if !named.insert(name) {
            return Err(format!("{field}: {name:?} is named twice; remove one"));
        }
    }
    for (at, text) in of.allowed_endpoints.iter().enumerate() {
        endpoint(&format!("allowedEndpoints[{at}]"), text)?;
    }
    proxy("proxy.https", of.proxy.https.as_deref())?;
    proxy("proxy.http", of.proxy.http.as_deref())?;
    if let Some(at) = of.proxy.none.iter().position(|name| !is_exempt(name)) {
        return Err(format!("proxy.none[{at}]: is no domain, address or network, as corp.example or 10.0.0.0/8"));
    }
    for (at, authority) in of.dns.authorities.iter().enumerate() {
        Name::parse(&authority.zone).map_err(|rule| format!("dns.authorities[{at}].zone: {rule}"))?;
        if authority.servers.is_empty() {
            return Err(format!("dns.authorities[{at}].servers: names none; give each as 10.0.0.53:53"));
        }
    }
    if !of.encryption.keys.contains_key(&of.encryption.current) {
        let known: Vec<_> = of.encryption.keys.keys().collect();
        return Err(format!(
            "encryption.current: no key {:?} in encryption.keys; name one of {known:?}",
            of.encryption.current
        ));
    }
    executor(&of.executor)?;
    range("executor.maxRuns", of.executor.max_runs, 1..=256)?;
    let narrower = |limit: Option<usize>| limit.unwrap_or(of.executor.max_runs);
    range("executor.maxRunsPerOrganization", narrower(of.executor.max_runs_per_organization), 1..=256)?;
    range("executor.maxRunsPerCredential", narrower(of.executor.max_runs_per_credential), 1..=256)?;
    range("executor.stopGraceSeconds", of.executor.stop_grace_seconds, 1..=86_400)?;
    range("limits.concurrency", of.limits.concurrency, 1..=256)?;
    range("limits.reconcileTimeoutSeconds", of.limits.reconcile_timeout_seconds, 5..=3600)?;
    range("limits.leaseSeconds", of.limits.lease_seconds, 3..=3600)?;
    range("limits.databaseConnections", of.database_connections(), 4..=1000)?;
    of.ceilings.max_destroy.as_ref().map_or(Ok(()), max_destroy)
}

fn executor(of: &ExecutorSettings) -> Result<(), String> {
    let job = match (of.kind, &of.job) {
        (ExecutorKind::Local, None) => return Ok(()),
        (ExecutorKind::Local, Some(_)) => return Err("executor.job: is for executor.type: job; remove one".into()),
        (ExecutorKind::Job, None) => return Err("executor.job: is missing; executor.type: job needs it".into()),
        (ExecutorKind::Job, Some(job)) => job,
    };
    if job.url.scheme() != "https" || job.url.host().is_none() || job.url.path() != "/" {
        return Err(format!(
            "executor.job.url: {:?} is not https with a host and no path, as https://landfall-runs.landfall-system.svc:8443",
            job.url.as_str()
        ));
    }
    if job.image.trim().is_empty() {
        return Err("executor.job.image: is empty; name the image that has this program and the engines".into());
    }
    namespace("executor.job.serviceAccountName", &job.service_account_name)?;
    service_accounts(job)?;
    not_ours("executor.job.podLabels", &job.pod_labels)?;
    not_ours("executor.job.podAnnotations", &job.pod_annotations)?;
    if job.permitted_tolerations.iter().any(String::is_empty) {
        return Err(
            "executor.job.permittedTolerations: names an empty key; name a taint's, or \"*\" for every one".into()
        );
    }
    volumes(job)?;
    range("executor.job.ttlSecondsAfterFinished", job.ttl_seconds_after_finished, 0..=86_400)
}

fn volumes(job: &JobSettings) -> Result<(), String> {
    let mut mounted: Vec<&Path> = OWN_MOUNTS.iter().map(Path::new).collect();
    for (at, volume) in job.volumes.iter().enumerate() {
        let (field, path) = (format!("executor.job.volumes[{at}]"), Path::new(&volume.mount_path));
        let plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        if !path.is_absolute() || path.parent().is_none() || !plain || volume.mount_path.contains(':') {
            return Err(format!("{field}.mountPath: {path:?} is no absolute path below /, as /opt/terraform"));
        }
        if let Some(other) = mounted.iter().find(|other| path.starts_with(other) || other.starts_with(path)) {
            return Err(format!(
                "{field}.mountPath: {path:?} and {other:?} are one within the other; mount it elsewhere"
            ));
        }
        match (&volume.config_map, &volume.persistent_volume_claim) {
            (Some(name), None) => object(&format!("{field}.configMap"), name)?,
            (None, Some(name)) => object(&format!("{field}.persistentVolumeClaim"), name)?,
            _ => return Err(format!("{field}: needs one of configMap and persistentVolumeClaim")),
        }
        mounted.push(path);
    }
    job.ca_bundle.as_ref().map_or(Ok(()), |ca| object("executor.job.caBundle.configMap", &ca.config_map))
}

fn service_accounts(job: &JobSettings) -> Result<(), String> {
    let mut named = HashSet::from([job.service_account_name.as_str()]);
    for (at, account) in job.service_accounts.iter().enumerate() {
        let field = format!("executor.job.serviceAccounts[{at}]");
        namespace(&format!("{field}.name"), &account.name)?;
        if !named.insert(&account.name) {
            let twice = "is named twice, or is executor.job.serviceAccountName, which every run may have";
            return Err(format!("{field}.name: {:?} {twice}; remove one", account.name));
        }
        if account.organizations.is_empty() {
            return Err(format!(
                "{field}.organizations: names none; name those that may have it, or \"*\" for everyone"
            ));
        }
        not_ours(&format!("{field}.podLabels"), &account.pod_labels)?;
    }
    Ok(())
}

/// Labels or annotations that Landfall does not set itself.
fn not_ours(field: &str, names: &BTreeMap<String, String>) -> Result<(), String> {
    let ours = |name: &&String| name.starts_with("landfall.dev/") || name.starts_with("app.kubernetes.io/");
    names.keys().find(ours).map_or(Ok(()), |name| Err(format!("{field}: {name:?} is for Landfall to set; remove it")))
}

fn range<T: PartialOrd + Display>(field: &str, value: T, permitted: RangeInclusive<T>) -> Result<(), String> {
    if permitted.contains(&value) {
        return Ok(());
    }
    Err(format!("{field}: {value} is not from {} to {}", permitted.start(), permitted.end()))
}

fn namespace(field: &str, name: &str) -> Result<(), String> {
    if name.len() <= 63 && is_label(name) {
        return Ok(());
    }
    Err(format!("{field}: {name:?} is no such name: 1 to 63 of a-z, 0-9 and -, with no - at either end"))
}

fn is_label(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

/// A name of an object: a subdomain of RFC 1123.
fn object(field: &str, name: &str) -> Result<(), String> {
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!(
        "{field}: {name:?} is no such name: up to 253 of a-z, 0-9, - and ., with a letter or digit at both ends"
    ))
}

fn endpoint(field: &str, text: &str) -> Result<(), String> {
    let fits = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "dns") && url.has_host());
    if fits {
        Ok(())
    } else {
        Err(format!("{field}: {text:?} is not http, https or dns with a host, as http://10.0.0.1:8081"))
    }
}

/// What is wrong is not shown: it may have a password in it.
fn proxy(field: &str, text: Option<&str>) -> Result<(), String> {
    let bare = |url: &Url| url.as_str().trim_end_matches('/') == url.origin().ascii_serialization();
    let fits = |text: &str| Url::parse(text).is_ok_and(|url| url.scheme() == "http" && bare(&url));
    if text.is_none_or(fits) {
        return Ok(());
    }
    Err(format!("{field}: is not http with a host, as http://proxy.example:3128, and with no path, user or password"))
}

/// What engines and the controller read alike.
fn is_exempt(text: &str) -> bool {
    let network = |(address, length): (&str, &str)| {
        let most = address.parse().map(|address: IpAddr| if address.is_ipv4() { 32 } else { 128 });
        matches!((most, length.parse::<u8>()), (Ok(most), Ok(length)) if length <= most)
    };
    let domain = || Name::parse(text.strip_prefix('.').unwrap_or(text)).is_ok_and(|_| !text.contains('*'));
    text.parse::<IpAddr>().is_ok() || text.split_once('/').is_some_and(network) || domain()
}

fn max_destroy(limit: &IntOrString) -> Result<(), String> {
    let (fits, shown) = match limit {
        IntOrString::Int(count) => (*count >= 0, count.to_string()),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
            (percent.is_some_and(|percent| percent <= 100), format!("{text:?}"))
        }
    };
    if fits {
        Ok(())
    } else {
        Err(format!("ceilings.maxDestroy: {shown} is neither a count from 0 on nor \"0%\" to \"100%\""))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::{Value, json};

    use super::*;

    fn of(pointer: &str, value: &Value) -> Installation {
        let mut whole = json!({
            "namespace": "landfall-system", "watchNamespaces": ["a", "b"], "allowedEndpoints": ["http://10.0.0.1:8081"], "proxy": {"https": "http://proxy:3128", "http": null, "none": ["corp.example"]},
            "encryption": {"current": "k", "keys": {"k": "/k"}}, "executor": {"maxRuns": 4, "maxRunsPerOrganization": 4, "maxRunsPerCredential": 4, "stopGraceSeconds": 300},
            "limits": {"concurrency": 8, "reconcileTimeoutSeconds": 60, "leaseSeconds": 15, "databaseConnections": 4}, "ceilings": {"maxDestroy": 0},
        });
        *whole.pointer_mut(pointer).unwrap() = value.clone();
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named_with_what_is_permitted() {
        let long = "a".repeat(64);
        for (pointer, value, field, permitted) in [
            ("/namespace", json!(""), "namespace", "1 to 63"),
            ("/namespace", json!("Landfall"), "namespace", "a-z"),
            ("/namespace", json!(long), "namespace", "1 to 63"),
            ("/watchNamespaces/1", json!("-b"), "watchNamespaces[1]", "either end"),
            ("/watchNamespaces/1", json!("a"), "watchNamespaces[1]", "twice"),
            ("/allowedEndpoints/0", json!("10.0.0.1:8081"), "allowedEndpoints[0]", "http, https or dns"),
            ("/allowedEndpoints/0", json!("ftp://a"), "allowedEndpoints[0]", "http, https or dns"),
            ("/proxy/https", json!("proxy:3128"), "proxy.https", "as http://"),
            ("/proxy/https", json!("http://proxy:3128/path"), "proxy.https", "no path"),
            ("/proxy/https", json!("https://proxy:3128"), "proxy.https", "http with a host"),
            ("/proxy/none/0", json!("*.a.example"), "proxy.none[0]", "no domain"),
            ("/proxy/none/0", json!("a.example:443"), "proxy.none[0]", "no domain"),
            ("/proxy/none/0", json!("10.0.0.0/33"), "proxy.none[0]", "no domain"),
            ("/proxy/https", json!("http://user:pa#ss@proxy:3128"), "proxy.https", "no path, user or password"),
            ("/proxy/http", json!("http://user@proxy:3128"), "proxy.http", "no path, user or password"),
            ("/proxy/none/0", json!("a.example, b.example"), "proxy.none[0]", "no domain"),
            ("/encryption/current", json!("old"), "encryption.current", "[\"k\"]"),
            ("/executor/maxRuns", json!(0), "executor.maxRuns", "1 to 256"),
            ("/executor/maxRuns", json!(257), "executor.maxRuns", "1 to 256"),
            ("/executor/maxRunsPerOrganization", json!(0), "executor.maxRunsPerOrganization", "1 to 256"),
            ("/executor/maxRunsPerCredential", json!(257), "executor.maxRunsPerCredential", "1 to 256"),
            ("/executor/stopGraceSeconds", json!(0), "executor.stopGraceSeconds", "1 to 86400"),
            ("/limits/concurrency", json!(0), "limits.concurrency", "1 to 256"),
            ("/limits/reconcileTimeoutSeconds", json!(0), "limits.reconcileTimeoutSeconds", "5 to 3600"),
            ("/limits/leaseSeconds", json!(0), "limits.leaseSeconds", "3 to 3600"),
            ("/limits/leaseSeconds", json!(u64::MAX), "limits.leaseSeconds", "3 to 3600"),
            ("/limits/databaseConnections", json!(3), "limits.databaseConnections", "4 to 1000"),
            ("/ceilings/maxDestroy", json!(-1), "ceilings.maxDestroy", "from 0 on"),
            ("/ceilings/maxDestroy", json!("101%"), "ceilings.maxDestroy", "100%"),
            ("/ceilings/maxDestroy", json!("many"), "ceilings.maxDestroy", "100%"),
        ] {
            let said = check(&of(pointer, &value)).unwrap_err();
            assert!(said.starts_with(&format!("{field}: ")) && said.contains(permitted), "{pointer} {value}: {said}");
        }
        for (pointer, value) in [("/executor/maxRuns", json!(256)), ("/ceilings/maxDestroy", json!("100%"))] {
            assert_eq!(check(&of(pointer, &value)), Ok(()));
        }
    }

    #[test]
    fn jobs_need_their_settings_and_local_has_none() {
        let job = json!({"url": "https://landfall-runs.landfall-system.svc:8443", "image": "landfall:1"});
        let executor = |kind: &str, job: Value| check(&of("/executor", &json!({"type": kind, "job": job})));
        assert_eq!(executor("job", job.clone()), Ok(()));
        assert_eq!(executor("local", Value::Null), Ok(()));
        let with = |field: &str, value: Value| {
            let mut changed = job.clone();
            changed[field] = value;
            executor("job", changed).unwrap_err()
        };
        let account = |name: &str, organizations: &[&str]| json!([{"name": name, "organizations": organizations}]);
        let volume = |path: &str| json!([{"mountPath": path, "configMap": "c"}]);
        let named = |name: &str| json!([{"mountPath": "/opt", "configMap": name}]);
        let mut labelled = account("aws", &["acme"]);
        labelled[0]["podLabels"] = json!({"landfall.dev/run": "x"});
        let twice = json!([{"name": "aws", "organizations": ["a"]}, {"name": "aws", "organizations": ["b"]}]);
        for (said, field, permitted) in [
            (executor("local", job.clone()).unwrap_err(), "executor.job", "remove one"),
            (executor("job", Value::Null).unwrap_err(), "executor.job", "missing"),
            (with("url", json!("http://landfall-runs:8443")), "executor.job.url", "https with a host"),
            (with("url", json!("https://landfall-runs:8443/api")), "executor.job.url", "no path"),
            (with("image", json!(" ")), "executor.job.image", "empty"),
            (with("serviceAccountName", json!("")), "executor.job.serviceAccountName", "1 to 63"),
            (with("serviceAccounts", account("Aws", &["acme"])), "executor.job.serviceAccounts[0].name", "1 to 63"),
            (
                with("serviceAccounts", account("landfall-runner", &["*"])),
                "executor.job.serviceAccounts[0].name",
                "every run",
            ),
            (with("serviceAccounts", account("aws", &[])), "executor.job.serviceAccounts[0].organizations", "everyone"),
            (with("podLabels", json!({"landfall.dev/run": "x"})), "executor.job.podLabels", "landfall.dev/run"),
            (with("podAnnotations", json!({"app.kubernetes.io/x": "x"})), "executor.job.podAnnotations", "remove it"),
            (with("serviceAccounts", twice), "executor.job.serviceAccounts[1].name", "twice"),
            (with("serviceAccounts", labelled), "executor.job.serviceAccounts[0].podLabels", "landfall.dev/run"),
            (
                with("permittedTolerations", json!(["spot", ""])),
                "executor.job.permittedTolerations",
                "\"*\" for every one",
            ),
            (with("volumes", volume("opt")), "executor.job.volumes[0].mountPath", "no absolute path"),
            (with("volumes", volume("/")), "executor.job.volumes[0].mountPath", "no absolute path"),
            (with("volumes", volume("/opt/../work")), "executor.job.volumes[0].mountPath", "no absolute path"),
            (with("volumes", volume("/work/x")), "executor.job.volumes[0].mountPath", "\"/work\" are one within"),
            (with("volumes", volume("/var/run")), "executor.job.volumes[0].mountPath", "elsewhere"),
            (with("volumes", volume("/var/run/secrets/eks")), "executor.job.volumes[0].mountPath", "elsewhere"),
            (with("volumes", volume("/opt:x")), "executor.job.volumes[0].mountPath", "no absolute path"),
            (with("volumes", json!([{"mountPath": "/opt"}])), "executor.job.volumes[0]", "one of configMap"),
            (with("volumes", named("")), "executor.job.volumes[0].configMap", "letter or digit"),
            (with("volumes", named("a..b")), "executor.job.volumes[0].configMap", "letter or digit"),
            (with("caBundle", json!({"configMap": "Cas"})), "executor.job.caBundle.configMap", "letter or digit"),
            (with("ttlSecondsAfterFinished", json!(-1)), "executor.job.ttlSecondsAfterFinished", "0 to 86400"),
        ] {
            assert!(said.starts_with(&format!("{field}: ")) && said.contains(permitted), "{said}");
        }
    }

    #[test]
    fn the_chart_refuses_the_same_paths_of_a_pod() {
        let chart = include_str!("../../charts/landfall/templates/_helpers.tpl");
        let own = OWN_MOUNTS.map(|path| format!("\"{path}\"")).join(" ");
        assert!(chart.contains(&format!("{{{{- $mounted := list {own} }}}}")), "{own}");
    }

    #[test]
    fn connections_that_are_not_set_follow_what_may_go_on_at_once() {
        assert_eq!(of("/limits/databaseConnections", &json!(4)).database_connections(), 4);
        assert_eq!(of("/limits/databaseConnections", &Value::Null).database_connections(), 28);
    }

    #[test]
    fn the_error_names_the_file_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("landfall.yaml");
        let text = "encryption: {current: k, keys: {k: /k}}\nlimits: {concurrency: 0}\n";
        std::fs::write(&file, text).unwrap();
        let said = Installation::load(&file).unwrap_err().to_string();
        assert_eq!(said, format!("{}: limits.concurrency: 0 is not from 1 to 256", file.display()));
        std::fs::write(&file, text.replace("concurrency", "concurency")).unwrap();
        let said = Installation::load(&file).unwrap_err().to_string();
        assert!(said.contains("landfall.yaml") && said.contains("concurency"), "{said}");
        // Whoever names the key's file by mistake does not see the key.
        std::fs::write(&file, "c2VjcmV0IGtleQ==\n").unwrap();
        let said = Installation::load(&file).unwrap_err().to_string();
        assert!(said.contains("no mapping") && !said.contains("c2Vj"), "{said}");
    }
}
