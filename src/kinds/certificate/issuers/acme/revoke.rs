//! A certificate that its CA is to revoke.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::identity;
use crate::acme::{Account, AccountKey, Cause, Server, Trouble};
use crate::api::AcmeIssuer;
use crate::kinds::Context;
use crate::ledger::{AcmeAccount, Hindrance, Outcome, Revocation};
use crate::{Error, Result};

/// Asks the CA, by the account that the certificate was issued to; what is asked, and what came of it, is written down. `spec` is
/// the present issuer, where it is one by ACME: of the same CA, it says by which roots that is trusted.
///
/// # Errors
/// The ledger's. What the CA has against it is written into the revocation.
pub(in crate::kinds::certificate) async fn revoke(
    cx: &Context,
    spec: Option<&AcmeIssuer>,
    revocation: &Revocation,
) -> Result<()> {
    let leaf = leaf(&revocation.fact.certificate.chain)
        .ok_or_else(|| Error::Integrity("certificates_issued: a chain that cannot be read".into()))?;
    let (known, account) = match account(cx, spec, revocation, &leaf).await? {
        Ok(found) => found,
        Err(trouble) => return put_off(cx, revocation, Outcome::Unknown, &trouble).await,
    };
    let begun = cx.ledger.begin_revocation(revocation).await?;
    match account.revoke(&leaf, revocation.reason.code()).await {
        Ok(before) => {
            let (outcome, answer) =
                if before { (Outcome::Settled, "it was revoked before") } else { (Outcome::Done, "revoked") };
            cx.ledger.revoked(&begun, outcome, answer, cx.clock.now()).await
        }
        Err(trouble) => {
            if let Some(url) = known.url.as_ref().filter(|_| trouble.cause == Cause::AccountGone) {
                cx.ledger.acme_account_lost(&revocation.fact.certificate.subject, known.id, url).await?;
            }
            let outcome = if trouble.may_have_landed { Outcome::Unknown } else { Outcome::Failed };
            put_off(cx, &begun, outcome, &trouble).await
        }
    }
}

fn leaf(chain: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(chain.as_bytes()).ok()
}

async fn put_off(cx: &Context, revocation: &Revocation, outcome: Outcome, trouble: &Trouble) -> Result<()> {
    let rest = trouble.pause(revocation.failures.saturating_add(1));
    let retry_at = cx.clock.now().checked_add(rest).unwrap_or(jiff::Timestamp::MAX);
    let why = Hindrance { cause: trouble.cause.as_str(), message: trouble.message.clone(), retry_at };
    cx.ledger.revocation_put_off(revocation, outcome, why).await
}

/// The account by which the certificate was ordered; where no order is on record, that of the present issuer.
async fn account(
    cx: &Context,
    spec: Option<&AcmeIssuer>,
    revocation: &Revocation,
    leaf: &CertificateDer<'_>,
) -> Result<Result<(AcmeAccount, Account), Trouble>> {
    let subject = &revocation.fact.certificate.subject;
    let ordered =
        cx.ledger.acme_chains(subject).await?.into_iter().find(|one| self::leaf(&one.chain).as_ref() == Some(leaf));
    let (known, server) = match (ordered, spec) {
        (Some(one), _) => (Some(cx.ledger.acme_account_of(subject.cluster, one.account).await?), one.server),
        (None, Some(spec)) => (cx.ledger.find_acme_account(subject, &identity(spec)).await?, spec.server.clone()),
        (None, None) => (None, String::new()),
    };
    let gone = |words: &str| Ok(Err(Trouble::new(Cause::AccountGone, words)));
    let Some(known) = known else { return gone("no account is on record by which its CA could be asked") };
    let Some(url) = known.url.clone() else {
        return gone("the CA does not know the account any more; the next order registers it anew");
    };
    let bundle = spec.filter(|spec| spec.server == server).and_then(|spec| spec.ca_bundle.clone());
    let key = AccountKey::from_pkcs8(&known.key)?;
    let ca = cx.acme.ca(&Server { directory: server, ca_bundle: bundle }).await;
    Ok(ca.map(|ca| (known, ca.account(&url, &key))))
}
