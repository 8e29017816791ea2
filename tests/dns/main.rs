//! Record sets, through the rules, to real servers and back: PowerDNS by its HTTP API, Knot by RFC 2136; and the zones' writer
//! above them.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/wire.rs"]
mod wire;

mod conditions;
mod desk;
mod lies;
mod lookup;
mod many;
mod mass;
mod patience;
mod pdns;
mod refusals;
mod round_trip;
mod table;
mod world;
mod writer;
