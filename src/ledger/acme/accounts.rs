//! Accounts at CAs.

use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{key_of, put_key};
use crate::Result;
use crate::ledger::{Actor, IntentId, Ledger, NewIntent, Outcome, Subject, Writer};

/// What an organization has one account for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcmeIdentity {
    /// URL of the CA's directory.
    pub server: String,
    /// E-mail address; empty for none.
    pub email: String,
    /// Id of the external account's key; empty for none.
    pub external_key_id: String,
}

/// An account.
pub struct AcmeAccount {
    /// Its key in the ledger.
    pub id: Uuid,
    /// PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
    /// The CA's name for it; none until the CA was asked, or when it has forgotten it.
    pub url: Option<String>,
}

impl Ledger {
    /// The account of the object's organization, where it has one.
    ///
    /// # Errors
    /// Postgres's; a key that does not open.
    pub async fn find_acme_account(&self, subject: &Subject, identity: &AcmeIdentity) -> Result<Option<AcmeAccount>> {
        let row: Option<(Uuid, Option<String>)> = sqlx::query_as(
            "SELECT account_id, url FROM acme_accounts
             WHERE cluster_id = $1 AND organization_id = $2 AND server = $3 AND email = $4 AND external_key_id = $5",
        )
        .bind(subject.cluster)
        .bind(subject.organization.as_str())
        .bind(&identity.server)
        .bind(&identity.email)
        .bind(&identity.external_key_id)
        .fetch_optional(&self.pool)
        .await?;
        let Some((id, url)) = row else { return Ok(None) };
        Ok(Some(AcmeAccount { id, key: key_of(self, subject.cluster, id).await?, url }))
    }

    /// The account that an order was made with.
    ///
    /// # Errors
    /// Postgres's; [`crate::Error::Integrity`] where the key is damaged or does not open.
    pub async fn acme_account_of(&self, cluster: Uuid, account: Uuid) -> Result<AcmeAccount> {
        let url = sqlx::query_scalar("SELECT url FROM acme_accounts WHERE account_id = $1 AND cluster_id = $2")
            .bind(account)
            .bind(cluster)
            .fetch_one(&self.pool)
            .await?;
        Ok(AcmeAccount { id: account, key: key_of(self, cluster, account).await?, url })
    }
}

impl Writer {
    /// The account of the object's organization, written down with `new_key` (PKCS#8) where there is none.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's; a key that does not open.
    pub async fn acme_account(
        &self,
        subject: &Subject,
        identity: &AcmeIdentity,
        new_key: &[u8],
    ) -> Result<AcmeAccount> {
        if let Some(account) = self.find_acme_account(subject, identity).await? {
            return Ok(account);
        }
        let mut tx = self.begin(&subject.organization).await?;
        let id = Uuid::now_v7();
        let done = sqlx::query(
            "INSERT INTO acme_accounts (account_id, organization_id, cluster_id, server, email, external_key_id)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(subject.organization.as_str())
        .bind(subject.cluster)
        .bind(&identity.server)
        .bind(&identity.email)
        .bind(&identity.external_key_id)
        .execute(tx.connection())
        .await?;
        if done.rows_affected() == 1 {
            put_key(self, &mut tx, &subject.organization, subject.cluster, id, new_key).await?;
            tx.commit().await?;
        }
        // Another object of the organization may have been first.
        let found = self.find_acme_account(subject, identity).await?;
        found.ok_or_else(|| crate::Error::Integrity(format!("acme_accounts: {id} was written and is not there")))
    }

    /// Puts on record that the CA is about to be asked for the account. Where the object asked before and the answer never came,
    /// that is `Unknown` from here on.
    ///
    /// # Errors
    /// As [`Writer::intend`].
    pub async fn acme_registers(&self, subject: &Subject, identity: &AcmeIdentity) -> Result<IntentId> {
        let mut tx = self.begin(&subject.organization).await?;
        let open: Vec<Uuid> = sqlx::query_scalar(
            "SELECT intent_id FROM intents JOIN intent_objects o USING (intent_id)
             WHERE o.organization_id = $3 AND o.cluster_id = $1 AND o.object_uid = $2 AND call = 'acme.new_account' AND outcome IS NULL",
        )
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(subject.organization.as_str())
        .fetch_all(tx.connection())
        .await?;
        for intent in open {
            let actor = Actor::Controller(self.holder().to_owned());
            tx.conclude(IntentId(intent), Outcome::Unknown, json!({"answer": "never came"}), actor).await?;
        }
        let intent = NewIntent {
            subjects: vec![subject.clone()],
            call: "acme.new_account",
            why: "an order needs an account at its CA".into(),
            approved_by: None,
            details: json!({"server": identity.server, "email": identity.email, "externalKeyId": identity.external_key_id}),
            parts: Vec::new(),
        };
        let id = tx.intend(intent).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// The CA knows the account by this URL.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn acme_registered(&self, subject: &Subject, account: Uuid, intent: IntentId, url: &str) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        let done =
            sqlx::query("UPDATE acme_accounts SET url = $2, registered_at = clock_timestamp() WHERE account_id = $1")
                .bind(account)
                .bind(url)
                .execute(tx.connection())
                .await?;
        crate::ledger::touched(done.rows_affected(), 1, "acme_accounts")?;
        let details: Value = json!({"account": url});
        tx.conclude(intent, Outcome::Done, details, Actor::Controller(self.holder().to_owned())).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The CA knows nothing of the account of this URL any more: it is to be asked again, with the same key. One that was registered
    /// anew since stays.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn acme_account_lost(&self, subject: &Subject, account: Uuid, url: &str) -> Result<()> {
        let mut tx = self.begin(&subject.organization).await?;
        sqlx::query("UPDATE acme_accounts SET url = NULL, registered_at = NULL WHERE account_id = $1 AND url = $2")
            .bind(account)
            .bind(url)
            .execute(tx.connection())
            .await?;
        tx.commit().await?;
        Ok(())
    }
}
