//! The heads of the chains, kept in a ConfigMap: whoever rewrites the log as a whole must change the cluster too.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::Context;
use crate::api::FIELD_MANAGER;
use crate::ledger::audit::{self, Anchor};
use crate::{Error, Result};

/// In Landfall's own namespace.
pub const CONFIG_MAP: &str = "landfall-anchors";
/// Its key.
const KEY: &str = "anchors.json";
/// How often the heads are looked at; they are written where one has moved.
const INTERVAL: Duration = Duration::from_secs(300);

/// Keeps the anchors until the leadership ends.
pub async fn run(cx: Context) {
    loop {
        if let Err(error) = keep(&cx).await {
            tracing::warn!(%error, "the anchors are written later");
        }
        tokio::time::sleep(INTERVAL).await;
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

/// Anchors move forward only: while the log does not hold an event that was anchored, they stay as the evidence.
async fn keep(cx: &Context) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(cx.client.clone(), &cx.installation.namespace);
    let found = api.get_opt(CONFIG_MAP).await?;
    let kept = found.as_ref().map(read).transpose()?.unwrap_or_default();
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
        return Ok(());
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
    Ok(())
}
