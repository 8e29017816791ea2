//! Migrations: roles and schema first, then the numbered files, all under one lock.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, Executor, PgConnection};

use crate::{Error, Result};

/// A database may have had later ones, of a newer program: it is rolled back while its schema stays.
fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("./migrations");
    migrations.set_ignore_missing(true);
    migrations
}

/// Brings the database up to date; twice is a no-op, as it is where a newer program did it, and replicas wait for one another. The
/// URL's role owns the database and may make roles, or is a superuser, or, where the roles exist already, a member of
/// `landfall_migrator`; everything is owned by `landfall_owner`.
///
/// # Errors
/// The role may not do this, or a migration failed; it is rolled back then.
pub async fn migrate(url: &str) -> Result<()> {
    let mut connection = super::connect(&super::parse(url)?).await?;
    // Held by the session until it closes.
    connection.execute("SELECT pg_advisory_lock(hashtext('landfall migrate'))").await?;
    bootstrap(&mut connection).await.map_err(not_permitted)?;
    connection.execute("SET ROLE landfall_owner; SET search_path = landfall").await?;
    migrations().run(&mut connection).await.map_err(failed)?;
    connection
        .execute(
            "GRANT SELECT ON _sqlx_migrations TO landfall_writer, landfall_reader, landfall_auditor;
             COMMENT ON TABLE _sqlx_migrations IS 'Which migrations this database has had.'",
        )
        .await?;
    connection.close().await?;
    Ok(())
}

/// Another database of the same server may be creating the same roles at this moment: then once more.
async fn bootstrap(connection: &mut PgConnection) -> Result<()> {
    for _ in 0..5 {
        match connection.execute(include_str!("bootstrap.sql")).await {
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("XX000" | "42710" | "23505")) => {}
            other => return Ok(other.map(drop)?),
        }
    }
    connection.execute(include_str!("bootstrap.sql")).await?;
    Ok(())
}

fn not_permitted(error: Error) -> Error {
    match error {
        Error::Ledger(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
            Error::Integrity(format!(
                "database URL: {error}; migrate as this database's owner with CREATEROLE, as a superuser, or as a member of landfall_migrator who may create in it"
            ))
        }
        other => other,
    }
}

fn failed(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Error::Ledger(error),
        other => Error::Integrity(format!("migrations: {other}")),
    }
}

/// Refuses a schema older than this program. A newer one is fine: migrations keep what older replicas need.
pub(super) async fn check(connection: &mut PgConnection) -> Result<()> {
    let wanted = migrations().iter().map(|migration| migration.version).max().unwrap_or_default();
    let found: Option<i64> =
        match sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(connection).await
        {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => None,
            other => other?,
        };
    match found {
        Some(found) if found >= wanted => Ok(()),
        found => Err(Error::Integrity(format!(
            "database schema: found version {}, this program needs {wanted}; run `landfall migrate`",
            found.unwrap_or_default()
        ))),
    }
}
