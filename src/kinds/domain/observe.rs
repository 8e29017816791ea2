//! Reads what the ledger knows of the domain, and who refers to it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::name::{Canonical, canonical};
use crate::api::{OrganizationDomain, Reason};
use crate::kinds::Context;
use crate::kinds::in_use::InUse;
use crate::ledger::{DomainFact, ObjectKind, Subject, Taken};
use crate::reconcile::commands::{self, Command, Verb};
use crate::reconcile::subject_in;
use crate::reconcile::wake::key_of;
use crate::{Error, Result, access};

/// What is known before a decision.
pub struct Seen {
    /// The domain as the ledger names it.
    pub subject: Subject,
    /// Its canonical name, or why it has none.
    pub name: Result<Canonical, (Reason, String)>,
    /// What the ledger holds.
    pub fact: Option<DomainFact>,
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
    /// What the ledger holds of this organization's domain of this name; what it proved under another counts no more.
    pub fn current(&self) -> Option<&DomainFact> {
        let name = self.name.as_ref().ok()?;
        let fits =
            |f: &&DomainFact| f.subject.organization == self.subject.organization && f.fqdn == name.fqdn.as_str();
        self.fact.as_ref().filter(fits)
    }

    /// When a person last asked for a look.
    pub fn asked(&self) -> Option<Timestamp> {
        self.taken.iter().find(|t| t.command == Verb::Reconcile.word()).map(|t| t.at)
    }
}

pub(super) async fn observe(cx: &Context, object: &OrganizationDomain) -> Result<Seen> {
    let (namespace, _) = key_of(object);
    let organization = access::organization(&cx.client, cx.cluster, &namespace).await?;
    let subject = subject_in(organization, cx.cluster, ObjectKind::OrganizationDomain, object)
        .ok_or_else(|| Error::Integrity("metadata.uid is no UUID".into()))?;
    let (fact, taken, referrers) = tokio::try_join!(
        cx.ledger.domain_fact(cx.cluster, subject.uid),
        cx.ledger.commands(&subject),
        cx.ledger.referrers(cx.cluster, subject.uid),
    )?;
    let users: BTreeSet<_> = referrers.into_iter().map(|s| (s.kind, (s.namespace, s.name))).collect();
    let in_use = InUse::of(&namespace, &users);
    let command = Command::read(object.metadata.annotations.as_ref());
    let gate = match &command {
        Some(_) => commands::objection(cx, object, command.as_ref()).await?,
        None => None,
    };
    Ok(Seen { subject, name: canonical(&object.spec.domain), fact, in_use, command, gate, taken })
}
