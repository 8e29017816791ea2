//! Who wakes whom.
//!
//! | what happens | who is woken | where |
//! |---|---|---|
//! | an object's generation, finalizers, deletion or `landfall.dev/*` annotations change | the object | [`crate::reconcile::watch`] |
//! | its status is written | nobody of its kind | [`crate::reconcile::watch`] |
//! | a Secret or ConfigMap comes, changes or goes | objects of its namespace that name it | [`crate::reconcile::wake`] |
//! | a credential's spec or status changes | deployments and domains that refer to it | [`tell_of_credentials`] |
//! | what the ledger knows of a credential changes | deployments and domains that refer to it | [`credential_changed`] |
//! | a deployment or a domain comes, goes or refers to another credential | the credential | [`tell_credentials`] |
//! | a deployment comes, goes or has another state | records whose values are outputs of it | [`tell_of_deployments`] |
//! | a domain comes, goes, its spec or what was found of it changes | records that refer to it, to one above or below it, certificates with names in it, domains that waited for it | [`tell_of_domains`] |
//! | what the ledger knows of a credential changes | records below the domains that refer to it | [`credential_changed`] |
//! | a record is written or goes | records that ask for a set of the same name | `wake` of the record's `act` |
//! | a record's write is held, as too much of a zone would go at once | its domain | `tell_of_held` of the record's `act` |
//! | a domain's approval lets pass what was held | the records that wait for it | [`released`] |
//! | a record goes | its domain | `leave` of the record's `act` |
//! | the ledger knows that a deployment uses a credential no more | the credential | `refer` of the deployment's `act` |
//! | a certificate goes, or names another Secret | those that name the Secret too | [`tell_rivals`] |
//! | a namespace goes to another organization | every object of it | [`crate::reconcile::namespaces`] |
//! | a run of a deployment moves on | the deployment | [`Waker::wake`], by run API and executor |
//! | a place for a run is free after a deployment's look | those whose turn it is | [`Queue::call`] |
//! | one that waits goes, or its look fails | those whose turn it is then | [`Queue::drop_out`] |
//! | a run ends whose object is gone | those whose turn it is then | [`Queue::call_next`] |
//! | the mirror has buried deployments, or moved them to another organization | those whose turn it is | [`tell_waiting`] |

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use uuid::Uuid;

use super::accounts::Accounts;
use super::deployment::Queue;
use super::{Context, Stores};
use crate::api::{Certificate, CloudCredential, OrganizationDomain, Reason, Reference, TerraformDeployment};
use crate::dns::Name;
use crate::ledger::ObjectKind;
use crate::reconcile::wake::{Key, Waker, key_of};
use crate::reconcile::watch::Change;
use crate::reconcile::{Object, Tap};

/// Wakes deployments and domains when something that they go by in a credential has moved. Of one that is gone nothing is kept.
pub(super) fn tell_of_credentials(stores: Stores, accounts: Arc<Accounts>, waker: Waker) -> Tap<CloudCredential> {
    let mut known: HashMap<Key, u64> = HashMap::new();
    Box::new(move |change| match change {
        Change::Applied { object, .. } => {
            let print = credential_fingerprint(object);
            if known.insert(key_of(object.as_ref()), print) != Some(print) {
                credential_changed(&stores, &waker, object);
            }
        }
        Change::Deleted(object) => {
            known.remove(&key_of(object.as_ref()));
            if let Some(uid) = object.metadata.uid.as_deref().and_then(|uid| Uuid::parse_str(uid).ok()) {
                accounts.forget(uid);
            }
            credential_changed(&stores, &waker, object);
        }
        Change::Listed => {}
    })
}

/// Wakes records when something that they go by in their domain has moved, and credentials as [`tell_credentials`] does.
pub(super) fn tell_of_domains(stores: Stores, waker: Waker) -> Tap<OrganizationDomain> {
    let mut credentials = tell_credentials(waker.clone(), credential_of_domain);
    let mut known: HashMap<Key, u64> = HashMap::new();
    Box::new(move |change| {
        credentials(change);
        match change {
            Change::Applied { object, .. } => {
                let print = domain_fingerprint(object);
                if known.insert(key_of(object.as_ref()), print) != Some(print) {
                    domain_changed(&stores, &waker, object);
                }
            }
            Change::Deleted(object) => {
                known.remove(&key_of(object.as_ref()));
                domain_changed(&stores, &waker, object);
            }
            Change::Listed => {}
        }
    })
}

/// Wakes who goes by a domain which came, changed or went: the records that refer to it, to a domain above or below it, the
/// certificates with names in it, and the domains that waited for it to be free.
pub(super) fn domain_changed(stores: &Stores, waker: &Waker, domain: &OrganizationDomain) {
    domains_changed(stores, waker, &[domain]);
}

/// The same for several, in one pass over all that may go by them.
fn domains_changed(stores: &Stores, waker: &Waker, domains: &[&OrganizationDomain]) {
    if domains.is_empty() {
        return;
    }
    let changed: HashSet<Name> = domains.iter().filter_map(|domain| Name::parse(&domain.spec.domain).ok()).collect();
    let above: HashSet<Name> = changed.iter().flat_map(upward).collect();
    let is_within = |name: &Name| upward(name).any(|name| changed.contains(&name));
    let overlaps = |other: &OrganizationDomain| {
        Name::parse(&other.spec.domain).is_ok_and(|name| above.contains(&name) || is_within(&name))
    };
    let mut related: HashSet<Key> = domains.iter().map(|domain| key_of(*domain)).collect();
    for other in stores.domains.state().iter().filter(|other| overlaps(other)) {
        let key = key_of(other.as_ref());
        if waits_for_another(other) {
            waker.wake(ObjectKind::OrganizationDomain, &key.0, &key.1);
        }
        related.insert(key);
    }
    for record in stores.records.state() {
        if related.contains(&referred(record.as_ref(), &record.spec.domain_ref)) {
            let (namespace, name) = key_of(record.as_ref());
            waker.wake(ObjectKind::DnsRecord, &namespace, &name);
        }
    }
    let within = |text: &String| Name::parse(text).is_ok_and(|name| is_within(&name));
    for certificate in stores.certificates.state() {
        if certificate.spec.dns_names.iter().any(within) {
            let (namespace, name) = key_of(certificate.as_ref());
            waker.wake(ObjectKind::Certificate, &namespace, &name);
        }
    }
}

fn waits_for_another(domain: &OrganizationDomain) -> bool {
    let conditions = domain.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|c| c.reason == Reason::ClaimedElsewhere.as_str())
}

/// Wakes the records that wait for what a domain's approval has let pass: those that refer to it, and those that say that
/// they wait.
pub(super) fn released(stores: &Stores, waker: &Waker, domain: &OrganizationDomain) {
    let key = key_of(domain);
    for record in stores.records.state() {
        let conditions = record.status.iter().flat_map(|status| &status.conditions);
        let waits = || conditions.into_iter().any(|c| c.reason == Reason::MassChangeHeld.as_str());
        if referred(record.as_ref(), &record.spec.domain_ref) == key || waits() {
            let (namespace, name) = key_of(record.as_ref());
            waker.wake(ObjectKind::DnsRecord, &namespace, &name);
        }
    }
}

/// Wakes who waits behind a deployment that goes, the records whose values are its outputs when it has another state, and
/// credentials as [`tell_credentials`] does.
pub(super) fn tell_of_deployments(queue: Arc<Queue>, stores: Stores, waker: Waker) -> Tap<TerraformDeployment> {
    let mut credentials = tell_credentials(waker.clone(), credential_of);
    let mut known: HashMap<Key, Option<String>> = HashMap::new();
    Box::new(move |change| {
        match change {
            Change::Deleted(object) => {
                queue.drop_out(&waker, object);
                let key = key_of(object.as_ref());
                known.remove(&key);
                tell_records(&stores, &waker, &key);
            }
            Change::Applied { object, .. } => {
                let key = key_of(object.as_ref());
                let state = object.status.as_ref().and_then(|status| Some(status.state.as_ref()?.sha256.clone()));
                if known.insert(key.clone(), state.clone()) != Some(state) {
                    tell_records(&stores, &waker, &key);
                }
            }
            Change::Listed => {}
        }
        credentials(change);
    })
}

/// Wakes the records whose values are outputs of this deployment.
fn tell_records(stores: &Stores, waker: &Waker, (home, deployment): &Key) {
    for record in stores.records.state() {
        let (namespace, name) = key_of(record.as_ref());
        let source = record.spec.value_from.as_ref().map(|source| &source.output.deployment);
        if source == Some(deployment) && namespace == *home {
            waker.wake(ObjectKind::DnsRecord, &namespace, &name);
        }
    }
}

/// Wakes credentials when an object begins or ceases to refer to them.
pub(super) fn tell_credentials<O: Object>(waker: Waker, refers: fn(&O) -> Option<Key>) -> Tap<O> {
    let mut known: HashMap<Key, Key> = HashMap::new();
    Box::new(move |change| {
        let (key, now) = match change {
            Change::Applied { object, .. } => (key_of(object.as_ref()), refers(object)),
            Change::Deleted(object) => (key_of(object.as_ref()), None),
            Change::Listed => return,
        };
        let before = match now.clone() {
            Some(now) => known.insert(key, now),
            None => known.remove(&key),
        };
        if before != now {
            for (namespace, name) in before.iter().chain(&now) {
                waker.wake(ObjectKind::CloudCredential, namespace, name);
            }
        }
    })
}

/// Wakes certificates that wait for a Secret which another one has named until now.
pub(super) fn tell_rivals(stores: Stores, waker: Waker) -> Tap<Certificate> {
    let mut known: HashMap<Key, Option<String>> = HashMap::new();
    Box::new(move |change| {
        let (object, now) = match change {
            Change::Applied { object, .. } => (object, object.spec.secret_name.clone()),
            Change::Deleted(object) => (object, None),
            Change::Listed => return,
        };
        let (key, namespace) = (key_of(object.as_ref()), object.metadata.namespace.as_deref().unwrap_or_default());
        let before = match &now {
            Some(_) => known.insert(key.clone(), now.clone()).flatten(),
            None => known.remove(&key).flatten(),
        };
        let Some(left) = before.filter(|before| now.as_ref() != Some(before)) else { return };
        for other in stores.certificates.state() {
            let (home, name) = key_of(other.as_ref());
            if home == namespace
                && (&home, &name) != (&key.0, &key.1)
                && other.spec.secret_name.as_deref() == Some(&left)
            {
                waker.wake(ObjectKind::Certificate, &home, &name);
            }
        }
    })
}

/// Wakes those whose turn it is. How many organizations have deployments is asked of the mirror: only when it has followed
/// is there anything new to see.
pub(super) fn tell_waiting(cx: &Context) -> Box<dyn Fn() + Send + Sync> {
    let (queue, waker) = (cx.queue.clone(), cx.waker.clone());
    Box::new(move || queue.call(&waker))
}

/// Wakes the deployments and domains that refer to a credential which came, changed or went.
pub(super) fn credential_changed(stores: &Stores, waker: &Waker, credential: &CloudCredential) {
    let key = key_of(credential);
    for deployment in stores.deployments.state() {
        if credential_of(&deployment).as_ref() == Some(&key) {
            let (namespace, name) = key_of(deployment.as_ref());
            waker.wake(ObjectKind::TerraformDeployment, &namespace, &name);
        }
    }
    let domains = stores.domains.state();
    let theirs = domains.iter().filter(|domain| credential_of_domain(domain).as_ref() == Some(&key));
    let theirs: Vec<&OrganizationDomain> = theirs.map(AsRef::as_ref).collect();
    for domain in &theirs {
        let (namespace, name) = key_of(*domain);
        waker.wake(ObjectKind::OrganizationDomain, &namespace, &name);
    }
    domains_changed(stores, waker, &theirs);
}

/// A name and all above it.
fn upward(name: &Name) -> impl Iterator<Item = Name> {
    std::iter::successors(Some(name.clone()), Name::parent)
}

/// The credential that a deployment refers to.
pub(super) fn credential_of(deployment: &TerraformDeployment) -> Option<Key> {
    Some(referred(deployment, deployment.spec.credential_ref.as_ref()?))
}

/// The credential that a domain refers to.
pub(super) fn credential_of_domain(domain: &OrganizationDomain) -> Option<Key> {
    Some(referred(domain, domain.spec.dns.credential_ref.as_ref()?))
}

fn referred<O: Object>(from: &O, reference: &Reference) -> Key {
    let own = from.meta().namespace.clone().unwrap_or_default();
    (reference.namespace.clone().unwrap_or(own), reference.name.clone())
}

/// What others need to know of a domain: its spec, its life, and what was found, without times.
fn domain_fingerprint(domain: &OrganizationDomain) -> u64 {
    let mut hasher = DefaultHasher::new();
    let meta = &domain.metadata;
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    for c in domain.status.iter().flat_map(|status| &status.conditions) {
        (&c.type_, &c.status, &c.reason, c.observed_generation).hash(&mut hasher);
    }
    hasher.finish()
}

/// What others need to know of a credential: its spec, its life, and what the probes found, without times.
fn credential_fingerprint(credential: &CloudCredential) -> u64 {
    let mut hasher = DefaultHasher::new();
    let meta = &credential.metadata;
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    if let Some(status) = &credential.status {
        let account = status.identity.as_ref().map(|i| (&i.account, &i.principal));
        (account, status.secret.as_ref().map(|s| &s.digest)).hash(&mut hasher);
        for c in &status.conditions {
            (&c.type_, &c.status, &c.reason, c.observed_generation).hash(&mut hasher);
        }
    }
    hasher.finish()
}
