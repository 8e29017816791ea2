//! The key of keyed digests: made once for an installation, sealed in Postgres, re-wrapped when the key above it rotates. Only
//! a leader makes or re-wraps it: whoever merely reads leaves no trace, also with keys of his own.

use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use super::{Aad, Key, Keyring, Sealed, random};
use crate::{Error, Result};

#[derive(sqlx::FromRow)]
pub(in super::super) struct Row {
    digest_key_id: Uuid,
    key_id: String,
    sealed: Vec<u8>,
}

/// The ring with the installation's digest key, in the leader's unit of work: the first leader makes it. A cluster keeps to
/// the one that it began with, so that a wrong file under a known id seals nothing; a row that these keys do not open and
/// that is not this cluster's belongs to another installation in the same database.
///
/// # Errors
/// The keys are not those that this cluster's values are sealed with; Postgres's.
pub(in super::super) async fn take(connection: &mut PgConnection, keys: &Keyring, cluster: Uuid) -> Result<Keyring> {
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('landfall digest key'))").await?;
    let found = match opened(connection, keys, cluster).await? {
        None => find(connection, keys).await?,
        ours => ours,
    };
    let (id, digest) = match found {
        Some((row, digest)) => {
            if row.key_id != keys.current {
                put(connection, row.digest_key_id, keys.rewrap(&Sealed::from_bytes(&row.sealed)?)?).await?;
            }
            (row.digest_key_id, digest)
        }
        None => {
            let (id, digest): (Uuid, Key) = (Uuid::now_v7(), random());
            put(connection, id, keys.seal(digest.as_slice(), &place(id))?).await?;
            (id, digest)
        }
    };
    sqlx::query("UPDATE clusters SET digest_key_id = $2 WHERE cluster_id = $1 AND digest_key_id IS NULL")
        .bind(cluster)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(keys.with_digest(digest))
}

/// The one that the cluster has kept to, where it has one.
///
/// # Errors
/// These keys do not open it; Postgres's.
pub(in super::super) async fn opened(
    connection: &mut PgConnection,
    keys: &Keyring,
    cluster: Uuid,
) -> Result<Option<(Row, Key)>> {
    let Some(row) = own(connection, cluster).await? else { return Ok(None) };
    let digest = open(&row, keys).map_err(|error| {
        Error::Integrity(format!("{error}; this cluster's states and plans are sealed with it: put its file back"))
    })?;
    Ok(Some((row, digest)))
}

async fn own(connection: &mut PgConnection, cluster: Uuid) -> Result<Option<Row>> {
    Ok(sqlx::query_as(
        "SELECT digest_key_id, key_id, sealed FROM digest_keys JOIN clusters USING (digest_key_id) WHERE cluster_id = $1",
    )
    .bind(cluster)
    .fetch_optional(connection)
    .await?)
}

fn open(row: &Row, keys: &Keyring) -> Result<Key> {
    let opened = keys.open(Sealed::from_bytes(&row.sealed)?, &place(row.digest_key_id))?;
    opened
        .as_slice()
        .try_into()
        .map(Key::new)
        .map_err(|_| Error::Integrity("a key of digests has another length".into()))
}

/// The oldest one that these keys open.
async fn find(connection: &mut PgConnection, keys: &Keyring) -> Result<Option<(Row, Key)>> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT digest_key_id, key_id, sealed FROM digest_keys ORDER BY created_at, digest_key_id")
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().find_map(|row| open(&row, keys).ok().map(|digest| (row, digest))))
}

fn place(id: Uuid) -> Aad {
    Aad { cluster: Uuid::nil(), table: "digest_keys", row: id.to_string(), column: "sealed", serial: 0 }
}

async fn put(connection: &mut PgConnection, id: Uuid, sealed: Sealed) -> Result<()> {
    let done = sqlx::query(
        "INSERT INTO digest_keys (digest_key_id, key_id, sealed) VALUES ($1, $2, $3)
         ON CONFLICT (digest_key_id) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed",
    )
    .bind(id)
    .bind(sealed.key_id.clone())
    .bind(sealed.into_bytes())
    .execute(connection)
    .await?;
    super::super::touched(done.rows_affected(), 1, "digest_keys")
}
