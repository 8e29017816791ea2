//! The ledger on a real Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/objects.rs"]
mod objects;

mod acme;
mod approvals;
mod audit;
mod carried;
mod catalogue;
mod chain;
mod dead;
mod domains;
mod engine;
mod given;
mod held;
mod inventory;
mod keys;
mod mirror;
mod outcomes;
mod pulse;
mod room;
mod run_api;
mod runs;
mod schema;
mod sealed;
mod states;
mod strange;
mod tenancy;
mod world;
