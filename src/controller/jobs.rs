//! What a replica does where runs are Jobs: it serves the run API to pods, and makes and watches the Jobs.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::served::Served;
use super::serving;
use crate::access;
use crate::health::Health;
use crate::installation::Installation;
use crate::ledger::ObjectKind;
use crate::reconcile::{Clock, wake};
use crate::run::protocol::{AUDIENCE, PodIdentity};
use crate::terraform::executor::{EngineSettings, Jobs, job_name};
use crate::web::runs::{Pods, RunApi};
use crate::web::{runs, tls};
use crate::{Error, Result};

/// Serves the run API over TLS, and makes the executor.
///
/// # Errors
/// An address that cannot be served, a CLI configuration that is no file.
pub(super) async fn begin(
    of: &Installation,
    client: &kube::Client,
    api: RunApi,
    waker: &wake::Waker,
    (clock, health): (Clock, &Health),
    served: &mut Served,
) -> Result<Jobs> {
    let settings = of.executor.job.clone().ok_or_else(|| Error::Usage("executor.job: is missing".into()))?;
    let (serving, keeping) = serving::keep(client.clone(), &of.namespace, &settings.url, (clock, health));
    served.spawn("the certificate of the run API", keeping);
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.map_err(Error::io(format!("executor.job.listen: {}", settings.listen)))?;
    let pods = OwnPods { client: client.clone(), namespace: of.namespace.clone() };
    let routes = runs::router(api.for_pods(Arc::new(pods)));
    served
        .spawn("the run API", tls::serve(listener, serving.certificate, routes, tls::Limits::of(of.executor.max_runs)));

    let engines = EngineSettings::of(of)?;
    let waker = waker.clone();
    Ok(Jobs::new(
        client.clone(),
        of.namespace.clone(),
        settings,
        engines,
        of.executor.stop_grace_seconds,
        serving.authorities,
        Arc::new(move |namespace, name| waker.wake(ObjectKind::TerraformDeployment, namespace, name)),
    ))
}

/// Pods of runs, in Landfall's own namespace.
struct OwnPods {
    client: kube::Client,
    namespace: String,
}

impl Pods for OwnPods {
    fn of_run<'a>(&'a self, run: Uuid, token: &'a str) -> BoxFuture<'a, Result<Option<PodIdentity>>> {
        async move {
            let found = access::workload(&self.client, &self.namespace, AUDIENCE, token).await?;
            let ours = found.filter(|pod| pod.job.as_deref() == Some(job_name(run).as_str()));
            Ok(ours.map(|pod| PodIdentity { pod: pod.pod, pod_uid: pod.uid }))
        }
        .boxed()
    }
}
