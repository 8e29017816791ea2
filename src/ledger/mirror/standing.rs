//! Where an object stands, for people who ask for something that is not there yet.

use sqlx::PgPool;
use uuid::Uuid;

use crate::Result;

/// `it is Pending, SourceNotFound: …` of the live deployment of that name. For any role: row security says what is seen.
///
/// # Errors
/// Postgres's.
pub async fn deployment_standing(
    pool: &PgPool,
    cluster: Option<Uuid>,
    namespace: &str,
    name: &str,
) -> Result<Option<String>> {
    let row: Option<(Option<String>, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT phase, reason, message FROM terraform_deployments
         WHERE namespace = $1 AND name = $2 AND deleted_at IS NULL
           AND ($3::uuid IS NULL OR cluster_id = $3) ORDER BY observed_at DESC LIMIT 1",
    )
    .bind(namespace)
    .bind(name)
    .bind(cluster)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(phase, reason, message)| {
        let phase = phase.unwrap_or_else(|| "Pending".into());
        let reason = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
        let message = message.unwrap_or_else(|| "the controller has not looked at it yet".into());
        format!("it is {phase}{reason}: {message}")
    }))
}
