-- A server of DNS is who its credential names. Rows that hold an address to which a name led tell nothing of that: which
-- server they are of is not known, as for those that were written before it was put down.
UPDATE record_sets r SET server = NULL
WHERE r.gone_at IS NULL AND r.server LIKE 'dns://%' AND NOT EXISTS (
    SELECT FROM cloud_provider_credentials c
    WHERE c.cluster_id = r.cluster_id AND c.uid = r.credential_uid AND 'dns://' || (c.spec #>> '{rfc2136,server}') = r.server);
