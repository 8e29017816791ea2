-- What persons let pass of the changes that the guard against mass changes held, so that another leader goes on with it.
CREATE TABLE releases (
    release_id      uuid PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    domain_uid      uuid NOT NULL,
    digest          text NOT NULL CHECK (digest <> ''),
    changes         text[] NOT NULL,
    given_by        text NOT NULL CHECK (given_by <> ''),
    given_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX releases_recent ON releases (organization_id, cluster_id, given_at);
COMMENT ON TABLE releases IS 'Who let which held changes of DNS sets pass. Each counts for an hour and once: what an approved intent has made since is not let pass again.';
COMMENT ON COLUMN releases.changes IS 'Name, type, digest of the set as it stood, digest of the set as it was wished or a dash; the digest is of these lines.';
CALL secure_table('releases');
