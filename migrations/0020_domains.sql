-- Domains: the rows that follow the objects, how each was proved, and who holds what.

CALL create_mirror('organization_domains');
ALTER TABLE organization_domains
    ADD COLUMN fqdn  text GENERATED ALWAYS AS (status ->> 'fqdn') STORED,
    ADD COLUMN usage text GENERATED ALWAYS AS (spec ->> 'usage') STORED;
COMMENT ON TABLE organization_domains IS 'Mirror of OrganizationDomain objects; one row for each uid, tombstoned when it is gone.';

CREATE TABLE domain_verifications (
    cluster_id      uuid NOT NULL REFERENCES clusters,
    uid             uuid NOT NULL,
    organization_id text NOT NULL REFERENCES organizations,
    namespace       text NOT NULL,
    name            text NOT NULL,
    fqdn            text NOT NULL,
    registrable     text NOT NULL,
    token           text NOT NULL CHECK (length(token) >= 32),
    terms           jsonb NOT NULL,
    state           text NOT NULL CHECK (state IN ('Pending', 'Verified', 'Degraded', 'Unverified')),
    reason          text NOT NULL,
    since           timestamptz NOT NULL,
    verified_at     timestamptz,
    missed_since    timestamptz,
    checked_at      timestamptz,
    asked_at        timestamptz,
    gone_at         timestamptz,
    PRIMARY KEY (cluster_id, uid),
    CHECK (state <> 'Degraded' OR missed_since IS NOT NULL),
    CHECK (state NOT IN ('Verified', 'Degraded') OR verified_at IS NOT NULL)
);
CREATE INDEX domain_verifications_organization ON domain_verifications (organization_id) WHERE gone_at IS NULL;
COMMENT ON TABLE domain_verifications IS 'The challenge of each domain, and what the last look at the authoritative servers found. The controller trusts this, never an object''s status.';
COMMENT ON COLUMN domain_verifications.state IS 'Verified and Degraded (in the grace) hold a claim; Pending and Unverified hold none.';
COMMENT ON COLUMN domain_verifications.terms IS 'What of the spec others go by: dns, policy, allowedNamespaces.';
COMMENT ON COLUMN domain_verifications.since IS 'When the state became what it is.';
COMMENT ON COLUMN domain_verifications.missed_since IS 'The first of the looks in a row that found the authoritative servers at one without the token.';
CALL secure_table('domain_verifications');

CREATE TABLE domain_claims (
    claim_id        uuid PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    cluster_id      uuid NOT NULL REFERENCES clusters,
    domain_uid      uuid NOT NULL,
    namespace       text NOT NULL,
    name            text NOT NULL,
    fqdn            text NOT NULL CHECK (fqdn ~ '^[^.]+([.][^.]+)+$'),
    -- Names that overlap have their last two labels in common.
    anchor          text GENERATED ALWAYS AS (substring(fqdn FROM '[^.]+[.][^.]+$')) STORED,
    claimed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    released_at     timestamptz,
    release_reason  text,
    CHECK ((released_at IS NULL) = (release_reason IS NULL))
);
CREATE UNIQUE INDEX domain_claims_live ON domain_claims (cluster_id, domain_uid) WHERE released_at IS NULL;
CREATE INDEX domain_claims_anchor ON domain_claims (anchor) WHERE released_at IS NULL;
COMMENT ON TABLE domain_claims IS 'Who holds which domain, with all below it, over all clusters: live claims of two organizations never overlap. A claim is taken in the transaction of the proof.';
CALL secure_table('domain_claims');

-- The controller asks under the same lock before it claims; this is for whoever does not.
CREATE FUNCTION refuse_overlap() RETURNS trigger
LANGUAGE plpgsql SET search_path = landfall, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('landfall domain ' || new.anchor, 0));
    IF EXISTS (SELECT FROM domain_claims c
               WHERE c.anchor = new.anchor AND c.released_at IS NULL AND c.organization_id <> new.organization_id
                 AND (c.fqdn = new.fqdn OR right(c.fqdn, length(new.fqdn) + 1) = '.' || new.fqdn
                      OR right(new.fqdn, length(c.fqdn) + 1) = '.' || c.fqdn)) THEN
        RAISE EXCEPTION 'domain %: another organization holds it, a parent or a part of it', new.fqdn
            USING ERRCODE = 'exclusion_violation';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION refuse_overlap IS 'Refuses a live claim that overlaps one of another organization.';
CREATE TRIGGER refuse_overlap AFTER INSERT OR UPDATE OF organization_id, fqdn, released_at ON domain_claims
    FOR EACH ROW WHEN (new.released_at IS NULL) EXECUTE FUNCTION refuse_overlap();

CREATE VIEW v_unverified_domains WITH (security_invoker = true) AS
SELECT organization_id, cluster_id, namespace, name, fqdn, state, reason, since, verified_at, missed_since, checked_at, uid
FROM domain_verifications
WHERE gone_at IS NULL AND state <> 'Verified'
ORDER BY state = 'Degraded' DESC, since;
COMMENT ON VIEW v_unverified_domains IS 'Domains whose proof is missing: those in the grace first, since they will lose what they hold.';
CALL share_view('v_unverified_domains');
