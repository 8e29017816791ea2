//! The contract as the API server holds it: schemas, admission policies, roles, generated files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod gate;
mod generated;
