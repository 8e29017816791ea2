-- Accounts and orders at CAs. Each is written down before the CA is asked, so that whoever comes next goes on with the same key.

CREATE TABLE acme_accounts (
    account_id      uuid PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    server          text NOT NULL CHECK (server <> ''),
    email           text NOT NULL,
    external_key_id text NOT NULL,
    url             text,
    made_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    registered_at   timestamptz,
    UNIQUE (cluster_id, organization_id, server, email, external_key_id),
    UNIQUE (organization_id, account_id),
    CHECK ((url IS NULL) = (registered_at IS NULL))
);
COMMENT ON TABLE acme_accounts IS 'Accounts at CAs: one for each organization, directory, e-mail address and external account. url is the CA''s name for it; none until the CA was asked.';
CALL secure_table('acme_accounts');

CREATE TABLE acme_orders (
    order_id        uuid PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    object_uid      uuid NOT NULL,
    namespace       text NOT NULL,
    name            text NOT NULL,
    attempt         integer NOT NULL CHECK (attempt > 0),
    account_id      uuid NOT NULL,
    terms           text NOT NULL,
    names           jsonb NOT NULL CHECK (jsonb_typeof(names) = 'array'),
    profile         text,
    replaces        text,
    stage           text NOT NULL CHECK (stage IN ('Prepared', 'Placing', 'Placed', 'Presenting', 'Presented', 'Responding',
                                                   'Validating', 'Finalizing', 'Issued', 'Delivered', 'Failed', 'Abandoned')),
    revision        bigint NOT NULL DEFAULT 0,
    url             text,
    challenges      jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(challenges) = 'array'),
    intent_id       uuid,
    failures        integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failed_orders   integer NOT NULL DEFAULT 0 CHECK (failed_orders >= 0),
    cause           text,
    message         text,
    retry_at        timestamptz,
    chain           text,
    made_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    stage_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (cluster_id, object_uid, attempt),
    FOREIGN KEY (organization_id, account_id) REFERENCES acme_accounts (organization_id, account_id),
    FOREIGN KEY (organization_id, intent_id) REFERENCES intents (organization_id, intent_id),
    CHECK (stage NOT IN ('Placed', 'Presenting', 'Presented', 'Responding', 'Validating', 'Finalizing', 'Issued', 'Delivered')
           OR url IS NOT NULL),
    CHECK (stage NOT IN ('Issued', 'Delivered') OR chain IS NOT NULL)
);
-- An object has one order under way, whatever the code above believes.
CREATE UNIQUE INDEX acme_orders_one_open ON acme_orders (cluster_id, object_uid)
    WHERE stage NOT IN ('Delivered', 'Failed', 'Abandoned');
-- Who else needs a value in DNS.
CREATE INDEX acme_orders_challenges ON acme_orders USING gin (challenges jsonb_path_ops) WHERE challenges <> '[]';
COMMENT ON TABLE acme_orders IS 'Orders of certificates at CAs, by ACME. stage is the last step that was written down before it was taken; terms is a digest of what the order was made for.';
COMMENT ON COLUMN acme_orders.challenges IS 'What stands in DNS for this order, or is about to: identifier, name and value of each TXT record. Empty when all was taken away.';
COMMENT ON COLUMN acme_orders.failures IS 'How often in a row the CA, or DNS, was in the way of this stage.';
COMMENT ON COLUMN acme_orders.failed_orders IS 'How many orders of the object failed in a row, up to and with this one.';
COMMENT ON COLUMN acme_orders.replaces IS 'By RFC 9773, the certificate that this one follows.';
CALL secure_table('acme_orders');

CREATE TABLE acme_keys (
    owner_id        uuid PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    key_id          text NOT NULL,
    sealed          bytea NOT NULL
);
COMMENT ON TABLE acme_keys IS 'Private keys of accounts (by account_id) and of ordered certificates (by order_id), sealed.';
CALL secure_table('acme_keys', reader => false);
