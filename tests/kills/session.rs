//! The processes of one run, as `/proc` tells: its runner leads a session.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A process of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: i32,
    pub(crate) name: String,
}

/// Who took the run, as its folder tells: `None` before its claim and after its end.
pub(crate) fn runner(folder: &Path) -> Option<i32> {
    let holder: Value = serde_json::from_slice(&std::fs::read(folder.join("holder.json")).ok()?).ok()?;
    let pid = i32::try_from(holder["pid"].as_i64()?).ok()?;
    let started = stat(pid).map(|s| s.started);
    (started == holder["start_time"].as_u64()).then_some(pid)
}

struct Stat {
    name: String,
    state: String,
    session: i32,
    started: u64,
}

impl Stat {
    fn is_alive(&self) -> bool {
        !["Z", "X"].contains(&self.state.as_str())
    }
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = text.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    Some(Stat {
        name: head.split_once('(')?.1.to_owned(),
        state: fields[0].to_owned(),
        session: fields[3].parse().ok()?,
        started: fields[19].parse().ok()?,
    })
}

/// All that live in the session that this process leads or led.
pub(crate) fn members(leader: i32) -> Vec<Member> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let alive = pids.filter_map(|pid| Some((pid, stat(pid)?)));
    alive
        .filter(|(_, stat)| stat.session == leader && stat.is_alive())
        .map(|(pid, stat)| Member { pid, name: stat.name })
        .collect()
}

/// The engine among them: itself, neither its plugins nor its provisioners.
pub(crate) fn engine(leader: i32) -> Vec<i32> {
    members(leader).into_iter().filter(|m| m.name == "tofu").map(|m| m.pid).collect()
}

pub(crate) fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| stat.is_alive())
}

/// Stopped, and so still able to go on: one that is just ending does not stop any more.
pub(crate) fn is_stopped(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| stat.state == "T")
}

/// One that has ended meanwhile is no error.
pub(crate) fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}
