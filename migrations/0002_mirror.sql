-- Rows that follow objects. The mirror takes whatever the API server took: no constraint here that it does not have.

CREATE PROCEDURE create_mirror(name text)
LANGUAGE plpgsql SET search_path = landfall, pg_temp AS $$
BEGIN
    EXECUTE format($ddl$
        CREATE TABLE %1$I (
            cluster_id            uuid NOT NULL REFERENCES clusters,
            uid                   uuid NOT NULL,
            organization_id       text NOT NULL REFERENCES organizations,
            namespace             text NOT NULL,
            name                  text NOT NULL,
            generation            bigint NOT NULL,
            observed_generation   bigint,
            resource_version      numeric NOT NULL,
            spec                  jsonb NOT NULL,
            status                jsonb,
            labels                jsonb NOT NULL,
            phase                 text,
            ready                 text,
            reason                text,
            message               text,
            field_manager         text,
            escaped               boolean NOT NULL,
            object_created_at     timestamptz,
            observed_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
            deletion_requested_at timestamptz,
            deleted_at            timestamptz,
            delete_reason         text,
            PRIMARY KEY (cluster_id, uid)
        )
    $ddl$, name);
    EXECUTE format('CREATE INDEX %I ON %I (organization_id, namespace, name)', name || '_name', name);
    EXECUTE format('CREATE INDEX %I ON %I USING gin (labels jsonb_path_ops)', name || '_labels', name);
    EXECUTE format('COMMENT ON COLUMN %I.escaped IS %L', name,
                   'Somewhere in this row U+0000, which jsonb refuses, is kept as the six characters \u0000, or very deep JSON as text.');
    EXECUTE format('COMMENT ON COLUMN %I.field_manager IS %L', name,
                   'Who the object says wrote its spec last. A program''s word about itself, not verified.');
    CALL secure_table(name::regclass);
END
$$;
COMMENT ON PROCEDURE create_mirror IS 'A mirror table with the header that all kinds share; a kind adds its own columns after it.';

CALL create_mirror('cloud_provider_credentials');
COMMENT ON TABLE cloud_provider_credentials IS 'Mirror of CloudCredential objects; one row for each uid, tombstoned when it is gone.';
CALL create_mirror('terraform_deployments');
COMMENT ON TABLE terraform_deployments IS 'Mirror of TerraformDeployment objects; one row for each uid, tombstoned when it is gone.';

CREATE TABLE mirror_watermarks (
    cluster_id       uuid NOT NULL REFERENCES clusters,
    kind             text NOT NULL,
    namespace        text NOT NULL DEFAULT '',
    list_rv          numeric,
    listed_at        timestamptz,
    last_event_at    timestamptz,
    last_alive_at    timestamptz,
    epoch            bigint NOT NULL,
    PRIMARY KEY (cluster_id, kind, namespace)
);
COMMENT ON TABLE mirror_watermarks IS 'How far the mirror is: last complete list, last event, and when the watch was last known to stand, which is noted once a minute while nothing changes. Namespace '''' is all of them.';
CALL share_table('mirror_watermarks');

CREATE TABLE mirror_quarantine (
    cluster_id       uuid NOT NULL REFERENCES clusters,
    kind             text NOT NULL,
    uid              uuid NOT NULL,
    organization_id  text NOT NULL REFERENCES organizations,
    namespace        text NOT NULL,
    name             text NOT NULL,
    resource_version text NOT NULL,
    error            text NOT NULL,
    seen_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at      timestamptz,
    PRIMARY KEY (cluster_id, kind, uid)
);
COMMENT ON TABLE mirror_quarantine IS 'Objects that the mirror could not take, and why; the rest of their batch went on.';
CALL secure_table('mirror_quarantine');

CREATE TABLE resolved_references (
    cluster_id      uuid NOT NULL REFERENCES clusters,
    from_uid        uuid NOT NULL,
    to_uid          uuid NOT NULL,
    organization_id text NOT NULL REFERENCES organizations,
    from_kind       text NOT NULL,
    from_namespace  text NOT NULL,
    from_name       text NOT NULL,
    to_kind         text NOT NULL,
    to_namespace    text NOT NULL,
    to_name         text NOT NULL,
    since           timestamptz NOT NULL DEFAULT clock_timestamp(),
    gone_at         timestamptz,
    PRIMARY KEY (cluster_id, from_uid, to_uid)
);
CREATE INDEX resolved_references_to ON resolved_references (cluster_id, to_uid) WHERE gone_at IS NULL;
COMMENT ON TABLE resolved_references IS 'Which object uses which, as resolved by the controller. The organization is the referring object''s.';
CALL secure_table('resolved_references');

CREATE TABLE provider_health (
    cluster_id      uuid NOT NULL REFERENCES clusters,
    uid             uuid NOT NULL,
    organization_id text NOT NULL REFERENCES organizations,
    namespace       text NOT NULL,
    name            text NOT NULL,
    state           text NOT NULL,
    reason          text NOT NULL,
    account         text,
    principal       text,
    secret_digest   text,
    checked_at      timestamptz NOT NULL,
    succeeded_at    timestamptz,
    gone_at         timestamptz,
    PRIMARY KEY (cluster_id, uid)
);
CREATE INDEX provider_health_organization ON provider_health (organization_id);
COMMENT ON TABLE provider_health IS 'What the last probe of each credential found. The controller trusts this, never an object''s status.';
CALL secure_table('provider_health');

CREATE VIEW mirror_freshness WITH (security_invoker = true) AS
SELECT w.cluster_id, c.name AS cluster, w.kind, w.namespace, w.listed_at, w.last_event_at, w.last_alive_at,
       now() - greatest(w.listed_at, w.last_event_at, w.last_alive_at) AS age,
       (SELECT count(*) FROM mirror_quarantine q
        WHERE q.cluster_id = w.cluster_id AND q.kind = w.kind AND q.resolved_at IS NULL) AS quarantined
FROM mirror_watermarks w JOIN clusters c USING (cluster_id);
COMMENT ON VIEW mirror_freshness IS 'How old the mirror''s last sign of life is, and how many objects it could not take.';
CALL share_view('mirror_freshness', reader => false);

CREATE VIEW v_recent_activity WITH (security_invoker = true) AS
SELECT organization_id, seq, at, actor, actor_kind, action, object_kind, object_namespace, object_name, details, object_uid, cluster_id
FROM activity_log
WHERE at > now() - interval '30 days'
ORDER BY at DESC, organization_id, seq DESC;
COMMENT ON VIEW v_recent_activity IS 'The activity of the last 30 days, newest first.';
CALL share_view('v_recent_activity');
