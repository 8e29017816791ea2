//! What is watched no more: nothing is known of it from then on.

use super::{Buried, NOT_WATCHED, tables};
use crate::Result;
use crate::ledger::{ObjectKind, Writer};

impl Writer {
    /// These namespaces are watched, or all where there is `None` among them. Live rows of others are tombstoned as
    /// `NotWatched`, until a list has them again, and the watermarks of former watches are put aside. Answers how many rows.
    ///
    /// # Errors
    /// [`crate::Error::Deposed`], or Postgres is away.
    pub async fn mirror_scopes(&self, kind: ObjectKind, scopes: &[Option<&str>]) -> Result<usize> {
        let namespaces: Vec<&str> = scopes.iter().map(|scope| scope.unwrap_or_default()).collect();
        let mut transaction = self.begin_for(&[]).await?;
        let buried: Vec<Buried> = match scopes.contains(&None) {
            true => Vec::new(),
            false => {
                sqlx::query_as(tables::of(kind)?.bury_unwatched)
                    .bind(self.cluster())
                    .bind(&namespaces)
                    .fetch_all(transaction.connection())
                    .await?
            }
        };
        let count = buried.len();
        self.after_burial(&mut transaction, kind, buried, ("object.unwatched", NOT_WATCHED)).await?;
        sqlx::query(
            "UPDATE mirror_watermarks SET unwatched_at = now()
             WHERE cluster_id = $1 AND kind = $2 AND namespace <> ALL($3) AND unwatched_at IS NULL",
        )
        .bind(self.cluster())
        .bind(kind.as_str())
        .bind(&namespaces)
        .execute(transaction.connection())
        .await?;
        transaction.commit().await?;
        Ok(count)
    }
}
