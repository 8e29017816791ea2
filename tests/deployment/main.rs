//! `TerraformDeployment`, from a manifest to a changed world and its record: a real API server, engine and Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../harness/controller.rs"]
mod controller;
#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/proxy.rs"]
mod proxy;
#[path = "../harness/deployment.rs"]
mod world;

mod account;
mod anchored;
mod bad_input;
mod canary;
mod clocks;
mod commanded;
mod deaths;
mod endings;
mod examples;
mod former;
mod inputs;
mod orphans;
mod outputs;
mod queue;
mod relabel;
mod seen;
mod story;
mod strange;
