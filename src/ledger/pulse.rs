//! Whether Postgres answers, and how soon.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use super::{Ledger, connect};

/// Asks by a connection of its own, for the pool's may all be taken.
pub struct Pulse {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Ledger {
    /// A pulse of this ledger's server. Nobody is asked yet.
    pub fn pulse(&self) -> Pulse {
        Pulse { options: (*self.pool.connect_options()).clone(), connection: None }
    }
}

impl Pulse {
    /// Whether Postgres answers within this time. Not why it does not: that takes longer.
    pub async fn beats(&mut self, within: Duration) -> bool {
        let kept = self.connection.take();
        let asked = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(&self.options).await.ok()?,
            };
            sqlx::query("SELECT 1").execute(&mut connection).await.ok()?;
            Some(connection)
        };
        self.connection = tokio::time::timeout(within, asked).await.ok().flatten();
        self.connection.is_some()
    }
}
