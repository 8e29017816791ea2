//! Postgres follows the watch. It never holds a reconcile up: changes are noted under their object's uid, the latest
//! wins, and a task of its own writes them whenever Postgres is there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::reflector::Store;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use uuid::Uuid;

use super::watch::{Change, requester};
use super::{Context, Object, backoff, subject_in};
use crate::ledger::{Keyring, MirrorRow, Mirrored, ObjectKind, Subject};
use crate::{Error, Result, access};

/// More changes than this are not remembered one by one: all objects are listed instead.
const LIMIT: usize = 10_000;
/// How often it is noted that a watch stands while nothing changes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// A watch that broke and did not break again for so long stands: taking it up again is tried more often than that.
pub(super) const CALM: Duration = Duration::from_secs(120);
/// How long the first change of a batch waits for others: an object that settles changes several times.
const GATHER: Duration = Duration::from_millis(50);
/// Rows of one write.
const BATCH: usize = 200;

/// What Postgres has not heard of yet.
pub(super) struct Pending<K> {
    state: Mutex<State<K>>,
    watch: Mutex<Watch>,
    news: Notify,
}

struct State<K> {
    changes: HashMap<String, Noted<K>>,
    relist: bool,
    /// Namespaces that went to another organization.
    relabelled: HashSet<String>,
    /// When the oldest of it came.
    since: Option<Instant>,
}

/// What is known of the watch.
#[derive(Default)]
struct Watch {
    listed: bool,
    broken: Option<Instant>,
}

impl Watch {
    fn stands(&self, now: Instant) -> bool {
        self.listed && self.broken.is_none_or(|at| now.duration_since(at) >= CALM)
    }
}

impl<K> Default for State<K> {
    fn default() -> Self {
        Self { changes: HashMap::new(), relist: false, relabelled: HashSet::new(), since: None }
    }
}

enum Noted<K> {
    Present(Arc<K>),
    /// How it was last seen, and when it went.
    Gone(Arc<K>, Timestamp),
}

impl<K: Object> Pending<K> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), watch: Mutex::default(), news: Notify::new() }
    }

    /// Notes one change; never waits.
    pub(super) fn note(&self, change: &Change<K>, now: Timestamp) {
        let mut state = self.lock();
        state.since.get_or_insert_with(Instant::now);
        let noted = match change {
            Change::Applied { object, .. } => (object, Noted::Present(object.clone())),
            Change::Deleted(object) => (object, Noted::Gone(object.clone(), now)),
            Change::Listed => {
                self.watch.lock().unwrap_or_else(PoisonError::into_inner).listed = true;
                state.relist = true;
                drop(state);
                return self.news.notify_one();
            }
        };
        if state.changes.len() >= LIMIT {
            state.changes.clear();
            state.relist = true;
        }
        let uid = noted.0.meta().uid.clone().unwrap_or_default();
        state.changes.insert(uid, noted.1);
        drop(state);
        self.news.notify_one();
    }

    /// Notes that the watch broke.
    pub(super) fn broke(&self) {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).broken = Some(Instant::now());
    }

    fn stands(&self) -> bool {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).stands(Instant::now())
    }

    /// Notes that a namespace went to another organization.
    pub(super) fn relabelled(&self, namespace: &str) {
        let mut state = self.lock();
        state.since.get_or_insert_with(Instant::now);
        state.relabelled.insert(namespace.to_owned());
        drop(state);
        self.news.notify_one();
    }

    fn len(&self) -> usize {
        self.lock().changes.len()
    }

    fn since(&self) -> Option<Instant> {
        self.lock().since
    }

    fn take(&self) -> State<K> {
        std::mem::take(&mut *self.lock())
    }

    /// After a failure the list is the truth, but for what is in it no more.
    fn start_over(&self, failed: State<K>) {
        let mut state = self.lock();
        state.relist = true;
        state.since = failed.since.or(state.since);
        for (uid, change) in failed.changes {
            if let Noted::Gone(..) = change {
                state.changes.entry(uid).or_insert(change);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until this process no longer leads; tells when rows were buried or have moved to another organization.
pub(super) async fn run<K: Object>(
    cx: Context,
    kind: ObjectKind,
    store: Store<K>,
    pending: &Pending<K>,
    moved: &(dyn Fn() + Send + Sync),
) {
    let mut failures = 0u32;
    loop {
        let mut quiet = false;
        if failures == 0 {
            quiet = tokio::time::timeout(SIGN_OF_LIFE, pending.news.notified()).await.is_err();
            if !quiet {
                tokio::time::sleep(GATHER).await;
            }
        } else {
            tokio::time::sleep(backoff::rest(failures.min(5), rand::random()).max(Duration::from_millis(200))).await;
        }
        cx.metrics.mirror_pending(kind.as_str(), pending.len());
        cx.metrics.lags(kind.as_str(), pending.since());
        let taken = if quiet { State::default() } else { pending.take() };
        let written = match quiet {
            true => alive(&cx, kind, pending).await.map(|()| false),
            false => write(&cx, kind, &store, &taken).await,
        };
        match written {
            Ok(told) => {
                failures = 0;
                if told {
                    moved();
                }
            }
            Err(Error::Deposed(why)) => {
                tracing::error!(%why, "the mirror may no longer be written");
                return cx.deposed.cancel();
            }
            Err(error) => {
                tracing::warn!(kind = kind.as_str(), %error, "the mirror waits for Postgres");
                pending.start_over(taken);
                failures = failures.saturating_add(1);
            }
        }
        cx.metrics.lags(kind.as_str(), pending.since());
        cx.metrics.mirror_pending(kind.as_str(), pending.len());
    }
}

/// Answers whether rows may have been buried or have moved to another organization.
async fn write<K: Object>(cx: &Context, kind: ObjectKind, store: &Store<K>, taken: &State<K>) -> Result<bool> {
    let State { changes, relist, relabelled, .. } = taken;
    let mut organizations = Organizations::default();
    let mut rows = Vec::new();
    for change in changes.values() {
        match change {
            Noted::Present(_) if *relist => {}
            // What went before it was ever written has its row too.
            Noted::Present(object) | Noted::Gone(object, _) => {
                rows.extend(organizations.row(cx, kind, object.as_ref()).await?);
            }
        }
    }
    for batch in rows.chunks(BATCH) {
        quarantined(kind, &cx.ledger.mirror_apply(kind, batch).await?);
    }
    // A list buries what it lacks, but only the event knows when that went.
    gone(cx, kind, changes).await?;
    if *relist {
        return list(cx, kind, store, &mut organizations).await.map(|()| true);
    }
    let moved = !relabelled.is_empty() || changes.values().any(|change| matches!(change, Noted::Gone(..)));
    // A list, above, reads the labels itself.
    for namespace in relabelled {
        if let Some(organization) = access::organization_if_found(&cx.client, cx.cluster, namespace).await? {
            cx.ledger.mirror_relabel(kind, namespace, &organization).await?;
        }
    }
    Ok(moved)
}

/// Notes that the watch stands, unless it broke a moment ago.
async fn alive<K: Object>(cx: &Context, kind: ObjectKind, pending: &Pending<K>) -> Result<()> {
    if pending.stands() {
        for scope in scopes(cx) {
            cx.ledger.mirror_alive(kind, scope).await?;
        }
    }
    Ok(())
}

/// What is listed by itself: each watched namespace, or all at once.
fn scopes(cx: &Context) -> Vec<Option<&str>> {
    let watched = &cx.installation.watch_namespaces;
    if watched.is_empty() { vec![None] } else { watched.iter().map(|ns| Some(ns.as_str())).collect() }
}

/// The store is the truth of the namespaces that are watched, and of no other.
async fn list<K: Object>(cx: &Context, kind: ObjectKind, store: &Store<K>, seen: &mut Organizations) -> Result<()> {
    for scope in scopes(cx) {
        let mut rows = Vec::new();
        for object in store.state() {
            if scope.is_none_or(|ns| object.meta().namespace.as_deref() == Some(ns)) {
                rows.extend(seen.row(cx, kind, object.as_ref()).await?);
            }
        }
        quarantined(kind, &cx.ledger.mirror_relist(kind, scope, &rows, None).await?);
    }
    let left = cx.ledger.mirror_scopes(kind, &scopes(cx)).await?;
    if left > 0 {
        tracing::info!(kind = kind.as_str(), left, "objects of namespaces that are not watched any more");
    }
    Ok(())
}

fn quarantined(kind: ObjectKind, mirrored: &Mirrored) {
    for uid in &mirrored.quarantined {
        tracing::warn!(kind = kind.as_str(), %uid, "the mirror could not take this object; see mirror_quarantine");
    }
}

async fn gone<K: Object>(cx: &Context, kind: ObjectKind, changes: &HashMap<String, Noted<K>>) -> Result<()> {
    for (uid, change) in changes {
        if let (Noted::Gone(_, at), Ok(uid)) = (change, Uuid::parse_str(uid)) {
            cx.ledger.mirror_delete(kind, uid, *at).await?;
        }
    }
    Ok(())
}

/// Organizations of this batch's namespaces; `None` for one that vanished.
#[derive(Default)]
struct Organizations(HashMap<String, Option<crate::api::Organization>>);

impl Organizations {
    async fn row<K: Object>(&mut self, cx: &Context, kind: ObjectKind, object: &K) -> Result<Option<MirrorRow>> {
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        let organization = match self.0.get(&namespace) {
            Some(known) => known.clone(),
            None => {
                let found = access::organization_if_found(&cx.client, cx.cluster, &namespace).await?;
                self.0.insert(namespace.clone(), found.clone());
                found
            }
        };
        let organization = match (organization, object.meta().uid.as_deref().and_then(|uid| Uuid::parse_str(uid).ok()))
        {
            // What stands in a namespace that vanished stays whose it was.
            (None, Some(uid)) => cx.ledger.mirror_organization(kind, uid).await?,
            (organization, _) => organization,
        };
        let Some(organization) = organization else { return Ok(None) };
        let Some(subject) = subject_in(organization, cx.cluster, kind, object) else { return Ok(None) };
        Ok(Some(row(subject, object, cx.ledger.keys())))
    }
}

fn row<K: Object>(subject: Subject, object: &K, keys: &Keyring) -> MirrorRow {
    let meta = object.meta();
    let mut value = serde_json::to_value(object).unwrap_or_default();
    redact(&mut value, |bytes| keys.digest("mirror", bytes));
    MirrorRow {
        subject,
        generation: meta.generation.unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        object: value,
        field_manager: requester(object).map(str::to_owned),
    }
}

/// Puts keyed digests in place of what may be secret: the values of variables and the contents of inline files. An
/// unerasable log must not hold them.
pub fn redact(object: &mut Value, digest: impl Fn(&[u8]) -> String) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    for path in ["/spec/variables", "/spec/source/inline"] {
        if let Some(map) = object.pointer_mut(path).and_then(Value::as_object_mut) {
            digest_values(map, &digest);
        }
    }
}

fn digest_values(map: &mut Map<String, Value>, digest: impl Fn(&[u8]) -> String) {
    for value in map.values_mut() {
        let bytes = match &*value {
            Value::String(text) => text.clone().into_bytes(),
            other => other.to_string().into_bytes(),
        };
        *value = Value::String(digest(&bytes));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_watch_stands_once_it_has_listed_and_has_not_broken_for_a_while() {
        let now = Instant::now();
        let mut watch = Watch::default();
        assert!(!watch.stands(now), "it has not listed");
        watch.listed = true;
        assert!(watch.stands(now));
        watch.broken = Some(now);
        assert!(!watch.stands(now + CALM / 2), "whether it was taken up again is not known");
        assert!(watch.stands(now + CALM));
    }

    #[test]
    fn the_mirror_gets_names_and_digests_and_no_values() {
        let mut object = json!({
            "metadata": {"name": "a", "managedFields": [1], "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "canary", "landfall.dev/reconcile": "1"}},
            "spec": {"variables": {"size": "canary", "n": 18446744073709551615u64, "deep": {"k": ["canary"]}},
                     "source": {"inline": {"main.tf": "canary"}}, "approval": "Manual"},
            "status": {"phase": "Applied"},
        });
        redact(&mut object, |bytes| format!("digest of {} bytes", bytes.len()));
        assert!(!object.to_string().contains("canary"), "{object}");
        assert_eq!(object.pointer("/spec/variables/size").unwrap(), "digest of 6 bytes");
        assert_eq!(object.pointer("/spec/variables/n").unwrap(), "digest of 20 bytes");
        assert_eq!(object.pointer("/spec/source/inline/main.tf").unwrap(), "digest of 6 bytes");
        assert_eq!(object.pointer("/spec/approval").unwrap(), "Manual");
        assert_eq!(
            object.pointer("/metadata").unwrap(),
            &json!({"name": "a", "annotations": {"landfall.dev/reconcile": "1"}})
        );
    }
}
