//! What people install: the chart and the image.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)]

#[path = "../harness/bed.rs"]
mod bed;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/runners.rs"]
mod runners;
#[path = "../harness/site.rs"]
mod site;

mod cluster;
mod ground;
mod helm;
mod image;
mod installed;
mod kills;
mod metrics;
mod network;
mod node;
mod rendered;
mod rights;
mod schema;
mod world;
