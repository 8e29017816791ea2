//! Does one step.

use jiff::Timestamp;
use serde_json::json;

use super::decide::{Step, judge};
use super::look::Found;
use super::name::{beside, challenge_value};
use super::observe::Seen;
use super::{held, managed};
use crate::Result;
use crate::api::OrganizationDomain;
use crate::dns::RecordType;
use crate::kinds::{Context, wake};
use crate::ledger::{DomainFact, DomainPut, NewDomain, Release};
use crate::reconcile::commands::Command;
use crate::reconcile::{Announcement, COMMAND_TAKEN, commands, finalizer};

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// The ledger has the challenge, or what others go by; or the zone has it, or has it no more.
    Written,
    /// The servers were asked; the ledger's row as it is now, and what was found. `None` where the row was gone by then.
    Looked(Option<Box<(DomainFact, Found)>>),
    /// A command was taken away, obeyed or not.
    Told(Announcement),
    /// The finalizer is off.
    Finalizer,
    /// There was nothing to do.
    Nothing,
}

pub(super) async fn act(cx: &Context, object: &OrganizationDomain, seen: &Seen, step: &Step) -> Result<Done> {
    match step {
        Step::LetGo => {
            cx.ledger.release_domain(&seen.subject).await?;
            finalizer::remove(cx, object).await?;
            Ok(Done::Finalizer)
        }
        Step::Begin => begin(cx, object, seen).await,
        Step::Tell => {
            cx.ledger.put_domain_terms(&seen.subject, &object.spec.terms()).await?;
            wake::domain_changed(&cx.stores, &cx.waker, object);
            Ok(Done::Written)
        }
        Step::Publish => managed::publish(cx, seen).await.map(|()| Done::Written),
        Step::Withdraw(published) => managed::withdraw(cx, seen, published).await.map(|()| Done::Written),
        Step::Look => look(cx, object, seen).await,
        Step::Take(command) => {
            cx.ledger.record_command(&seen.subject, command.verb.word(), &command.value, &command.by).await?;
            commands::clear(cx, object, command).await?;
            Ok(Done::Told(Announcement::of(&COMMAND_TAKEN, format!("{} asks for a look", command.by))))
        }
        Step::Release(command) => release(cx, object, seen, command).await,
        Step::Discard { command, why } => {
            commands::discard(cx, object, &seen.subject, command, why).await.map(Done::Told)
        }
        Step::Hold | Step::Refuse { .. } | Step::Rest { .. } => Ok(Done::Nothing),
    }
}

/// Puts the approval on record, then lets pass exactly what was read.
async fn release(cx: &Context, object: &OrganizationDomain, seen: &Seen, command: &Command) -> Result<Done> {
    let Some(held) = &seen.held else { return Ok(Done::Nothing) };
    let release = Release {
        domain: seen.subject.clone(),
        digest: held.digest.clone(),
        changes: held.lines().collect(),
        by: command.by.clone(),
        details: held::told(held),
    };
    cx.ledger.record_release(&release).await?;
    cx.zones.release(&seen.subject.organization, held, &command.by);
    commands::clear(cx, object, command).await?;
    wake::released(&cx.stores, &cx.waker, object);
    let message = format!("{} lets {} changes of sets pass that were held", command.by, held.count());
    Ok(Done::Told(Announcement::of(&COMMAND_TAKEN, message)))
}

async fn begin(cx: &Context, object: &OrganizationDomain, seen: &Seen) -> Result<Done> {
    let Ok(name) = &seen.name else { return Ok(Done::Nothing) };
    let new = NewDomain {
        subject: seen.subject.clone(),
        fqdn: name.fqdn.as_str().to_owned(),
        registrable: name.registrable.as_str().to_owned(),
        token: token(),
        terms: object.spec.terms(),
        at: cx.clock.now(),
    };
    cx.ledger.begin_domain(&new).await?;
    Ok(Done::Written)
}

/// 160 random bits as 32 letters and digits of one case.
fn token() -> String {
    const ALPHABET: [char; 32] = [
        'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v',
        'w', 'x', 'y', 'z', '2', '3', '4', '5', '6', '7',
    ];
    let bytes: [u8; 32] = rand::random();
    bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32))).collect()
}

async fn look(cx: &Context, object: &OrganizationDomain, seen: &Seen) -> Result<Done> {
    let (Ok(name), Some(fact)) = (&seen.name, &seen.fact) else { return Ok(Done::Nothing) };
    let Ok(beside) = beside(&name.fqdn, &token()) else { return Ok(Done::Nothing) };
    let (asked, beside) = tokio::join!(
        cx.lookup.ask_through(&name.challenge, RecordType::Txt),
        cx.lookup.ask_here(&beside, RecordType::Txt),
    );
    let found = Found::of(&asked.last, &challenge_value(&fact.token)).unless_by_wildcard(&asked.first, &beside);
    let now: Timestamp = cx.clock.now();
    let standing = judge(&object.spec, &fact.standing, &found.verdict, seen.asked(), now);
    let evidence = json!({"seen": found.seen, "nameservers": found.servers});
    if cx.ledger.put_domain(&seen.subject, &standing, evidence).await? == DomainPut::Gone {
        return Ok(Done::Looked(None));
    }
    let now = cx.ledger.domain_fact(cx.cluster, seen.subject.uid).await?;
    Ok(Done::Looked(now.map(|fact| Box::new((fact, found)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_32_characters_that_no_other_has() {
        let tokens: std::collections::HashSet<String> = (0..1000).map(|_| token()).collect();
        assert_eq!(tokens.len(), 1000);
        assert!(
            tokens.iter().all(|t| t.len() == 32 && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
        );
    }
}
