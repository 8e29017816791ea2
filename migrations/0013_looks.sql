-- Asked at every look at a deployment, and while the lock of new runs is held.
CREATE INDEX state_keys_holder ON state_keys (holder_uid) WHERE holder_uid IS NOT NULL;
CREATE INDEX terraform_deployments_live ON terraform_deployments (cluster_id, organization_id) WHERE deleted_at IS NULL;

-- What is not watched any more grows no older.
ALTER TABLE mirror_watermarks ADD COLUMN unwatched_at timestamptz;
COMMENT ON COLUMN mirror_watermarks.unwatched_at IS 'Since when the namespace is not watched any more.';
CREATE OR REPLACE VIEW mirror_freshness WITH (security_invoker = true) AS
SELECT w.cluster_id, c.name AS cluster, w.kind, w.namespace, w.listed_at, w.last_event_at, w.last_alive_at,
       now() - greatest(w.listed_at, w.last_event_at, w.last_alive_at) AS age,
       (SELECT count(*) FROM mirror_quarantine q
        WHERE q.cluster_id = w.cluster_id AND q.kind = w.kind AND q.resolved_at IS NULL) AS quarantined
FROM mirror_watermarks w JOIN clusters c USING (cluster_id)
WHERE w.unwatched_at IS NULL;
