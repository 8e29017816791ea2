-- Commands that persons gave by annotation, as admission proved them. What an approval permits stands in approvals.

CREATE TABLE commands (
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    object_uid      uuid NOT NULL,
    command         text NOT NULL CHECK (command <> ''),
    value           text NOT NULL,
    given_by        text NOT NULL CHECK (given_by <> ''),
    taken_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, object_uid, command)
);
COMMENT ON TABLE commands IS 'The last command of each word (approve, cancel, retry, reconcile) that an object was given by annotation; activity_log has them all.';
CALL secure_table('commands');
