//! Postgres, then the API server, are away for half a minute in the middle of runs. Both are the test's own.
//! `LANDFALL_OUTAGE_SECONDS` says for how long.

use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::database::Database;
use crate::ground::Ground;
use crate::harness::{OWN_BED, env, wait_until};
use crate::kills::number;
use crate::site::{PLENTY, digest, ready};

#[tokio::test(flavor = "multi_thread")]
async fn half_a_minute_without_postgres_and_then_without_the_api_server_loses_nothing() {
    let bed = tokio::task::spawn_blocking(|| Bed::up("apiserver,postgres")).await.unwrap();
    let values = bed.values();
    OWN_BED
        .scope(values, async {
            let ground = Ground::new(Database::on(&env("DATABASE_SUPERUSER_URL")).await, 4).await;
            let (pid, epoch) = (ground.process.hand().await.pid(), "SELECT writer_epoch FROM clusters");
            without_postgres(&bed, &ground).await;
            let before = ground.count(epoch).await;
            without_api_server(&bed, &ground).await;
            assert!(ground.count(epoch).await > before, "it led anew");
            assert_eq!(ground.process.hand().await.pid(), pid, "the same process lives through both");
            assert_eq!(ground.process.starts().await, 1);
            let died = "SELECT count(*) FROM terraform_runs WHERE phase IN ('Interrupted', 'Failed', 'Cancelled')";
            assert_eq!(ground.count(died).await, 0, "an outage is no reason for a run to die");
            assert_eq!(ground.count("SELECT count(*) FROM terraform_runs WHERE kind = 'Apply'").await, 5);
        })
        .await;
}

/// Something of the bed is away.
struct Outage<'a> {
    bed: &'a Bed,
    what: &'static str,
    back: Instant,
}

impl<'a> Outage<'a> {
    fn of(bed: &'a Bed, what: &'static str) -> Self {
        bed.tell(&["stop", what], &[]);
        Self { bed, what, back: Instant::now() + Duration::from_secs(number("LANDFALL_OUTAGE_SECONDS", 30)) }
    }

    async fn last(&self) {
        tokio::time::sleep(self.back.saturating_duration_since(Instant::now())).await;
    }

    fn end(self) {
        self.bed.tell(&["start", self.what], &[]);
    }
}

async fn without_postgres(bed: &Bed, ground: &Ground) {
    let applied = in_mid_apply(ground, "mid").await;
    ground.turn("waits", 1).await;
    let waiting = digest(&ground.stands("waits", &["ApprovalRequired"]).await);
    ground.go("waits");
    let outage = Outage::of(bed, "postgres");
    ground.go("mid");
    ground.turn("new", 1).await;
    ground.go("new");
    ground.approve("waits", &waiting).await;
    for name in ["new", "waits"] {
        let told = async || ready(&ground.get(name).await) == "LedgerUnavailable";
        wait_until(PLENTY, "LedgerUnavailable", told).await;
    }
    let ended = async || ground.files("mid").join("last").exists();
    wait_until(PLENTY, "the engine's end without a ledger", ended).await;
    outage.last().await;
    assert!(!ground.files("waits").join("early").exists(), "nothing begins that is not on record");
    outage.end();
    settled(ground, "mid", applied).await;
    settled(ground, "waits", vec![waiting]).await;
    settled(ground, "new", Vec::new()).await;
}

async fn without_api_server(bed: &Bed, ground: &Ground) {
    let applied = in_mid_apply(ground, "busy").await;
    ground.turn("later", 1).await;
    ground.stands("later", &["ApprovalRequired"]).await;
    ground.go("later");
    let outage = Outage::of(bed, "apiserver");
    ground.go("busy");
    let told = async || ground.newest("busy").await.is_some_and(|run| run.kind == "Apply" && run.phase == "Succeeded");
    wait_until(PLENTY, "the run's end in the ledger, without an API server", told).await;
    outage.last().await;
    outage.end();
    settled(ground, "busy", applied).await;
    settled(ground, "later", Vec::new()).await;
}

/// A deployment whose engine is in the middle of its apply; answers the digests that were approved.
async fn in_mid_apply(ground: &Ground, name: &str) -> Vec<String> {
    ground.turn(name, 1).await;
    let plan = digest(&ground.stands(name, &["ApprovalRequired"]).await);
    ground.approve(name, &plan).await;
    let begun = async || ground.files(name).join("count").exists();
    wait_until(PLENTY, "the apply in the world", begun).await;
    vec![plan]
}

/// It comes to its end by itself, but for the approval of what is new, with every account in balance.
async fn settled(ground: &Ground, name: &str, approved: Vec<String>) {
    let uid = ground.drive(name, approved).await;
    ground.settle(name, uid, 1).await;
    assert_eq!(ground.newest(name).await.unwrap().phase, "Succeeded", "{name}");
}
