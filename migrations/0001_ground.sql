-- Conventions, for every migration that follows.
--
--  * It runs as landfall_owner with search_path = landfall.
--  * A table of tenants has `organization_id text NOT NULL REFERENCES organizations` and ends with
--        CALL secure_table('its_name');                                     -- writer: SELECT, INSERT, UPDATE
--        CALL secure_table('its_name', writer => 'SELECT, INSERT');         -- append-only
--        CALL secure_table('its_name', reader => false);                    -- not for readers (sealed bytes)
--    which enables and FORCEs row security, adds a policy for each role and grants what the policies serve. Nobody is
--    granted DELETE or TRUNCATE; what is gone is marked, not removed.
--  * A table without tenants ends with `CALL share_table('its_name')`: the writer writes, auditors read. A reader, who is of
--    one tenant, would learn from it of all the others.
--  * Every table has a COMMENT. Every view is WITH (security_invoker = true) and ends with `CALL share_view('its_name')`, or
--    with `reader => false` where it stands on a table without tenants.
--  * timestamptz, jsonb, bytea; no floats.

ALTER DEFAULT PRIVILEGES IN SCHEMA landfall REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT USAGE ON SCHEMA landfall TO landfall_writer, landfall_reader, landfall_auditor, landfall_retention;

CREATE TABLE organizations (
    organization_id text PRIMARY KEY CHECK (organization_id <> ''),
    first_seen_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE organizations IS 'Tenants: the value of the Namespace label, or ns:<cluster>/<namespace> for a namespace by itself.';

CREATE TABLE org_access (
    db_role         text NOT NULL,
    organization_id text NOT NULL REFERENCES organizations,
    granted_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (db_role, organization_id)
);
COMMENT ON TABLE org_access IS 'Which database role reads which organization. Kept by the database''s administrators, as landfall_migrator.';

CREATE PROCEDURE secure_table(tbl regclass, writer text DEFAULT 'SELECT, INSERT, UPDATE', reader boolean DEFAULT true)
LANGUAGE plpgsql SET search_path = landfall, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tbl);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tbl);
    EXECUTE format('CREATE POLICY writer ON %s FOR ALL TO landfall_writer USING (true) WITH CHECK (true)', tbl);
    EXECUTE format('CREATE POLICY auditor ON %s FOR SELECT TO landfall_auditor USING (true)', tbl);
    EXECUTE format('CREATE POLICY owner ON %s FOR ALL TO landfall_owner USING (true) WITH CHECK (true)', tbl);
    EXECUTE format('GRANT %s ON %s TO landfall_writer', writer, tbl);
    EXECUTE format('GRANT SELECT ON %s TO landfall_auditor', tbl);
    IF reader THEN
        -- The array is one InitPlan for the statement and serves an index on organization_id; IN (SELECT …) would be a
        -- filter, and a function call would run for each row.
        EXECUTE format('CREATE POLICY reader ON %s FOR SELECT TO landfall_reader USING (organization_id = ANY (ARRAY('
                       'SELECT a.organization_id FROM landfall.org_access a WHERE a.db_role = current_user)))', tbl);
        EXECUTE format('GRANT SELECT ON %s TO landfall_reader', tbl);
    END IF;
END
$$;
COMMENT ON PROCEDURE secure_table IS 'Row security, policies and grants of a table with organization_id.';

CREATE PROCEDURE share_table(tbl regclass)
LANGUAGE plpgsql SET search_path = landfall, pg_temp AS $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %s TO landfall_writer', tbl);
    EXECUTE format('GRANT SELECT ON %s TO landfall_auditor', tbl);
END
$$;
COMMENT ON PROCEDURE share_table IS 'Grants of a table that belongs to no tenant.';

CREATE PROCEDURE share_view(view regclass, reader boolean DEFAULT true)
LANGUAGE plpgsql SET search_path = landfall, pg_temp AS $$
BEGIN
    EXECUTE format('GRANT SELECT ON %s TO landfall_writer, landfall_auditor', view);
    IF reader THEN
        EXECUTE format('GRANT SELECT ON %s TO landfall_reader', view);
    END IF;
END
$$;
COMMENT ON PROCEDURE share_view IS 'Grants of a view; its own rows are guarded by the policies of the tables below it.';

CALL secure_table('organizations');

-- Not by secure_table: here a reader sees the rows of its own role, and the writer has no say.
ALTER TABLE org_access ENABLE ROW LEVEL SECURITY;
ALTER TABLE org_access FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON org_access FOR ALL TO landfall_owner USING (true) WITH CHECK (true);
CREATE POLICY auditor ON org_access FOR SELECT TO landfall_auditor USING (true);
CREATE POLICY reader ON org_access FOR SELECT TO landfall_reader USING (db_role = current_user);
GRANT SELECT ON org_access TO landfall_reader, landfall_auditor;

CREATE TABLE clusters (
    cluster_id    uuid PRIMARY KEY,
    name          text NOT NULL,
    writer_epoch  bigint NOT NULL DEFAULT 0,
    writer_holder text,
    writer_since  timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE clusters IS 'Kubernetes clusters of this ledger. writer_epoch fences: a write under an older epoch is refused.';
CALL share_table('clusters');

CREATE TABLE intents (
    intent_id       uuid PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    call            text NOT NULL,
    why             text NOT NULL,
    approved_by     text,
    details         jsonb NOT NULL,
    epoch           bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome         text CHECK (outcome IN ('Done', 'Failed', 'Unknown', 'Settled')),
    outcome_details jsonb,
    concluded_at    timestamptz,
    CHECK ((outcome IS NULL) = (concluded_at IS NULL)),
    UNIQUE (organization_id, intent_id)
);
CREATE INDEX intents_unknown ON intents (cluster_id, created_at) WHERE outcome IS NULL OR outcome = 'Unknown';
COMMENT ON TABLE intents IS 'What Landfall was about to do, committed before it did it, and how it went. One row for each call to a provider or engine.';
COMMENT ON COLUMN intents.outcome IS 'Unknown: a crash came between effect and outcome. Settled: it did, and a later run found the world as it should be; outcome_details name that run.';
CALL secure_table('intents');

CREATE TABLE intent_objects (
    intent_id       uuid NOT NULL REFERENCES intents,
    position        integer NOT NULL,
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    object_kind     text NOT NULL,
    object_uid      uuid NOT NULL,
    namespace       text NOT NULL,
    name            text NOT NULL,
    PRIMARY KEY (intent_id, position)
);
CREATE INDEX intent_objects_object ON intent_objects (organization_id, object_uid);
COMMENT ON TABLE intent_objects IS 'The objects for which an intent was made; one call may serve several.';
CALL secure_table('intent_objects', writer => 'SELECT, INSERT');

CREATE TABLE activity_log (
    organization_id  text NOT NULL REFERENCES organizations,
    seq              bigint NOT NULL CHECK (seq > 0),
    at               timestamptz NOT NULL,
    actor            text,
    actor_kind       text NOT NULL,
    action           text NOT NULL,
    cluster_id       uuid NOT NULL,
    object_kind      text NOT NULL,
    object_uid       uuid NOT NULL,
    object_namespace text NOT NULL,
    object_name      text NOT NULL,
    details          jsonb NOT NULL,
    prev_hash        bytea NOT NULL,
    hash             bytea NOT NULL,
    PRIMARY KEY (organization_id, seq)
);
CREATE INDEX activity_log_object ON activity_log (organization_id, object_uid, seq);
CREATE INDEX activity_log_at ON activity_log (organization_id, at);
-- Questions of whoever sees every organization.
CREATE INDEX activity_log_recent ON activity_log (at);
CREATE INDEX activity_log_name ON activity_log (object_namespace, object_name, at);
COMMENT ON TABLE activity_log IS 'All that happened, one hash chain for each organization: hash = SHA-256(''landfall-activity-v1'' || 0x00 || prev_hash || JCS(event)). INSERT only.';
CALL secure_table('activity_log', writer => 'SELECT, INSERT');

CREATE TABLE audit_heads (
    organization_id text PRIMARY KEY REFERENCES organizations,
    seq             bigint NOT NULL DEFAULT 0,
    hash            bytea NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE audit_heads IS 'The newest link of each chain; its row lock is what puts appenders in order.';
CALL secure_table('audit_heads');

-- By the insertion of the organization and by nothing else: a head that is missing was removed.
CREATE FUNCTION begin_chain() RETURNS trigger
LANGUAGE plpgsql SET search_path = landfall, pg_temp AS $$
BEGIN
    INSERT INTO audit_heads (organization_id, hash) VALUES (new.organization_id, decode(repeat('00', 32), 'hex'));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION begin_chain IS 'Gives a new organization the head of its chain.';
CREATE TRIGGER begin_chain AFTER INSERT ON organizations FOR EACH ROW EXECUTE FUNCTION begin_chain();
