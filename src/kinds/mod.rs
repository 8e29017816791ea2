//! The kinds, and the one place where their controllers are started.

pub mod credential;
pub mod deployment;

use std::collections::HashMap;

use kube::runtime::reflector::{self, store};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{CloudCredential, TerraformDeployment};
use crate::ledger::ObjectKind;
use crate::reconcile::wake::{self, Key, Waker, key_of};
use crate::reconcile::watch::Change;
use crate::reconcile::{self, Context, Follow, Stores, Tap};
use credential::Credential;
use deployment::Deployment;

/// The ends of the stores that the watches fill.
pub struct Writers {
    credentials: store::Writer<CloudCredential>,
    deployments: store::Writer<TerraformDeployment>,
}

/// Empty stores for a context, and the ends that [`run`] fills.
pub fn stores() -> (Stores, Writers) {
    let (credentials, credentials_writer) = reflector::store();
    let (deployments, deployments_writer) = reflector::store();
    let writers = Writers { credentials: credentials_writer, deployments: deployments_writer };
    (Stores { credentials, deployments }, writers)
}

/// Runs all controllers until `shutdown`, and then until what is under way is done.
pub async fn run(cx: Context, writers: Writers, shutdown: CancellationToken) {
    let (credentials_listed, credentials_ready) = signal::channel(false);
    let (deployments_listed, deployments_ready) = signal::channel(false);
    let ready = [credentials_ready, deployments_ready];

    let credentials = reconcile::follow(
        &cx,
        Follow {
            kind: ObjectKind::CloudCredential,
            writer: writers.credentials,
            tap: tell_deployments(cx.stores.clone(), cx.waker.clone()),
            listed: credentials_listed,
        },
    );
    let deployments = reconcile::follow(
        &cx,
        Follow {
            kind: ObjectKind::TerraformDeployment,
            writer: writers.deployments,
            tap: tell_credentials(cx.waker.clone()),
            listed: deployments_listed,
        },
    );
    let _sources = wake::follow_sources(
        &cx,
        vec![
            wake::referrers::<Credential>(&cx.stores.credentials, &cx.waker),
            wake::referrers::<Deployment>(&cx.stores.deployments, &cx.waker),
        ],
    );

    let mut controllers = JoinSet::new();
    controllers.spawn(reconcile::run::<Credential>(cx.clone(), credentials, ready.to_vec(), shutdown.clone()));
    controllers.spawn(reconcile::run::<Deployment>(cx.clone(), deployments, ready.to_vec(), shutdown));
    controllers.join_all().await;
}

/// Wakes deployments when something that they go by in a credential has moved.
fn tell_deployments(stores: Stores, waker: Waker) -> Tap<CloudCredential> {
    let mut known: HashMap<Key, u64> = HashMap::new();
    Box::new(move |change| match change {
        Change::Applied { object, .. } => {
            let print = wake::credential_fingerprint(object);
            if known.insert(key_of(object.as_ref()), print) != Some(print) {
                wake::credential_changed(&stores, &waker, object);
            }
        }
        Change::Deleted(object) => {
            known.remove(&key_of(object.as_ref()));
            wake::credential_changed(&stores, &waker, object);
        }
        Change::Listed => {}
    })
}

/// Wakes credentials when a deployment begins or ceases to refer to them.
fn tell_credentials(waker: Waker) -> Tap<TerraformDeployment> {
    let mut known: HashMap<Key, Key> = HashMap::new();
    Box::new(move |change| {
        let (key, now) = match change {
            Change::Applied { object, .. } => (key_of(object.as_ref()), wake::credential_of(object)),
            Change::Deleted(object) => (key_of(object.as_ref()), None),
            Change::Listed => return,
        };
        let before = match now.clone() {
            Some(now) => known.insert(key, now),
            None => known.remove(&key),
        };
        if before != now {
            before.iter().chain(&now).for_each(|credential| wake::deployment_changed(&waker, credential));
        }
    })
}
