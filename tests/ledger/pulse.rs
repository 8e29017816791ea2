//! What counts as an answer of Postgres.

use std::time::{Duration, Instant};

use landfall::ledger::{Keyring, Ledger};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use crate::database::{Database, superuser_url};

const LONG: Duration = Duration::from_secs(10);

fn of(url: &str) -> Ledger {
    Ledger::lazy(url, Keyring::for_test(), 4).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_answers_and_one_that_is_not_there_does_not() {
    let database = Database::fresh().await;
    let (login, url) = database.login("landfall_writer").await;
    let (mut pulse, mut sql) = (of(&url).pulse(), database.superuser().await);
    let run = async |sql: &mut PgConnection, statement: &str| {
        sql.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
    };
    let limit = |count: u8| format!("ALTER ROLE {login} CONNECTION LIMIT {count}");
    assert!(pulse.beats(LONG).await);

    // Its connection is ended, and no other is to be had.
    let ended = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{login}'");
    run(&mut sql, &limit(0)).await;
    run(&mut sql, &ended).await;
    assert!(pulse.beats(LONG).await, "too many connections");
    run(&mut sql, &limit(1)).await;
    assert!(pulse.beats(LONG).await);
    run(&mut sql, &ended).await;
    assert!(pulse.beats(LONG).await, "another connection is made in its place");

    let mut nowhere = url::Url::parse(&superuser_url()).unwrap();
    nowhere.set_port(Some(1)).unwrap();
    let began = Instant::now();
    assert!(!of(nowhere.as_str()).pulse().beats(LONG).await);
    assert!(began.elapsed() < LONG, "that nobody listens is known at once");
}
