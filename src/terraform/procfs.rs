//! Who is alive, by `/proc`.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::run::protocol::ProcessIdentity;
use crate::{Error, Result};

/// What `/proc/<pid>/stat` tells of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) session: i32,
    pub(super) start_time: u64,
    zombie: bool,
}

impl Process {
    /// Reads one process; `None` when there is none.
    pub(super) fn read(pid: i32) -> Option<Self> {
        parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// Fields are counted after the last `)`: a command name may hold spaces and parentheses.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X" | "x");
    let session = fields.nth(2)?.parse().ok()?;
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, session, start_time, zombie })
}

fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).map_err(Error::io(path))?.trim().to_owned())
}

/// Identity of a process that lives.
///
/// # Errors
/// Where there is no such process.
pub(super) fn identity(pid: i32) -> Result<ProcessIdentity> {
    let process = Process::read(pid).ok_or_else(|| Error::Integrity(format!("no process {pid}")))?;
    Ok(ProcessIdentity { pid, start_time: process.start_time, boot_id: boot_id()? })
}

/// Whether this process leads its session.
///
/// # Errors
/// It does not, as where it leads a process group of another's session.
pub(super) fn leads_session() -> Result<()> {
    let us = rustix::process::getpid().as_raw_nonzero().get();
    // Not by getsid(2): of a session whose leader is outside our PID namespace it says 0, which its wrapper takes for no answer.
    let process = Process::read(us).ok_or_else(|| Error::Integrity(format!("no process {us}")))?;
    if process.session == us {
        return Ok(());
    }
    Err(Error::Integrity(format!(
        "process {us} leads no session of its own (it is in {}), so nobody could tell whether it lives",
        process.session
    )))
}

/// All that live, without zombies.
fn all() -> Result<impl Iterator<Item = Process>> {
    let entries = fs::read_dir("/proc").map_err(Error::io("/proc"))?;
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(Process::read).filter(|p| !p.zombie))
}

/// Live members of a session.
///
/// # Errors
/// Where `/proc` cannot be read.
pub(super) fn members(session: i32) -> Result<Vec<Process>> {
    Ok(all()?.filter(|p| p.session == session).collect())
}

/// Live processes of our PID namespace but its first.
///
/// # Errors
/// Where `/proc` cannot be read.
pub(super) fn of_our_namespace() -> Result<Vec<Process>> {
    Ok(all()?.filter(|p| p.pid != 1).collect())
}

/// Whether this process stands in another PID namespace than the machine's first.
pub(super) fn is_contained() -> bool {
    // Its number is fixed in the kernel's interface (PROC_PID_INIT_INO).
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() != "pid:[4026531836]")
}

/// The live members of the session that this process leads or led, itself included.
///
/// # Errors
/// Where `/proc` cannot be read.
pub(super) fn held_by(leader: &ProcessIdentity) -> Result<Vec<ProcessIdentity>> {
    let boot_id = boot_id()?;
    // A leader of another age: the number was given away again, which happens only when the old session is gone.
    let another = Process::read(leader.pid).is_some_and(|process| process.start_time != leader.start_time);
    if leader.boot_id != boot_id || another {
        return Ok(Vec::new());
    }
    let members = members(leader.pid)?.into_iter().filter(|member| member.start_time >= leader.start_time);
    let identity = |p: Process| ProcessIdentity { pid: p.pid, start_time: p.start_time, boot_id: boot_id.clone() };
    Ok(members.map(identity).collect())
}

/// Whether exactly this process lives. When in doubt, yes.
///
/// # Errors
/// Where `/proc` cannot be read.
pub(super) fn lives(process: &ProcessIdentity) -> Result<bool> {
    let same = |found: Process| found.start_time == process.start_time && !found.zombie;
    Ok(boot_id()? == process.boot_id && Process::read(process.pid).is_some_and(same))
}

/// Whether the process or any member of its session lives; one of another boot does not, on this machine. When in doubt, yes: a lock that stands too long is mended by
/// a person, one that was broken too early is not.
///
/// # Errors
/// Where `/proc` cannot be read.
pub(super) fn is_held(by: &ProcessIdentity) -> Result<bool> {
    Ok(!held_by(by)?.is_empty())
}

/// Sends a signal to exactly this process. Nothing happens where it is gone.
///
/// # Errors
/// Where the signal cannot be sent.
pub(super) fn signal(to: &ProcessIdentity, signal: Signal) -> Result<()> {
    let Some(pid) = Pid::from_raw(to.pid) else { return Ok(()) };
    // The descriptor is of one process; which one is looked at after it is open, so the number cannot change hands.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    if identity(to.pid).ok().as_ref() != Some(to) {
        return Ok(());
    }
    match pidfd_send_signal(process, signal) {
        Err(Errno::SRCH) => Ok(()),
        sent => sent.map_err(|e| Error::io(format!("signal process {}", to.pid))(e.into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_is_read() {
        let stat = "7 (a) Z (b)) S 1 7 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(parse(7, stat), Some(Process { pid: 7, session: 5, start_time: 4711, zombie: false }));
        assert_eq!(parse(7, "7 (a"), None);
    }

    #[test]
    fn this_process_is_held_by_itself_and_not_by_its_number_alone() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let session = Process::read(pid).unwrap().session;
        let leader = Process::read(session);
        let age = leader.map_or(0, |l| l.start_time);
        let me = ProcessIdentity { pid: session, start_time: age, boot_id: boot_id().unwrap() };
        if leader.is_some() {
            assert!(is_held(&me).unwrap());
            assert!(!is_held(&ProcessIdentity { start_time: age + 1, ..me.clone() }).unwrap());
        }
        assert!(!is_held(&ProcessIdentity { boot_id: "another".into(), ..me }).unwrap());
    }
}
