//! What a process waits for before it can take its turn: Postgres, then the API server, for as long as it takes.

use std::future::Future;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::client::AuthError;
use serde_json::json;
use uuid::Uuid;

use crate::api::{FIELD_MANAGER, Reason};
use crate::health::{Part, Saying};
use crate::ledger::Ledger;
use crate::reconcile::patch;
use crate::{Class, Error, Result, access};

/// In Landfall's own namespace; holds the cluster's id.
pub const CLUSTER_CONFIG: &str = "landfall-cluster";
/// Between two tries.
const REST: Duration = Duration::from_secs(1);
/// A try that has no answer for so long has none.
const PATIENCE: Duration = Duration::from_secs(15);

/// A client of the API server, which need not be there yet.
///
/// # Errors
/// What waiting does not mend.
pub(super) async fn reach(cluster: &kube::Config, health: &Part) -> Result<kube::Client> {
    waiting("the kubeconfig's credentials", health, || client(cluster)).await
}

/// Waits for Postgres and the API server. The cluster's id.
///
/// # Errors
/// What waiting does not mend.
pub(super) async fn start(
    ledger: &Ledger,
    ledger_health: &Part,
    client: &kube::Client,
    cluster_health: &Part,
    namespace: &str,
) -> Result<Uuid> {
    waiting("Postgres", ledger_health, || ledger.check()).await?;
    ledger_health.good();
    let id = waiting("the API server", cluster_health, || cluster_id(client, namespace)).await?;
    cluster_health.good();
    // Not first when it leads: a replica that could not would be taken for one that stands by.
    waiting("Postgres", ledger_health, || ledger.opens(id)).await?;
    Ok(id)
}

/// Tries until it is done. What it waits for stands in `/readyz`, and in the log ever more rarely.
///
/// # Errors
/// What is not transient.
pub(super) async fn waiting<T, F: Future<Output = Result<T>>>(
    what: &str,
    part: &Part,
    attempt: impl Fn() -> F,
) -> Result<T> {
    let mut saying = Saying::default();
    loop {
        let answer = tokio::time::timeout(PATIENCE, attempt()).await.unwrap_or_else(|_| {
            Err(Error::condition(Reason::Timeout, format!("no answer within {} s", PATIENCE.as_secs())))
        });
        let error = match answer {
            Err(error) if error.class() == Class::Transient => error,
            settled => return settled,
        };
        let why = format!("{error}{}", patch::next_step(&error));
        part.bad(format!("waits for {what}: {why}"));
        if saying.is_due(&why, Instant::now()) {
            tracing::warn!(error = why, "waits for {what}");
        }
        tokio::time::sleep(REST).await;
    }
}

/// A client as the kubeconfig says. A program that gives credentials may be one that has to ask elsewhere, so its failure
/// is waited for.
async fn client(config: &kube::Config) -> Result<kube::Client> {
    let config = config.clone();
    let made = tokio::task::spawn_blocking(move || access::client(config)).await;
    let made = made.map_err(|e| Error::Integrity(format!("the client of the API server: {e}")))?;
    made.map_err(|error| match error {
        // Its output may hold a credential.
        kube::Error::Auth(AuthError::AuthExecRun { cmd, out }) => {
            Error::condition(Reason::ApiServerUnavailable, format!("{cmd}: {}", out.status))
        }
        kube::Error::Auth(AuthError::AuthExec(_) | AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed) => {
            Error::condition(Reason::ApiServerUnavailable, "the kubeconfig's exec plug-in gave no credentials")
        }
        other => Error::Usage(format!("no way to the API server: {other}; set KUBECONFIG")),
    })
}

/// The cluster's id: made once, by whoever comes first.
async fn cluster_id(client: &kube::Client, namespace: &str) -> Result<Uuid> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let read = |map: &ConfigMap| {
        cluster_of(map).ok_or_else(|| {
            Error::Integrity(format!(
                "ConfigMap {namespace}/{CLUSTER_CONFIG}: data.id is not a UUID; put the cluster's id of the table clusters \
                 back, or every object will count as new"
            ))
        })
    };
    if let Some(map) = api.get_opt(CLUSTER_CONFIG).await? {
        return read(&map);
    }
    let fresh = json!({"metadata": {"name": CLUSTER_CONFIG}, "data": {"id": Uuid::new_v4().to_string()}});
    let fresh = serde_json::from_value(fresh).map_err(|e| Error::Integrity(e.to_string()))?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.create(&params, &fresh).await {
        Ok(map) => read(&map),
        Err(error) if access::is_conflict(&error) => read(&api.get(CLUSTER_CONFIG).await?),
        Err(error) => Err(error.into()),
    }
}

/// The id that the ConfigMap holds.
pub fn cluster_of(map: &ConfigMap) -> Option<Uuid> {
    Uuid::parse_str(map.data.as_ref()?.get("id")?).ok()
}
