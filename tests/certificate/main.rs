//! `Certificate`, from a manifest to a pair that OpenSSL verifies, against a real API server and a real Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)]

#[path = "../harness/controller.rs"]
mod controller;
#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/pebble.rs"]
mod pebble;
#[path = "../harness/proxy.rs"]
mod proxy;

mod acme;
mod chain;
mod commanded;
mod ending;
mod gate;
mod imported;
mod issuing;
mod kills;
mod openssl;
mod renewing;
mod revoking;
mod secrets;
mod world;
