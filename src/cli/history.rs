//! `landfall history`: who did what, from the activity log.

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;

use super::reading::{NO_CHAIN, cluster_of, json, namespace, pool, unknown};
use super::table::{instant, short, table};
use super::target::{WhichCluster, object_name};
use crate::api::{DurationText, Reason};
use crate::ledger::{ActivityRow, HistoryFilter, ObjectKind, clusters_of, history as select, organizations};
use crate::{Error, Result};

/// `landfall history`.
#[derive(Debug, clap::Args)]
pub(super) struct History {
    /// One object: `tfd/NAME`, `cred/NAME`, `orgdomain/NAME`, `dnsrec/NAME`, `lcert/NAME`; all where it is left out.
    #[arg(value_name = "KIND/NAME")]
    object: Option<ObjectName>,
    /// Its namespace; without an object, all namespaces where it is left out.
    #[arg(short, long, value_parser = object_name)]
    namespace: Option<String>,
    #[command(flatten)]
    which: WhichCluster,
    /// Not older than this: a duration such as `2h`, or a time such as `2026-11-20T20:00:00Z`.
    #[arg(long)]
    since: Option<Since>,
    /// At most so many, the newest; standard error says when there are older ones.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// JSON for scripts.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ObjectName(ObjectKind, String);

impl FromStr for ObjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = "write tfd/NAME, cred/NAME, orgdomain/NAME, dnsrec/NAME or lcert/NAME";
        let (word, name) = text.split_once('/').ok_or(known)?;
        let is_named = |kind: &ObjectKind| {
            let one = kind.as_str().to_lowercase();
            word == short_name(*kind) || word.strip_suffix('s').unwrap_or(word) == one
        };
        let kind = ObjectKind::ALL.into_iter().find(is_named).ok_or(known)?;
        if name.is_empty() || name.contains('/') {
            return Err(known.to_owned());
        }
        object_name(name).map(|name| Self(kind, name))
    }
}

#[derive(Clone, Debug)]
struct Since(Timestamp);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let before = DurationText(text.to_owned()).get().and_then(|ago| Timestamp::now().checked_sub(ago).ok());
        let at = before.or_else(|| text.parse().ok());
        at.map(Self)
            .ok_or_else(|| format!("{text:?} is neither a duration such as 2h nor a time such as 2026-11-20T20:00:00Z"))
    }
}

/// Lists events in the order of their time.
///
/// # Errors
/// Nothing is on record of the object; the ledger is away.
pub(super) async fn history(arguments: &History) -> Result<String> {
    let pool = pool().await?;
    let (namespace, cluster) = match &arguments.object {
        Some(ObjectName(kind, name)) => {
            let namespace = namespace(arguments.namespace.as_ref()).await?;
            let cluster = cluster_of(&pool, &arguments.which, (*kind, &namespace, name)).await?;
            (Some(namespace), cluster)
        }
        None => (arguments.namespace.clone(), arguments.which.id().await),
    };
    let (kind, name) = arguments.object.clone().map(|ObjectName(kind, name)| (kind, name)).unzip();
    let since = arguments.since.as_ref().map(|since| since.0);
    let filter =
        HistoryFilter { cluster, kind, name, namespace, since, limit: arguments.limit + 1, ..HistoryFilter::default() };
    let mut rows = select(&pool, &filter).await?;
    if rows.is_empty()
        && let Some(ObjectName(kind, name)) = &arguments.object
    {
        let object = (*kind, filter.namespace.as_deref().unwrap_or_default(), name.as_str());
        let known = clusters_of(&pool, *kind, object.1, name).await?;
        if !known.iter().any(|id| cluster.is_none_or(|wanted| wanted == *id)) {
            let place = cluster.map(|id| format!(" of cluster {id}")).unwrap_or_default();
            let text = unknown(&pool, word(kind.as_str()), object, &place).await?;
            return Err(Error::condition(Reason::Progressing, text));
        }
    }
    if rows.is_empty() && organizations(&pool).await?.is_empty() {
        eprintln!("landfall: {NO_CHAIN}");
    }
    let more = rows.len().saturating_sub(arguments.limit as usize);
    if more > 0 {
        rows.drain(..more);
        eprintln!("landfall: older events are left out; raise --limit ({}) or narrow with --since", arguments.limit);
    }
    if arguments.json {
        return json(&rows);
    }
    Ok(table(
        ["TIME", "WHO", "WHAT", "OBJECT", "DETAILS"],
        rows.iter().map(|row| {
            let object = format!("{}/{}/{}", word(&row.object_kind), row.object_namespace, row.object_name);
            [instant(row.at.to_jiff()), who(row), row.action.clone(), object, details(&row.details)]
        }),
    ))
}

fn word(kind: &str) -> &str {
    match ObjectKind::parse(kind) {
        Some(known) => short_name(known),
        None => kind,
    }
}

/// The short name that kubectl knows, too.
const fn short_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::CloudCredential => "cred",
        ObjectKind::TerraformDeployment => "tfd",
        ObjectKind::OrganizationDomain => "orgdomain",
        ObjectKind::DnsRecord => "dnsrec",
        ObjectKind::Certificate => "lcert",
    }
}

/// The name, and how far it can be trusted where that is not far.
fn who(row: &ActivityRow) -> String {
    let name = row.actor.as_deref().unwrap_or("unknown");
    match row.actor_kind.as_str() {
        "user" => name.to_owned(),
        "field-manager-unverified" => format!("{name} (unverified)"),
        "controller" | "runner" | "unknown" => row.actor_kind.clone(),
        kind => format!("{name} ({kind})"),
    }
}

/// The few details that tell the story; all of them are in the JSON.
fn details(details: &Value) -> String {
    let mut parts = Vec::new();
    let text = |name| details.get(name).and_then(Value::as_str);
    if let (Some(command), Some(value)) = (text("command"), text("value")) {
        parts.push(format!("{command} {}", if value.starts_with("sha256:") { short(value) } else { value.to_owned() }));
    }
    if let Some(digest) = details.get("digest").and_then(Value::as_str) {
        parts.push(short(digest));
    }
    let count = |name| details.get("summary").and_then(|s| s.get(name)).and_then(Value::as_u64);
    if let (Some(add), Some(change), Some(destroy), Some(replace)) =
        (count("add"), count("change"), count("destroy"), count("replace"))
    {
        parts.push(format!("+{add} ~{change} -{destroy} ±{replace}"));
    }
    for name in ["by", "approvedBy", "call", "outcome", "change", "reason", "serial", "exitCode", "state", "why"] {
        match details.get(name) {
            Some(Value::String(text)) => parts.push(format!("{name}={text}")),
            Some(Value::Number(number)) => parts.push(format!("{name}={number}")),
            _ => {}
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_by_its_kind_and_since_is_a_duration_or_a_time() {
        assert_eq!("cred/aws".parse(), Ok(ObjectName(ObjectKind::CloudCredential, "aws".into())));
        for bad in ["web", "pod/x", "tfd/", "tfd/a/b"] {
            assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
        }
        assert!("2h".parse::<Since>().is_ok_and(|since| since.0 < Timestamp::now()));
        assert!("2026-11-20T20:00:00Z".parse::<Since>().is_ok());
        assert!("yesterday".parse::<Since>().is_err());
    }
}
