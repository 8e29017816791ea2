//! `landfall approve orgdomain/NAME`: what is held of a domain's records passes.

use kube::ResourceExt;
use serde_json::json;

use super::command::{line, sent};
use super::give::{Given, Patience, Wish, World};
use crate::api::{DomainHeld, OrganizationDomain, Reason};
use crate::reconcile::commands::Verb;
use crate::{Error, Result};

/// Approves what is held, and says what the controller made of it.
///
/// # Errors
/// Nothing is held or something else, admission refuses, the approval was discarded, or nobody answered in time.
pub(super) async fn release(
    (namespace, name): (Option<&String>, &str),
    digest: Option<&str>,
    patience: &Patience,
    json: bool,
) -> Result<String> {
    let mut world: World<OrganizationDomain> = World::of(namespace, name).await?;
    let read = held(&world.object, digest)?;
    let needed = |object: &OrganizationDomain| held(object, Some(&read.digest)).map(|_| true);
    let given = world.give(Wish { verb: Verb::Approve, value: &read.digest, patience }, needed).await?;
    match given {
        Given::Sent(by) => Ok(sent(Verb::Approve, &read.digest, &by, json)),
        Given::Taken(by) if json => Ok(line(&json!({"approved": read.digest, "by": by, "changes": read.count}))),
        Given::Taken(by) => Ok(format!("{by} lets {} held changes of sets pass: {}\n", read.count, read.digest)),
        Given::Gone(_) | Given::Stale | Given::Needless => {
            Err(Error::condition(Reason::Progressing, format!("orgdomain/{name} went meanwhile")))
        }
    }
}

/// What is held, where it is what was read.
fn held(object: &OrganizationDomain, read: Option<&str>) -> Result<DomainHeld> {
    let name = object.name_any();
    let held = object.status.as_ref().and_then(|status| status.held.clone()).ok_or_else(|| {
        Error::condition(Reason::Progressing, format!("nothing was approved: nothing of orgdomain/{name} is held"))
    })?;
    match read.filter(|read| *read != held.digest) {
        None => Ok(held),
        Some(read) => {
            let now = &held.digest;
            let message = format!("stale, nothing was approved: {read}: what is held of orgdomain/{name} is {now}");
            Err(Error::condition(Reason::ApprovalStale, message))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_was_read_is_approved() {
        let object = |held| -> OrganizationDomain {
            serde_json::from_value(json!({
                "apiVersion": "landfall.dev/v1alpha1", "kind": "OrganizationDomain", "metadata": {"name": "a"},
                "spec": {"domain": "example.com"}, "status": {"held": held},
            }))
            .unwrap()
        };
        let now = object(json!({"digest": "sha256:aa", "count": 7}));
        assert_eq!(held(&now, None).unwrap().count, 7);
        assert_eq!(held(&now, Some("sha256:aa")).unwrap().count, 7);
        assert_eq!(held(&now, Some("sha256:bb")).unwrap_err().reason(), Reason::ApprovalStale);
        assert!(held(&object(json!(null)), None).unwrap_err().to_string().contains("nothing of orgdomain/a is held"));
    }
}
