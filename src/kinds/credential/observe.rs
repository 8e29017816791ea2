//! Reads the Secret, what was learnt before, and who uses the credential.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::decide::is_held;
use crate::access::{self, SecretBytes};
use crate::api::{CloudCredential, Reason};
use crate::kinds::Context;
use crate::kinds::in_use::InUse;
use crate::kinds::wake::{credential_of, credential_of_domain};
use crate::ledger::{CredentialFact, ObjectKind, Subject, Taken};
use crate::providers::{Attempt, Provider};
use crate::reconcile::commands::{self, Command, Verb};
use crate::reconcile::wake::key_of;
use crate::reconcile::{finalizer, subject_in};
use crate::{Error, Result};

/// What is known before a decision.
pub struct Seen {
    /// The credential as the ledger names it.
    pub subject: Subject,
    /// What could be proved.
    pub proof: Proof,
    /// The bytes behind it.
    pub bytes: Option<SecretBytes>,
    /// What this process found last.
    pub attempt: Option<Attempt>,
    /// What the ledger holds.
    pub facts: Facts,
    /// Who refers to it.
    pub in_use: InUse,
    /// A command that waits to be taken.
    pub command: Option<Command>,
    /// Why commands are not taken, if they are not.
    pub gate: Option<String>,
    /// The commands that were taken, the newest of each.
    pub taken: Vec<Taken>,
}

impl Seen {
    /// When a person last asked for a probe.
    pub fn asked(&self) -> Option<Timestamp> {
        self.taken.iter().find(|t| t.command == Verb::Reconcile.word()).map(|t| t.at)
    }
}

/// The Secret, as far as a decision needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is there.
    Present {
        /// resourceVersion of the Secret.
        version: String,
        /// Keyed digest of its data and of the spec's provider block: another digest needs another proof.
        digest: String,
    },
    /// It is not, or the spec names none.
    Missing {
        /// The word in the condition.
        reason: Reason,
        /// What to do.
        message: String,
    },
}

/// The ledger's last finding.
#[derive(Clone, Debug, PartialEq)]
pub enum Facts {
    /// What it holds, if anything.
    Known(Option<Box<CredentialFact>>),
    /// Postgres is away: probes go on, and are recorded when it is back.
    Away,
}

pub(super) async fn observe(cx: &Context, object: &CloudCredential) -> Result<Seen> {
    let (namespace, _) = key_of(object);
    let organization = access::organization(&cx.client, cx.cluster, &namespace).await?;
    let subject = subject_in(organization, cx.cluster, ObjectKind::CloudCredential, object)
        .ok_or_else(|| Error::Integrity("metadata.uid is no UUID".into()))?;
    let deleted = object.metadata.deletion_timestamp.is_some();
    let in_use = in_use(cx, object, subject.uid, deleted).await?;
    let (proof, bytes) = if deleted && !is_held(object, &in_use) {
        (missing(Reason::NotProbed, "it is being deleted"), None)
    } else {
        read(cx, object).await?
    };
    let (facts, taken) = match known(cx, &subject).await {
        Ok((fact, taken)) => (Facts::Known(fact.map(Box::new)), taken),
        // A deletion needs the ledger; a probe does not.
        Err(error) if !deleted && error.reason() == Reason::LedgerUnavailable => (Facts::Away, Vec::new()),
        Err(error) => return Err(error),
    };
    let command = Command::read(object.metadata.annotations.as_ref());
    let gate = match &command {
        Some(_) => commands::objection(cx, object, command.as_ref()).await?,
        None => None,
    };
    Ok(Seen { proof, bytes, attempt: cx.probes.last(subject.uid), facts, in_use, command, gate, taken, subject })
}

async fn known(cx: &Context, subject: &Subject) -> Result<(Option<CredentialFact>, Vec<Taken>)> {
    tokio::try_join!(cx.ledger.credential_fact(cx.cluster, subject.uid), cx.ledger.commands(subject))
}

async fn read(cx: &Context, object: &CloudCredential) -> Result<(Proof, Option<SecretBytes>)> {
    let (namespace, _) = key_of(object);
    let Some(provider) = Provider::of(&object.spec) else {
        return Ok((missing(Reason::NotProbed, "spec: name exactly one provider"), None));
    };
    match access::secret(&cx.client, &namespace, provider.secret_name()).await {
        Ok(bytes) => {
            let digest = cx.ledger.proof_digest(&provider.proved(&bytes));
            Ok((Proof::Present { version: bytes.resource_version.clone(), digest }, Some(bytes)))
        }
        Err(Error::Condition { reason, message }) => Ok((Proof::Missing { reason, message }, None)),
        Err(error) => Err(error),
    }
}

fn missing(reason: Reason, message: &str) -> Proof {
    Proof::Missing { reason, message: message.into() }
}

/// Who refers to it now, and who the ledger says was resolved to it and still lives.
async fn in_use(cx: &Context, object: &CloudCredential, uid: Uuid, deleted: bool) -> Result<InUse> {
    let key = key_of(object);
    let mut users = BTreeSet::new();
    let resolved =
        if deleted && finalizer::is_set(object) { cx.ledger.referrers(cx.cluster, uid).await? } else { Vec::new() };
    let still = |kind: ObjectKind, uid: Option<&str>| {
        resolved.iter().any(|s| s.kind == kind && uid == Some(s.uid.to_string().as_str()))
    };
    for deployment in cx.stores.deployments.state() {
        let by_spec = credential_of(&deployment).as_ref() == Some(&key);
        if by_spec || still(ObjectKind::TerraformDeployment, deployment.metadata.uid.as_deref()) {
            users.insert((ObjectKind::TerraformDeployment, key_of(deployment.as_ref())));
        }
    }
    for domain in cx.stores.domains.state() {
        let by_spec = credential_of_domain(&domain).as_ref() == Some(&key);
        if by_spec || still(ObjectKind::OrganizationDomain, domain.metadata.uid.as_deref()) {
            users.insert((ObjectKind::OrganizationDomain, key_of(domain.as_ref())));
        }
    }
    Ok(InUse::of(&key.0, &users))
}
