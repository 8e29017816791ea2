//! One set of statements for each kind's table; the text is static, made by the compiler.

use super::super::ObjectKind;
use crate::Result;

/// The statements of a mirror table.
pub(super) struct Statements {
    /// What is known of these uids.
    pub(super) known: &'static str,
    /// From the watch: newer resourceVersions only, and a tombstone stays.
    pub(super) follow: &'static str,
    /// From a list: whatever differs, a tombstone too.
    pub(super) replace: &'static str,
    /// Tombstones one.
    pub(super) bury: &'static str,
    /// Tombstones all that a list does not hold.
    pub(super) bury_absent: &'static str,
    /// Tombstones all of other namespaces than these.
    pub(super) bury_unwatched: &'static str,
    /// Gives live rows of a namespace to another organization.
    pub(super) relabel: &'static str,
}

macro_rules! upsert {
    ($table:literal, $guard:literal) => {
        concat!(
            "INSERT INTO ", $table, " AS t (cluster_id, uid, organization_id, namespace, name, generation, observed_generation,
                resource_version, spec, status, labels, phase, ready, reason, message, field_manager, escaped,
                object_created_at, deletion_requested_at)
             SELECT $1, r.* FROM jsonb_to_recordset($2) AS r(uid uuid, organization_id text, namespace text, name text,
                generation bigint, observed_generation bigint, resource_version numeric, spec jsonb, status jsonb, labels jsonb,
                phase text, ready text, reason text, message text, field_manager text, escaped boolean,
                object_created_at timestamptz, deletion_requested_at timestamptz)
             ON CONFLICT (cluster_id, uid) DO UPDATE SET organization_id = excluded.organization_id,
                namespace = excluded.namespace, name = excluded.name, generation = excluded.generation,
                observed_generation = excluded.observed_generation, resource_version = excluded.resource_version,
                spec = excluded.spec, status = excluded.status, labels = excluded.labels, phase = excluded.phase,
                ready = excluded.ready, reason = excluded.reason, message = excluded.message,
                field_manager = excluded.field_manager, escaped = excluded.escaped,
                object_created_at = excluded.object_created_at, deletion_requested_at = excluded.deletion_requested_at,
                observed_at = clock_timestamp(), deleted_at = NULL, delete_reason = NULL
             WHERE ", $guard, " RETURNING t.uid"
        )
    };
}

macro_rules! statements {
    ($table:literal) => {
        Statements {
            known: concat!(
                "SELECT uid, organization_id, generation, spec, deletion_requested_at IS NOT NULL AS leaving, deleted_at IS NOT NULL AS gone
                 FROM ", $table, " WHERE cluster_id = $1 AND uid = ANY($2)"
            ),
            follow: upsert!($table, "t.resource_version < excluded.resource_version AND t.deleted_at IS NULL"),
            replace: upsert!(
                $table,
                "t.resource_version <> excluded.resource_version OR t.deleted_at IS NOT NULL OR t.organization_id <> excluded.organization_id"
            ),
            bury: concat!(
                "UPDATE ", $table, " SET deleted_at = $3, delete_reason = $4 WHERE cluster_id = $1 AND uid = $2 AND deleted_at IS NULL
                 RETURNING uid, organization_id, namespace, name"
            ),
            bury_absent: concat!(
                "UPDATE ", $table, " SET deleted_at = clock_timestamp(), delete_reason = 'ObservedAbsent'
                 WHERE cluster_id = $1 AND deleted_at IS NULL AND uid <> ALL($2) AND ($3::text IS NULL OR namespace = $3)
                 RETURNING uid, organization_id, namespace, name"
            ),
            bury_unwatched: concat!(
                "UPDATE ", $table, " SET deleted_at = clock_timestamp(), delete_reason = 'NotWatched'
                 WHERE cluster_id = $1 AND deleted_at IS NULL AND namespace <> ALL($2)
                 RETURNING uid, organization_id, namespace, name"
            ),
            relabel: concat!(
                "WITH old AS (SELECT uid, organization_id FROM ", $table, "
                              WHERE cluster_id = $1 AND namespace = $2 AND deleted_at IS NULL AND organization_id <> $3 FOR UPDATE)
                 UPDATE ", $table, " t SET organization_id = $3 FROM old WHERE t.cluster_id = $1 AND t.uid = old.uid
                 RETURNING t.uid, old.organization_id, t.namespace, t.name"
            ),
        }
    };
}

static CREDENTIALS: Statements = statements!("cloud_provider_credentials");
static DEPLOYMENTS: Statements = statements!("terraform_deployments");
static RECORDS: Statements = statements!("dns_records");
static DOMAINS: Statements = statements!("organization_domains");
static CERTIFICATES: Statements = statements!("ssl_certificates");

/// The table of a kind.
pub(super) fn of(kind: ObjectKind) -> Result<&'static Statements> {
    match kind {
        ObjectKind::CloudCredential => Ok(&CREDENTIALS),
        ObjectKind::TerraformDeployment => Ok(&DEPLOYMENTS),
        ObjectKind::OrganizationDomain => Ok(&DOMAINS),
        ObjectKind::DnsRecord => Ok(&RECORDS),
        ObjectKind::Certificate => Ok(&CERTIFICATES),
    }
}
