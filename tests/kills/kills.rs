//! Sixty kills. `LANDFALL_KILLS` says how many, `LANDFALL_KILLS_SEED` which, `LANDFALL_KILLS_LANES` how many at once.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::database::Database;
use crate::ground::Ground;
use crate::harness::objects::Dice;
use crate::harness::wait_until;
use crate::moments::{Kill, Moment};
use crate::site::PLENTY;

pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Past the test harness, which shows what is printed only where a test has failed.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Each moment as often as the others, up to eight times; the rest as the dice fall.
fn schedule(count: u64, dice: &mut Dice) -> VecDeque<Kill> {
    let each = (count / Moment::ALL.len() as u64).min(8);
    let mut moments: Vec<Moment> = Moment::ALL.into_iter().flat_map(|m| (0..each).map(move |_| m)).collect();
    while (moments.len() as u64) < count {
        moments.push(*dice.pick(&Moment::ALL));
    }
    for at in (1..moments.len()).rev() {
        moments.swap(at, dice.below(at + 1));
    }
    (0..).zip(moments).map(|(number, moment)| Kill::new(number, moment, dice)).collect()
}

struct Told {
    kill: Kill,
    outcome: String,
    seconds: f32,
}

async fn one(ground: &Ground, kill: Kill) -> Told {
    let (began, name) = (Instant::now(), kill.name());
    let (hit, approved, turn) = kill.strike(ground).await;
    let uid = ground.drive(&name, approved).await;
    ground.settle(&name, uid, turn).await;
    let outcome = ground.phase(hit.id).await;
    ground.delete(&name).await;
    let seconds = began.elapsed().as_secs_f32();
    eprintln!("{name} {:?} {:?} of a run for {}: {outcome}, {seconds:.1} s", kill.moment, kill.victims, hit.kind);
    Told { kill, outcome, seconds }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_and_whenever_nothing_is_done_twice_and_nothing_is_forgotten() {
    let (count, lanes) = (number("LANDFALL_KILLS", 60), number("LANDFALL_KILLS_LANES", 6));
    let seed = number("LANDFALL_KILLS_SEED", u64::from(rand::random::<u32>()));
    say(&format!("{count} kills, LANDFALL_KILLS_SEED={seed}"));
    let began = Instant::now();
    let ground = Ground::new(Database::fresh().await, usize::try_from(lanes).unwrap()).await;
    let kills = Mutex::new(schedule(count, &mut Dice::new(seed)));
    let lane = async |_| {
        let mut told = Vec::new();
        loop {
            let kill = kills.lock().unwrap().pop_front();
            let Some(kill) = kill else { return told };
            told.push(one(&ground, kill).await);
        }
    };
    let told: Vec<Told> = join_all((0..lanes).map(lane)).await.into_iter().flatten().collect();
    say(&table(&told, began.elapsed(), ground.process.starts().await));
    for moment in Moment::ALL {
        let hits = told.iter().filter(|t| t.kill.moment == moment).count() as u64;
        assert!(hits >= (count / 6).min(8), "{moment:?} was hit {hits} times");
    }
    at_the_end(ground).await;
}

fn table(told: &[Told], took: Duration, starts: u32) -> String {
    let mut text = String::new();
    for moment in Moment::ALL {
        let hits: Vec<_> = told.iter().filter(|t| t.kill.moment == moment).collect();
        let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
        hits.iter().for_each(|t| *outcomes.entry(&t.outcome).or_default() += 1);
        let slowest = hits.iter().map(|t| t.seconds).fold(0.0, f32::max);
        let _ = writeln!(text, "{:15} {:3}  {outcomes:?}  slowest {slowest:.0} s", format!("{moment:?}"), hits.len());
    }
    let _ = write!(text, "{} kills in {} s; the controller was started {starts} times", told.len(), took.as_secs());
    text
}

async fn at_the_end(ground: Ground) {
    ground.nothing_held_at_all().await;
    wait_until(PLENTY, "no runner to live", async || ground.runners().is_empty()).await;
    // Whoever leads next sweeps out what runs of its predecessors left.
    ground.process.hand().await.kill().await;
    let work = ground.process.home.installation.executor.work_dir.clone();
    let swept = async || std::fs::read_dir(&work).unwrap().next().is_none();
    wait_until(PLENTY, "no run to have left a folder", swept).await;
    let mut verify = Command::new(env!("CARGO_BIN_EXE_landfall"));
    let output = verify.args(["audit", "verify"]).env("DATABASE_URL", &ground.database.url).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
