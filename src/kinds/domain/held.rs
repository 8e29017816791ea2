//! What users are told of what the guard against mass changes holds.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::{DomainHeld, OrganizationDomain, OrganizationDomainStatus, Reason};
use crate::reconcile::{Announcement, Next, Report, conditions};
use crate::zones::Held;

/// The condition.
const CONDITION: &str = "MassChangeHeld";
/// Sets that the condition names.
const NAMED: usize = 5;
/// Sets that the activity log names.
const LOGGED: usize = 500;
/// While something is held it is looked at this often: what nobody wishes any more goes by itself.
const LOOK: Duration = Duration::from_secs(30);

/// What the activity log holds of an approval.
pub(super) fn told(held: &Held) -> Value {
    let set = |(name, kind, goes): (&crate::dns::Name, crate::dns::RecordType, bool)| json!({"name": name.as_str(), "type": kind.as_str(), "change": if goes { "Delete" } else { "Replace" }});
    json!({
        "digest": held.digest,
        "count": held.count(),
        "owned": held.owned,
        "sets": held.sets().take(LOGGED).map(set).collect::<Vec<_>>(),
    })
}

/// Into status, with the condition.
pub(super) fn show(
    status: &mut OrganizationDomainStatus,
    object: &OrganizationDomain,
    held: Option<&Held>,
    now: Timestamp,
) {
    status.held = held
        .map(|held| DomainHeld { digest: held.digest.clone(), count: u32::try_from(held.count()).unwrap_or(u32::MAX) });
    match held {
        None => conditions::clear(&mut status.conditions, CONDITION),
        Some(held) => {
            let message = message(object, held);
            let generation = object.metadata.generation;
            conditions::set(&mut status.conditions, CONDITION, true, Reason::MassChangeHeld, message, generation, now);
        }
    }
}

fn message(object: &OrganizationDomain, held: &Held) -> String {
    let count = held.count();
    let going = held.sets().filter(|(.., goes)| *goes).count();
    let named: Vec<String> = held.sets().take(NAMED).map(|(name, kind, _)| format!("{name} {kind}")).collect();
    let more = count.saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    format!(
        "of {} sets of ours {going} would go and {} be replaced within ten minutes: {}{more}; that is held until somebody who \
         may approve lets it pass: `landfall approve orgdomain/{name} -n {namespace} --digest {}`",
        held.owned,
        count.saturating_sub(going),
        named.join(", "),
        held.digest,
    )
}

/// An Event where something is held that was not, and an early look.
pub(super) fn announce(report: Report, was_held: bool, status: &OrganizationDomainStatus) -> Report {
    let Some(condition) = conditions::get(&status.conditions, CONDITION) else { return report };
    let next = match report.next {
        Next::AwaitChange => Next::After(LOOK),
        Next::After(rest) => Next::After(rest.min(LOOK)),
        next => next,
    };
    let report = Report { next, ..report };
    match was_held {
        true => report,
        false => report.announce(Announcement::warning(Reason::MassChangeHeld, "Change", &*condition.message)),
    }
}
