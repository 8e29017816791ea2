//! Orders at CAs.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{AcmeChallenge, AcmeStage, key_of, put_key};
use crate::api::Organization;
use crate::ledger::words::{json_maybe, time, time_maybe, variant, word};
use crate::ledger::{Actor, Event, IntentId, Ledger, NewIntent, ObjectKind, Outcome, Subject, Transaction, Writer};
use crate::{Error, Result};

/// An order about to be made.
pub struct NewAcmeOrder {
    /// The object that it is for.
    pub subject: Subject,
    /// With which account.
    pub account: Uuid,
    /// Digest of what it is made for: with another one, it is abandoned.
    pub terms: String,
    /// The names, as the CA is asked for them.
    pub names: Vec<String>,
    /// The CA's profile.
    pub profile: Option<String>,
    /// The certificate that this one follows, by RFC 9773.
    pub replaces: Option<String>,
    /// The certificate's private key, as the caller will read it.
    pub key: Zeroizing<Vec<u8>>,
}

/// An order. What is written here is all that is needed to go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeOrder {
    /// Its key in the ledger.
    pub id: Uuid,
    /// The object that it is for.
    pub subject: Subject,
    /// Which order of the object it is, from 1.
    pub attempt: i32,
    /// With which account.
    pub account: Uuid,
    /// The CA's name for that, where it is known.
    pub account_url: Option<String>,
    /// Digest of what it was made for.
    pub terms: String,
    /// The names.
    pub names: Vec<String>,
    /// The CA's profile.
    pub profile: Option<String>,
    /// The certificate that this one follows.
    pub replaces: Option<String>,
    /// How far it is.
    pub stage: AcmeStage,
    /// How often it was written.
    pub revision: i64,
    /// The CA's name for it.
    pub url: Option<String>,
    /// What stands in DNS for it, or is about to.
    pub challenges: Vec<AcmeChallenge>,
    /// Of what the CA is being asked.
    pub intent: Option<IntentId>,
    /// How often in a row something was in the way of this stage.
    pub failures: u32,
    /// How many orders of the object failed in a row, up to and with this one.
    pub failed_orders: u32,
    /// What was, by its word.
    pub cause: Option<String>,
    /// In whose words.
    pub message: Option<String>,
    /// Nothing is asked before this.
    pub retry_at: Option<Timestamp>,
    /// How often in a row DNS was in the way of taking the proofs away.
    pub cleaning_failures: u32,
    /// That is not tried again before this.
    pub clean_at: Option<Timestamp>,
    /// PEM, the certificate first.
    pub chain: Option<String>,
    /// When it was written down.
    pub made_at: Timestamp,
}

/// What an order brought.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AcmeChain {
    /// With which account.
    pub account: Uuid,
    /// URL of the CA's directory.
    pub server: String,
    /// PEM, the certificate first.
    pub chain: String,
}

/// What is put on record together with an order.
#[derive(Clone, Debug)]
pub enum Mark {
    /// Nothing.
    Nothing,
    /// A call of the CA is about to be made. One whose answer never came is `Unknown` from here on.
    Begins {
        /// `acme.new_order`, …
        call: &'static str,
        /// Why, in words.
        why: String,
    },
    /// What came of it.
    Ends(Outcome, Value),
    /// The order failed; and so did the call, where one is open.
    Fails,
}

const COLUMNS: &str = "order_id, organization_id, cluster_id, object_uid, namespace, name, attempt, account_id, terms, names, profile, replaces,
    stage, revision, url, challenges, intent_id, failures, failed_orders, cause, message, retry_at,
    cleaning_failures, clean_at, chain, made_at,
    (SELECT a.url FROM acme_accounts a WHERE a.account_id = acme_orders.account_id) AS account_url";

impl AcmeOrder {
    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            id: row.try_get("order_id")?,
            subject: Subject {
                organization: Organization(row.try_get("organization_id")?),
                cluster: row.try_get("cluster_id")?,
                kind: ObjectKind::Certificate,
                uid: row.try_get("object_uid")?,
                namespace: row.try_get("namespace")?,
                name: row.try_get("name")?,
            },
            attempt: row.try_get("attempt")?,
            account: row.try_get("account_id")?,
            account_url: row.try_get("account_url")?,
            terms: row.try_get("terms")?,
            names: json_maybe(row, "names")?.unwrap_or_default(),
            profile: row.try_get("profile")?,
            replaces: row.try_get("replaces")?,
            stage: variant(row, "stage")?,
            revision: row.try_get("revision")?,
            url: row.try_get("url")?,
            challenges: json_maybe(row, "challenges")?.unwrap_or_default(),
            intent: row.try_get::<Option<Uuid>, _>("intent_id")?.map(IntentId),
            failures: count(row, "failures")?,
            failed_orders: count(row, "failed_orders")?,
            cause: row.try_get("cause")?,
            message: row.try_get("message")?,
            retry_at: time_maybe(row, "retry_at")?,
            cleaning_failures: count(row, "cleaning_failures")?,
            clean_at: time_maybe(row, "clean_at")?,
            chain: row.try_get("chain")?,
            made_at: time(row, "made_at")?,
        })
    }
}

fn count(row: &PgRow, column: &str) -> Result<u32> {
    Ok(u32::try_from(row.try_get::<i32, _>(column)?).unwrap_or_default())
}

impl Ledger {
    /// The object's last order, be it under way or over.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn acme_order(&self, cluster: Uuid, uid: Uuid) -> Result<Option<AcmeOrder>> {
        let statement = format!(
            "SELECT {COLUMNS} FROM acme_orders WHERE cluster_id = $1 AND object_uid = $2 ORDER BY attempt DESC LIMIT 1"
        );
        let row =
            sqlx::query(sqlx::AssertSqlSafe(statement)).bind(cluster).bind(uid).fetch_optional(&self.pool).await?;
        row.as_ref().map(AcmeOrder::read).transpose()
    }

    /// What the orders of an object brought, the newest first.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn acme_chains(&self, subject: &Subject) -> Result<Vec<AcmeChain>> {
        Ok(sqlx::query_as(
            "SELECT o.account_id AS account, a.server, o.chain FROM acme_orders o JOIN acme_accounts a USING (account_id)
             WHERE o.cluster_id = $1 AND o.object_uid = $2 AND o.organization_id = $3 AND o.chain IS NOT NULL
             ORDER BY o.attempt DESC",
        )
        .bind(subject.cluster)
        .bind(subject.uid)
        .bind(subject.organization.as_str())
        .fetch_all(&self.pool)
        .await?)
    }

    /// The private key of an order's certificate, as it was given.
    ///
    /// # Errors
    /// Postgres's; [`Error::Integrity`] where it is damaged or does not open.
    pub async fn acme_order_key(&self, order: &AcmeOrder) -> Result<Zeroizing<Vec<u8>>> {
        key_of(self, order.subject.cluster, order.id).await
    }

    /// Whether another order still needs this in DNS: a CA may ask two orders of an account for one proof.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn acme_needs(&self, challenge: &AcmeChallenge, but: &AcmeOrder) -> Result<bool> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM acme_orders WHERE challenges <> '[]' AND challenges @> $1 AND order_id <> $2
               AND stage IN ('Presenting', 'Presented', 'Responding', 'Validating'))",
        )
        .bind(json!([{"name": challenge.name, "value": challenge.value}]))
        .bind(but.id)
        .fetch_one(&self.pool)
        .await?)
    }
}

impl Writer {
    /// Writes an order and its certificate's key down, before the CA is asked. Its names lie in these domains. How many failed in a row is carried over from a
    /// former one that failed.
    ///
    /// # Errors
    /// [`crate::api::Reason::DomainNotVerified`] where one of the domains is lost by `now`; the object has an order under way;
    /// [`Error::Deposed`]; Postgres's.
    pub async fn open_acme_order(&self, new: NewAcmeOrder, domains: &[Subject], now: Timestamp) -> Result<AcmeOrder> {
        let (id, subject) = (Uuid::now_v7(), &new.subject);
        let mut tx = self.begin(&subject.organization).await?;
        crate::ledger::domains::hold_all(&mut tx, domains, now).await?;
        let statement = format!(
            "INSERT INTO acme_orders (order_id, organization_id, cluster_id, object_uid, namespace, name, account_id, terms, names,
               profile, replaces, stage, attempt, failed_orders)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'Prepared', coalesce(max(attempt), 0) + 1,
               coalesce((array_agg(CASE WHEN stage = 'Failed' THEN failed_orders ELSE 0 END ORDER BY attempt DESC))[1], 0)
             FROM acme_orders WHERE cluster_id = $3 AND object_uid = $4
             RETURNING {COLUMNS}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(id)
            .bind(subject.organization.as_str())
            .bind(subject.cluster)
            .bind(subject.uid)
            .bind(&subject.namespace)
            .bind(&subject.name)
            .bind(new.account)
            .bind(&new.terms)
            .bind(Json(&new.names))
            .bind(&new.profile)
            .bind(&new.replaces)
            .fetch_one(tx.connection())
            .await?;
        put_key(self, &mut tx, &subject.organization, subject.cluster, id, &new.key).await?;
        let order = AcmeOrder::read(&row)?;
        tx.commit().await?;
        Ok(order)
    }

    /// Writes an order as it is given, where nobody wrote it since it was read, and what goes on record with it. Subject,
    /// account, names and terms of an order stay as they were.
    ///
    /// # Errors
    /// Somebody wrote it meanwhile; [`Error::Deposed`]; Postgres's.
    pub async fn write_acme_order(&self, mut order: AcmeOrder, mark: Mark) -> Result<AcmeOrder> {
        let mut tx = self.begin(&order.subject.organization).await?;
        order.intent = self.put_mark(&mut tx, &order, mark).await?;
        let done = sqlx::query(
            "UPDATE acme_orders SET revision = revision + 1, stage = $3, replaces = $4, url = $5, challenges = $6, intent_id = $7,
               failures = $8, failed_orders = $9, cause = $10, message = $11, retry_at = $12, chain = $13,
               cleaning_failures = $14, clean_at = $15,
               stage_at = CASE WHEN stage = $3 THEN stage_at ELSE clock_timestamp() END
             WHERE order_id = $1 AND revision = $2",
        )
        .bind(order.id)
        .bind(order.revision)
        .bind(word(order.stage)?)
        .bind(&order.replaces)
        .bind(&order.url)
        .bind(Json(&order.challenges))
        .bind(order.intent.map(|intent| intent.0))
        .bind(i32::try_from(order.failures).unwrap_or(i32::MAX))
        .bind(i32::try_from(order.failed_orders).unwrap_or(i32::MAX))
        .bind(&order.cause)
        .bind(&order.message)
        .bind(order.retry_at.map(ToSqlx::to_sqlx))
        .bind(&order.chain)
        .bind(i32::try_from(order.cleaning_failures).unwrap_or(i32::MAX))
        .bind(order.clean_at.map(ToSqlx::to_sqlx))
        .execute(tx.connection())
        .await?;
        crate::ledger::touched(done.rows_affected(), 1, "acme_orders")?;
        tx.commit().await?;
        order.revision += 1;
        Ok(order)
    }

    /// The intent that stays open.
    async fn put_mark(&self, tx: &mut Transaction, order: &AcmeOrder, mark: Mark) -> Result<Option<IntentId>> {
        let actor = Actor::Controller(self.holder().to_owned());
        match (mark, order.intent) {
            (Mark::Nothing, open) => Ok(open),
            (Mark::Ends(outcome, details), Some(open)) => {
                tx.conclude(open, outcome, details, actor).await?;
                Ok(None)
            }
            (Mark::Fails, open) => {
                tx.append(self.failed(order));
                if let Some(open) = open {
                    tx.conclude(open, Outcome::Failed, json!({"cause": order.cause, "message": order.message}), actor)
                        .await?;
                }
                Ok(None)
            }
            (Mark::Ends(..), None) => {
                Err(Error::Integrity(format!("order {}: nothing was begun that could end", order.id)))
            }
            (Mark::Begins { call, why }, open) => {
                if let Some(open) = open {
                    tx.conclude(open, Outcome::Unknown, json!({"answer": "never came"}), actor).await?;
                }
                let details =
                    json!({"order": order.id, "url": order.url, "names": order.names, "replaces": order.replaces});
                let subjects = vec![order.subject.clone()];
                tx.intend(NewIntent { subjects, call, why, approved_by: None, details, parts: Vec::new() })
                    .await
                    .map(Some)
            }
        }
    }

    fn failed(&self, order: &AcmeOrder) -> Event {
        Event {
            subject: order.subject.clone(),
            actor: Actor::Controller(self.holder().to_owned()),
            action: "acme.order_failed",
            details: json!({"order": order.url, "cause": order.cause, "message": order.message}),
        }
    }
}

/// Objects are gone, or watched no more, in the middle of their orders: nobody goes on with those, and what stands in DNS for them
/// stays, on record.
pub(in crate::ledger) async fn bury(tx: &mut Transaction, actor: &Actor, cluster: Uuid, uids: &[Uuid]) -> Result<()> {
    let statement = format!(
        "SELECT {COLUMNS} FROM acme_orders WHERE cluster_id = $1 AND object_uid = ANY($2)
           AND (stage NOT IN ('Delivered', 'Failed', 'Abandoned') OR challenges <> '[]') FOR UPDATE"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(cluster).bind(uids).fetch_all(tx.connection()).await?;
    for order in rows.iter().map(AcmeOrder::read).collect::<Result<Vec<_>>>()? {
        tx.conclude_gone(order.intent.map(|intent| intent.0), actor).await?;
        for challenge in order.challenges.iter().filter(|challenge| challenge.place.is_some()) {
            tx.append(challenge.left(&order.subject, actor.clone(), "nobody looks after its object any more"));
        }
        sqlx::query(
            "UPDATE acme_orders SET revision = revision + 1, challenges = '[]', intent_id = NULL, retry_at = NULL, clean_at = NULL,
               stage = CASE WHEN stage IN ('Delivered', 'Failed') THEN stage ELSE 'Abandoned' END, stage_at = clock_timestamp()
             WHERE order_id = $1",
        )
        .bind(order.id)
        .execute(tx.connection())
        .await?;
    }
    Ok(())
}
