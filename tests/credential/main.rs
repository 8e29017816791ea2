//! `CloudCredential`, from a manifest to conditions and rows, against real providers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)]

#[path = "../harness/controller.rs"]
mod controller;
#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/mod.rs"]
mod harness;

#[path = "../harness/wire.rs"]
mod wire;

mod anchors;
mod answers;
mod deletion;
mod hetzner;
mod leadership;
mod outage;
mod probing;
mod quiet;
mod rfc2136;
mod rows;
mod start;
mod takeover;
mod watches;
mod world;
