//! The key of keyed digests: made once for an installation, sealed in Postgres, re-wrapped when the key above it rotates.

use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

use super::{Aad, Key, Keyring, Sealed, random};
use crate::Result;

#[derive(sqlx::FromRow)]
struct Row {
    digest_key_id: Uuid,
    key_id: String,
    sealed: Vec<u8>,
}

/// The ring with the installation's digest key; the first replica makes it. A row that these keys do not open belongs to
/// another installation, which keeps its clusters in the same database.
pub(in super::super) async fn load(connection: &mut PgConnection, keys: Keyring) -> Result<Keyring> {
    let mut transaction = connection.begin().await?;
    transaction.execute("SELECT pg_advisory_xact_lock(hashtext('landfall digest key'))").await?;
    let rows: Vec<Row> =
        sqlx::query_as("SELECT digest_key_id, key_id, sealed FROM digest_keys ORDER BY created_at, digest_key_id")
            .fetch_all(&mut *transaction)
            .await?;
    for row in rows {
        let Ok(sealed) = Sealed::from_bytes(&row.sealed) else { continue };
        let Ok(opened) = keys.open(&sealed, &place(row.digest_key_id)) else { continue };
        let Ok(digest) = opened.as_slice().try_into().map(Key::new) else { continue };
        if row.key_id != keys.current {
            put(&mut transaction, row.digest_key_id, &keys.rewrap(&sealed)?).await?;
        }
        transaction.commit().await?;
        return Ok(Keyring { digest, ..keys });
    }
    let (id, digest): (Uuid, Key) = (Uuid::now_v7(), random());
    put(&mut transaction, id, &keys.seal(digest.as_slice(), &place(id))?).await?;
    transaction.commit().await?;
    Ok(Keyring { digest, ..keys })
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
