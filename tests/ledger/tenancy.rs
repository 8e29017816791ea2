//! Who sees and does what: role by table by command, and attempts to get around it.

use futures::TryStreamExt;
use sqlx::postgres::PgPoolCopyExt;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

use crate::database::Database;

/// Sealed bytes: not for readers.
const SEALED: [&str; 4] = ["acme_keys", "run_artifacts", "run_logs", "run_secrets"];
/// Written once.
const APPEND_ONLY: [&str; 4] = ["activity_log", "intent_objects", "run_resource_events", "terraform_states"];

/// One row of `acme` and one of `other` in every table of tenants, whatever its columns are.
async fn furnished() -> (Database, Vec<String>) {
    let database = Database::fresh().await;
    let mut admin = database.superuser().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class c WHERE relnamespace = 'landfall'::regnamespace AND relkind = 'r' AND relname <> 'org_access'
           AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND attname = 'organization_id') ORDER BY relname",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    // Foreign keys and checks are not what is tested here.
    admin.execute("SET session_replication_role = replica").await.unwrap();
    let checks: Vec<String> = sqlx::query_scalar(
        "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
         WHERE connamespace = 'landfall'::regnamespace AND contype = 'c' AND conrelid <> 0",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    for statement in checks {
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    for table in &tables {
        for organization in ["acme", "other"] {
            let statement: String = sqlx::query_scalar(
                "SELECT format('INSERT INTO landfall.%I (%s) VALUES (%s)', $1::text, string_agg(quote_ident(attname), ', '),
                    string_agg(CASE WHEN attname = 'organization_id' THEN quote_literal($2::text) ELSE CASE format_type(atttypid, NULL)
                        WHEN 'uuid' THEN 'gen_random_uuid()' WHEN 'text' THEN 'gen_random_uuid()::text' WHEN 'bytea' THEN '''\\x00'''
                        WHEN 'jsonb' THEN '''{}''' WHEN 'text[]' THEN '''{}''' WHEN 'boolean' THEN 'false' WHEN 'timestamp with time zone' THEN 'now()'
                        ELSE '1' END END, ', '))
                 FROM pg_attribute a
                 WHERE attrelid = format('landfall.%I', $1::text)::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
                   AND (attname = 'organization_id' OR (attnotnull AND NOT atthasdef))",
            )
            .bind(table)
            .bind(organization)
            .fetch_one(&mut admin)
            .await
            .unwrap();
            admin.execute(AssertSqlSafe(statement)).await.unwrap();
        }
    }
    (database, tables)
}

/// Rows of acme and of other that this connection sees; `None` where it may not ask.
async fn seen(connection: &mut PgConnection, table: &str) -> Option<(i64, i64)> {
    let query = format!(
        "SELECT count(*) FILTER (WHERE organization_id = 'acme'), count(*) FILTER (WHERE organization_id = 'other') FROM landfall.{table}"
    );
    match sqlx::query_as(AssertSqlSafe(query)).fetch_one(connection).await {
        Ok(counts) => Some(counts),
        Err(error) => {
            assert_denied::<()>(Err(error), table);
            None
        }
    }
}

fn assert_denied<T: std::fmt::Debug>(result: Result<T, sqlx::Error>, what: &str) {
    let error = result.expect_err(what);
    assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{what}: {error}");
}

async fn login(database: &Database, group: &str) -> (String, PgConnection) {
    let (role, url) = database.login(group).await;
    (role, PgConnection::connect(&url).await.unwrap())
}

/// A reader who was given `acme`.
async fn reader_of_acme(database: &Database) -> (String, PgConnection, String) {
    let (role, url) = database.login("landfall_reader").await;
    let grant =
        sqlx::query("INSERT INTO landfall.org_access (db_role, organization_id) VALUES ($1, 'acme')").bind(&role);
    grant.execute(&mut database.superuser().await).await.unwrap();
    (role, PgConnection::connect(&url).await.unwrap(), url)
}

async fn assert_no_changes(connection: &mut PgConnection, table: &str) {
    for statement in [
        format!("UPDATE landfall.{table} SET organization_id = organization_id"),
        format!("INSERT INTO landfall.{table} DEFAULT VALUES"),
        format!("DELETE FROM landfall.{table}"),
        format!("TRUNCATE landfall.{table} CASCADE"),
        format!("ALTER TABLE landfall.{table} DISABLE TRIGGER ALL"),
        format!("ALTER TABLE landfall.{table} DISABLE ROW LEVEL SECURITY"),
    ] {
        assert_denied(connection.execute(AssertSqlSafe(statement.clone())).await, &statement);
    }
}

#[tokio::test]
async fn each_role_sees_and_does_what_it_is_for_in_every_table() {
    let (database, tables) = furnished().await;
    let (_, mut reader, _) = reader_of_acme(&database).await;
    let (_, mut stranger) = login(&database, "landfall_reader").await;
    let (_, mut auditor) = login(&database, "landfall_auditor").await;
    let (_, mut retention) = login(&database, "landfall_retention").await;
    let (_, mut writer) = login(&database, "landfall_writer").await;
    for table in &tables {
        let readable = !SEALED.contains(&table.as_str());
        assert_eq!(seen(&mut reader, table).await, readable.then_some((1, 0)), "reader: {table}");
        assert_eq!(seen(&mut stranger, table).await, readable.then_some((0, 0)), "reader of nothing: {table}");
        assert_eq!(seen(&mut auditor, table).await, Some((1, 1)), "auditor: {table}");
        assert_eq!(seen(&mut retention, table).await, None, "retention: {table}");
        assert_eq!(seen(&mut writer, table).await, Some((1, 1)), "writer: {table}");
        for connection in [&mut reader, &mut stranger, &mut auditor, &mut retention] {
            assert_no_changes(connection, table).await;
        }
        let update = format!("UPDATE landfall.{table} SET organization_id = organization_id");
        let updated = writer.execute(AssertSqlSafe(update)).await;
        if APPEND_ONLY.contains(&table.as_str()) {
            assert_denied(updated, table);
        } else {
            assert_eq!(updated.unwrap().rows_affected(), 2, "writer: {table}");
        }
        for verb in ["DELETE FROM", "TRUNCATE"] {
            assert_denied(writer.execute(AssertSqlSafe(format!("{verb} landfall.{table}"))).await, table);
        }
    }
    assert!(tables.len() >= 18, "{tables:?}");
}

#[tokio::test]
async fn the_writer_cannot_touch_what_was_written_nor_take_more_rights() {
    let (database, _) = furnished().await;
    let (_, mut writer) = login(&database, "landfall_writer").await;
    for statement in [
        "UPDATE landfall.activity_log SET action = 'x'",
        "DELETE FROM landfall.activity_log",
        "TRUNCATE landfall.activity_log",
        "ALTER TABLE landfall.activity_log DISABLE TRIGGER ALL",
        "DROP TABLE landfall.activity_log",
        "SET ROLE landfall_owner",
        "SET ROLE landfall_auditor",
        "SET session_replication_role = replica",
        "INSERT INTO landfall.org_access VALUES ('me', 'acme')",
        "SELECT * FROM landfall.org_access",
        "CREATE TABLE landfall.mine (x int)",
        "CALL landfall.secure_table('landfall.activity_log')",
        "CREATE RULE r AS ON INSERT TO landfall.activity_log DO INSTEAD NOTHING",
    ] {
        assert_denied(writer.execute(statement).await, statement);
    }
    let owner: bool = sqlx::query_scalar("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'landfall_owner'")
        .fetch_one(&mut writer)
        .await
        .unwrap();
    assert!(!owner, "nobody logs in as the owner");
}

#[tokio::test]
async fn a_reader_gets_around_nothing() {
    let (database, _) = furnished().await;
    let (role, mut reader, url) = reader_of_acme(&database).await;
    for statement in [
        "SET ROLE landfall_writer",
        "SET ROLE landfall_owner",
        "SET SESSION AUTHORIZATION landfall_auditor",
        "INSERT INTO landfall.org_access VALUES (current_user, 'other')",
        "UPDATE landfall.org_access SET organization_id = 'other'",
        "INSERT INTO landfall.organizations VALUES ('other') ON CONFLICT DO NOTHING",
        "CREATE VIEW landfall.v AS SELECT * FROM landfall.activity_log",
        "SELECT * FROM pg_statistic",
        "SELECT sealed FROM landfall.terraform_states",
        "SET row_security = off; SELECT * FROM landfall.activity_log",
    ] {
        assert_denied(reader.execute(statement).await, statement);
    }
    reader.execute("SET row_security = on").await.unwrap();
    // What is allowed shows nothing foreign, and no function is given a foreign row to look at.
    for statement in [
        "SELECT set_config('landfall.organization', 'other', false)",
        "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
         'BEGIN IF $1 = ''other'' THEN RAISE EXCEPTION ''seen %'', $1; END IF; RETURN true; END'",
        "SELECT count(*) FROM landfall.activity_log WHERE pg_temp.leak(organization_id)",
        "SELECT 1 / (CASE WHEN organization_id = 'other' THEN 0 ELSE 1 END) FROM landfall.activity_log",
        "CREATE TEMP VIEW mine AS SELECT * FROM landfall.activity_log",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM landfall.v_recent_activity WHERE pg_temp.leak(organization_id); FETCH ALL FROM c; COMMIT",
    ] {
        reader.execute(statement).await.unwrap();
    }
    let foreign: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM mine WHERE organization_id = 'other') + (SELECT count(*) FROM landfall.v_recent_activity WHERE organization_id = 'other')
              + (SELECT count(*) FROM pg_stats WHERE schemaname = 'landfall' AND tablename = 'activity_log')
              + (SELECT count(*) FROM landfall.org_access WHERE db_role <> current_user)",
    )
    .fetch_one(&mut reader)
    .await
    .unwrap();
    assert_eq!(foreign, 0);
    let mappings: Vec<String> =
        sqlx::query_scalar("SELECT db_role FROM landfall.org_access").fetch_all(&mut reader).await.unwrap();
    assert_eq!(mappings, [role]);
    let pool = PgPool::connect(&url).await.unwrap();
    let mut copy = pool.copy_out_raw("COPY landfall.activity_log TO STDOUT").await.unwrap();
    let mut text = String::new();
    while let Some(bytes) = copy.try_next().await.unwrap() {
        text += std::str::from_utf8(&bytes).unwrap();
    }
    assert!(text.contains("acme") && !text.contains("other"), "{text}");
}

#[tokio::test]
async fn what_belongs_to_no_tenant_is_for_auditors() {
    let (database, _) = furnished().await;
    let (_, mut reader, _) = reader_of_acme(&database).await;
    let (_, mut auditor) = login(&database, "landfall_auditor").await;
    for table in ["clusters", "mirror_watermarks", "mirror_freshness", "digest_keys"] {
        let select = format!("SELECT count(*) FROM landfall.{table}");
        assert_denied(reader.execute(AssertSqlSafe(select.clone())).await, table);
        if table != "digest_keys" {
            auditor.execute(AssertSqlSafe(select)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_question_about_one_object_or_the_newest_events_reads_no_whole_log() {
    let database = Database::fresh().await;
    let mut admin = database.superuser().await;
    admin
        .execute(
            "INSERT INTO landfall.organizations (organization_id) VALUES ('acme');
             INSERT INTO landfall.activity_log (organization_id, seq, at, actor_kind, action, cluster_id, object_kind, object_uid,
                                                object_namespace, object_name, details, prev_hash, hash)
             SELECT 'acme', n, now() - n * interval '1 second', 'unknown', 'test.happened', gen_random_uuid(), 'DnsRecord', gen_random_uuid(),
                    'shop', 'web-' || n % 1000, '{}', '', ''
             FROM generate_series(1, 20000) n;
             ANALYZE landfall.activity_log",
        )
        .await
        .unwrap();
    let (_, mut auditor) = login(&database, "landfall_auditor").await;
    for query in [
        "EXPLAIN SELECT * FROM landfall.activity_log WHERE object_namespace = 'shop' AND object_name = 'web-7' ORDER BY at DESC LIMIT 100",
        "EXPLAIN SELECT * FROM landfall.activity_log ORDER BY at DESC, organization_id, seq DESC LIMIT 100",
    ] {
        let plan: Vec<String> = sqlx::query_scalar(query).fetch_all(&mut auditor).await.unwrap();
        assert!(!plan.join("\n").contains("Seq Scan"), "{plan:#?}");
    }
}

#[tokio::test]
async fn a_readers_question_uses_the_organizations_index() {
    let database = Database::fresh().await;
    let mut admin = database.superuser().await;
    admin
        .execute(
            "INSERT INTO landfall.organizations (organization_id) SELECT 'org-' || n FROM generate_series(1, 500) n;
             INSERT INTO landfall.organizations (organization_id) VALUES ('acme');
             INSERT INTO landfall.activity_log (organization_id, seq, at, actor_kind, action, cluster_id, object_kind, object_uid,
                                                object_namespace, object_name, details, prev_hash, hash)
             SELECT o.organization_id, n, now(), 'unknown', 'test.happened', gen_random_uuid(), 'DnsRecord', gen_random_uuid(), 'a', 'b', '{}', '', ''
             FROM landfall.organizations o, generate_series(1, 100) n;
             ANALYZE landfall.activity_log",
        )
        .await
        .unwrap();
    let (_, mut reader, _) = reader_of_acme(&database).await;
    for query in
        ["EXPLAIN SELECT * FROM landfall.activity_log", "EXPLAIN SELECT * FROM landfall.v_recent_activity LIMIT 20"]
    {
        let plan: Vec<String> = sqlx::query_scalar(query).fetch_all(&mut reader).await.unwrap();
        let plan = plan.join("\n");
        assert!(
            plan.contains("InitPlan") && plan.contains("Index") && !plan.contains("Seq Scan on activity_log"),
            "{plan}"
        );
    }
}
