//! Epochs: minted in Postgres, so that they never run backwards, and checked in each transaction of a leader.

use std::ops::Deref;
use std::sync::Arc;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Event, Ledger, sealing};
use crate::{Error, Result};

/// Under which leadership a transaction writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The cluster.
    pub cluster: Uuid,
    /// Its epoch when leadership was won.
    pub epoch: i64,
}

impl Fence {
    /// Holds the cluster's row until the transaction ends, so that no new epoch is minted in between.
    ///
    /// # Errors
    /// [`Error::Deposed`] when there is a newer epoch.
    pub async fn check(&self, connection: &mut PgConnection) -> Result<()> {
        let row: Option<(i64, Option<String>)> =
            sqlx::query_as("SELECT writer_epoch, writer_holder FROM clusters WHERE cluster_id = $1 FOR SHARE")
                .bind(self.cluster)
                .fetch_optional(connection)
                .await?;
        match row {
            Some((epoch, _)) if epoch == self.epoch => Ok(()),
            Some((epoch, holder)) => {
                let holder = holder.as_deref().unwrap_or("nobody");
                Err(Error::Deposed(format!(
                    "epoch {} of cluster {} was followed by {epoch}, held by {holder}",
                    self.epoch, self.cluster
                )))
            }
            None => Err(Error::Deposed(format!("cluster {} is not in the ledger", self.cluster))),
        }
    }
}

/// The ledger in the hands of the leader: what changes the world's record goes through here. All that it writes, it writes
/// under its epoch, also what any replica may write.
#[derive(Clone, Debug)]
pub struct Writer {
    ledger: Ledger,
    fence: Arc<Fence>,
    holder: Arc<str>,
}

impl Deref for Writer {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

impl Writer {
    /// The epoch under which this process leads.
    pub fn epoch(&self) -> i64 {
        self.fence.epoch
    }

    /// The cluster that it leads.
    pub fn cluster(&self) -> Uuid {
        self.fence.cluster
    }

    /// Who leads, as given to [`Ledger::lead`].
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Appends an event, unless the chain tells the same of the object already: for what comes before an effect that may
    /// have to be tried again.
    ///
    /// # Errors
    /// [`Error::Deposed`]; Postgres's.
    pub async fn record_once(&self, event: Event) -> Result<()> {
        let mut tx = self.begin(&event.subject.organization).await?;
        let told: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM activity_log
                            WHERE organization_id = $1 AND object_uid = $2 AND action = $3 AND details = $4)",
        )
        .bind(event.subject.organization.as_str())
        .bind(event.subject.uid)
        .bind(event.action)
        .bind(super::json::jcs_safe(event.details.clone()))
        .fetch_one(tx.connection())
        .await?;
        if !told {
            tx.append(event);
            tx.commit().await?;
        }
        Ok(())
    }
}

impl Ledger {
    /// Makes the cluster known, or its present name.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn register_cluster(&self, cluster: Uuid, name: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO clusters AS c (cluster_id, name) VALUES ($1, $2)
             ON CONFLICT (cluster_id) DO UPDATE SET name = excluded.name WHERE c.name <> excluded.name",
        )
        .bind(cluster)
        .bind(name)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Whether its keys are those that the cluster's values are sealed with. Nothing is written.
    ///
    /// # Errors
    /// They are not, and what to do; Postgres's.
    pub async fn opens(&self, cluster: Uuid) -> Result<()> {
        let mut connection = self.pool.acquire().await?;
        sealing::digest_key::opened(&mut connection, &self.keys, cluster).await.map(drop)
    }

    /// Mints the next epoch: from here on, writers of earlier ones are refused. The first leader of an installation also makes
    /// its key of digests.
    ///
    /// # Errors
    /// The cluster is not registered, or these are not the keys that its values are sealed with; Postgres's.
    pub async fn lead(&self, cluster: Uuid, holder: &str) -> Result<Writer> {
        let mut transaction = self.pool.begin().await?;
        let epoch: Option<i64> = sqlx::query_scalar(
            "UPDATE clusters SET writer_epoch = writer_epoch + 1, writer_holder = $2, writer_since = clock_timestamp()
             WHERE cluster_id = $1 RETURNING writer_epoch",
        )
        .bind(cluster)
        .bind(holder)
        .fetch_optional(&mut *transaction)
        .await?;
        let epoch = epoch.ok_or_else(|| {
            Error::Integrity(format!("cluster {cluster} is not in the ledger: register it before leading"))
        })?;
        let keys = Arc::new(sealing::digest_key::take(&mut transaction, &self.keys, cluster).await?);
        transaction.commit().await?;
        let fence = Arc::new(Fence { cluster, epoch });
        let ledger = Self { keys, fence: Some(fence.clone()), ..self.clone() };
        Ok(Writer { ledger, fence, holder: holder.into() })
    }
}
