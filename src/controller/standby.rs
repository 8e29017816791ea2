//! Postgres may be away from the leader alone. Who stands by says in a Lease of its own that it reaches Postgres; a leader
//! that does not, and sees that another does, gives way. Where Postgres is away from all, who leads goes on.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::Mutex;

use crate::Error;
use crate::api::FIELD_MANAGER;
use crate::ledger::{Ledger, Pulse};

const NAME: &str = "landfall-standby";

/// What a replica needs to say, or to hear, that it reaches Postgres.
pub(super) struct Standby {
    api: Api<Lease>,
    pulse: Mutex<Pulse>,
    holder: String,
    /// Of the leader's Lease.
    duration: Duration,
}

impl Standby {
    pub(super) fn new(
        client: kube::Client,
        namespace: &str,
        ledger: &Ledger,
        holder: String,
        duration: Duration,
    ) -> Self {
        Self { api: Api::namespaced(client, namespace), pulse: Mutex::new(ledger.pulse()), holder, duration }
    }

    async fn reaches(&self) -> bool {
        self.pulse.lock().await.beats(self.duration / 5).await
    }

    /// Says for as long as it is polled that this replica reaches Postgres, whenever it does.
    pub(super) async fn offers(&self) {
        loop {
            if self.reaches().await {
                let spec = json!({"holderIdentity": self.holder, "renewTime": MicroTime(Timestamp::now())});
                let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}, "spec": spec});
                let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&lease));
                let said = self.api.patch(NAME, &params, &patch);
                if !matches!(tokio::time::timeout(self.duration, said).await, Ok(Ok(_))) {
                    tracing::debug!("that this replica reaches Postgres was not said");
                }
            }
            tokio::time::sleep(self.duration / 4).await;
        }
    }

    /// Waits until Postgres is away from here and another replica reaches it.
    pub(super) async fn is_preferred(&self) -> Error {
        let mut outage = Outage::default();
        let mut asked = Instant::now();
        loop {
            tokio::time::sleep_until((asked + self.duration / 5).into()).await;
            asked = Instant::now();
            if self.reaches().await {
                outage = Outage::default();
                continue;
            }
            // A look that fails tells nothing.
            let Ok(Ok(lease)) = tokio::time::timeout(self.duration, self.api.get_opt(NAME)).await else { continue };
            let renewed = lease.and_then(|lease| lease.spec?.renew_time).map(|time| time.0);
            if outage.another_goes_on(asked, renewed, Instant::now(), self.duration) {
                return Error::Deposed("Postgres is away from here, and a replica that stands by reaches it".into());
            }
        }
    }

    /// Waits until Postgres is back, or until another replica has had the time to lead.
    pub(super) async fn rests(&self) {
        let back = async {
            while !self.reaches().await {
                tokio::time::sleep(self.duration / 5).await;
            }
        };
        let _ = tokio::time::timeout(self.duration * 2, back).await;
    }
}

/// Postgres does not answer.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
    /// What another said when it had gone on for a while. Before, it may speak of the time before.
    first: Option<Option<Timestamp>>,
}

impl Outage {
    /// Whether it has gone on for long enough, and another has said in the midst of it that it reaches Postgres. `asked`:
    /// when Postgres was asked in vain; `renewed`: when another said so last, by its own clock.
    fn another_goes_on(
        &mut self,
        asked: Instant,
        renewed: Option<Timestamp>,
        now: Instant,
        duration: Duration,
    ) -> bool {
        let lasts = now.duration_since(*self.since.get_or_insert(asked));
        if lasts < duration / 5 {
            return false;
        }
        let first = *self.first.get_or_insert(renewed);
        lasts >= duration * 2 / 3 && renewed.is_some() && renewed != first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    /// What is found when Postgres is asked in vain at these seconds, and another said at those that it reaches it.
    fn found(looks: &[(u64, Option<i64>)]) -> Vec<bool> {
        let (mut outage, began) = (Outage::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let said = |seconds: &Option<i64>| seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        looks.iter().map(|(look, last)| outage.another_goes_on(at(*look), said(last), at(*look), LEASE)).collect()
    }

    #[test]
    fn who_reaches_postgres_is_given_way() {
        assert_eq!(found(&[(0, Some(1)), (2, Some(2)), (4, Some(4)), (7, Some(7))]), [false, false, false, true]);
    }

    #[test]
    fn with_postgres_away_from_all_the_leader_goes_on() {
        // What was said when it had just gone speaks of the time before.
        assert_eq!(found(&[(0, Some(1)), (2, Some(2)), (4, Some(2)), (60, Some(2))]), [false; 4]);
        assert_eq!(found(&[(0, None), (60, None)]), [false; 2]);
    }

    #[test]
    fn a_short_outage_changes_nothing() {
        assert_eq!(found(&[(0, Some(1)), (3, Some(3)), (6, Some(6))]), [false; 3]);
    }
}
