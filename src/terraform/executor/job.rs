//! Runs as Jobs of the cluster, in Landfall's own namespace: one Job a run, under the run's name, so that a second start finds
//! the first. Jobs and pods are watched; what a watch does not know is asked of the API server itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions, PropagationPolicy};
use tokio::sync::watch;
use uuid::Uuid;

use super::pod::{self, Making};
use super::watched::{Tell, Watched};
use super::{EngineSettings, Hitch, Liveness, NOT_STARTED, Start};
use crate::access::{self, Redactor, text};
use crate::api::{FIELD_MANAGER, Reason};
use crate::installation::JobSettings;
use crate::run::protocol::{PodIdentity, RunSpec};
use crate::run::secrets::redactor;
use crate::{Error, Result};

/// How long a Job that ended may take to go before its successor is made.
const GOING: Duration = Duration::from_secs(10);
/// A pod that tells nothing for so long is asked about by its events.
const SILENT: SignedDuration = SignedDuration::from_secs(5);
/// A runner that runs takes its run sooner.
const UNHEARD: SignedDuration = SignedDuration::from_secs(30);

/// What a pod has of its image, and not of the controller's.
const OF_ITS_IMAGE: [&str; 3] = ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The executor of an installation on a cluster.
pub struct Jobs {
    client: kube::Client,
    namespace: String,
    settings: JobSettings,
    engines: EngineSettings,
    grace: u64,
    /// The run API's CAs, PEM.
    authorities: watch::Receiver<String>,
    watched_jobs: Watched<Job>,
    watched_pods: Watched<Pod>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Jobs {
    /// Jobs in `namespace`. Begins to watch them and their pods, so it must be called within a tokio runtime.
    pub fn new(
        client: kube::Client,
        namespace: String,
        settings: JobSettings,
        engines: EngineSettings,
        grace: u64,
        authorities: watch::Receiver<String>,
        tell: Tell,
    ) -> Self {
        let watched_jobs = Watched::new(&client, &namespace, |job: &mut Job| job.spec = None, tell.clone());
        let watched_pods = Watched::new(&client, &namespace, |pod: &mut Pod| pod.spec = None, tell);
        Self { client, namespace, settings, engines, grace, authorities, watched_jobs, watched_pods }
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn events(&self) -> Api<Event> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn api_of_pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn job(&self, start: &Start<'_>) -> Result<Job> {
        let engine = self.engines.binary(start.engine)?;
        let authorities = self.authorities.borrow().clone();
        if authorities.is_empty() {
            let message = "the run API has no certificate yet: /readyz says why";
            return Err(Error::condition(Reason::RunnerNotStarted, message));
        }
        let environment = self.engines.environment();
        pod::job(&Making {
            run: start.run,
            namespace: &self.namespace,
            deployment: start.deployment,
            settings: &self.settings,
            placement: start.placement,
            engine: engine.display().to_string(),
            cli_config: self.engines.cli_config.as_ref().map(|path| path.display().to_string()),
            grace: self.grace,
            authorities,
            environment: environment.filter(|(name, _)| !OF_ITS_IMAGE.contains(&name.as_str())).collect(),
        })
    }

    /// Makes the Job. One that stands already is left to itself, unless it has ended, so that nobody took the run, or has not
    /// begun and would be made otherwise now: another one takes its place.
    pub(super) async fn start(&self, start: &Start<'_>) -> Result<()> {
        let job = self.job(start)?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        match self.jobs().create(&params, &job).await {
            Err(error) if access::already_exists(&error) => {}
            made => return made.map(drop).map_err(|error| self.refused(error)),
        }
        if let Some(there) = self.jobs().get_opt(&pod::job_name(start.run)).await? {
            if !self.is_over(&there) && !self.is_superseded(start.run, &there, &job).await? {
                return Ok(());
            }
            self.remove_at_once(start.run, &there).await?;
        }
        self.jobs().create(&params, &job).await.map(drop).map_err(|error| self.refused(error))
    }

    /// Whether a run's Job has neither begun nor ended, and would be made otherwise now.
    pub(super) async fn is_outdated(&self, start: &Start<'_>) -> Result<bool> {
        match self.going(start.run).await? {
            Some(there) => self.is_superseded(start.run, &there, &self.job(start)?).await,
            None => Ok(false),
        }
    }

    /// A pod that has begun may take its run at any moment, and what its Job was made of is what counts.
    async fn is_superseded(&self, run: Uuid, there: &Job, wanted: &Job) -> Result<bool> {
        Ok(!pod::are_alike(there, wanted)
            && !self.pods_of(run).await?.iter().any(|pod| pod::has_begun(pod) && !pod::is_over(pod)))
    }

    /// What the API server has against a Job is for whoever installed Landfall: a quota, a policy, a right that is missing.
    fn refused(&self, error: kube::Error) -> Error {
        match &error {
            kube::Error::Api(status) if (400..500).contains(&status.code) && !matches!(status.code, 409 | 429) => {
                Error::condition(
                    Reason::RunnerNotStarted,
                    format!(
                        "no Job can be made in namespace {}: {}{NOT_STARTED}",
                        self.namespace,
                        text::line(&status.message, 300)
                    ),
                )
            }
            _ => error.into(),
        }
    }

    /// Removes this very Job, not one that another leader has put in its place.
    async fn remove_at_once(&self, run: Uuid, job: &Job) -> Result<()> {
        self.remove(run, job.metadata.uid.clone()).await?;
        let gone = async {
            while self
                .jobs()
                .get_opt(&pod::job_name(run))
                .await?
                .is_some_and(|there| there.metadata.uid == job.metadata.uid)
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok::<_, Error>(())
        };
        tokio::time::timeout(GOING, gone).await.unwrap_or_else(|_| {
            let (name, namespace) = (pod::job_name(run), &self.namespace);
            let message = format!(
                "Job {name} is to be replaced and does not go; see its finalizers: kubectl get job {name} -n {namespace} -o yaml"
            );
            Err(Error::condition(Reason::RunnerNotStarted, message))
        })
    }

    /// Whether a run's Job has not ended.
    pub(super) async fn is_under_way(&self, run: Uuid) -> Result<bool> {
        Ok(self.going(run).await?.is_some())
    }

    /// A run's Job that has not ended. Where the watch knows of none there may be one all the same, made a moment ago.
    async fn going(&self, run: Uuid) -> Result<Option<Arc<Job>>> {
        if let Some(job) = self.watched_jobs.of(run, |job| !self.is_over(job)) {
            return Ok(Some(job));
        }
        let asked = self.jobs().get_opt(&pod::job_name(run)).await?;
        Ok(asked.filter(|job| !self.is_over(job)).map(Arc::new))
    }

    /// Whether a Job has ended, or its runner has: beside a mesh's proxy the Job goes on.
    fn is_over(&self, job: &Job) -> bool {
        let its = |pod: &Pod| pod::is_of(pod, job) && pod::is_over(pod);
        pod::has_ended(job) || self.watched_pods.find(its).is_some()
    }

    /// What lives of the very pod, or may live: on a node of which nothing is heard nobody can tell, and it counts until the
    /// cluster has given it up.
    pub(super) async fn liveness(&self, holder: &PodIdentity) -> Result<Liveness> {
        let is = |pod: &Pod| pod.metadata.uid.as_deref() == Some(holder.pod_uid.as_str());
        let known = match self.watched_pods.find(is) {
            None => self.api_of_pods().get_opt(&holder.pod).await?.filter(is).map(Arc::new),
            known => known,
        };
        let Some(pod) = known.filter(|pod| !pod::is_empty(pod)) else { return Ok(Liveness::Absent) };
        let goes = pod.metadata.deletion_timestamp.as_ref();
        if !pod::is_over(&pod) {
            return Ok(Liveness::Alive { holds: goes.is_none() });
        }
        Ok(Liveness::Shell { late: goes.map(|by| Timestamp::now().duration_since(by.0)) })
    }

    async fn pods_of(&self, run: Uuid) -> Result<Vec<Pod>> {
        let of = ListParams::default().labels(&pod::selector(run));
        Ok(self.api_of_pods().list(&of).await?.items)
    }

    /// Why a run's pod does not begin, or does not take its run. Where neither pod nor node says why, the newest warning of Job
    /// or pod. `waited` is for how long the run has been waiting.
    pub(super) async fn hitch(&self, run: Uuid, waited: SignedDuration) -> Result<Option<Hitch>> {
        // One whose runner has ended may take long to go, and its successor is what counts.
        let pod = match self.watched_pods.of(run, |pod| !pod::is_over(pod)) {
            None if waited >= SILENT => {
                self.pods_of(run).await?.into_iter().find(|pod| !pod::is_over(pod)).map(Arc::new)
            }
            known => known,
        };
        if let Some(pod) = &pod {
            if let Some(why) = pod::hitch(pod) {
                return Ok(Some(Hitch { why, stuck: true }));
            }
            if let Some(since) = pod::running_since(pod) {
                let unheard = Timestamp::now().duration_since(since) > UNHEARD;
                return Ok(unheard.then(|| {
                    let (name, url) = (pod.metadata.name.as_deref().unwrap_or_default(), &self.settings.url);
                    let why = format!("pod {name} runs and has not taken its run from the run API at {url}: look at its log, at DNS and NetworkPolicies");
                    Hitch { why, stuck: false }
                }));
            }
        }
        if waited < SILENT {
            return Ok(None);
        }
        let stuck = pod.is_none();
        let (uid, made) = match pod {
            Some(pod) => (pod.metadata.uid.clone(), None),
            None => self.going(run).await?.map_or((None, None), |job| {
                (job.metadata.uid.clone(), job.metadata.creation_timestamp.as_ref().map(|time| time.0))
            }),
        };
        let Some(uid) = uid else { return Ok(None) };
        let of = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
        let mut warnings = self.events().list(&of).await?.items;
        // The pod has its node by now.
        warnings.retain(|event| stuck || event.reason.as_deref() != Some("FailedScheduling"));
        let unmade = made.filter(|made| Timestamp::now().duration_since(*made) > UNHEARD).map(|_| {
            let (job, namespace) = (pod::job_name(run), &self.namespace);
            format!("Job {job} has no pod, and nobody says why; see `kubectl describe job {job} -n {namespace}`")
        });
        Ok(pod::warned(&warnings).or(unmade).map(|why| Hitch { why, stuck }))
    }

    /// Ends a run's pod: gracefully, or within so many seconds. Its Job ends with it, and goes where no pod ever came.
    pub(super) async fn end(&self, run: Uuid, within: Option<u32>) -> Result<()> {
        let pods = self.pods_of(run).await?;
        if pods.is_empty() {
            return self.remove(run, None).await;
        }
        for pod in pods {
            let Some(name) = pod.metadata.name.as_deref().filter(|_| !pod::is_empty(&pod)) else { continue };
            let params = DeleteParams { grace_period_seconds: within, ..DeleteParams::default() };
            absent_is_fine(self.api_of_pods().delete(name, &params).await)?;
        }
        Ok(())
    }

    /// How the last pod of a run ended, as far as it is known. Where it was the run's own, its words are redacted.
    pub(super) async fn ending(&self, run: Uuid, spec: Option<&RunSpec>) -> Result<Option<String>> {
        let pods = self.pods_of(run).await?;
        let known: Redactor = spec.map(redactor).unwrap_or_default();
        let words = match pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone()) {
            Some(pod) => pod::ending(pod).or_else(|| pod::hitch(pod)),
            None => {
                let before =
                    self.warned(run).await?.map(|said| format!("; the last warning of it: {said}")).unwrap_or_default();
                Some(format!("its pod is gone{before}"))
            }
        };
        // Redacted as a whole and then cut: a part of a secret would not be known as one.
        Ok(words.map(|words| text::line(&known.clean(&words), 300)))
    }

    /// The newest warning of a run's Job, or of any of its pods: their names begin with the Job's.
    async fn warned(&self, run: Uuid) -> Result<Option<String>> {
        let all = self.events().list(&ListParams::default().fields("type=Warning")).await?.items;
        let name = pod::job_name(run);
        let of = |event: &Event| event.involved_object.name.as_deref().is_some_and(|of| of.starts_with(&name));
        Ok(pod::warned(&all.into_iter().filter(of).collect::<Vec<_>>()))
    }

    /// Removes a run's Job and its pod; with a `uid`, that Job alone.
    pub(super) async fn remove(&self, run: Uuid, uid: Option<String>) -> Result<()> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.jobs().delete(&pod::job_name(run), &params).await {
            Err(error) if access::is_conflict(&error) => Ok(()),
            removed => absent_is_fine(removed),
        }
    }

    /// Runs whose Jobs have not ended.
    pub(super) async fn under_way(&self) -> Result<Vec<Uuid>> {
        let jobs = self.jobs().list(&ListParams::default().labels(pod::RUN)).await?.items;
        let going = jobs.iter().filter(|job| !pod::has_ended(job));
        Ok(going.filter_map(|job| pod::run(job.metadata.labels.as_ref())).collect())
    }
}

fn absent_is_fine<T>(answer: kube::Result<T>) -> Result<()> {
    match answer {
        Err(error) if !access::is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
