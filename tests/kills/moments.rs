//! The six moments, who dies in them, and how one is hit: its victims are stopped, the moment is proved from Postgres,
//! `/proc` and the world, and only then are they killed.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use uuid::Uuid;

use crate::gates::{Gate, Shut};
use crate::ground::Ground;
use crate::harness::objects::Dice;
use crate::harness::wait_until;
use crate::kept::Hand;
use crate::session;
use crate::site::{PLENTY, Seen, digest};

/// When to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Moment {
    /// The intent to apply is committed, its runner not yet started.
    NotSpawned,
    /// A runner is at `init` or `plan`.
    InitOrPlan,
    /// The engine is in the middle of an apply.
    MidApply,
    /// The engine is done, its state in the spool and not in the ledger.
    NotAcknowledged,
    /// The ledger has the state and no outcome.
    NoOutcome,
    /// An apply goes on and ends while there is no controller.
    ControllerDown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Controller,
    Runner,
    /// The engine alone; together with its runner all that they started.
    Engine,
}

use Victim::{Controller as C, Engine as E, Runner as R};

impl Moment {
    pub(crate) const ALL: [Self; 6] = [
        Self::NotSpawned,
        Self::InitOrPlan,
        Self::MidApply,
        Self::NotAcknowledged,
        Self::NoOutcome,
        Self::ControllerDown,
    ];

    /// Who may die then, of which the seed chooses.
    pub(crate) fn victims(self) -> &'static [&'static [Victim]] {
        match self {
            Self::NotSpawned => &[&[C]],
            Self::InitOrPlan | Self::MidApply => &[&[R], &[E], &[R, E], &[R], &[E], &[R, E], &[C, R], &[C, R, E]],
            Self::NotAcknowledged | Self::NoOutcome => &[&[R], &[R], &[C], &[C, R]],
            Self::ControllerDown => &[&[C], &[C, R]],
        }
    }

    fn gate(self) -> Option<Gate> {
        match self {
            Self::NotSpawned => Some(Gate::Start),
            Self::NotAcknowledged => Some(Gate::State),
            Self::NoOutcome => Some(Gate::End),
            Self::InitOrPlan | Self::MidApply | Self::ControllerDown => None,
        }
    }

    /// Whether provisioners wait until the test lets them go.
    pub(crate) fn pauses(self) -> bool {
        matches!(self, Self::MidApply | Self::ControllerDown)
    }
}

/// One kill, as the seed wants it.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    pub(crate) number: u64,
    pub(crate) moment: Moment,
    pub(crate) victims: &'static [Victim],
    /// After the moment was seen, where it has a length.
    delay: Duration,
    /// Of an apply, where a plan would do as well.
    of_apply: bool,
}

impl Kill {
    pub(crate) fn new(number: u64, moment: Moment, dice: &mut Dice) -> Self {
        let victims = dice.pick(moment.victims());
        let delay = Duration::from_millis(dice.below(250) as u64);
        Self { number, moment, victims, delay, of_apply: dice.below(3) == 0 }
    }

    pub(crate) fn name(&self) -> String {
        format!("k{:02}", self.number)
    }

    fn hits(&self, victim: Victim) -> bool {
        self.victims.contains(&victim)
    }

    /// Brings the deployment there and kills. Answers the run that was hit and the digests that were approved.
    pub(crate) async fn strike(&self, ground: &Ground) -> (Seen, Vec<String>, u32) {
        let name = self.name();
        let (mut turn, mut approved, mut before) = (1, Vec::new(), None);
        ground.turn(&name, turn).await;
        if !self.moment.pauses() {
            ground.go(&name);
        }
        let mut gate = None;
        if self.moment != Moment::InitOrPlan || self.of_apply {
            let plan = digest(&ground.stands(&name, &["ApprovalRequired"]).await);
            if let Some(place) = self.moment.gate() {
                gate = Some(Shut::at(&ground.database.url, place, &name).await);
            }
            before = ground.newest(&name).await.map(|run| run.id);
            ground.approve(&name, &plan).await;
            approved.push(plan);
        }
        loop {
            match self.attempt(ground, &name, before, self.delay / turn).await {
                Some(hit) => {
                    self.aftermath(ground, &name, hit.hand, gate).await;
                    return (hit.run, approved, turn);
                }
                // The other moments last until somebody is hit.
                None if self.moment == Moment::InitOrPlan => {
                    turn += 1;
                    assert!(turn < 50, "{name}: each of its runs was over before it was hit");
                    before = ground.newest(&name).await.map(|run| run.id);
                    ground.turn(&name, turn).await;
                }
                None => {}
            }
        }
    }

    /// `None` where the moment was missed; `before` is the run after which it comes.
    async fn attempt(&self, ground: &Ground, name: &str, before: Option<Uuid>, delay: Duration) -> Option<Hit> {
        let end = Instant::now() + PLENTY;
        let over = |run: &Seen| Some(run.id) != before && run.phase == "Succeeded";
        while self.seen(ground, name).await.is_none() {
            // `init` and `plan` are short: on a busy machine a run may be through between two looks.
            if self.moment == Moment::InitOrPlan && ground.newest(name).await.is_some_and(|run| over(&run)) {
                return None;
            }
            assert!(Instant::now() < end, "{name}: waited for {:?}: {:?}", self.moment, ground.newest(name).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if self.moment == Moment::InitOrPlan {
            tokio::time::sleep(delay).await;
        }
        let mut hand = if self.hits(C) { Some(ground.process.hand().await) } else { None };
        let leader = ground.newest(name).await.and_then(|run| session::runner(&ground.folder(run.id)));
        let targets = self.stop(hand.as_ref(), leader).await;
        let run = self.seen(ground, name).await.filter(|_| self.has_all(&targets, leader));
        let Some(run) = run else {
            targets.iter().for_each(|pid| session::signal(*pid, Signal::CONT));
            return None;
        };
        targets.iter().for_each(|pid| session::signal(*pid, Signal::KILL));
        if let Some(hand) = &mut hand {
            hand.kill().await;
        }
        let dead = async || targets.iter().all(|pid| !session::is_alive(*pid));
        wait_until(PLENTY, "the dead to be dead", dead).await;
        // What a victim had already sent may have arrived after the look.
        let after = ground.newest(name).await.filter(|now| now.id == run.id && now.phase == "Succeeded");
        after.is_none().then_some(Hit { run, hand })
    }

    /// Stops the victims, those too that the others started meanwhile: what stands still starts nothing.
    async fn stop(&self, hand: Option<&Hand>, leader: Option<i32>) -> Vec<i32> {
        let mut stopped = Vec::new();
        loop {
            let fresh: Vec<_> = self.targets(hand, leader).into_iter().filter(|pid| !stopped.contains(pid)).collect();
            if fresh.is_empty() {
                return stopped;
            }
            fresh.iter().for_each(|pid| session::signal(*pid, Signal::STOP));
            let ready = async || fresh.iter().all(|pid| session::is_stopped(*pid) || !session::is_alive(*pid));
            wait_until(PLENTY, "the victims to stand still", ready).await;
            stopped.extend(fresh);
        }
    }

    /// Whom to stop now. While the controller is down, its runner dies later.
    fn targets(&self, hand: Option<&Hand>, leader: Option<i32>) -> Vec<i32> {
        let mut targets: Vec<i32> = hand.iter().map(|hand| hand.pid().as_raw_nonzero().get()).collect();
        if let Some(leader) = leader
            && self.moment != Moment::ControllerDown
        {
            match (self.hits(R), self.hits(E)) {
                (true, true) => targets.extend(session::members(leader).iter().map(|m| m.pid)),
                (true, false) => targets.push(leader),
                (false, true) => targets.extend(session::engine(leader)),
                (false, false) => {}
            }
        }
        targets
    }

    /// Whether those who are to die stand still: runner and engine. What they started comes and goes.
    fn has_all(&self, targets: &[i32], leader: Option<i32>) -> bool {
        let stands = |pid: &i32| targets.contains(pid) && session::is_stopped(*pid);
        let runner = leader.is_some_and(|leader| stands(&leader));
        let engine = leader.is_some_and(|leader| session::engine(leader).iter().any(stands));
        let later = self.moment == Moment::ControllerDown;
        (!self.hits(R) || runner || later) && (!self.hits(E) || engine)
    }

    /// What the killed leave behind goes on, and the controller comes back.
    async fn aftermath(&self, ground: &Ground, name: &str, hand: Option<Hand>, gate: Option<Shut>) {
        if let Some(gate) = gate {
            gate.open().await;
        }
        ground.go(name);
        if self.moment == Moment::ControllerDown {
            let run = ground.newest(name).await.unwrap();
            let leader = session::runner(&ground.folder(run.id)).expect("the runner outlives the controller");
            let ended = async || ground.files(name).join("last").exists() && session::engine(leader).is_empty();
            wait_until(PLENTY, "the engine's end without a controller", ended).await;
            let now = ground.newest(name).await.unwrap();
            assert!(now.open && now.states == 0 && now.phase == "Apply", "{name}: nobody can have told: {now:?}");
            if self.hits(R) {
                session::signal(leader, Signal::KILL);
            }
        }
        drop(hand);
    }

    /// The newest run, if it is in the moment now. `/proc` is asked last: there is much of it.
    async fn seen(&self, ground: &Ground, name: &str) -> Option<Seen> {
        let run = ground.newest(name).await?;
        let folder = ground.folder(run.id);
        let in_phase = |phases: &[&str]| phases.contains(&run.phase.as_str());
        let applying = |phases| run.kind == "Apply" && run.open && in_phase(phases);
        let engine = || session::runner(&folder).map(|leader| !session::engine(leader).is_empty());
        let is = match self.moment {
            Moment::NotSpawned => applying(&["Pending"]) && !folder.exists(),
            Moment::InitOrPlan => {
                in_phase(&["Claimed", "Init", "Plan"]) && engine().is_some_and(|engine| engine || !self.hits(E))
            }
            Moment::MidApply | Moment::ControllerDown => {
                let told = std::fs::read_to_string(ground.files(name).join("count")).unwrap_or_default();
                applying(&["Apply"]) && told.contains(&run.id.to_string()) && engine() == Some(true)
            }
            Moment::NotAcknowledged => {
                let waits = applying(&["Apply", "Finishing"]) && run.states == 0 && spooled(&folder) == Some(false);
                waits && engine() == Some(false)
            }
            Moment::NoOutcome => {
                let waits = applying(&["Apply", "Finishing"]) && run.states > 0 && spooled(&folder) == Some(true);
                waits && engine() == Some(false)
            }
        };
        is.then_some(run)
    }
}

/// A run that was hit. While the hand is there, no controller is.
struct Hit {
    run: Seen,
    hand: Option<Hand>,
}

/// Whether the ledger has every state of the spool; `None` where there is none.
fn spooled(folder: &Path) -> Option<bool> {
    let names: Vec<_> = std::fs::read_dir(folder.join("spool"))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let mut states = names.iter().filter_map(|name| name.strip_suffix(".tfstate")).peekable();
    states.peek()?;
    Some(states.all(|number| names.contains(&format!("{number}.acked"))))
}
