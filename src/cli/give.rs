//! Giving a command, and waiting for what becomes of it.

use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::target::{Cluster, Commanded};
use crate::access::GIVE_IT_AGAIN;
use crate::access::{is_conflict, is_not_found};
use crate::api::{DurationText, LastHandled, Reason, annotation};
use crate::ledger::DISCARDED;
use crate::reconcile::commands::Verb;
use crate::{Error, Result};

/// Field manager of what people command.
const MANAGER: &str = "landfall-cli";
/// The controller writes status whenever it likes: so often a command is sent again.
const CONFLICTS: u32 = 5;
/// Before the first time; each further one takes so much longer.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at what became of a command.
const GLANCE: Duration = Duration::from_millis(200);
/// After so long policies that were too young for a command are old enough.
const POLICIES_AGE: Duration = Duration::from_secs(4);

/// How long the answer is waited for.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Patience {
    /// The longest that the controller's answer is waited for.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Give the command and do not wait for what becomes of it.
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let known = DurationText(text.to_owned()).get();
    known.ok_or_else(|| format!("{text:?} is no duration such as 30s, 5m or 1h30m"))
}

/// An object, and the API server that has it.
pub(super) struct World<K: Commanded> {
    cluster: Cluster,
    api: Api<K>,
    pub(super) object: K,
}

/// A command to be given.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) verb: Verb,
    pub(super) value: &'a str,
    pub(super) patience: &'a Patience,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// There was no need of it.
    Needless,
    /// It was given by this user and not waited for.
    Sent(String),
    /// The controller took it from this user.
    Taken(String),
    /// An approval, and not for the plan that is current now.
    Stale,
    /// The object went while it was waited for.
    Gone(String),
}

impl<K: Commanded> World<K> {
    /// The object of that name, in the namespace or else in the kubeconfig's.
    ///
    /// # Errors
    /// There is none, or nobody answers.
    pub(super) async fn of(namespace: Option<&String>, name: &str) -> Result<Self> {
        let cluster = Cluster::of(namespace).await?;
        let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        match api.get_opt(name).await {
            Ok(Some(object)) => Ok(Self { cluster, api, object }),
            Ok(None) => Err(cluster.missing::<K>(name).await),
            Err(error) => Err(cluster.said(error)),
        }
    }

    /// Gives the command where `wanted` finds a need of it, and waits. One that came too early after the installation of the
    /// policies is given again while there is time.
    ///
    /// # Errors
    /// `wanted`'s; admission refuses; the controller discarded it, or has not answered in time.
    pub(super) async fn give(&mut self, wish: Wish<'_>, wanted: impl Fn(&K) -> Result<bool>) -> Result<Given> {
        let user = self.caller().await?;
        let end = Instant::now() + wish.patience.timeout;
        loop {
            if !self.send(wish, &user, &wanted).await? {
                return Ok(Given::Needless);
            }
            if wish.patience.no_wait {
                return Ok(Given::Sent(user));
            }
            match self.answer(wish, end).await? {
                Fate::Taken => return Ok(Given::Taken(user)),
                Fate::Stale => return Ok(Given::Stale),
                Fate::Gone => return Ok(Given::Gone(user)),
                Fate::Discarded(why) if why.ends_with(GIVE_IT_AGAIN) && Instant::now() + POLICIES_AGE < end => {
                    tokio::time::sleep(POLICIES_AGE).await;
                    self.object = self.read().await?;
                }
                Fate::Discarded(why) => {
                    let message = format!("the controller discarded it: {why}");
                    return Err(Error::condition(Reason::GateNotInstalled, message));
                }
                Fate::Waits => return Err(self.unanswered(wish)),
            }
        }
    }

    /// Sets the annotation in the caller's name, as admission demands; `false` where `wanted` says that there is no need.
    /// Where somebody else wrote the object meanwhile, it is read and asked again.
    async fn send(&mut self, wish: Wish<'_>, user: &str, wanted: impl Fn(&K) -> Result<bool>) -> Result<bool> {
        let name = self.object.name_any();
        let mut attempt = 0;
        while wanted(&self.object)? {
            let body = json!({"metadata": {
                "resourceVersion": self.object.resource_version(),
                "annotations": {wish.verb.annotation(): wish.value, annotation::COMMAND_BY: user},
            }});
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            match self.api.patch(&name, &params, &Patch::Merge(&body)).await {
                Ok(object) => {
                    self.object = object;
                    return Ok(true);
                }
                Err(error) if is_conflict(&error) && attempt < CONFLICTS => attempt += 1,
                Err(error) => return Err(self.cluster.said(error)),
            }
            tokio::time::sleep(PAUSE * attempt).await;
            self.object = self.read().await?;
        }
        Ok(false)
    }

    async fn read(&self) -> Result<K> {
        self.api.get(&self.object.name_any()).await.map_err(|error| self.cluster.said(error))
    }

    /// Looks at the object until it tells what became of the command, or `end`. Who cannot be asked for a while may answer later.
    async fn answer(&mut self, wish: Wish<'_>, end: Instant) -> Result<Fate> {
        let before = self.object.clone();
        let handled = self.object.handled().cloned().unwrap_or_default();
        let mut last = None;
        while Instant::now() < end {
            match self.api.get(&before.name_any()).await {
                Ok(object) if object.uid() != before.uid() => return Ok(Fate::Gone),
                Ok(object) => {
                    let fate = fate(wish.verb, wish.value, &handled, &object);
                    (self.object, last) = (object, None);
                    if fate != Fate::Waits {
                        return Ok(fate);
                    }
                }
                Err(error) if is_not_found(&error) => return Ok(Fate::Gone),
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(GLANCE.min(end.saturating_duration_since(Instant::now()))).await;
        }
        match last {
            Some(error) => {
                let error = self.cluster.said(error);
                Err(Error::condition(
                    error.reason(),
                    format!("it was given, and what became of it is not known: {error}"),
                ))
            }
            None => Ok(Fate::Waits),
        }
    }

    fn unanswered(&self, wish: Wish<'_>) -> Error {
        let (name, namespace) = (self.object.name_any(), self.object.namespace().unwrap_or_default());
        let seconds = wish.patience.timeout.as_secs();
        let kind = K::WORD;
        let annotation = wish.verb.annotation();
        let text = if stands(wish.verb, wish.value, &self.object) {
            format!(
                "not handled yet: no controller has taken it within {seconds} s. It stands and counts until \
                 `kubectl annotate -n {namespace} {kind} {name} {annotation}- {}-` takes it back; see whether `landfall controller` runs and is ready",
                annotation::COMMAND_BY
            )
        } else {
            format!(
                "not known: the annotation is gone, and status has not told of it within {seconds} s; somebody took it back, \
                 or see `landfall history {kind}/{name} -n {namespace}`"
            )
        };
        Error::condition(Reason::Timeout, text)
    }

    /// The name by which the API server knows the caller.
    async fn caller(&self) -> Result<String> {
        let reviews = Api::<SelfSubjectReview>::all(self.cluster.client.clone());
        let who = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let who = who.map_err(|error| self.cluster.said(error))?;
        Ok(who.status.and_then(|s| s.user_info).and_then(|u| u.username).unwrap_or_default())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Waits,
    Taken,
    Stale,
    Discarded(String),
    Gone,
}

fn stands<K: Commanded>(verb: Verb, value: &str, object: &K) -> bool {
    object.annotations().get(verb.annotation()).is_some_and(|now| now == value)
}

/// What an object tells of a command that was given when `lastHandled` was `before`. The annotation goes first; status follows.
fn fate<K: Commanded>(verb: Verb, value: &str, before: &LastHandled, now: &K) -> Fate {
    let Some(handled) = now.handled().filter(|_| !stands(verb, value, now)) else { return Fate::Waits };
    let told = |word: &str| handled.get(word);
    let of_it = |said: &&String| {
        before.get(DISCARDED) != Some(*said) && said.contains(&format!(" {} {value} by ", verb.word()))
    };
    if let Some(why) = told(DISCARDED).filter(of_it) {
        Fate::Discarded(why.clone())
    } else if told(verb.word()).is_some_and(|taken| taken == value) {
        Fate::Taken
    } else if verb == Verb::Approve && told("approveRefused").is_some_and(|refused| refused == value) {
        Fate::Stale
    } else {
        Fate::Waits
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::TerraformDeployment;

    fn object(annotations: serde_json::Value, handled: serde_json::Value) -> TerraformDeployment {
        serde_json::from_value(json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "TerraformDeployment",
            "metadata": {"name": "web", "annotations": annotations},
            "spec": {"source": {"inline": {"main.tf": ""}}}, "status": {"lastHandled": handled},
        }))
        .unwrap()
    }

    #[test]
    fn a_command_waits_until_its_annotation_is_gone_and_status_tells() {
        let discarded = |at: &str| format!("{at} approve d by alice: the policies are young; {GIVE_IT_AGAIN}");
        let before = LastHandled::from([(DISCARDED.to_owned(), discarded("12:00"))]);
        let of = |object: &TerraformDeployment| fate(Verb::Approve, "d", &before, object);
        let standing = object(json!({"landfall.dev/approve": "d"}), json!({"approve": "d"}));
        assert_eq!(of(&standing), Fate::Waits);
        let gone = |handled| of(&object(json!({}), handled));
        assert_eq!(gone(json!({"approve": "old", "approveRefused": "old"})), Fate::Waits);
        assert_eq!(gone(json!({"discarded": discarded("12:00")})), Fate::Waits, "that was another time");
        assert_eq!(gone(json!({"discarded": "12:01 retry d by alice: no"})), Fate::Waits, "another command");
        assert_eq!(gone(json!({"discarded": discarded("12:01")})), Fate::Discarded(discarded("12:01")));
        assert_eq!(gone(json!({"approveRefused": "d"})), Fate::Stale);
        assert_eq!(gone(json!({"approveRefused": "x", "approve": "d"})), Fate::Taken);
    }
}
