//! Record sets, through the rules, to real servers and back: PowerDNS by its HTTP API, Knot by RFC 2136.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod conditions;
mod lies;
mod pdns;
mod refusals;
mod round_trip;
mod table;
mod world;
