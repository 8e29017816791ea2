-- A provider that asks to be left alone is, by the next leader too.
ALTER TABLE provider_health ADD COLUMN rests_until timestamptz;
COMMENT ON COLUMN provider_health.rests_until IS 'Until when the provider asked not to be called with this credential.';
