//! The steps of ACME against a real CA that trusts nobody: Pebble, strict; its questions are answered by Knot and PowerDNS.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod accounts;
mod certificates;
mod faults;
mod issue;
#[path = "../harness/pebble.rs"]
mod pebble;
mod world;
