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
    /// Whether Postgres answers within this time. Not why it does not: that takes longer. That it takes no more connections, or not
    /// this password, is an answer; that it starts or stops is none.
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
        match tokio::time::timeout(within, asked).await {
            Ok(Ok(connection)) => {
                self.connection = Some(connection);
                true
            }
            Ok(Err(error)) => is_answer(&error),
            Err(_) => false,
        }
    }
}

async fn ask(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT 1").execute(connection).await.map(drop)
}

/// Whether a server that works has refused: not for its shutdown, a crash, or its start (57P01 to 57P03).
fn is_answer(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|said| said.code());
    code.is_some_and(|code| !code.starts_with("57P"))
}
