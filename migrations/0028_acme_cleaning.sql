-- What stands in DNS is taken away at a pace of its own, whatever else the order waits for.
ALTER TABLE acme_orders
    ADD COLUMN cleaning_failures integer NOT NULL DEFAULT 0 CHECK (cleaning_failures >= 0),
    ADD COLUMN clean_at timestamptz;
COMMENT ON COLUMN acme_orders.cleaning_failures IS 'How often in a row DNS was in the way of taking away what stands there for this order.';
COMMENT ON COLUMN acme_orders.clean_at IS 'Not tried again before this.';
COMMENT ON COLUMN acme_orders.challenges IS 'What stands in DNS for this order, or is about to: identifier, name and value of each TXT record, and by which credential and in which zone it was put there; without that it was not, for the domain''s owner writes the zone. Empty when all was taken away.';
