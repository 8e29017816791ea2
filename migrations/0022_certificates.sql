-- Certificates: the rows that follow the objects, and every certificate that Landfall issued, found or was brought.

CALL create_mirror('ssl_certificates');
ALTER TABLE ssl_certificates
    ADD COLUMN not_before         timestamptz,
    ADD COLUMN not_after          timestamptz,
    ADD COLUMN renewal_time       timestamptz,
    ADD COLUMN serial_number      text GENERATED ALWAYS AS (status ->> 'serialNumber') STORED,
    ADD COLUMN fingerprint_sha256 text GENERATED ALWAYS AS (status ->> 'fingerprintSha256') STORED;
CREATE INDEX ssl_certificates_not_after ON ssl_certificates (organization_id, not_after) WHERE deleted_at IS NULL;
COMMENT ON TABLE ssl_certificates IS 'Mirror of Certificate objects; one row for each uid, tombstoned when it is gone. What was issued stands in certificates_issued.';

-- A status may say anything: what is no time is left out, and the row stands.
CREATE FUNCTION times_of_certificate() RETURNS trigger
LANGUAGE plpgsql SET search_path = landfall, pg_temp AS $$
DECLARE
    shape CONSTANT text := '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$';
BEGIN
    new.not_before := NULL;
    new.not_after := NULL;
    new.renewal_time := NULL;
    IF new.status ->> 'notBefore' ~ shape THEN new.not_before := new.status ->> 'notBefore'; END IF;
    IF new.status ->> 'notAfter' ~ shape THEN new.not_after := new.status ->> 'notAfter'; END IF;
    IF new.status ->> 'renewalTime' ~ shape THEN new.renewal_time := new.status ->> 'renewalTime'; END IF;
    RETURN new;
EXCEPTION WHEN data_exception THEN
    RETURN new;
END
$$;
COMMENT ON FUNCTION times_of_certificate IS 'Fills the times of a mirror row from its status.';
CREATE TRIGGER times_of_certificate BEFORE INSERT OR UPDATE ON ssl_certificates
    FOR EACH ROW EXECUTE FUNCTION times_of_certificate();

CREATE TABLE certificates_issued (
    certificate_id     uuid PRIMARY KEY,
    organization_id    text NOT NULL REFERENCES organizations,
    cluster_id         uuid NOT NULL REFERENCES clusters,
    uid                uuid NOT NULL,
    namespace          text NOT NULL,
    name               text NOT NULL,
    secret_name        text NOT NULL,
    state              text NOT NULL CHECK (state IN ('Issuing', 'Issued', 'Failed')),
    why                text NOT NULL,
    terms              jsonb NOT NULL,
    dns_names          text[] NOT NULL,
    issuer             text NOT NULL,
    serial_number      text NOT NULL,
    fingerprint_sha256 text NOT NULL,
    public_key_sha256  text NOT NULL,
    not_before         timestamptz NOT NULL,
    not_after          timestamptz NOT NULL,
    chain              text NOT NULL,
    roots              text,
    intent_id          uuid REFERENCES intents,
    made_at            timestamptz NOT NULL,
    superseded_at      timestamptz,
    gone_at            timestamptz,
    CHECK (state <> 'Issuing' OR intent_id IS NOT NULL)
);
CREATE UNIQUE INDEX certificates_issued_current ON certificates_issued (cluster_id, uid)
    WHERE state = 'Issued' AND superseded_at IS NULL;
CREATE UNIQUE INDEX certificates_issued_open ON certificates_issued (cluster_id, uid) WHERE state = 'Issuing';
CREATE INDEX certificates_issued_organization ON certificates_issued (organization_id, not_after)
    WHERE state = 'Issued' AND superseded_at IS NULL AND gone_at IS NULL;
COMMENT ON TABLE certificates_issued IS 'Every certificate: written down before its Secret is, with its chain, and by whom and why it was issued. No private key. The controller trusts this, never an object''s status.';
COMMENT ON COLUMN certificates_issued.state IS 'Issuing: on its way into the Secret. Issued: it stands there, or stood until superseded_at. Failed: it never did.';
COMMENT ON COLUMN certificates_issued.terms IS 'What the spec asked for; another spec needs another certificate.';
COMMENT ON COLUMN certificates_issued.made_at IS 'By the controller''s clock, as the times in the certificate are.';
CALL secure_table('certificates_issued');

CREATE VIEW v_expiring_certificates WITH (security_invoker = true) AS
SELECT c.organization_id, c.cluster_id, c.namespace, c.name, c.secret_name, c.dns_names, c.issuer, c.serial_number,
       c.not_after, c.not_after - now() AS remaining, m.renewal_time, m.ready, m.reason, m.message, c.uid
FROM certificates_issued c LEFT JOIN ssl_certificates m USING (cluster_id, uid)
WHERE c.state = 'Issued' AND c.superseded_at IS NULL AND c.gone_at IS NULL AND c.not_after < now() + interval '30 days'
ORDER BY c.not_after;
COMMENT ON VIEW v_expiring_certificates IS 'Certificates in use that end within 30 days, the next first; with renewal_time in the future they are to be renewed before.';
CALL share_view('v_expiring_certificates');
