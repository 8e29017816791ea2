//! What counts as an answer of Postgres.

use std::time::{Duration, Instant};

use landfall::ledger::{Keyring, Ledger};
use sqlx::{AssertSqlSafe, Executor};

use crate::database::{Database, superuser_url};

const LONG: Duration = Duration::from_secs(10);

fn of(url: &str) -> Ledger {
    Ledger::lazy(url, Keyring::for_test(), 4).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_ended_is_made_anew_and_where_none_is_to_be_had_postgres_is_silent() {
    let database = Database::fresh().await;
    let (login, url) = database.login("landfall_writer").await;
    let (mut pulse, mut sql) = (of(&url).pulse(), database.superuser().await);
    assert!(pulse.beats(LONG).await);

    // The function waits until it has ended.
    let ended = format!("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '{login}'");
    let end: bool = sqlx::query_scalar(AssertSqlSafe(ended.clone())).fetch_one(&mut sql).await.unwrap();
    assert!(end && pulse.beats(LONG).await);
    let end: bool = sqlx::query_scalar(AssertSqlSafe(ended)).fetch_one(&mut sql).await.unwrap();
    assert!(end, "there was another");
    sql.execute(AssertSqlSafe(format!("ALTER ROLE {login} NOLOGIN"))).await.unwrap();
    assert!(!pulse.beats(LONG).await);

    let mut nowhere = url::Url::parse(&superuser_url()).unwrap();
    nowhere.set_port(Some(1)).unwrap();
    let began = Instant::now();
    assert!(!of(nowhere.as_str()).pulse().beats(LONG).await);
    assert!(began.elapsed() < LONG, "that nobody listens is known at once");
}
