//! Who let pass what the guard against mass changes held.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use super::{Actor, Event, Subject, Writer};
use crate::Result;
use crate::api::Organization;

/// A person's approval of changes that are held.
#[derive(Clone, Debug)]
pub struct Release {
    /// The domain on which it was given.
    pub domain: Subject,
    /// Of the changes.
    pub digest: String,
    /// The changes, each as one line.
    pub changes: Vec<String>,
    /// Who gave it.
    pub by: String,
    /// What the activity log holds of it.
    pub details: Value,
}

/// Changes that were let pass within the last hour, and who let them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Who.
    pub by: String,
    /// Each as one line.
    pub changes: Vec<String>,
}

impl Writer {
    /// Puts a release on record.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`]; Postgres's.
    pub async fn record_release(&self, release: &Release) -> Result<()> {
        let Release { domain, digest, changes, by, details } = release;
        let mut tx = self.begin(&domain.organization).await?;
        sqlx::query(
            "INSERT INTO commands (organization_id, cluster_id, object_uid, command, value, given_by)
             VALUES ($1, $2, $3, 'approve', $4, $5)
             ON CONFLICT (organization_id, object_uid, command)
             DO UPDATE SET value = excluded.value, given_by = excluded.given_by, taken_at = clock_timestamp()",
        )
        .bind(domain.organization.as_str())
        .bind(domain.cluster)
        .bind(domain.uid)
        .bind(digest)
        .bind(by)
        .execute(tx.connection())
        .await?;
        sqlx::query(
            "INSERT INTO releases (release_id, organization_id, cluster_id, domain_uid, digest, changes, given_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(Uuid::now_v7())
        .bind(domain.organization.as_str())
        .bind(domain.cluster)
        .bind(domain.uid)
        .bind(digest)
        .bind(changes)
        .bind(by)
        .execute(tx.connection())
        .await?;
        tx.append(Event {
            subject: domain.clone(),
            actor: Actor::User(by.clone()),
            action: "release.given",
            details: details.clone(),
        });
        tx.commit().await?;
        Ok(())
    }

    /// What was let pass of an organization's sets within the last hour, the oldest first; and name and type of each set
    /// that an approved intent has changed since.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn released(&self, organization: &Organization) -> Result<(Vec<Released>, BTreeSet<(String, String)>)> {
        let given: Vec<(String, Vec<String>)> = sqlx::query_as(
            "SELECT given_by, changes FROM releases
             WHERE organization_id = $1 AND cluster_id = $2 AND given_at > clock_timestamp() - interval '1 hour'
             ORDER BY given_at",
        )
        .bind(organization.as_str())
        .bind(self.cluster())
        .fetch_all(&self.pool)
        .await?;
        let used: Vec<(String, String)> = sqlx::query_as(
            "SELECT DISTINCT part ->> 'name', part ->> 'type' FROM intents, jsonb_array_elements(details -> 'parts') AS part
             WHERE organization_id = $1 AND cluster_id = $2 AND approved_by IS NOT NULL AND outcome IS DISTINCT FROM 'Failed'
               AND created_at > clock_timestamp() - interval '1 hour' AND details ? 'zone'
               AND part ->> 'name' IS NOT NULL AND part ->> 'type' IS NOT NULL",
        )
        .bind(organization.as_str())
        .bind(self.cluster())
        .fetch_all(&self.pool)
        .await?;
        let given = given.into_iter().map(|(by, changes)| Released { by, changes });
        Ok((given.collect(), used.into_iter().collect()))
    }
}
