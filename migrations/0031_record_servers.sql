-- Where a set was written: a credential whose endpoint changes leads elsewhere.

ALTER TABLE record_sets ADD COLUMN server text;
COMMENT ON COLUMN record_sets.server IS 'Endpoint of the server to which the set was written. NULL where that was not put down.';

CREATE OR REPLACE VIEW v_kept_record_sets WITH (security_invoker = true) AS
SELECT organization_id, fqdn, type, ttl, data, zone, zone_id, credential_uid, namespace, name, uid, cluster_id, gone_at AS kept_at, kept AS why, server
FROM record_sets k
WHERE kept IS NOT NULL AND NOT EXISTS (
    SELECT FROM record_sets o
    WHERE o.organization_id = k.organization_id AND o.fqdn = k.fqdn AND o.type = k.type AND o.written_at > k.gone_at);
CALL share_view('v_kept_record_sets');
