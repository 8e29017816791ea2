//! The run API as many and as strangers meet it: under load, over TLS, and asked by pods that an API server knows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

#[path = "../harness/controller.rs"]
mod controller;
#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/deployment.rs"]
mod world;

mod jobs;
mod load;
mod pods;
mod runs;
mod strangers;
