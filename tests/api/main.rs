//! The contract as the API server holds it: schemas, admission policies, roles, generated files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod acceptances;
mod assign;
mod certificate;
mod commands;
mod domain;
mod examples;
mod gate;
mod generated;
mod loosening;
mod mutants;
mod policies;
mod record;
mod refusals;
mod roles;
mod secrets;
mod strange;
mod table;
mod world;
