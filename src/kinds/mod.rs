//! The kinds, and the one place where their controllers are started.

mod accounts;
pub mod certificate;
pub mod credential;
pub mod deployment;
pub mod domain;
mod in_use;
mod names;
#[cfg(test)]
#[path = "../../tests/harness/objects.rs"]
mod objects;
pub mod record;
mod refusal;
#[cfg(test)]
mod strange;
mod wake;

use std::ops::Deref;
use std::sync::Arc;

use kube::runtime::reflector::{self, Store, store};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::acme::Acme;
use crate::api::{self, CloudCredential, DnsRecord, OrganizationDomain, TerraformDeployment};
use crate::ledger::ObjectKind;
use crate::providers::{Http, Probes};
use crate::reconcile::{self, Follow, namespaces, wake as sources};
use crate::terraform::engines::Engines;
use crate::terraform::executor::Executor;
use crate::zones::{Lookup, Zones};
pub use accounts::Accounts;
use certificate::Certificate;
use credential::Credential;
use deployment::{Deployment, Queue};
use domain::Domain;
use record::Record;
pub use refusal::Refusal;

/// What the kinds use: the machinery's context and their services.
#[derive(Clone)]
pub struct Context {
    /// What every reconcile uses.
    pub machinery: reconcile::Context,
    /// The one HTTP client for providers.
    pub http: Http,
    /// Looks names up at their authoritative servers.
    pub lookup: Lookup,
    /// What probing has taught this process.
    pub probes: Arc<Probes>,
    /// CAs by ACME.
    pub acme: Acme,
    /// The writers of DNS zones.
    pub zones: Zones,
    /// Credentials' servers as records used them last.
    pub accounts: Arc<Accounts>,
    /// Engines of the installation.
    pub engines: Arc<Engines>,
    /// Where runs are executed.
    pub executor: Arc<Executor>,
    /// What the watches have seen.
    pub stores: Stores,
    /// Deployments that wait for others.
    pub queue: Arc<Queue>,
}

impl Deref for Context {
    type Target = reconcile::Context;

    fn deref(&self) -> &reconcile::Context {
        &self.machinery
    }
}

/// The watched objects. They lag behind the API server by the watch's delay.
#[derive(Clone)]
pub struct Stores {
    /// All credentials of the watched namespaces.
    pub credentials: Store<CloudCredential>,
    /// All deployments of the watched namespaces.
    pub deployments: Store<TerraformDeployment>,
    /// All domains of the watched namespaces.
    pub domains: Store<OrganizationDomain>,
    /// All records of the watched namespaces.
    pub records: Store<DnsRecord>,
    /// All certificates of the watched namespaces.
    pub certificates: Store<api::Certificate>,
}

/// The ends of the stores that the watches fill.
pub struct Writers {
    credentials: store::Writer<CloudCredential>,
    deployments: store::Writer<TerraformDeployment>,
    domains: store::Writer<OrganizationDomain>,
    records: store::Writer<DnsRecord>,
    certificates: store::Writer<api::Certificate>,
}

/// Empty stores for a context, and the ends that [`run`] fills.
pub fn stores() -> (Stores, Writers) {
    let (credentials, credentials_writer) = reflector::store();
    let (deployments, deployments_writer) = reflector::store();
    let (domains, domains_writer) = reflector::store();
    let (records, records_writer) = reflector::store();
    let (certificates, certificates_writer) = reflector::store();
    let writers = Writers {
        credentials: credentials_writer,
        deployments: deployments_writer,
        domains: domains_writer,
        records: records_writer,
        certificates: certificates_writer,
    };
    (Stores { credentials, deployments, domains, records, certificates }, writers)
}

/// Runs all controllers until `shutdown`, and then until what is under way is done.
pub async fn run(cx: Context, writers: Writers, shutdown: CancellationToken) {
    let (credentials_listed, credentials_ready) = signal::channel(false);
    let (deployments_listed, deployments_ready) = signal::channel(false);
    let (domains_listed, domains_ready) = signal::channel(false);
    let (records_listed, records_ready) = signal::channel(false);
    let (certificates_listed, certificates_ready) = signal::channel(false);
    let ready = [credentials_ready, deployments_ready.clone(), domains_ready, records_ready, certificates_ready];

    let credentials = reconcile::follow(
        &cx,
        Follow {
            kind: ObjectKind::CloudCredential,
            writer: writers.credentials,
            tap: wake::tell_of_credentials(cx.stores.clone(), cx.accounts.clone(), cx.waker.clone()),
            moved: Box::new(|| {}),
            listed: credentials_listed,
        },
    );
    let deployments = reconcile::follow(
        &cx,
        Follow {
            kind: ObjectKind::TerraformDeployment,
            writer: writers.deployments,
            tap: wake::tell_of_deployments(cx.queue.clone(), cx.stores.clone(), cx.waker.clone()),
            moved: wake::tell_waiting(&cx),
            listed: deployments_listed,
        },
    );
    let domains = reconcile::follow(
        &cx,
        Follow {
            kind: ObjectKind::OrganizationDomain,
            writer: writers.domains,
            tap: wake::tell_of_domains(cx.stores.clone(), cx.waker.clone()),
            moved: Box::new(|| {}),
            listed: domains_listed,
        },
    );
    let records = reconcile::follow(
        &cx,
        Follow {
            kind: ObjectKind::DnsRecord,
            writer: writers.records,
            tap: Box::new(|_| {}),
            moved: Box::new(|| {}),
            listed: records_listed,
        },
    );
    let certificates = reconcile::follow(
        &cx,
        Follow {
            kind: ObjectKind::Certificate,
            writer: writers.certificates,
            tap: wake::tell_rivals(cx.stores.clone(), cx.waker.clone()),
            moved: Box::new(|| {}),
            listed: certificates_listed,
        },
    );
    let _sources = sources::follow_sources(
        &cx,
        vec![
            sources::referrers::<Credential>(&cx.stores.credentials, &cx.waker),
            sources::referrers::<Deployment>(&cx.stores.deployments, &cx.waker),
            sources::referrers::<Certificate>(&cx.stores.certificates, &cx.waker),
        ],
    );

    let mut aside = JoinSet::new();
    let relabelled = vec![
        credentials.relabelled(&cx.waker),
        deployments.relabelled(&cx.waker),
        domains.relabelled(&cx.waker),
        records.relabelled(&cx.waker),
        certificates.relabelled(&cx.waker),
    ];
    aside.spawn(namespaces::follow(cx.machinery.clone(), relabelled));
    let mut controllers = JoinSet::new();
    controllers.spawn(reconcile::run::<Credential>(cx.clone(), credentials, ready.to_vec(), shutdown.clone()));
    controllers.spawn(reconcile::run::<Deployment>(cx.clone(), deployments, ready.to_vec(), shutdown.clone()));
    controllers.spawn(reconcile::run::<Domain>(cx.clone(), domains, ready.to_vec(), shutdown.clone()));
    controllers.spawn(reconcile::run::<Record>(cx.clone(), records, ready.to_vec(), shutdown.clone()));
    controllers.spawn(reconcile::run::<Certificate>(cx.clone(), certificates, ready.to_vec(), shutdown));
    aside.spawn(reconcile::anchors::run(cx.machinery.clone()));
    aside.spawn(sweep(cx, deployments_ready));
    controllers.join_all().await;
}

/// Whose object is gone is known only when all are listed.
async fn sweep(cx: Context, mut listed: signal::Receiver<bool>) {
    if listed.wait_for(|listed| *listed).await.is_ok() {
        deployment::sweep::run(cx).await;
    }
}
