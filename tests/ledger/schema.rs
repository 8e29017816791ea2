//! Migrations and their roles.

use landfall::ledger::{self, Keyring, Ledger};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use crate::database;
use crate::world::{World, event};

#[tokio::test]
async fn migrating_twice_and_at_once_is_a_no_op() {
    let url = database::empty().await;
    let (first, second) = tokio::join!(ledger::migrate(&url), ledger::migrate(&url));
    first.unwrap();
    second.unwrap();
    ledger::migrate(&url).await.unwrap();
    Ledger::connect(&url, Keyring::for_test()).await.unwrap();
}

/// A rollback: hooks and init containers of the former program migrate, too.
#[tokio::test]
async fn a_schema_that_a_newer_program_made_is_left_as_it_is() {
    let url = database::empty().await;
    ledger::migrate(&url).await.unwrap();
    let mut newer = PgConnection::connect(&url).await.unwrap();
    let row = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
               VALUES (20990101000000, 'of a newer program', true, '', 0)";
    newer.execute(row).await.unwrap();
    ledger::migrate(&url).await.unwrap();
    Ledger::connect(&url, Keyring::for_test()).await.unwrap();
}

/// As the first user of a managed Postgres is: no superuser.
#[tokio::test]
async fn an_owner_of_the_database_who_may_make_roles_can_migrate() {
    let url: PgConnectOptions = database::empty().await.parse().unwrap();
    let (name, mut admin) = (url.get_database().unwrap(), PgConnection::connect_with(&url).await.unwrap());
    let role = format!("CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'test'; ALTER DATABASE {name} OWNER TO {name}");
    admin.execute(AssertSqlSafe(role)).await.unwrap();
    ledger::migrate(url.clone().username(name).password("test").to_url_lossy().as_str()).await.unwrap();
    Ledger::connect(url.to_url_lossy().as_str(), Keyring::for_test()).await.unwrap();
}

/// As docs/installation.md writes the URL.
#[tokio::test]
async fn over_tls_a_server_is_who_the_named_ca_says_or_nobody() {
    let Ok(ca) = std::env::var("DATABASE_CA") else {
        return eprintln!(
            "skipped: TLS, because DATABASE_SUPERUSER_URL is a Postgres of your own, whose CA is not known"
        );
    };
    let url = database::empty().await;
    let (server, _) = url.split_once('?').unwrap();
    let by = |ca: &str| format!("{server}?sslmode=verify-full&sslrootcert={ca}");
    ledger::migrate(&by(&ca)).await.unwrap();
    let ledger = Ledger::connect(&by(&ca), Keyring::for_test()).await.unwrap();
    let _connection = ledger.pool().acquire().await.unwrap();
    let used =
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND datname = current_database()";
    let used: i64 = sqlx::query_scalar(used).fetch_one(&mut PgConnection::connect(&url).await.unwrap()).await.unwrap();
    assert!(used > 0);
    let said =
        Ledger::connect(&by(&std::env::var("PEBBLE_CA").unwrap()), Keyring::for_test()).await.unwrap_err().to_string();
    assert!(said.contains("UnknownIssuer"), "{said}");
}

#[tokio::test]
async fn databases_of_one_server_can_be_migrated_at_once() {
    let urls = [database::empty().await, database::empty().await, database::empty().await, database::empty().await];
    let results = futures::future::join_all(urls.iter().map(|url| ledger::migrate(url))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[tokio::test]
async fn a_database_without_the_schema_is_refused_with_the_next_action() {
    let url = database::empty().await;
    let error = Ledger::connect(&url, Keyring::for_test()).await.unwrap_err().to_string();
    assert!(error.contains("landfall migrate"), "{error}");
}

#[tokio::test]
async fn a_login_outside_the_writers_is_refused_with_the_next_action() {
    let world = World::new().await;
    let (_, url) = world.database.login("landfall_reader").await;
    let error = Ledger::connect(&url, Keyring::for_test()).await.unwrap_err().to_string();
    assert!(error.contains("GRANT landfall_writer") && !error.contains("at line"), "{error}");
    let (_, url) = world.database.login("landfall_writer").await;
    Ledger::connect(&url, Keyring::for_test()).await.unwrap();
}

#[tokio::test]
async fn a_migrator_needs_no_superuser_and_keeps_org_access() {
    let world = World::new().await;
    let (_, url) = world.database.login("landfall_migrator").await;
    ledger::migrate(&url).await.unwrap();
    world.ledger.record(event(&world.subject("acme"), 1)).await.unwrap();
    let mut migrator = PgConnection::connect(&url).await.unwrap();
    migrator.execute("INSERT INTO landfall.org_access VALUES ('anna', 'acme')").await.unwrap();
    migrator.execute("DELETE FROM landfall.org_access").await.unwrap();
}

#[tokio::test]
async fn others_cannot_migrate_and_are_told_who_can() {
    let world = World::new().await;
    let (_, url) = world.database.login("landfall_writer").await;
    let error = ledger::migrate(&url).await.unwrap_err().to_string();
    assert!(error.contains("landfall_migrator"), "{error}");
}

#[tokio::test]
async fn plain_names_work_in_a_migrated_database() {
    let url = database::empty().await;
    ledger::migrate(&url).await.unwrap();
    let mut person = PgConnection::connect(&url).await.unwrap();
    person.execute("SELECT * FROM activity_log").await.unwrap();
}

/// What was put down before said where the name of a DNS server led that day.
#[tokio::test]
async fn an_address_that_no_credential_names_says_nothing_of_where_a_set_is() {
    let world = World::new().await;
    world.ledger.record(event(&world.subject("acme"), 1)).await.unwrap();
    let mut sql = world.database.superuser().await;
    sql.execute("SET search_path = landfall").await.unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    let rows = [
        ("by-name", "ns1.example.test:53", "dns://192.0.2.1:53", None),
        ("by-address", "192.0.2.1:53", "dns://192.0.2.1:53", Some("dns://192.0.2.1:53")),
        ("pdns", "none", "http://192.0.2.1:8081", Some("http://192.0.2.1:8081")),
    ];
    for (name, spec, server, _) in rows {
        let insert = "WITH c AS (INSERT INTO cloud_provider_credentials (cluster_id, uid, organization_id, namespace, name, generation,
                          resource_version, spec, labels, escaped)
                      VALUES ($1, gen_random_uuid(), 'acme', 'shop', $2, 1, 1, jsonb_build_object('rfc2136', jsonb_build_object('server', $3)), '{}', false)
                      RETURNING uid)
                      INSERT INTO record_sets (cluster_id, uid, organization_id, namespace, name, fqdn, type, object_created_at, credential_uid,
                          zone_id, zone, ttl, data, digest, written_at, server)
                      SELECT $1, gen_random_uuid(), 'acme', 'shop', $2, 'www.example.test', 'A', now(), c.uid, 'z', 'z', 60, '[]', $5, now(), $4 FROM c";
        let insert = sqlx::query(insert).bind(world.cluster).bind(name).bind(spec).bind(server).bind(&digest);
        insert.execute(&mut sql).await.unwrap();
    }
    sql.execute(include_str!("../../migrations/0035_servers_by_name.sql")).await.unwrap();
    let now: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT name, server FROM record_sets ORDER BY name").fetch_all(&mut sql).await.unwrap();
    let mut expected: Vec<_> = rows.iter().map(|(name, _, _, now)| ((*name).into(), now.map(str::to_owned))).collect();
    expected.sort();
    assert_eq!(now, expected);
}
