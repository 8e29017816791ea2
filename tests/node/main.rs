//! Runs as Jobs on a real node: the image that is built here, containerd, kubelet. Ignored unless a node is there; `tests/run`
//! starts one where the machine can, and says so where it cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../harness/controller.rs"]
mod controller;
#[path = "../harness/database.rs"]
mod database;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/runners.rs"]
mod runners;
#[path = "../harness/deployment.rs"]
mod world;

mod deaths;
mod fairness;
mod hitches;
mod jobs;
mod placed;
mod story;
mod tenant;
