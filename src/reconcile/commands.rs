//! Command annotations: read, and taken away once they were handled.

use std::collections::BTreeMap;

use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::kind::COMMAND_IGNORED;
use super::{Announcement, Context, Object, watch};
use crate::Result;
use crate::api::{FIELD_MANAGER, LastHandled, Reason, annotation};
use crate::ledger::{DISCARDED, Subject, Taken};

/// A command, with the user who gave it as admission proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What.
    pub verb: Verb,
    /// The annotation's value as it stands.
    pub value: String,
    /// Who.
    pub by: String,
}

/// What is commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Apply the plan with this digest.
    Approve,
    /// Stop this run.
    Cancel,
    /// Start over.
    Retry,
    /// Reconcile now.
    Reconcile,
    /// Issue the next certificate.
    Renew,
    /// Have a certificate revoked.
    Revoke,
}

impl Verb {
    const ALL: [Self; 6] = [Self::Approve, Self::Cancel, Self::Retry, Self::Reconcile, Self::Renew, Self::Revoke];

    /// The annotation.
    pub const fn annotation(self) -> &'static str {
        match self {
            Self::Approve => annotation::APPROVE,
            Self::Cancel => annotation::CANCEL,
            Self::Retry => annotation::RETRY,
            Self::Reconcile => annotation::RECONCILE,
            Self::Renew => annotation::RENEW,
            Self::Revoke => annotation::REVOKE,
        }
    }

    /// The word in status and ledger.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Reconcile => "reconcile",
            Self::Renew => "renew",
            Self::Revoke => "revoke",
        }
    }
}

impl Command {
    /// The first command among an object's annotations. Without `command-by` there is none: admission always asks for it.
    pub fn read(annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        let annotations = annotations?;
        let by = annotations.get(annotation::COMMAND_BY).filter(|by| !by.is_empty())?.clone();
        let found = |verb: &Verb| annotations.get(verb.annotation()).map(|value| (*verb, value.clone()));
        let (verb, value) = Verb::ALL.iter().find_map(found)?;
        Some(Self { verb, value, by })
    }

    /// How many commands wait.
    fn count(annotations: Option<&BTreeMap<String, String>>) -> usize {
        annotations.map_or(0, |a| Verb::ALL.iter().filter(|verb| a.contains_key(verb.annotation())).count())
    }

    /// The run that the command names.
    pub fn run(&self) -> Option<Uuid> {
        Uuid::try_parse(&self.value).ok()
    }
}

/// Why this command is not to be obeyed, or, where there is none, nothing may be applied that nobody approved.
///
/// # Errors
/// The API server's: nothing is known of the policies.
pub async fn objection<K: Object>(cx: &Context, object: &K, command: Option<&Command>) -> Result<Option<String>> {
    let meta = object.meta();
    let api: Api<K> = Api::namespaced(cx.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let standing = cx.gate.standing(&cx.client, &api, meta.name.as_deref().unwrap_or_default()).await?;
    let given = command.map(|command| watch::annotated_at(object, command.verb.annotation()));
    Ok(standing.objection(given, cx.clock.now()))
}

/// Why a command is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was given while the gate was open to anyone: forged, for all we know.
    Gate(String),
    /// It means nothing to the object, or nothing any more.
    Pointless(String),
}

/// Takes a command away that is not obeyed, and puts that on record. Who gave it is what it says itself. What users are told.
///
/// # Errors
/// [`crate::Error::Deposed`]; Postgres's, the API server's.
pub async fn discard<K: Object>(
    cx: &Context,
    object: &K,
    subject: &Subject,
    command: &Command,
    refusal: &Refusal,
) -> Result<Announcement> {
    let (Refusal::Gate(why) | Refusal::Pointless(why)) = refusal;
    let Command { verb, value, by } = command;
    cx.ledger.discard_command(subject, (verb.word(), value, by), why).await?;
    clear(cx, object, command).await?;
    let message = format!("{} by {by:?} was not obeyed: {why}", verb.annotation());
    Ok(match refusal {
        Refusal::Gate(_) => Announcement::warning(Reason::GateNotInstalled, "Command", message),
        Refusal::Pointless(_) => Announcement::of(&COMMAND_IGNORED, message),
    })
}

/// What status tells of the commands that were taken. One that was discarded stands until another is taken.
pub fn handled(taken: &[Taken]) -> LastHandled {
    let newest = taken.iter().map(|t| t.at).max();
    let told = taken.iter().filter(|t| t.command != DISCARDED || Some(t.at) == newest);
    told.map(|t| (t.command.clone(), t.value.clone())).collect()
}

/// Takes a command away, and the caller's name with the last of them, under the resourceVersion that was seen: one that was
/// set anew meanwhile stays.
///
/// # Errors
/// The API server's, a conflict where the object has moved on.
pub async fn clear<K: Object>(cx: &Context, object: &K, command: &Command) -> Result<()> {
    let meta = object.meta();
    let mut gone = Map::from_iter([(command.verb.annotation().to_owned(), Value::Null)]);
    if Command::count(meta.annotations.as_ref()) <= 1 {
        gone.insert(annotation::COMMAND_BY.to_owned(), Value::Null);
    }
    let body = json!({"metadata": {"resourceVersion": meta.resource_version, "uid": meta.uid, "annotations": gone}});
    let api: Api<K> = Api::namespaced(cx.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch_metadata(meta.name.as_deref().unwrap_or_default(), &params, &Patch::Merge(&body)).await?;
    Ok(())
}
