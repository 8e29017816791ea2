//! `landfall.yaml`: what the platform team decides once for an installation.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use hyper_util::client::proxy::matcher::Matcher;
use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::api::EngineKind;
use crate::dns::Name;
use crate::{Error, Result};

mod check;

/// The whole file. Unknown fields are refused.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Installation {
    /// Landfall's own namespace: Lease and cluster id.
    #[serde(default = "landfall_system")]
    pub namespace: String,
    /// What people call this cluster, in the view `mirror_freshness`. Its id where nothing is given.
    #[serde(default)]
    pub cluster_name: Option<String>,
    /// Namespaces that are watched. Where it is empty all are, and the controller must be able to read every Secret.
    #[serde(default)]
    pub watch_namespaces: Vec<String>,
    /// Endpoints outside the public ranges that a spec may name: scheme, host and port, e.g. `http://127.0.0.1:8081`, or `dns://127.0.0.1:53` for a DNS server.
    #[serde(default)]
    pub allowed_endpoints: Vec<String>,
    /// The proxy by which engines and the controller's own calls leave the network.
    #[serde(default)]
    pub proxy: ProxySettings,
    /// How authoritative DNS servers are found.
    #[serde(default)]
    pub dns: DnsSettings,
    /// Key-encryption keys; the current one seals, all open.
    pub encryption: Encryption,
    /// Paths of the engines' binaries, by `OpenTofu` and `Terraform`.
    #[serde(default)]
    pub engines: BTreeMap<EngineKind, PathBuf>,
    /// Engine for specs that name none.
    #[serde(default = "opentofu")]
    pub default_engine: EngineKind,
    /// CLI configuration file for the engines (a provider mirror, for instance).
    #[serde(default)]
    pub engine_cli_config: Option<PathBuf>,
    /// How runs are executed.
    #[serde(default)]
    pub executor: ExecutorSettings,
    /// What no object may loosen.
    #[serde(default)]
    pub ceilings: Ceilings,
    /// Concurrency and timeouts.
    #[serde(default)]
    pub limits: Limits,
    /// Address of health and metrics, and under `local` of the run API. Fixed, because runners come back to it.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
}

/// The proxy by which engines, what a module calls, and the controller's own calls over HTTPS leave the network. The controller
/// calls without it the hosts that `allowedEndpoints` lists, DNS servers, Kubernetes and Postgres.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxySettings {
    /// Of HTTPS, as `http://proxy.example:3128`; it is itself spoken to by HTTP. No password belongs here: every module sees it.
    #[serde(default)]
    pub https: Option<String>,
    /// Of plain HTTP, for engines and modules alone.
    #[serde(default)]
    pub http: Option<String>,
    /// Domains with all below them, addresses, and networks that are reached without it, as `corp.example` and `10.0.0.0/8`.
    #[serde(default)]
    pub none: Vec<String>,
    /// Whether a host of a spec that does not resolve here is left to the proxy. Its own rules must then keep private addresses closed.
    #[serde(default)]
    pub resolves: bool,
}

impl ProxySettings {
    /// `none`, as programs read it alike: no dot before or after a domain, which is in ASCII.
    pub fn exempt(&self) -> impl Iterator<Item = String> {
        self.none.iter().map(|entry| {
            let domain = Name::parse(entry.strip_prefix('.').unwrap_or(entry));
            let is_domain = entry.parse::<IpAddr>().is_err() && !entry.contains('/');
            domain.ok().filter(|_| is_domain).map_or_else(|| entry.clone(), |name| name.as_str().to_owned())
        })
    }
}

/// How authoritative DNS servers are found. Those of `authorities` may have any address; others only a public one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsSettings {
    /// Recursive resolvers, as `192.0.2.53:53`: they say which servers a top-level domain has, and the addresses of servers. The
    /// system's where none is named.
    #[serde(default)]
    pub resolvers: Vec<SocketAddr>,
    /// Servers of zones that the public DNS does not tell of. Of several that fit, the longest zone counts.
    #[serde(default)]
    pub authorities: Vec<Authority>,
}

/// The servers of a zone and of all below it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authority {
    /// Its name, as `corp.example`.
    pub zone: String,
    /// Address and port of each, as `10.0.0.53:53`; at least one.
    pub servers: Vec<SocketAddr>,
}

/// Key-encryption keys: files of 32 bytes, base64.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Encryption {
    /// Id of the key that seals new data.
    pub current: String,
    /// Files of all keys, by id.
    pub keys: BTreeMap<String, PathBuf>,
}

/// How runs are executed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecutorSettings {
    /// `local`: a child process of the controller, for development. `job`: a Job in Landfall's own namespace, for production.
    #[serde(rename = "type", default)]
    pub kind: ExecutorKind,
    /// How Jobs are made; with `type: job`, and only with it.
    #[serde(default)]
    pub job: Option<JobSettings>,
    /// Working directories of runs under `local`.
    #[serde(default = "work_dir")]
    pub work_dir: PathBuf,
    /// Runs at once, 1 to 256; the others wait for a place. Places go round over the organizations.
    #[serde(default = "four")]
    pub max_runs: usize,
    /// Runs of one organization at once, 1 to 256. Where it is not set, it may have every place that no other organization wants.
    #[serde(default)]
    pub max_runs_per_organization: Option<usize>,
    /// Runs with one `CloudCredential` at once, 1 to 256. Where it is not set, as many as there are places.
    #[serde(default)]
    pub max_runs_per_credential: Option<usize>,
    /// How long an engine that is asked to stop in mid-apply may take before it is killed, seconds. Its providers finish
    /// what they began; an apply that is killed is `Interrupted`.
    #[serde(default = "three_hundred")]
    pub stop_grace_seconds: u64,
}

impl Default for ExecutorSettings {
    fn default() -> Self {
        Self {
            kind: ExecutorKind::Local,
            job: None,
            work_dir: work_dir(),
            max_runs: four(),
            max_runs_per_organization: None,
            max_runs_per_credential: None,
            stop_grace_seconds: three_hundred(),
        }
    }
}

/// How the Jobs of runs are made, and how their pods reach the run API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSettings {
    /// Address of the run API: https, with a certificate that Landfall makes, renews and keeps in the Secret `landfall-run-api`.
    #[serde(default = "listen_to_pods")]
    pub listen: SocketAddr,
    /// By which pods reach the run API of any replica, as `https://landfall-runs.landfall-system.svc:8443`.
    #[schemars(with = "String")]
    pub url: Url,
    /// Image of the runners: this program, and the engines at the paths of `engines`.
    pub image: String,
    /// When the image is pulled: `Always`, `IfNotPresent` or `Never`.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,
    /// Secrets of Landfall's own namespace with which the image is pulled.
    #[serde(default)]
    pub image_pull_secrets: Vec<String>,
    /// Service account of the pods. It needs no right at all.
    #[serde(default = "landfall_runner")]
    pub service_account_name: String,
    /// Service accounts of Landfall's own namespace that a spec may name in `spec.runner.serviceAccountName`, for a cloud's workload
    /// identity. Whoever uses one can do in the cloud what it can.
    #[serde(default)]
    pub service_accounts: Vec<PermittedAccount>,
    /// Labels of every run's pod beside Landfall's own: what keeps a mesh's sidecar out, or a policy's exception.
    #[serde(default)]
    pub pod_labels: BTreeMap<String, String>,
    /// The same of annotations.
    #[serde(default)]
    pub pod_annotations: BTreeMap<String, String>,
    /// What a pod asks for and may have, as in a container's `resources`, for all that a spec does not name.
    #[serde(default)]
    pub resources: Option<ResourceRequirements>,
    /// Labels of the nodes that pods may stand on. No spec leaves them.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that every pod tolerates, as in a pod's `tolerations`.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
    /// Keys of the taints that a spec may tolerate in `spec.runner.tolerations` besides; `"*"` is every taint. Where it is empty
    /// none may: taints keep nodes for others.
    #[serde(default)]
    pub permitted_tolerations: Vec<String>,
    /// What every run's pod has besides, read-only: an engine that its image lacks, a mirror of providers.
    #[serde(default)]
    pub volumes: Vec<RunVolume>,
    /// CAs that engines and providers trust beside those of the image in `/etc/ssl/certs`: its `SSL_CERT_DIR` is then that folder and theirs.
    #[serde(default)]
    pub ca_bundle: Option<CaBundle>,
    /// The most that a run's working directory may hold; the pod is evicted beyond it.
    #[serde(default = "two_gi")]
    pub scratch: Quantity,
    /// How long a Job stays when it has ended, for people to look at, 0 to 86400 seconds.
    #[serde(default = "three_hundred_i32")]
    pub ttl_seconds_after_finished: i32,
}

/// Where a run's pod has its working directory.
pub(crate) const WORK: &str = "/work";
/// Where it shows who it is.
pub(crate) const IDENTITY: &str = "/var/run/landfall";
/// Where it has the CAs of the installation.
pub(crate) const CA: &str = "/etc/landfall/ca";

/// A read-only volume of every run's pod: either a ConfigMap or a PersistentVolumeClaim of Landfall's own namespace.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunVolume {
    /// Where it is mounted, as `/opt/terraform`.
    pub mount_path: String,
    /// Name of the ConfigMap; its keys are files.
    #[serde(default)]
    pub config_map: Option<String>,
    /// Name of the claim, which every node of runs must be able to mount.
    #[serde(default)]
    pub persistent_volume_claim: Option<String>,
}

/// CAs in PEM.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaBundle {
    /// Name of a ConfigMap of Landfall's own namespace.
    pub config_map: String,
    /// Its key.
    #[serde(default = "ca_crt")]
    pub key: String,
}

/// A service account that some specs may name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PermittedAccount {
    /// Its name.
    pub name: String,
    /// Organizations whose deployments may name it, as `landfall.dev/organization` has them; `"*"` is everyone. At least one.
    pub organizations: Vec<String>,
    /// Labels of the pods that have it, which a cloud's webhook may ask for, as `azure.workload.identity/use: "true"`.
    #[serde(default)]
    pub pod_labels: BTreeMap<String, String>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// Before each pod.
    Always,
    /// Where the node does not have it.
    #[default]
    IfNotPresent,
    /// By nobody; it must be there.
    Never,
}

/// Executors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecutorKind {
    /// A child process of the controller, for development.
    #[default]
    Local,
    /// A Job of Kubernetes.
    Job,
}

/// What no object may loosen.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ceilings {
    /// The most that any plan may destroy or replace: count or percentage.
    #[serde(default)]
    pub max_destroy: Option<k8s_openapi::apimachinery::pkg::util::intstr::IntOrString>,
}

/// Concurrency and timeouts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Reconciles at once for each kind, 1 to 256; of certificates eight times and of records sixteen times as many, for most
    /// of theirs is waiting.
    #[serde(default = "eight")]
    pub concurrency: u16,
    /// The longest one reconcile may take, 5 to 3600 seconds.
    #[serde(default = "sixty")]
    pub reconcile_timeout_seconds: u64,
    /// A leader that is silent for so long, 3 to 3600 seconds, has lost the Lease. One that stands by leads within a fifth of it more.
    #[serde(default = "ten")]
    pub lease_seconds: u64,
    /// Connections to Postgres that one process holds at most, 4 to 1000. Where it is not set: twice `limits.concurrency`,
    /// `executor.maxRuns`, and 8 more. One more asks whether Postgres answers. Each replica has its own; Postgres' `max_connections`
    /// must be enough for all.
    #[serde(default)]
    pub database_connections: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        let (concurrency, reconcile_timeout_seconds, lease_seconds) = (eight(), sixty(), ten());
        Self { concurrency, reconcile_timeout_seconds, lease_seconds, database_connections: None }
    }
}

fn landfall_system() -> String {
    "landfall-system".into()
}
fn opentofu() -> EngineKind {
    EngineKind::OpenTofu
}
fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}
fn work_dir() -> PathBuf {
    "/var/lib/landfall".into()
}
fn four() -> usize {
    4
}
fn eight() -> u16 {
    8
}
fn ten() -> u64 {
    10
}
fn sixty() -> u64 {
    60
}
fn three_hundred() -> u64 {
    300
}
fn three_hundred_i32() -> i32 {
    300
}
fn listen_to_pods() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8443))
}
fn landfall_runner() -> String {
    "landfall-runner".into()
}
fn ca_crt() -> String {
    "ca.crt".into()
}
fn two_gi() -> Quantity {
    Quantity("2Gi".into())
}

impl Installation {
    /// What the controller calls without the proxy: the domains, with all below them, addresses and networks of `proxy.none`, and the
    /// hosts of `allowedEndpoints`.
    pub fn called_straight(&self) -> Vec<String> {
        let listed = self.allowed_endpoints.iter().filter_map(|text| Url::parse(text).ok());
        let hosts = listed.filter_map(|url| Some(url.host_str()?.trim_matches(['[', ']']).to_owned()));
        self.proxy.exempt().chain(hosts).collect()
    }

    /// Whether the controller's call of this URL goes by the proxy.
    pub fn goes_by_proxy(&self, url: &Url) -> bool {
        let (Some(proxy), Ok(uri)) = (&self.proxy.https, url.as_str().parse::<http::Uri>()) else { return false };
        let matcher = Matcher::builder().https(proxy.as_str()).no(self.called_straight().join(",")).build();
        matcher.intercept(&uri).is_some()
    }

    /// How many connections to Postgres a process may hold: each reconcile and each run may want one, and so do mirror,
    /// activity log and health.
    pub fn database_connections(&self) -> u32 {
        self.limits.database_connections.unwrap_or_else(|| {
            let runs = u32::try_from(self.executor.max_runs).unwrap_or(u32::MAX);
            u32::from(self.limits.concurrency).saturating_mul(2).saturating_add(runs).saturating_add(8)
        })
    }

    /// Reads and checks the file.
    ///
    /// # Errors
    /// Names the file, the field and what it permits.
    pub fn load(path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::Usage(format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => wrong(format!("{error}: name it with --config or LANDFALL_CONFIG")),
            _ => Error::io(format!("{}: name it with --config or LANDFALL_CONFIG", path.display()))(error),
        })?;
        // Another file, a key perhaps, must not be shown: an error of the typed reading would quote it.
        let value: serde_yaml::Value = serde_yaml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if !value.is_mapping() {
            return Err(wrong("is no mapping of the fields of landfall.yaml; see docs/landfall-yaml.md".into()));
        }
        let installation: Self = serde_yaml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        check::check(&installation).map_err(wrong)?;
        Ok(installation)
    }
}
