//! Whether Postgres answers, and how soon.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::Ledger;

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
    /// Whether Postgres serves us within this time. Not why it does not: that takes longer.
    pub async fn beats(&mut self, within: Duration) -> bool {
        let kept = self.connection.take();
        let asked = async {
            // One that was ended tells of itself alone.
            if let Some(mut kept) = kept
                && ask(&mut kept).await.is_ok()
            {
                return Ok(kept);
            }
            let mut fresh = PgConnection::connect_with(&self.options).await?;
            ask(&mut fresh).await.map(|()| fresh)
        };
        self.connection = tokio::time::timeout(within, asked).await.ok().and_then(Result::ok);
        self.connection.is_some()
    }
}

async fn ask(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT 1").execute(connection).await.map(drop)
}
