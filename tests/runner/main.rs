//! Runs on a real engine, by the real executor and runner, against a run API that keeps what it is given.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod endings;
mod fake;
#[path = "../harness/mod.rs"]
mod harness;
mod refusals;
mod way;
mod world;
