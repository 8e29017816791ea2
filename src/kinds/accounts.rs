//! The servers of domains' credentials, as records, certificates and domains reach them, and the last way to one that goes together with the record.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::access;
use crate::api::{CloudCredential, Reason};
use crate::kinds::Context;
use crate::ledger::{ObjectKind, Subject};
use crate::providers::Provider;
use crate::reconcile::subject_in;
use crate::zones::Account;
use crate::{Error, Result};

/// Servers of credentials as they were last proved and opened. Many records have one.
#[derive(Default)]
pub struct Accounts(Mutex<HashMap<Uuid, (Instant, Account)>>);

impl Accounts {
    /// How long the Secret is not read again.
    const KEPT: Duration = Duration::from_secs(5);

    /// The credential is gone: its Secret's bytes go with it.
    pub fn forget(&self, credential: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&credential);
    }

    fn last(&self, of: &Subject) -> Option<(Instant, Account)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&of.uid).cloned();
        known.filter(|(_, account)| account.credential.organization == of.organization)
    }

    async fn open(&self, cx: &Context, of: &Subject, credential: &CloudCredential, proved: &str) -> Result<Account> {
        let fresh = self.last(of).filter(|(at, account)| at.elapsed() < Self::KEPT && account.digest == proved);
        if let Some((_, account)) = fresh {
            return Ok(account);
        }
        let account = Account::open(&cx.client, &cx.installation, &cx.http, &cx.ledger, of, &credential.spec).await?;
        if account.digest == proved {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(of.uid, (Instant::now(), account.clone()));
        }
        Ok(account)
    }
}

/// The credential's server, where the last proof is of the Secret and the block as they are now. `by` is the object that goes by it.
///
/// # Errors
/// `CredentialNotReady`, what [`Account::open`] says, or Postgres's.
pub(super) async fn account(cx: &Context, by: &Subject, credential: &CloudCredential) -> Result<Account> {
    let name = credential.metadata.name.clone().unwrap_or_default();
    let not_ready = |words: &str| {
        Error::condition(Reason::CredentialNotReady, format!("CloudCredential {name:?} {words}; see its conditions"))
    };
    let subject = subject(cx, by, credential)?;
    let fact = cx.ledger.credential_fact(cx.cluster, subject.uid).await?;
    let good = |state: &str| matches!(state, "Valid" | "StaleOk");
    let fact = fact.filter(|fact| good(&fact.state) && fact.subject.organization == subject.organization);
    let digest = fact.and_then(|fact| fact.secret_digest).ok_or_else(|| not_ready("is not valid"))?;
    let account = cx.accounts.open(cx, &subject, credential, &digest).await?;
    if account.digest == digest { Ok(account) } else { Err(not_ready("was changed and is not proved yet")) }
}

fn subject(cx: &Context, by: &Subject, credential: &CloudCredential) -> Result<Subject> {
    subject_in(by.organization.clone(), cx.cluster, ObjectKind::CloudCredential, credential)
        .ok_or_else(|| Error::Integrity("metadata.uid is no UUID".into()))
}

/// What is left of the way to a credential's server.
pub(super) enum Left {
    /// It is not lost: what is in the way can be mended.
    Open,
    /// The credential goes and its Secret is gone, but this process has opened it before.
    Last(Account),
    /// Nobody can go there any more, and why.
    Nothing(String),
}

/// The way to the server of a credential for a record that is being deleted, where [`account`] knows none. When a namespace is
/// deleted, its Secrets go before all that waits: what was proved and opened last then takes away what it wrote.
///
/// # Errors
/// The API server's.
pub(super) async fn left(cx: &Context, by: &Subject, credential: &CloudCredential) -> Result<Left> {
    let meta = &credential.metadata;
    let home = meta.namespace.as_deref().unwrap_or_default();
    let (true, Some(provider)) = (meta.deletion_timestamp.is_some(), Provider::of(&credential.spec)) else {
        return Ok(Left::Open);
    };
    match access::secret(&cx.client, home, provider.secret_name()).await {
        Err(Error::Condition { reason: Reason::SecretNotFound, .. }) => {}
        found => return found.map(|_| Left::Open),
    }
    if let Some((_, account)) = cx.accounts.last(&subject(cx, by, credential)?) {
        return Ok(Left::Last(account));
    }
    if !access::is_terminating(&cx.client, home).await? {
        return Ok(Left::Open);
    }
    let name = meta.name.as_deref().unwrap_or_default();
    Ok(Left::Nothing(format!("the Secret of CloudCredential {name:?} is gone for good, with its namespace {home:?}")))
}
