-- When the CA would have a certificate renewed (ARI, RFC 9773).
ALTER TABLE certificates_issued
    ADD COLUMN renew_from timestamptz,
    ADD COLUMN renew_until timestamptz,
    ADD COLUMN ask_at timestamptz,
    ADD CHECK ((renew_from IS NULL) = (renew_until IS NULL));
COMMENT ON COLUMN certificates_issued.renew_from IS 'From when on, and until when, the CA would have it renewed; none where it does not tell.';
COMMENT ON COLUMN certificates_issued.ask_at IS 'When the CA is asked again.';
-- One that was on its way when its object was taken for gone is in nobody's way when the object is back.
DROP INDEX certificates_issued_open;
CREATE UNIQUE INDEX certificates_issued_open ON certificates_issued (cluster_id, uid) WHERE state = 'Issuing' AND gone_at IS NULL;
