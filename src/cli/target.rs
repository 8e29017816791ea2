//! What a command is about: `tfd/NAME` in a namespace.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::config::{InferConfigError, KubeconfigError};
use kube::{Api, Client};
use uuid::Uuid;

use super::near;
use crate::access::is_not_found;
use crate::api::{Certificate, LastHandled, OrganizationDomain, Reason, TerraformDeployment};
use crate::controller::{CLUSTER_CONFIG, cluster_of};
use crate::reconcile::Object;
use crate::{Error, Result, access};

/// A deployment, as people name it.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// The deployment: `tfd/NAME`.
    #[arg(value_name = "tfd/NAME")]
    pub(super) object: DeploymentName,
    /// Its namespace; the kubeconfig's where it is left out.
    #[arg(short, long, value_parser = object_name)]
    pub(super) namespace: Option<String>,
    /// JSON for scripts.
    #[arg(long)]
    pub(super) json: bool,
}

/// A certificate, as people name it.
#[derive(Clone, Debug, Args)]
pub(super) struct CertificateTarget {
    /// The certificate: `lcert/NAME`.
    #[arg(value_name = "lcert/NAME")]
    pub(super) object: CertificateName,
    /// Its namespace; the kubeconfig's where it is left out.
    #[arg(short, long, value_parser = object_name)]
    pub(super) namespace: Option<String>,
    /// JSON for scripts.
    #[arg(long)]
    pub(super) json: bool,
}

/// A kind that people command.
pub(super) trait Commanded: Object {
    /// Its short name.
    const WORD: &'static str;

    /// What status tells of the commands that were taken.
    fn handled(&self) -> Option<&LastHandled>;
}

impl Commanded for TerraformDeployment {
    const WORD: &'static str = "tfd";

    fn handled(&self) -> Option<&LastHandled> {
        self.status.as_ref().map(|status| &status.last_handled)
    }
}

impl Commanded for OrganizationDomain {
    const WORD: &'static str = "orgdomain";

    fn handled(&self) -> Option<&LastHandled> {
        self.status.as_ref().map(|status| &status.last_handled)
    }
}

impl Commanded for Certificate {
    const WORD: &'static str = "lcert";

    fn handled(&self) -> Option<&LastHandled> {
        self.status.as_ref().map(|status| &status.last_handled)
    }
}

/// Whose objects are meant: clusters may share a ledger, and each may have a deployment of the name.
#[derive(Clone, Debug, Args)]
pub(super) struct WhichCluster {
    /// The cluster's id, where several share the ledger; else that of the cluster to which the kubeconfig leads.
    #[arg(long, value_name = "ID", value_parser = cluster_id)]
    cluster: Option<Uuid>,
    #[command(flatten)]
    own: OwnNamespace,
}

/// Where Landfall itself is installed.
#[derive(Clone, Debug, Args)]
pub(super) struct OwnNamespace {
    /// Landfall's own namespace, `namespace` in landfall.yaml: the cluster's id is there.
    #[arg(long, env = "LANDFALL_NAMESPACE", value_name = "NAMESPACE", default_value = "landfall-system", value_parser = object_name)]
    landfall_namespace: String,
}

impl WhichCluster {
    /// The one that was named, or the kubeconfig's, as far as that can be asked.
    pub(super) async fn id(&self) -> Option<Uuid> {
        match self.cluster {
            Some(id) => Some(id),
            None => tokio::time::timeout(PATIENCE, self.of_kubeconfig()).await.ok().flatten(),
        }
    }

    /// Where the id was looked for, for whom it was not there.
    pub(super) fn looked(&self) -> String {
        format!("ConfigMap {}/{CLUSTER_CONFIG} of the kubeconfig's cluster", self.own.landfall_namespace)
    }

    async fn of_kubeconfig(&self) -> Option<Uuid> {
        let client = access::client(access::config_of_person().await.ok()?).ok()?;
        let maps: Api<ConfigMap> = Api::namespaced(client, &self.own.landfall_namespace);
        cluster_of(&maps.get_opt(CLUSTER_CONFIG).await.ok()??)
    }
}

/// How long the API server may take to tell its cluster's id: reading needs no cluster.
const PATIENCE: Duration = Duration::from_secs(5);

/// A name as the API server takes it, of an object or a namespace.
pub(super) fn object_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    match !text.is_empty() && text.len() <= 253 && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no name: names are lower-case letters, digits, '-' and '.'")),
    }
}

fn cluster_id(text: &str) -> Result<Uuid, String> {
    Uuid::parse_str(text).map_err(|_| format!("{text:?} is no UUID; the table clusters has the ids"))
}

/// The id of a run, as it is written.
pub(super) fn run_id(text: &str) -> Result<String, String> {
    let id = Uuid::parse_str(text).map(|id| id.to_string());
    id.map_err(|_| format!("{text:?} is no run id; `landfall runs` lists them"))
}

/// `tfd/NAME`, or the kind's longer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeploymentName(pub(super) String);

impl FromStr for DeploymentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(text, &["tfd", "terraformdeployment", "terraformdeployments"]).map(Self)
    }
}

/// `lcert/NAME`, or the kind's longer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateName(pub(super) String);

impl FromStr for CertificateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(text, &["lcert", "certificate", "certificates"]).map(Self)
    }
}

/// What an approval can be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Approvable {
    /// The plan of a deployment: `tfd/NAME`, or the name alone.
    Plan(String),
    /// What is held of a domain's records: `orgdomain/NAME`.
    Held(String),
}

impl FromStr for Approvable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const DOMAIN: [&str; 3] = ["orgdomain", "organizationdomain", "organizationdomains"];
        match text.split_once('/') {
            Some((kind, _)) if DOMAIN.contains(&kind) => named(text, &DOMAIN).map(Self::Held),
            _ => text.parse().map(|DeploymentName(name)| Self::Plan(name)),
        }
    }
}

/// The name behind one of these kinds' names, or alone.
fn named(text: &str, kinds: &[&str]) -> Result<String, String> {
    let form = kinds.first().map(|kind| format!("write {kind}/NAME")).unwrap_or_default();
    let name = match text.split_once('/') {
        Some((kind, name)) if kinds.contains(&kind) => name,
        Some((kind, _)) => return Err(format!("{kind:?} is no kind that this command knows; {form}")),
        None => text,
    };
    if name.is_empty() || name.contains('/') { Err(form) } else { object_name(name) }
}

/// What of kubeconfig or environment names no proxy.
pub(super) fn proxy_trouble(error: &InferConfigError) -> Option<&KubeconfigError> {
    let cause = std::error::Error::source(error)?.downcast_ref::<KubeconfigError>()?;
    matches!(cause, KubeconfigError::ParseNoProxy(_) | KubeconfigError::ParseProxyUrl(_)).then_some(cause)
}

/// The kubeconfig could not be used.
pub(super) fn unusable(error: &InferConfigError) -> Error {
    if let Some(cause) = proxy_trouble(error) {
        let message = format!(
            "the kubeconfig's proxy-url, or HTTPS_PROXY or NO_PROXY of the environment: {cause}; NO_PROXY takes hosts and \
             networks, none of them empty, as a.example,10.0.0.0/8"
        );
        return Error::condition(Reason::ApiServerUnavailable, message);
    }
    // Others would show the file's text, and tokens with it.
    let file = std::env::var("KUBECONFIG").map(|path| format!(" (KUBECONFIG is {path:?})")).unwrap_or_default();
    let message = format!("no usable kubeconfig{file}: set KUBECONFIG to a file with which `kubectl get tfd` works");
    Error::condition(Reason::ApiServerUnavailable, message)
}

/// The API server to which the kubeconfig leads.
pub(super) struct Cluster {
    pub(super) client: Client,
    /// `--namespace`, else the kubeconfig's.
    pub(super) namespace: String,
    address: String,
}

impl Cluster {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// No kubeconfig that can be used.
    pub(super) async fn of(namespace: Option<&String>) -> Result<Self> {
        let config = access::config_of_person().await.map_err(|error| unusable(&error))?;
        // Without what else a URL may hold, a password among it.
        let host = config.cluster_url.authority().map_or("", |a| a.as_str());
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let address = format!("{}://{host}", config.cluster_url.scheme_str().unwrap_or("https"));
        let namespace = namespace.cloned().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: access::client(config)?, namespace, address })
    }

    /// An error of the API server, with where it is and what to do.
    pub(super) fn said(&self, error: kube::Error) -> Error {
        let address = &self.address;
        let (error, refused) = match error {
            kube::Error::Api(status) if status.code == 403 && status.message.contains(" cannot ") => {
                let next = "a RoleBinding to the ClusterRole landfall-approver (approve, cancel, retry) or landfall-operator (all but \
                            approve) gives that right";
                return Error::condition(Reason::Forbidden, format!("API server: {}; {next}", status.message));
            }
            kube::Error::Api(status) if status.code == 401 => (Error::from(kube::Error::Api(status)), true),
            kube::Error::Api(status) => return kube::Error::Api(status).into(),
            other => (other.into(), false),
        };
        let next = match refused {
            true => "it does not know the kubeconfig's user; log in again",
            false => "see whether it is up, and whether KUBECONFIG leads to the right one",
        };
        let cause = error.to_string();
        let cause = cause.strip_prefix("API server: ").unwrap_or(&cause);
        Error::condition(Reason::ApiServerUnavailable, format!("API server at {address}: {cause}; {next}"))
    }

    /// Why there is no object of that name: it is elsewhere, it is spelt otherwise, or the kind is not installed.
    pub(super) async fn missing<K: Commanded>(&self, name: &str) -> Error {
        let (here, kind) = (&self.namespace, K::WORD);
        let everywhere: Api<K> = Api::all(self.client.clone());
        let list = ListParams::default().limit(CANDIDATES);
        let (found, list) = match everywhere.list_metadata(&list).await {
            Ok(list) => (list.items, format!("`kubectl get {kind} -A`")),
            Err(error) if is_not_found(&error) => return self.unknown_kind::<K>(),
            Err(_) => {
                let own: Api<K> = Api::namespaced(self.client.clone(), here);
                let found = own.list_metadata(&list).await.map(|list| list.items).unwrap_or_default();
                (found, format!("`kubectl get {kind} -n {here}`"))
            }
        };
        let found =
            found.into_iter().map(|o| (o.metadata.namespace.unwrap_or_default(), o.metadata.name.unwrap_or_default()));
        let hint = near::hint(kind, (here, name), found, &list);
        Error::condition(Reason::ApiServerRefused, format!("there is no {kind}/{name} in namespace {here}; {hint}"))
    }

    fn unknown_kind<K: Commanded>(&self) -> Error {
        let message = format!(
            "the API server at {} does not know the kind {}; install it with \
             `kubectl apply --server-side -k manifests/install`, or set KUBECONFIG to the right cluster",
            self.address,
            K::kind(&())
        );
        Error::condition(Reason::ApiServerRefused, message)
    }
}

/// Among so many names one is looked for that was meant.
const CANDIDATES: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_named_with_or_without_its_kind() {
        let name = |text: &str| DeploymentName::from_str(text).map(|n| n.0);
        assert_eq!(name("tfd/web"), Ok("web".to_owned()));
        assert_eq!(name("terraformdeployment/web"), Ok("web".to_owned()));
        assert_eq!(name("web"), Ok("web".to_owned()));
        for bad in ["cred/x", "tfd/", "tfd/a/b", "", "tfd/a b", "tfd/X_Y", "tfd/ö"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
