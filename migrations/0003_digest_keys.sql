-- Digests of secrets must stay comparable when the key-encryption keys rotate: their key is one of its own, sealed here.
CREATE TABLE digest_keys (
    digest_key_id uuid PRIMARY KEY,
    key_id        text NOT NULL,
    sealed        bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE digest_keys IS 'Keys of keyed digests, sealed. An installation uses the oldest one that its key-encryption keys open.';
GRANT SELECT, INSERT, UPDATE ON digest_keys TO landfall_writer;
