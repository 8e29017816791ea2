//! `DnsRecord`, from a manifest to answers of the authoritative servers, by PowerDNS and Knot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)]

#[path = "../harness/controller.rs"]
mod controller;
#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/mod.rs"]
mod harness;

mod conflict;
mod drift;
mod ending;
mod gate;
mod life;
mod mass;
mod moved;
mod namespace;
mod output;
mod ownership;
mod race;
mod slow;
mod world;
