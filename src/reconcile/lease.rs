//! Leadership among the controller's replicas, by a Lease. The epoch that fences the ledger is minted in Postgres; the
//! Lease only decides who asks for it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio_util::sync::CancellationToken;

use super::patch;
use crate::api::{FIELD_MANAGER, Reason};
use crate::health::{Part, Saying};
use crate::{Error, Result};

const NAME: &str = "landfall-controller";
/// Letting go is a courtesy, and must not hold up an end.
const COURTESY: Duration = Duration::from_secs(5);

/// One replica's hand on the Lease.
pub struct Leadership {
    api: Api<Lease>,
    holder: String,
    duration: Duration,
    /// Whether the API server answers.
    cluster: Part,
    /// What this replica is.
    role: Part,
}

/// What a look at the Lease says.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Ours,
    Free,
    Theirs,
}

impl Leadership {
    /// For the Lease of `namespace`; a holder that is silent for `duration` has lost it. `cluster` and `role` tell whether
    /// the API server answers, and what this replica is.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        holder: &str,
        duration: Duration,
        cluster: Part,
        role: Part,
    ) -> Self {
        Self { api: Api::namespaced(client, namespace), holder: holder.into(), duration, cluster, role }
    }

    /// What this replica is, for `/readyz`.
    pub fn role(&self) -> &Part {
        &self.role
    }

    /// It leads, under this epoch.
    pub fn leads(&self, epoch: i64) {
        self.role.tell(format!("leads with epoch {epoch}"));
    }

    /// It does not lead.
    pub fn stands_by(&self) {
        self.role.tell("stands by");
    }

    /// Waits until the Lease is ours, and answers since when it is; `None` where `shutdown` came first.
    pub async fn acquire(&self, shutdown: &CancellationToken) -> Option<Instant> {
        shutdown.run_until_cancelled(self.acquired()).await
    }

    async fn acquired(&self) -> Instant {
        // Others' clocks are not trusted: a Lease is stale when we saw it unchanged for its whole duration.
        let mut seen: Option<(Option<LeaseSpec>, Instant)> = None;
        let mut saying = Saying::default();
        loop {
            let began = Instant::now();
            let answer = tokio::time::timeout(self.duration, self.attempt(&mut seen)).await;
            match answer.unwrap_or_else(|_| Err(no_answer(self.duration))) {
                Ok(ours) => {
                    self.cluster.good();
                    if ours {
                        return began;
                    }
                    self.stands_by();
                }
                Err(error) => self.failed(&error, &mut saying, "the Lease cannot be had now"),
            }
            tokio::time::sleep((self.duration / 16).mul_f64(0.8 + 0.4 * rand::random::<f64>())).await;
        }
    }

    /// Renews what is held since `renewed` until it is another's or could not be renewed in time, and answers which.
    pub async fn hold(&self, mut renewed: Instant) -> Error {
        let mut saying = Saying::default();
        loop {
            tokio::time::sleep(self.duration / 5).await;
            let patience = (self.duration * 2 / 3).saturating_sub(renewed.elapsed());
            let began = Instant::now();
            match tokio::time::timeout(patience, self.renew()).await {
                Ok(Ok(true)) => {
                    self.cluster.good();
                    renewed = began;
                }
                Ok(Ok(false)) => return Error::Deposed("another replica holds the Lease".into()),
                Ok(Err(error)) => self.failed(&error, &mut saying, "the Lease was not renewed; it is tried again"),
                Err(_) => return Error::Deposed("the Lease could not be renewed in time".into()),
            }
        }
    }

    fn failed(&self, error: &Error, saying: &mut Saying, what: &str) {
        let words = format!("{error}{}", patch::next_step(error));
        if saying.is_due(&words, Instant::now()) {
            tracing::warn!(error = words, "{what}");
        }
        self.cluster.bad(words);
    }

    /// Lets go, so that another replica need not wait.
    pub async fn release(&self) {
        let freed = async {
            let mut lease = self.api.get(NAME).await?;
            if claim(lease.spec.as_ref(), &self.holder, false) == Claim::Ours {
                if let Some(spec) = &mut lease.spec {
                    spec.holder_identity = None;
                    spec.renew_time = Some(MicroTime(Timestamp::now()));
                }
                self.replace(lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        if !matches!(tokio::time::timeout(COURTESY, freed).await, Ok(Ok(()))) {
            tracing::debug!("the Lease was not released");
        }
    }

    async fn attempt(&self, seen: &mut Option<(Option<LeaseSpec>, Instant)>) -> Result<bool> {
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(0)) };
            return settled(self.api.create(&params(), &lease).await);
        };
        if !seen.as_ref().is_some_and(|(spec, _)| *spec == lease.spec) {
            *seen = Some((lease.spec.clone(), Instant::now()));
        }
        let silent = seen.as_ref().is_some_and(|(spec, since)| {
            let seconds = spec.as_ref().and_then(|s| s.lease_duration_seconds).unwrap_or_default();
            since.elapsed() >= Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        });
        let before = lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or_default();
        let transitions = match claim(lease.spec.as_ref(), &self.holder, silent) {
            Claim::Theirs => return Ok(false),
            // Led before by this very process, which did not lead for a while.
            Claim::Ours => before,
            Claim::Free => before.saturating_add(1),
        };
        lease.spec = Some(self.spec(transitions));
        settled(self.replace(lease).await)
    }

    async fn renew(&self) -> Result<bool> {
        let mut lease = self.api.get(NAME).await?;
        if claim(lease.spec.as_ref(), &self.holder, false) != Claim::Ours {
            return Ok(false);
        }
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        settled(self.replace(lease).await)
    }

    async fn replace(&self, mut lease: Lease) -> kube::Result<Lease> {
        lease.metadata.managed_fields = None;
        self.api.replace(NAME, &params(), &lease).await
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() }
}

fn no_answer(within: Duration) -> Error {
    Error::condition(Reason::ApiServerUnavailable, format!("API server: no answer within {} s", within.as_secs()))
}

/// A conflict means that another was faster.
fn settled(result: kube::Result<Lease>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if crate::access::is_conflict(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn claim(spec: Option<&LeaseSpec>, holder: &str, silent: bool) -> Claim {
    match spec.and_then(|s| s.holder_identity.as_deref()).unwrap_or_default() {
        "" => Claim::Free,
        who if who == holder => Claim::Ours,
        _ if silent => Claim::Free,
        _ => Claim::Theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_from_nobody_and_from_the_silent_alone() {
        let held = |by: Option<&str>| LeaseSpec { holder_identity: by.map(str::to_owned), ..LeaseSpec::default() };
        assert_eq!(claim(None, "a", false), Claim::Free);
        assert_eq!(claim(Some(&held(None)), "a", false), Claim::Free);
        assert_eq!(claim(Some(&held(Some(""))), "a", false), Claim::Free);
        assert_eq!(claim(Some(&held(Some("a"))), "a", true), Claim::Ours);
        assert_eq!(claim(Some(&held(Some("b"))), "a", false), Claim::Theirs);
        assert_eq!(claim(Some(&held(Some("b"))), "a", true), Claim::Free);
    }
}
