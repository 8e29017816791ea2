//! Intent before effect, outcome after it: one row for each call, one event for each object that it serves.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use super::json::jcs_safe;
use super::{Actor, Event, ObjectKind, Subject, Transaction, Writer};
use crate::api::{Organization, Reason};
use crate::{Error, Result};

/// Names an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntentId(pub Uuid);

impl std::fmt::Display for IntentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What is about to be done.
#[derive(Clone, Debug)]
pub struct NewIntent {
    /// The objects that it serves; at least one. The first one's organization holds the row.
    pub subjects: Vec<Subject>,
    /// What is called: `terraform.apply`, `powerdns.patch_zone`, …
    pub call: &'static str,
    /// Why, in words.
    pub why: String,
    /// Who approved it, where it needs that.
    pub approved_by: Option<String>,
    /// What is needed to settle it later. Never a secret.
    pub details: Value,
    /// What of it concerns each subject, in their order; may be empty. Each subject's event tells its own part alone.
    pub parts: Vec<Value>,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The effect took place.
    Done,
    /// It surely did not, or ended in an error that was told.
    Failed,
    /// Not known; to be settled by observing, never by repeating.
    Unknown,
    /// What it did was never told; a later run found the world as it should be.
    Settled,
}

impl Outcome {
    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
            Self::Settled => "Settled",
        }
    }
}

impl Transaction {
    /// Puts an intent on record in this unit of work.
    ///
    /// # Errors
    /// No subject, or a unit that is not the leader's; or Postgres's.
    pub async fn intend(&mut self, intent: NewIntent) -> Result<IntentId> {
        let (Some(first), Some((fence, holder))) = (intent.subjects.first(), self.leader.clone()) else {
            return Err(Error::Integrity(format!(
                "intent {}: needs a subject, and a unit of work of the leader",
                intent.call
            )));
        };
        let id = Uuid::now_v7();
        let details = jcs_safe(intent.details);
        let parts: Vec<Value> = intent.parts.into_iter().map(jcs_safe).collect();
        let done = sqlx::query(
            "INSERT INTO intents (intent_id, organization_id, cluster_id, call, why, approved_by, details, epoch)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(first.organization.as_str())
        .bind(fence.cluster)
        .bind(intent.call)
        .bind(&intent.why)
        .bind(&intent.approved_by)
        .bind(Json(with_parts(details.clone(), &parts)))
        .bind(fence.epoch)
        .execute(self.connection())
        .await?;
        super::touched(done.rows_affected(), 1, "intents")?;
        self.put_objects(id, &intent.subjects).await?;
        for (position, subject) in intent.subjects.into_iter().enumerate() {
            let told = json!({"intent": id, "call": intent.call, "why": intent.why, "approvedBy": intent.approved_by, "details": details});
            self.append(Event {
                subject,
                actor: Actor::Controller(holder.clone()),
                action: "intent.made",
                details: with_part(told, parts.get(position)),
            });
        }
        Ok(IntentId(id))
    }

    async fn put_objects(&mut self, intent: Uuid, subjects: &[Subject]) -> Result<()> {
        let text = |of: fn(&Subject) -> &str| subjects.iter().map(of).collect::<Vec<&str>>();
        let done = sqlx::query(
            "INSERT INTO intent_objects (intent_id, position, organization_id, cluster_id, object_kind, object_uid, namespace, name)
             SELECT $1, position - 1, organization_id, cluster_id, object_kind, object_uid, namespace, name
             FROM unnest($2::text[], $3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::text[]) WITH ORDINALITY
                  AS n(organization_id, cluster_id, object_kind, object_uid, namespace, name, position)",
        )
        .bind(intent)
        .bind(text(|s| s.organization.as_str()))
        .bind(subjects.iter().map(|s| s.cluster).collect::<Vec<_>>())
        .bind(text(|s| s.kind.as_str()))
        .bind(subjects.iter().map(|s| s.uid).collect::<Vec<_>>())
        .bind(text(|s| &s.namespace))
        .bind(text(|s| &s.name))
        .execute(self.connection())
        .await?;
        super::touched(done.rows_affected(), subjects.len() as u64, "intent_objects")
    }

    /// Puts an outcome on record in this unit of work. `Unknown` may be settled later; else an outcome is final, and the
    /// same again is a no-op.
    ///
    /// # Errors
    /// No such intent, or it ended otherwise; or Postgres's.
    pub async fn conclude(&mut self, intent: IntentId, outcome: Outcome, details: Value, actor: Actor) -> Result<()> {
        self.conclude_parts(intent, outcome, details, Vec::new(), actor).await
    }

    /// The same, with what of it concerns each subject of the intent, in their order.
    async fn conclude_parts(
        &mut self,
        intent: IntentId,
        outcome: Outcome,
        details: Value,
        parts: Vec<Value>,
        actor: Actor,
    ) -> Result<()> {
        let details = jcs_safe(details);
        let parts: Vec<Value> = parts.into_iter().map(jcs_safe).collect();
        let call: Option<String> = sqlx::query_scalar(
            "UPDATE intents SET outcome = $2, outcome_details = $3, concluded_at = clock_timestamp()
             WHERE intent_id = $1 AND (outcome IS NULL OR (outcome = 'Unknown' AND $2 <> 'Unknown')) RETURNING call",
        )
        .bind(intent.0)
        .bind(outcome.as_str())
        .bind(Json(with_parts(details.clone(), &parts)))
        .fetch_optional(self.connection())
        .await?;
        let Some(call) = call else { return self.concluded_before(intent, outcome).await };
        for (position, subject) in self.objects(intent).await?.into_iter().enumerate() {
            let told = json!({"intent": intent.0, "call": call, "outcome": outcome.as_str(), "details": details});
            self.append(Event {
                subject,
                actor: actor.clone(),
                action: "intent.concluded",
                details: with_part(told, parts.get(position)),
            });
        }
        Ok(())
    }

    /// Of objects that are gone, nobody will say what became of these.
    pub(super) async fn conclude_gone(&mut self, intents: impl IntoIterator<Item = Uuid>, actor: &Actor) -> Result<()> {
        for intent in intents {
            let why = json!({"why": "its object is gone"});
            self.conclude(IntentId(intent), Outcome::Unknown, why, actor.clone()).await?;
        }
        Ok(())
    }

    async fn concluded_before(&mut self, intent: IntentId, outcome: Outcome) -> Result<()> {
        let found: Option<Option<String>> = sqlx::query_scalar("SELECT outcome FROM intents WHERE intent_id = $1")
            .bind(intent.0)
            .fetch_optional(self.connection())
            .await?;
        match found.flatten() {
            Some(found) if found == outcome.as_str() => Ok(()),
            Some(found) => Err(Error::Integrity(format!(
                "intent {intent} ended as {found} and cannot end as {} too",
                outcome.as_str()
            ))),
            None => Err(Error::Integrity(format!("intent {intent} is not in the ledger"))),
        }
    }

    async fn objects(&mut self, intent: IntentId) -> Result<Vec<Subject>> {
        let rows: Vec<ObjectRow> = sqlx::query_as(
            "SELECT organization_id, cluster_id, object_kind, object_uid, namespace, name FROM intent_objects
             WHERE intent_id = $1 ORDER BY position",
        )
        .bind(intent.0)
        .fetch_all(self.connection())
        .await?;
        rows.into_iter().map(ObjectRow::subject).collect()
    }
}

/// What the row of an intent holds: all parts, where there are any.
fn with_parts(mut details: Value, parts: &[Value]) -> Value {
    if let (Some(object), false) = (details.as_object_mut(), parts.is_empty()) {
        object.insert("parts".into(), Value::Array(parts.to_vec()));
    }
    details
}

/// What an object's event tells: its own part.
fn with_part(mut told: Value, part: Option<&Value>) -> Value {
    if let (Some(object), Some(part)) = (told.as_object_mut(), part) {
        object.insert("part".into(), part.clone());
    }
    told
}

/// A subject as columns.
#[derive(sqlx::FromRow)]
pub(super) struct ObjectRow {
    organization_id: String,
    cluster_id: Uuid,
    object_kind: String,
    object_uid: Uuid,
    namespace: String,
    name: String,
}

impl ObjectRow {
    pub(super) fn subject(self) -> Result<Subject> {
        let kind = ObjectKind::parse(&self.object_kind).ok_or_else(|| {
            Error::Integrity(format!(
                "object_kind: found \"{}\", which this program does not know; run a newer one",
                self.object_kind
            ))
        })?;
        Ok(Subject {
            organization: Organization(self.organization_id),
            cluster: self.cluster_id,
            kind,
            uid: self.object_uid,
            namespace: self.namespace,
            name: self.name,
        })
    }
}

impl Writer {
    /// Puts an intent on record; the effect may follow when this has returned.
    ///
    /// # Errors
    /// [`Error::Deposed`], or as [`Transaction::intend`].
    pub async fn intend(&self, intent: NewIntent) -> Result<IntentId> {
        let subjects = intent.subjects.clone();
        let organizations: BTreeSet<&str> = subjects.iter().map(|subject| subject.organization.as_str()).collect();
        let mut transaction = self.begin_for(&organizations.into_iter().collect::<Vec<_>>()).await?;
        let id = transaction.intend(intent).await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// The same in the name of domains, each of which was found proved at its time, and whose claims stand until the intent
    /// is on record. Answers one that is lost, where one is: then nothing is on record.
    ///
    /// # Errors
    /// As [`Self::intend`].
    pub async fn intend_by(
        &self,
        intent: NewIntent,
        domains: &[(Subject, Timestamp)],
    ) -> Result<std::result::Result<IntentId, Subject>> {
        let organizations: BTreeSet<String> =
            intent.subjects.iter().map(|subject| subject.organization.as_str().to_owned()).collect();
        let organizations: Vec<&str> = organizations.iter().map(String::as_str).collect();
        let mut transaction = self.begin_for(&organizations).await?;
        let mut domains: Vec<&(Subject, Timestamp)> = domains.iter().collect();
        domains.sort_by_key(|(domain, _)| (domain.cluster, domain.uid));
        for (domain, at) in domains {
            match super::domains::hold(&mut transaction, domain, *at).await {
                Ok(()) => {}
                Err(Error::Condition { reason: Reason::DomainNotVerified, .. }) => return Ok(Err(domain.clone())),
                Err(error) => return Err(error),
            }
        }
        let id = transaction.intend(intent).await?;
        transaction.commit().await?;
        Ok(Ok(id))
    }

    /// Puts an outcome on record, as the leader.
    ///
    /// # Errors
    /// [`Error::Deposed`], or as [`Transaction::conclude`].
    pub async fn conclude(&self, intent: IntentId, outcome: Outcome, details: Value) -> Result<()> {
        self.conclude_parts(intent, outcome, details, Vec::new()).await
    }

    /// The same, with what of it concerns each subject of the intent, in their order.
    ///
    /// # Errors
    /// As [`Self::conclude`].
    pub async fn conclude_parts(
        &self,
        intent: IntentId,
        outcome: Outcome,
        details: Value,
        parts: Vec<Value>,
    ) -> Result<()> {
        let mut transaction = self.begin(&self.organization_of(intent).await?).await?;
        let actor = Actor::Controller(self.holder().to_owned());
        transaction.conclude_parts(intent, outcome, details, parts, actor).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Nobody will ever know what became of an intent: it was looked for once, and is not asked about again.
    ///
    /// # Errors
    /// [`Error::Deposed`], or Postgres's.
    pub async fn give_up(&self, intent: IntentId, found: Value, parts: Vec<Value>) -> Result<()> {
        let mut transaction = self.begin(&self.organization_of(intent).await?).await?;
        let actor = Actor::Controller(self.holder().to_owned());
        transaction.conclude_parts(intent, Outcome::Unknown, found.clone(), parts, actor).await?;
        // One that was told to be unknown before gets no second event.
        sqlx::query("UPDATE intents SET outcome_details = outcome_details || $2 WHERE intent_id = $1")
            .bind(intent.0)
            .bind(Json(jcs_safe(found)))
            .execute(transaction.connection())
            .await?;
        transaction.commit().await.map(drop)
    }

    /// Intents for this call by this credential into this zone whose outcome nobody knows and nobody has looked for, and their
    /// details.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn left_open(&self, call: &str, credential: Uuid, zone: &str) -> Result<Vec<(IntentId, Value)>> {
        let rows: Vec<(Uuid, Json<Value>)> = sqlx::query_as(
            "SELECT intent_id, details FROM intents
             WHERE cluster_id = $1 AND (outcome IS NULL OR outcome = 'Unknown') AND call = $2
               AND details ->> 'credential' = $3 AND details ->> 'zone' = $4 AND NOT coalesce(outcome_details ? 'found', false)
             ORDER BY created_at",
        )
        .bind(self.cluster())
        .bind(call)
        .bind(credential.to_string())
        .bind(zone)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(id, details)| (IntentId(id), details.0)).collect())
    }

    async fn organization_of(&self, intent: IntentId) -> Result<Organization> {
        let found: Option<String> = sqlx::query_scalar("SELECT organization_id FROM intents WHERE intent_id = $1")
            .bind(intent.0)
            .fetch_optional(&self.pool)
            .await?;
        found.map(Organization).ok_or_else(|| Error::Integrity(format!("intent {intent} is not in the ledger")))
    }
}
