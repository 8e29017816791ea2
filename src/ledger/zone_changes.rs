//! What the guard against mass changes counts: what was taken away in a zone lately, and how many sets others have there.

use std::time::Duration;

use uuid::Uuid;

use super::Writer;
use crate::Result;
use crate::api::Organization;

/// An organization's part of a zone of a server, by whichever credential it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ZonePart {
    /// The server's endpoint.
    pub server: String,
    /// The provider's id of the zone.
    pub zone: String,
    /// Whose sets.
    pub organization: Organization,
}

/// A set that was taken away or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenAway {
    /// How long ago.
    pub age: Duration,
    /// The set's name.
    pub fqdn: String,
    /// The set's type, as zone files write it.
    pub kind: String,
    /// Whether nothing took its place.
    pub is_gone: bool,
}

impl Writer {
    /// The sets that intents of this long have taken away or replaced without a person's approval, or may have; the oldest
    /// first.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn taken_away(&self, part: &ZonePart, within: Duration) -> Result<Vec<TakenAway>> {
        let rows: Vec<(Uuid, f64, String, String, bool)> = sqlx::query_as(
            "SELECT i.intent_id, extract(epoch FROM clock_timestamp() - i.created_at)::float8, p.part ->> 'name', p.part ->> 'type',
                    bool_and(p.part -> 'after' = 'null')
             FROM intents i, jsonb_array_elements(i.details -> 'parts') WITH ORDINALITY AS p(part, position)
             WHERE i.cluster_id = $1 AND i.organization_id = $2 AND i.details ->> 'zone' = $3 AND i.details ->> 'server' = $4
               AND i.created_at > clock_timestamp() - make_interval(secs => $5)
               AND i.approved_by IS NULL AND i.outcome IS DISTINCT FROM 'Failed'
               AND p.part -> 'before' <> 'null' AND p.part -> 'before' <> p.part -> 'after'
               AND coalesce(i.outcome_details #>> ARRAY['parts', (p.position - 1)::text, 'outcome'], 'Unknown') IN ('Applied', 'Unknown')
             GROUP BY i.intent_id, i.created_at, p.part ->> 'name', p.part ->> 'type'
             ORDER BY i.created_at",
        )
        .bind(self.cluster())
        .bind(part.organization.as_str())
        .bind(&part.zone)
        .bind(&part.server)
        .bind(within.as_secs_f64())
        .fetch_all(&self.pool)
        .await?;
        let taken = rows.into_iter().map(|(_, age, fqdn, kind, is_gone)| TakenAway {
            age: Duration::try_from_secs_f64(age).unwrap_or_default(),
            fqdn,
            kind,
            is_gone,
        });
        Ok(taken.collect())
    }

    /// How many sets the objects of other organizations have in the zone, as far as was put down.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn sets_of_others(&self, part: &ZonePart) -> Result<usize> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(DISTINCT (fqdn, type)) FROM record_sets
             WHERE cluster_id = $1 AND organization_id <> $2 AND zone_id = $3 AND (server = $4 OR server IS NULL)
               AND gone_at IS NULL AND written_at IS NOT NULL",
        )
        .bind(self.cluster())
        .bind(part.organization.as_str())
        .bind(&part.zone)
        .bind(&part.server)
        .fetch_one(&self.pool)
        .await?;
        Ok(usize::try_from(count).unwrap_or_default())
    }
}
