-- Commands that persons gave by annotation, as admission proved them. Approvals stand in a table of their own.

CREATE TABLE commands (
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    object_uid      uuid NOT NULL,
    command         text NOT NULL CHECK (command <> ''),
    value           text NOT NULL,
    given_by        text NOT NULL CHECK (given_by <> ''),
    taken_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, object_uid, command, value)
);
COMMENT ON TABLE commands IS 'Commands given by annotation (retry, reconcile, cancel), each value taken once.';
CALL secure_table('commands');
