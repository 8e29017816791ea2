//! Does one step.

use super::decide::{Step, Verdict, digest_of};
use super::observe::{Proof, Seen};
use crate::access::{self, SecretBytes};
use crate::api::{CloudCredential, Reason};
use crate::kinds::{Context, wake};
use crate::ledger::CredentialFact;
use crate::providers::{Attempt, Doubt, Finding, ProbeResult, Provider, Trouble};
use crate::reconcile::{Announcement, COMMAND_TAKEN, commands, finalizer};
use crate::{Error, Result};

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// The provider was asked, or could not be.
    Probed(Attempt),
    /// The ledger knows.
    Recorded,
    /// A command was taken away, obeyed or not.
    Told(Announcement),
    /// The finalizer is off.
    Finalizer,
    /// There was nothing to do.
    Nothing,
}

pub(super) async fn act(cx: &Context, object: &CloudCredential, seen: &Seen, step: &Step) -> Result<Done> {
    match step {
        Step::LetGo => {
            finalizer::remove(cx, object).await?;
            cx.probes.forget(seen.subject.uid);
            Ok(Done::Finalizer)
        }
        Step::Probe => probe(cx, object, seen).await,
        Step::Record(verdict) => {
            // Dependants go by the ledger. The status that woke them before may have come ahead of it.
            if cx.ledger.put_credential_fact(&fact(cx, seen, verdict)).await? {
                wake::credential_changed(&cx.stores, &cx.waker, object);
            }
            Ok(Done::Recorded)
        }
        Step::Take(command) => {
            cx.ledger.record_command(&seen.subject, command.verb.word(), &command.value, &command.by).await?;
            commands::clear(cx, object, command).await?;
            let message = format!("{} asks for a probe", command.by);
            Ok(Done::Told(Announcement::of(&COMMAND_TAKEN, message)))
        }
        Step::Discard { command, why } => {
            commands::discard(cx, object, &seen.subject, command, why).await.map(Done::Told)
        }
        Step::Rest { .. } => Ok(Done::Nothing),
    }
}

async fn probe(cx: &Context, object: &CloudCredential, seen: &Seen) -> Result<Done> {
    let (Proof::Present { digest, .. }, Some(bytes), Some(provider)) =
        (&seen.proof, &seen.bytes, Provider::of(&object.spec))
    else {
        return Ok(Done::Nothing);
    };
    let finding = match rests(cx, seen).await? {
        Some(finding) => finding,
        None => ask(cx, &provider, bytes).await?,
    };
    if let Finding::Asked(ProbeResult::Unknown(Doubt { retry_after: Some(rest), .. })) = &finding {
        cx.zones.rest(seen.subject.uid, *rest);
        if let Err(error) = cx.ledger.put_rest(&seen.subject, *rest).await {
            tracing::warn!(%error, "the next leader will not know that a provider asked to be left alone");
        }
    }
    let known = object.status.as_ref().map(|status| &status.zones);
    if let Finding::Asked(ProbeResult::Valid { zones, .. }) = &finding
        && known != Some(zones)
    {
        cx.zones.relist(seen.subject.uid);
    }
    let before = seen.attempt.as_ref();
    let asked = seen.asked().or(before.and_then(|before| before.asked));
    let attempt = Attempt { asked, ..Attempt::after(before, digest, finding, cx.clock.now()) };
    cx.probes.keep(seen.subject.uid, attempt.clone());
    Ok(Done::Probed(attempt))
}

/// A provider that asked to be left alone, by a write of ours or of an earlier leader maybe, is not asked.
async fn rests(cx: &Context, seen: &Seen) -> Result<Option<Finding>> {
    let left = match (cx.zones.rests(seen.subject.uid), &seen.attempt) {
        (None, None) => cx.ledger.rest_of(seen.subject.cluster, seen.subject.uid).await?,
        (left, _) => left,
    };
    Ok(left.map(|left| {
        let Trouble { reason, message, retry_after, .. } = Trouble::resting(left);
        Finding::Asked(ProbeResult::Unknown(Doubt { reason, message, retry_after }))
    }))
}

async fn ask(cx: &Context, provider: &Provider<'_>, bytes: &SecretBytes) -> Result<Finding> {
    let (field, endpoint) = provider.endpoint();
    Ok(match access::endpoint_allowed(&cx.installation, field, &endpoint).await {
        Ok(base) => match provider.probe(&cx.http, &base, bytes, cx.clock.now()).await {
            Ok(result) => {
                cx.metrics.probed(provider.name(), result.reason());
                Finding::Asked(result)
            }
            Err(Error::Condition { reason, message }) => Finding::NotAsked { reason, message },
            Err(error) => return Err(error),
        },
        // A name that does not resolve now may do so later.
        Err(Error::Condition { reason: reason @ Reason::ProviderUnavailable, message }) => {
            Finding::Asked(ProbeResult::Unknown(Doubt { reason, message, retry_after: None }))
        }
        Err(Error::Condition { reason, message }) => Finding::NotAsked { reason, message },
        Err(error) => return Err(error),
    })
}

fn fact(cx: &Context, seen: &Seen, verdict: &Verdict) -> CredentialFact {
    let identity = verdict.identity.clone().unwrap_or_default();
    CredentialFact {
        subject: seen.subject.clone(),
        state: verdict.state().into(),
        reason: verdict.reason.as_str().into(),
        account: identity.account,
        principal: identity.principal,
        secret_digest: digest_of(&seen.proof).map(str::to_owned),
        checked_at: verdict.checked_at.unwrap_or_else(|| cx.clock.now()),
        succeeded_at: verdict.succeeded_at,
    }
}
