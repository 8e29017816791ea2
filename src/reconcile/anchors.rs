//! The heads of the chains, kept in a ConfigMap: whoever rewrites the log as a whole must change the cluster too.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::sync::watch as signal;
use tokio::time::timeout;

use super::Context;
use crate::api::{FIELD_MANAGER, Organization};
use crate::ledger::audit::{self, Anchor};
use crate::{Error, Result};

/// In Landfall's own namespace.
pub const CONFIG_MAP: &str = "landfall-anchors";
/// Its key.
const KEY: &str = "anchors.json";
/// How often the heads are looked at; they are written where one has moved.
const INTERVAL: Duration = Duration::from_secs(300);
/// How often while something is wrong with them: somebody may have put it right.
const SOON: Duration = Duration::from_secs(10);
/// How long a look at an object waits for the first look at the anchors of a leadership.
const FIRST: Duration = Duration::from_secs(5);

/// What this leadership knows of the anchors. Copies share it.
#[derive(Clone, Default)]
pub struct Anchors(Arc<signal::Sender<Known>>);

#[derive(Clone, Default)]
enum Known {
    /// Nobody has looked.
    #[default]
    NotYet,
    /// As they stand in the ConfigMap.
    Kept(Arc<Vec<Anchor>>),
    /// Why they cannot be read.
    Unread(String),
}

impl Anchors {
    /// Why nothing may begin for an organization: the log has lost an event that was anchored, or nobody can tell.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn objection(&self, cx: &Context, organization: &Organization) -> Result<Option<String>> {
        let mut known = self.0.subscribe();
        let looked = timeout(FIRST, known.wait_for(|known| !matches!(known, Known::NotYet))).await;
        let known = looked.ok().and_then(|found| found.ok().map(|known| known.clone())).unwrap_or_default();
        let name = format!("{}/{CONFIG_MAP}", cx.installation.namespace);
        let anchors = match known {
            Known::NotYet => return Ok(Some(format!("the anchors in ConfigMap {name} are not read yet"))),
            Known::Unread(why) => return Ok(Some(format!("the anchors cannot be read: {why}"))),
            Known::Kept(anchors) => anchors,
        };
        let Some(ours) = anchors.iter().find(|anchor| anchor.organization == organization.as_str()) else {
            return Ok(None);
        };
        let lost = audit::lost(cx.ledger.pool(), std::slice::from_ref(ours)).await?;
        Ok(lost.first().map(|anchor| {
            format!(
                "the log of organization {organization} does not hold event {} as ConfigMap {name} has it: the database is \
                 older than that, or was changed. `landfall audit verify --anchors-from-cluster` tells more. Restore the \
                 newer database; if the older one is meant, compare the providers with it first, then delete that ConfigMap",
                anchor.seq
            )
        }))
    }
}

/// Keeps the anchors until the leadership ends.
pub async fn run(cx: Context) {
    loop {
        let rest = match keep(&cx).await {
            Ok(true) => INTERVAL,
            Ok(false) => SOON,
            Err(error) => {
                tracing::warn!(%error, "the anchors are written later");
                // What was read before still stands.
                cx.anchors.0.send_if_modified(|known| {
                    let unknown = !matches!(known, Known::Kept(_)) || matches!(error, Error::Integrity(_));
                    if unknown {
                        *known = Known::Unread(error.to_string());
                    }
                    unknown
                });
                SOON
            }
        };
        tokio::time::sleep(rest).await;
    }
}

/// What a ConfigMap holds.
///
/// # Errors
/// It is not what this program wrote.
pub fn read(map: &ConfigMap) -> Result<Vec<Anchor>> {
    let text = map.data.as_ref().and_then(|data| data.get(KEY)).map(String::as_str).unwrap_or_default();
    serde_json::from_str(text).map_err(|e| {
        let name = format!("{}/{}", map.namespace().unwrap_or_default(), map.name_any());
        Error::Integrity(format!("ConfigMap {name}: data[{KEY}]: {e}; restore it, or delete it to begin anew"))
    })
}

/// Anchors move forward only: while the log does not hold an event that was anchored, they stay as the evidence. `false`
/// where it does not.
async fn keep(cx: &Context) -> Result<bool> {
    let api: Api<ConfigMap> = Api::namespaced(cx.client.clone(), &cx.installation.namespace);
    let found = api.get_opt(CONFIG_MAP).await?;
    let kept = found.as_ref().map(read).transpose()?.unwrap_or_default();
    cx.anchors.0.send_replace(Known::Kept(Arc::new(kept.clone())));
    let lost = audit::lost(cx.ledger.pool(), &kept).await?;
    cx.metrics.anchors_lost(lost.len());
    for Anchor { organization, seq, .. } in &lost {
        tracing::error!(
            organization,
            seq,
            "the log does not hold this event as it was anchored: run `landfall audit verify`"
        );
    }
    let heads = audit::anchors(cx.ledger.pool()).await?;
    if !lost.is_empty() || heads == kept {
        return Ok(lost.is_empty());
    }
    let text = serde_json::to_string_pretty(&heads).map_err(|e| Error::Integrity(format!("anchors: {e}")))?;
    let map = json!({
        "metadata": {
            "name": CONFIG_MAP,
            "labels": {"app.kubernetes.io/part-of": "landfall"},
            "resourceVersion": found.as_ref().and_then(ResourceExt::resource_version),
        },
        "data": {KEY: text, "takenAt": format!("{:.0}", cx.clock.now())},
    });
    let map = serde_json::from_value(map).map_err(|e| Error::Integrity(format!("anchors: {e}")))?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match found {
        Some(_) => api.replace(CONFIG_MAP, &params, &map).await?,
        None => api.create(&params, &map).await?,
    };
    cx.anchors.0.send_replace(Known::Kept(Arc::new(heads)));
    Ok(true)
}
