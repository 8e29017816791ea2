//! `OrganizationDomain`, from a manifest to conditions and rows, proved at real authoritative servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)]

#[path = "../harness/controller.rs"]
mod controller;
#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/wire.rs"]
mod wire;

mod claims;
mod grace;
mod managed;
mod proof;
mod world;
