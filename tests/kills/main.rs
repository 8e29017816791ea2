//! Real processes are killed at chosen moments, and what they stand on is taken away: nothing is lost, nothing is done twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../harness/bed.rs"]
mod bed;
#[path = "../harness/controller.rs"]
mod controller;
#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/kept.rs"]
mod kept;
#[path = "../harness/site.rs"]
mod site;

mod gates;
mod ground;
mod kills;
mod moments;
mod outages;
mod session;
