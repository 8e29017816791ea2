-- An object that may not have its set, or only looks, keeps nobody from it; and what stays at a provider is on record.

ALTER TABLE record_sets
    ADD COLUMN asks boolean NOT NULL DEFAULT true,
    ADD COLUMN kept text;
COMMENT ON COLUMN record_sets.asks IS 'Whether the object asks for the set still. False for one whose domain was lost, whose values are bad or which only looks.';
COMMENT ON COLUMN record_sets.kept IS 'Why the set was left at the provider when its object went.';

CREATE VIEW v_kept_record_sets WITH (security_invoker = true) AS
SELECT organization_id, fqdn, type, ttl, data, zone, zone_id, credential_uid, namespace, name, uid, cluster_id, gone_at AS kept_at, kept AS why
FROM record_sets k
WHERE kept IS NOT NULL AND NOT EXISTS (
    SELECT FROM record_sets o
    WHERE o.organization_id = k.organization_id AND o.fqdn = k.fqdn AND o.type = k.type AND o.written_at > k.gone_at);
COMMENT ON VIEW v_kept_record_sets IS 'Sets that stand at a provider, as far as was known when their object went, without an object.';
CALL share_view('v_kept_record_sets');
