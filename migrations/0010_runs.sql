-- Runs, their files and logs, state versions, approvals, and what exists in the world.

CREATE TABLE terraform_runs (
    run_id            uuid PRIMARY KEY,
    organization_id   text NOT NULL REFERENCES organizations,
    cluster_id        uuid NOT NULL REFERENCES clusters,
    deployment_uid    uuid NOT NULL,
    namespace         text NOT NULL,
    name              text NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('Plan', 'Apply')),
    change            text NOT NULL CHECK (change IN ('Apply', 'Destroy')),
    phase             text NOT NULL CHECK (phase IN ('Pending', 'Claimed', 'Init', 'Plan', 'Apply', 'Finishing',
                                                     'Succeeded', 'Failed', 'Cancelled', 'Interrupted')),
    generation        bigint NOT NULL,
    attempt           integer NOT NULL CHECK (attempt >= 0),
    plan_run_id       uuid,
    plan_digest       text CHECK (plan_digest ~ '^sha256:[0-9a-f]{64}$'),
    facts             jsonb NOT NULL DEFAULT '{}',
    summary           jsonb,
    has_changes       boolean,
    state_serial      bigint,
    state_lineage     text,
    intent_id         uuid,
    holder            jsonb,
    engine            text NOT NULL CHECK (engine IN ('OpenTofu', 'Terraform')),
    engine_version    text,
    handed_over       integer NOT NULL DEFAULT 0,
    limits            jsonb NOT NULL,
    cancel_requested_at timestamptz,
    terminated_at     timestamptz,
    requested_by      text,
    requested_by_kind text NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at        timestamptz,
    phase_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    applying_at       timestamptz,
    finished_at       timestamptz,
    exit_code         integer,
    reason            text,
    message           text,
    result            jsonb,
    late_result       jsonb,
    settled_by        uuid,
    UNIQUE (organization_id, run_id),
    UNIQUE (plan_digest, kind),
    FOREIGN KEY (organization_id, plan_run_id) REFERENCES terraform_runs (organization_id, run_id),
    FOREIGN KEY (organization_id, intent_id) REFERENCES intents (organization_id, intent_id),
    CHECK ((kind = 'Apply') = (plan_run_id IS NOT NULL)),
    CHECK ((kind = 'Apply') = (intent_id IS NOT NULL)),
    CHECK (kind = 'Plan' OR plan_digest IS NOT NULL),
    CHECK ((phase IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted')) = (finished_at IS NOT NULL))
);
-- A plan is applied once, and a deployment has one run at a time: said here, whatever the code above believes.
CREATE UNIQUE INDEX terraform_runs_one_apply_of_a_plan ON terraform_runs (plan_run_id) WHERE kind = 'Apply';
CREATE UNIQUE INDEX terraform_runs_one_active ON terraform_runs (cluster_id, deployment_uid)
    WHERE phase NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted');
CREATE INDEX terraform_runs_deployment ON terraform_runs (deployment_uid, created_at DESC);
CREATE INDEX terraform_runs_name ON terraform_runs (namespace, name, created_at DESC);
CREATE INDEX terraform_runs_applies ON terraform_runs (deployment_uid, created_at DESC) WHERE kind = 'Apply';
-- What nobody has answered for yet is little, and asked for at each look.
CREATE INDEX terraform_runs_unsettled ON terraform_runs (cluster_id)
    WHERE kind = 'Apply' AND phase = 'Interrupted' AND settled_by IS NULL;
COMMENT ON TABLE terraform_runs IS 'Plans and applies. Destroys are applies of a plan whose change is Destroy. message is the engine''s first error block, redacted.';
COMMENT ON COLUMN terraform_runs.applying_at IS 'From here on the world may have changed.';
COMMENT ON COLUMN terraform_runs.limits IS 'How long init, plan, apply and the stop of an engine may take, seconds, as the run was given them.';
COMMENT ON COLUMN terraform_runs.terminated_at IS 'When the controller told the runner to stop, because the run should have ended.';
COMMENT ON COLUMN terraform_runs.facts IS 'What the plan digest binds and no other column tells: keyed digests and identities, no values.';
COMMENT ON COLUMN terraform_runs.handed_over IS 'How often the run was given to a runner before one claimed it.';
COMMENT ON COLUMN terraform_runs.late_result IS 'What a runner reported after its run had been given up as Interrupted; it may settle the intent, and changes nothing else.';
COMMENT ON COLUMN terraform_runs.settled_by IS 'Of an apply that was Interrupted: the run that answered for it, an apply that a person approved or a plan that found nothing to change. Until then nothing is applied unattended.';
CALL secure_table('terraform_runs');

CREATE TABLE run_secrets (
    run_id          uuid PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    token_hash      bytea NOT NULL CHECK (octet_length(token_hash) = 32),
    key_id          text,
    inputs          bytea,
    FOREIGN KEY (organization_id, run_id) REFERENCES terraform_runs (organization_id, run_id),
    CHECK ((inputs IS NULL) = (key_id IS NULL))
);
COMMENT ON TABLE run_secrets IS 'SHA-256 of a run''s token, and its inputs sealed. The inputs are wiped when the run ends.';
CALL secure_table('run_secrets', reader => false);

CREATE TABLE run_artifacts (
    run_id          uuid NOT NULL,
    name            text NOT NULL CHECK (name IN ('snapshot', 'lock-file', 'plan', 'plan-json')),
    organization_id text NOT NULL REFERENCES organizations,
    sha256          text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size            bigint NOT NULL,
    key_id          text NOT NULL,
    sealed          bytea NOT NULL,
    written_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, name),
    FOREIGN KEY (organization_id, run_id) REFERENCES terraform_runs (organization_id, run_id)
);
COMMENT ON TABLE run_artifacts IS 'Files of plan runs, sealed: module snapshot, provider lock file, plan file, plan JSON. sha256 is of the plaintext.';
CALL secure_table('run_artifacts', reader => false);

CREATE TABLE run_logs (
    run_id          uuid NOT NULL,
    log_offset      bigint NOT NULL CHECK (log_offset >= 0),
    organization_id text NOT NULL REFERENCES organizations,
    size            bigint NOT NULL,
    key_id          text NOT NULL,
    sealed          bytea NOT NULL,
    written_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, log_offset),
    FOREIGN KEY (organization_id, run_id) REFERENCES terraform_runs (organization_id, run_id)
);
COMMENT ON TABLE run_logs IS 'What the engine wrote, in chunks by byte offset, sealed.';
CALL secure_table('run_logs', reader => false);

CREATE TABLE run_resource_events (
    run_id          uuid NOT NULL,
    number          bigint NOT NULL CHECK (number >= 0),
    organization_id text NOT NULL REFERENCES organizations,
    address         text NOT NULL,
    type            text NOT NULL,
    provider        text,
    resource_id     text,
    action          text NOT NULL,
    written_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, number),
    FOREIGN KEY (organization_id, run_id) REFERENCES terraform_runs (organization_id, run_id)
);
COMMENT ON TABLE run_resource_events IS 'What the engine''s event stream said about each resource while the run went on; survives the run''s death.';
CALL secure_table('run_resource_events', writer => 'SELECT, INSERT');

CREATE TABLE state_keys (
    organization_id text NOT NULL REFERENCES organizations,
    state_key       text NOT NULL CHECK (state_key <> ''),
    cluster_id      uuid NOT NULL REFERENCES clusters,
    holder_uid      uuid,
    claimed_at      timestamptz,
    lineage         text,
    serial          bigint,
    lock            jsonb,
    lock_id         text,
    lock_run        uuid,
    locked_at       timestamptz,
    PRIMARY KEY (organization_id, state_key),
    FOREIGN KEY (organization_id, lock_run) REFERENCES terraform_runs (organization_id, run_id),
    CHECK ((lineage IS NULL) = (serial IS NULL)),
    CHECK ((lock_id IS NULL) = (lock_run IS NULL) AND (lock_id IS NULL) = (lock IS NULL))
);
COMMENT ON TABLE state_keys IS 'Who holds a state: one live object by uid, and while a run is at it that run''s lock. lineage and serial point at the newest version.';
CALL secure_table('state_keys');

CREATE TABLE terraform_states (
    organization_id text NOT NULL REFERENCES organizations,
    state_key       text NOT NULL,
    lineage         text NOT NULL,
    serial          bigint NOT NULL CHECK (serial >= 0),
    sha256          text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size            bigint NOT NULL,
    resources       bigint NOT NULL,
    run_id          uuid NOT NULL,
    recovered       boolean NOT NULL DEFAULT false,
    written_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    key_id          text NOT NULL,
    sealed          bytea NOT NULL,
    PRIMARY KEY (organization_id, state_key, lineage, serial),
    FOREIGN KEY (organization_id, state_key) REFERENCES state_keys (organization_id, state_key),
    FOREIGN KEY (organization_id, run_id) REFERENCES terraform_runs (organization_id, run_id)
);
COMMENT ON TABLE terraform_states IS 'Every version of every state, sealed. recovered: taken from the working directory of a run that had died.';
CALL secure_table('terraform_states', writer => 'SELECT, INSERT', reader => false);
-- Readers see which versions there are, not the bytes.
CREATE POLICY reader ON terraform_states FOR SELECT TO landfall_reader USING (organization_id = ANY (ARRAY(
    SELECT a.organization_id FROM landfall.org_access a WHERE a.db_role = current_user)));
GRANT SELECT (organization_id, state_key, lineage, serial, sha256, size, resources, run_id, recovered, written_at, key_id)
    ON terraform_states TO landfall_reader;

CREATE TABLE approvals (
    organization_id text NOT NULL REFERENCES organizations,
    digest          text NOT NULL CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    cluster_id      uuid NOT NULL REFERENCES clusters,
    deployment_uid  uuid NOT NULL,
    plan_run_id     uuid NOT NULL,
    approved_by     text NOT NULL,
    approved_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    consumed_at     timestamptz,
    consumed_by_run uuid,
    PRIMARY KEY (organization_id, digest),
    FOREIGN KEY (organization_id, plan_run_id) REFERENCES terraform_runs (organization_id, run_id),
    FOREIGN KEY (organization_id, consumed_by_run) REFERENCES terraform_runs (organization_id, run_id),
    CHECK ((consumed_at IS NULL) = (consumed_by_run IS NULL))
);
COMMENT ON TABLE approvals IS 'Which person approved which plan, as admission proved it, and which apply used that up.';
CALL secure_table('approvals');

CREATE TABLE resource_inventory (
    entry_id        uuid PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    deployment_uid  uuid NOT NULL,
    address         text NOT NULL,
    type            text NOT NULL,
    provider        text,
    resource_id     text,
    standing        text NOT NULL CHECK (standing IN ('Managed', 'Creating', 'Deleting', 'Leftover', 'Forgotten', 'Gone')),
    first_seen_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    gone_at         timestamptz,
    run_id          uuid NOT NULL,
    FOREIGN KEY (organization_id, run_id) REFERENCES terraform_runs (organization_id, run_id),
    CHECK ((standing = 'Gone') = (gone_at IS NOT NULL))
);
CREATE INDEX resource_inventory_deployment ON resource_inventory (deployment_uid);
CREATE INDEX resource_inventory_unknown ON resource_inventory (run_id) WHERE standing IN ('Creating', 'Leftover');
CREATE INDEX resource_inventory_id ON resource_inventory (organization_id, resource_id);
COMMENT ON TABLE resource_inventory IS 'What exists in the world by Landfall''s hand. Leftover: a run that died may have made it, and no state knows it. Forgotten: the module had the engine let go of it, and it lives on.';
COMMENT ON COLUMN resource_inventory.run_id IS 'The run that touched it last.';
CALL secure_table('resource_inventory');

CREATE VIEW v_resources WITH (security_invoker = true) AS
SELECT i.organization_id, i.cluster_id, r.namespace, r.name AS deployment, i.deployment_uid, i.address, i.type, i.provider,
       i.resource_id, i.standing, i.first_seen_at, i.last_seen_at, i.gone_at, i.run_id
FROM resource_inventory i
JOIN terraform_runs r ON r.organization_id = i.organization_id AND r.run_id = i.run_id;
COMMENT ON VIEW v_resources IS 'The inventory with the deployment each resource belongs to.';
CALL share_view('v_resources');
