//! The kinds of `landfall.dev/v1alpha1`: types, CEL rules and pure validation.

mod certificate;
mod common;
mod credential;
mod definitions;
mod deployment;
mod deployment_status;
mod domain;
mod organization;
mod reason;
mod record;
mod runner;

pub use certificate::*;
pub use common::*;
pub use credential::*;
pub use definitions::definitions;
pub use deployment::*;
pub use deployment_status::*;
pub use domain::*;
pub use organization::Organization;
pub use reason::*;
pub use record::*;
pub use runner::{RunnerResources, RunnerSettings};

/// API group of all kinds.
pub const GROUP: &str = "landfall.dev";
/// API version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// Field manager under which the controller writes.
pub const FIELD_MANAGER: &str = "landfall";
/// Holds a deletion until the object's own endings are done.
pub const FINALIZER: &str = "landfall.dev/finalizer";
/// Namespace label that names the organization.
pub const ORGANIZATION_LABEL: &str = "landfall.dev/organization";

/// The command annotations; see `docs/commands.md`.
pub mod annotation {
    /// Full digest of the plan to apply, once.
    pub const APPROVE: &str = "landfall.dev/approve";
    /// The caller's user name, held to the truth by admission.
    pub const COMMAND_BY: &str = "landfall.dev/command-by";
    /// Any new value: reconcile now.
    pub const RECONCILE: &str = "landfall.dev/reconcile";
    /// Run id: start over after `RetriesExhausted`.
    pub const RETRY: &str = "landfall.dev/retry";
    /// Run id: stop that run gracefully.
    pub const CANCEL: &str = "landfall.dev/cancel";
    /// Serial number: renew the certificate that has it.
    pub const RENEW: &str = "landfall.dev/renew";
    /// Serial number and reason, as `5f3a,superseded`: renew the certificate that has it, then revoke it.
    pub const REVOKE: &str = "landfall.dev/revoke";
}
