-- Roles and schema: what must exist before the first migration. Runs before each migration, as the caller, under an
-- advisory lock. Roles belong to the whole server, where another database may be doing the same at this moment.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['landfall_owner', 'landfall_migrator', 'landfall_writer', 'landfall_reader',
                                'landfall_auditor', 'landfall_retention']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
    END LOOP;

    IF NOT pg_has_role('landfall_migrator', 'landfall_owner', 'MEMBER') THEN
        BEGIN
            GRANT landfall_owner TO landfall_migrator;
        EXCEPTION WHEN unique_violation OR internal_error THEN NULL;
        END;
    END IF;

    IF NOT pg_has_role(current_user, 'landfall_owner', 'MEMBER') THEN
        EXECUTE format('GRANT landfall_owner TO %I', current_user);
    END IF;

    -- From Postgres 16 on who makes a role may grant it, and has it only once it is granted.
    IF current_setting('server_version_num')::int >= 160000 THEN
        IF NOT pg_has_role(current_user, 'landfall_owner', 'SET') THEN
            EXECUTE format('GRANT landfall_owner TO %I WITH SET TRUE, INHERIT TRUE', current_user);
        END IF;
    END IF;

    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'landfall') THEN
        CREATE SCHEMA landfall AUTHORIZATION landfall_owner;
        EXECUTE format('ALTER DATABASE %I SET search_path = landfall, public', current_database());
    END IF;
END
$$;
