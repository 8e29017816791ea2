-- What a status tells of a CA's wish, and repairs of a Secret that are on record before they are made.
ALTER TABLE certificates_issued
    ADD COLUMN renew_page text,
    ADD COLUMN restore_intent_id uuid REFERENCES intents;
COMMENT ON COLUMN certificates_issued.renew_page IS 'Where the CA says why it would have it renewed then.';
COMMENT ON COLUMN certificates_issued.restore_intent_id IS 'Of a repair of its Secret whose outcome is not known yet.';
-- All that an object ever had: a former one may be revoked, and what is gone may come back.
CREATE INDEX certificates_issued_object ON certificates_issued (cluster_id, uid);
