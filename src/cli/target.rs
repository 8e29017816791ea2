//! What a command is about: `tfd/NAME` in a namespace.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Config};
use uuid::Uuid;

use crate::api::Reason;
use crate::controller::{CLUSTER_CONFIG, cluster_of};
use crate::{Error, Result};

/// A deployment, as people name it.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// The deployment: `tfd/NAME`.
    #[arg(value_name = "tfd/NAME")]
    pub(super) object: DeploymentName,
    /// Its namespace; the kubeconfig's where it is left out.
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
    /// JSON for scripts.
    #[arg(long)]
    pub(super) json: bool,
}

/// Whose objects are meant: clusters may share a ledger, and each may have a deployment of the name.
#[derive(Clone, Debug, Args)]
pub(super) struct WhichCluster {
    /// The cluster's id, where several share the ledger; else that of the cluster to which the kubeconfig leads.
    #[arg(long, value_name = "ID")]
    pub(super) cluster: Option<Uuid>,
}

impl WhichCluster {
    /// The one that was named, or the kubeconfig's, as far as that can be asked.
    pub(super) async fn id(&self) -> Option<Uuid> {
        match self.cluster {
            Some(id) => Some(id),
            None => tokio::time::timeout(PATIENCE, of_kubeconfig()).await.ok().flatten(),
        }
    }
}

/// How long the API server may take to tell its cluster's id: reading needs no cluster.
const PATIENCE: Duration = Duration::from_secs(5);

async fn of_kubeconfig() -> Option<Uuid> {
    let client = Client::try_from(Config::infer().await.ok()?).ok()?;
    let maps: Api<ConfigMap> = Api::namespaced(client, "landfall-system");
    cluster_of(&maps.get_opt(CLUSTER_CONFIG).await.ok()??)
}

/// `tfd/NAME`, or the kind's longer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeploymentName(pub(super) String);

impl FromStr for DeploymentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = match text.split_once('/') {
            Some(("tfd" | "terraformdeployment" | "terraformdeployments", name)) => name,
            Some((kind, _)) => return Err(format!("{kind:?} is no kind that this command knows; write tfd/NAME")),
            None => text,
        };
        if name.is_empty() || name.contains('/') { Err("write tfd/NAME".to_owned()) } else { Ok(Self(name.to_owned())) }
    }
}

/// The kubeconfig's settings, as kubectl finds them.
///
/// # Errors
/// No kubeconfig that can be used.
pub(super) async fn kubeconfig() -> Result<Config> {
    // The cause would show the file's text, and tokens with it.
    Config::infer().await.map_err(|_| {
        let message = "no usable kubeconfig: set KUBECONFIG to a file with which `kubectl get tfd` works";
        Error::condition(Reason::ApiServerUnavailable, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_named_with_or_without_its_kind() {
        let name = |text: &str| DeploymentName::from_str(text).map(|n| n.0);
        assert_eq!(name("tfd/web"), Ok("web".to_owned()));
        assert_eq!(name("terraformdeployment/web"), Ok("web".to_owned()));
        assert_eq!(name("web"), Ok("web".to_owned()));
        for bad in ["cred/x", "tfd/", "tfd/a/b", ""] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
