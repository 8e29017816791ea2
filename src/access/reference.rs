//! Organizations, and references across namespaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::{ObjectRef, Store};
use uuid::Uuid;

use crate::api::{AllowedNamespaces, CloudCredential, ORGANIZATION_LABEL, Organization, Reason, Reference};
use crate::{Error, Result};

type Labels = BTreeMap<String, String>;

/// The organization that a namespace belongs to: its label, else the namespace is one by itself.
///
/// # Errors
/// The API server's, also where there is no such namespace: one that vanished does not leave its organization thereby.
pub async fn organization(client: &kube::Client, cluster: Uuid, namespace: &str) -> Result<Organization> {
    let found = organization_if_found(client, cluster, namespace).await?;
    found.ok_or_else(|| Error::condition(Reason::ApiServerUnavailable, vanished(namespace)))
}

/// The organization that a namespace belongs to, and the namespace's labels.
///
/// # Errors
/// As [`organization`].
pub async fn tenant(client: &kube::Client, cluster: Uuid, namespace: &str) -> Result<(Organization, Labels)> {
    let labels = namespace_labels(client, namespace).await?;
    let labels = labels.ok_or_else(|| Error::condition(Reason::ApiServerUnavailable, vanished(namespace)))?;
    Ok((organization_of(cluster, namespace, &labels), labels))
}

/// The same as [`organization`]; `None` where there is no such namespace.
pub(crate) async fn organization_if_found(
    client: &kube::Client,
    cluster: Uuid,
    namespace: &str,
) -> Result<Option<Organization>> {
    let labels = namespace_labels(client, namespace).await?;
    Ok(labels.map(|labels| organization_of(cluster, namespace, &labels)))
}

/// Whether the namespace is on its way out, or gone: nothing new can be made in it.
///
/// # Errors
/// The API server's.
pub(crate) async fn is_terminating(client: &kube::Client, namespace: &str) -> Result<bool> {
    let found = Api::<Namespace>::all(client.clone()).get_metadata_opt(namespace).await?;
    Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()))
}

fn vanished(namespace: &str) -> String {
    format!("there is no namespace {namespace:?}, though objects stand in it; make it again, with its labels")
}

/// The same from labels that were read already.
pub fn organization_of(cluster: Uuid, namespace: &str, labels: &Labels) -> Organization {
    match labels.get(ORGANIZATION_LABEL).filter(|name| !name.is_empty()) {
        Some(name) => Organization(name.clone()),
        None => Organization(format!("ns:{cluster}/{namespace}")),
    }
}

async fn namespace_labels(client: &kube::Client, namespace: &str) -> Result<Option<Labels>> {
    let found = Api::<Namespace>::all(client.clone()).get_metadata_opt(namespace).await?;
    Ok(found.map(|n| n.metadata.labels.unwrap_or_default()))
}

/// The credential that an object of namespace `from` refers to in this field, where it may.
///
/// # Errors
/// `CredentialNotReady` where there is none of that name in the object's own namespace; `RefNotPermitted` for
/// another namespace that does not admit this one, said in the same words whether the credential exists or not.
pub async fn resolve_credential(
    client: &kube::Client,
    cluster: Uuid,
    credentials: &Store<CloudCredential>,
    from: &str,
    (field, reference): (&str, &Reference),
) -> Result<Arc<CloudCredential>> {
    let namespace = reference.namespace.as_deref().unwrap_or(from);
    let found = credentials.get(&ObjectRef::new(&reference.name).within(namespace));
    if namespace == from {
        return found.ok_or_else(|| {
            Error::condition(
                Reason::CredentialNotReady,
                format!("{field}: there is no CloudCredential {:?} in namespace {from:?}; create it", reference.name),
            )
        });
    }
    let unfound = || Error::condition(Reason::ApiServerUnavailable, vanished(from));
    let ours = namespace_labels(client, from).await?.ok_or_else(unfound)?;
    let organization = organization_of(cluster, from, &ours);
    let same = organization_if_found(client, cluster, namespace).await? == Some(organization);
    match found {
        Some(credential) if same && admits(credential.spec.allowed_namespaces.as_ref(), from, &ours) => Ok(credential),
        _ => Err(Error::condition(
            Reason::RefNotPermitted,
            format!(
                "{field}: CloudCredential {:?} of namespace {namespace:?} may not be used from {from:?}; \
                 both namespaces must be of one organization, and its spec.allowedNamespaces must name {from:?}",
                reference.name
            ),
        )),
    }
}

/// Whether `allowedNamespaces` admits this namespace. Left out, it admits none.
pub fn admits(allowed: Option<&AllowedNamespaces>, namespace: &str, labels: &Labels) -> bool {
    let Some(allowed) = allowed else { return false };
    if allowed.names.iter().any(|name| name == namespace) {
        return true;
    }
    // A selector without terms selects all in Kubernetes; a selector that cannot be read selects none.
    allowed.selector.clone().is_some_and(|s| Selector::try_from(s).is_ok_and(|s| s.matches(labels)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_namespace_is_admitted_by_name_or_by_selector_and_else_not() {
        let allowed: AllowedNamespaces = serde_json::from_value(serde_json::json!({
            "names": ["shop"],
            "selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold"]}]},
        }))
        .unwrap();
        assert!(admits(Some(&allowed), "shop", &labels(&[])));
        assert!(admits(Some(&allowed), "other", &labels(&[("tier", "gold")])));
        assert!(!admits(Some(&allowed), "other", &labels(&[("tier", "tin")])));
        assert!(!admits(Some(&AllowedNamespaces::default()), "shop", &labels(&[])));
        assert!(!admits(None, "shop", &labels(&[])));
    }

    #[test]
    fn a_selector_that_cannot_be_read_admits_nobody() {
        let allowed: AllowedNamespaces = serde_json::from_value(serde_json::json!({
            "selector": {"matchExpressions": [{"key": "tier", "operator": "Near", "values": ["gold"]}]},
        }))
        .unwrap();
        assert!(!admits(Some(&allowed), "shop", &labels(&[("tier", "gold")])));
    }

    #[test]
    fn a_namespace_without_label_is_an_organization_by_itself() {
        let cluster = Uuid::nil();
        assert_eq!(organization_of(cluster, "a", &labels(&[(ORGANIZATION_LABEL, "acme")])).0, "acme");
        let own = |ns| organization_of(cluster, ns, &labels(&[(ORGANIZATION_LABEL, "")])).0;
        assert_eq!(own("a"), "ns:00000000-0000-0000-0000-000000000000/a");
        assert_ne!(own("a"), own("b"));
    }
}
