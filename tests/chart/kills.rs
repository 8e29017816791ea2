//! Thirty kills on a real node, of what the chart installed: containers and pods of controllers, pods of runs, and processes in them.
//! `LANDFALL_KILLS_SEED` says which.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, EvictParams, ListParams};
use kube::{Client, ResourceExt};
use landfall::ledger::Keyring;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use uuid::Uuid;

use crate::cluster::node;
use crate::ground::{Ground, TEAM};
use crate::harness::objects::Dice;
use crate::harness::{OWN_BED, User, grant, wait_until};
use crate::helm::{HOME, run};
use crate::runners::{processes, runner, with_libraries};
use crate::site::{PLENTY, Seen, Site, digest};
use crate::world::{SHELL, World};

const DEPLOYMENTS: usize = 20;
const LANES: usize = 4;

/// Who dies, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// The process of a controller's pod; kubelet starts it again.
    Controller,
    /// A controller's pod, at once; its ReplicaSet makes another.
    ControllerPod,
    /// Who leads stands still until another does, and for a while more; then it wakes.
    Sleeper,
    /// The runner's process.
    Runner,
    /// The engine's process.
    Engine,
    /// A run's pod, at once, as where its node is lost.
    Pod,
    /// A run's pod, with notice, by somebody whom the API server did not let evict it.
    Drained,
}

const VICTIMS: [(Victim, usize); 7] = [
    (Victim::Controller, 4),
    (Victim::ControllerPod, 4),
    (Victim::Sleeper, 2),
    (Victim::Runner, 6),
    (Victim::Engine, 5),
    (Victim::Pod, 5),
    (Victim::Drained, 4),
];

/// When it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Some time after a plan's pod was made, or whoever is to die appeared in it.
    Plan(Duration),
    /// The same of an apply.
    Apply(Duration),
    /// While a creation is under way.
    Creation,
}

#[derive(Clone, Copy, Debug)]
struct Kill {
    victim: Victim,
    moment: Moment,
}

/// Half of them in the middle of a creation.
fn schedule(dice: &mut Dice) -> Vec<Kill> {
    let mut kills: Vec<Kill> = Vec::new();
    for (victim, count) in VICTIMS {
        for number in 0..count {
            let later = Duration::from_millis(dice.below(1000) as u64);
            let moment = match number % 4 {
                0 | 2 => Moment::Creation,
                1 => Moment::Plan(later),
                _ => Moment::Apply(later),
            };
            kills.push(Kill { victim, moment });
        }
    }
    for at in (1..kills.len()).rev() {
        kills.swap(at, dice.below(at + 1));
    }
    kills
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node"]
async fn whatever_pod_or_process_dies_nothing_is_done_twice_and_nothing_is_left() {
    let bed = tokio::task::spawn_blocking(node).await.unwrap();
    OWN_BED.scope(bed.values(), story()).await;
}

struct Field {
    client: Client,
    world: World,
    site: Site,
    told: Mutex<Vec<(Kill, String)>>,
}

async fn story() {
    let seed =
        std::env::var("LANDFALL_KILLS_SEED").map_or_else(|_| rand::random::<u32>().into(), |s| s.parse().unwrap());
    let _ = writeln!(std::io::stderr(), "LANDFALL_KILLS_SEED={seed}");
    let Ground { client, mut services, database } = Ground::lay(&with_libraries(SHELL)).await;
    let mut values = Ground::values();
    values["limits"] = json!({"leaseSeconds": 5});
    values["runs"] = json!({"max": LANES, "stopGraceSeconds": 10, "ttlSecondsAfterFinished": 30});
    run(&["install", "landfall", "--wait", "--timeout", "2m"], Some(&values));
    services.serve_runs(&client).await;
    grant(TEAM, User::Alice, &["landfall-approver"]).await;
    let site = Site::new(TEAM, database.as_str(), keys(&client).await).await;
    let field = Field { client, world: World::begin().await, site, told: Mutex::default() };
    let before = field.secrets().await;

    let began = Instant::now();
    let kills = schedule(&mut Dice::new(seed));
    let deployments =
        (0..DEPLOYMENTS).map(|n| (n, kills.iter().skip(n).step_by(DEPLOYMENTS).copied().collect::<Vec<_>>()));
    let waiting = Mutex::new(deployments.collect::<VecDeque<_>>());
    let lane = async |_| {
        loop {
            let next = waiting.lock().unwrap().pop_front();
            let Some((number, kills)) = next else { return };
            field.one(&format!("d{number:02}"), &kills).await;
        }
    };
    join_all((0..LANES).map(lane)).await;
    let _ = writeln!(std::io::stderr(), "{}{} s", field.table(), began.elapsed().as_secs());

    field.site.nothing_held_at_all().await;
    let none = async || {
        field.names::<Job>("landfall.dev/run").await.is_empty() && field.pods("landfall.dev/run").await.is_empty()
    };
    wait_until(PLENTY, "no Job and no pod of a run to be left", none).await;
    assert_eq!(field.secrets().await, before);
    let mut verify = Command::new(env!("CARGO_BIN_EXE_landfall"));
    let output = verify.args(["audit", "verify"]).env("DATABASE_URL", database.as_str()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The installation's keys, as its Secret has them.
async fn keys(client: &Client) -> Keyring {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), HOME);
    let data = secrets.get("landfall-key-k1").await.unwrap().data.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &data["key"].0).unwrap();
    let encryption = json!({"current": "k1", "keys": {"k1": file.path()}});
    Keyring::from_installation(&serde_json::from_value(encryption).unwrap()).unwrap()
}

impl Field {
    /// A deployment, what dies while it is made or changed, and its end, at which every account balances.
    async fn one(&self, name: &str, kills: &[Kill]) {
        let (mut turn, mut uid) = (0, Uuid::nil());
        for kill in kills {
            let (hit, approved) = loop {
                turn += 1;
                // A short run may be over before it is hit: then its next is, and sooner each time.
                assert!(turn < 50, "{name}: {kill:?} never finds anybody");
                if let Some(hit) = self.strike(name, turn, *kill).await {
                    break hit;
                }
                self.site.drive(name, Vec::new()).await;
            };
            uid = self.site.drive(name, approved).await;
            self.site.balance(name, uid, &self.world.told(name), 3).await;
            let ended = self.site.phase(hit.id).await;
            self.told.lock().unwrap().push((*kill, format!("{} {ended}", hit.kind)));
        }
        assert!(!uid.is_nil());
        self.site.delete(name).await;
    }

    /// Brings the deployment there and kills. The run that was hit, and the digests that were approved.
    async fn strike(&self, name: &str, turn: u32, kill: Kill) -> Option<(Seen, Vec<String>)> {
        let before = self.site.newest(name).await.map(|run| run.id);
        self.world.hold(name, kill.moment == Moment::Creation);
        self.site.put(name, self.world.spec(name, turn)).await;
        let mut approved = Vec::new();
        let mut after = before;
        if !matches!(kill.moment, Moment::Plan(_)) {
            approved.push(digest(&self.site.stands(name, &["ApprovalRequired"]).await));
            after = self.site.newest(name).await.map(|run| run.id);
            self.site.approve(name, &approved[0]).await;
        }
        let run = self.begun(name, after).await;
        match kill.moment {
            Moment::Plan(later) | Moment::Apply(later) => {
                self.appears(kill.victim, run.id).await;
                tokio::time::sleep(later / turn).await;
            }
            Moment::Creation => {
                let under_way = async || self.world.lines(name, "count").iter().any(|line| line.run == run.id);
                wait_until(PLENTY, "a creation under way", under_way).await;
            }
        }
        let hit = self.kill(kill.victim, run.id).await;
        self.world.hold(name, false);
        hit.then_some((run, approved))
    }

    /// The next run after this one, once its pod is there.
    async fn begun(&self, name: &str, after: Option<Uuid>) -> Seen {
        let end = Instant::now() + PLENTY;
        loop {
            let run = self.site.newest(name).await.filter(|run| Some(run.id) != after);
            if let Some(run) = run
                && !self.pods(&format!("landfall.dev/run={}", run.id)).await.is_empty()
            {
                return run;
            }
            assert!(Instant::now() < end, "{name}: no pod of its next run");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a run has the process that is to die, or is over.
    async fn appears(&self, victim: Victim, run: Uuid) {
        let is_there = |run| match victim {
            Victim::Runner => runner(run).is_some(),
            Victim::Engine => engine(run).is_some(),
            _ => true,
        };
        let over = async || matches!(self.site.phase(run).await.as_str(), "Succeeded" | "Failed" | "Interrupted");
        wait_until(PLENTY, "whoever is to die", async || is_there(run) || over().await).await;
    }

    /// Whether there was somebody to die.
    async fn kill(&self, victim: Victim, run: Uuid) -> bool {
        let of_run = format!("landfall.dev/run={run}");
        match victim {
            Victim::Controller => {
                let mut pid = None;
                wait_until(PLENTY, "a controller's process", async || {
                    pid = self.controllers().await.pop().map(|(_, pid)| pid);
                    pid.is_some()
                })
                .await;
                end(pid).await
            }
            Victim::Sleeper => {
                let (leader, pid) = self.leading().await;
                let stopped = kill_process(pid, Signal::STOP);
                wait_until(PLENTY, "another leader", async || self.leader().await != leader).await;
                tokio::time::sleep(Duration::from_secs(5)).await;
                // Another lane may have killed it.
                stopped.and_then(|()| kill_process(pid, Signal::CONT)).is_ok()
            }
            Victim::ControllerPod => {
                let mut pods = self.pods("app.kubernetes.io/component=controller").await;
                pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
                self.delete(pods.into_iter().next(), true).await
            }
            Victim::Runner => end(runner(run)).await,
            Victim::Engine => end(engine(run)).await,
            Victim::Pod => self.delete(self.pods(&of_run).await.pop(), true).await,
            Victim::Drained => {
                let pod = self.pods(&of_run).await.pop();
                self.evict(pod.as_ref()).await;
                self.delete(pod, false).await
            }
        }
    }

    /// Names and processes of the controllers' pods, last the one that was started again the fewest times: the kubelet lets
    /// others wait ever longer. One that is being started again has none for a while.
    async fn controllers(&self) -> Vec<(String, i32)> {
        let mut pods = self.pods("app.kubernetes.io/component=controller").await;
        pods.sort_by_key(|pod| {
            let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
            std::cmp::Reverse(containers.map(|container| container.restart_count).sum::<i32>())
        });
        let of = |pod: &Pod| {
            let uid = pod.uid().unwrap();
            let is = |pid, line: &[String]| line.get(1).is_some_and(|word| word == "controller") && is_of(pid, &uid);
            processes(is).first().copied()
        };
        pods.iter().filter_map(|pod| Some((pod.name_any(), of(pod)?))).collect()
    }

    /// Who leads, with its process.
    async fn leading(&self) -> (String, Pid) {
        let mut found = None;
        wait_until(PLENTY, "a leader's process", async || {
            let leader = self.leader().await;
            let all = self.controllers().await;
            let pid =
                all.into_iter().find(|(name, _)| leader.starts_with(name)).and_then(|(_, pid)| Pid::from_raw(pid));
            found = pid.map(|pid| (leader, pid));
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Who leads, as the Lease says: the pod's name and more.
    async fn leader(&self) -> String {
        let lease = self.api::<Lease>().get("landfall-controller").await.unwrap();
        lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default()
    }

    /// Where it runs, no drain may take it.
    async fn evict(&self, pod: Option<&Pod>) {
        let Some(pod) = pod.filter(|pod| is_running(pod)) else { return };
        // Kube's own client would ask again and again.
        let mut config = User::Admin.config().await;
        config.default_retry = false;
        let pods: Api<Pod> = Api::namespaced(Client::try_from(config).unwrap(), HOME);
        match pods.evict(&pod.name_any(), &EvictParams::default()).await {
            Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 429) => {}
            other => {
                let ended =
                    !self.pods("landfall.dev/run").await.iter().any(|one| one.uid() == pod.uid() && is_running(one));
                assert!(ended, "{other:?}");
            }
        }
    }

    async fn delete(&self, pod: Option<Pod>, at_once: bool) -> bool {
        let Some(pod) = pod.filter(is_running_or_waits) else { return false };
        let params = if at_once { DeleteParams::default().grace_period(0) } else { DeleteParams::default() };
        self.api::<Pod>().delete(&pod.name_any(), &params).await.is_ok()
    }

    fn api<K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), HOME)
    }

    async fn pods(&self, labels: &str) -> Vec<Pod> {
        self.api().list(&ListParams::default().labels(labels)).await.unwrap().items
    }

    async fn names<K>(&self, labels: &str) -> Vec<String>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone,
        K: serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let all = self.api::<K>().list(&ListParams::default().labels(labels)).await.unwrap();
        all.items.iter().map(ResourceExt::name_any).collect()
    }

    async fn secrets(&self) -> Vec<String> {
        self.names::<Secret>("").await
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for (victim, _) in VICTIMS {
            let told = self.told.lock().unwrap();
            let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
            told.iter()
                .filter(|(kill, _)| kill.victim == victim)
                .for_each(|(_, is)| *outcomes.entry(is).or_default() += 1);
            let _ = writeln!(text, "{:15} {outcomes:?}", format!("{victim:?}"));
        }
        text
    }
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && phase == Some("Running")
}

fn is_running_or_waits(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && matches!(phase, Some("Running" | "Pending"))
}

/// Whether the process is of the pod with this uid.
fn is_of(pid: i32, pod: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(pod))
}

/// The engine that this run's runner has started.
fn engine(run: Uuid) -> Option<i32> {
    let parent = format!("PPid:\t{}\n", runner(run)?);
    let is_child =
        |pid| std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| text.contains(&parent));
    processes(|pid, line| line[0].ends_with("/tofu") && is_child(pid)).first().copied()
}

async fn end(pid: Option<i32>) -> bool {
    let Some(pid) = pid.and_then(Pid::from_raw) else { return false };
    if kill_process(pid, Signal::KILL).is_err() {
        return false;
    }
    wait_until(PLENTY, "the dead to be dead", async || test_kill_process(pid).is_err()).await;
    true
}
