-- A wrong key file under a known id would seal what nobody opens any more: a cluster keeps to the key that it began with.
ALTER TABLE clusters ADD COLUMN digest_key_id uuid REFERENCES digest_keys;
COMMENT ON COLUMN clusters.digest_key_id IS 'The key of digests that this cluster began with, whose leader must be able to open it.';
