//! What every table, view and role must be, read from the catalogue: what is added later is held to it too.

use sqlx::PgConnection;

use crate::database::Database;

/// Tables that belong to no tenant.
const SHARED: [&str; 4] = ["_sqlx_migrations", "clusters", "digest_keys", "mirror_watermarks"];

/// Runs a query that lists offenders; there must be none.
async fn assert_none(connection: &mut PgConnection, rule: &str, query: &'static str) {
    let offenders: Vec<String> = sqlx::query_scalar(query).fetch_all(connection).await.unwrap();
    assert!(offenders.is_empty(), "{rule}: {offenders:?}");
}

#[tokio::test]
async fn every_table_of_a_tenant_has_row_security_and_a_policy_for_each_granted_command() {
    let mut connection = Database::fresh().await.superuser().await;
    assert_none(
        &mut connection,
        "row security is enabled and forced",
        "SELECT relname::text FROM pg_class c WHERE relnamespace = 'landfall'::regnamespace AND relkind IN ('r', 'p')
           AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND attname = 'organization_id')
           AND NOT (relrowsecurity AND relforcerowsecurity)",
    )
    .await;
    assert_none(
        &mut connection,
        "a grant without a policy is silent emptiness",
        "SELECT format('%s %s %s', g.grantee, g.privilege_type, g.table_name)
         FROM information_schema.role_table_grants g JOIN pg_class c ON c.relname = g.table_name AND c.relnamespace = 'landfall'::regnamespace
         WHERE g.table_schema = 'landfall' AND c.relrowsecurity AND g.grantee <> 'landfall_owner'
           AND NOT EXISTS (SELECT FROM pg_policies p WHERE p.schemaname = 'landfall' AND p.tablename = g.table_name
                           AND g.grantee = ANY (p.roles) AND p.cmd IN ('ALL', g.privilege_type))",
    )
    .await;
    let shared: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class c WHERE relnamespace = 'landfall'::regnamespace AND relkind IN ('r', 'p')
           AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND attname = 'organization_id' AND NOT attisdropped)
         ORDER BY relname",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(shared, SHARED, "a table without organization_id is placed here on purpose");
}

#[tokio::test]
async fn nothing_is_granted_that_could_remove_or_reach_around() {
    let mut connection = Database::fresh().await.superuser().await;
    assert_none(
        &mut connection,
        "DELETE, TRUNCATE, REFERENCES, TRIGGER are granted to nobody, and nothing to PUBLIC",
        "SELECT format('%s %s %s', grantee, privilege_type, table_name) FROM information_schema.role_table_grants
         WHERE table_schema = 'landfall' AND grantee <> 'landfall_owner'
           AND (privilege_type IN ('DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER') OR grantee = 'PUBLIC')",
    )
    .await;
    assert_none(
        &mut connection,
        "no routine is for PUBLIC",
        "SELECT format('%s %s', grantee, routine_name) FROM information_schema.role_routine_grants
         WHERE routine_schema = 'landfall' AND grantee <> 'landfall_owner'",
    )
    .await;
    assert_none(
        &mut connection,
        "every SECURITY DEFINER routine pins its search_path",
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'landfall'::regnamespace AND prosecdef
           AND NOT coalesce(array_to_string(proconfig, ' '), '') LIKE '%search_path=%'",
    )
    .await;
    assert_none(
        &mut connection,
        "roles log in nowhere and bypass nothing",
        "SELECT rolname::text FROM pg_roles WHERE rolname IN ('landfall_owner', 'landfall_migrator', 'landfall_writer', 'landfall_reader',
            'landfall_auditor', 'landfall_retention') AND (rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)",
    )
    .await;
}

#[tokio::test]
async fn views_ask_as_their_caller_and_everything_is_owned_and_explained() {
    let mut connection = Database::fresh().await.superuser().await;
    assert_none(
        &mut connection,
        "views are security_invoker",
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'landfall'::regnamespace AND relkind IN ('v', 'm')
           AND (relkind = 'm' OR NOT coalesce(array_to_string(reloptions, ' '), '') LIKE '%security_invoker=true%')",
    )
    .await;
    assert_none(
        &mut connection,
        "landfall_owner owns",
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'landfall'::regnamespace AND relowner <> 'landfall_owner'::regrole
         UNION SELECT proname::text FROM pg_proc WHERE pronamespace = 'landfall'::regnamespace AND proowner <> 'landfall_owner'::regrole",
    )
    .await;
    assert_none(
        &mut connection,
        "tables, views and routines have a comment",
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'landfall'::regnamespace AND relkind IN ('r', 'p', 'v')
           AND obj_description(oid, 'pg_class') IS NULL
         UNION SELECT proname::text FROM pg_proc WHERE pronamespace = 'landfall'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL",
    )
    .await;
    assert_none(
        &mut connection,
        "no floats, no times without a zone",
        "SELECT format('%s.%s', table_name, column_name) FROM information_schema.columns
         WHERE table_schema = 'landfall' AND table_name <> '_sqlx_migrations'
           AND data_type IN ('real', 'double precision', 'timestamp without time zone', 'money')",
    )
    .await;
}
