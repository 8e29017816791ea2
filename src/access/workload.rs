//! Which pod speaks, by its own token: what the API server says of it, never what the pod says.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::{Error, Result};

/// A pod that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// The Job that made it, if one did that is still there and gave it the service account of its token.
    pub job: Option<String>,
}

/// The pod of `namespace` whose service account's token for `audience` this is. `None` where it is no such token, or the pod
/// is gone, or is another one of that name.
///
/// # Errors
/// The API server's.
pub async fn workload(client: &kube::Client, namespace: &str, audience: &str, token: &str) -> Result<Option<Workload>> {
    let review = json!({"spec": {"token": token, "audiences": [audience]}});
    let review: TokenReview = serde_json::from_value(review).map_err(|e| Error::Integrity(e.to_string()))?;
    let reviewed = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    let bound = reviewed.status.as_ref().and_then(|status| bound_to(status, namespace, audience));
    let Some(Bound { account, pod: name, uid }) = bound else { return Ok(None) };
    let Some(pod) = Api::<Pod>::namespaced(client.clone(), namespace).get_opt(&name).await? else { return Ok(None) };
    if pod.metadata.uid.as_deref() != Some(uid.as_str()) {
        return Ok(None);
    }
    let owners = pod.metadata.owner_references.unwrap_or_default();
    let made_by = owners.into_iter().find(|owner| owner.kind == "Job" && owner.controller == Some(true));
    let job = match made_by {
        Some(owner) => Api::<Job>::namespaced(client.clone(), namespace).get_opt(&owner.name).await?.filter(|job| {
            let given = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.service_account_name.as_deref());
            job.metadata.uid.as_ref() == Some(&owner.uid) && given == Some(account.as_str())
        }),
        None => None,
    };
    Ok(Some(Workload { pod: name, uid, job: job.and_then(|job| job.metadata.name) }))
}

/// What a token says of its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    account: String,
    pod: String,
    uid: String,
}

/// The pod that a token is bound to, where it is good for this audience and of a service account of this namespace.
fn bound_to(status: &TokenReviewStatus, namespace: &str, audience: &str) -> Option<Bound> {
    let good = status.authenticated == Some(true);
    // A server that knows no audiences answers with none: its word says nothing about them.
    let meant = status.audiences.as_ref()?.iter().any(|one| one == audience);
    let who = status.user.as_ref()?;
    let extra = |name: &str| {
        let values = who.extra.as_ref()?.get(&format!("authentication.kubernetes.io/{name}"))?;
        values.first().cloned().filter(|_| values.len() == 1)
    };
    let account =
        who.username.as_deref()?.strip_prefix("system:serviceaccount:")?.strip_prefix(namespace)?.strip_prefix(':')?;
    (good && meant)
        .then(|| Some(Bound { account: account.to_owned(), pod: extra("pod-name")?, uid: extra("pod-uid")? }))?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_a_token_of_this_namespace_for_this_audience_and_bound_to_a_pod_counts() {
        let whole = json!({
            "authenticated": true, "audiences": ["ours"],
            "user": {"username": "system:serviceaccount:ls:runner", "extra": {
                "authentication.kubernetes.io/pod-name": ["p"], "authentication.kubernetes.io/pod-uid": ["u"]}},
        });
        let read = |value: Value| {
            let status: TokenReviewStatus = serde_json::from_value(value).unwrap();
            bound_to(&status, "ls", "ours")
        };
        let bound = Bound { account: "runner".into(), pod: "p".into(), uid: "u".into() };
        assert_eq!(read(whole.clone()), Some(bound));
        for (pointer, value) in [
            ("/authenticated", json!(false)),
            ("/audiences", json!(["theirs"])),
            ("/audiences", json!([])),
            ("/audiences", Value::Null),
            ("/user/username", json!("system:serviceaccount:lsx:runner")),
            ("/user/username", json!("system:node:ls:runner")),
            ("/user/username", json!("system:serviceaccount:other:runner")),
            ("/user/extra/authentication.kubernetes.io~1pod-uid", json!([])),
            ("/user/extra/authentication.kubernetes.io~1pod-name", json!(["p", "q"])),
            ("/user/extra", json!({})),
        ] {
            let mut changed = whole.clone();
            *changed.pointer_mut(pointer).unwrap() = value.clone();
            assert_eq!(read(changed), None, "{pointer} {value}");
        }
    }
}
