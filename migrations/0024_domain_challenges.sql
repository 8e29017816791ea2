-- Where Landfall itself has put the challenge of a managed domain, so that it can be taken away again.
ALTER TABLE domain_verifications ADD COLUMN published jsonb;
COMMENT ON COLUMN domain_verifications.published IS 'The credential and the zone by which Landfall has set the challenge, and when; null where it has not.';
