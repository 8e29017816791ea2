-- Record sets: the rows that follow the objects, and which object has which set.

CALL create_mirror('dns_records');
ALTER TABLE dns_records
    ADD COLUMN fqdn text GENERATED ALWAYS AS (status ->> 'fqdn') STORED,
    ADD COLUMN type text GENERATED ALWAYS AS (spec ->> 'type') STORED,
    ADD COLUMN ttl  integer GENERATED ALWAYS AS (CASE WHEN spec ->> 'ttl' ~ '^[0-9]{1,9}$' THEN (spec ->> 'ttl')::integer END) STORED;
COMMENT ON TABLE dns_records IS 'Mirror of DnsRecord objects; one row for each uid, tombstoned when it is gone.';

CREATE TABLE record_sets (
    cluster_id      uuid NOT NULL REFERENCES clusters,
    uid             uuid NOT NULL,
    organization_id text NOT NULL REFERENCES organizations,
    namespace       text NOT NULL,
    name            text NOT NULL,
    fqdn            text NOT NULL,
    type            text NOT NULL,
    object_created_at timestamptz NOT NULL,
    claimed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    credential_uid  uuid,
    zone_id         text,
    zone            text,
    ttl             integer,
    data            jsonb,
    digest          text CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    written_at      timestamptz,
    repaired_at     timestamptz[] NOT NULL DEFAULT '{}',
    gone_at         timestamptz,
    PRIMARY KEY (cluster_id, uid),
    CHECK ((written_at IS NULL) = (digest IS NULL) AND (written_at IS NULL) = (data IS NULL) AND (written_at IS NULL) = (zone_id IS NULL)
           AND (written_at IS NULL) = (zone IS NULL) AND (written_at IS NULL) = (ttl IS NULL) AND (written_at IS NULL) = (credential_uid IS NULL))
);
CREATE INDEX record_sets_fqdn ON record_sets (organization_id, fqdn) WHERE gone_at IS NULL;
COMMENT ON TABLE record_sets IS 'Which object asks for which record set, and what was last written for it. Of an organization''s objects that ask for one, the oldest has it. The controller trusts this, never an object''s status.';
COMMENT ON COLUMN record_sets.data IS 'The values as they were written, in presentation form.';
COMMENT ON COLUMN record_sets.repaired_at IS 'When it was put right after somebody else''s change, in the last ten minutes before the newest of them.';
CALL secure_table('record_sets');
