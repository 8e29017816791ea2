//! Reads what the ledger knows of the domain, and who refers to it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::managed::{self, Home};
use super::name::{Canonical, canonical};
use crate::api::{DnsMode, OrganizationDomain, Reason};
use crate::kinds::Context;
use crate::kinds::in_use::InUse;
use crate::ledger::{DomainFact, DomainPublished, ObjectKind, Subject, Taken};
use crate::reconcile::commands::{self, Command, Verb};
use crate::reconcile::subject_in;
use crate::reconcile::wake::key_of;
use crate::zones::{Account, Held};
use crate::{Error, Result, access};

/// What is known before a decision.
pub struct Seen {
    /// The domain as the ledger names it.
    pub subject: Subject,
    /// Its canonical name, or why it has none.
    pub name: Result<Canonical, (Reason, String)>,
    /// What the ledger holds.
    pub fact: Option<DomainFact>,
    /// Another organization's domain stood in the way at the last look, and does so no more.
    pub freed: bool,
    /// Where Landfall has put the challenge.
    pub published: Option<DomainPublished>,
    /// Where it belongs, or why that is not known; `None` where Landfall does not write to the zone.
    pub home: Option<Result<Home, (Reason, String)>>,
    /// The way there.
    pub account: Option<Account>,
    /// What is held of its sets, until a person lets it pass.
    pub held: Option<Held>,
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

/// Whether the challenge is Landfall's to set now.
fn is_managed(object: &OrganizationDomain) -> bool {
    object.spec.dns.mode == DnsMode::Managed && !object.spec.suspend && object.metadata.deletion_timestamp.is_none()
}

pub(super) async fn observe(cx: &Context, object: &OrganizationDomain) -> Result<Seen> {
    let (namespace, _) = key_of(object);
    let organization = access::organization(&cx.client, cx.cluster, &namespace).await?;
    let subject = subject_in(organization, cx.cluster, ObjectKind::OrganizationDomain, object)
        .ok_or_else(|| Error::Integrity("metadata.uid is no UUID".into()))?;
    let (fact, published, taken, referrers) = tokio::try_join!(
        cx.ledger.domain_fact(cx.cluster, subject.uid),
        cx.ledger.domain_published(cx.cluster, subject.uid),
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
    let name = canonical(&object.spec.domain);
    let (home, account) = match &name {
        Ok(name) if is_managed(object) => match managed::find(cx, object, &subject, &name.challenge).await? {
            Ok((home, account)) => (Some(Ok(home)), Some(account)),
            Err(why) => (Some(Err(why)), None),
        },
        _ => (None, None),
    };
    let freed = match &fact {
        Some(fact) if fact.standing.reason == Reason::ClaimedElsewhere => {
            !cx.ledger.is_claimed_elsewhere(fact, cx.clock.now()).await?
        }
        _ => false,
    };
    let mut seen =
        Seen { subject, name, fact, freed, published, home, account, held: None, in_use, command, gate, taken };
    seen.held = held(cx, &seen);
    Ok(seen)
}

/// What is held at and below a name that the organization holds.
fn held(cx: &Context, seen: &Seen) -> Option<Held> {
    let name = seen.name.as_ref().ok().filter(|_| seen.current().is_some_and(|fact| fact.holds(cx.clock.now())))?;
    cx.zones.held(&seen.subject.organization, &name.fqdn)
}
