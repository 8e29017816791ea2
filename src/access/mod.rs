//! The way to the API server, whose an object is, which references are permitted, Secret bytes at the moment of use, and whether the gate stands.

mod client;
mod endpoint;
mod gate;
mod redact;
mod reference;
mod secret;
pub mod text;
mod workload;

pub use client::{already_exists, client, config, config_of_person, is_conflict, is_not_found};
pub(crate) use endpoint::is_listed_host;
pub use endpoint::{endpoint_allowed, is_public};
pub use gate::{Flaw, GIVE_IT_AGAIN, Gate, Standing};
pub use redact::Redactor;
pub use reference::{admits, organization, organization_of, resolve_credential, tenant};
pub(crate) use reference::{is_terminating, organization_if_found};
pub use secret::{ConfigMapData, SecretBytes, SecretText, config_map, secret};
pub use workload::{Workload, workload};
