//! The key of keyed digests: made once for an installation, sealed in Postgres, re-wrapped when the key above it rotates. Only
//! a leader makes or re-wraps it: whoever merely reads leaves no trace, also with keys of his own.

use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use super::{Aad, Key, Keyring, Sealed, random};
use crate::Result;

#[derive(sqlx::FromRow)]
struct Row {
    digest_key_id: Uuid,
    key_id: String,
    sealed: Vec<u8>,
}

/// The ring with the installation's digest key, in the leader's unit of work: the first leader makes it. A row that these
/// keys do not open belongs to another installation, which keeps its clusters in the same database.
pub(in super::super) async fn take(connection: &mut PgConnection, keys: &Keyring) -> Result<Keyring> {
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('landfall digest key'))").await?;
    if let Some((row, digest)) = find(connection, keys).await? {
        if row.key_id != keys.current {
            put(connection, row.digest_key_id, &keys.rewrap(&Sealed::from_bytes(&row.sealed)?)?).await?;
        }
        return Ok(keys.with_digest(digest));
    }
    let (id, digest): (Uuid, Key) = (Uuid::now_v7(), random());
    put(connection, id, &keys.seal(digest.as_slice(), &place(id))?).await?;
    Ok(keys.with_digest(digest))
}

/// The oldest one that these keys open.
async fn find(connection: &mut PgConnection, keys: &Keyring) -> Result<Option<(Row, Key)>> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT digest_key_id, key_id, sealed FROM digest_keys ORDER BY created_at, digest_key_id")
            .fetch_all(connection)
            .await?;
    let open = |row: &Row| {
        let opened = keys.open(&Sealed::from_bytes(&row.sealed).ok()?, &place(row.digest_key_id)).ok()?;
        opened.as_slice().try_into().map(Key::new).ok()
    };
    Ok(rows.into_iter().find_map(|row| open(&row).map(|digest| (row, digest))))
}

fn place(id: Uuid) -> Aad {
    Aad { cluster: Uuid::nil(), table: "digest_keys", row: id.to_string(), column: "sealed", serial: 0 }
}

async fn put(connection: &mut PgConnection, id: Uuid, sealed: &Sealed) -> Result<()> {
    let done = sqlx::query(
        "INSERT INTO digest_keys (digest_key_id, key_id, sealed) VALUES ($1, $2, $3)
         ON CONFLICT (digest_key_id) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed",
    )
    .bind(id)
    .bind(&sealed.key_id)
    .bind(sealed.to_bytes())
    .execute(connection)
    .await?;
    super::super::touched(done.rows_affected(), 1, "digest_keys")
}
