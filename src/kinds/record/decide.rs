//! What a record needs next, and how its set stands.

use jiff::Timestamp;

use super::observe::Seen;
use crate::api::{DnsRecord, DnsRecordSpec, Reason, RecordAdoption, RecordDeletion, RecordDrift, RecordPolicy};
use crate::dns::{RecordSet, RecordType};
use crate::kinds::Refusal;
use crate::ledger::{RecordClaim, WrittenSet};
use crate::reconcile::commands::{Command, Refusal as Discarded, Verb};
use crate::reconcile::finalizer;
use crate::zones::{Look, Whose};

/// So many repairs in ten minutes, and somebody else wants something else.
const REPAIRS: u32 = 3;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Move a command from its annotations to the ledger.
    Take(Command),
    /// Take a command away that is not to be obeyed.
    Discard {
        /// The command.
        command: Command,
        /// Why not.
        why: Discarded,
    },
    /// Put down that the object asks for the set, which another has.
    Claim,
    /// Put down that it asks for it no more, so that it keeps nobody from it.
    Yield,
    /// Take its own set away, which keeps an older object's set of another type from standing.
    GiveWay,
    /// Have the set stand as the spec says.
    Write {
        /// It stood so before, and somebody else has changed it.
        repair: bool,
    },
    /// It is being deleted: take the set away, also from where it was before.
    Remove,
    /// It is being deleted, and its set stays or is gone.
    Leave {
        /// Who has the set from now on.
        heir: Option<RecordClaim>,
        /// Why the set stays, where nobody has it.
        kept: Option<String>,
    },
    /// It is being deleted, and the set cannot be taken away yet.
    Hold(Refusal),
    /// All is done until something wakes it.
    Rest(Verdict),
}

/// How the set stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the spec says.
    Programmed,
    /// Somebody else has changed it, and it may stay so: what was found.
    Drifted(String),
    /// The spec is not acceptable: nothing is asked of any provider.
    Unaccepted(Refusal),
    /// It cannot be as the spec says now.
    Unprogrammed(Refusal),
}

/// What stands at the name, as seen from this object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// Nothing, and what is wanted was never written.
    Absent,
    /// Nothing, though what is wanted was written.
    Gone,
    /// What is wanted, and it is ours.
    Same,
    /// Ours, for a former spec or another object.
    Outdated,
    /// Ours, with what somebody else put there.
    Changed,
    /// What is wanted, and it is nobody's.
    StraySame,
    /// Something else, and it is nobody's.
    Stray,
    /// Somebody else's, in words.
    Foreign(String),
}

/// What the policies make of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Keep,
    Write,
    Repair,
    Tell,
    Contended,
    NotOwned,
}

pub(super) fn decide(object: &DnsRecord, seen: &Seen, _now: Timestamp) -> Step {
    if object.metadata.deletion_timestamp.is_some() {
        let held = finalizer::is_set(object);
        return if held { leave(&object.spec, seen) } else { Step::Rest(Verdict::Programmed) };
    }
    if let Some(command) = &seen.command {
        return commanded(command, seen);
    }
    let only_looks = object.spec.policy == RecordPolicy::Observe;
    let refused = seen.gate.as_ref().err().or(seen.set.as_ref().err());
    // What was written for who waits for other values is still its own.
    let keeps = seen.written().is_some() && refused.is_some_and(|refusal| refusal.reason == Reason::DependencyNotReady);
    if seen.asks() && (only_looks || refused.is_some() && !keeps) {
        return Step::Yield;
    }
    let unaccepted = |refusal: &Refusal| Step::Rest(Verdict::Unaccepted(refusal.clone()));
    if let Some(refusal) = refused.filter(|_| !keeps) {
        return unaccepted(refusal);
    }
    if let Some(winner) = winner_over(seen).filter(|_| !only_looks) {
        return lose(seen, winner);
    }
    if let Some(refusal) = refused {
        return unaccepted(refusal);
    }
    if object.spec.suspend && !only_looks {
        let words = "spec.suspend is true: nothing is written";
        return Step::Rest(Verdict::Unprogrammed(Refusal::new(Reason::Suspended, words)));
    }
    let (look, set) = match (&seen.look, &seen.set) {
        (Ok(look), Ok(set)) => (look, set),
        (Err(refusal), _) | (_, Err(refusal)) => return Step::Rest(Verdict::Unprogrammed(refusal.clone())),
    };
    settle(&object.spec, seen, look, set)
}

/// An older object has the set. One of another type cannot have it while ours stands.
fn lose(seen: &Seen, winner: &RecordClaim) -> Step {
    let conflict = || Step::Rest(Verdict::Unprogrammed(Refusal::new(Reason::Conflict, conflict(seen, winner))));
    let beside = seen.written().is_some() && seen.claim.as_ref().is_some_and(|ours| ours.kind != winner.kind);
    match &seen.look {
        _ if !seen.asks() => Step::Claim,
        _ if !beside => conflict(),
        Ok(_) => Step::GiveWay,
        Err(refusal) => Step::Rest(Verdict::Unprogrammed(refusal.clone())),
    }
}

fn settle(spec: &DnsRecordSpec, seen: &Seen, look: &Look, set: &RecordSet) -> Step {
    let stands = stands(look, set, seen.written_here());
    let repairs = seen.fact.as_ref().map_or(0, |fact| fact.repairs);
    let refused = |reason, message: String| Step::Rest(Verdict::Unprogrammed(Refusal::new(reason, message)));
    let chosen = choose(spec, &stands, repairs);
    let only_looks = spec.policy == RecordPolicy::Observe;
    let refusal = match chosen {
        Move::Write | Move::Repair => hindrance(look, set),
        // It stands as it should, and nobody is answered with it any more.
        Move::Keep if !only_looks => cut_off(look, set),
        _ => None,
    };
    if let Some(refusal) = refusal {
        return Step::Rest(Verdict::Unprogrammed(refusal));
    }
    match chosen {
        // What is known of the set is put down by a write that has nothing to write.
        Move::Keep if !only_looks && is_unknown(seen, set) => Step::Write { repair: false },
        Move::Keep => Step::Rest(Verdict::Programmed),
        Move::Write => Step::Write { repair: false },
        Move::Repair => Step::Write { repair: true },
        Move::Tell => Step::Rest(Verdict::Drifted(difference(look, spec))),
        Move::Contended => refused(
            Reason::Contended,
            format!(
                "somebody else changes {} {} again and again: it was put right {REPAIRS} times in ten minutes, and is left \
                 alone for a while; find who writes it, or let spec.drift be Report",
                set.owner(),
                set.kind()
            ),
        ),
        Move::NotOwned => refused(Reason::NotOwned, not_owned(&stands, look, set)),
    }
}

/// What stands at or above the name and makes a set there useless, or keeps it from being made.
fn hindrance(look: &Look, set: &RecordSet) -> Option<Refusal> {
    if let Some(refusal) = cut_off(look, set) {
        return Some(refusal);
    }
    let (owner, kind) = (set.owner(), set.kind());
    let alone = kind == RecordType::Cname || look.beside.iter().any(|other| other == "CNAME");
    (alone && !look.beside.is_empty()).then(|| {
        let words =
            format!("{} stands at {owner}, and a CNAME stands alone; take one of the two away", look.beside.join(", "));
        Refusal::new(Reason::Conflict, words)
    })
}

/// The name is, or lies below, one that the zone delegates.
fn cut_off(look: &Look, set: &RecordSet) -> Option<Refusal> {
    let owner = set.owner();
    let cut = look.delegation.as_ref().filter(|cut| set.kind() != RecordType::Ns || *cut != owner)?;
    let words = format!("{cut} is delegated to other servers, which answer for {owner}; write the set there");
    Some(Refusal::new(Reason::OutsideDomain, words))
}

/// Nothing was put down of what stands there as wanted, or something else.
fn is_unknown(seen: &Seen, set: &RecordSet) -> bool {
    !seen.asks() || seen.written_here().is_none_or(|written| written.digest != set.digest() || written.server.is_none())
}

fn commanded(command: &Command, seen: &Seen) -> Step {
    let discard = |why| Step::Discard { command: command.clone(), why };
    match (&seen.objection, command.verb) {
        (Some(why), _) => discard(Discarded::Gate(why.clone())),
        (None, Verb::Reconcile) => Step::Take(command.clone()),
        (None, _) => discard(Discarded::Pointless("it is no command of a DnsRecord".into())),
    }
}

/// Who has the set, where the object of this claim has not. Of those that ask for sets that cannot both stand, the oldest has
/// its own; who has none keeps nobody from anything. A CNAME and another type of one name cannot both stand.
pub(super) fn winner<'a>(ours: &RecordClaim, rivals: &'a [RecordClaim]) -> Option<&'a RecordClaim> {
    let excludes = |a: &RecordClaim, b: &RecordClaim| a.kind == b.kind || a.kind == "CNAME" || b.kind == "CNAME";
    let mut older: Vec<&RecordClaim> = rivals.iter().filter(|claim| rank(claim) < rank(ours)).collect();
    older.sort_by_key(|claim| rank(claim));
    let mut winners: Vec<&RecordClaim> = Vec::new();
    for claim in older {
        if !winners.iter().any(|winner| excludes(winner, claim)) {
            winners.push(claim);
        }
    }
    winners.into_iter().find(|winner| excludes(winner, ours))
}

/// The order of age; objects of one second by their uid.
fn rank(claim: &RecordClaim) -> (Timestamp, uuid::Uuid) {
    (claim.created_at, claim.subject.uid)
}

fn winner_over(seen: &Seen) -> Option<&RecordClaim> {
    seen.claim.as_ref().and_then(|ours| winner(ours, &seen.rivals))
}

/// Names the winner to who may know its name.
fn conflict(seen: &Seen, winner: &RecordClaim) -> String {
    let who = if winner.subject.cluster != seen.subject.cluster {
        "a DnsRecord of another cluster".to_owned()
    } else if winner.subject.namespace == seen.subject.namespace {
        format!("DnsRecord {:?}", winner.subject.name)
    } else {
        "a DnsRecord of another namespace".to_owned()
    };
    format!(
        "{who} is older and asks for {} {}; delete one of the two, or give one another name",
        winner.fqdn, winner.kind
    )
}

/// What stands, as seen from this object.
pub(super) fn stands(look: &Look, wanted: &RecordSet, written: Option<&WrittenSet>) -> Stands {
    // What was written for a former spec is not missed: the newer word counts, whatever somebody else did to the older one.
    let written = written.filter(|written| written.digest == wanted.digest());
    let Some(found) = &look.set else {
        return if written.is_some() { Stands::Gone } else { Stands::Absent };
    };
    match &look.whose {
        Whose::Another(who) => Stands::Foreign(who.clone()),
        Whose::Nobody if found == wanted => Stands::StraySame,
        Whose::Nobody => Stands::Stray,
        Whose::Ours if found == wanted => Stands::Same,
        Whose::Ours if written.is_some() => Stands::Changed,
        Whose::Ours => Stands::Outdated,
    }
}

/// The policies as one table.
pub(super) fn choose(spec: &DnsRecordSpec, stands: &Stands, repairs: u32) -> Move {
    use RecordPolicy::{CreateOnly, Observe};
    let repair = match spec.drift {
        RecordDrift::Report => Move::Tell,
        RecordDrift::Repair if repairs >= REPAIRS => Move::Contended,
        RecordDrift::Repair => Move::Repair,
    };
    match (stands, spec.policy, spec.adoption) {
        (Stands::Same, ..) | (Stands::StraySame, Observe, _) => Move::Keep,
        (_, Observe, _) => Move::Tell,
        (Stands::Foreign(_), ..) | (Stands::Stray | Stands::StraySame, _, RecordAdoption::Never) => Move::NotOwned,
        (Stands::Absent | Stands::StraySame, ..) => Move::Write,
        (Stands::Gone, ..) => repair,
        (Stands::Stray, CreateOnly, _) | (Stands::Stray, _, RecordAdoption::IfIdentical) => Move::NotOwned,
        (Stands::Outdated | Stands::Changed, CreateOnly, _) => Move::Tell,
        (Stands::Stray | Stands::Outdated, ..) => Move::Write,
        (Stands::Changed, ..) => repair,
    }
}

fn difference(look: &Look, spec: &DnsRecordSpec) -> String {
    let found = match &look.set {
        None => "nothing stands there".to_owned(),
        Some(set) => {
            let values: Vec<String> = set.values().iter().take(5).map(|v| v.to_spec()).collect();
            let more = set.values().len().saturating_sub(values.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("what stands there has TTL {} and {}{more}", set.ttl(), values.join(", "))
        }
    };
    let why = match (spec.policy, spec.drift) {
        (RecordPolicy::Observe, _) => "spec.policy is Observe",
        (RecordPolicy::CreateOnly, _) => "spec.policy is CreateOnly",
        _ => "spec.drift is Report",
    };
    crate::access::text::line(&format!("{found}; it is left so, as {why}"), 1024)
}

fn not_owned(stands: &Stands, look: &Look, set: &RecordSet) -> String {
    let (owner, kind) = (set.owner(), set.kind());
    match (stands, &look.whose) {
        (Stands::Foreign(who), _) => format!("{owner} {kind} is {who}; it is left alone"),
        (Stands::StraySame, _) => format!(
            "{owner} {kind} stands there as wanted, and nobody says whose it is; let spec.adoption be IfIdentical to take it"
        ),
        _ => format!(
            "{owner} {kind} stands there with other values, and nobody says whose it is; take it away, or let spec.adoption be \
             Always under the policy Sync or UpsertOnly"
        ),
    }
}

/// The end of an object.
fn leave(spec: &DnsRecordSpec, seen: &Seen) -> Step {
    let stays = |kept: Option<String>| Step::Leave { heir: None, kept };
    // Without a claim nothing was ever written.
    let Some(fact) = &seen.fact else { return stays(None) };
    let lost = winner_over(seen).is_some_and(|winner| {
        fact.written.is_none() || (winner.kind == fact.claim.kind && winner.subject.cluster == seen.subject.cluster)
    });
    if lost {
        return stays(None);
    }
    if let Some(heir) = heir(seen) {
        // Who did not ask any more has nothing to leave: the other has it already.
        let heir = fact.written.as_ref().filter(|_| fact.asks).map(|_| heir.clone());
        return Step::Leave { heir, kept: None };
    }
    if spec.policy != RecordPolicy::Sync {
        return stays(Some(format!("spec.policy is {:?}", spec.policy)));
    }
    if spec.deletion_policy == RecordDeletion::Retain {
        return stays(Some("spec.deletionPolicy is Retain".to_owned()));
    }
    if let Err(refusal) = &seen.gate {
        return stays(Some(format!("it may not be written: {}", refusal.message)));
    }
    let ours = match &seen.look {
        Err(refusal) => return seen.lost.clone().map_or(Step::Hold(refusal.clone()), |why| stays(Some(why))),
        // Also where only the note of it is left, or where it stands in another zone.
        Ok(look) => look.whose == Whose::Ours || seen.moved(),
    };
    match &seen.look {
        _ if ours && spec.suspend => {
            Step::Hold(Refusal::new(Reason::Suspended, "spec.suspend is true: the set is not taken away"))
        }
        _ if ours => Step::Remove,
        Ok(Look { set: Some(_), .. }) => stays(Some("it is not ours".to_owned())),
        _ => stays(None),
    }
}

/// Who has the set next: the oldest of the others that ask for the very same. What this installation wrote is marked as its
/// own, and so only an object of this cluster can go on with it.
fn heir(seen: &Seen) -> Option<&RecordClaim> {
    let ours = seen.claim.as_ref()?;
    let same =
        seen.rivals.iter().filter(|other| other.kind == ours.kind && other.subject.cluster == ours.subject.cluster);
    same.min_by_key(|claim| rank(claim))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
