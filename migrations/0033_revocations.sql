-- Certificates that are to be revoked, and were.

CREATE TABLE certificate_revocations (
    certificate_id  uuid PRIMARY KEY REFERENCES certificates_issued,
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    uid             uuid NOT NULL,
    reason          text NOT NULL CHECK (reason IN ('unspecified', 'keyCompromise', 'affiliationChanged', 'superseded',
                                                    'cessationOfOperation')),
    asked_by        text CHECK (asked_by <> ''),
    asked_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    state           text NOT NULL CHECK (state IN ('Asked', 'Revoking', 'Revoked', 'GivenUp')),
    intent_id       uuid REFERENCES intents,
    failures        integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    cause           text,
    message         text,
    retry_at        timestamptz,
    ended_at        timestamptz,
    CHECK (state <> 'Revoking' OR intent_id IS NOT NULL),
    CHECK ((state IN ('Revoked', 'GivenUp')) = (ended_at IS NOT NULL))
);
CREATE INDEX certificate_revocations_object ON certificate_revocations (cluster_id, uid);
COMMENT ON TABLE certificate_revocations IS 'Certificates that a person, or the end of their object, wants revoked: written down before the CA is asked, and what came of it.';
COMMENT ON COLUMN certificate_revocations.asked_by IS 'Who commanded it, by admission; none where spec.revokeOnDelete did.';
COMMENT ON COLUMN certificate_revocations.state IS 'Asked: wanted. Revoking: the CA is being asked, by intent_id. Revoked: the CA says so. GivenUp: it is not asked any more; message says why.';
COMMENT ON COLUMN certificate_revocations.failures IS 'How often in a row the CA was in the way.';
COMMENT ON COLUMN certificate_revocations.ended_at IS 'By the controller''s clock.';
CALL secure_table('certificate_revocations');

ALTER TABLE ssl_certificates
    ADD COLUMN revoked_serial_number text GENERATED ALWAYS AS (status -> 'revocation' ->> 'serialNumber') STORED,
    ADD COLUMN revocation_reason     text GENERATED ALWAYS AS (status -> 'revocation' ->> 'reason') STORED,
    ADD COLUMN revoked_at            timestamptz;
COMMENT ON COLUMN ssl_certificates.revoked_serial_number IS 'Of the last certificate that was revoked; certificate_revocations has all.';

CREATE OR REPLACE FUNCTION times_of_certificate() RETURNS trigger
LANGUAGE plpgsql SET search_path = landfall, pg_temp AS $$
DECLARE
    shape CONSTANT text := '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$';
BEGIN
    new.not_before := NULL;
    new.not_after := NULL;
    new.renewal_time := NULL;
    new.revoked_at := NULL;
    IF new.status ->> 'notBefore' ~ shape THEN new.not_before := new.status ->> 'notBefore'; END IF;
    IF new.status ->> 'notAfter' ~ shape THEN new.not_after := new.status ->> 'notAfter'; END IF;
    IF new.status ->> 'renewalTime' ~ shape THEN new.renewal_time := new.status ->> 'renewalTime'; END IF;
    IF new.status -> 'revocation' ->> 'time' ~ shape THEN new.revoked_at := new.status -> 'revocation' ->> 'time'; END IF;
    RETURN new;
EXCEPTION WHEN data_exception THEN
    RETURN new;
END
$$;
