-- What the guard against mass changes counts: what was made in a zone lately, and who has sets there.
CREATE INDEX intents_zone ON intents (cluster_id, (details ->> 'zone'), created_at) WHERE (details ->> 'zone') IS NOT NULL;
CREATE INDEX record_sets_zone ON record_sets (cluster_id, zone_id) WHERE gone_at IS NULL AND written_at IS NOT NULL;
