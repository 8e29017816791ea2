//! What people install: the image.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod image;
